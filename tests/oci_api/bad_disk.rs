//! Disks that are full, or read-only, and what others put on them.
//!
//! A small file system of its own for each test, in a mount namespace of a helper's: nobody else sees it, and it is gone
//! with the helper. These tests need root.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use lagan::api::wire::CollectionState;
use lagan::oci::{Algorithm, Digest};
use reqwest::{Response, StatusCode};
use serde_json::json;
use tempfile::TempDir;

use crate::collection::ended;
use crate::image::{Manifest, image};
use crate::registry::{Registry, Setup, error, header};

const MIB: usize = 1 << 20;

/// A file system in memory.
struct Disk {
    /// Holds its mount namespace.
    helper: Child,
    /// Where it is mounted, there.
    mounted: TempDir,
}

impl Disk {
    fn of(mebibytes: u32) -> Self {
        let mounted = tempfile::tempdir().unwrap();
        let at = mounted.path().display();
        let script =
            format!("mount -t tmpfs -o size={mebibytes}m lagan-test {at} && echo mounted && exec sleep infinity");
        let mut helper = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(helper.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "mounted\n", "a mount of its own wants root");
        Self { helper, mounted }
    }

    /// Where this process sees it.
    fn path(&self) -> PathBuf {
        let inside = self.mounted.path().strip_prefix("/").unwrap();
        Path::new("/proc").join(self.helper.id().to_string()).join("root").join(inside)
    }

    fn folder(&self) -> TempDir {
        tempfile::tempdir_in(self.path()).unwrap()
    }

    fn mount(&self, arguments: &[&str]) {
        let done = Command::new("nsenter")
            .args(["--target", &self.helper.id().to_string(), "--mount", "mount"])
            .args(arguments)
            .status();
        assert!(done.unwrap().success(), "mount {arguments:?}");
    }

