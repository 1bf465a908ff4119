//! Promises: HEAD, blob commit, manifest PUT.

use crate::{
    protocol::{Protocol, Push},
    state::{BLOB, ChangeAt, Client, DIGESTS, INDEX, Keys, Lease, Link, MANIFEST, PushAt, REVISION, State, TAG, Tag},
    step::Steps,
    weakened::Mutant,
};

const NAMES: [&str; 2] = ["client 1", "client 2"];

pub fn expand(protocol: &Protocol, steps: &mut Steps, me: usize) {
    let (push, replicas) = protocol.config.clients[me];
    match steps.from.clients[me].at {
        _ if push == Push::None => {}
        PushAt::Idle if push == Push::Blob => start_blob(protocol, steps, me, replicas),
        PushAt::Idle | PushAt::PutStart => start_put(protocol, steps, me, push, replicas),
        PushAt::Done | PushAt::Failed => {}
        at if (at as u8) < PushAt::PutStart as u8 => blob(protocol, steps, me),
        _ => put(protocol, steps, me, push),
    }
}

/// In the mutant that stats first: the stat is still to be made, outside the guard.
fn stats_early(protocol: &Protocol, steps: &mut Steps, me: usize) -> bool {
    let needed = protocol.is(Mutant::StatBeforeEnter) && steps.from.clients[me].early_stat == 0;
    if needed {
        steps.go(NAMES[me], "stat B before it enters", 0, |s| s.clients[me].early_stat = 1 + (s.data & BLOB));
    }
    needed
}

fn blob_present(state: &State, client: &Client) -> bool {
    if client.early_stat != 0 { client.early_stat == 2 } else { state.data & BLOB != 0 }
}

fn start_blob(protocol: &Protocol, steps: &mut Steps, me: usize, replicas: u8) {
    if stats_early(protocol, steps, me) {
        return;
    }
    let from = steps.from;
    for home in Protocol::open_doors(from, replicas, BLOB) {
        let mut enter = |what, at, touches: bool| {
            steps.go(NAMES[me], what, home, |s| {
                let client = &mut s.clients[me];
                (client.at, client.home, client.entered) = (at, home as u8, BLOB);
                if touches {
                    s.touch(home, BLOB);
                }
            });
        };
        enter("HEAD: enter", PushAt::HeadLink, !protocol.is(Mutant::HeadNotTouched));
        enter("commit: bytes staged; enter", PushAt::CommitLink, true);
    }
}

fn blob(protocol: &Protocol, steps: &mut Steps, me: usize) {
    let from = steps.from;
    let client = from.clients[me];
    let home = client.home;
    let lease = protocol.lease(from, home, Mutant::NoLeaseBeforePromise);
    let present = blob_present(from, &client);
    let mut to = |what, at: PushAt, change: &dyn Fn(&mut State)| {
        steps.go(NAMES[me], what, home as usize, |s| {
            let client = &mut s.clients[me];
            client.at = at;
            if matches!(at, PushAt::Idle | PushAt::PutStart) {
                (client.entered, client.early_stat) = (0, 0);
            }
            change(s);
        });
    };
    let keep = &|_: &mut State| {};
    let fresh = &|s: &mut State| s.layer_link = Link::Fresh;
    let promise = &|s: &mut State| s.clients[me].promised = true;
    match (client.at, from.layer_link) {
        (PushAt::HeadLink, Link::Absent) => to("HEAD: no link; 404; leave", PushAt::Idle, keep),
        (PushAt::HeadLink, Link::Old) if !protocol.is(Mutant::HeadKeepsOldLink) => {
            to("HEAD: the link is old", PushAt::HeadRefresh, keep);
        }
        (PushAt::HeadLink, _) => to("HEAD: the link is there", PushAt::HeadStat, keep),
        (PushAt::HeadRefresh, _) => to("HEAD: refresh the link", PushAt::HeadStat, fresh),
        (PushAt::HeadStat, _) if !present => to("HEAD: stat finds nothing; 404; leave", PushAt::Idle, keep),
        (PushAt::HeadStat, _) if lease => to("HEAD: stat; lease valid", PushAt::HeadAnswer, keep),
        (PushAt::HeadStat, _) => to("HEAD: stat; lease lapsed; 503; leave", PushAt::Idle, keep),
        (PushAt::HeadAnswer, _) => to("HEAD: 200; leave", PushAt::PutStart, promise),
        (PushAt::CommitLink, Link::Fresh | Link::Old) if protocol.is(Mutant::LinkNotRewritten) => {
            to("commit: the link is there, and stays as it is", PushAt::CommitStat, keep);
        }
        (PushAt::CommitLink, _) => to("commit: rewrite the link", PushAt::CommitStat, fresh),
        (PushAt::CommitStat, _) if !present => to("commit: stat finds nothing", PushAt::CommitPublish, keep),
        (PushAt::CommitStat, _) if lease => to("commit: stat; lease valid", PushAt::CommitAnswer, keep),
        (PushAt::CommitPublish, _) => {
            let at = if lease { PushAt::CommitAnswer } else { PushAt::Idle };
            to("commit: publish; lease checked", at, &|s| s.data |= BLOB);
        }
        (PushAt::CommitAnswer, _) => to("commit: 201; leave", PushAt::PutStart, promise),
        _ => to("commit: lease lapsed; 503; leave", PushAt::Idle, keep),
    }
}

