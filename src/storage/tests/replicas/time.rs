//! Time that passes when everybody waits.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{oneshot, watch};

use crate::storage::Clock;

/// How often everybody may run before time passes. Whoever needs more turns is slow, which may happen to anybody.
const TURNS: usize = 8;

/// The time of a simulated world, with all who sleep in it.
#[derive(Debug, Default)]
pub(super) struct Time(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    now: Duration,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    next: u64,
}

impl Time {
    pub(super) fn now(&self) -> Duration {
        self.state().now
    }

    pub(super) fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (wake, woken) = oneshot::channel();
        let mut state = self.state();
        let at = (state.now + duration, state.next);
        state.next += 1;
        state.sleepers.insert(at, wake);
        Box::pin(async move {
            let _ = woken.await;
        })
    }

    /// Goes to the moment at which the next one wakes.
    fn pass(&self) {
        let mut state = self.state();
        // Whoever does not sleep any more is passed over.
        while let Some(((at, _), wake)) = state.sleepers.pop_first() {
            if !wake.is_closed() {
                state.now = at;
                // Who stopped listening since is not waiting any more.
                let _ = wake.send(());
                return;
            }
        }
        panic!("everybody waits, and nobody sleeps");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a world to the end of `main`.
    pub(super) async fn run<T>(&self, main: impl Future<Output = T>) -> T {
        futures::pin_mut!(main);
        loop {
            for _ in 0..TURNS {
                if let std::task::Poll::Ready(result) = futures::poll!(main.as_mut()) {
                    return result;
                }
                tokio::task::yield_now().await;
            }
            self.pass();
        }
    }
}

/// Whether a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    Running,
    /// As by SIGSTOP: it may go on at any time, and does not know that it stood still.
    Paused,
    Dead,
}

/// What a process has of the world's time: its own count of it, and whether it runs at all.
#[derive(Debug)]
pub(super) struct ProcessClock {
    time: Arc<Time>,
    booted: Duration,
    /// By how much its wall clock is ahead of the world's.
    ahead: Mutex<SignedDuration>,
    pub(super) pulse: watch::Sender<Pulse>,
}

impl ProcessClock {
    pub(super) fn new(time: Arc<Time>, booted: Duration) -> Self {
        Self { time, booted, ahead: Mutex::default(), pulse: watch::Sender::new(Pulse::Running) }
    }

    /// Sets the wall clock wrong.
    pub(super) fn set_ahead(&self, ahead: SignedDuration) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = ahead;
    }

    /// Goes on as soon as the process runs: never, once it is dead.
    pub(super) fn running(&self) -> BoxFuture<'static, ()> {
        let mut pulse = self.pulse.subscribe();
        Box::pin(async move {
            if pulse.wait_for(|pulse| *pulse == Pulse::Running).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    pub(super) async fn died(&self) {
        let _ = self.pulse.subscribe().wait_for(|pulse| *pulse == Pulse::Dead).await;
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let ahead = *self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        start + SignedDuration::try_from(self.time.now()).unwrap() + ahead
    }

    fn boot_time(&self) -> Duration {
        self.booted + self.time.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (timer, running) = (self.time.sleep(duration), self.running());
        Box::pin(async move {
            timer.await;
            running.await;
        })
    }
}
