//! A verifier whose keys and revocations the test holds in its hand.

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use common_auth::{
    AuthError, AuthMetrics, Authenticator, VerifiedToken, Verifier, VerifierSettings,
    authenticator::Background,
    keys::{Fetched, JsonWebKeySet, JwksManager, JwksSettings, JwksSource, SourceError},
    revocation::RevocationWatcher,
    testing::{TestIssuer, TestToken},
};
use futures_util::future::BoxFuture;
use prometheus::Registry;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::feed::Feed;

pub(crate) const ISSUER: &str = "https://auth.example";
pub(crate) const AUDIENCE: &str = "chat-api";
pub(crate) const ORG: Uuid = Uuid::from_u128(0x0a);
pub(crate) const OTHER_ORG: Uuid = Uuid::from_u128(0x0b);
pub(crate) const ALICE: Uuid = Uuid::from_u128(0xa1);

/// Made once: a key pair takes longer than all that is done with it.
static ISSUERS: LazyLock<[Arc<TestIssuer>; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Arc::new(TestIssuer::new(ISSUER))));

/// What the key source answers.
#[derive(Clone)]
pub(crate) enum Answer {
    Keys(Value),
    Unchanged,
    Unreachable,
    Unusable,
    Panic,
}

/// A source of keys that counts, fails and hesitates as the test wants.
#[derive(Clone)]
pub(crate) struct Keys(Arc<KeysInner>);

struct KeysInner {
    answer: Mutex<Answer>,
    fetches: AtomicUsize,
    forced: AtomicUsize,
    held: watch::Sender<bool>,
}

impl Keys {
    pub(crate) fn new(answer: Answer) -> Self {
        Self(Arc::new(KeysInner {
            answer: Mutex::new(answer),
            fetches: AtomicUsize::new(0),
            forced: AtomicUsize::new(0),
            held: watch::Sender::new(false),
        }))
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    pub(crate) fn publish(&self, issuer: &TestIssuer) {
        self.answer(Answer::Keys(issuer.jwks()));
    }

    /// From now on an answer only goes out after [`Keys::release`].
    pub(crate) fn hold(&self) {
        self.0.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.0.held.send_replace(false);
    }

    pub(crate) fn fetches(&self) -> usize {
        self.0.fetches.load(Ordering::SeqCst)
    }

    pub(crate) fn forced_fetches(&self) -> usize {
        self.0.forced.load(Ordering::SeqCst)
    }
}

impl JwksSource for Keys {
    fn fetch(&self, forced: bool) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        // What the source knew when it was asked, not what it learns while it hesitates.
        let answer = self.0.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.0.fetches.fetch_add(1, Ordering::SeqCst);
        self.0.forced.fetch_add(usize::from(forced), Ordering::SeqCst);
        Box::pin(async move {
            let _ = self.0.held.subscribe().wait_for(|held| !held).await;
            match answer {
                Answer::Keys(set) => Ok(Fetched::Keys(serde_json::from_value::<JsonWebKeySet>(set).unwrap())),
                Answer::Unchanged => Ok(Fetched::Unchanged),
                Answer::Unreachable => Err(SourceError::Unavailable("unplugged".to_owned())),
                Answer::Unusable => Err(SourceError::Unusable("gibberish".to_owned())),
                Answer::Panic => panic!("the source panics"),
            }
        })
    }
}

/// One verifier with all that it stands on.
pub(crate) struct World {
    pub(crate) issuer: Arc<TestIssuer>,
    pub(crate) keys: Keys,
    pub(crate) feed: Feed,
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<AuthMetrics>,
    pub(crate) verifier: Arc<Verifier>,
}

/// What a test changes about a [`World`] before it is made.
pub(crate) struct Setup {
    pub(crate) issuer: Arc<TestIssuer>,
    pub(crate) answer: Answer,
    pub(crate) verifier: VerifierSettings,
    pub(crate) jwks: JwksSettings,
}

