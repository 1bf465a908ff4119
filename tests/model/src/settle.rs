//! Ending what a deleter left that is gone: with its tombstone the delete is finished, without it it is dropped. Who finishes
//! it begins with a `pending` key of its own, which names the one that it resumes.

use crate::{
    change::{clear, freeze, go, unlink},
    protocol::Protocol,
    state::{
        Change, ChangeAt, DELETER, JOINER, Keys, Lease, REPLICAS, REVISION, SETTLER, State, Stray, TAG, Tombstone,
    },
    step::Steps,
    weakened::Mutant,
};

pub fn expand(protocol: &Protocol, steps: &mut Steps) {
    for me in 0..2 {
        finish(protocol, steps, me);
        drop_of_the_dead(steps, me);
    }
}

/// The `pending` key of a settler.
const fn own(me: usize) -> usize {
    SETTLER + me - DELETER
}

/// Whether the delete is over in which everybody believes who is weakened so.
fn is_mistaken(protocol: &Protocol, state: &State) -> bool {
    let ended = matches!(state.deleter.at, ChangeAt::Done | ChangeAt::Failed);
    protocol.is(Mutant::TombstoneResumed) && ended && state.tombstone == Tombstone::Restorable
}

fn is_buried(protocol: &Protocol, state: &State) -> bool {
    let buried = state.deleter.tombstoned && state.tombstone != Tombstone::Absent;
    buried || protocol.is(Mutant::ResumedWithoutTombstone) || is_mistaken(protocol, state)
}

/// A replica looks at what is pending. A settler that failed may look again.
fn look(protocol: &Protocol, steps: &mut Steps, me: usize) {
    let from = steps.from;
    let deleter = from.deleter;
    let overdue = if protocol.is(Mutant::ResumedBeforeQ) { Lease::Gone } else { Lease::GoneQ };
    let dead = from.replicas[deleter.home as usize].lease >= overdue && from.pending[0] != 0;
    let resumed = from.pending[own(1 - me)] != 0;
    if !(dead && !resumed || is_mistaken(protocol, from)) || from.settlers[me].acked {
        return;
    }
    // Two of them, for a race: one of those that serve from the start, and the one that joins.
    let homes = if me == 0 { 0..JOINER } else { JOINER..REPLICAS };
    let keys = if from.pending[0] == 0 { REVISION | TAG } else { from.pending[0] };
    for home in homes {
        let able = Protocol::open_doors(from, 1 << home, 0).next().is_some();
        if able && from.replicas[home].lease == Lease::Valid {
            steps.go("settler", "a dead one's pending, and nobody is at it", home, |s| {
                s.settlers[me] = Change { at: ChangeAt::Check, home: home as u8, keys, ..Change::default() };
            });
        }
    }
}

fn finish(protocol: &Protocol, steps: &mut Steps, me: usize) {
    use ChangeAt::{
        Abandoned, Again, Check, Clear, Done, Drop, Failed, Freeze, Idle, List, ListForClear, PendingGoes, Stat,
        TagRead, TagUnlink, UndoPending, Unlink, Wait,
    };
    let from = steps.from;
    let settler = from.settlers[me];
    let holder = SETTLER + me;
    let lease = |next| if protocol.lease(from, settler.home, Mutant::None) { next } else { Abandoned };
    let note = |s: &mut State, keys: Keys| s.pending[own(me)] = keys;
    match settler.at {
        Idle | Failed => look(protocol, steps, me),
        Check if is_buried(protocol, from) => {
            go(steps, holder, "its tombstone stands; lease checked", lease(Again), |_| {});
        }
        Check => go(steps, holder, "no tombstone: to be dropped; lease checked", lease(Drop), |_| {}),
        Drop => go(steps, holder, "dropped: pending goes", Failed, |s| {
            s.pending[0] = 0;
            s.deleter.at = Failed;
        }),
        Again if protocol.is(Mutant::ResumptionNotFrozen) => {
            go(steps, holder, "goes on without a pending of its own", Unlink, |_| {});
        }
        Again => {
            go(steps, holder, "write its own pending, which names the dead one's", List, |s| note(s, settler.keys));
        }
        List | Freeze | Wait => freeze(protocol, steps, holder, Stat),
        Stat => {
            let is_there = from.pending[0] != 0 || protocol.is(Mutant::ResumedUnseen) || is_mistaken(protocol, from);
            let next = if is_there && is_buried(protocol, from) { lease(Unlink) } else { UndoPending };
            go(steps, holder, "is the dead one's pending still there? lease checked", next, |_| {});
        }
        Unlink | TagRead | TagUnlink => unlink(protocol, steps, holder, lease, ListForClear),
        ListForClear | Clear => clear(protocol, steps, holder, ChangeAt::TombstoneGoes),
        ChangeAt::TombstoneGoes => {
            go(steps, holder, "the dead one's pending goes; lease checked", lease(PendingGoes), |s| {
                s.pending[0] = 0;
                // Only where it was resumed too early.
                if s.deleter.at == Unlink {
                    s.stray = Stray::Unlink;
                }
                // As if it had been answered: from now on nobody may be told of it.
                (s.deleter.at, s.deleter.acked) = (Done, true);
            });
        }
        PendingGoes => go(steps, holder, "its own pending goes", Failed, |s| {
            note(s, 0);
            s.settlers[me].acked = true;
        }),
        UndoPending => go(steps, holder, "undone: its own pending goes", Failed, |s| note(s, 0)),
        _ => {}
    }
}

/// A settler that is gone had no tombstone of its own: its `pending` is dropped, and what it resumed is resumed again.
fn drop_of_the_dead(steps: &mut Steps, me: usize) {
    let from = steps.from;
    if from.pending[own(me)] == 0 || from.replicas[from.settlers[me].home as usize].lease != Lease::GoneQ {
        return;
    }
    for home in Protocol::open_doors(from, 0b111, 0) {
        if from.replicas[home].lease == Lease::Valid {
            steps.go("settler", "drop a dead settler's pending", home, |s| {
                s.pending[own(me)] = 0;
                s.settlers[me].at = ChangeAt::Failed;
            });
        }
    }
}
