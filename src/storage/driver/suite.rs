//! What every driver must do. A driver's test is a constructor and one call.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::{TryStreamExt as _, future};
use proptest::{
    prelude::{Strategy, any},
    prop_oneof,
    strategy::ValueTree as _,
    test_runner::TestRunner,
};

use super::{Durability, Error, KeptState, StagedFile, Staging, StorageDriver, StoragePath};

/// Runs everything. The driver's store must be empty of what the suite writes, under `suite/`.
pub(super) async fn run(driver: Arc<dyn StorageDriver>) {
    absent_things_are_not_found(&*driver).await;
    what_was_put_is_read_back(&*driver).await;
    a_put_replaces_the_whole_content(&*driver).await;
    ranges_yield_exactly_their_bytes(&*driver).await;
    lists_are_sorted_and_continue_after_any_text(&*driver).await;
    a_staged_file_becomes_what_was_appended(&*driver).await;
    a_staged_file_goes_on_where_it_was_left(&*driver).await;
    a_touched_file_has_its_new_age(&*driver).await;
    a_removed_folder_is_gone_with_all_that_was_in_it(&*driver).await;
    a_folder_is_not_a_file(&*driver).await;
    readers_see_whole_contents_while_writers_replace_them(&driver).await;
    folders_that_vanish_do_not_disturb_writers(&driver).await;
    any_sequence_of_calls_does_what_a_map_does(&*driver).await;
}

fn path(text: &str) -> StoragePath {
    format!("suite/{text}").parse().unwrap()
}

async fn put(driver: &dyn StorageDriver, at: &str, content: &str) {
    driver.put(&path(at), Bytes::copy_from_slice(content.as_bytes()), Durability::Durable).await.unwrap();
}

async fn names(driver: &dyn StorageDriver, folder: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let entries = driver.list(&path(folder), after, limit).await.unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

async fn read(driver: &dyn StorageDriver, at: &str, start: u64, end: u64) -> Vec<u8> {
    let chunks: Vec<Bytes> = driver.read(&path(at), start..end).await.unwrap().try_collect().await.unwrap();
    chunks.concat()
}

fn is_not_found<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::NotFound { .. }))
}

async fn absent_things_are_not_found(driver: &dyn StorageDriver) {
    let absent = path("absent/file");
    assert!(is_not_found(&driver.get(&absent).await));
    assert!(is_not_found(&driver.read(&absent, 0..0).await));
    assert!(is_not_found(&driver.stat(&absent).await));
    assert!(is_not_found(&driver.list(&absent, None, 10).await));
    assert!(is_not_found(&driver.resume(&staging("absent")).await));
    assert!(is_not_found(&driver.touch(&absent, jiff::Timestamp::UNIX_EPOCH).await));
    assert!(is_not_found(&driver.delete(&absent).await));
    driver.delete_directory(&absent).await.unwrap();
}

async fn what_was_put_is_read_back(driver: &dyn StorageDriver) {
    for durability in [Durability::Durable, Durability::Visible] {
        for content in ["", "bytes"] {
            let at = path("put/deep/file");
            driver.put(&at, Bytes::from(content), durability).await.unwrap();
            assert_eq!(driver.get(&at).await.unwrap(), content);
            let metadata = driver.stat(&at).await.unwrap();
            assert_eq!((metadata.size, metadata.is_directory), (content.len() as u64, false));
            driver.delete(&at).await.unwrap();
            assert!(is_not_found(&driver.get(&at).await));
        }
    }
}

async fn a_put_replaces_the_whole_content(driver: &dyn StorageDriver) {
    put(driver, "replaced", "a long content").await;
    put(driver, "replaced", "short").await;
    assert_eq!(driver.get(&path("replaced")).await.unwrap(), "short");
}

async fn ranges_yield_exactly_their_bytes(driver: &dyn StorageDriver) {
    let content: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    driver.put(&path("large"), content.clone().into(), Durability::Durable).await.unwrap();
    for (start, end) in [(0, 0), (0, 1), (5, 5), (1, 1_999_999), (0, 2_000_000), (1_999_999, 2_000_000)] {
        assert_eq!(read(driver, "large", start as u64, end as u64).await, &content[start..end]);
    }
}

