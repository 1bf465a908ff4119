//! Commands on the folder of a registry: while a process serves it, and while none does.

use std::{os::unix::fs::PermissionsExt, path::Path, process::Output, time::Duration};

use serde_json::Value;

use super::{Client, Image, Up, fs, lagan, sha256, text};

fn on(data: &Path, arguments: &[&str]) -> Output {
    lagan().args(arguments).args(["--data", data.to_str().unwrap()]).output().unwrap()
}

fn printed(done: &Output) -> String {
    assert_eq!(done.status.code(), Some(0), "{}{}", text(&done.stdout), text(&done.stderr));
    text(&done.stdout)
}

fn data(done: &Output) -> Value {
    serde_json::from_str(&printed(done)).unwrap()
}

#[tokio::test]
async fn trash_of_a_folder_is_used_while_it_is_served_and_while_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let data_folder = folder.path().join("lagan-data");
    let (client, image) = (Client::new(), Image::new("image"));
    let up = Up::start(folder.path(), &[]);
    image.push(&client, &up.url, "v1").await.unwrap();
    image.push(&client, &up.url, "v2").await.unwrap();
    let socket = data_folder.join("lagan/v1/local/control");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    // Through the process that holds the folder.
    let would = printed(&on(&data_folder, &["trash", "put", "app", "--dry-run"]));
    assert!(would.contains("would delete app: 1 manifest, 2 tags"), "{would}");
    let put = data(&on(&data_folder, &["trash", "put", "app", "-o", "json"]));
    assert_eq!((put["manifests"].as_u64(), put["tags"].as_u64()), (Some(1), Some(2)));
    let listed = data(&on(&data_folder, &["trash", "list", "-o", "json"]));
    assert_eq!(
        listed[0]["actor"].as_str().unwrap().split(' ').next_back().unwrap().parse::<u32>().ok(),
        Some(own_user())
    );
    let would = printed(&on(&data_folder, &["trash", "restore", "app", "--dry-run"]));
    assert!(would.starts_with("would restore app:"), "{would}");
    printed(&on(&data_folder, &["trash", "restore", "app"]));
    image.assert_served(&client, &up.url, "v1").await;
    image.assert_served(&client, &up.url, "v2").await;
    printed(&on(&data_folder, &["trash", "put", "app"]));
    up.stop();
    assert!(!socket.exists(), "the socket goes with the process");

    // Without one.
    let listed = data(&on(&data_folder, &["trash", "list", "--group", put["group"].as_str().unwrap(), "-o", "json"]));
    assert_eq!(listed, serde_json::json!([]), "that group was restored");
    printed(&on(&data_folder, &["trash", "restore", "app:v1"]));
    assert!(!socket.exists());
    let up = Up::start(folder.path(), &[]);
    image.assert_served(&client, &up.url, "v2").await;
    up.stop();
}

#[tokio::test]
async fn purged_image_cannot_be_restored() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    let (client, image) = (Client::new(), Image::new("image"));
    image.push(&client, &up.url, "v1").await.unwrap();
    let deleted = client.delete(format!("{}/v2/app/manifests/{}", up.url, image.digest())).send().await.unwrap();
    assert_eq!(deleted.status().as_u16(), 202);
    let would = up.trash(&["purge", "app:v1", "--dry-run"]);
    assert!(printed(&would).starts_with("would give up app:v1 ("), "{}", text(&would.stdout));
    assert_eq!(data(&up.trash(&["list", "-o", "json"])).as_array().unwrap().len(), 1);
    let purged = up.trash(&["purge", "app:v1"]);
    assert!(printed(&purged).starts_with("gave up app:v1 ("), "{}", text(&purged.stdout));
    assert!(printed(&up.trash(&["list"])).contains("The trash is empty."));
    for arguments in [["restore", "app:v1"], ["purge", "app:v1"], ["restore", "app"]] {
        let refused = up.trash(&arguments);
        assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));
    }
    up.stop();
}

#[test]
fn folder_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for command in [["trash", "list"].as_slice(), &["scrub"], &["gc"]] {
        let refused = on(&folder.path().join("nothing"), command);
        assert_eq!(refused.status.code(), Some(64), "{command:?}");
        assert!(text(&refused.stderr).contains("nothing is no folder"), "{}", text(&refused.stderr));
    }
}

