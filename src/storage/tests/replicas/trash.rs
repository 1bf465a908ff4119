//! The trash that several replicas share: groups, and entries that are given up.

#![expect(clippy::large_futures, reason = "a test holds three replicas, and its stack has room")]

use std::time::Duration;

use crate::storage::{
    Conflict, Error, TombstoneState, TrashFilter,
    tests::{assert_consistent, by, cause, image, is_there, tags},
};

use super::{
    scenarios::{is_gone_everywhere, seconds, simulate, started},
    simulator::{Hiccup, Process, Write},
};

async fn entries(process: &Process) -> usize {
    process.catalog.trash().list(&TrashFilter::default(), None, 100).await.unwrap().entries.len()
}

#[tokio::test]
async fn repository_that_one_replica_deletes_is_gone_at_all_and_comes_back_by_another() {
    simulate(500, async |world| {
        let (processes, digest) = started(&world).await;
        for label in ["b", "c", "d"] {
            image(label).push(&processes[1].repository(), Some(label)).await.unwrap();
        }
        let deleted = processes[0].repository().delete(cause()).await.unwrap();
        assert_eq!((deleted.manifests, deleted.tags), (4, 4));
        assert!(is_gone_everywhere(&processes, &digest).await);
        for process in &processes {
            assert_eq!(tags(&process.repository()).await, Vec::<String>::new());
            assert!(matches!(process.repository().counts().await, Err(Error::RepositoryUnknown { .. })));
            assert_eq!(entries(process).await, 4);
        }
        let trash = processes[2].catalog.trash();
        trash.restore_group(&deleted.group, Conflict::Fail, "restorer").await.unwrap();
        for process in &processes {
            assert_eq!(tags(&process.repository()).await, ["b", "c", "d", "v1"]);
            assert!(is_there(&process.repository(), &by(&digest)).await);
            assert!(process.catalog.store.guard.holders().is_empty());
        }
        assert_consistent(&processes[1].repository()).await;
        assert_eq!(world.keys("lagan/v1/pending"), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn purge_at_one_replica_and_push_at_another_undo_nothing_of_each_other() {
    for seed in 510..530 {
        simulate(seed, async |world| {
            let (processes, digest) = started(&world).await;
            let entry = processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
            let trash = processes[1].catalog.trash();
            let (image, repository) = (image("a"), processes[2].repository());
            let (purged, pushed) = tokio::join!(trash.purge(&entry.id), async {
                world.time.sleep(world.chance.up_to(Duration::from_millis(400))).await;
                image.push(&repository, Some("v1")).await
            });
            purged.unwrap();
            pushed.unwrap();
            for process in &processes {
                assert_eq!(entries(process).await, 0, "seed {seed}");
                assert!(is_there(&process.repository(), &by(&digest)).await, "seed {seed}");
            }
            let store = &processes[0].catalog.store;
            let written = store.tombstone_at(&entry.repository, &digest, entry.id.0).await.unwrap().unwrap();
            assert_eq!(written.state, TombstoneState::Revived, "seed {seed}");
        })
        .await;
    }
}

#[tokio::test]
async fn purge_or_restore_of_one_entry_wins_and_both_leave_it_whole() {
    for seed in 530..550 {
        simulate(seed, async |world| {
            let (processes, digest) = started(&world).await;
            let entry = processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
            let (purger, restorer) = (processes[1].catalog.trash(), processes[2].catalog.trash());
            let (purged, restored) = tokio::join!(purger.purge(&entry.id), async {
                world.time.sleep(world.chance.up_to(Duration::from_millis(400))).await;
                restorer.restore(&entry.id, Conflict::Fail, "restorer").await
            });
            let is_unknown = |error: &Error| matches!(error, Error::TombstoneUnknown { .. });
            assert!(purged.as_ref().err().is_none_or(is_unknown), "seed {seed}: {purged:?}");
            assert!(restored.as_ref().err().is_none_or(is_unknown), "seed {seed}: {restored:?}");
            for process in &processes {
                assert_eq!(is_there(&process.repository(), &by(&digest)).await, restored.is_ok(), "seed {seed}");
                assert_eq!(entries(process).await, 0, "seed {seed}");
            }
            assert_consistent(&processes[0].repository()).await;
        })
        .await;
    }
}

#[tokio::test]
async fn purge_whose_answer_is_lost_holds_up_nobody_and_can_be_asked_for_again() {
    let writes = [(Write::Put, "lagan/v1/pending"), (Write::Put, "lagan/v1/trash/app/_t")];
    for (seed, (write, part)) in (550..).zip(writes) {
        for hiccup in [Hiccup::Refused, Hiccup::Lost(Duration::ZERO), Hiccup::Lost(seconds(40))] {
            simulate(seed, async |world| {
                let (processes, digest) = started(&world).await;
                let entry = processes[0].repository().delete_manifest(&by(&digest), cause()).await.unwrap();
                world.hiccup(&processes[0], write, part, hiccup, 1);
                let first = processes[0].catalog.trash().purge(&entry.id).await;
                assert!(world.had_its_hiccups());
                if first.is_err() {
                    let again = processes[1].catalog.trash().purge(&entry.id).await;
                    assert!(
                        matches!(again, Ok(_) | Err(Error::TombstoneUnknown { .. })),
                        "{part} {hiccup:?}: {again:?}"
                    );
                }
                world.time.sleep(seconds(300)).await;
                for process in &processes {
                    assert_eq!(entries(process).await, 0, "{part} {hiccup:?}");
                    assert!(process.catalog.store.guard.holders().is_empty(), "{part} {hiccup:?}");
                }
                image("a").push(&processes[2].repository(), Some("v1")).await.unwrap();
                assert!(is_there(&processes[1].repository(), &by(&digest)).await);
                assert_eq!(world.keys("lagan/v1/pending"), Vec::<String>::new(), "{part} {hiccup:?}");
            })
            .await;
        }
    }
}
