//! A policy that deletes many manifests of a repository reads once what leads to them, and then asks who has relied on one
//! since. An epoch has begun before, as for a collection. It is the second collector's, which is not there then.

use crate::{
    change::go,
    collect,
    protocol::Protocol,
    state::{ChangeAt, DELETER, DIGESTS, INDEX, Keys, Lease, MANIFEST, State, TAG, Tag},
    step::Steps,
    weakened::Mutant,
};

/// Its epoch.
const EPOCH: usize = 1;

pub fn expand(protocol: &Protocol, steps: &mut Steps) {
    use ChangeAt::{Abandoned, WatchBegin, WatchEnds, WatchIndexes, WatchList, WatchPending, WatchTags};
    let from = steps.from;
    let deleter = from.deleter;
    let reads_first = protocol.is(Mutant::WatchReadsFirst);
    let lease = |next| if protocol.lease(from, deleter.home, Mutant::None) { next } else { Abandoned };
    match deleter.at {
        WatchList => go(steps, DELETER, "list replicas", WatchBegin, |s| {
            (s.deleter.list, s.deleter.call) = (s.listed(), 0);
        }),
        WatchBegin => begin(protocol, steps, if reads_first { WatchPending } else { WatchTags }),
        WatchTags => go(steps, DELETER, "read the tags", WatchIndexes, |s| {
            s.deleter.seen |= if s.tag == Tag::Manifest { TAG } else { 0 };
        }),
        WatchIndexes => {
            let next = if reads_first { lease(WatchList) } else { WatchPending };
            go(steps, DELETER, "read the indexes", next, |s| {
                s.deleter.seen |= if s.index { INDEX } else { 0 };
                s.open[EPOCH] = true;
            });
        }
        WatchEnds => go(steps, DELETER, "the epoch is over", ChangeAt::Done, |s| collect::close(s, EPOCH)),
        _ => {}
    }
    end_of_the_dead(steps);
}

/// The first step of a run.
pub fn first(protocol: &Protocol) -> ChangeAt {
    if protocol.is(Mutant::WatchReadsFirst) { ChangeAt::WatchTags } else { ChangeAt::WatchList }
}

fn begin(protocol: &Protocol, steps: &mut Steps, then: ChangeAt) {
    let from = steps.from;
    let deleter = from.deleter;
    let Some(replica) = Protocol::next_callee(deleter.list, deleter.call) else {
        return go(steps, DELETER, "all have begun", then, |_| {});
    };
    let (callee, gone) = protocol.call(from, deleter.home, replica);
    if let Some(callee) = callee {
        let in_flight = if protocol.is(Mutant::WatchWithoutInFlight) { 0 } else { from.in_flight(callee) & DIGESTS };
        steps.go("deleter", "ask to begin", callee, |s| {
            s.deleter.call = replica + 1;
            s.deleter.members |= 1 << replica;
            s.replicas[callee].began[EPOCH] = true;
            s.replicas[callee].touched[EPOCH] |= in_flight;
        });
    }
    if gone {
        go(steps, DELETER, "a replica is gone: passed over", ChangeAt::WatchBegin, |s| {
            s.deleter.call = replica + 1;
            s.deleter.gone |= 1 << replica;
        });
    }
}

/// What a replica answers when it has frozen M, and nothing is in flight there any more.
pub fn hear(protocol: &Protocol, state: &mut State, replica: u8, callee: usize) {
    let answers = state.replicas[callee];
    let touched = !answers.began[EPOCH] || answers.touched[EPOCH] & MANIFEST != 0;
    state.deleter.unread &= !touched || protocol.is(Mutant::WatchIgnoresTouched);
    state.deleter.heard |= 1 << replica;
}

/// After all were asked: whether nobody was missed.
pub fn has_heard_all(protocol: &Protocol, state: &State) -> bool {
    let deleter = state.deleter;
    let lost = deleter.members & !deleter.heard != 0 && !protocol.is(Mutant::WatchIgnoresLoss);
    let strange = deleter.list & !deleter.heard & !deleter.gone;
    let came = strange & !deleter.members != 0 && !protocol.is(Mutant::WatchIgnoresNewcomers);
    let told = protocol.is(Mutant::WatchIgnoresLeft) || protocol.is(Mutant::WatchListsLeftFirst);
    let left = state.left[EPOCH] != 0 && !told;
    state.open[EPOCH] && !lost && !came && !left
}

/// What may lead to M: all of it, or what was read at the beginning, as far as it still does.
pub fn leads_there(state: &State) -> Keys {
    let now = if state.tag == Tag::Manifest { TAG } else { 0 } | if state.index { INDEX } else { 0 };
    if state.deleter.unread { now & state.deleter.seen } else { now }
}

/// The epoch of a run that is gone is ended Q later.
fn end_of_the_dead(steps: &mut Steps) {
    let from = steps.from;
    if !from.open[EPOCH] || from.replicas[from.deleter.home as usize].lease != Lease::GoneQ {
        return;
    }
    for home in Protocol::open_doors(from, 0b111, 0) {
        if from.replicas[home].lease == Lease::Valid {
            steps.go("settler", "end the epoch of a run that is gone", home, |s| collect::close(s, EPOCH));
        }
    }
}
