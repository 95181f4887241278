//! One writer per group and process: it gives messages their numbers and stores them in ordered batches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mongodb::bson::DateTime;
use prometheus::{Histogram, HistogramOpts, IntCounter, Registry};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::Instant,
};
use uuid::Uuid;

use common_auth::Principal;

use super::{
    ClientMessageId, Content, MessageError, SendMessage, Sent,
    batch::{Batch, SendJob},
    body_digest,
    history::with_replies,
};
use crate::{
    domain::group::{Access, GroupError, Groups, Heads},
    store::{
        GroupKey, Store, StoreError,
        message::{Inserted, NewMessage, ThreadRef, TimelineRecord, Tip},
    },
};

/// How often a number may look taken without its row being visible, before the store counts as failing.
const MAX_STALLS: u32 = 40;

/// The bounds of sending.
#[derive(Clone, Copy, Debug)]
pub struct WriterSettings {
    /// Messages of one group that may wait.
    pub queue: usize,
    /// Messages stored by one insert.
    pub batch: usize,
    /// A writer without work ends after this.
    pub idle: Duration,
    /// The longest that a request waits for the store.
    pub limit: Duration,
}

/// What the writers count.
#[derive(Clone)]
pub struct WriterMetrics {
    created: IntCounter,
    repeated: IntCounter,
    refused: IntCounter,
    batch_size: Histogram,
}

/// Sends messages.
pub struct MessageWriter {
    groups: Arc<Groups>,
    store: Store,
    heads: Arc<Heads>,
    settings: WriterSettings,
    metrics: WriterMetrics,
    queues: Arc<Queues>,
    /// Writers outlive the request, and the worker thread, that started them.
    runtime: Handle,
}

type Queues = Mutex<HashMap<GroupKey, mpsc::Sender<SendJob>>>;

impl WriterSettings {
    /// The usual bounds; requests wait for the store no longer than `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { queue: 1024, batch: 128, idle: Duration::from_secs(30), limit }
    }
}

impl WriterMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry already has one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let batch_size = Histogram::with_opts(
            HistogramOpts::new("chat_message_batch_size", "Messages stored by one insert.")
                .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]),
        )?;
        registry.register(Box::new(batch_size.clone()))?;
        Ok(Self {
            created: counter("chat_messages_created_total", "Messages stored.")?,
            repeated: counter("chat_messages_repeated_total", "Messages that were stored before.")?,
            refused: counter("chat_messages_refused_total", "Messages refused since a queue was full.")?,
            batch_size,
        })
    }
}

impl MessageWriter {
    /// A sender without writers yet, which will run on the current runtime.
    pub fn new(
        groups: Arc<Groups>,
        store: Store,
        heads: Arc<Heads>,
        settings: WriterSettings,
        metrics: WriterMetrics,
    ) -> Self {
        let runtime = Handle::current();
        Self { groups, store, heads, settings, metrics, queues: Arc::default(), runtime }
    }

    /// Stores a message of the caller, or of the member that a calling service names.
    ///
    /// # Errors
    /// Any [`MessageError`] but [`MessageError::NotFound`].
    pub async fn send(
        &self,
        caller: &Principal,
        org_id: Option<Uuid>,
        group_id: Uuid,
        request: SendMessage,
    ) -> Result<Sent, MessageError> {
        let access = self.groups.access(caller, org_id, group_id).await?;
        let sender_id = sender(caller, &access, request.sender_id)?;
        let content = Content::parse(request.content)?;
        let client_message_id = match request.client_message_id {
            Some(id) => ClientMessageId::parse(id)?,
            None => ClientMessageId::generate(),
        };
        let deadline = Instant::now() + self.settings.limit;
        let sent = tokio::time::timeout_at(deadline, async {
            let thread = match request.thread_root {
                Some(root_id) => Some(self.find_thread(&access.key, root_id).await?),
                None => None,
            };
            let message = NewMessage {
                id: Uuid::now_v7(),
                sender_id,
                client_message_id: client_message_id.0,
                body_sha256: body_digest(&content, thread),
                content: content.0,
                thread,
            };
            let answer = self.enqueue(access.key, message, deadline)?;
            match answer.await.unwrap_or(Err(MessageError::Unavailable))? {
                Sent::Created(message) => Ok(Sent::Created(message)),
                Sent::Repeated(message) => {
                    Ok(Sent::Repeated(with_replies(&self.store, &access.key, message).await?))
                }
            }
        })
        .await
        .unwrap_or(Err(MessageError::Unavailable))?;
        Ok(self.count(sent))
    }

