//! Restores.

use crate::{
    change::{freeze, go},
    protocol::Protocol,
    state::{self, Change, ChangeAt, DIGESTS, Lease, Link, RESTORER, REVISION, TAG},
    step::Steps,
    weakened::Mutant,
};

const RESTORER_INTENT: u8 = 4;

pub fn expand(protocol: &Protocol, steps: &mut Steps) {
    steps_of(protocol, steps);
    settle(steps);
}

#[expect(clippy::too_many_lines, reason = "one arm for each step")]
fn steps_of(protocol: &Protocol, steps: &mut Steps) {
    use ChangeAt::{
        Abandoned, Check, Done, Enter, Failed, Freeze, Idle, Intent, IntentGoes, LayerLink, List, PendingGoes,
        Revision, Stat, Tag, TombstoneGoes, UndoPending, Wait,
    };
    let from = steps.from;
    let restorer = from.restorer;
    let lease = |next| if protocol.lease(from, restorer.home, Mutant::None) { next } else { Abandoned };
    let enters_first = protocol.is(Mutant::RestoreEntersFirst);
    let door = if restorer.at == Idle { protocol.config.restore.unwrap_or(0) } else { restorer.home };
    let closed = from.frozen(door as usize) & DIGESTS != 0;
    match restorer.at {
        Idle => {
            let offered = from.tombstone == state::Tombstone::Restorable;
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
        Enter if closed && protocol.has_timeouts() => go(steps, RESTORER, "15 s are over; 503", UndoPending, |_| {}),
        Enter if closed => {}
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
            s.restore_failed |= s.tombstone == state::Tombstone::Restorable;
            s.intents &= !RESTORER_INTENT;
        }),
        Stat => go(steps, RESTORER, "stat the closure", if enters_first { List } else { Check }, |_| {}),
        Check if from.tag == state::Tag::Other => {
            go(steps, RESTORER, "409: T is another's", UndoPending, |s| s.intents &= !RESTORER_INTENT);
        }
        Check => go(steps, RESTORER, "T is free; lease checked", lease(LayerLink), |_| {}),
        LayerLink => go(steps, RESTORER, "layer link", Revision, |s| s.layer_link = Link::Fresh),
        Revision => go(steps, RESTORER, "revision link; lease checked", lease(Tag), |s| s.revision = true),
        Tag => go(steps, RESTORER, "tag link; lease checked", lease(TombstoneGoes), |s| s.tag = state::Tag::Manifest),
        TombstoneGoes => {
            go(steps, RESTORER, "the tombstone goes", IntentGoes, |s| s.tombstone = state::Tombstone::Absent);
        }
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
fn settle(steps: &mut Steps) {
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
