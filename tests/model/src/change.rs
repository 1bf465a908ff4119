//! Deleting and restoring: what begins with a `pending` key.

use crate::{
    protocol::{Delete, Protocol},
    state::{
        Change, ChangeAt, DELETER, DIGESTS, Fill, HOLDERS, Lease, Link, RESTORER, REVISION, State, Stray, TAG, Tag,
        Tag as T, Tombstone, Tombstone as Trashed,
    },
    step::Steps,
    weakened::Mutant,
};

fn change(state: &State, holder: usize) -> &Change {
    if holder == DELETER { &state.deleter } else { &state.restorer }
}

fn change_mut(state: &mut State, holder: usize) -> &mut Change {
    if holder == DELETER { &mut state.deleter } else { &mut state.restorer }
}

fn name(holder: usize) -> &'static str {
    if holder == DELETER { "deleter" } else { "restorer" }
}

const RESTORER_INTENT: u8 = 4;

/// A step of the process that holds `holder`'s freezes, at its home.
fn go(steps: &mut Steps, holder: usize, what: &'static str, at: ChangeAt, effect: impl FnOnce(&mut State)) {
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
        delete(protocol, steps);
        settle_delete(protocol, steps);
    }
    if protocol.config.restore.is_some() {
        restore(protocol, steps);
        settle_restore(steps);
    }
}

fn start_delete(protocol: &Protocol, steps: &mut Steps) {
    let (delete, home) = protocol.config.delete;
    let from = steps.from;
    let planned = match delete {
        Delete::Policy => from.tag != Tag::Manifest && !from.index,
        _ => true,
    };
    let able = from.alive(home) && protocol.lease(from, home, Mutant::None);
    if !from.revision || !planned || !able {
        return;
    }
    let keys = if from.tag == Tag::Manifest { REVISION | TAG } else { REVISION };
    let next = if protocol.is(Mutant::DeleteWithoutFreeze) { ChangeAt::Check } else { ChangeAt::List };
    steps.go("deleter", "write pending", home as usize, |s| {
        s.pending[0] = keys;
        s.deleter = Change { at: next, home, keys, ..Change::default() };
    });
}

fn delete(protocol: &Protocol, steps: &mut Steps) {
    use ChangeAt::{
        Abandoned, Check, Clear, Done, Failed, Freeze, Idle, List, ListForClear, PendingGoes, TagRead, TagUnlink,
        Tombstone, UndoPending, Unlink, Wait,
    };
    let from = steps.from;
    let deleter = from.deleter;
    let lease = |next| if protocol.lease(from, deleter.home, Mutant::DeleteWithoutLease) { next } else { Abandoned };
    let early_clear = protocol.is(Mutant::ClearBeforeUnlink);
    let early_unlink = protocol.is(Mutant::UnlinkBeforeTombstone);
    match deleter.at {
        Idle => start_delete(protocol, steps),
        List | Freeze | Wait => freeze(protocol, steps, DELETER, Check),
        Check => check(protocol, steps),
        Tombstone => {
            go(steps, DELETER, "tombstone; lease checked", lease(if early_unlink { TagRead } else { Unlink }), |s| {
                s.tombstone = Trashed::Restorable;
                s.deleter.tombstoned = true;
            });
        }
        Unlink => go(steps, DELETER, "unlink the revision", if early_unlink { Tombstone } else { TagRead }, |s| {
            s.revision = false;
        }),
        TagRead => {
            let pointing = from.tag == T::Manifest;
            let ours = deleter.keys & TAG != 0 || protocol.is(Mutant::TagsListedOnce);
            let rest = if early_clear { PendingGoes } else { ListForClear };
            let next = if pointing && ours { TagUnlink } else { rest };
            go(steps, DELETER, "read T; lease checked", lease(next), |_| {});
        }
        TagUnlink => {
            let next = if early_clear { lease(PendingGoes) } else { ListForClear };
            go(steps, DELETER, "unlink T", next, |s| {
                s.other_tag_unlinked |= s.tag == T::Other;
                s.tag = T::Absent;
            });
        }
        ListForClear | Clear => clear(protocol, steps, if early_clear { Tombstone } else { PendingGoes }),
        PendingGoes => go(steps, DELETER, "pending goes; 202", Done, |s| {
            s.pending[0] = 0;
            s.deleter.acked = true;
        }),
        UndoPending => go(steps, DELETER, "undone: pending goes", Failed, |s| s.pending[0] = 0),
        _ => {}
    }
}

