//! Waiting over HTTP, for services in other pods: long polls, each answered at once when the callback comes.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll as TaskPoll},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    http::header,
    web::{self, Bytes},
};
use common_auth::extract::{RequireScope, Right};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};

use super::{QueryArgument, query};
use crate::{
    app::AppState,
    domain::{
        callback::Callback,
        frame::Dismissal,
        waiter::{Line, Owner, Seat},
    },
    error::ApiError,
};

/// The longest poll.
const MAX_POLL: Duration = Duration::from_secs(50);
/// How long the seat is kept for the next poll.
const GRACE: Duration = Duration::from_secs(5);
/// How long a delivery that has begun may take to get here.
const DELIVERY_LIMIT: Duration = Duration::from_secs(2);

/// The scope `relay:wait`.
pub struct RelayWait;

impl Right for RelayWait {
    const NAME: &'static str = "relay:wait";
}

/// What to wait for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// The state; it stays bound to the calling client as long as that polls.
    pub state: Option<String>,
    /// Seconds until the poll is answered without a callback; more than 50 are 50.
    #[param(minimum = 0, maximum = 50, default = 50)]
    pub timeout: Option<f64>,
}

/// The callback.
#[derive(Serialize, ToSchema)]
pub struct WaitResponse<'a> {
    /// Whether there is a code.
    pub success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    pub state: Option<&'a str>,
    /// All parameters but the code, `iss` and `error` among them.
    #[schema(value_type = Object)]
    pub raw: &'a Map<String, Value>,
}

/// Waits for the callback with a state. The seat outlives the poll by five seconds, and a callback of that time waits for the next poll
/// of the same client.
#[utoipa::path(
    get, path = "/oauth/wait", tag = "wait", params(WaitQuery), security(("bearer" = [])),
    responses(
        (status = 200, description = "The callback", body = WaitResponse<'static>),
        (status = 400, description = "`validation_failed`: no state, or one that may not be waited for", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`insufficient_scope`: no service, or without `relay:wait`", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "Waiting over HTTP is not set up here", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "`timeout`: no callback yet; poll again", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`replaced`: another waiter holds the state", body = super::contract::ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`capacity`, `shutdown`, or tokens cannot be checked", body = super::contract::ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub async fn wait_for_callback(
    auth: RequireScope<RelayWait>,
    request: HttpRequest,
    argument: QueryArgument<WaitQuery>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let asked = query(&request, argument)?;
    let timeout = poll_time(asked.timeout)?;
    let key = state.waiters.admit(asked.state.as_deref())?;
    let client = auth.service().map(|service| Arc::from(service.client_id.as_str())).unwrap_or_default();
    let (line, mut outcome) = Poll::open();
    let line: Arc<dyn Line> = line;
    let seat = state.waiters.register(key, Owner::Client(client), &line, GRACE)?;
    drop(line);
    let timeout = if seat.is_awaited() { timeout.max(DELIVERY_LIMIT) } else { timeout };
    if let Ok(outcome) = tokio::time::timeout(timeout, &mut outcome).await {
        return answer(outcome.ok());
    }
    end_of_poll(&seat, outcome).await
}

/// The end of a poll and a callback may come together: then the callback wins.
async fn end_of_poll(seat: &Seat, outcome: oneshot::Receiver<PollOutcome>) -> Result<HttpResponse, ApiError> {
    if seat.step_away() {
        return Err(ApiError::Timeout);
    }
    match tokio::time::timeout(DELIVERY_LIMIT, outcome).await {
        Ok(outcome) => answer(outcome.ok()),
        Err(_elapsed) => Err(ApiError::Timeout),
    }
}

fn answer(outcome: Option<PollOutcome>) -> Result<HttpResponse, ApiError> {
    match outcome {
        Some(PollOutcome::Delivered(callback, receipt)) => Ok(respond(&callback, receipt)),
        Some(PollOutcome::Dismissed(reason)) => Err(reason.into()),
        // The delivery was broken off.
        None => Err(ApiError::Timeout),
    }
}

fn respond(callback: &Callback, receipt: oneshot::Sender<()>) -> HttpResponse {
    let response = WaitResponse {
        success: callback.code.is_some(),
        code: callback.code.as_deref(),
        state: callback.state.as_deref(),
        raw: &callback.raw,
    };
    // Strings and maps of JSON always have a JSON form.
    let body = serde_json::to_vec(&response).unwrap_or_default();
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .message_body(ReceiptBody { body: Bytes::from(body), step: Step::Body, receipt: Some(receipt) })
        .map_or_else(|_| ApiError::Timeout.into_response(), HttpResponse::map_into_boxed_body)
}

fn poll_time(asked: Option<f64>) -> Result<Duration, ApiError> {
    let Some(seconds) = asked else { return Ok(MAX_POLL) };
    if seconds.is_nan() || seconds < 0.0 {
        return Err(ApiError::Validation("timeout must be a number of seconds from 0 to 50".into()));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(MAX_POLL).min(MAX_POLL))
}

/// A poll that waits.
struct Poll(Mutex<Option<oneshot::Sender<PollOutcome>>>);

/// How a poll ends before its time.
enum PollOutcome {
    /// With a callback, and whom to tell that it went out.
    Delivered(Arc<Callback>, oneshot::Sender<()>),
    Dismissed(Dismissal),
}

impl Poll {
    fn open() -> (Arc<Self>, oneshot::Receiver<PollOutcome>) {
        let (sender, outcome) = oneshot::channel();
        (Arc::new(Self(Mutex::new(Some(sender)))), outcome)
    }

    fn end(&self, outcome: PollOutcome) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        sender.is_some_and(|sender| sender.send(outcome).is_ok())
    }
}

impl Line for Poll {
    fn announce(&self) -> bool {
        true
    }

    fn deliver(self: Arc<Self>, callback: Arc<Callback>) -> BoxFuture<'static, bool> {
        Box::pin(async move {
            let (receipt, arrival) = oneshot::channel();
            self.end(PollOutcome::Delivered(callback, receipt))
                && matches!(tokio::time::timeout(DELIVERY_LIMIT, arrival).await, Ok(Ok(())))
        })
    }

    fn dismiss(&self, reason: Dismissal) {
        self.end(PollOutcome::Dismissed(reason));
    }
}

/// A body that tells when it went out: it ends only after the server has sent what it had, and is dropped where that failed.
struct ReceiptBody {
    body: Bytes,
    step: Step,
    receipt: Option<oneshot::Sender<()>>,
}

enum Step {
    Body,
    Flush,
    End,
}

impl MessageBody for ReceiptBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.body.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> TaskPoll<Option<Result<Bytes, Self::Error>>> {
        match self.step {
            Step::Body => {
                self.step = Step::Flush;
                TaskPoll::Ready(Some(Ok(self.body.clone())))
            }
            Step::Flush => {
                self.step = Step::End;
                context.waker().wake_by_ref();
                TaskPoll::Pending
            }
            Step::End => {
                if let Some(receipt) = self.receipt.take() {
                    // Whoever waited for it may have given up.
                    let _ = receipt.send(());
                }
                TaskPoll::Ready(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_lasts_at_most_fifty_seconds() {
        assert_eq!(poll_time(None).unwrap(), MAX_POLL);
        assert_eq!(poll_time(Some(0.0)).unwrap(), Duration::ZERO);
        assert_eq!(poll_time(Some(1.5)).unwrap(), Duration::from_millis(1500));
        assert_eq!(poll_time(Some(1e300)).unwrap(), MAX_POLL);
        assert!(poll_time(Some(-1.0)).is_err() && poll_time(Some(f64::NAN)).is_err());
    }
}
