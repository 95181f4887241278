//! The messages that one group's writer stores together: merging, numbering, and what each sender is told.

use std::collections::{HashMap, VecDeque};

use mongodb::bson::DateTime;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::{Message, MessageError, Sent};
use crate::store::{
    GroupKey, StoreError,
    message::{NewMessage, TimelineRecord, Tip},
};

/// A message on its way to the store, and who waits for it.
pub(super) struct SendJob {
    pub message: NewMessage,
    pub reply: oneshot::Sender<Result<Sent, MessageError>>,
    /// Nobody waits any longer then; a message not yet tried is dropped.
    pub deadline: Instant,
}

/// Messages in the order in which they get their numbers.
#[derive(Default)]
pub(super) struct Batch {
    entries: VecDeque<Entry>,
}

struct Entry {
    message: NewMessage,
    /// Everybody who sent this message; the first one created it.
    waiters: Vec<Waiter>,
}

struct Waiter {
    body_sha256: String,
    reply: oneshot::Sender<Result<Sent, MessageError>>,
    deadline: Instant,
}

impl Batch {
    /// Takes jobs in order. Several with the same sender and `client_message_id` become one message.
    pub(super) fn new(jobs: impl IntoIterator<Item = SendJob>) -> Self {
        let mut entries: VecDeque<Entry> = VecDeque::new();
        let mut positions: HashMap<(Uuid, String), usize> = HashMap::new();
        for SendJob { message, reply, deadline } in jobs {
            let waiter = Waiter { body_sha256: message.body_sha256.clone(), reply, deadline };
            let position = *positions
                .entry((message.sender_id, message.client_message_id.clone()))
                .or_insert(entries.len());
            match entries.get_mut(position) {
                Some(entry) => entry.waiters.push(waiter),
                None => entries.push_back(Entry { message, waiters: vec![waiter] }),
            }
        }
        Self { entries }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next message to store.
    pub(super) fn front(&self) -> Option<&NewMessage> {
        self.entries.front().map(|entry| &entry.message)
    }

    /// The rows of all messages, numbered from `tip` on.
    pub(super) fn rows(&self, key: &GroupKey, tip: Tip, now: DateTime) -> Vec<TimelineRecord> {
        self.entries
            .iter()
            .scan(tip, |tip, entry| {
                let row = TimelineRecord::message(key, &entry.message, *tip, now);
                *tip = row.tip();
                Some(row)
            })
            .collect()
    }

    /// Tells the senders of the first messages that these rows are theirs.
    pub(super) fn settle_stored(&mut self, rows: impl IntoIterator<Item = TimelineRecord>) {
        for row in rows {
            self.settle_front(row);
        }
    }

    /// Tells the senders of the first message what is stored under its `client_message_id`.
    pub(super) fn settle_front(&mut self, row: TimelineRecord) {
        let Some(entry) = self.entries.pop_front() else { return };
        let (is_ours, body_sha256) = (row.id == entry.message.id.to_string(), row.body_sha256.clone());
        let message = Message::try_from(row);
        for (position, waiter) in entry.waiters.into_iter().enumerate() {
            let outcome = match &message {
                Err(error) => Err(MessageError::Store(error.clone())),
                Ok(_) if waiter.body_sha256 != body_sha256 => Err(MessageError::Conflict),
                Ok(message) if is_ours && position == 0 => Ok(Sent::Created(message.clone())),
                Ok(message) => Ok(Sent::Repeated(message.clone())),
            };
            // A sender who hung up needs no answer.
            let _ = waiter.reply.send(outcome);
        }
    }

    /// After an insert whose outcome nobody knows: whoever's row is among those read again is told so, the others that it is
    /// unknown.
    pub(super) fn settle_unknown(mut self, rows: Vec<TimelineRecord>, error: &StoreError) {
        let mut rows: HashMap<String, TimelineRecord> =
            rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        while let Some(next) = self.front() {
            match rows.remove(&next.id.to_string()) {
                Some(row) => self.settle_front(row),
                None => self.fail_front(error),
            }
        }
    }

    /// Tells everybody that the store failed.
    pub(super) fn fail(mut self, error: &StoreError) {
        while !self.is_empty() {
            self.fail_front(error);
        }
    }

    /// Drops the messages for which nobody waits any longer.
    pub(super) fn drop_expired(&mut self, now: Instant) {
        self.entries.retain(|entry| entry.waiters.iter().any(|waiter| waiter.deadline > now));
    }

    fn fail_front(&mut self, error: &StoreError) {
        let Some(entry) = self.entries.pop_front() else { return };
        for waiter in entry.waiters {
            let _ = waiter.reply.send(Err(MessageError::Store(error.clone())));
        }
    }
}

#[cfg(test)]
mod tests;
