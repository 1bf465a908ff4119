//! Time that passes when everybody waits.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::{runtime::Builder, sync::oneshot};

use crate::storage::Clock;

/// How often everybody may run before time passes. Whoever needs more turns is slow, which may happen to anybody.
const TURNS: usize = 3;

/// How many tasks may run in a turn: more than there are.
const TASKS: u32 = 10_000;

/// When a world begins: 2026-03-01T12:00:00Z.
const START: Timestamp = Timestamp::constant(1_772_366_400, 0);

/// The time of a world, with all who sleep in it.
#[derive(Debug, Default)]
pub(super) struct Time(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    now: Duration,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    next: u64,
}

impl Time {
    /// Since the beginning.
    pub(super) fn now(&self) -> Duration {
        self.state().now
    }

    /// What a clock shows that is right.
    pub(super) fn wall(&self) -> Timestamp {
        START + SignedDuration::try_from(self.now()).unwrap()
    }

    pub(super) fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (wake, woken) = oneshot::channel();
        let mut state = self.state();
        let at = (state.now.saturating_add(duration), state.next);
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
                let _ = wake.send(());
                return;
            }
        }
        panic!("everybody waits, and nobody sleeps");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a world to the end of `main`, or until it `is_over`.
    pub(super) fn run(&self, main: impl Future<Output = ()>, is_over: impl Fn() -> bool) {
        let runtime = Builder::new_current_thread().event_interval(TASKS).build().unwrap();
        runtime.block_on(async {
            let mut main = pin!(main);
            let woken = Arc::new(Woken(AtomicBool::new(true)));
            let waker = Waker::from(Arc::clone(&woken));
            while !is_over() {
                for _ in 0..TURNS {
                    // `main` is large, and has nothing to do with most of what happens.
                    if woken.0.swap(false, Ordering::Relaxed)
                        && main.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
                    {
                        return;
                    }
                    tokio::task::yield_now().await;
                    if !woken.0.load(Ordering::Relaxed) {
                        break;
                    }
                }
                self.pass();
            }
        });
    }
}

/// Whether what a world waits for has something to do.
#[derive(Debug)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
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

/// What a process has of the world's time, and whether it runs at all.
#[derive(Debug)]
pub(super) struct ProcessClock {
    time: Arc<Time>,
    booted: Duration,
    /// How fast it counts, in thousandths of the world's time.
    rate: u32,
    state: Mutex<ClockState>,
}

#[derive(Debug)]
struct ClockState {
    pulse: Pulse,
    /// How wrong its wall clock is.
    skew: SignedDuration,
    until_running: Vec<oneshot::Sender<()>>,
    until_dead: Vec<oneshot::Sender<()>>,
}

impl ProcessClock {
    pub(super) fn new(time: Arc<Time>, booted: Duration, rate: u32, skew: SignedDuration) -> Self {
        let state = ClockState { pulse: Pulse::Running, skew, until_running: Vec::new(), until_dead: Vec::new() };
        Self { time, booted, rate, state: Mutex::new(state) }
    }

    pub(super) fn set(&self, pulse: Pulse) {
        let mut state = self.state();
        if state.pulse == Pulse::Dead {
            return;
        }
        state.pulse = pulse;
        let woken = match pulse {
            Pulse::Running => std::mem::take(&mut state.until_running),
            Pulse::Paused => Vec::new(),
            Pulse::Dead => std::mem::take(&mut state.until_dead),
        };
        drop(state);
        for wake in woken {
            let _ = wake.send(());
        }
    }

    pub(super) fn pulse(&self) -> Pulse {
        self.state().pulse
    }

    /// Sets the wall clock.
    pub(super) fn jump(&self, skew: SignedDuration) {
        self.state().skew = skew;
    }

    /// Goes on as soon as the process runs: never, once it is dead.
    pub(super) async fn running(&self) {
        loop {
            let woken = {
                let mut state = self.state();
                if state.pulse == Pulse::Running {
                    return;
                }
                let (wake, woken) = oneshot::channel();
                state.until_running.push(wake);
                woken
            };
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) async fn died(&self) {
        let woken = {
            let mut state = self.state();
            if state.pulse == Pulse::Dead {
                return;
            }
            let (wake, woken) = oneshot::channel();
            state.until_dead.push(wake);
            woken
        };
        let _ = woken.await;
    }

    fn state(&self) -> MutexGuard<'_, ClockState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process's clock, whose sleepers do not wake while it stands still.
#[derive(Debug, Clone)]
pub(super) struct OwnClock(pub(super) Arc<ProcessClock>);

impl Clock for OwnClock {
    fn now(&self) -> Timestamp {
        let skew = self.0.state().skew;
        self.0.time.wall() + skew
    }

    fn boot_time(&self) -> Duration {
        self.0.booted + self.0.time.now() * self.0.rate / 1_000
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let clock = Arc::clone(&self.0);
        let timer = clock.time.sleep(duration.saturating_mul(1_000) / clock.rate);
        Box::pin(async move {
            timer.await;
            clock.running().await;
        })
    }
}
