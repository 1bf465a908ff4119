//! Coming and going: a new process, one that lost its lease and takes a new ulid, and one that leaves in order.

use crate::{
    protocol::Protocol,
    replica::crash,
    state::{DELETER, Fill, JOINER, LEFT, Lease, Phase, Replica, State},
    step::Steps,
    weakened::Mutant,
};

/// Write the key; list `gc/`, then `pending/`; serve.
pub fn join(protocol: &Protocol, steps: &mut Steps) {
    let list_gc = |s: &mut State| {
        s.replicas[JOINER].began = s.open;
        if !protocol.is(Mutant::JoinerIgnoresSealed) {
            (s.replicas[JOINER].frozen[0], s.replicas[JOINER].frozen[1]) = (s.sealed[0], s.sealed[1]);
        }
    };
    let list_pending = |s: &mut State| {
        if !protocol.is(Mutant::JoinerIgnoresPending) {
            let pending = s.pending;
            s.replicas[JOINER].frozen[DELETER..].copy_from_slice(&pending);
        }
    };
    let reborn = protocol.config.reborn;
    let forgets_first = protocol.is(Mutant::ForgetsBeforeItRegisters);
    let early = protocol.is(Mutant::JoinerListsBeforeItRegisters);
    match steps.from.replicas[JOINER].phase {
        Phase::Absent if early => steps.maybe("joiner: list gc/ before it registers", Some(2), |s| {
            s.replicas[JOINER].phase = Phase::GcListed;
            list_gc(s);
        }),
        Phase::Absent if reborn => give_up_the_old(protocol, steps),
        Phase::Reborn => steps.go("joiner", "write the key", JOINER, |s| {
            (s.replicas[JOINER].phase, s.replicas[JOINER].key) = (Phase::Registered, true);
        }),
        Phase::Absent => steps.maybe("joiner: write the key", Some(2), |s| {
            (s.replicas[JOINER].phase, s.replicas[JOINER].key) = (Phase::Registered, true);
        }),
        Phase::Registered => steps.go("joiner", "list gc/", JOINER, |s| {
            s.replicas[JOINER].phase = Phase::GcListed;
            if reborn && !forgets_first {
                forget(protocol, &mut s.replicas[JOINER]);
            }
            list_gc(s);
        }),
        Phase::GcListed => steps.go("joiner", "list pending/", JOINER, |s| {
            s.replicas[JOINER].phase = if early { Phase::PendingListed } else { Phase::Serving };
            list_pending(s);
        }),
        Phase::PendingListed => steps.go("joiner", "write the key at last", JOINER, |s| {
            (s.replicas[JOINER].phase, s.replicas[JOINER].key) = (Phase::Serving, true);
        }),
        _ => {}
    }
}

/// Finish what is in flight, write the `left-` keys, remove the key.
pub fn leave(protocol: &Protocol, steps: &mut Steps, replica: usize) {
    let this = steps.from.replicas[replica];
    let idle = steps.from.in_flight(replica) == 0;
    match this.phase {
        Phase::Serving if idle && this.lease == Lease::Valid => {
            steps.maybe("leaving: write left- keys", Some(replica as u8), |s| {
                s.replicas[replica].phase = Phase::Leaving;
                for epoch in 0..2 {
                    let told = this.began[epoch] && !protocol.is(Mutant::LeaverForgetsTouched);
                    s.left[epoch] |= if told { this.touched[epoch] | LEFT } else { 0 };
                }
            });
        }
        Phase::Leaving => steps.go("leaver", "remove the key", replica, |s| {
            s.replicas[replica] = Replica { phase: Phase::Left, lease: Lease::GoneQ, ..Replica::default() };
        }),
        _ => {}
    }
}

/// The process of replica 1 has lost its lease: it gives its ulid up, and what it had begun under it, but has its memory.
fn give_up_the_old(protocol: &Protocol, steps: &mut Steps) {
    let old = steps.from.replicas[1];
    if old.lease == Lease::Valid || old.phase != Phase::Serving {
        return;
    }
    steps.maybe("joiner: give the old ulid up", Some(1), |s| {
        crash(s, 1);
        let memory = Replica { cached: old.cached, fill: old.fill, fill_stale: old.fill_stale, ..Replica::default() };
        s.replicas[JOINER] = Replica { phase: Phase::Reborn, ..memory };
        if protocol.is(Mutant::ForgetsBeforeItRegisters) {
            forget(protocol, &mut s.replicas[JOINER]);
        }
    });
}

/// Nobody has told the process what was deleted since its lease lapsed.
fn forget(protocol: &Protocol, replica: &mut Replica) {
    replica.cached &= protocol.is(Mutant::MemoryOutlivesLease);
    replica.fill_stale |= replica.fill != Fill::Idle && !protocol.is(Mutant::FillOutlivesLease);
}
