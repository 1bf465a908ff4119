//! The protocol as a model: what may follow each state, and what must hold in it.

use stateright::{Model, Property};

use crate::{
    change, check, collect,
    protocol::{Protocol, Start},
    push, replica,
    state::{self, DIGESTS, Link, Phase, Replica, State, Tag, Tombstone},
    step::{Step, Steps},
};

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        self.config.starts.iter().map(|&start| first(start)).collect()
    }

    fn actions(&self, from: &State, next: &mut Vec<Step>) {
        // Where it went wrong is where the trace ends.
        if from.stuck {
            return;
        }
        let mut steps = Steps { from, next };
        for me in 0..2 {
            push::expand(self, &mut steps, me);
            collect::expand(self, &mut steps, me);
        }
        change::expand(self, &mut steps);
        replica::expand(self, &mut steps);
        if check::is_stuck(self, from, steps.next) {
            steps.maybe("nothing moves any more, and somebody waits", None, |s| s.stuck = true);
        }
    }

    fn next_state(&self, _: &State, step: Step) -> Option<State> {
        Some(step.to)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        check::properties()
    }
}

/// What the store holds when a configuration begins, and who serves.
fn first(start: Start) -> State {
    let mut state = State::default();
    for replica in 0..2 {
        state.replicas[replica] = Replica { phase: Phase::Serving, key: true, ..Replica::default() };
    }
    if !matches!(start, Start::Empty | Start::Bytes | Start::OldBlob) {
        (state.data, state.layer_link) = (DIGESTS, Link::Old);
    }
    match start {
        Start::Empty => {}
        Start::Bytes => state.data = state::BLOB,
        Start::OldBlob => (state.data, state.layer_link) = (state::BLOB, Link::Old),
        Start::Image => (state.revision, state.tag) = (true, Tag::Manifest),
        Start::Untagged => state.revision = true,
        Start::Trashed => state.tombstone = Tombstone::Restorable,
        Start::PushedAgain => {
            (state.tombstone, state.revision, state.tag) = (Tombstone::Restorable, true, Tag::Manifest);
        }
    }
    state
}
