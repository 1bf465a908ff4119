//! What is known of pulls, and what a crash or a failing store makes of it.

use std::time::Duration;

use jiff::Timestamp;

use crate::storage::{
    Catalog, Clock as _, PullHistory,
    driver::faulty::Fault,
    fixtures::{World, name},
    layout::PathSpec,
};

use super::{image, reference};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn begun(world: &World) -> Catalog {
    let catalog = world.open().await;
    catalog.begin_pulls().await.unwrap();
    catalog
}

/// A pull of a tag of `app`, a minute after what was before; when it was.
fn pull(world: &World, catalog: &Catalog, tag: &str) -> Timestamp {
    world.clock.advance(MINUTE);
    catalog.repository(&name("app")).note_pull(&reference(tag));
    world.clock.now()
}

fn pulled(history: &PullHistory, tag: &str) -> Option<Timestamp> {
    history.pulled_at(&name("app"), &reference(tag))
}

fn records(world: &World) -> usize {
    let folder = PathSpec::PullFolders.path();
    world.memory.paths().iter().filter(|path| path.as_str().starts_with(folder.as_str())).count()
}

#[tokio::test]
async fn pulls_are_known_at_once_and_after_a_stop_in_order() {
    let world = World::new();
    let first = begun(&world).await;
    let (early, late) = (pull(&world, &first, "v1"), pull(&world, &first, "v2"));
    assert_eq!(pulled(&first.pull_history().await.unwrap(), "v2"), Some(late));
    let again = pull(&world, &first, "v1");
    assert!(again > early);
    first.end_pulls().await.unwrap();
    world.clock.advance(DAY);
    let second = begun(&world).await;
    let history = second.pull_history().await.unwrap();
    assert_eq!(
        (pulled(&history, "v1"), pulled(&history, "v2"), pulled(&history, "v3")),
        (Some(again), Some(late), None)
    );
    assert_eq!(history.missing_until(), None);
    assert_eq!(records(&world), 2, "one process's record and how far it goes");
}

#[tokio::test]
async fn a_process_that_died_makes_everything_count_as_pulled_when_the_next_one_starts() {
    let world = World::new();
    let first = begun(&world).await;
    let written = pull(&world, &first, "v1");
    first.keep_pulls().await.unwrap();
    pull(&world, &first, "v2");
    world.memory.crash();
    world.clock.advance(DAY);
    let second = begun(&world).await;
    let started = world.clock.now();
    world.clock.advance(DAY);
    second.end_pulls().await.unwrap();
    let third = begun(&world).await;
    let history = third.pull_history().await.unwrap();
    assert_eq!((pulled(&history, "v1"), pulled(&history, "v2")), (Some(written), None));
    assert_eq!(history.missing_until(), Some(started), "not later with each further start");
}

#[tokio::test]
async fn pulls_before_the_first_process_that_notes_them_are_missing() {
    let world = World::new();
    let first = begun(&world).await;
    assert_eq!(first.pull_history().await.unwrap().missing_until(), None, "there was nothing to pull");
    let world = World::new();
    image("a").push(&world.repository("app").await, Some("v1")).await.unwrap();
    let silent = world.open().await;
    assert_eq!(silent.pull_history().await.unwrap().missing_until(), Some(world.clock.now()), "nobody notes pulls");
    let first = begun(&world).await;
    let began = world.clock.now();
    world.clock.advance(DAY);
    assert_eq!(first.pull_history().await.unwrap().missing_until(), Some(began));
}

#[tokio::test]
async fn what_could_not_be_written_is_written_later() {
    let world = World::new();
    for fault in [Fault::Refused, Fault::Ambiguous] {
        let catalog = begun(&world).await;
        let at = pull(&world, &catalog, "v1");
        for after in 0..2 {
            world.driver.fail_once(after, fault);
            assert!(catalog.keep_pulls().await.is_err());
        }
        let later = pull(&world, &catalog, "v2");
        let history = catalog.pull_history().await.unwrap();
        assert_eq!((pulled(&history, "v1"), pulled(&history, "v2")), (Some(at), Some(later)), "{fault:?}");
        assert_eq!(history.missing_until(), None);
        catalog.end_pulls().await.unwrap();
    }
}