async fn lists_are_sorted_and_continue_after_any_text(driver: &dyn StorageDriver) {
    for name in ["b", "a-b", "a/c", "a.b", "A", "a0"] {
        put(driver, &format!("list/{name}"), "").await;
    }
    assert_eq!(names(driver, "list", None, 100).await, ["A", "a", "a-b", "a.b", "a0", "b"]);
    assert_eq!(names(driver, "list", None, 2).await, ["A", "a"]);
    assert_eq!(names(driver, "list", Some("a"), 2).await, ["a-b", "a.b"]);
    assert_eq!(names(driver, "list", Some("a/"), 100).await, ["a0", "b"]);
    assert_eq!(names(driver, "list", Some("zzz"), 100).await, [""; 0]);
    assert_eq!(names(driver, "list", None, 0).await, [""; 0]);
    let entries = driver.list(&path("list"), Some("A"), 2).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.is_directory).collect::<Vec<_>>(), [true, false]);
}

fn staging(name: &str) -> Staging {
    let at = |part: &str| path(&format!("staged/{name}{part}"));
    Staging { folder: at(""), started_at: at("/startedat"), data: at("/data"), states: at("/states/sha256") }
}

async fn stage(driver: &dyn StorageDriver, name: &str) -> Box<dyn StagedFile> {
    driver.stage(&staging(name), Bytes::from("2026-03-01T12:00:00Z")).await.unwrap()
}

async fn sealed(file: &dyn StagedFile, range: std::ops::Range<u64>) -> Vec<u8> {
    let chunks: Vec<Bytes> = file.read(range).await.unwrap().try_collect().await.unwrap();
    chunks.concat()
}

async fn a_staged_file_becomes_what_was_appended(driver: &dyn StorageDriver) {
    put(driver, "published/target", "old").await;
    for (name, chunks) in [("empty", &[][..]), ("once", &["new"]), ("often", &["n", "", "ew", "er"])] {
        let mut file = stage(driver, name).await;
        for chunk in chunks {
            file.append(Bytes::from(*chunk)).await.unwrap();
        }
        let whole = chunks.concat();
        let length = whole.len() as u64;
        assert_eq!(file.length(), length);
        file.seal().await.unwrap();
        assert_eq!(sealed(&*file, 0..length).await, whole.as_bytes());
        assert_eq!(sealed(&*file, length / 2..length).await, &whole.as_bytes()[whole.len() / 2..]);
        file.publish(&path("published/target")).await.unwrap();
        file.discard().await.unwrap();
        assert_eq!(driver.get(&path("published/target")).await.unwrap(), whole);
        assert!(is_not_found(&driver.resume(&staging(name)).await));
        assert!(is_not_found(&driver.list(&staging(name).folder, None, 1).await));
    }
}

async fn a_staged_file_goes_on_where_it_was_left(driver: &dyn StorageDriver) {
    let mut file = stage(driver, "left").await;
    assert_eq!(driver.get(&staging("left").started_at).await.unwrap(), "2026-03-01T12:00:00Z");
    drop(file);
    for (chunk, length) in [("one", 3), ("two", 6), ("", 6), ("three", 11)] {
        file = driver.resume(&staging("left")).await.unwrap();
        file.append(Bytes::from(chunk)).await.unwrap();
        let state = Bytes::from(format!("state at {length}"));
        file.suspend(Some(state.clone())).await.unwrap();
        drop(file);
        let file = driver.resume(&staging("left")).await.unwrap();
        assert_eq!((file.length(), file.kept_state().await), (length, Some(KeptState { offset: length, state })));
    }
    file = driver.resume(&staging("left")).await.unwrap();
    file.seal().await.unwrap();
    assert_eq!(sealed(&*file, 0..11).await, b"onetwothree");
    file.discard().await.unwrap();
    assert!(is_not_found(&driver.resume(&staging("left")).await));
    file.discard().await.unwrap();
}

async fn a_touched_file_has_its_new_age(driver: &dyn StorageDriver) {
    put(driver, "touched", "x").await;
    let then = "2001-02-03T04:05:06Z".parse().unwrap();
    driver.touch(&path("touched"), then).await.unwrap();
    assert_eq!(driver.stat(&path("touched")).await.unwrap().modified, then);
    assert_eq!(driver.get(&path("touched")).await.unwrap(), "x");
}

async fn a_removed_folder_is_gone_with_all_that_was_in_it(driver: &dyn StorageDriver) {
    for name in ["tree/a", "tree/b/c", "tree/b/d/e", "treetop"] {
        put(driver, name, "x").await;
    }
    driver.delete_directory(&path("tree")).await.unwrap();
    assert!(is_not_found(&driver.get(&path("tree/b/d/e")).await));
    assert!(is_not_found(&driver.list(&path("tree"), None, 10).await));
    assert_eq!(driver.get(&path("treetop")).await.unwrap(), "x");
}

