//! What every driver must do. A driver's test is a constructor and one call.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use jiff::Timestamp;
use proptest::{
    prelude::{Strategy, any},
    prop_oneof,
    strategy::ValueTree as _,
    test_runner::TestRunner,
};

use super::{
    Durability, Error, KeptState, Purge, Sealed, StagedFile, Staging, StorageDriver, StoragePath,
    look::suite::many_looks_see_what_single_ones_do, self_test,
};

/// What a driver is tested as.
pub(super) struct Subject {
    pub(super) driver: Arc<dyn StorageDriver>,
    /// The same store, as another process has it; the same value where there cannot be another process.
    pub(super) other: Arc<dyn StorageDriver>,
    /// How long an upload is, in bytes, that does not fit into one request.
    pub(super) long_upload: usize,
    /// Whether it has addresses that anybody may fetch from.
    pub(super) signs: bool,
    /// Whether it says of a folder that there is an object, as servers do that keep objects in folders.
    pub(super) shows_folders: bool,
}

impl Subject {
    /// A driver that has its store alone.
    pub(super) fn alone(driver: Arc<dyn StorageDriver>) -> Self {
        Self { other: Arc::clone(&driver), driver, long_upload: 3_000_001, signs: false, shows_folders: false }
    }
}

/// Runs everything. The driver's store must be empty of what the suite writes, under `suite/`.
pub(super) async fn run(subject: Subject) {
    short_files(&subject).await;
    long_files(&subject).await;
    subject.driver.delete_directory(&path("")).await.unwrap();
}

/// Runs what is about files that do not fit into one request.
pub(super) async fn long_files(subject: &Subject) {
    let Subject { driver, other, long_upload, .. } = subject;
    a_long_staged_file_goes_on_elsewhere(&**driver, &**other, *long_upload).await;
    if driver.is_shared() {
        two_that_go_on_from_the_same_place_do_not_mix(&**driver, &**other, *long_upload).await;
    }
}

/// Runs what a store can do that has no parts.
pub(super) async fn short_files(subject: &Subject) {
    let Subject { driver, other, .. } = subject;
    absent_things_are_not_found(&**driver).await;
    what_was_put_is_read_back(&**driver).await;
    a_put_replaces_the_whole_content(&**driver).await;
    ranges_yield_exactly_their_bytes(&**driver).await;
    lists_are_sorted_and_continue_after_any_text(&**driver).await;
    long_lists_come_in_pages(&**driver).await;
    a_staged_file_becomes_what_was_appended(&**driver).await;
    a_staged_file_goes_on_where_it_was_left(&**driver, &**other).await;
    a_staged_file_that_nobody_uses_goes(&**driver, &**other).await;
    a_touched_file_has_its_new_age(&**driver).await;
    a_removed_folder_is_gone_with_all_that_was_in_it(&**driver).await;
    a_folder_is_not_a_file(&**driver, subject.shows_folders).await;
    many_looks_see_what_single_ones_do(&**driver).await;
    if subject.signs {
        a_signed_address_needs_nothing_else(&**driver).await;
    }
    assert_eq!(self_test(Arc::clone(driver), &path("self-test")).await.unwrap(), []);
    readers_see_whole_contents_while_writers_replace_them(driver).await;
    folders_that_vanish_do_not_disturb_writers(driver).await;
    any_sequence_of_calls_does_what_a_map_does(&**driver).await;
}

pub(super) fn path(text: &str) -> StoragePath {
    format!("suite/{text}").trim_end_matches('/').parse().unwrap()
}

pub(super) async fn put(driver: &dyn StorageDriver, at: &str, content: &str) {
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
            assert_eq!(metadata.size, content.len() as u64);
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
        assert_eq!(file.seal().await.unwrap(), Sealed::AsAppended);
        assert_eq!(sealed(&*file, 0..length).await, whole.as_bytes());
        assert_eq!(sealed(&*file, length / 2..length).await, &whole.as_bytes()[whole.len() / 2..]);
        file.publish(&path("published/target")).await.unwrap();
        file.discard().await.unwrap();
        assert_eq!(driver.get(&path("published/target")).await.unwrap(), whole);
        assert!(is_not_found(&driver.resume(&staging(name)).await));
        assert!(is_not_found(&driver.list(&staging(name).folder, None, 1).await));
    }
}

