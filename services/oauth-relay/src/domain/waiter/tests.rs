//! Seats: who gets them, who loses them, and that a callback finds exactly one.

use std::{sync::atomic::AtomicBool, time::Instant};

use prometheus::Registry;
use proptest::prelude::*;

use super::*;
use crate::domain::callback::CodeKeys;

/// A waiter that takes what it gets, or does not.
#[derive(Default)]
struct Fake {
    is_gone: AtomicBool,
    delivered: AtomicUsize,
    dismissed: Mutex<Option<Dismissal>>,
}

impl Line for Fake {
    fn announce(&self) -> bool {
        !self.is_gone.load(Ordering::SeqCst)
    }

    fn deliver(self: Arc<Self>, _callback: Arc<Callback>) -> BoxFuture<'static, bool> {
        Box::pin(async move {
            self.delivered.fetch_add(1, Ordering::SeqCst);
            !self.is_gone.load(Ordering::SeqCst)
        })
    }

    fn dismiss(&self, reason: Dismissal) {
        *self.dismissed.lock().unwrap() = Some(reason);
    }
}

impl Fake {
    fn dismissal(&self) -> Option<Dismissal> {
        *self.dismissed.lock().unwrap()
    }

    fn deliveries(&self) -> usize {
        self.delivered.load(Ordering::SeqCst)
    }
}

fn settings() -> WaiterSettings {
    WaiterSettings {
        capacity: 3,
        duplicate: Duplicate::Replace,
        allow_stateless: true,
        strict_state: false,
        hold: Duration::ZERO,
        log_unmatched: true,
        default_timeout: Duration::from_mins(5),
        max_timeout: Duration::from_hours(1),
    }
}

fn waiters(settings: WaiterSettings) -> Arc<Waiters> {
    Arc::new(Waiters::new(settings, WaiterMetrics::register(&Registry::new()).unwrap()))
}

fn key(state: &str) -> StateKey {
    StateKey::of(Some(state))
}

fn sit(waiters: &Arc<Waiters>, state: &str, grace: Duration) -> (Arc<Fake>, Result<Seat, Refusal>) {
    sit_as(waiters, state, Owner::Local, grace)
}

fn sit_as(
    waiters: &Arc<Waiters>,
    state: &str,
    owner: Owner,
    grace: Duration,
) -> (Arc<Fake>, Result<Seat, Refusal>) {
    let fake = Arc::new(Fake::default());
    let line: Arc<dyn Line> = Arc::clone(&fake) as _;
    (fake, waiters.register(key(state), owner, &line, grace))
}

fn callback(state: &str) -> Callback {
    Callback::from_query(&format!("code=c&state={state}"), &CodeKeys::default()).unwrap()
}

fn client(name: &str) -> Owner {
    Owner::Client(name.into())
}

#[tokio::test]
async fn a_callback_is_delivered_once() {
    let waiters = waiters(settings());
    let (fake, seat) = sit(&waiters, "a", Duration::ZERO);
    let _seat = seat.unwrap();
    assert_eq!(waiters.deliver(callback("b")).await, Outcome::Unmatched);
    assert_eq!(waiters.deliver(callback("a")).await, Outcome::Delivered);
    assert_eq!(waiters.deliver(callback("a")).await, Outcome::Unmatched);
    assert_eq!(fake.deliveries(), 1);
}

#[tokio::test]
async fn what_did_not_arrive_is_not_delivered_and_the_seat_is_free() {
    let waiters = waiters(settings());
    let (fake, _seat) = sit(&waiters, "a", Duration::ZERO);
    fake.is_gone.store(true, Ordering::SeqCst);
    assert_eq!(waiters.deliver(callback("a")).await, Outcome::Unmatched);
    let (_, seat) = sit(&waiters, "a", Duration::ZERO);
    assert!(seat.is_ok());
}

#[tokio::test]
async fn the_last_waiter_wins_and_the_first_one_leaving_changes_nothing() {
    let waiters = waiters(settings());
    let (first, first_seat) = sit(&waiters, "a", Duration::ZERO);
    let (second, _second_seat) = sit(&waiters, "a", Duration::ZERO);
    assert_eq!(first.dismissal(), Some(Dismissal::Replaced));
    drop(first_seat);
    assert_eq!(waiters.deliver(callback("a")).await, Outcome::Delivered);
    assert_eq!((first.deliveries(), second.deliveries()), (0, 1));
}

#[test]
fn the_first_waiter_stays_where_the_second_is_rejected() {
    let waiters = waiters(WaiterSettings { duplicate: Duplicate::Reject, ..settings() });
    let (first, _seat) = sit(&waiters, "a", Duration::ZERO);
    assert_eq!(sit(&waiters, "a", Duration::ZERO).1.err(), Some(Refusal::Taken));
    assert_eq!(first.dismissal(), None);
}