#[tokio::test]
async fn garbage_goes_while_the_folder_is_served_and_while_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let data_folder = folder.path().join("lagan-data");
    let (client, image) = (Client::new(), Image::new("image"));
    let up = Up::start(folder.path(), &[]);
    image.push(&client, &up.url, "v1").await.unwrap();
    push_blob(&client, &up.url, b"young").await;
    for garbage in ["first", "second", "third"] {
        push_blob(&client, &up.url, garbage.as_bytes()).await;
        let digest = sha256(garbage.as_bytes());
        grow_old(&data_folder, digest.hex());
    }
    let never = lagan().args(["gc", "--status", "--registry", &up.url]).output().unwrap();
    assert!(text(&never.stderr).contains("no garbage collection is known"), "{}", text(&never.stderr));

    let dry = data(&lagan().args(["gc", "--dry-run", "-o", "json", "--registry", &up.url]).output().unwrap());
    assert_eq!((garbage(&dry), dry["removed"]["blobs"].as_u64()), ((3, 16), Some(0)), "{dry:#}");
    let would = printed(&on(&data_folder, &["gc", "--dry-run"]));
    assert!(would.contains("would remove 3 blobs (16 B) of garbage"), "{would}");
    assert!(would.contains("younger than the grace period of 24h: 1 blob (5 B); a collection after 20"), "{would}");
    assert!(is_there(&client, &up.url, b"first").await, "a dry run removes nothing");

    let report = data(&on(&data_folder, &["gc", "-o", "json"]));
    assert_eq!(
        (report["state"].as_str(), report["removed"]["bytes"].as_u64()),
        (Some("Finished"), Some(16)),
        "{report:#}"
    );
    assert!(!is_there(&client, &up.url, b"first").await && is_there(&client, &up.url, b"young").await);
    image.assert_served(&client, &up.url, "v1").await;
    let status = data(&lagan().args(["gc", "--status", "-o", "json", "--registry", &up.url]).output().unwrap());
    assert_eq!(status["id"], report["id"]);

    push_blob(&client, &up.url, b"fourth").await;
    grow_old(&data_folder, sha256(b"fourth").hex());
    up.stop();
    let report = data(&on(&data_folder, &["gc", "-o", "json"]));
    assert_eq!(report["removed"]["blobs"].as_u64(), Some(1), "{report:#}");
    let unknown = on(&data_folder, &["gc", "--confirm", "01J00000000000000000000000"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", text(&unknown.stdout));
    let up = Up::start(folder.path(), &[]);
    image.assert_served(&client, &up.url, "v1").await;
    up.stop();
}

#[tokio::test]
async fn collection_of_an_adopted_folder_waits_to_be_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let data_folder = folder.path().join("lagan-data");
    let up = Up::start(folder.path(), &[]);
    let (client, image) = (Client::new(), Image::new("image"));
    image.push(&client, &up.url, "v1").await.unwrap();
    up.stop();
    // What is left is what another registry would have written.
    fs::remove_dir_all(data_folder.join("lagan")).unwrap();
    let up = Up::start(folder.path(), &[]);
    let halted = on(&data_folder, &["gc", "-o", "json"]);
    assert_eq!(halted.status.code(), Some(75), "{}", text(&halted.stderr));
    let report: Value = serde_json::from_slice(&halted.stdout).unwrap();
    assert_eq!(report["halt"]["brake"], "NotConfirmed", "{report:#}");
    let id = report["id"].as_str().unwrap();
    let message = text(&halted.stderr);
    let command = format!("lagan gc --confirm {id} --data {}", data_folder.display());
    assert!(message.contains(&command) && !message.contains("another registry"), "{message}");
    // It is confirmed, and then too young.
    let confirmed = on(&data_folder, &["gc", "--confirm", id]);
    assert_eq!(confirmed.status.code(), Some(75), "{}", text(&confirmed.stdout));
    assert!(text(&confirmed.stdout).contains("adopted at"), "{}", text(&confirmed.stdout));
    assert!(!text(&confirmed.stderr).contains("--confirm"), "{}", text(&confirmed.stderr));
    let again = on(&data_folder, &["gc", "--confirm", id]);
    assert_eq!(again.status.code(), Some(1), "a report is confirmed once: {}", text(&again.stdout));
    image.assert_served(&client, &up.url, "v1").await;
    up.stop();
}

async fn push_blob(client: &Client, url: &str, bytes: &[u8]) {
    let url = format!("{url}/v2/app/blobs/uploads/?digest={}", sha256(bytes));
    let answer = client.post(url).body(bytes.to_vec()).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
}

async fn is_there(client: &Client, url: &str, bytes: &[u8]) -> bool {
    let got = client.get(format!("{url}/v2/app/blobs/{}", sha256(bytes))).send().await.unwrap();
    got.status().is_success()
}

fn garbage(report: &Value) -> (u64, u64) {
    let count = |key: &str| report["garbage"][key].as_u64().unwrap();
    (count("blobs"), count("bytes"))
}

/// Lets a blob and its link be three days old.
fn grow_old(data: &Path, hex: &str) {
    let root = data.join("docker/registry/v2");
    let content = root.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]));
    let link = root.join(format!("repositories/app/_layers/sha256/{hex}/link"));
    for path in [content, link] {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - Duration::from_secs(3 * 24 * 60 * 60)).unwrap();
    }
}

fn own_user() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap())
}