/// Under the freeze: is there still what was to be deleted, and has a tag come since?
fn check(protocol: &Protocol, steps: &mut Steps) {
    let from = steps.from;
    let deleter = from.deleter;
    let tagged = from.tag == Tag::Manifest;
    let policy = protocol.config.delete.0 == Delete::Policy && !protocol.is(Mutant::PolicyNotRechecked);
    let first = match protocol.mutant {
        Mutant::UnlinkBeforeTombstone => ChangeAt::Unlink,
        Mutant::ClearBeforeUnlink => ChangeAt::ListForClear,
        _ => ChangeAt::Tombstone,
    };
    let next = if protocol.lease(from, deleter.home, Mutant::None) { first } else { ChangeAt::Abandoned };
    let new_tag = tagged && deleter.keys & TAG == 0;
    if deleter.resumed {
        go(steps, DELETER, "resumed under the freeze; lease checked", next, |_| {});
    } else if !from.revision {
        go(steps, DELETER, "no such revision any more", ChangeAt::UndoPending, |_| {});
    } else if policy && (tagged || from.index) {
        go(steps, DELETER, "changed since planned", ChangeAt::UndoPending, |_| {});
    } else if new_tag && !policy && !protocol.is(Mutant::TagsListedOnce) && protocol.config.delete.0 == Delete::Api {
        go(steps, DELETER, "T points there now: rewrite pending, freeze T too", ChangeAt::List, |s| {
            s.deleter.keys |= TAG;
            s.pending[0] |= TAG;
        });
    } else {
        go(steps, DELETER, "checked under the freeze; lease checked", next, |_| {});
    }
}

/// List the replicas, then freeze the keys at each in the order of their ids, and wait for what is in flight there.
fn freeze(protocol: &Protocol, steps: &mut Steps, holder: usize, then: ChangeAt) {
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
        let others = (0..HOLDERS).filter(|&other| other != holder).map(|other| from.replicas[callee].frozen[other]);
        let taken = others.fold(0, |keys, held| keys | held) & me.keys != 0;
        let in_flight = from.in_flight(callee) & me.keys != 0;
        if me.at == ChangeAt::Freeze && !taken {
            steps.go(name(holder), "freeze", callee, |s| {
                s.replicas[callee].frozen[holder] = me.keys;
                change_mut(s, holder).at = ChangeAt::Wait;
            });
        }
        if me.at == ChangeAt::Wait && !in_flight {
            go(steps, holder, "nothing in flight there", ChangeAt::Freeze, next);
        }
        if protocol.config.timeouts && (taken || in_flight) {
            go(steps, holder, "15 s are over; 503", ChangeAt::UndoPending, |_| {});
        }
    }
    if gone {
        go(steps, holder, "a replica is gone: passed over", ChangeAt::Freeze, next);
    }
}

/// List the replicas anew, then clear each.
fn clear(protocol: &Protocol, steps: &mut Steps, then: ChangeAt) {
    let from = steps.from;
    let me = from.deleter;
    if me.at == ChangeAt::ListForClear {
        return go(steps, DELETER, "list replicas to clear", ChangeAt::Clear, |s| {
            let old = protocol.is(Mutant::ClearAsksTheOldList);
            (s.deleter.list, s.deleter.call) = (if old { me.list } else { s.listed() }, 0);
        });
    }
    let Some(replica) = Protocol::next_callee(me.list, me.call) else {
        let next = if protocol.lease(from, me.home, Mutant::None) { then } else { ChangeAt::Abandoned };
        return go(steps, DELETER, "all are clear; lease checked", next, |_| {});
    };
    let (callee, gone) = protocol.call(from, me.home, replica);
    if let Some(callee) = callee {
        steps.go("deleter", "clear", callee, |s| {
            s.deleter.call = replica + 1;
            let callee = &mut s.replicas[callee];
            callee.cached = false;
            callee.fill_stale = callee.fill != Fill::Idle && !protocol.is(Mutant::ClearKeepsGeneration);
        });
    }
    if gone {
        go(steps, DELETER, "a replica is gone: passed over", ChangeAt::Clear, |s| s.deleter.call = replica + 1);
    }
}

