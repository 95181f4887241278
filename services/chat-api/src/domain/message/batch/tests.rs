//! Two writers on a timeline in memory, with every accident that a database has: the numbers stay gapless and nobody is lied to.

use std::{collections::HashSet, time::Duration};

use common_auth::{Orgs, Principal, Service};
use proptest::prelude::*;

use super::*;

/// A timeline with the unique indexes of the real one.
#[derive(Default)]
struct Timeline {
    rows: Vec<TimelineRecord>,
}

impl Timeline {
    /// An ordered insert; the number of rows stored before one was refused.
    fn insert(&mut self, rows: &[TimelineRecord]) -> Result<(), usize> {
        for (stored, row) in rows.iter().enumerate() {
            let is_taken = self.rows.iter().any(|it| {
                it.seq == row.seq
                    || it.change == row.change
                    || (&it.sender_id, &it.client_message_id) == (&row.sender_id, &row.client_message_id)
            });
            if is_taken {
                return Err(stored);
            }
            self.rows.push(row.clone());
        }
        Ok(())
    }

    fn tip(&self) -> Tip {
        self.rows.iter().map(TimelineRecord::tip).max().unwrap_or_default()
    }

    fn find(&self, message: &NewMessage) -> Option<TimelineRecord> {
        let sender_id = message.sender_id.to_string();
        let is_it = |row: &&TimelineRecord| {
            row.sender_id == sender_id && row.client_message_id == message.client_message_id
        };
        self.rows.iter().find(is_it).cloned()
    }
}

/// What happens to one insert.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Acknowledged,
    /// So many rows are stored, then the connection breaks; the writer looks them up again.
    Broken(usize),
    /// The same, and the database stays out of reach.
    Lost(usize),
    /// The same, and the writer dies.
    Killed(usize),
}

/// One batch of one of the two writers.
#[derive(Clone, Debug)]
struct Step {
    writer: usize,
    /// Sender, client message id, body.
    messages: Vec<(u8, u8, u8)>,
    fate: Fate,
}

type Answer = oneshot::Receiver<Result<Sent, MessageError>>;

fn key() -> GroupKey {
    let service = Service { client_id: "test".to_owned(), scopes: Vec::new(), orgs: Orgs::All };
    let tenant = Principal::Service(service).tenant(Some(Uuid::from_u128(1))).unwrap();
    GroupKey::new(tenant, Uuid::from_u128(2))
}

fn job((sender, id, body): (u8, u8, u8)) -> (SendJob, Answer) {
    let (reply, answer) = oneshot::channel();
    let message = NewMessage {
        id: Uuid::now_v7(),
        sender_id: Uuid::from_u128(u128::from(sender)),
        client_message_id: id.to_string(),
        content: body.to_string(),
        body_sha256: body.to_string(),
        thread: None,
    };
    (SendJob { message, reply, deadline: Instant::now() + Duration::from_mins(1) }, answer)
}

/// The writer's loop, with the timeline in place of the store.
fn write(timeline: &mut Timeline, tip: &mut Tip, mut batch: Batch, fate: Fate) {
    let error = StoreError::TimedOut;
    while !batch.is_empty() {
        let before = *tip;
        let mut rows = batch.rows(&key(), before, DateTime::now());
        if let Fate::Broken(count) | Fate::Lost(count) | Fate::Killed(count) = fate {
            rows.truncate(count);
            let _ = timeline.insert(&rows);
            *tip = timeline.tip();
            let after = timeline.rows.iter().filter(|row| row.change > before.change).cloned().collect();
            return match fate {
                Fate::Broken(_) => batch.settle_unknown(after, &error),
                Fate::Lost(_) => batch.fail(&error),
                _ => drop(batch),
            };
        }
        match timeline.insert(&rows) {
            Ok(()) => {
                *tip = timeline.tip();
                batch.settle_stored(rows);
            }
            Err(stored) => {
                rows.truncate(stored);
                batch.settle_stored(rows);
                let refused = batch.front().and_then(|message| timeline.find(message));
                *tip = timeline.tip();
                if let Some(row) = refused {
                    batch.settle_front(row);
                }
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        4 => Just(Fate::Acknowledged),
        1 => (0_usize..6).prop_map(Fate::Broken),
        1 => (0_usize..6).prop_map(Fate::Lost),
        1 => (0_usize..6).prop_map(Fate::Killed),
    ];
    let messages = prop::collection::vec((0_u8..3, 0_u8..12, 0_u8..2), 1..8);
    let step = (0_usize..2, messages, fate);
    prop::collection::vec(step.prop_map(|(writer, messages, fate)| Step { writer, messages, fate }), 1..25)
}

proptest! {
    #[test]
    fn numbers_are_gapless_and_answers_are_true(steps in steps()) {
        let mut timeline = Timeline::default();
        // What each writer believes; behind the truth whenever the other one wrote.
        let mut tips = [Tip::default(); 2];
        let mut answers = Vec::new();
        for Step { writer, messages, fate } in steps {
            let (jobs, waiting): (Vec<_>, Vec<_>) = messages.iter().map(|message| job(*message)).unzip();
            write(&mut timeline, &mut tips[writer], Batch::new(jobs), fate);
            answers.extend(messages.into_iter().zip(waiting));
        }

        for (index, row) in timeline.rows.iter().enumerate() {
            let number = i64::try_from(index).unwrap() + 1;
            prop_assert_eq!((row.seq, row.change, row.last_seq), (number, number, number));
        }
        let mut created = HashSet::new();
        for ((sender, id, body), mut answer) in answers {
            let stored = timeline.find(&job((sender, id, body)).0.message);
            match answer.try_recv() {
                Ok(Ok(Sent::Created(message))) => {
                    prop_assert!(created.insert(message.id), "two were told that they created it");
                    prop_assert_eq!(Ok(message), Message::try_from(stored.unwrap()).map_err(|_| ()));
                }
                Ok(Ok(Sent::Repeated(message))) => {
                    prop_assert_eq!(&message.content, &body.to_string());
                    prop_assert_eq!(Ok(message), Message::try_from(stored.unwrap()).map_err(|_| ()));
                }
                Ok(Err(MessageError::Conflict)) => prop_assert!(stored.unwrap().body_sha256 != body.to_string()),
                Ok(Err(MessageError::Store(_))) | Err(_) => {}
                Ok(Err(error)) => prop_assert!(false, "{error}"),
            }
        }
    }
}

#[test]
fn messages_that_nobody_waits_for_are_not_stored() {
    let ((first, _abandoned), (mut second, _waiting)) = (job((1, 1, 1)), job((1, 2, 1)));
    let late = first.deadline + Duration::from_mins(1);
    second.deadline = late + Duration::from_mins(1);
    let mut batch = Batch::new([first, second]);

    batch.drop_expired(late);

    let rows = batch.rows(&key(), Tip::default(), DateTime::now());
    assert_eq!(rows.iter().map(|row| row.client_message_id.as_str()).collect::<Vec<_>>(), ["2"]);
}
