//! Deletes.

use crate::{
    change::{clear, freeze, go, unlink},
    protocol::{Delete, Protocol},
    state::{self, Change, ChangeAt, DELETER, REVISION, TAG, Tag},
    step::Steps,
    watch,
    weakened::Mutant,
};

fn start(protocol: &Protocol, steps: &mut Steps) {
    let (delete, home) = protocol.config.delete;
    let from = steps.from;
    let planned = match delete {
        Delete::Policy | Delete::Watched => from.tag != Tag::Manifest && !from.index,
        Delete::Api | Delete::None => true,
    };
    let able = from.alive(home) && protocol.lease(from, home, Mutant::None);
    if !from.revision || !planned || !able {
        return;
    }
    if delete == Delete::Watched {
        let at = watch::first(protocol);
        return steps.go("deleter", "begin a run", home as usize, |s| {
            s.deleter = Change { at, home, ..Change::default() };
            s.open[1] = at == ChangeAt::WatchList;
        });
    }
    let keys = if from.tag == Tag::Manifest { REVISION | TAG } else { REVISION };
    let next = if protocol.is(Mutant::DeleteWithoutFreeze) { ChangeAt::Check } else { ChangeAt::List };
    steps.go("deleter", "write pending", home as usize, |s| {
        for client in &mut s.clients {
            client.before_delete = protocol.config.late && (client.acked || client.late != 0);
        }
        s.pending[0] = keys;
        s.deleter = Change { at: next, home, keys, ..Change::default() };
    });
}

pub fn expand(protocol: &Protocol, steps: &mut Steps) {
    use ChangeAt::{
        Abandoned, Again, Check, Clear, Done, Failed, Freeze, Idle, List, ListForClear, PendingGoes, TagRead,
        TagUnlink, Tombstone, UndoPending, Unlink, Wait, WatchEnds, WatchEpoch, WatchPending,
    };
    let from = steps.from;
    let deleter = from.deleter;
    let lease = |next| if protocol.lease(from, deleter.home, Mutant::DeleteWithoutLease) { next } else { Abandoned };
    let early_clear = protocol.is(Mutant::ClearBeforeUnlink);
    let early_unlink = protocol.is(Mutant::UnlinkBeforeTombstone);
    let watched = protocol.config.delete.0 == Delete::Watched;
    if watched {
        watch::expand(protocol, steps);
    }
    match deleter.at {
        Idle => start(protocol, steps),
        Again => go(steps, DELETER, "begun again: write pending", lease(List), |s| {
            s.deleter.keys = REVISION | TAG;
            s.pending[0] = s.deleter.keys;
        }),
        WatchPending => go(steps, DELETER, "write pending", lease(List), |s| {
            (s.deleter.keys, s.deleter.heard, s.deleter.unread) = (REVISION, 0, true);
            s.deleter.unread &= !protocol.is(Mutant::WatchListsLeftFirst) || s.left[1] == 0;
            s.pending[0] = REVISION;
        }),
        List | Freeze | Wait if watched => freeze(protocol, steps, DELETER, WatchEpoch),
        WatchEpoch => go(steps, DELETER, "look for who left, and who was not heard", Check, |s| {
            s.deleter.unread &= watch::has_heard_all(protocol, s);
        }),
        List | Freeze | Wait => freeze(protocol, steps, DELETER, Check),
        Check => check(protocol, steps),
        Tombstone => {
            go(steps, DELETER, "tombstone; lease checked", lease(if early_unlink { TagRead } else { Unlink }), |s| {
                s.tombstone = state::Tombstone::Restorable;
                s.deleter.tombstoned = true;
            });
        }
        Unlink | TagRead | TagUnlink => {
            let rest = if early_clear { PendingGoes } else { ListForClear };
            unlink(protocol, steps, DELETER, lease, rest);
        }
        ListForClear | Clear => clear(protocol, steps, DELETER, if early_clear { Tombstone } else { PendingGoes }),
        PendingGoes => go(steps, DELETER, "pending goes; 202", if watched { WatchEnds } else { Done }, |s| {
            s.pending[0] = 0;
            s.deleter.acked = true;
        }),
        UndoPending => {
            go(steps, DELETER, "undone: pending goes", if watched { WatchEnds } else { Failed }, |s| s.pending[0] = 0);
        }
        _ => {}
    }
}

/// Under the freeze: is there still what was to be deleted, and has a tag come since?
fn check(protocol: &Protocol, steps: &mut Steps) {
    let from = steps.from;
    let deleter = from.deleter;
    let leads_there = watch::leads_there(from);
    let tagged = leads_there & TAG != 0;
    let policy = protocol.config.delete.0 != Delete::Api && !protocol.is(Mutant::PolicyNotRechecked);
    let first = match protocol.mutant {
        Mutant::UnlinkBeforeTombstone => ChangeAt::Unlink,
        Mutant::ClearBeforeUnlink => ChangeAt::ListForClear,
        _ => ChangeAt::Tombstone,
    };
    let next = if protocol.lease(from, deleter.home, Mutant::None) { first } else { ChangeAt::Abandoned };
    let new_tag = tagged && deleter.keys & TAG == 0;
    if !from.revision {
        go(steps, DELETER, "no such revision any more", ChangeAt::UndoPending, |_| {});
    } else if policy && leads_there != 0 {
        go(steps, DELETER, "changed since planned", ChangeAt::UndoPending, |_| {});
    } else if new_tag && !policy && !protocol.is(Mutant::TagsListedOnce) && protocol.config.delete.0 == Delete::Api {
        go(steps, DELETER, "T points there now: undone; pending goes", ChangeAt::Again, |s| s.pending[0] = 0);
    } else {
        go(steps, DELETER, "checked under the freeze; lease checked", next, |_| {});
    }
}
