//! What Lagan collects of a store that another registry wrote, or writes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use lagan::oci::{Algorithm, Digest};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::{
    folders::tree,
    image::{Image, one_of_each},
    registry::{Kind, lagan, lagan_command},
};

const REPOSITORY: &str = "team/app";

/// Older than the grace period.
const THREE_DAYS: Duration = Duration::from_secs(3 * 24 * 3600);

/// How `lagan gc` ends when a brake stopped it.
const HALTED: i32 = 75;

const ADOPTION: &str = "lagan/v1/adoption";

pub(crate) async fn garbage_goes_and_nothing_else(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let registry = other.serve(&data).await;
    let images = one_of_each();
    for (tag, image) in &images {
        registry.client.push(REPOSITORY, tag, image).await;
    }
    let (old, new) = (Image::oci("old"), Image::oci("new"));
    registry.client.push("moved", "latest", &old).await;
    registry.client.push("moved", "latest", &new).await;
    let deleted = [Image::oci("deleted"), Image::sha512("deleted, too")];
    for image in &deleted {
        registry.client.push(REPOSITORY, "deleted", image).await;
        registry.client.delete(&format!("/v2/{REPOSITORY}/manifests/{}", image.digest())).await;
    }
    let orphan = b"nobody references it".repeat(100);
    registry.client.push_blob(REPOSITORY, &sha256(&orphan), &orphan).await;
    registry.stop();
    let tags = tags_of(&images);

    lagan(&data).await.stop();
    grow_old(&data);
    let before = blobs(&data);
    let (halted, code) = collect(&data, &[]);
    assert_eq!((code, &halted["halt"]["brake"]), (Some(HALTED), &json!("NotConfirmed")), "{halted:#}");
    assert_eq!(blobs(&data), before, "nothing goes before somebody has confirmed it");
    let (finished, code) = collect(&data, &["--confirm", halted["id"].as_str().unwrap()]);
    assert_eq!((code, &finished["state"]), (Some(0), &json!("Finished")), "{finished:#}");

    let mut garbage: BTreeSet<Digest> = deleted.iter().map(Image::digest).chain([sha256(&orphan)]).collect();
    garbage.extend(deleted.iter().flat_map(|image| &image.blobs).map(|(_, bytes)| sha256(bytes)));
    assert_eq!(&before - &blobs(&data), garbage);
    assert_eq!(finished["removed"]["blobs"], garbage.len(), "{finished:#}");

    let registry = other.serve(&data).await;
    let client = &registry.client;
    for (tag, image) in &images {
        client.assert_served(REPOSITORY, tag, image).await;
    }
    client.assert_served("moved", "latest", &new).await;
    client.assert_served("moved", &old.digest().to_string(), &old).await;
    assert_eq!(client.tags(REPOSITORY).await, tags);
    // What is gone is taken again.
    for image in &deleted {
        client.push(REPOSITORY, "again", image).await;
        client.assert_served(REPOSITORY, "again", image).await;
    }
    registry.stop();
}

pub(crate) async fn nothing_goes_while_it_writes(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ours = lagan(&data).await;
    let (own, theirs) = (Image::oci("own"), Image::oci("theirs"));
    ours.client.push(REPOSITORY, "own", &own).await;
    let orphan = b"nobody references it".repeat(100);
    ours.client.push_blob(REPOSITORY, &sha256(&orphan), &orphan).await;
    ours.stop();
    let registry = other.serve(&data).await;
    registry.client.push(REPOSITORY, "theirs", &theirs).await;
    registry.stop();
    grow_old(&data);

    let before = tree(&data);
    let (halted, code) = collect(&data, &[]);
    assert_eq!((code, &halted["halt"]["brake"]), (Some(HALTED), &json!("ForeignWriter")), "{halted:#}");
    let message = halted["halt"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("{REPOSITORY}@{}", theirs.digest())), "{message}");
    assert!(!message.contains(&own.digest().to_string()), "{message}");
    assert_eq!(tree(&data), before);

    // It was stopped, and somebody says so.
    let (finished, code) = collect(&data, &["--confirm", halted["id"].as_str().unwrap()]);
    assert_eq!((code, &finished["removed"]["blobs"]), (Some(0), &json!(1)), "{finished:#}");
    let registry = other.serve(&data).await;
    registry.client.assert_served(REPOSITORY, "own", &own).await;
    registry.client.assert_served(REPOSITORY, "theirs", &theirs).await;
    registry.stop();
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn tags_of(images: &[(&'static str, Image)]) -> Vec<String> {
    let tags: BTreeSet<String> = images.iter().map(|(tag, _)| (*tag).to_owned()).collect();
    tags.into_iter().collect()
}

/// What `lagan gc` of a folder says, and how it ended.
fn collect(data: &Path, arguments: &[&str]) -> (Value, Option<i32>) {
    let done = lagan_command().args(["gc", "-o", "json", "--data"]).arg(data).args(arguments).output().unwrap();
    let report = serde_json::from_slice(&done.stdout);
    (report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr))), done.status.code())
}

/// The digests whose bytes a folder has.
fn blobs(data: &Path) -> BTreeSet<Digest> {
    let in_folder = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = in_folder(data.join("docker/registry/v2/blobs/sha256")).flat_map(in_folder);
    let stored = all.filter(|blob| blob.join("data").exists());
    stored.map(|blob| format!("sha256:{}", blob.file_name().unwrap().to_str().unwrap()).parse().unwrap()).collect()
}

/// All that is in a folder that nobody serves happened three days earlier.
fn grow_old(data: &Path) {
    let now = clock_gettime(ClockId::Realtime);
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(now.tv_sec.unsigned_abs()) - THREE_DAYS;
    let file = data.join(ADOPTION);
    let mut record: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    record["body"]["firstServedAt"] = json!(jiff::Timestamp::try_from(then).unwrap().to_string());
    let body = record["body"].to_string();
    let text = format!(r#"{{"version":1,"checksum":"{}","body":{body}}}"#, sha256(body.as_bytes()));
    fs::write(file, text).unwrap();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => {
                    fs::File::options().write(true).open(entry.path()).unwrap().set_modified(then).unwrap();
                }
                _ => {}
            }
        }
    }
}
