//! Reading messages. `seq` has no holes, so which numbers a page holds is known before it is read.

use std::{sync::Arc, time::Duration};

use common_auth::Principal;
use uuid::Uuid;

use super::{Message, MessageError, within};
use crate::{
    domain::group::{Groups, Heads},
    store::{GroupKey, Store, message::Tip},
};

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Newest,
    Before(i64),
    After(i64),
    Around(i64),
}

/// A page of messages, ascending.
#[derive(Clone, Debug)]
pub struct History {
    pub messages: Vec<Message>,
    /// Whether there are more in the direction of reading; around a message, in either.
    pub has_more: bool,
    pub last_seq: i64,
    pub last_change: i64,
}

/// Reads messages.
pub struct MessageReader {
    groups: Arc<Groups>,
    store: Store,
    heads: Arc<Heads>,
    limit: Duration,
}

impl Anchor {
    /// The first and the last number of a page of at most `limit`, and whether there are more. Nothing when first > last.
    fn range(self, limit: i64, last_seq: i64) -> (i64, i64, bool) {
        let backwards = |last: i64| {
            let first = (last - limit + 1).max(1);
            (first, last, first > 1 && first <= last)
        };
        match self {
            Self::Newest => backwards(last_seq),
            Self::Before(seq) => backwards(seq.saturating_sub(1).min(last_seq)),
            Self::After(seq) => {
                let first = seq.max(0).saturating_add(1);
                let last = first.saturating_add(limit - 1).min(last_seq);
                (first, last, first <= last && last < last_seq)
            }
            Self::Around(seq) => {
                let middle = seq.clamp(1, last_seq.max(1));
                let last = (middle - limit / 2).max(1).saturating_add(limit - 1).min(last_seq);
                let first = (last - limit + 1).max(1);
                (first, last, first > 1 || last < last_seq)
            }
        }
    }
}

impl MessageReader {
    /// Requests wait for the store no longer than `limit`.
    pub fn new(groups: Arc<Groups>, store: Store, heads: Arc<Heads>, limit: Duration) -> Self {
        Self { groups, store, heads, limit }
    }

    /// A page of at most `limit` messages of a group.
    ///
    /// # Errors
    /// [`MessageError::Group`] or [`MessageError::Store`].
    pub async fn list(
        &self,
        caller: &Principal,
        org_id: Option<Uuid>,
        group_id: Uuid,
        anchor: Anchor,
        limit: u8,
    ) -> Result<History, MessageError> {
        let key = self.groups.access(caller, org_id, group_id).await?.key;
        within(self.limit, async {
            let Tip { change, seq } = self.heads.find_tip(&key).await?;
            let (first, last, has_more) = anchor.range(i64::from(limit), seq);
            let messages = self.page(&key, first, last).await?;
            Ok(History { messages, has_more, last_seq: seq, last_change: change })
        })
        .await
    }

    /// One message of a group.
    ///
    /// # Errors
    /// [`MessageError::NotFound`], [`MessageError::Group`] or [`MessageError::Store`].
    pub async fn find(
        &self,
        caller: &Principal,
        org_id: Option<Uuid>,
        group_id: Uuid,
        message_id: Uuid,
    ) -> Result<Message, MessageError> {
        let key = self.groups.access(caller, org_id, group_id).await?.key;
        within(self.limit, async {
            let row = self.store.find_message(&key, message_id).await?.ok_or(MessageError::NotFound)?;
            with_replies(&self.store, &key, Message::try_from(row)?).await
        })
        .await
    }

    async fn page(&self, key: &GroupKey, first: i64, last: i64) -> Result<Vec<Message>, MessageError> {
        let (rows, replies) = futures_util::future::try_join(
            self.store.list_messages(key, first, last),
            self.store.count_replies(key, first, last),
        )
        .await?;
        rows.into_iter()
            .map(|row| {
                let reply_count = replies.get(&row.id).copied().unwrap_or_default();
                Ok(Message { reply_count, ..Message::try_from(row)? })
            })
            .collect()
    }
}

/// The message with the number of its replies.
pub(super) async fn with_replies(
    store: &Store,
    key: &GroupKey,
    message: Message,
) -> Result<Message, MessageError> {
    let replies = store.count_replies(key, message.seq, message.seq).await?;
    let reply_count = replies.get(&message.id.to_string()).copied().unwrap_or_default();
    Ok(Message { reply_count, ..message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_page_ends_with_the_last_message() {
        assert_eq!(Anchor::Newest.range(50, 0), (1, 0, false));
        assert_eq!(Anchor::Newest.range(50, 50), (1, 50, false));
        assert_eq!(Anchor::Newest.range(50, 51), (2, 51, true));
    }

    #[test]
    fn a_page_before_a_number_ends_in_front_of_it() {
        assert_eq!(Anchor::Before(101).range(50, 200), (51, 100, true));
        assert_eq!(Anchor::Before(11).range(50, 200), (1, 10, false));
        assert_eq!(Anchor::Before(1).range(50, 200), (1, 0, false));
        assert_eq!(Anchor::Before(i64::MAX).range(50, 200), (151, 200, true));
        assert_eq!(Anchor::Before(0).range(50, 200), (1, -1, false));
    }

    #[test]
    fn a_page_after_a_number_starts_behind_it() {
        assert_eq!(Anchor::After(0).range(50, 200), (1, 50, true));
        assert_eq!(Anchor::After(150).range(50, 200), (151, 200, false));
        assert_eq!(Anchor::After(200).range(50, 200), (201, 200, false));
        let (first, last, has_more) = Anchor::After(i64::MAX).range(50, 200);
        assert!(first > last && !has_more);
    }

    #[test]
    fn a_page_around_a_number_is_full_where_it_can_be() {
        assert_eq!(Anchor::Around(100).range(50, 200), (75, 124, true));
        assert_eq!(Anchor::Around(1).range(50, 200), (1, 50, true));
        assert_eq!(Anchor::Around(200).range(50, 200), (151, 200, true));
        assert_eq!(Anchor::Around(7).range(50, 10), (1, 10, false));
        assert_eq!(Anchor::Around(7).range(50, 0), (1, 0, false));
    }

    proptest::proptest! {
        #[test]
        fn every_page_lies_within_the_timeline(
            seq in proptest::prelude::any::<i64>(), limit in 1_i64..=200, last_seq in 0_i64..1_000_000,
        ) {
            for anchor in [Anchor::Newest, Anchor::Before(seq), Anchor::After(seq), Anchor::Around(seq)] {
                let (first, last, _) = anchor.range(limit, last_seq);
                proptest::prop_assert!(last <= last_seq);
                proptest::prop_assert!(first > last || (first >= 1 && last - first < limit));
            }
        }
    }
}
