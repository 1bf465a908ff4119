//! The invariants, as properties of a state.

use stateright::Property;

use crate::{
    change::change,
    protocol::{Protocol, Push},
    state::{
        ChangeAt, Client, DELETER, DIGESTS, HOLDERS, Lease, Phase, PushAt, REPLICAS, Replica, State, Tag, Tombstone,
    },
    step::Step,
    weakened::Mutant,
};

/// I1.
pub const BYTES: &str = "I1: the bytes of what is visible exist";
/// I2.
pub const PROMISE: &str = "I2: what was promised can be referenced";
/// I3, of what the trash shows.
pub const RESTORABLE: &str = "I3: the bytes of what is restorable exist";
/// I3, of a restore.
pub const RESTORE: &str = "I3: what is restorable can be restored";
/// I4, of a policy and what was tagged.
pub const TAGGED: &str = "I4: a policy removes nothing that an acknowledged PUT tagged";
/// I4, of a policy and what an index references.
pub const CHILD: &str = "I4: a policy removes no child of an acknowledged index";
/// I4, of a PUT that came later.
pub const LATER: &str = "I4: a PUT that began after the delete stays";
/// I4, of a PUT and a delete that overlap.
pub const WHOLE: &str = "I4: all of a PUT is left or none of it";
/// I4, of tags that were not to be touched.
pub const OTHER: &str = "I4: a tag of another manifest stays";
/// I4, of two PUTs.
pub const LAST: &str = "I4: a tag stays where the last of two PUTs put it";
/// I5, of the store.
pub const BACK: &str = "I5: what was deleted does not come back by itself";
/// I5.
pub const CACHES: &str = "I5: no cache answers with what was deleted";
/// Nobody is served any more, and yet somebody waits.
pub const STUCK: &str = "nobody waits for ever";

/// All of them.
pub fn properties() -> Vec<Property<Protocol>> {
    vec![
        Property::always(BYTES, |_, state: &State| !(state.revision || state.index) || state.data == DIGESTS),
        Property::always(PROMISE, |protocol: &Protocol, state: &State| {
            !state.promise_broken || protocol.config.ages_freely
        }),
        Property::always(RESTORABLE, |_, state: &State| {
            state.tombstone != Tombstone::Restorable || state.data == DIGESTS
        }),
        Property::always(RESTORE, |_, state: &State| !state.restore_failed),
        Property::always(TAGGED, policy_keeps_what_was_tagged),
        Property::always(CHILD, policy_keeps_children),
        Property::always(LATER, later_puts_stay),
        Property::always(WHOLE, puts_are_whole),
        Property::always(OTHER, other_tags_stay),
        Property::always(LAST, last_put_stays),
        Property::always(BACK, |_, state: &State| !state.came_back),
        Property::always(CACHES, caches_forget),
        Property::always(STUCK, |_, state: &State| !state.stuck),
    ]
}

fn plays(protocol: &Protocol, push: Push) -> bool {
    protocol.config.clients.iter().any(|client| client.0 == push)
}

fn is_acked(protocol: &Protocol, state: &State, push: Push) -> bool {
    (0..2).any(|me| protocol.config.clients[me].0 == push && state.clients[me].acked)
}

/// Whether a PUT of M under T was acknowledged.
fn is_pushed(protocol: &Protocol, state: &State) -> bool {
    is_acked(protocol, state, Push::Blob) || is_acked(protocol, state, Push::Tagged)
}

fn policy_keeps_what_was_tagged(protocol: &Protocol, state: &State) -> bool {
    if !protocol.has_policy() || !is_pushed(protocol, state) {
        return true;
    }
    let lost = !state.revision || state.tag == Tag::Absent;
    let dangling = !state.revision && state.tag == Tag::Manifest;
    !dangling && (!lost || plays(protocol, Push::Other))
}

fn policy_keeps_children(protocol: &Protocol, state: &State) -> bool {
    !(protocol.has_policy() && is_acked(protocol, state, Push::Index) && !state.revision)
}

fn later_puts_stay(protocol: &Protocol, state: &State) -> bool {
    let later = |me: usize| state.clients[me].acked && state.clients[me].after_delete;
    let mut pushes = (0..2).filter(|&me| protocol.config.clients[me].0 != Push::Other);
    state.revision || !pushes.any(later)
}

/// The whole PUT is before the delete or after it: M without its tag is half of it.
fn puts_are_whole(protocol: &Protocol, state: &State) -> bool {
    let half = state.revision && state.tag == Tag::Absent;
    let alone = !plays(protocol, Push::Untagged) && protocol.config.restore.is_none();
    !(half && alone && state.deleter.acked && is_pushed(protocol, state))
}

fn other_tags_stay(protocol: &Protocol, state: &State) -> bool {
    let only_other = !plays(protocol, Push::Tagged) && !plays(protocol, Push::Blob);
    let overwritten = state.tag == Tag::Manifest && protocol.config.restore.is_some() && only_other;
    !(is_acked(protocol, state, Push::Other) && (state.other_tag_unlinked || overwritten))
}

fn last_put_stays(protocol: &Protocol, state: &State) -> bool {
    let tag = |me: usize| if protocol.config.clients[me].0 == Push::Other { Tag::Other } else { Tag::Manifest };
    let overtaken = |me: usize| {
        let client = state.clients[me];
        client.acked && client.after_other && state.tag == tag(1 - me) && tag(me) != tag(1 - me)
    };
    !(0..2).any(overtaken)
}

fn caches_forget(protocol: &Protocol, state: &State) -> bool {
    let answers = |replica: &Replica| {
        let lease = replica.lease == Lease::Valid || protocol.is(Mutant::CacheAnsweredWithoutLease);
        replica.phase == Phase::Serving && replica.cached && lease
    };
    let deleted = state.deleter.acked && !state.revision;
    !(deleted && state.replicas.iter().any(answers))
}

/// Whether somebody waits, and none of the steps that may follow comes by itself.
pub(crate) fn is_stuck(protocol: &Protocol, state: &State, next: &[Step]) -> bool {
    if protocol.has_timeouts() || next.iter().any(|step| step.progress) {
        return false;
    }
    // A replica whose lease has lapsed registers anew, which the model shows with the joiner only.
    let serving = |replica: &Replica| replica.phase == Phase::Serving && replica.lease == Lease::Valid;
    let serves = |set: u8| (0..REPLICAS).any(|r| set & 1 << r != 0 && serving(&state.replicas[r]));
    let waits = |me: usize, client: &Client| {
        let (push, replicas) = protocol.config.clients[me];
        let over = matches!(client.at, PushAt::Done | PushAt::Failed);
        push != Push::None && !over && serves(replicas)
    };
    let at_rest = |at: ChangeAt| matches!(at, ChangeAt::Idle | ChangeAt::Done | ChangeAt::Failed | ChangeAt::Abandoned);
    let frozen = state.replicas.iter().any(|replica| replica.phase == Phase::Serving && replica.frozen != [0; HOLDERS]);
    state.clients.iter().enumerate().any(|(me, client)| waits(me, client))
        || (DELETER..HOLDERS).any(|holder| !at_rest(change(state, holder).at))
        || frozen && serves(0b11)
}