#[test]
fn nobody_takes_the_seat_of_another_owner() {
    let waiters = waiters(settings());
    let (_, _seat) = sit_as(&waiters, "a", client("one"), Duration::ZERO);
    for stranger in [client("two"), Owner::Local] {
        let refusal = sit_as(&waiters, "a", stranger, Duration::ZERO).1.err();
        assert_eq!(refusal, Some(Refusal::Taken));
    }
    assert!(sit_as(&waiters, "a", client("one"), Duration::ZERO).1.is_ok());
}

#[test]
fn there_is_room_for_so_many_and_a_replacement_needs_none() {
    let waiters = waiters(settings());
    let seats: Vec<_> = ["a", "b", "c"].map(|state| sit(&waiters, state, Duration::ZERO).1.unwrap()).into();
    assert_eq!(sit(&waiters, "d", Duration::ZERO).1.err(), Some(Refusal::Capacity));
    assert!(sit(&waiters, "a", Duration::ZERO).1.is_ok());
    drop(seats);
    assert!(sit(&waiters, "d", Duration::ZERO).1.is_ok());
}

#[tokio::test]
async fn a_waiter_that_is_away_keeps_its_seat_for_a_while_and_gets_what_came_meanwhile() {
    let waiters = waiters(settings());
    let grace = Duration::from_secs(5);
    let (_, seat) = sit_as(&waiters, "a", client("one"), grace);
    drop(seat);
    let delivery = tokio::spawn({
        let waiters = Arc::clone(&waiters);
        async move { waiters.deliver(callback("a")).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(sit_as(&waiters, "a", client("two"), grace).1.err(), Some(Refusal::Taken));
    let (back, _seat) = sit_as(&waiters, "a", client("one"), grace);
    assert_eq!(delivery.await.unwrap(), Outcome::Delivered);
    assert_eq!(back.deliveries(), 1);
}

#[tokio::test]
async fn a_waiter_that_does_not_come_back_loses_its_seat() {
    let waiters = waiters(settings());
    let (_, seat) = sit_as(&waiters, "a", client("one"), Duration::from_millis(50));
    assert!(seat.as_ref().unwrap().step_away());
    drop(seat);
    assert_eq!(waiters.deliver(callback("a")).await, Outcome::Unmatched);
    let deadline = Instant::now() + Duration::from_secs(5);
    while sit_as(&waiters, "a", client("two"), Duration::ZERO).1.is_err() {
        assert!(Instant::now() < deadline, "the seat is not given up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_callback_may_wait_for_a_late_waiter_but_only_one_per_state() {
    let waiters = waiters(WaiterSettings { hold: Duration::from_secs(5), ..settings() });
    let early = tokio::spawn({
        let waiters = Arc::clone(&waiters);
        async move { waiters.deliver(callback("a")).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(waiters.deliver(callback("a")).await, Outcome::Unmatched);
    let (fake, _seat) = sit(&waiters, "a", Duration::ZERO);
    assert_eq!(early.await.unwrap(), Outcome::Delivered);
    assert_eq!(fake.deliveries(), 1);
}

#[tokio::test]
async fn callbacks_that_nobody_expects_leave_room_for_one_whose_waiter_comes_back() {
    let waiters = waiters(WaiterSettings { hold: Duration::from_secs(5), ..settings() });
    let spawn = |state: String| {
        let waiters = Arc::clone(&waiters);
        tokio::spawn(async move { waiters.deliver(callback(&state)).await })
    };
    let flood: Vec<_> = (0..MAX_HELD).map(|number| spawn(format!("flood-{number}"))).collect();
    // Until each of them has had its turn.
    for _ in 0..MAX_HELD {
        tokio::task::yield_now().await;
    }
    let started = Instant::now();
    assert_eq!(waiters.deliver(callback("one-more")).await, Outcome::Unmatched);
    assert!(started.elapsed() < Duration::from_secs(1), "there is no room for one more");
    let grace = Duration::from_secs(5);
    drop(sit_as(&waiters, "a", client("one"), grace));
    let expected = spawn("a".to_owned());
    tokio::task::yield_now().await;
    let (_, _seat) = sit_as(&waiters, "a", client("one"), grace);
    assert_eq!(expected.await.unwrap(), Outcome::Delivered);
    for callback in flood {
        callback.abort();
    }
}

#[tokio::test]
async fn a_browser_that_hangs_up_while_it_waits_takes_no_code_with_it() {
    let waiters = waiters(WaiterSettings { hold: Duration::from_mins(1), ..settings() });
    let early = tokio::spawn({
        let waiters = Arc::clone(&waiters);
        async move { waiters.deliver(callback("a")).await }
    });
    tokio::task::yield_now().await;
    early.abort();
    assert!(early.await.is_err());
    let (_, _seat) = sit(&waiters, "a", Duration::ZERO);
    assert_eq!(waiters.deliver(callback("a")).await, Outcome::Delivered);
}

#[test]
fn the_maximum_bounds_what_is_asked_for_and_not_the_default() {
    let hours = Duration::from_hours;
    let waiters = waiters(WaiterSettings { default_timeout: hours(2), max_timeout: hours(1), ..settings() });
    assert_eq!(waiters.timeout(None), hours(2));
    assert_eq!(waiters.timeout(Some(hours(3))), hours(2));
    assert_eq!(waiters.timeout(Some(Duration::from_secs(1))), Duration::from_secs(1));
}

#[test]
fn what_may_be_waited_for_depends_on_the_settings() {
    let lenient = waiters(settings());
    assert!(lenient.admit(None).is_ok() && lenient.admit(Some("short")).is_ok());
    let strict = waiters(WaiterSettings { allow_stateless: false, strict_state: true, ..settings() });
    assert_eq!(strict.admit(None), Err(Refusal::Stateless));
    assert_eq!(strict.admit(Some("")), Err(Refusal::Stateless));
    assert_eq!(strict.admit(Some("short")), Err(Refusal::Weak));
    assert!(strict.admit(Some("0123456789abcdef")).is_ok());
    assert_eq!(lenient.admit(Some(&"s".repeat(MAX_STATE_BYTES + 1))), Err(Refusal::Long));
}

#[tokio::test]
async fn everybody_is_sent_away_at_the_end_and_nobody_comes() {
    let waiters = waiters(settings());
    let (fake, _seat) = sit(&waiters, "a", Duration::ZERO);
    waiters.close();
    assert_eq!(fake.dismissal(), None);
    assert_eq!(sit(&waiters, "b", Duration::ZERO).1.err(), Some(Refusal::Shutdown));
    waiters.dismiss_all();
    assert_eq!(fake.dismissal(), Some(Dismissal::Shutdown));
    assert_eq!(waiters.deliver(callback("a")).await, Outcome::Unmatched);
}

#[derive(Clone, Debug)]
enum Step {
    Sit(u8, u8),
    Leave(u8),
    Expire(u8),
    Callback(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8, 0..3u8).prop_map(|(state, owner)| Step::Sit(state, owner)),
        (0..8u8).prop_map(Step::Leave),
        (0..8u8).prop_map(Step::Expire),
        (0..4u8).prop_map(Step::Callback),
    ]
}

proptest! {
    /// Against a model in which a state has at most one waiter.
    #[test]
    fn a_callback_reaches_the_waiter_that_sits_there(steps in proptest::collection::vec(step(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let waiters = waiters(settings());
        let mut seats: Vec<Option<(u8, Arc<Fake>, Seat)>> = Vec::new();
        let mut model: std::collections::HashMap<u8, (u8, usize)> = std::collections::HashMap::new();
        for step in steps {
            match step {
                Step::Sit(state, owner) => {
                    let is_free = model.get(&state).is_none_or(|(holder, _)| *holder == owner);
                    let has_room = model.contains_key(&state) || model.len() < 3;
                    let name = client(&owner.to_string());
                    let (fake, seat) = sit_as(&waiters, &state.to_string(), name, Duration::ZERO);
                    prop_assert_eq!(seat.is_ok(), is_free && has_room);
                    if let Ok(seat) = seat {
                        model.insert(state, (owner, seats.len()));
                        seats.push(Some((state, fake, seat)));
                    }
                }
                Step::Leave(index) | Step::Expire(index) => {
                    let index = usize::from(index);
                    let Some(Some((state, _, seat))) = seats.get_mut(index).map(Option::take) else { continue };
                    let is_held = model.get(&state).is_some_and(|(_, holder)| *holder == index);
                    if matches!(step, Step::Expire(_)) {
                        prop_assert_eq!(seat.expire(), is_held);
                    }
                    if is_held {
                        model.remove(&state);
                    }
                }
                Step::Callback(state) => {
                    let outcome = runtime.block_on(waiters.deliver(callback(&state.to_string())));
                    match model.remove(&state) {
                        None => prop_assert_eq!(outcome, Outcome::Unmatched),
                        Some((_, holder)) => {
                            prop_assert_eq!(outcome, Outcome::Delivered);
                            let delivered = seats[holder].as_ref().unwrap().1.deliveries();
                            prop_assert_eq!(delivered, 1);
                        }
                    }
                }
            }
            prop_assert_eq!(waiters.room().len(), model.len());
        }
    }
}
