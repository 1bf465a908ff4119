//! For how long a replica has been gone, by the store's own time: so that processes which live for less than Q can settle
//! what it left. Who has seen that it is gone writes a marker; anybody compares the marker's age with that of a sign of
//! life of his own. The store's servers do not agree on what time it is.
//!
//! A tick is a third of Q. The replica's last lease check was before tick `GONE`, and what it wrote then lands within Q.

use stateright::{Model, Property};

const Q: u8 = 3;
/// When the replica is seen to be gone at the earliest; it was evicted a tick before.
const GONE: u8 = 2;
const END: u8 = GONE + 4 * Q;

/// What must hold.
pub const LANDED: &str = "what is settled has landed";

/// The rule as it is, or weakened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Marker {
    /// Twice Q has to have passed.
    Unchanged,
    /// Q has.
    OnceQ,
    /// The marker is written when the replica is evicted, which may answer yet.
    WrittenAtEviction,
    /// The sign of life is from before the comparison, the marker's age is compared with the clock of this process.
    OwnClock,
}

/// All of them.
pub const ALL: [Marker; 4] = [Marker::Unchanged, Marker::OnceQ, Marker::WrittenAtEviction, Marker::OwnClock];

/// What the store says, and how much its servers are ahead of the one that is most behind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    now: u8,
    ahead: [u8; 2],
    /// The age of the marker, and of the sign of life, as their servers say.
    marked: Option<u8>,
    alive: Option<u8>,
    settled: bool,
}

/// A step, and what comes of it.
pub type Step = (&'static str, State);

impl Model for Marker {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let apart = (0..=Q).map(|ahead| [ahead, 0]).chain((1..=Q).map(|ahead| [0, ahead]));
        apart.map(|ahead| State { now: 0, ahead, marked: None, alive: None, settled: false }).collect()
    }

    fn actions(&self, s: &State, next: &mut Vec<Step>) {
        if s.now < END {
            next.push(("time passes", State { now: s.now + 1, ..*s }));
        }
        let from = if *self == Self::WrittenAtEviction { GONE - 1 } else { GONE };
        if s.now >= from && s.marked.is_none() {
            next.push(("write that it is gone", State { marked: Some(s.now + s.ahead[0]), ..*s }));
        }
        next.push(("a sign of life", State { alive: Some(s.now + s.ahead[1]), ..*s }));
        // A process' own clock is wrong by as much as it likes.
        let own = (*self == Self::OwnClock).then_some(s.now + 2 * Q);
        let (Some(marked), Some(alive)) = (s.marked, own.or(s.alive)) else { return };
        let wait = if *self == Self::OnceQ { Q } else { 2 * Q };
        if alive >= marked + wait {
            next.push(("settle", State { settled: true, ..*s }));
        }
    }

    fn next_state(&self, _: &State, (_, to): Step) -> Option<State> {
        Some(to)
    }

    fn format_action(&self, (what, _): &Step) -> String {
        String::from(*what)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(LANDED, |_, s: &State| !s.settled || s.now >= GONE + Q)]
    }
}

#[cfg(test)]
mod tests {
    use crate::explore::explore;

    use super::*;

    #[test]
    fn what_is_settled_has_landed() {
        let outcome = explore(Marker::Unchanged);
        println!("{}", outcome.line("the marker of who is gone"));
        assert!(outcome.violations.is_empty(), "{}", outcome.traces());
    }

    #[test]
    fn weakened_in_any_way_it_is_settled_too_early() {
        for variant in ALL.into_iter().filter(|variant| *variant != Marker::Unchanged) {
            let outcome = explore(variant);
            println!("{}", outcome.line(&format!("the marker of who is gone, {variant:?}")));
            assert!(outcome.violations.contains_key(LANDED), "{variant:?} makes no difference");
        }
    }
}