async fn a_staged_file_goes_on_where_it_was_left(driver: &dyn StorageDriver, other: &dyn StorageDriver) {
    let mut file = stage(driver, "left").await;
    assert_eq!(driver.get(&staging("left").started_at).await.unwrap(), "2026-03-01T12:00:00Z");
    drop(file);
    for (chunk, length) in [("one", 3), ("two", 6), ("", 6), ("three", 11)] {
        file = driver.resume(&staging("left")).await.unwrap();
        file.append(Bytes::from(chunk)).await.unwrap();
        let state = Bytes::from(format!("state at {length}"));
        file.suspend(Some(state.clone())).await.unwrap();
        drop(file);
        let file = other.resume(&staging("left")).await.unwrap();
        assert_eq!((file.length(), file.kept_state().await), (length, Some(KeptState { offset: length, state })));
    }
    file = driver.resume(&staging("left")).await.unwrap();
    assert_eq!(file.seal().await.unwrap(), Sealed::AsAppended);
    assert_eq!(sealed(&*file, 0..11).await, b"onetwothree");
    file.discard().await.unwrap();
    assert!(is_not_found(&driver.resume(&staging("left")).await));
    file.discard().await.unwrap();
}

async fn a_staged_file_that_nobody_uses_goes(driver: &dyn StorageDriver, other: &dyn StorageDriver) {
    let at = staging("unused");
    assert!(is_not_found(&driver.last_use(&at).await));
    assert_eq!(driver.purge(&at, Timestamp::MAX).await.unwrap(), Purge::Absent);
    drop(stage(driver, "unused").await);
    let began = driver.last_use(&at).await.unwrap();
    let mut file = driver.resume(&at).await.unwrap();
    file.append(Bytes::from("some")).await.unwrap();
    file.suspend(Some(Bytes::from("state"))).await.unwrap();
    drop(file);
    let last_use = other.last_use(&at).await.unwrap();
    assert!(last_use >= began);
    let before = last_use - Duration::from_millis(1);
    assert_eq!(other.purge(&at, before).await.unwrap(), Purge::InUse);
    assert_eq!(driver.resume(&at).await.unwrap().length(), 4, "it is as it was");
    assert_eq!(driver.last_use(&at).await.unwrap(), last_use, "a look is no use");
    assert_eq!(other.purge(&at, last_use).await.unwrap(), Purge::Removed);
    assert!(is_not_found(&driver.resume(&at).await));
    assert!(is_not_found(&driver.last_use(&at).await));
    assert!(is_not_found(&driver.list(&at.folder, None, 1).await));
    assert_eq!(driver.purge(&at, Timestamp::MAX).await.unwrap(), Purge::Absent);
    // Something that was damaged, and never was a staged file.
    put(driver, "staged/unused/states/odd", "x").await;
    assert_eq!(driver.purge(&at, Timestamp::MAX).await.unwrap(), Purge::Removed);
    assert!(is_not_found(&driver.list(&at.folder, None, 1).await));
}

/// Bytes of which no two parts are alike.
fn long_content(length: usize) -> Bytes {
    let word = |n: usize| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..length.div_ceil(8)).flat_map(word).take(length).collect()
}

async fn append_all(file: &mut dyn StagedFile, content: &Bytes) {
    for chunk in content.chunks(200_000) {
        file.append(content.slice_ref(chunk)).await.unwrap();
    }
}

async fn a_long_staged_file_goes_on_elsewhere(driver: &dyn StorageDriver, other: &dyn StorageDriver, length: usize) {
    let content = long_content(length);
    drop(stage(driver, "long").await);
    let cuts = [0, length / 7, length / 7 + 1, length - length / 3, length];
    for (number, cut) in cuts.windows(2).enumerate() {
        let driver = if number % 2 == 0 { other } else { driver };
        let mut file = driver.resume(&staging("long")).await.unwrap();
        assert_eq!(file.length(), cut[0] as u64);
        append_all(&mut *file, &content.slice(cut[0]..cut[1])).await;
        file.suspend(Some(Bytes::from(cut[1].to_string()))).await.unwrap();
    }
    let mut file = driver.resume(&staging("long")).await.unwrap();
    assert_eq!(file.kept_state().await.unwrap().state, length.to_string());
    assert_eq!(file.seal().await.unwrap(), Sealed::AsAppended);
    drop(file);
    let mut file = other.resume(&staging("long")).await.unwrap();
    assert_eq!(file.length(), length as u64, "what was sealed is not lost");
    assert_eq!(file.seal().await.unwrap(), Sealed::AsAppended);
    assert_eq!(sealed(&*file, 5..1000).await, content[5..1000]);
    file.publish(&path("published/long")).await.unwrap();
    file.discard().await.unwrap();
    assert_eq!(driver.stat(&path("published/long")).await.unwrap().size, length as u64);
    assert!(read(driver, "published/long", 0, length as u64).await == content, "the content is another");
    assert!(is_not_found(&driver.list(&staging("long").folder, None, 1).await));
}