#[tokio::test]
async fn a_long_life_leaves_few_records_and_forgets_nothing() {
    let world = World::new();
    let catalog = begun(&world).await;
    let mut expected = Vec::new();
    for n in 0..100 {
        let tag = format!("v{}", n % 30);
        expected.push((tag.clone(), pull(&world, &catalog, &tag)));
        catalog.keep_pulls().await.unwrap();
        assert!(records(&world) <= 18, "{} records after {n} windows", records(&world));
    }
    let history = catalog.pull_history().await.unwrap();
    for (tag, at) in expected.iter().rev().take(30) {
        assert_eq!(pulled(&history, tag), Some(*at), "{tag}");
    }
}

#[tokio::test]
async fn more_references_than_a_window_holds_make_everything_count_as_pulled() {
    let world = World::new();
    let catalog = begun(&world).await;
    let repository = catalog.repository(&name("app"));
    let known = pull(&world, &catalog, "known");
    for n in 0..200_000 {
        repository.note_pull(&reference(&format!("v{n}")));
    }
    let again = pull(&world, &catalog, "known");
    let history = catalog.pull_history().await.unwrap();
    assert_eq!(history.missing_until(), Some(known));
    assert_eq!(pulled(&history, "known"), Some(again), "what has a place keeps it");
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_takeover_loses_no_pull() {
    for ended in [true, false] {
        for after in 0.. {
            assert!(after < 50);
            let world = World::new();
            let first = begun(&world).await;
            let at = pull(&world, &first, "v1");
            first.keep_pulls().await.unwrap();
            if ended {
                first.end_pulls().await.unwrap();
            }
            world.clock.advance(DAY);
            let second = world.open().await;
            let writes = world.driver.writes();
            world.driver.crash(after, Fault::Refused);
            let taken_over = second.begin_pulls().await;
            world.driver.heal();
            world.memory.crash();
            let third = begun(&world).await;
            let history = third.pull_history().await.unwrap();
            assert_eq!(pulled(&history, "v1"), Some(at), "after {after} writes");
            if taken_over.is_ok() && world.driver.writes() > writes + after {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_one_that_is_missing() {
    let world = World::new();
    let first = begun(&world).await;
    pull(&world, &first, "v1");
    first.end_pulls().await.unwrap();
    let folder = PathSpec::PullFolders.path();
    let is_record = |path: &&crate::storage::driver::StoragePath| {
        path.as_str().starts_with(folder.as_str()) && !path.as_str().ends_with("covered")
    };
    let record = world.memory.paths().iter().find(is_record).unwrap().clone();
    world.memory.put_now(&record, "torn");
    world.clock.advance(DAY);
    let second = begun(&world).await;
    assert_eq!(second.pull_history().await.unwrap().missing_until(), Some(world.clock.now()));
}

#[tokio::test]
async fn what_is_long_gone_is_forgotten_and_what_is_there_is_not() {
    let world = World::new();
    let catalog = begun(&world).await;
    image("a").push(&catalog.repository(&name("app")), Some("there")).await.unwrap();
    for tag in ["there", "gone"] {
        pull(&world, &catalog, tag);
    }
    catalog.end_pulls().await.unwrap();
    let knows_gone = async |days: i64| {
        let catalog = begun(&world).await;
        let history = catalog.pull_history().await.unwrap();
        catalog.end_pulls().await.unwrap();
        assert!(pulled(&history, "there").is_some(), "after {days} days");
        pulled(&history, "gone").is_some()
    };
    world.clock.advance(DAY * 29);
    assert!(knows_gone(29).await, "it may be in the trash");
    world.clock.advance(DAY * 2);
    assert!(!knows_gone(31).await);
}

#[tokio::test]
async fn a_process_that_does_not_serve_notes_nothing() {
    let world = World::new();
    let catalog = world.open().await;
    pull(&world, &catalog, "v1");
    catalog.keep_pulls().await.unwrap();
    catalog.end_pulls().await.unwrap();
    assert_eq!(records(&world), 0);
}
