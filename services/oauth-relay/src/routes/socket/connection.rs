//! A client that waits on the socket.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use super::{Place, stream::Stream};
use crate::domain::{
    callback::Callback,
    frame::{ClientFrame, Dismissal, MAX_LINE_BYTES, ServerFrame, line},
    waiter::{Line, Seat},
};

/// How long an extended client may take to acknowledge a delivery.
const ACK_LIMIT: Duration = Duration::from_secs(2);
/// How long a client may take to read a delivery that does not fit into the socket.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// A connection that waits.
pub(super) struct Connection {
    stream: Stream,
    state: Option<Box<str>>,
    is_extended: bool,
    /// Whom an acknowledgement is told to.
    acknowledged: Mutex<Option<oneshot::Sender<()>>>,
}

/// Waits until the client has gone, its time is over, or somebody has hung up on it. There are thousands of these, so it is written by
/// hand: an async block would keep everything twice.
pub(super) struct Hold {
    connection: Arc<Connection>,
    /// None when it was left.
    seat: Option<Seat>,
    /// None when the time is over.
    expiry: Option<Pin<Box<Sleep>>>,
    /// What was read and is no whole line yet.
    rest: Vec<u8>,
    _place: Place,
}

/// DELIVER without copying what is in it.
#[derive(Serialize)]
struct Deliver<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a Map<String, Value>>,
}

impl Connection {
    pub(super) fn new(stream: Stream, state: Option<String>, is_extended: bool) -> Self {
        Self { stream, state: state.map(String::into_boxed_str), is_extended, acknowledged: Mutex::default() }
    }

    fn state(&self) -> Option<String> {
        self.state.as_deref().map(str::to_owned)
    }

    async fn hand_over(&self, callback: &Callback) -> bool {
        let frame = line(&Deliver {
            r#type: "DELIVER",
            state: callback.state.as_deref(),
            code: callback.code.as_deref(),
            raw: callback.raw_for(self.is_extended),
        });
        // The original's client reads no longer line, its end counted.
        if frame.len() > MAX_LINE_BYTES && !self.is_extended {
            tracing::warn!("a callback is too large for its client");
            return false;
        }
        let acknowledgement = self.is_extended.then(|| self.expect_acknowledgement());
        if self.stream.has_hung_up() || !self.write(&frame).await {
            return false;
        }
        tracing::debug!(bytes = frame.len(), "DELIVER sent");
        match acknowledgement {
            None => !self.stream.was_reset(),
            Some(arrival) => matches!(tokio::time::timeout(ACK_LIMIT, arrival).await, Ok(Ok(()))),
        }
    }

    async fn write(&self, frame: &[u8]) -> bool {
        matches!(tokio::time::timeout(WRITE_LIMIT, self.stream.write_all(frame)).await, Ok(Ok(())))
    }

    fn expect_acknowledgement(&self) -> oneshot::Receiver<()> {
        let (sender, arrival) = oneshot::channel();
        *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        arrival
    }

    fn take_acknowledged(&self) -> Option<oneshot::Sender<()>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads what came, and answers whether the client still waits.
    fn poll_input(&self, context: &mut Context<'_>, rest: &mut Vec<u8>) -> Poll<bool> {
        self.stream
            .poll_readable(context)
            .map(|readable| readable.is_ok() && self.stream.read_into(rest).is_ok() && self.obey(rest))
    }

    /// Does what the whole lines in `rest` say.
    fn obey(&self, rest: &mut Vec<u8>) -> bool {
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let frame: Vec<u8> = rest.drain(..=end).collect();
            match serde_json::from_slice(&frame) {
                Ok(ClientFrame::Ack) => {
                    tracing::debug!("ACK received");
                    if let Some(acknowledged) = self.take_acknowledged() {
                        // Whoever waited for it may have given up.
                        let _ = acknowledged.send(());
                    }
                }
                Ok(ClientFrame::Unregister) => {
                    tracing::debug!("UNREGISTER received");
                    return false;
                }
                Ok(ClientFrame::Register(_)) | Err(_) => {
                    tracing::warn!("a client of the coordinator was sent away: it sent what it may not");
                    return false;
                }
            }
        }
        rest.shrink_to_fit();
        rest.len() <= MAX_LINE_BYTES
    }
}

impl Line for Connection {
    fn announce(&self) -> bool {
        if self.is_extended {
            self.stream.write_now(&line(&ServerFrame::Registered { state: self.state() }))
        } else {
            true
        }
    }

    fn deliver(self: Arc<Self>, callback: Arc<Callback>) -> BoxFuture<'static, bool> {
        Box::pin(async move {
            let has_arrived = self.hand_over(&callback).await;
            self.stream.hang_up();
            has_arrived
        })
    }

    fn dismiss(&self, reason: Dismissal) {
        self.stream.send_last(&line(&ServerFrame::Error { state: self.state(), error: reason }));
    }
}

impl Hold {
    pub(super) fn new(
        connection: Arc<Connection>,
        seat: Seat,
        deadline: Instant,
        rest: Vec<u8>,
        place: Place,
    ) -> Self {
        let expiry = Some(Box::pin(sleep_until(deadline)));
        Self { connection, seat: Some(seat), expiry, rest, _place: place }
    }

    /// Answers whether the time is over and the waiter was sent away. Where a callback has the seat, its delivery ends the connection.
    fn poll_expiry(&mut self, context: &mut Context<'_>) -> bool {
        let is_over = self.expiry.as_mut().is_some_and(|expiry| expiry.as_mut().poll(context).is_ready());
        if !is_over {
            return false;
        }
        self.expiry = None;
        let is_expired = self.seat.as_ref().is_some_and(Seat::expire);
        if is_expired {
            self.connection.dismiss(Dismissal::Timeout);
        }
        is_expired
    }
}

impl Future for Hold {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let hold = self.get_mut();
        // What came with the first frame is obeyed first.
        let mut goes_on = hold.connection.obey(&mut hold.rest);
        while goes_on {
            match hold.connection.poll_input(context, &mut hold.rest) {
                Poll::Ready(still_waits) => goes_on = still_waits,
                Poll::Pending if hold.poll_expiry(context) => goes_on = false,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // The seat is left first: a client that has gone gets nothing.
        drop(self.seat.take());
        // A delivery that waits for an acknowledgement waits in vain.
        drop(self.connection.take_acknowledged());
        self.connection.stream.hang_up();
    }
}