/// What each publishes is what it wrote, or what is known from reading it; or it is told that it cannot.
async fn two_that_go_on_from_the_same_place_do_not_mix(
    driver: &dyn StorageDriver,
    other: &dyn StorageDriver,
    length: usize,
) {
    let content = long_content(length);
    let mut file = stage(driver, "two").await;
    append_all(&mut *file, &content).await;
    file.suspend(None).await.unwrap();
    drop(file);
    let mut first = driver.resume(&staging("two")).await.unwrap();
    let mut second = other.resume(&staging("two")).await.unwrap();
    let (ours, theirs) = (Bytes::from(vec![b'a'; length]), Bytes::from(vec![b'b'; length]));
    let mut published = 0;
    for (at, chunk) in ours.chunks(200_000).enumerate() {
        first.append(ours.slice_ref(chunk)).await.unwrap();
        // Whoever comes late is refused when the other has finished.
        let range = at * 200_000..at * 200_000 + chunk.len();
        second.append(theirs.slice(range)).await.unwrap();
    }
    for (file, added) in [(&mut first, &ours), (&mut second, &theirs)] {
        let Ok(sealed_as) = file.seal().await else { continue };
        let whole = [content.clone(), added.clone()].concat();
        let read_back = sealed(&**file, 0..whole.len() as u64).await;
        let is_own = read_back == whole;
        assert!(is_own || sealed_as == Sealed::MaybeMixed, "it is told to be what it is not");
        file.publish(&path("published/two")).await.unwrap();
        assert!(
            read(driver, "published/two", 0, whole.len() as u64).await == read_back,
            "it changed after it was read"
        );
        published += 1;
    }
    drop((first, second));
    if published == 0 {
        // Each took a part from the other, and the store noticed. What they had in common is still there.
        let mut third = driver.resume(&staging("two")).await.unwrap();
        append_all(&mut *third, &ours).await;
        let _ = third.seal().await.unwrap();
        let whole = [content.clone(), ours.clone()].concat();
        assert!(sealed(&*third, 0..whole.len() as u64).await == whole, "what they had in common is lost");
    }
    driver.resume(&staging("two")).await.unwrap().discard().await.unwrap();
    assert!(is_not_found(&driver.resume(&staging("two")).await));
}

async fn long_lists_come_in_pages(driver: &dyn StorageDriver) {
    // Names and beginnings of names, files and folders: what sorts one way with a slash and another way without.
    let mut expected: Vec<String> = (0..1_250).map(|n| format!("v{}", n * 7)).collect();
    expected.extend((0..1_250).map(|n| format!("v{}-{n}", n % 9)));
    let writes = expected.iter().enumerate().map(|(at, name)| {
        let at = if at % 5 == 0 { format!("pages/{name}/below") } else { format!("pages/{name}") };
        async move { driver.put(&path(&at), Bytes::new(), Durability::Visible).await.unwrap() }
    });
    stream::iter(writes.collect::<Vec<_>>()).buffer_unordered(32).collect::<()>().await;
    expected.sort_unstable();
    for limit in [1_000, 333] {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let page = names(driver, "pages", listed.last().map(String::as_str), limit).await;
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit);
            listed.extend(page);
        }
        assert_eq!(listed, expected, "in pages of {limit}");
    }
    assert_eq!(names(driver, "pages", None, usize::MAX).await, expected);
    driver.delete_directory(&path("pages")).await.unwrap();
}

async fn a_signed_address_needs_nothing_else(driver: &dyn StorageDriver) {
    put(driver, "signed", "content").await;
    let address = driver.signed_url(&path("signed"), Duration::from_secs(60)).await.unwrap().unwrap();
    let answer = reqwest::get(address).await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    assert_eq!(answer.text().await.unwrap(), "content");
}

async fn a_touched_file_has_its_new_age(driver: &dyn StorageDriver) {
    put(driver, "touched", "x").await;
    let then = "2001-02-03T04:05:06Z".parse().unwrap();
    let before = driver.stat(&path("touched")).await.unwrap().modified;
    driver.touch(&path("touched"), then).await.unwrap();
    let after = driver.stat(&path("touched")).await.unwrap().modified;
    assert!(if driver.is_shared() { after >= before } else { after == then }, "{after}");
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

async fn a_folder_is_not_a_file(driver: &dyn StorageDriver, shows_folders: bool) {
    put(driver, "folder/file", "x").await;
    if !shows_folders {
        assert!(is_not_found(&driver.stat(&path("folder")).await));
        assert!(is_not_found(&driver.read(&path("folder"), 0..0).await));
        assert!(is_not_found(&driver.delete(&path("folder")).await));
    }
    assert!(driver.get(&path("folder")).await.is_err());
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
            assert_eq!(file.seal().await.unwrap(), Sealed::AsAppended);
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
