//! What only this driver does; the suite has the rest.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use futures::{FutureExt as _, TryStreamExt as _};
use rustix::io::Errno;

use crate::storage::driver::suite;

use super::*;

fn at(text: &str) -> StoragePath {
    text.parse().unwrap()
}

fn staged_files(root: &Path) -> Vec<PathBuf> {
    fs::read_dir(root.join("lagan/v1/local/staging")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes() {
    let folder = tempfile::tempdir().unwrap();
    let driver = Arc::new(FilesystemDriver::open(folder.path()).await.unwrap());
    suite::run(suite::Subject::alone(driver)).await;
    assert_eq!(staged_files(folder.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_second_process_waits_for_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let first = FilesystemDriver::open(folder.path()).await.unwrap();
    let second = FilesystemDriver::prepare(folder.path()).await.unwrap();
    assert!(!second.try_lock().unwrap());
    let mut waiting = Box::pin(second.lock());
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(first);
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_dropped_wait_gives_up_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    drop(Box::pin(FilesystemDriver::open(folder.path())).now_or_never());
    FilesystemDriver::open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_clean_stop_is_told_from_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    assert!(driver.was_interrupted(), "the first start knows nothing");
    driver.close().await.unwrap();
    let refused = driver.put(&at("a"), Bytes::new(), Durability::Durable).await;
    assert!(matches!(refused, Err(Error::Io { .. })));
    drop(driver);
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    assert!(!driver.was_interrupted());
    drop(driver);
    assert!(FilesystemDriver::open(folder.path()).await.unwrap().was_interrupted(), "it was not closed");
}

#[tokio::test]
async fn leftovers_of_a_crash_are_gone_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let staging = folder.path().join("lagan/v1/local/staging");
    fs::create_dir_all(staging.join("3/deep")).unwrap();
    fs::write(staging.join("3/deep/file"), "x").unwrap();
    fs::write(folder.path().join("outside"), "x").unwrap();
    symlink(folder.path(), staging.join("link")).unwrap();
    fs::write(staging.join("0"), "x").unwrap();
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    assert_eq!(staged_files(folder.path()), Vec::<PathBuf>::new());
    assert_eq!(driver.get(&at("outside")).await.unwrap(), "x");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    driver.put(&at("a"), Bytes::from("x"), Durability::Durable).await.unwrap();
    let failed = driver.volume.health.after_sync(&at("a"), Err(Errno::IO));
    assert!(matches!(failed, Err(Error::Poisoned)));
    assert!(driver.is_poisoned());
    assert!(matches!(driver.put(&at("b"), Bytes::new(), Durability::Visible).await, Err(Error::Poisoned)));
    assert!(matches!(driver.append(&at("b"), 0, Bytes::new()).await, Err(Error::Poisoned)));
    assert!(matches!(driver.delete(&at("a")).await, Err(Error::Poisoned)));
    assert_eq!(driver.get(&at("a")).await.unwrap(), "x");
    driver.close().await.unwrap();
    drop(driver);
    let reopened = FilesystemDriver::open(folder.path()).await.unwrap();
    assert!(reopened.was_interrupted() && !reopened.is_poisoned());
}

#[tokio::test]
async fn links_are_not_followed() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), "x").unwrap();
    symlink(outside.path(), folder.path().join("out")).unwrap();
    symlink(outside.path().join("secret"), folder.path().join("file")).unwrap();
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    assert!(driver.get(&at("out/secret")).await.is_err());
    assert!(driver.get(&at("file")).await.is_err());
    assert!(driver.stat(&at("file")).await.is_err());
    assert!(driver.append(&at("file"), 0, Bytes::from("y")).await.is_err());
    assert!(driver.put(&at("out/new"), Bytes::from("y"), Durability::Durable).await.is_err());
    assert!(driver.delete(&at("out/secret")).await.is_err());
    driver.put(&at("file"), Bytes::from("y"), Durability::Durable).await.unwrap();
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"x", "the link was replaced, not its target");
}

#[tokio::test]
async fn what_others_put_there_is_passed_over() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let folder = tempfile::tempdir().unwrap();
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    driver.put(&at("list/file"), Bytes::new(), Durability::Durable).await.unwrap();
    let list = folder.path().join("list");
    fs::write(list.join(OsStr::from_bytes(b"\xff")), "x").unwrap();
    symlink("file", list.join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, list.join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    let names: Vec<_> = driver.list(&at("list"), None, 10).await.unwrap();
    assert_eq!(names, [Entry { name: "file".into(), is_directory: false }]);
    assert!(matches!(driver.get(&at("list/pipe")).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_durable_write_syncs_the_folders_that_an_earlier_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    let unsynced = || driver.volume.folders.inside(&at("a")).folders().count();
    driver.put(&at("a/b/c/visible"), Bytes::new(), Durability::Visible).await.unwrap();
    assert_eq!(unsynced(), 3);
    driver.put(&at("a/b/durable"), Bytes::new(), Durability::Durable).await.unwrap();
    assert_eq!(unsynced(), 1, "what lies beside the way is left");
    driver.delete_directory(&at("a/b")).await.unwrap();
    assert_eq!(unsynced(), 0);
}

#[tokio::test]
async fn what_is_not_durable_yet_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    driver.put(&at("a"), Bytes::from("x"), Durability::Durable).await.unwrap();
    let barrier = driver.volume.barriers.open(&at("a"));
    let path = at("a");
    let mut stat = driver.stat(&path);
    let mut get = driver.get(&path);
    let either = futures::future::select(&mut stat, &mut get);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), either).await.is_err());
    drop(barrier);
    stat.await.unwrap();
    get.await.unwrap();
}

#[tokio::test]
async fn empty_folders_go_with_their_last_file() {
    let folder = tempfile::tempdir().unwrap();
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    for name in ["1/2/3/4/5/6/file", "1/2/3/4/other"] {
        driver.put(&at(name), Bytes::new(), Durability::Durable).await.unwrap();
    }
    driver.delete(&at("1/2/3/4/5/6/file")).await.unwrap();
    assert!(!folder.path().join("1/2/3/4/5").exists());
    driver.delete(&at("1/2/3/4/other")).await.unwrap();
    assert!(folder.path().join("1/2/3/4").exists(), "folders above the repositories stay");
}

#[tokio::test]
async fn a_stream_ends_with_an_error_where_its_file_became_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    driver.put(&at("a"), vec![7; 3_000_000].into(), Durability::Durable).await.unwrap();
    let stream = driver.read(&at("a"), 0..3_000_000).await.unwrap();
    fs::OpenOptions::new().write(true).open(folder.path().join("a")).unwrap().set_len(1_000_000).unwrap();
    assert!(stream.try_collect::<Vec<_>>().await.is_err());
}