    /// Uses up every byte.
    fn fill(&self) {
        let path = self.path().join("ballast");
        let mut ballast = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        for size in [MIB, 4096, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.helper.kill();
        let _ = self.helper.wait();
    }
}

async fn expect_full(response: Response) {
    let body = error(response, 507).await;
    assert_eq!((&*body.errors[0].code, &*body.errors[0].message), ("UNAVAILABLE", "the registry's storage is full"));
}

async fn expect_read_only(response: Response) {
    let body = error(response, 503).await;
    let (code, message) = (&*body.errors[0].code, &*body.errors[0].message);
    assert_eq!((code, message), ("UNAVAILABLE", "the registry's storage is read-only"));
}

/// Checks that an image of these names is there, with its layer.
async fn expect_image(registry: &Registry, manifest: &Manifest, layer: &[u8]) {
    for reference in ["v1".to_owned(), manifest.digest.to_string()] {
        let pulled = registry.get(&format!("/v2/a/manifests/{reference}")).await;
        assert_eq!(pulled.status(), StatusCode::OK);
        assert_eq!(pulled.bytes().await.unwrap(), manifest.bytes);
    }
    let pulled = registry.get(&format!("/v2/a/blobs/{}", manifest.layer)).await;
    assert_eq!(pulled.bytes().await.unwrap(), layer);
    let tags: serde_json::Value = registry.get("/v2/a/tags/list").await.json().await.unwrap();
    assert_eq!(tags["tags"], json!(["v1"]));
}

/// Checks that no link is empty or cut short, and that no blob has other bytes than its digest says.
fn expect_whole(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            expect_whole(&path);
            continue;
        }
        let content = fs::read(&path).unwrap();
        match path.file_name().unwrap().to_str().unwrap() {
            "link" => drop(String::from_utf8(content).unwrap().parse::<Digest>().unwrap()),
            "data" if path.components().any(|part| part.as_os_str() == "blobs") => {
                let digest = Digest::of(Algorithm::Sha256, &content);
                assert_eq!(path.parent().unwrap().file_name().unwrap().to_str(), Some(digest.hex()));
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_what_needs_space_loses_nothing_and_is_used_again_when_there_is_some() {
    let disk = Disk::of(32);
    let registry = Registry::on(disk.folder(), Setup::default()).await;
    let (layer, large) = (vec![7; 3 * MIB], vec![8; 6 * MIB]);
    let first = registry.push_image("a", "v1", &layer).await;
    let second = image(&layer, &json!({ "annotations": { "n": "2" } }));
    let waiting = registry.begin_upload("a").await;
    let waiting = header(&registry.patch(&waiting, large[..MIB].to_vec()).await, "location");
    let unlucky = registry.begin_upload("a").await;
    let unlucky = header(&registry.patch(&unlucky, large[..MIB].to_vec()).await, "location");

    disk.fill();
    expect_full(registry.post("/v2/a/blobs/uploads/").await).await;
    expect_full(registry.put_manifest("a", "v2", &second).await).await;
    expect_full(registry.delete(&format!("/v2/a/manifests/{}", first.digest)).await).await;
    expect_full(registry.delete("/v2/a/manifests/v1").await).await;
    expect_full(registry.patch(&unlucky, large[MIB..].to_vec()).await).await;
    // What could not be completed is not in the way of others.
    assert_eq!(registry.get(&unlucky).await.status(), StatusCode::NOT_FOUND);
    disk.fill();
    registry.expect_no_manifest("a", "v2").await;
    registry.expect_no_manifest("a", &second.digest.to_string()).await;
    expect_image(&registry, &first, &layer).await;
    assert_eq!(header(&registry.get(&waiting).await, "range"), format!("0-{}", MIB - 1));

    disk.empty();
    let digest = Digest::of(Algorithm::Sha256, &large);
    assert_eq!(registry.patch(&waiting, large[MIB..].to_vec()).await.status(), StatusCode::ACCEPTED);
    assert_eq!(registry.put(&format!("{waiting}?digest={digest}"), "").await.status(), StatusCode::CREATED);
    expect_image(&registry, &first, &layer).await;
    registry.push_manifest("a", "v2", &second).await;
    let deleted = registry.delete(&format!("/v2/a/manifests/{}", second.digest)).await;
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    expect_image(&registry, &first, &layer).await;
    expect_whole(registry.folder.path());
    let left = fs::read_dir(registry.folder.path().join("lagan/v1/local/staging")).unwrap().count();
    assert_eq!(left, 0, "what could not be written was removed");
}

/// Lets what lies at paths be three days old.
fn grow_old(paths: [PathBuf; 2]) {
    for path in paths {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - Duration::from_secs(3 * 24 * 60 * 60)).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_collected_and_has_room_again() {
    let disk = Disk::of(32);
    let registry = Registry::on(disk.folder(), Setup::default()).await;
    let (layer, garbage) = (vec![7; 3 * MIB], vec![8; 6 * MIB]);
    let manifest = registry.push_image("a", "v1", &layer).await;
    let digest = registry.push_blob("a", &garbage).await;
    let (root, hex) = (registry.folder.path().join("docker/registry/v2"), digest.hex());
    let content = root.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]));
    registry.clock.show_time_of(&content);
    grow_old([content.clone(), root.join(format!("repositories/a/_layers/sha256/{hex}/link"))]);

    disk.fill();
    expect_full(registry.post("/v2/a/blobs/uploads/").await).await;
    assert_eq!(registry.post("/v2/_lagan/gc").await.status(), StatusCode::ACCEPTED);
    let report = ended(&registry).await;
    assert_eq!((report.state, report.removed.blobs), (CollectionState::Finished, 1), "{report:?}");
    assert!(!content.exists());
    expect_image(&registry, &manifest, &layer).await;
    registry.push_blob("a", &vec![9; MIB]).await;
}

#[tokio::test]
async fn a_disk_that_becomes_read_only_serves_pulls_and_takes_pushes_again_when_it_is_mended() {
    let disk = Disk::of(32);
    let folder = disk.folder();
    // A mount does not become read-only while a file on it is open for writing, as the directory's lock always is. When
    // the kernel does it because of an error it does not ask. So the lock is given a mount of its own.
    let lock = folder.path().join("lagan/v1/local/lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    fs::write(&lock, "").unwrap();
    let inside = |path: &Path| disk.mounted.path().join(path.strip_prefix(disk.path()).unwrap()).display().to_string();
    disk.mount(&["--bind", &inside(&lock), &inside(&lock)]);
    let mounted = disk.mounted.path().display().to_string();

    let registry = Registry::on(folder, Setup::default()).await;
    let layer = vec![7; MIB];
    let first = registry.push_image("a", "v1", &layer).await;
    let second = image(&layer, &json!({ "annotations": { "n": "2" } }));
    let upload = registry.begin_upload("a").await;
    let upload = header(&registry.patch(&upload, layer.clone()).await, "location");

    disk.mount(&["-o", "remount,bind,ro", &mounted]);
    expect_read_only(registry.post("/v2/a/blobs/uploads/").await).await;
    expect_read_only(registry.patch(&upload, layer.clone()).await).await;
    expect_read_only(registry.put_manifest("a", "v2", &second).await).await;
    expect_read_only(registry.delete(&format!("/v2/a/manifests/{}", first.digest)).await).await;
    expect_read_only(registry.delete("/v2/a/manifests/v1").await).await;
    expect_read_only(registry.delete(&format!("/v2/a/blobs/{}", first.layer)).await).await;
    expect_image(&registry, &first, &layer).await;

    disk.mount(&["-o", "remount,bind,rw", &mounted]);
    expect_image(&registry, &first, &layer).await;
    let doubled = [&layer[..], &layer[..]].concat();
    let digest = Digest::of(Algorithm::Sha256, &doubled);
    assert_eq!(registry.patch(&upload, layer.clone()).await.status(), StatusCode::ACCEPTED);
    assert_eq!(registry.put(&format!("{upload}?digest={digest}"), "").await.status(), StatusCode::CREATED);
    registry.push_manifest("a", "v2", &second).await;
    expect_whole(registry.folder.path());
    // It goes with its file system; by name it cannot be removed while the lock is a mount.
    let Registry { folder, .. } = registry;
    let _ = folder.keep();
}

#[tokio::test]
async fn a_link_that_somebody_planted_leads_nowhere() {
    let registry = Registry::start().await;
    let outside = tempfile::tempdir().unwrap();
    let secret = b"a secret of the machine";
    fs::write(outside.path().join("data"), secret).unwrap();
    let manifest = registry.push_image("a", "v1", b"layer").await;
    let digest = registry.push_blob("a", secret).await;
    let data = registry.folder.path().join("docker/registry/v2/blobs/sha256").join(&digest.hex()[..2]);
    // The bytes themselves behind a link, then their folder.
    let place = data.join(digest.hex());
    fs::remove_file(place.join("data")).unwrap();
    symlink(outside.path().join("data"), place.join("data")).unwrap();
    for _ in 0..2 {
        let pulled = registry.get(&format!("/v2/a/blobs/{digest}")).await;
        assert!(!pulled.status().is_success(), "{}", pulled.status());
        assert!(!pulled.text().await.unwrap().contains("secret"));
        fs::remove_dir_all(&place).unwrap();
        symlink(outside.path(), &place).unwrap();
    }
    // A tag that leads out of the repository.
    let tags = registry.folder.path().join("docker/registry/v2/repositories/a/_manifests/tags");
    symlink(outside.path(), tags.join("planted")).unwrap();
    assert!(!registry.get("/v2/a/manifests/planted").await.status().is_success());
    let put = registry.put_manifest("a", "planted", &manifest).await;
    assert!(!put.status().is_success(), "{}", put.status());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "something was written outside");
    assert_eq!(fs::read(outside.path().join("data")).unwrap(), secret);
    assert_eq!(registry.get("/v2/a/manifests/v1").await.status(), StatusCode::OK);
}
