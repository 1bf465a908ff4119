//! Collection.

use crate::{
    protocol::Protocol,
    state::{BLOB, CollectAt, Collector, DIGESTS, JOINER, Keys, Link, MANIFEST, Phase, REPLICAS, State, Tombstone},
    step::Steps,
    weakened::Mutant,
};

const NAMES: [&str; 2] = ["collector 1", "collector 2"];

#[expect(clippy::too_many_lines, reason = "one arm for each step")]
pub fn expand(protocol: &Protocol, steps: &mut Steps, me: usize) {
    let Some(start) = protocol.config.collectors[me] else { return };
    let from = steps.from;
    let collector = from.collectors[me];
    let home = if collector.at == CollectAt::Idle { start } else { collector.home };
    let mut to = |what, at: CollectAt, change: &dyn Fn(&mut State)| {
        steps.go(NAMES[me], what, home as usize, |s| {
            (s.collectors[me].at, s.collectors[me].home) = (at, home);
            change(s);
        });
    };
    let find = |digests: Keys| move |s: &mut State| s.collectors[me].found |= digests;
    let held = |there: bool, digests: Keys| if there { digests } else { 0 };
    match collector.at {
        CollectAt::Idle => {
            let free = collector.epochs < protocol.config.epochs && from.alive(home);
            if free && protocol.lease(from, home, Mutant::None) {
                to("write open", CollectAt::ListReplicas, &|s| s.open[me] = true);
            }
        }
        CollectAt::ListReplicas => to("list replicas", CollectAt::Begin, &|s| s.collectors[me].members = s.listed()),
        CollectAt::Begin => begin(protocol, steps, me),
        // Without candidates the epoch is over.
        CollectAt::ListBlobs if from.data == 0 => to("list blobs: none", CollectAt::CloseEpoch, &|_| {}),
        CollectAt::ListBlobs => {
            let first = match protocol.mutant {
                Mutant::LinksBeforeIntents => CollectAt::ListLayers,
                Mutant::TrashBeforeLinks => CollectAt::ListTrash,
                _ => CollectAt::ListIntents,
            };
            to("list blobs", first, &|s| s.collectors[me].batch = s.data);
        }
        CollectAt::ListIntents => {
            let next =
                if protocol.is(Mutant::LinksBeforeIntents) { CollectAt::ListTrash } else { CollectAt::ListLayers };
            to("list intents", next, &find(held(from.intents != 0, DIGESTS)));
        }
        CollectAt::ListLayers => {
            let root = held(from.layer_link == Link::Fresh, BLOB);
            to("list layer links", CollectAt::ListRevisions, &find(root));
        }
        CollectAt::ListRevisions => {
            let next = match protocol.mutant {
                Mutant::LinksBeforeIntents => CollectAt::ListIntents,
                Mutant::TrashBeforeLinks => CollectAt::Seal,
                _ => CollectAt::ListTrash,
            };
            to("list revision links", next, &find(held(from.revision || from.index, DIGESTS)));
        }
        CollectAt::ListTrash => {
            let next = if protocol.is(Mutant::TrashBeforeLinks) { CollectAt::ListIntents } else { CollectAt::Seal };
            to("list trash", next, &find(held(from.tombstone == Tombstone::Restorable, DIGESTS)));
        }
        CollectAt::Seal => {
            let batch = collector.batch & !collector.found;
            let next = if batch == 0 { CollectAt::CloseEpoch } else { CollectAt::ListReplicasAgain };
            to("write sealed-k, if anything is left", next, &|s| {
                s.sealed[me] = batch;
                (s.collectors[me].batch, s.collectors[me].found, s.collectors[me].call) = (batch, 0, 0);
            });
        }
        CollectAt::ListReplicasAgain => list_again(protocol, steps, me),
        CollectAt::Freeze => freeze(protocol, steps, me),
        CollectAt::LeftKeys => {
            let batch = collector.batch & !from.left[me];
            let next = match batch {
                0 => CollectAt::CloseBatch,
                _ if !protocol.lease(from, home, Mutant::SweepWithoutLease) => CollectAt::Halted,
                _ if batch & BLOB != 0 => CollectAt::SweepLinks,
                _ => CollectAt::SweepManifest,
            };
            to("read left- keys; lease checked", next, &|s| s.collectors[me].batch = batch);
        }
        CollectAt::SweepLinks => to("sweep B's links", CollectAt::SweepBlob, &|s| s.layer_link = Link::Absent),
        CollectAt::SweepBlob => {
            let more = collector.batch & MANIFEST != 0;
            let next = if more { CollectAt::SweepManifest } else { CollectAt::CloseBatch };
            to("sweep B's bytes", next, &|s| s.data &= !BLOB);
        }
        CollectAt::SweepManifest => to("sweep M's bytes", CollectAt::CloseBatch, &|s| s.data &= !MANIFEST),
        CollectAt::CloseBatch => to("write closed-k", CollectAt::CloseEpoch, &|s| s.sealed[me] = 0),
        CollectAt::CloseEpoch => to("write closed", CollectAt::Idle, &|s| {
            close(s, me);
            let epochs = collector.epochs + 1;
            s.collectors[me] = Collector { home, epochs, ..Collector::default() };
        }),
        CollectAt::Halted => {}
    }
}