async fn a_folder_is_not_a_file(driver: &dyn StorageDriver) {
    put(driver, "folder/file", "x").await;
    assert!(driver.stat(&path("folder")).await.unwrap().is_directory);
    assert!(is_not_found(&driver.get(&path("folder")).await));
    assert!(is_not_found(&driver.read(&path("folder"), 0..0).await));
    assert!(is_not_found(&driver.delete(&path("folder")).await));
    assert!(is_not_found(&driver.stat(&path("folder/file/below")).await));
    assert!(is_not_found(&driver.get(&path("folder/file/below")).await));
    assert_eq!(driver.get(&path("folder/file")).await.unwrap(), "x");
}

async fn readers_see_whole_contents_while_writers_replace_them(driver: &Arc<dyn StorageDriver>) {
    put(&**driver, "shared", &"0".repeat(5000)).await;
    let writers = (1..8_u32).map(|number| {
        let driver = Arc::clone(driver);
        tokio::spawn(async move {
            for _ in 0..10 {
                put(&*driver, "shared", &number.to_string().repeat(5000)).await;
            }
        })
    });
    let readers = (0..8).map(|_| {
        let driver = Arc::clone(driver);
        tokio::spawn(async move {
            for _ in 0..40 {
                let content = driver.get(&path("shared")).await.unwrap();
                assert_eq!(content.len(), 5000);
                assert!(content.iter().all(|byte| *byte == content[0]), "two contents were mixed");
            }
        })
    });
    let tasks: Vec<_> = writers.chain(readers).collect();
    for task in future::join_all(tasks).await {
        task.unwrap();
    }
}

/// An empty folder may vanish at any time: a writer that is about to put something there must not notice.
async fn folders_that_vanish_do_not_disturb_writers(driver: &Arc<dyn StorageDriver>) {
    let tasks = (0..8_u32).map(|number| {
        let driver = Arc::clone(driver);
        tokio::spawn(async move {
            for _ in 0..25 {
                let at = format!("vanishing/deep/{}/{number}", number % 2);
                put(&*driver, &at, "x").await;
                assert_eq!(driver.get(&path(&at)).await.unwrap(), "x");
                driver.delete(&path(&at)).await.unwrap();
            }
        })
    });
    for task in future::join_all(tasks).await {
        task.unwrap();
    }
}

#[derive(Debug, Clone)]
enum Call {
    Put(u8, String),
    Stage(u8, Vec<String>),
    Delete(u8),
    DeleteFolder(u8),
}

/// Ten files in two folders.
fn numbered(number: u8) -> String {
    format!("any/{}/{}", number % 2, number % 10)
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        (any::<u8>(), "[a-z]{0,9}").prop_map(|(at, content)| Call::Put(at, content)),
        (any::<u8>(), proptest::collection::vec("[a-z]{0,9}", 0..4)).prop_map(|(at, chunks)| Call::Stage(at, chunks)),
        any::<u8>().prop_map(Call::Delete),
        any::<u8>().prop_map(Call::DeleteFolder),
    ]
}

async fn any_sequence_of_calls_does_what_a_map_does(driver: &dyn StorageDriver) {
    let mut runner = TestRunner::deterministic();
    for _ in 0..8 {
        let mut model = BTreeMap::new();
        driver.delete_directory(&path("any")).await.unwrap();
        let calls = proptest::collection::vec(call(), 1..40).new_tree(&mut runner).unwrap().current();
        for call in calls {
            apply(driver, &mut model, &call).await;
            for number in 0..10 {
                let found = driver.get(&path(&numbered(number))).await.ok();
                assert_eq!(found.as_deref(), model.get(&numbered(number)).map(String::as_bytes), "after {call:?}");
            }
        }
    }
}

async fn apply(driver: &dyn StorageDriver, model: &mut BTreeMap<String, String>, call: &Call) {
    match call {
        Call::Put(at, content) => {
            put(driver, &numbered(*at), content).await;
            model.insert(numbered(*at), content.clone());
        }
        Call::Stage(at, chunks) => {
            let mut file = stage(driver, "any").await;
            for chunk in chunks {
                file.append(Bytes::from(chunk.clone())).await.unwrap();
            }
            file.seal().await.unwrap();
            file.publish(&path(&numbered(*at))).await.unwrap();
            file.discard().await.unwrap();
            model.insert(numbered(*at), chunks.concat());
        }
        Call::Delete(at) => {
            let done = driver.delete(&path(&numbered(*at))).await;
            assert_eq!(done.is_ok(), model.remove(&numbered(*at)).is_some());
        }
        Call::DeleteFolder(at) => {
            driver.delete_directory(&path(&format!("any/{}", at % 2))).await.unwrap();
            model.retain(|file, _| !file.starts_with(&format!("any/{}/", at % 2)));
        }
    }
}
