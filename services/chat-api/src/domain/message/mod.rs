//! Messages: what they are made of, and sending and reading them.

mod batch;
mod history;
mod writer;

use std::time::Duration;

use common_auth::extract::Right;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

pub use history::{Anchor, History, MessageReader};
pub use writer::{MessageWriter, WriterMetrics, WriterSettings};

use super::group::GroupError;
use crate::store::{
    StoreError,
    message::{ThreadRef, TimelineRecord},
};

/// Reading messages and marking them as read.
pub struct MessagesRead;

impl Right for MessagesRead {
    const NAME: &'static str = "messages:read";
}

/// Sending messages.
pub struct MessagesSend;

impl Right for MessagesSend {
    const NAME: &'static str = "messages:send";
}

/// A message as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: Uuid,
    pub org_id: Uuid,
    pub group_id: Uuid,
    pub seq: i64,
    pub change: i64,
    pub sender_id: Uuid,
    pub content: String,
    pub client_message_id: String,
    pub thread_root: Option<Uuid>,
    pub reply_count: usize,
    pub created_at: OffsetDateTime,
    pub edited_at: Option<OffsetDateTime>,
    pub deleted_at: Option<OffsetDateTime>,
}

/// What a caller wants to send.
#[derive(Clone, Debug)]
pub struct SendMessage {
    pub content: String,
    /// A service names the member that it posts for; a user may name itself.
    pub sender_id: Option<Uuid>,
    /// Makes repeating the request safe. Absent: every request is a message of its own.
    pub client_message_id: Option<String>,
    pub thread_root: Option<Uuid>,
}

/// What became of a message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Created(Message),
    /// The same message was stored before, under the same `client_message_id`.
    Repeated(Message),
}

/// The text of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content(String);

/// The id that a sender gives its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMessageId(String);

/// Why a message is not sent or read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error("no such message")]
    NotFound,
    #[error("sender_id is not the caller")]
    SenderMismatch,
    #[error("{0}")]
    Invalid(&'static str),
    /// Another message of this sender has the same `client_message_id`.
    #[error("client_message_id is taken by another message")]
    Conflict,
    /// The group's queue is full.
    #[error("too many messages are waiting to be stored")]
    Busy,
    /// Stored or not, nobody knows: repeating it with its `client_message_id` is safe.
    #[error("the message could not be stored in time")]
    Unavailable,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Content {
    /// The longest text, in characters.
    pub const MAX_CHARS: usize = 4000;

    /// Accepts a text that says something and is not too long. It is stored as it was written.
    pub fn parse(text: String) -> Result<Self, MessageError> {
        if text.trim().is_empty() {
            return Err(MessageError::Invalid("content must not be empty"));
        }
        if text.contains('\0') {
            return Err(MessageError::Invalid("content must not contain the character U+0000"));
        }
        if text.chars().count() > Self::MAX_CHARS {
            return Err(MessageError::Invalid("content must not be longer than 4000 characters"));
        }
        Ok(Self(text))
    }
}

impl ClientMessageId {
    /// The longest id, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Accepts printable ASCII without spaces.
    pub fn parse(id: String) -> Result<Self, MessageError> {
        if (1..=Self::MAX_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(id))
        } else {
            Err(MessageError::Invalid(
                "client_message_id must have 1 to 128 printable ASCII characters without spaces",
            ))
        }
    }

    /// An id for a message that came without one.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7().to_string())
    }
}

impl TryFrom<TimelineRecord> for Message {
    type Error = StoreError;

    fn try_from(record: TimelineRecord) -> Result<Self, StoreError> {
        let id = |text: &str| {
            Uuid::parse_str(text).map_err(|_| StoreError::Unreadable(format!("{text} is no id")))
        };
        let thread_root = record.thread_root.as_deref().map(id).transpose()?;
        Ok(Self {
            id: id(&record.id)?,
            org_id: id(&record.org_id)?,
            group_id: id(&record.group_id)?,
            seq: record.seq,
            change: record.change,
            sender_id: id(&record.sender_id)?,
            content: record.content,
            client_message_id: record.client_message_id,
            thread_root,
            reply_count: 0,
            created_at: moment(record.created_at)?,
            edited_at: record.edited_at.map(moment).transpose()?,
            deleted_at: record.deleted_at.map(moment).transpose()?,
        })
    }
}

/// The digest by which a repeated message is recognized: of everything that its sender chose.
fn body_digest(content: &Content, thread: Option<ThreadRef>) -> String {
    let mut digest = Sha256::new();
    digest.update(content.0.as_bytes());
    // No text contains the separator.
    digest.update([0]);
    if let Some(thread) = thread {
        digest.update(thread.root_id.as_bytes());
    }
    digest.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A stored time, which has whole milliseconds.
pub(super) fn moment(at: mongodb::bson::DateTime) -> Result<OffsetDateTime, StoreError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.timestamp_millis()) * 1_000_000)
        .map_err(|error| StoreError::Unreadable(error.to_string()))
}

/// Bounds the work that a request does in the store, however many queries it takes.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, MessageError>>,
) -> Result<T, MessageError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(MessageError::Store(StoreError::TimedOut)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_something_within_its_limit() {
        assert!(Content::parse("Hello".to_owned()).is_ok());
        assert!(Content::parse("ä".repeat(Content::MAX_CHARS)).is_ok());
        for text in [String::new(), " \n\t".to_owned(), "ä".repeat(Content::MAX_CHARS + 1), "a\0b".to_owned()]
        {
            assert!(Content::parse(text).is_err());
        }
    }

    #[test]
    fn a_client_message_id_is_short_and_printable() {
        assert!(ClientMessageId::parse("c-1".to_owned()).is_ok());
        for id in [String::new(), "a b".to_owned(), "é".to_owned(), "x".repeat(129)] {
            assert!(ClientMessageId::parse(id).is_err());
        }
    }

    #[test]
    fn the_digest_covers_text_and_thread() {
        let content = |text: &str| Content::parse(text.to_owned()).unwrap();
        let thread = |root_id| Some(ThreadRef { root_id, root_seq: 1 });
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let digests = [
            body_digest(&content("x"), None),
            body_digest(&content("y"), None),
            body_digest(&content("x"), thread(a)),
            body_digest(&content("x"), thread(b)),
        ];
        let distinct: std::collections::HashSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
        assert_eq!(body_digest(&content("x"), thread(a)), digests[2]);
    }
}
