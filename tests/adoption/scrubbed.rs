//! `lagan scrub` on what another registry wrote, on real folders.

use std::{fs, path::Path, process::Output};

use serde_json::Value;

use super::{
    folders::{assert_untouched, tree},
    image::{Image, one_of_each},
    registry::{Kind, lagan, lagan_command},
};

fn scrub(arguments: &[&str]) -> Output {
    lagan_command().arg("scrub").args(arguments).output().unwrap()
}

/// What a scrub of a folder says, and how it ended.
fn scrub_folder(data: &Path, arguments: &[&str]) -> (Value, Option<i32>) {
    let done = scrub(&[&["--data", data.to_str().unwrap(), "-o", "json"], arguments].concat());
    let report = serde_json::from_slice(&done.stdout);
    (report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr))), done.status.code())
}

pub(crate) async fn another_registry_s_store_is_clean(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let registry = other.serve(&data).await;
    let images = one_of_each();
    for (tag, image) in &images {
        registry.client.push("team/app", tag, image).await;
    }
    registry.stop();

    let before = tree(&data);
    let (report, code) = scrub_folder(&data, &[]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["damage"], 0, "{report:#}");
    let manifests = report["progress"]["manifests"].as_u64().unwrap();
    assert_eq!(report["found"]["MissingFact"]["found"].as_u64(), Some(manifests), "{report:#}");
    assert_eq!(report["found"].as_object().unwrap().len(), 1, "{report:#}");
    assert!(!data.join("lagan/v1/adoption").exists(), "it was looked at, and not served");
    let (report, code) = scrub_folder(&data, &["--repair"]);
    assert_eq!((code, report["found"]["MissingFact"]["repaired"].as_u64()), (Some(0), Some(manifests)));
    let (report, _) = scrub_folder(&data, &[]);
    assert_eq!(report["found"], serde_json::json!({}), "{report:#}");
    assert_untouched(&before, &tree(&data));

    let ours = lagan(&data).await;
    for (tag, image) in &images {
        ours.client.assert_served("team/app", tag, image).await;
    }
    ours.stop();
    // It writes on behind our back.
    let registry = other.serve(&data).await;
    registry.client.push("team/app", "later", &Image::oci("later")).await;
    registry.stop();
    let (report, code) = scrub_folder(&data, &["--repair"]);
    assert_eq!(code, Some(65), "{report:#}");
    assert_eq!(report["found"]["ForeignWriter"]["found"], 1, "{report:#}");
}

pub(crate) async fn damage_in_another_registry_s_store_is_mended(other: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let registry = other.serve(&data).await;
    let image = Image::oci("damaged");
    registry.client.push("team/app", "v1", &image).await;
    registry.stop();
    let root = data.join("docker/registry/v2");
    let layer = image.blobs[1].0.hex();
    let bytes = root.join(format!("blobs/sha256/{}/{layer}/data", &layer[..2]));
    let mut content = fs::read(&bytes).unwrap();
    content[100] ^= 1;
    fs::write(&bytes, &content).unwrap();
    let repository = root.join("repositories/team/app");
    fs::write(repository.join("_manifests/tags/v1/current/link"), "").unwrap();
    fs::create_dir_all(repository.join("_manifests/tags/begun/index/sha256")).unwrap();
    fs::create_dir_all(repository.join(format!("_manifests/tags/begun/index/sha256/{layer}"))).unwrap();
    fs::write(repository.join(format!("_manifests/tags/begun/index/sha256/{layer}/link")), format!("sha256:{layer}"))
        .unwrap();

    // A registry that runs does it while it serves, also where the command names its folder.
    let ours = lagan(&data).await;
    let told = scrub(&["--data", data.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(65), "{said}");
    assert!(said.contains("3 things damaged"), "{said}");
    let asked = |arguments: &[&str]| scrub(&[&["--registry", &ours.client.url, "-o", "json"], arguments].concat());
    let reported = asked(&["--dry-run"]);
    assert_eq!(reported.status.code(), Some(65), "{reported:?}");
    let repaired = asked(&["--repair"]);
    let report: Value = serde_json::from_slice(&repaired.stdout).unwrap();
    for kind in ["CorruptBlob", "TornLink", "DanglingTag", "MissingFact"] {
        assert_eq!(report["found"][kind]["repaired"], 1, "{kind}: {report:#}");
    }
    assert_eq!((&report["damage"], repaired.status.code()), (&Value::from(1), Some(65)), "the layer is missing now");
    assert_eq!(ours.client.tags("team/app").await, ["v1"]);
    // Whoever has the image pushes it again, and the layer is taken.
    ours.client.push("team/app", "v1", &image).await;
    ours.client.assert_served("team/app", "v1", &image).await;
    let clean = asked(&[]);
    assert_eq!(clean.status.code(), Some(0), "{}", String::from_utf8_lossy(&clean.stdout));
    ours.stop();

    let registry = other.serve(&data).await;
    registry.client.assert_served("team/app", "v1", &image).await;
    registry.stop();
}
