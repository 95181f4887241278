//! LISTEN and NOTIFY: how replicas learn within milliseconds what another one changed. Nothing relies on it alone.

use futures_util::{StreamExt, stream};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_postgres::AsyncMessage;

use super::{Database, Executor, StoreError, execute};
use crate::config::STATEMENT_LIMIT;

const CHANNEL: &str = "auth_api";
/// Notices wait here while the listener is busy; more than that are dropped, and the poll beside it makes up for them.
const QUEUE: usize = 1024;

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// A feed has a new entry.
    Feed,
    /// The signing keys changed.
    Keys,
    /// A client or its secrets changed.
    Client(String),
}

/// A connection that only listens; it ends when this is dropped.
pub struct Listener {
    client: tokio_postgres::Client,
    notices: mpsc::Receiver<Notification>,
    driver: JoinHandle<()>,
}

impl Notification {
    fn payload(&self) -> String {
        match self {
            Self::Feed => "feed".to_owned(),
            Self::Keys => "keys".to_owned(),
            Self::Client(client_id) => format!("client {client_id}"),
        }
    }

    fn parse(payload: &str) -> Option<Self> {
        match payload.split_once(' ') {
            None if payload == "feed" => Some(Self::Feed),
            None if payload == "keys" => Some(Self::Keys),
            Some(("client", client_id)) => Some(Self::Client(client_id.to_owned())),
            _ => None,
        }
    }
}

/// Tells every replica, once the transaction is committed.
pub async fn notify(db: &impl Executor, notification: &Notification) -> Result<(), StoreError> {
    execute(db, "SELECT pg_notify($1, $2)", &[&CHANNEL, &notification.payload()]).await.map(drop)
}

impl Listener {
    /// Connects and listens.
    pub async fn connect(database: &Database) -> Result<Self, StoreError> {
        let (client, mut connection) = database.dedicated().await?;
        let (sender, notices) = mpsc::channel(QUEUE);
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(notice) = message
                    && let Some(notification) = Notification::parse(notice.payload())
                {
                    let _ = sender.try_send(notification);
                }
            }
        });
        let listener = Self { client, notices, driver };
        let listen = format!("LISTEN {CHANNEL}");
        match tokio::time::timeout(STATEMENT_LIMIT, listener.client.batch_execute(&listen)).await {
            Ok(listening) => listening?,
            Err(_) => return Err(StoreError::Unavailable("no answer in time".to_owned())),
        }
        Ok(listener)
    }

    /// The next notice; none when the connection is lost.
    pub async fn next(&mut self) -> Option<Notification> {
        self.notices.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_what_it_was_made_from() {
        for notification in
            [Notification::Feed, Notification::Keys, Notification::Client("chat api".to_owned())]
        {
            assert_eq!(Notification::parse(&notification.payload()), Some(notification));
        }
        assert_eq!(Notification::parse("else"), None);
    }
}