impl World {
    /// A world whose keys are loaded.
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// A world with other settings, whose keys are loaded.
    pub(crate) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let world = Self::unloaded(change);
        let _ = world.manager().fetch(false).await;
        world
    }

    /// A world that has not fetched its keys.
    pub(crate) fn unloaded(change: impl FnOnce(&mut Setup)) -> Self {
        let issuer = issuer();
        let mut setup = Setup {
            answer: Answer::Keys(issuer.jwks()),
            issuer,
            verifier: VerifierSettings::new(ISSUER, AUDIENCE),
            jwks: JwksSettings { fetch_timeout: Duration::from_secs(5), ..JwksSettings::default() },
        };
        change(&mut setup);
        let registry = Registry::new();
        let metrics = AuthMetrics::register(&registry).unwrap();
        let (keys, feed) = (Keys::new(setup.answer), Feed::default());
        let manager = Arc::new(JwksManager::new(keys.clone(), setup.jwks, Arc::clone(&metrics)));
        let watcher = Arc::new(RevocationWatcher::new(feed.clone(), Arc::clone(&metrics)));
        let verifier = Arc::new(Verifier::new(setup.verifier, manager, watcher, Arc::clone(&metrics)));
        Self { issuer: setup.issuer, keys, feed, registry, metrics, verifier }
    }

    pub(crate) fn manager(&self) -> &Arc<JwksManager> {
        self.verifier.keys()
    }

    pub(crate) fn authenticator(&self) -> Authenticator {
        Authenticator::local(Arc::clone(&self.verifier))
    }

    /// Starts the background tasks and waits until keys and revocations are loaded.
    pub(crate) async fn start(&self) -> Background {
        let authenticator = self.authenticator();
        let background = authenticator.start();
        eventually("ready", || authenticator.is_ready()).await;
        background
    }

    pub(crate) fn alice(&self) -> TestToken<'_> {
        self.issuer.user(ALICE, ORG)
    }

    /// Why a token is refused; `None` where it is not.
    pub(crate) async fn refusal(&self, token: &str) -> Option<AuthError> {
        self.verifier.verify(token).await.err()
    }

    pub(crate) async fn refusal_at(&self, token: &str, now: i64) -> Option<AuthError> {
        self.verifier.verify_at(token, now).await.err()
    }

    pub(crate) async fn accept(&self, token: &str) -> Arc<VerifiedToken> {
        match self.verifier.verify(token).await {
            Ok(token) => token,
            Err(error) => panic!("refused: {}", error.reason()),
        }
    }
}

/// The issuer that most tests share; it keeps its key.
pub(crate) fn issuer() -> Arc<TestIssuer> {
    let [issuer, _] = &*ISSUERS;
    Arc::clone(issuer)
}

/// Another issuer of the same name with another key: what an impostor has.
pub(crate) fn impostor() -> Arc<TestIssuer> {
    let [_, impostor] = &*ISSUERS;
    Arc::clone(impostor)
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what a check says")]
pub(crate) fn invalid(reason: &'static str) -> Option<AuthError> {
    Some(AuthError::InvalidToken(reason))
}

pub(crate) fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

/// Waits for a condition, and fails when it does not come true in ten seconds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until so many revocations are in force.
pub(crate) async fn in_force(world: &World, count: i64) {
    eventually("the revocations", || world.metrics.revocations.get() == count).await;
}

/// A world that reads the feed of another, as a service that was started later.
pub(crate) async fn started_later(feed: &Feed) -> (World, Background) {
    started_later_with(feed, |_| ()).await
}

/// A world that was started later, with other settings.
pub(crate) async fn started_later_with(feed: &Feed, change: impl FnOnce(&mut Setup)) -> (World, Background) {
    let mut world = World::unloaded(change);
    let manager = Arc::clone(world.manager());
    let watcher = Arc::new(RevocationWatcher::new(feed.clone(), Arc::clone(&world.metrics)));
    let settings = VerifierSettings::new(ISSUER, AUDIENCE);
    let metrics = Arc::clone(&world.metrics);
    world.verifier = Arc::new(Verifier::new(settings, manager, watcher, metrics));
    let background = world.start().await;
    (world, background)
}