    async fn find_thread(&self, key: &GroupKey, root_id: Uuid) -> Result<ThreadRef, MessageError> {
        match self.store.find_message(key, root_id).await? {
            Some(root) if root.thread_root.is_none() => Ok(ThreadRef { root_id, root_seq: root.seq }),
            Some(_) => Err(MessageError::Invalid("thread_root must not be a reply itself")),
            None => Err(MessageError::Invalid("thread_root must be a message of this group")),
        }
    }

    /// Hands the message to the group's writer, which a caller who hangs up does not stop.
    fn enqueue(
        &self,
        key: GroupKey,
        message: NewMessage,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<Sent, MessageError>>, MessageError> {
        let (reply, answer) = oneshot::channel();
        // Sending under the lock is what lets an idle writer end without losing a message.
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.get(&key).is_none_or(mpsc::Sender::is_closed) {
            queues.insert(key, self.start_writer(key));
        }
        let is_queued = queues
            .get(&key)
            .is_some_and(|queue| queue.try_send(SendJob { message, reply, deadline }).is_ok());
        drop(queues);
        if is_queued {
            return Ok(answer);
        }
        self.metrics.refused.inc();
        Err(MessageError::Busy)
    }

    fn start_writer(&self, key: GroupKey) -> mpsc::Sender<SendJob> {
        let (queue, jobs) = mpsc::channel(self.settings.queue);
        let writer = GroupWriter {
            key,
            store: self.store.clone(),
            heads: Arc::clone(&self.heads),
            settings: self.settings,
            batch_size: self.metrics.batch_size.clone(),
            queues: Arc::clone(&self.queues),
            tip: None,
            located: 0,
        };
        self.runtime.spawn(writer.run(jobs));
        queue
    }

    fn count(&self, sent: Sent) -> Sent {
        match sent {
            Sent::Created(_) => self.metrics.created.inc(),
            Sent::Repeated(_) => self.metrics.repeated.inc(),
        }
        sent
    }
}

/// The writer of one group in this process.
struct GroupWriter {
    key: GroupKey,
    store: Store,
    heads: Arc<Heads>,
    settings: WriterSettings,
    batch_size: Histogram,
    queues: Arc<Queues>,
    /// Where the numbers stand, as far as this writer knows; others may have gone further.
    tip: Option<Tip>,
    /// How often the store was prepared when the tip was looked up.
    located: u64,
}

impl GroupWriter {
    async fn run(mut self, mut jobs: mpsc::Receiver<SendJob>) {
        loop {
            match tokio::time::timeout(self.settings.idle, jobs.recv()).await {
                Ok(Some(first)) => {
                    let mut batch = vec![first];
                    while batch.len() < self.settings.batch
                        && let Ok(job) = jobs.try_recv()
                    {
                        batch.push(job);
                    }
                    self.write(Batch::new(batch)).await;
                }
                Ok(None) => return,
                Err(_idle) => {
                    let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
                    if jobs.is_empty() {
                        queues.remove(&self.key);
                        return;
                    }
                }
            }
        }
    }