/// The deleter is gone, and Q has passed: with its tombstone the delete is finished, without it it is dropped.
fn settle_delete(protocol: &Protocol, steps: &mut Steps) {
    let from = steps.from;
    let deleter = from.deleter;
    let overdue = if protocol.is(Mutant::ResumedBeforeQ) { Lease::Gone } else { Lease::GoneQ };
    let dead = from.replicas[deleter.home as usize].lease >= overdue && from.pending[0] != 0;
    // The mutant: somebody takes any tombstone, however old, for an unfinished delete.
    let ended = matches!(deleter.at, ChangeAt::Done | ChangeAt::Failed);
    let tombstone = from.tombstone == Tombstone::Restorable;
    let mistaken = protocol.is(Mutant::TombstoneResumed) && ended && tombstone && !deleter.resumed;
    if !dead && !mistaken {
        return;
    }
    let finishes = mistaken || deleter.tombstoned || protocol.is(Mutant::ResumedWithoutTombstone);
    for home in Protocol::open_doors(from, 3, 0) {
        if from.replicas[home].lease != Lease::Valid {
            continue;
        }
        let what = if finishes { "finish it from pending" } else { "no tombstone: drop it; pending goes" };
        steps.go("settler", what, home, |s| {
            if deleter.at == ChangeAt::Unlink {
                s.stray = Stray::Unlink;
            }
            if finishes {
                let keys = if mistaken { REVISION | TAG } else { deleter.keys };
                s.pending[0] = keys;
                s.deleter = Change { at: ChangeAt::List, home: home as u8, keys, resumed: true, ..deleter };
            } else {
                (s.deleter.at, s.pending[0]) = (ChangeAt::Failed, 0);
            }
        });
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each step")]
fn restore(protocol: &Protocol, steps: &mut Steps) {
    use ChangeAt::{
        Abandoned, Check, Done, Enter, Failed, Freeze, Idle, Intent, IntentGoes, LayerLink, List, PendingGoes,
        Revision, Stat, Tag, TombstoneGoes, UndoPending, Wait,
    };
    let from = steps.from;
    let restorer = from.restorer;
    let lease = |next| if protocol.lease(from, restorer.home, Mutant::None) { next } else { Abandoned };
    let enters_first = protocol.is(Mutant::RestoreEntersFirst);
    let door = if restorer.at == Idle { protocol.config.restore.unwrap_or(0) } else { restorer.home };
    match restorer.at {
        Idle => {
            let offered = from.tombstone == Trashed::Restorable;
            let able = from.alive(door) && protocol.lease(from, door, Mutant::None);
            let closed = enters_first && from.frozen(door as usize) & (DIGESTS | REVISION) != 0;
            if !offered || !able || closed {
                return;
            }
            let unfrozen = protocol.is(Mutant::RestoreWithoutFreeze);
            let keys = if enters_first { TAG } else { REVISION | TAG };
            let entered = if enters_first { DIGESTS | REVISION } else { 0 };
            let at = if unfrozen {
                Enter
            } else if enters_first {
                Intent
            } else {
                List
            };
            steps.go("restorer", "write pending", door as usize, |s| {
                s.pending[1] = keys;
                s.restorer = Change { at, home: door, keys, entered, ..Change::default() };
                s.touch(door as usize, entered);
            });
        }
        List | Freeze | Wait => freeze(protocol, steps, RESTORER, if enters_first { Check } else { Enter }),
        Enter if from.frozen(door as usize) & DIGESTS != 0 && protocol.config.timeouts => {
            go(steps, RESTORER, "15 s are over; 503", UndoPending, |_| {});
        }
        Enter => go(steps, RESTORER, "enter the closure", Intent, |s| {
            if !protocol.is(Mutant::RestoreWithoutEnter) {
                s.restorer.entered = DIGESTS;
                s.touch(door as usize, DIGESTS);
            }
        }),
        Intent => go(steps, RESTORER, "intent", Stat, |s| {
            s.intents |= if protocol.is(Mutant::RestoreWithoutIntent) { 0 } else { RESTORER_INTENT };
        }),
        Stat if from.data & DIGESTS != DIGESTS => go(steps, RESTORER, "409: bytes are missing", UndoPending, |s| {
            s.restore_failed |= s.tombstone == Trashed::Restorable;
            s.intents &= !RESTORER_INTENT;
        }),
        Stat => go(steps, RESTORER, "stat the closure", if enters_first { List } else { Check }, |_| {}),
        Check if from.tag == T::Other => {
            go(steps, RESTORER, "409: T is another's", UndoPending, |s| s.intents &= !RESTORER_INTENT);
        }
        Check => go(steps, RESTORER, "T is free; lease checked", lease(LayerLink), |_| {}),
        LayerLink => go(steps, RESTORER, "layer link", Revision, |s| s.layer_link = Link::Fresh),
        Revision => go(steps, RESTORER, "revision link; lease checked", lease(Tag), |s| s.revision = true),
        Tag => go(steps, RESTORER, "tag link; lease checked", lease(TombstoneGoes), |s| s.tag = T::Manifest),
        TombstoneGoes => go(steps, RESTORER, "the tombstone goes", IntentGoes, |s| s.tombstone = Trashed::Absent),
        IntentGoes => {
            go(steps, RESTORER, "the intent goes; lease checked", lease(PendingGoes), |s| {
                s.intents &= !RESTORER_INTENT;
            });
        }
        PendingGoes => go(steps, RESTORER, "pending goes; 200", Done, |s| {
            s.pending[1] = 0;
            s.restorer.acked = true;
        }),
        UndoPending => go(steps, RESTORER, "undone: pending goes", Failed, |s| s.pending[1] = 0),
        _ => {}
    }
}

/// A dead restore is dropped: what it wrote stays, and so does the tombstone, so it can be asked for again.
fn settle_restore(steps: &mut Steps) {
    let from = steps.from;
    if from.replicas[from.restorer.home as usize].lease == Lease::GoneQ && from.pending[1] != 0 {
        for home in Protocol::open_doors(from, 3, 0) {
            if from.replicas[home].lease == Lease::Valid {
                steps.go("settler", "drop the restore; pending goes", home, |s| {
                    (s.pending[1], s.restorer.at, s.restorer.entered) = (0, ChangeAt::Failed, 0);
                });
            }
        }
    }
}