/// The epoch's keys close; touched sets go with it.
pub fn close(state: &mut State, me: usize) {
    (state.open[me], state.sealed[me], state.left[me]) = (false, 0, 0);
    for replica in &mut state.replicas {
        (replica.began[me], replica.touched[me]) = (false, 0);
    }
}

fn begin(protocol: &Protocol, steps: &mut Steps, me: usize) {
    let from = steps.from;
    let collector = from.collectors[me];
    let Some(replica) = Protocol::next_callee(collector.members, collector.call) else {
        return steps.go(NAMES[me], "all have begun", collector.home as usize, |s| {
            (s.collectors[me].at, s.collectors[me].call) = (CollectAt::ListBlobs, 0);
        });
    };
    let (callee, gone) = protocol.call(from, collector.home, replica);
    if let Some(callee) = callee {
        let in_flight = if protocol.is(Mutant::BeginWithoutInFlight) { 0 } else { from.in_flight(callee) & DIGESTS };
        steps.go(NAMES[me], "ask to begin", callee, |s| {
            s.collectors[me].call = replica + 1;
            s.replicas[callee].began[me] = true;
            s.replicas[callee].touched[me] |= in_flight;
        });
    }
    if gone {
        steps.go(NAMES[me], "gone: not of this epoch", replica as usize, |s| {
            s.collectors[me].call = replica + 1;
            s.collectors[me].members &= !(1 << replica);
            s.collectors[me].gone |= 1 << replica;
        });
    }
}

fn left_in_order(state: &State, replica: usize) -> bool {
    state.replicas[replica].phase == Phase::Left
}

fn list_again(protocol: &Protocol, steps: &mut Steps, me: usize) {
    let from = steps.from;
    let collector = from.collectors[me];
    let listed = if protocol.is(Mutant::ReplicasNotListedAgain) { collector.members } else { from.listed() };
    let missing = collector.members & !listed;
    let lost = (0..REPLICAS).any(|replica| missing & 1 << replica != 0 && !left_in_order(from, replica));
    let ends = lost && !protocol.is(Mutant::EpochSurvivesLoss);
    let next = if ends { CollectAt::CloseBatch } else { CollectAt::Freeze };
    let what = if ends { "list replicas anew: one is lost; the epoch ends" } else { "list replicas anew" };
    steps.go(NAMES[me], what, collector.home as usize, |s| {
        (s.collectors[me].at, s.collectors[me].members) = (next, listed);
    });
}

fn freeze(protocol: &Protocol, steps: &mut Steps, me: usize) {
    let from = steps.from;
    let collector = from.collectors[me];
    let Some(replica) = Protocol::next_callee(collector.members, collector.call) else {
        return steps.go(NAMES[me], "all have answered", collector.home as usize, |s| {
            s.collectors[me].at = CollectAt::LeftKeys;
        });
    };
    let (callee, gone) = protocol.call(from, collector.home, replica);
    if let Some(callee) = callee {
        let touched = if protocol.is(Mutant::TouchedIgnored) { 0 } else { from.replicas[callee].touched[me] };
        let free = collector.batch & !from.in_flight(callee) & !touched;
        steps.go(NAMES[me], "freeze; what is in flight or touched is dropped", callee, |s| {
            s.collectors[me].call = replica + 1;
            s.collectors[me].batch = free;
            s.replicas[callee].frozen[me] = free;
        });
    }
    if gone {
        let gone_before = collector.gone & 1 << replica != 0;
        let newcomer = replica as usize == JOINER && protocol.is(Mutant::EpochSurvivesNewcomers);
        let told = left_in_order(from, replica as usize) || gone_before || newcomer;
        let survives = told || protocol.is(Mutant::EpochSurvivesLoss);
        let next = if survives { CollectAt::Freeze } else { CollectAt::CloseBatch };
        let what = if survives { "gone: passed over" } else { "lost: the epoch ends" };
        steps.go(NAMES[me], what, replica as usize, |s| {
            (s.collectors[me].at, s.collectors[me].call) = (next, replica + 1);
        });
    }
}
