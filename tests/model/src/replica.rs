//! Being a replica, and time: leases, joining, leaving, caches, and what the world does.

use crate::{
    change::change,
    collect, join,
    protocol::Protocol,
    push,
    state::{
        ChangeAt, Client, CollectAt, DELETER, Fill, HOLDERS, Lease, Link, Phase, PushAt, REPLICAS, Replica, State,
        Stray, Tag, Tombstone,
    },
    step::Steps,
    weakened::Mutant,
};

pub fn expand(protocol: &Protocol, steps: &mut Steps) {
    for replica in 0..REPLICAS {
        lease(protocol, steps, replica);
        thaw(protocol, steps, replica);
        cache(protocol, steps, replica);
    }
    if protocol.config.joins {
        join::join(protocol, steps);
    }
    if let Some(replica) = protocol.config.leaves {
        join::leave(protocol, steps, replica as usize);
    }
    takeover(protocol, steps);
    world(protocol, steps);
}

fn lease(protocol: &Protocol, steps: &mut Steps, replica: usize) {
    let from = steps.from;
    let this = from.replicas[replica];
    let crashed = this.phase == Phase::Crashed;
    if from.alive(replica as u8) && from.crashes < protocol.config.crashes {
        steps.maybe("crash", Some(replica as u8), |s| {
            s.crashes += 1;
            crash(s, replica);
        });
    }
    match this.lease {
        Lease::Valid if crashed => {
            steps.go("time", "its lease lapses", replica, |s| s.replicas[replica].lease = Lease::Lapsed);
        }
        Lease::Valid if from.alive(replica as u8) && from.lapses < protocol.config.lapses => {
            let remembers = protocol.is(Mutant::LateRenewalRevives) || protocol.is(Mutant::CacheAnsweredWithoutLease);
            steps.maybe("its lease lapses: slow, paused or evicted", Some(replica as u8), |s| {
                s.lapses += 1;
                s.replicas[replica].lease = Lease::Lapsed;
                s.replicas[replica].cached &= remembers;
            });
        }
        Lease::Lapsed => steps.go("time", "it is gone", replica, |s| s.replicas[replica].lease = Lease::Gone),
        Lease::Gone => steps.go("time", "gone, and Q has passed", replica, |s| {
            s.replicas[replica].lease = Lease::GoneQ;
            cancel_removals(protocol, s, replica);
        }),
        _ => {}
    }
    if protocol.is(Mutant::LateRenewalRevives) && !crashed && this.lease > Lease::Lapsed {
        steps.maybe("a late renewal revives its lease", Some(replica as u8), |s| {
            s.replicas[replica].lease = Lease::Valid;
        });
    }
    let kept_too_briefly = protocol.is(Mutant::KeyRemovedDuringEpoch) || protocol.is(Mutant::WatchLetsKeysGo);
    let closed = !from.open[0] && !from.open[1];
    if this.key && this.lease >= Lease::Gone && (closed || kept_too_briefly) {
        steps.maybe("the key of a gone replica is removed", Some(replica as u8), |s| s.replicas[replica].key = false);
    }
}

/// A4: what a delete, a restore or a sweep still had to write has landed by now, or never will.
fn cancel_removals(protocol: &Protocol, state: &mut State, replica: usize) {
    if protocol.is(Mutant::RestoreLandsLate) && state.restorer.home as usize == replica {
        state.stray = match state.restorer.at {
            ChangeAt::Revision => Stray::Revision,
            ChangeAt::Tag => Stray::Tag,
            _ => state.stray,
        };
    }
    if !protocol.is(Mutant::DeleteWithoutLease) {
        abandon_changes(state, replica);
    }
    for collector in &mut state.collectors {
        let unchecked = protocol.is(Mutant::SweepWithoutLease);
        let idle = collector.at == CollectAt::Idle;
        if collector.home as usize == replica && !idle && !unchecked {
            collector.at = CollectAt::Halted;
        }
    }
}

fn abandon_changes(state: &mut State, replica: usize) {
    let [settler, settler_2] = &mut state.settlers;
    for change in [&mut state.deleter, &mut state.restorer, settler, settler_2] {
        let at_rest = matches!(change.at, ChangeAt::Idle | ChangeAt::Done | ChangeAt::Failed);
        if change.home as usize == replica && !at_rest {
            (change.at, change.entered) = (ChangeAt::Abandoned, 0);
        }
    }
}

pub fn crash(state: &mut State, replica: usize) {
    let this = &mut state.replicas[replica];
    *this = Replica { phase: Phase::Crashed, lease: this.lease, key: this.key, ..Replica::default() };
    abandon_changes(state, replica);
    for client in state.clients.iter_mut().filter(|client| client.home as usize == replica && client.entered != 0) {
        let first = (client.at as u8) < PushAt::PutStart as u8;
        client.at = if first { PushAt::Idle } else { PushAt::Failed };
        (client.entered, client.early_stat) = (0, 0);
    }
    for collector in state.collectors.iter_mut().filter(|collector| collector.home as usize == replica) {
        if collector.at != CollectAt::Idle {
            collector.at = CollectAt::Halted;
        }
    }
}

