//! What begins with a `pending` key, as far as deletes, restores and those who finish them have it in common.

use crate::{
    delete,
    protocol::{Delete, Protocol},
    restore, settle,
    state::{Change, ChangeAt, DELETER, Fill, HOLDERS, RESTORER, SETTLER, State, TAG, Tag},
    step::Steps,
    watch,
    weakened::Mutant,
};

/// The change of which `holder` holds the freezes.
pub fn change(state: &State, holder: usize) -> &Change {
    match holder {
        DELETER => &state.deleter,
        RESTORER => &state.restorer,
        _ => &state.settlers[holder - SETTLER],
    }
}

pub fn change_mut(state: &mut State, holder: usize) -> &mut Change {
    match holder {
        DELETER => &mut state.deleter,
        RESTORER => &mut state.restorer,
        _ => &mut state.settlers[holder - SETTLER],
    }
}

fn name(holder: usize) -> &'static str {
    ["deleter", "restorer", "settler", "settler 2"][holder - DELETER]
}

/// A step of the process that holds `holder`'s freezes, at its home.
pub fn go(steps: &mut Steps, holder: usize, what: &'static str, at: ChangeAt, effect: impl FnOnce(&mut State)) {
    let home = change(steps.from, holder).home;
    steps.go(name(holder), what, home as usize, |s| {
        change_mut(s, holder).at = at;
        effect(s);
        let change = change_mut(s, holder);
        if matches!(change.at, ChangeAt::Done | ChangeAt::Failed | ChangeAt::Abandoned) {
            change.entered = 0;
        }
    });
}

pub fn expand(protocol: &Protocol, steps: &mut Steps) {
    if protocol.config.delete.0 != Delete::None {
        delete::expand(protocol, steps);
        settle::expand(protocol, steps);
    }
    if protocol.config.restore.is_some() {
        restore::expand(protocol, steps);
    }
}

/// List the replicas, then freeze the keys at each in the order of their ids, and wait for what is in flight there.
pub fn freeze(protocol: &Protocol, steps: &mut Steps, holder: usize, then: ChangeAt) {
    let from = steps.from;
    let me = *change(from, holder);
    if me.at == ChangeAt::List {
        return go(steps, holder, "list replicas", ChangeAt::Freeze, |s| {
            let listed = s.listed();
            let me = change_mut(s, holder);
            (me.list, me.call) = (listed, 0);
        });
    }
    let Some(turn) = Protocol::next_callee(me.list, me.call) else {
        return go(steps, holder, "all are frozen", then, |_| {});
    };
    let backwards = protocol.is(Mutant::FreezeInAnyOrder) && holder == RESTORER && me.list == 0b11;
    let replica = if backwards { 1 - turn } else { turn };
    let (callee, gone) = protocol.call(from, me.home, replica);
    let next = |s: &mut State| change_mut(s, holder).call = turn + 1;
    if let Some(callee) = callee {
        let after = holder >= SETTLER && !protocol.is(Mutant::ResumptionNotNamed);
        let is_other = |&other: &usize| other != holder && !(after && other == DELETER);
        let others = (0..HOLDERS).filter(is_other).map(|other| from.replicas[callee].frozen[other]);
        let taken = others.fold(0, |keys, held| keys | held) & me.keys != 0;
        let in_flight = from.in_flight(callee) & me.keys != 0;
        if me.at == ChangeAt::Freeze && !taken {
            steps.go(name(holder), "freeze", callee, |s| {
                s.replicas[callee].frozen[holder] = me.keys;
                change_mut(s, holder).at = ChangeAt::Wait;
            });
        }
        if me.at == ChangeAt::Wait && !in_flight {
            go(steps, holder, "nothing in flight there", ChangeAt::Freeze, |s| {
                next(s);
                if holder == DELETER && protocol.config.delete.0 == Delete::Watched {
                    watch::hear(protocol, s, replica, callee);
                }
            });
        }
        if protocol.has_timeouts() && (taken || in_flight) {
            go(steps, holder, "15 s are over; 503", ChangeAt::UndoPending, |_| {});
        }
    }
    if gone {
        go(steps, holder, "a replica is gone: passed over", ChangeAt::Freeze, next);
    }
}

/// List the replicas anew, then clear each.
pub fn clear(protocol: &Protocol, steps: &mut Steps, holder: usize, then: ChangeAt) {
    let from = steps.from;
    let me = *change(from, holder);
    if me.at == ChangeAt::ListForClear {
        return go(steps, holder, "list replicas to clear", ChangeAt::Clear, |s| {
            let old = protocol.is(Mutant::ClearAsksTheOldList);
            let listed = if old { me.list } else { s.listed() };
            let me = change_mut(s, holder);
            (me.list, me.call) = (listed, 0);
        });
    }
    let Some(replica) = Protocol::next_callee(me.list, me.call) else {
        let next = if protocol.lease(from, me.home, Mutant::None) { then } else { ChangeAt::Abandoned };
        return go(steps, holder, "all are clear; lease checked", next, |_| {});
    };
    let (callee, gone) = protocol.call(from, me.home, replica);
    if let Some(callee) = callee {
        steps.go(name(holder), "clear", callee, |s| {
            change_mut(s, holder).call = replica + 1;
            let callee = &mut s.replicas[callee];
            callee.cached = false;
            callee.fill_stale = callee.fill != Fill::Idle && !protocol.is(Mutant::ClearKeepsGeneration);
        });
    }
    if gone {
        go(steps, holder, "a replica is gone: passed over", ChangeAt::Clear, |s| {
            change_mut(s, holder).call = replica + 1;
        });
    }
}

/// Unlink the revision, then the tag where it still points there; `lease` says where it goes on.
pub fn unlink(
    protocol: &Protocol,
    steps: &mut Steps,
    holder: usize,
    lease: impl Fn(ChangeAt) -> ChangeAt,
    rest: ChangeAt,
) {
    let from = steps.from;
    let me = *change(from, holder);
    match me.at {
        ChangeAt::Unlink => {
            let next = if protocol.is(Mutant::UnlinkBeforeTombstone) { ChangeAt::Tombstone } else { ChangeAt::TagRead };
            go(steps, holder, "unlink the revision", next, |s| s.revision = false);
        }
        ChangeAt::TagRead => {
            let pointing = from.tag == Tag::Manifest;
            let ours = me.keys & TAG != 0 || protocol.is(Mutant::TagsListedOnce);
            let next = if pointing && ours { ChangeAt::TagUnlink } else { rest };
            go(steps, holder, "read T; lease checked", lease(next), |_| {});
        }
        _ => {
            let next = if rest == ChangeAt::PendingGoes { lease(rest) } else { rest };
            go(steps, holder, "unlink T", next, |s| {
                s.other_tag_unlinked |= s.tag == Tag::Other;
                s.tag = Tag::Absent;
            });
        }
    }
}
