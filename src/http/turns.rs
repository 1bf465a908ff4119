//! Turns at something that few can do at once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Gives turns by lanes: whoever waits in one lane comes after each lane had its turn, however many wait in another.
///
/// # Assumptions
/// Who waits is bounded by the connections that there are.
#[derive(Debug)]
pub(super) struct Turns<K>(Arc<Mutex<State<K>>>);

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<K> {
    /// Nothing where it was given to nobody.
    turns: Option<Arc<Mutex<State<K>>>>,
}

#[derive(Debug)]
struct State<K> {
    free: usize,
    /// Those that wait, by lane; the lane at the front is next. None is empty.
    lanes: VecDeque<(K, VecDeque<oneshot::Sender<Turn<K>>>)>,
}

impl<K: PartialEq> Turns<K> {
    /// So many turns at once.
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: at_once, lanes: VecDeque::new() })))
    }

    /// Waits for a turn; who is dropped meanwhile gives it up.
    pub(super) async fn take(&self, lane: K) -> Turn<K> {
        let Some(turn) = self.ask(lane) else {
            return Turn { turns: Some(Arc::clone(&self.0)) };
        };
        match turn.await {
            Ok(turn) => turn,
            // Nobody drops a sender before it gave its turn.
            Err(_) => std::future::pending().await,
        }
    }

    /// Queues; `None` where a turn was free.
    fn ask(&self, lane: K) -> Option<oneshot::Receiver<Turn<K>>> {
        let mut state = lock(&self.0);
        if state.free > 0 {
            state.free -= 1;
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        match state.lanes.iter_mut().find(|(known, _)| *known == lane) {
            Some((_, waiting)) => waiting.push_back(sender),
            None => state.lanes.push_back((lane, VecDeque::from([sender]))),
        }
        Some(receiver)
    }
}

impl<K> State<K> {
    /// Who is next; where nobody is, the turn is free.
    fn next(&mut self) -> Option<oneshot::Sender<Turn<K>>> {
        let Some((lane, mut waiting)) = self.lanes.pop_front() else {
            self.free += 1;
            return None;
        };
        let next = waiting.pop_front();
        if !waiting.is_empty() {
            self.lanes.push_back((lane, waiting));
        }
        next
    }
}

impl<K> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else { return };
        loop {
            // A statement of its own: the lock must not be held while a turn is given, and perhaps dropped.
            let next = lock(&turns).next();
            let Some(sender) = next else { return };
            match sender.send(Turn { turns: Some(Arc::clone(&turns)) }) {
                Ok(()) => return,
                Err(mut refused) => refused.turns = None,
            }
        }
    }
}

fn lock<K>(state: &Mutex<State<K>>) -> MutexGuard<'_, State<K>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_lane_with_many_does_not_delay_another() {
        let turns = Turns::new(1);
        let held = turns.take("crowd").await;
        let mut crowd: Vec<_> = (0..100).map(|_| Box::pin(turns.take("crowd"))).collect();
        for waiting in &mut crowd {
            assert!(waiting.now_or_never().is_none());
        }
        let mut single = Box::pin(turns.take("single"));
        assert!((&mut single).now_or_never().is_none());
        drop(held);
        let first = crowd.remove(0).await;
        assert!((&mut single).now_or_never().is_none(), "one at a time");
        drop(first);
        single.await;
    }

    #[tokio::test]
    async fn who_gave_up_is_passed_over() {
        let turns = Turns::new(1);
        let held = turns.take(1).await;
        for lane in [1, 1, 2] {
            assert!(turns.take(lane).now_or_never().is_none());
        }
        let mut waiting = Box::pin(turns.take(3));
        assert!((&mut waiting).now_or_never().is_none());
        drop(held);
        drop(waiting.await);
        // One that was given its turn, and dropped before it took it.
        let held = turns.take(1).await;
        let mut given = Box::pin(turns.take(1));
        assert!((&mut given).now_or_never().is_none());
        drop(held);
        drop(given);
        assert!(turns.take(4).now_or_never().is_some());
    }
}