fn start_put(protocol: &Protocol, steps: &mut Steps, me: usize, push: Push, replicas: u8) {
    if stats_early(protocol, steps, me) {
        return;
    }
    let keys = match push {
        Push::Other => TAG,
        Push::Untagged => DIGESTS | REVISION,
        Push::Index if protocol.is(Mutant::IndexIgnoresChildRevision) => MANIFEST,
        Push::Index => MANIFEST | REVISION,
        _ => DIGESTS | REVISION | TAG,
    };
    let first = match push {
        Push::Other => PushAt::PutTag,
        _ if protocol.is(Mutant::IntentAfterChecks) || protocol.is(Mutant::IntentAfterLease) => PushAt::PutBytes,
        _ if protocol.is(Mutant::NoIntent) => PushAt::PutBytes,
        _ => PushAt::PutIntent,
    };
    let from = steps.from;
    let deleter = from.deleter;
    let ended = matches!(deleter.at, ChangeAt::Done);
    let other = from.clients[1 - me].acked;
    let died = deleter.at != ChangeAt::Idle && !from.alive(deleter.home);
    for home in Protocol::open_doors(from, replicas, keys) {
        if push == Push::Other && !protocol.lease(from, home as u8, Mutant::NoLeaseBeforeTag) {
            continue;
        }
        steps.go(NAMES[me], "PUT: enter", home, |s| {
            s.touch(home, keys);
            let client = &mut s.clients[me];
            (client.at, client.home, client.entered) = (first, home as u8, keys);
            client.after_delete = ended || died;
            client.after_other = protocol.config.late && other;
        });
    }
}

fn put(protocol: &Protocol, steps: &mut Steps, me: usize, push: Push) {
    let from = steps.from;
    let client = from.clients[me];
    let home = client.home;
    let bit = 1 << me;
    let mut to = |what, at: PushAt, change: &dyn Fn(&mut State)| {
        steps.go(NAMES[me], what, home as usize, |s| {
            s.clients[me].at = at;
            if matches!(at, PushAt::Done | PushAt::Failed) {
                s.clients[me].entered = 0;
            }
            change(s);
        });
    };
    let unknown = &|s: &mut State| {
        s.promise_broken |= client.promised;
        s.intents &= !bit;
    };
    let intent = &|s: &mut State| s.intents |= bit;
    let lease = |skipped, next| if protocol.lease(from, home, skipped) { next } else { PushAt::Failed };
    let checked = match protocol.mutant {
        Mutant::IntentAfterChecks => PushAt::PutLateIntent,
        Mutant::IntentAfterLease => lease(Mutant::None, PushAt::PutLateIntent),
        _ => lease(Mutant::NoLeaseBeforeRevision, PushAt::PutRevision),
    };
    match client.at {
        PushAt::PutIntent => to("PUT: intent", PushAt::PutBytes, intent),
        PushAt::PutBytes if push == Push::Index => to("PUT: bytes of the index", PushAt::PutLink, &|_| {}),
        PushAt::PutBytes => to("PUT: bytes of M", PushAt::PutLink, &|s| s.data |= MANIFEST),
        PushAt::PutLink if push == Push::Index && !from.revision => {
            to("PUT: M is no revision; 404", PushAt::Failed, unknown);
        }
        PushAt::PutLink if from.layer_link == Link::Absent && push != Push::Index => {
            to("PUT: B has no link; BLOB_UNKNOWN", PushAt::Failed, unknown);
        }
        PushAt::PutLink => to("PUT: the reference is linked", PushAt::PutStat, &|_| {}),
        PushAt::PutStat if push == Push::Index && from.data & MANIFEST == 0 => {
            to("PUT: M has no bytes; BLOB_UNKNOWN", PushAt::Failed, unknown);
        }
        PushAt::PutStat if push != Push::Index && !blob_present(from, &client) => {
            to("PUT: B has no bytes; BLOB_UNKNOWN", PushAt::Failed, unknown);
        }
        PushAt::PutStat => to("PUT: stat of the reference; lease checked", checked, &|_| {}),
        PushAt::PutLateIntent => {
            let skipped = if protocol.is(Mutant::IntentAfterLease) { protocol.mutant } else { Mutant::None };
            to("PUT: late intent", lease(skipped, PushAt::PutRevision), intent);
        }
        PushAt::PutRevision | PushAt::PutTag => put_link(protocol, steps, me, push),
        PushAt::PutWaits if client.late == 0 => {
            to("PUT: what was not answered cannot land any more; leave", PushAt::Failed, &|_| {});
        }
        PushAt::PutWaits => {}
        PushAt::PutAnswer => to("PUT: 201", PushAt::PutIntentGoes, &|s| s.clients[me].acked = true),
        // Only in the mutant that has answered already.
        _ if client.late != 0 && !protocol.is(Mutant::LateIgnored) => {}
        _ => to("PUT: the intent goes; leave", PushAt::Done, &|s| s.intents &= !bit),
    }
}