    /// Stores every message of the batch, or tells its senders why not.
    async fn write(&mut self, mut batch: Batch) {
        let mut stalls = 0;
        loop {
            batch.drop_expired(Instant::now());
            if batch.is_empty() {
                return;
            }
            let before = match self.locate().await {
                Ok(tip) => tip,
                Err(error) => return batch.fail(&error),
            };
            let mut rows = batch.rows(&self.key, before, DateTime::now());
            match self.store.insert_timeline(&rows).await {
                Ok(Inserted::All) => {
                    self.advance(&rows);
                    batch.settle_stored(rows);
                }
                Ok(Inserted::Duplicate(stored)) => {
                    rows.truncate(stored);
                    self.advance(&rows);
                    batch.settle_stored(rows);
                    match self.resolve_refusal(&mut batch).await {
                        Ok(true) => stalls = 0,
                        Ok(false) if stalls < MAX_STALLS => stalls += 1,
                        Ok(false) => return batch.fail(&StoreError::TimedOut),
                        Err(error) => return batch.fail(&error),
                    }
                    // Another replica's row that is not acknowledged yet: it becomes visible, or goes away.
                    tokio::time::sleep(Duration::from_millis(u64::from(stalls))).await;
                }
                Err(error) => return self.settle_unknown(batch, before, error).await,
            }
        }
    }

    /// Finds out why the first message was refused, and says whether that was of any help.
    ///
    /// Either its sender stored it before, which settles it, or another replica took its number, which moves the tip.
    async fn resolve_refusal(&mut self, batch: &mut Batch) -> Result<bool, StoreError> {
        let Some(refused) = batch.front() else { return Ok(true) };
        let before = self.tip.unwrap_or_default();
        // At once, since the other replica goes on meanwhile.
        let (stored, tip) = futures_util::future::try_join(
            self.store.find_by_client_message_id(&self.key, refused.sender_id, &refused.client_message_id),
            self.store.find_tip(&self.key, before),
        )
        .await?;
        self.tip = Some(tip);
        let is_settled = stored.is_some();
        if let Some(row) = stored {
            batch.settle_front(row);
        }
        Ok(is_settled || tip != before)
    }

    /// Looks which rows arrived all the same. What did not may still do so, hence is told to nobody as failed for good.
    async fn settle_unknown(&mut self, batch: Batch, before: Tip, error: StoreError) {
        self.tip = None;
        tracing::warn!(%error, "the outcome of an insert is unknown");
        match self.store.list_changes(&self.key, before.change).await {
            Ok(rows) => batch.settle_unknown(rows, &error),
            Err(_) => batch.fail(&error),
        }
    }

    async fn locate(&mut self) -> Result<Tip, StoreError> {
        let times_prepared = self.store.times_prepared();
        if let Some(tip) = self.tip
            && self.located == times_prepared
        {
            return Ok(tip);
        }
        self.located = times_prepared;
        let tip = self.heads.find_tip_to_write(&self.key).await?;
        self.tip = Some(tip);
        Ok(tip)
    }

    /// Notes that these rows are stored.
    fn advance(&mut self, rows: &[TimelineRecord]) {
        let Some(last) = rows.last() else { return };
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        self.batch_size.observe(rows.len() as f64);
        self.tip = Some(last.tip());
        self.heads.note_written(&self.key, last);
    }
}

/// Whom the message will be from.
fn sender(caller: &Principal, access: &Access, named: Option<Uuid>) -> Result<Uuid, MessageError> {
    match (caller, named) {
        (Principal::User(user), None) => Ok(user.user_id),
        (Principal::User(user), Some(named)) if named == user.user_id => Ok(named),
        (Principal::User(_), Some(_)) => Err(MessageError::SenderMismatch),
        (Principal::Service(_), None) => Err(MessageError::Invalid("sender_id is required for a service")),
        (Principal::Service(_), Some(named)) if access.group.has_member(named) => Ok(named),
        (Principal::Service(_), Some(_)) => Err(GroupError::NotAMember.into()),
    }
}