/// A freeze ends with the key that it stands for: by a thaw, or because the replica sees that the key is gone. A
/// collector's ends also Q after the collector is gone.
fn thaw(protocol: &Protocol, steps: &mut Steps, replica: usize) {
    let from = steps.from;
    let collectors = from.collectors.iter().map(|collector| collector.home);
    let changes = (DELETER..HOLDERS).map(|holder| change(from, holder).home);
    for (holder, home) in collectors.chain(changes).enumerate() {
        if from.replicas[replica].frozen[holder] == 0 {
            continue;
        }
        let key = if holder < DELETER { from.sealed[holder] != 0 } else { from.pending[holder - DELETER] != 0 };
        let lease = from.replicas[home as usize].lease;
        let overdue = match (holder < DELETER, protocol.mutant) {
            (true, Mutant::DeadCollectorsFreezeStays) => false,
            (true, Mutant::ThawedBeforeQ) => lease >= Lease::Gone,
            (false, Mutant::PendingThawedAtQ) => lease == Lease::GoneQ,
            (collects, _) => collects && lease == Lease::GoneQ,
        };
        // The mutant: only those that were asked to freeze are asked to thaw.
        let asked = if holder < DELETER { from.collectors[holder].members } else { change(from, holder).list };
        let told = !protocol.is(Mutant::FreezeEndsOnlyByThaw) || asked & 1 << replica != 0;
        if overdue || !key && told {
            steps.go("replica", "thaw", replica, |s| s.replicas[replica].frozen[holder] = 0);
        }
    }
}

/// A pull by somebody who may only pull fills the descriptor cache.
fn cache(protocol: &Protocol, steps: &mut Steps, replica: usize) {
    let from = steps.from;
    let this = from.replicas[replica];
    // Requests of a process that registers anew go on meanwhile.
    let reborn = protocol.config.reborn && matches!(this.phase, Phase::Reborn | Phase::Registered | Phase::GcListed);
    if protocol.config.caches & 1 << replica == 0 || !reborn && this.phase != Phase::Serving {
        return;
    }
    let at = Some(replica as u8);
    match this.fill {
        Fill::Idle if !this.cached => steps.maybe("cache fill: note the generation", at, |s| {
            (s.replicas[replica].fill, s.replicas[replica].fill_stale) = (Fill::Started, false);
        }),
        Fill::Idle => {}
        Fill::Started => steps.maybe("cache fill: read the link", at, |s| {
            s.replicas[replica].fill = if s.revision { Fill::Read } else { Fill::Idle };
        }),
        Fill::Read => steps.maybe("cache fill: set, unless the generation moved", at, |s| {
            let this = &mut s.replicas[replica];
            this.cached |= !this.fill_stale;
            (this.fill, this.fill_stale) = (Fill::Idle, false);
        }),
    }
}

/// Collection, step 5: the collector is gone and Q has passed.
fn takeover(protocol: &Protocol, steps: &mut Steps) {
    for me in 0..2 {
        let collector = steps.from.collectors[me];
        let dead = steps.from.open[me] && steps.from.replicas[collector.home as usize].lease == Lease::GoneQ;
        if dead && !protocol.is(Mutant::DeadCollectorsFreezeStays) {
            steps.go("settler", "close the dead collector's batch and epoch", collector.home as usize, |s| {
                collect::close(s, me);
                if !protocol.is(Mutant::SweepWithoutLease) {
                    s.collectors[me].at = CollectAt::Halted;
                }
            });
        }
    }
}

/// Ages, expiries, and writes that land late.
fn world(protocol: &Protocol, steps: &mut Steps) {
    push::late(protocol, steps);
    let from = steps.from;
    let collects = protocol.config.collectors != [None, None];
    let busy = from.clients.iter().any(Client::busy);
    if collects && from.layer_link == Link::Fresh && (protocol.config.ages_freely || !busy) {
        steps.maybe("the layer link ages past P", None, |s| s.layer_link = Link::Old);
    }
    // A3: an intent outlives every publication of its operation.
    for me in 0..2 {
        let late = from.clients[me].late != 0 && !protocol.is(Mutant::LateOutlivesIntent);
        let over = matches!(from.clients[me].at, PushAt::Done | PushAt::Failed) && !late;
        if collects && over && from.intents & 1 << me != 0 {
            steps.maybe("an abandoned intent ages out", None, |s| s.intents &= !(1 << me));
        }
    }
    if collects && matches!(from.restorer.at, ChangeAt::Done | ChangeAt::Failed) && from.intents & 4 != 0 {
        steps.maybe("a restore's intent ages out", None, |s| s.intents &= !4);
    }
    let deleting = !matches!(from.deleter.at, ChangeAt::Idle | ChangeAt::Done | ChangeAt::Failed);
    if collects && from.tombstone == Tombstone::Restorable && !deleting {
        steps.maybe("the tombstone expires", None, |s| s.tombstone = Tombstone::Expired);
    }
    if from.stray != Stray::None {
        steps.maybe("a dead process's write lands", None, |s| {
            match from.stray {
                Stray::Unlink => s.revision = false,
                Stray::Revision => s.revision = true,
                Stray::Tag => s.tag = Tag::Manifest,
                Stray::None => {}
            }
            s.stray = Stray::None;
        });
    }
}
