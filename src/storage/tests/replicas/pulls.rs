//! What several replicas know of pulls.

use crate::storage::{Clock as _, PullHistory, fixtures::name, tests::reference};

use super::{
    scenarios::{ADDRESSES, seconds, simulate},
    simulator::{Process, World},
    time::Pulse,
};

async fn started(world: &World) -> Vec<Process> {
    let processes = world.start_all(&ADDRESSES).await;
    for process in &processes {
        process.catalog.begin_pulls().await.unwrap();
    }
    processes
}

fn pull(process: &Process, tag: &str) {
    process.catalog.repository(&name("app")).note_pull(&reference(tag));
}

fn knows(history: &PullHistory, tag: &str) -> bool {
    history.pulled_at(&name("app"), &reference(tag)).is_some()
}

#[tokio::test]
async fn a_pull_at_one_replica_is_known_at_another_at_once() {
    simulate(1, async |world| {
        let processes = started(&world).await;
        pull(&processes[0], "v0");
        pull(&processes[2], "v2");
        let history = processes[1].catalog.pull_history().await.unwrap();
        assert!(knows(&history, "v0") && knows(&history, "v2") && !knows(&history, "v1"));
        assert_eq!(history.missing_until(), None);
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_does_not_answer_makes_everything_count_as_pulled_now() {
    simulate(2, async |world| {
        let processes = started(&world).await;
        world.cut_calls(&processes[0].address, true);
        let history = processes[1].catalog.pull_history().await.unwrap();
        let before = processes[1].clock.now() - seconds(60);
        assert!(history.missing_until().is_some_and(|until| until > before));
        world.cut_calls(&processes[0].address, false);
        assert_eq!(processes[1].catalog.pull_history().await.unwrap().missing_until(), None, "for the moment only");
    })
    .await;
}

#[tokio::test]
async fn what_a_replica_left_is_taken_over_whether_it_stopped_or_died() {
    simulate(3, async |world| {
        let mut processes = started(&world).await;
        pull(&processes[0], "v0");
        processes[0].catalog.end_pulls().await.unwrap();
        processes[1].catalog.pull_history().await.unwrap();
        processes[0].catalog.leave().await;
        for process in &processes[1..] {
            process.catalog.keep_pulls().await.unwrap();
        }
        let history = processes[1].catalog.pull_history().await.unwrap();
        assert_eq!((knows(&history, "v0"), history.missing_until()), (true, None), "it stopped in order");
        pull(&processes[2], "v2");
        processes[2].catalog.keep_pulls().await.unwrap();
        let died = processes.remove(2);
        died.set(Pulse::Dead);
        let later = world.start("four:1");
        later.catalog.joined().await;
        later.clock.sleep(seconds(120)).await;
        later.catalog.begin_pulls().await.unwrap();
        let noticed = later.clock.now();
        later.clock.sleep(seconds(600)).await;
        let history = later.catalog.pull_history().await.unwrap();
        assert!(knows(&history, "v0") && knows(&history, "v2"));
        let until = history.missing_until().unwrap();
        assert!(until <= noticed + seconds(60), "missing until {until}, which was noticed at {noticed}");
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_was_taken_for_dead_and_is_not_loses_nothing() {
    simulate(4, async |world| {
        let processes = started(&world).await;
        pull(&processes[0], "v0");
        processes[0].catalog.keep_pulls().await.unwrap();
        world.cut_store(&processes[0].address, true);
        processes[1].clock.sleep(seconds(120)).await;
        processes[1].catalog.keep_pulls().await.unwrap();
        pull(&processes[0], "while-away");
        world.cut_store(&processes[0].address, false);
        processes[0].catalog.joined().await;
        processes[0].clock.sleep(seconds(30)).await;
        let history = processes[1].catalog.pull_history().await.unwrap();
        assert!(knows(&history, "v0") && knows(&history, "while-away"));
        assert!(history.missing_until().is_some());
    })
    .await;
}
