//! The lease itself, with a clock: one replica renews, one observer watches or evicts.
//!
//! A tick stands for 5 s: a lease runs L = 4 ticks, the observer waits L + 2. Any step may take any time. That clocks
//! drift is arithmetic and not interleaving: 30 s less 10 % are more than 20 s and 10 %.

use stateright::{Model, Property};

const LEASE: u8 = 4;
const WAIT: u8 = LEASE + 2;
const END: u8 = 14;
/// Enough for every variant, and few enough for a short search.
const BEATS: u8 = 2;

/// What must hold.
pub const GONE: &str = "a replica that is treated as gone holds no lease";

/// The lease as it is, or weakened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Renewal {
    /// As it is.
    Unchanged,
    /// The lease runs from the answer to the beat, not from when it was sent.
    CountedFromTheAnswer,
    /// An answer renews a lease that has lapsed meanwhile.
    LateAnswerRenews,
    /// The replica looks for its eviction before it writes.
    LooksBeforeItWrites,
    /// It does not look.
    EvictionIgnored,
    /// The observer waits for less than a lease.
    WaitsOnlyTheLease,
}

/// All of them.
pub const ALL: [Renewal; 6] = [
    Renewal::Unchanged,
    Renewal::CountedFromTheAnswer,
    Renewal::LateAnswerRenews,
    Renewal::LooksBeforeItWrites,
    Renewal::EvictionIgnored,
    Renewal::WaitsOnlyTheLease,
];

/// Where a beat is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
enum Beat {
    #[default]
    Idle,
    /// Only weakened: it has looked for its eviction before it wrote.
    Looked,
    Sent,
    Landed,
    Answered,
}

/// What the replica, the store and the observer hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct State {
    now: u8,
    beat: Beat,
    sent_at: u8,
    until: u8,
    /// The replica noticed that it had lapsed, and gave its ulid up.
    retired: bool,
    number: u8,
    evicted: bool,
    /// What the observer saw first, and when; 0: it does not watch yet.
    seen_number: u8,
    seen_eviction: bool,
    seen_at: u8,
    gone: bool,
}

/// A step, and what comes of it.
pub type Step = (&'static str, State);

impl Renewal {
    fn renew(self, s: State, next: &mut Vec<Step>) {
        let looks_first = self == Self::LooksBeforeItWrites;
        let clear = !s.evicted || self == Self::EvictionIgnored;
        let counted = if self == Self::CountedFromTheAnswer { s.now } else { s.sent_at };
        let in_time = s.now < s.until || self == Self::LateAnswerRenews;
        match s.beat {
            _ if s.retired => {}
            Beat::Idle if looks_first && clear => {
                next.push(("look for the eviction", State { beat: Beat::Looked, ..s }));
            }
            Beat::Idle if looks_first => next.push(("evicted: retire", State { retired: true, ..s })),
            Beat::Idle | Beat::Looked if s.number < BEATS => {
                next.push(("send the beat", State { beat: Beat::Sent, sent_at: s.now, ..s }));
            }
            Beat::Idle | Beat::Looked => {}
            Beat::Sent => next.push(("the beat lands", State { beat: Beat::Landed, number: s.number + 1, ..s })),
            Beat::Landed => next.push(("its answer arrives", State { beat: Beat::Answered, ..s })),
            Beat::Answered if in_time && (clear || looks_first) => {
                let until = (counted + LEASE).max(s.until);
                let renewed = State { beat: Beat::Idle, until, ..s };
                next.push(("no eviction, in time: the lease is renewed", renewed));
            }
            Beat::Answered => next.push(("evicted or too late: retire", State { retired: true, ..s })),
        }
    }

    fn observe(self, s: State, next: &mut Vec<Step>) {
        if !s.evicted {
            next.push(("the observer evicts it", State { evicted: true, ..s }));
        }
        if s.seen_at == 0 || s.seen_number != s.number || s.seen_eviction != s.evicted {
            let seen = State { seen_at: s.now, seen_number: s.number, seen_eviction: s.evicted, ..s };
            next.push(("the observer looks", seen));
        }
        let unchanged = s.number == s.seen_number || s.seen_eviction && s.evicted;
        let wait = if self == Self::WaitsOnlyTheLease { LEASE - 1 } else { WAIT };
        if s.seen_at > 0 && unchanged && s.now >= s.seen_at + wait {
            next.push(("the observer treats it as gone", State { gone: true, ..s }));
        }
    }
}

impl Model for Renewal {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State { now: 1, until: 1 + LEASE, ..State::default() }]
    }

    fn actions(&self, state: &State, next: &mut Vec<Step>) {
        if state.now < END {
            next.push(("time passes", State { now: state.now + 1, ..*state }));
        }
        self.renew(*state, next);
        self.observe(*state, next);
    }

    fn next_state(&self, _: &State, (_, to): Step) -> Option<State> {
        Some(to)
    }

    fn format_action(&self, (what, _): &Step) -> String {
        String::from(*what)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(GONE, |_, s: &State| !s.gone || s.retired || s.now >= s.until)]
    }
}

#[cfg(test)]
mod tests {
    use crate::explore::explore;

    use super::*;

    #[test]
    fn the_lease_holds() {
        let outcome = explore(Renewal::Unchanged);
        println!("{}", outcome.line("the lease"));
        assert!(outcome.violations.is_empty(), "{}", outcome.traces());
    }

    #[test]
    fn weakened_in_any_way_it_fails() {
        for variant in ALL.into_iter().filter(|variant| *variant != Renewal::Unchanged) {
            let outcome = explore(variant);
            println!("{}", outcome.line(&format!("the lease, {variant:?}")));
            assert!(outcome.violations.contains_key(GONE), "{variant:?} makes no difference");
        }
    }
}