/// The links that make M, the index or the tag visible. Where the answer gets lost the write is sent again.
fn put_link(protocol: &Protocol, steps: &mut Steps, me: usize, push: Push) {
    let from = steps.from;
    let client = from.clients[me];
    let (what, link, next, skipped) = match (client.at, push) {
        (PushAt::PutTag, _) => ("PUT: tag link; lease checked", TAG, PushAt::PutAnswer, Mutant::NoLeaseBefore201),
        (_, Push::Index) => {
            ("PUT: link of the index; lease checked", INDEX, PushAt::PutAnswer, Mutant::NoLeaseBefore201)
        }
        (_, Push::Untagged) => {
            ("PUT: revision link; lease checked", REVISION, PushAt::PutAnswer, Mutant::NoLeaseBefore201)
        }
        _ => ("PUT: revision link; lease checked", REVISION, PushAt::PutTag, Mutant::NoLeaseBeforeTag),
    };
    // The mutants repeat it, and go on.
    let repeats = protocol.is(Mutant::LateIgnored) || protocol.is(Mutant::LateAnswered);
    let mut put = |what, late: Keys, next| {
        let next = if protocol.lease(from, client.home, skipped) { next } else { PushAt::Failed };
        steps.go(NAMES[me], what, client.home as usize, |s| {
            s.clients[me].at = next;
            s.clients[me].late |= late;
            if next == PushAt::Failed {
                s.clients[me].entered = 0;
            }
            if late == 0 || repeats {
                land(s, push, link);
            }
        });
    };
    put(what, 0, next);
    if protocol.config.late && repeats {
        put("PUT: a link again, because no answer came; lease checked", link, next);
    } else if protocol.config.late {
        let next = if protocol.is(Mutant::LateLeaves) { PushAt::Failed } else { PushAt::PutWaits };
        put("PUT: no answer to a link: 503, and the keys are kept", link, next);
    }
}

/// A link of a PUT is there.
fn land(state: &mut State, push: Push, link: Keys) {
    match link {
        TAG => state.tag = if push == Push::Other { Tag::Other } else { Tag::Manifest },
        INDEX => state.index = true,
        _ => state.revision = true,
    }
}

/// What becomes of first attempts.
pub fn late(protocol: &Protocol, steps: &mut Steps) {
    for me in 0..2 {
        let client = steps.from.clients[me];
        for link in [REVISION, TAG, INDEX].into_iter().filter(|link| client.late & link != 0) {
            steps.maybe("the first attempt to write a link lands", Some(client.home), |s| {
                land(s, protocol.config.clients[me].0, link);
                s.clients[me].late &= !link;
                // Of a replica that is passed over as gone a write may come that was never answered.
                let counts = client.acked || s.replicas[client.home as usize].lease == Lease::Valid;
                s.came_back |= counts && client.before_delete && s.deleter.acked;
            });
            steps.go("time", "the first attempt to write a link cannot land any more", client.home as usize, |s| {
                s.clients[me].late &= !link;
            });
        }
    }
}
