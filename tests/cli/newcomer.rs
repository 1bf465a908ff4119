//! What somebody meets who tries it for the first time, and takes a wrong turn.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;

use super::{BufReader, Client, Image, Killed, REGISTRY, Up, client, lagan, line_with, text};

const ENCRYPTED: &str = "apiVersion: lagan.dev/v1alpha1\nkind: Registry\nmetadata: {name: images}\nspec: {}\n";

const MISWRITTEN_USERS: &str = "apiVersion: lagan.dev/v1alpha1
kind: Registry
metadata: {name: images}
spec: {auth: {htpasswd: {secretRef: {name: users}}}}
---
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData: {htpasswd: pusher}
";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    lagan().current_dir(folder).args(arguments).output().unwrap()
}

/// What a command says on standard error that fails with a code.
fn refused(done: &Output, code: i32) -> String {
    assert_eq!(done.status.code(), Some(code), "{}{}", text(&done.stdout), text(&done.stderr));
    text(&done.stderr)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

async fn delete(client: &Client, up: &Up, image: &Image) {
    let deleted = client.delete(format!("{}/v2/app/manifests/{}", up.url, image.digest())).send().await.unwrap();
    assert_eq!(deleted.status().as_u16(), 202);
}

#[test]
fn folder_that_holds_no_registry_is_refused_and_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for command in [["trash", "list"].as_slice(), &["scrub"], &["gc"], &["gc", "--dry-run"]] {
        let said = refused(&run(folder.path(), &[command, &["--data", "data"]].concat()), 64);
        assert!(said.contains("data holds no registry") && said.contains("lagan up"), "{command:?}: {said}");
        assert!(is_empty(&data), "{command:?} left something");
    }
    fs::write(folder.path().join("lagan.yaml"), REGISTRY).unwrap();
    Up::start(folder.path(), &["-f", "lagan.yaml", "--data", "data"]).stop();
    let said = refused(&run(folder.path(), &["trash", "list", "--data", "data"]), 64);
    assert!(said.contains("data/default/images"), "{said}");
    assert_eq!(run(folder.path(), &["trash", "list", "--data", "data/default/images"]).status.code(), Some(0));
}

#[test]
fn registry_that_the_other_way_to_start_serves_is_pointed_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lagan.yaml"), REGISTRY).unwrap();
    let up = Up::start(folder.path(), &[]);
    assert!(!up.said.contains("Note"), "{}", up.said);
    up.stop();
    let up = Up::start(folder.path(), &["-f", "lagan.yaml"]);
    assert!(up.said.contains("`lagan up --data lagan-data --listen 127.0.0.1:"), "{}", up.said);
    up.stop();
    let up = Up::start(folder.path(), &[]);
    assert!(up.said.contains("lagan-data/default/images holds a registry"), "{}", up.said);
    assert!(up.said.contains("`lagan up -f FILE` with the Registry default/images"), "{}", up.said);
    up.stop();
}

#[tokio::test]
async fn restore_that_a_moved_tag_stops_fails_and_says_what_would_help() {
    let folder = tempfile::tempdir().unwrap();
    let (client, old, new) = (client(), Image::new("old"), Image::new("new"));
    let up = Up::start(folder.path(), &[]);
    old.push(&client, &up.url, "v1").await.unwrap();
    delete(&client, &up, &old).await;
    new.push(&client, &up.url, "v1").await.unwrap();
    let listed: Value = serde_json::from_slice(&up.trash(&["list", "-o", "json"]).stdout).unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(listed[0]["movedTags"][0]["digest"], new.digest().to_string(), "{listed:#}");

    for (arguments, verdict) in [
        (["restore", "app:v1"].as_slice(), "nothing was restored"),
        (&["restore", "app:v1", "--dry-run"], "nothing would be restored"),
        (&["restore", "app", "--dry-run"], "nothing would be restored"),
    ] {
        let said = refused(&up.trash(arguments), 1);
        assert!(said.contains(verdict) && said.contains("--conflict replace"), "{arguments:?}: {said}");
        assert!(said.contains(id) && said.contains(&new.digest().to_string()), "{arguments:?}: {said}");
    }
    for arguments in [["restore", id], ["restore", "app"]] {
        let said = refused(&up.trash(&arguments), 1);
        assert!(said.contains("(CONFLICT)") && said.contains("tag v1") && !said.contains('{'), "{said}");
    }
    let would = up.trash(&["restore", "app:v1", "--dry-run", "--conflict", "replace"]);
    let said = text(&would.stdout);
    assert!(would.status.success() && said.contains(id) && said.contains("would move back"), "{would:?}");
    new.assert_served(&client, &up.url, "v1").await;
    let restored = up.trash(&["restore", "app:v1", "--conflict", "replace"]);
    assert!(restored.status.success(), "{restored:?}");
    old.assert_served(&client, &up.url, "v1").await;
    up.stop();
}

#[tokio::test]
async fn restore_of_less_than_all_fails_after_it_restored_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (client, old, new) = (client(), Image::new("old"), Image::new("new"));
    let up = Up::start(folder.path(), &[]);
    for tag in ["latest", "v1"] {
        old.push(&client, &up.url, tag).await.unwrap();
    }
    delete(&client, &up, &old).await;
    new.push(&client, &up.url, "latest").await.unwrap();
    let said = refused(&up.trash(&["restore", "app:v1", "--dry-run"]), 1);
    assert!(said.contains("not all would be restored: app:latest points to"), "{said}");
    let done = up.trash(&["restore", "app:v1"]);
    assert!(text(&done.stdout).starts_with("restored app:v1"), "{done:?}");
    assert!(refused(&done, 1).contains("not all was restored: app:latest points to"), "{done:?}");
    old.assert_served(&client, &up.url, "v1").await;
    new.assert_served(&client, &up.url, "latest").await;
    up.stop();
}

#[tokio::test]
async fn image_that_was_not_deleted_is_neither_restored_nor_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (client, old, new) = (client(), Image::new("old"), Image::new("new"));
    let up = Up::start(folder.path(), &[]);
    old.push(&client, &up.url, "v1").await.unwrap();
    let said = refused(&up.trash(&["restore", "app:v1"]), 1);
    assert!(said.contains("app:v1 is there") && !said.contains("--conflict"), "{said}");
    let said = refused(&up.trash(&["purge", "app:v1"]), 1);
    assert!(said.contains("holds nothing of app:v1") && said.contains("trash put"), "{said}");

    delete(&client, &up, &old).await;
    new.push(&client, &up.url, "v1").await.unwrap();
    let purged = up.trash(&["purge", "app:v1"]);
    let said = text(&purged.stdout);
    let stays = format!("app:v1 points to {} by now, and stays", new.digest());
    assert!(purged.status.success() && said.contains(&old.digest().to_string()) && said.contains(&stays), "{said}");
    new.assert_served(&client, &up.url, "v1").await;
    up.stop();
}

#[test]
fn start_that_fails_says_what_helps_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    write("lagan.yaml", ENCRYPTED);
    write("users.yaml", MISWRITTEN_USERS);
    write(
        "serve.yaml",
        &format!(
            "listen: {address}\nhealth: {{listen: '127.0.0.1:0'}}\nauth: {{anonymous: All}}\nstorage: {{filesystem: {{directory: made/data}}}}\n"
        ),
    );
    for (arguments, code, hint) in [
        (["up", "--data", "made/data", "--listen", &address].as_slice(), 1, "--listen"),
        (&["up", "--data", "made/data", "--listen", &address, "-f", "lagan.yaml"], 1, "--listen"),
        (
            &["up", "--data", "made/data", "--listen", "127.0.0.1:0", "--health-listen", &address, "-f", "lagan.yaml"],
            1,
            "--health-listen",
        ),
        (&["up", "--data", "made/data", "--listen", "127.0.0.1:0", "-f", "users.yaml"], 64, "auth.htpasswd"),
        (&["serve", "--config", "serve.yaml"], 1, "`listen`"),
    ] {
        let said = refused(&run(folder.path(), arguments), code);
        assert!(said.contains(hint), "{arguments:?}: {said}");
        assert!(!folder.path().join("made").exists(), "{arguments:?} left something");
    }
    // What was there stays.
    fs::create_dir(folder.path().join("made")).unwrap();
    let users = ["up", "--data", "made", "--listen", "127.0.0.1:0", "-f", "users.yaml"];
    refused(&run(folder.path(), &users), 64);
    assert!(is_empty(&folder.path().join("made")));
}

#[test]
fn address_with_the_other_scheme_is_answered_with_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lagan.yaml"), ENCRYPTED).unwrap();
    let encrypted = Up::start(folder.path(), &["-f", "lagan.yaml"]);
    let plain = Up::start(folder.path(), &["--data", "plain"]);
    for (up, wrong) in [(&encrypted, "http"), (&plain, "https")] {
        let address = format!("{wrong}://{}", up.host());
        let said = refused(&run(folder.path(), &["trash", "list", "--registry", &address]), 69);
        assert!(said.contains(&format!("write {}", up.url)), "{said}");
        let said = text(&run(folder.path(), &["import", "--from", &address, "--to", &plain.url]).stderr);
        assert!(said.contains(&format!("write {}", up.url)), "{said}");
    }
    encrypted.stop();
    plain.stop();
}

#[test]
fn start_that_waits_names_the_process_that_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let first = Up::start(folder.path(), &[]);
    let mut command = lagan();
    command.current_dir(folder.path()).args(["up", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut second = Killed(command.spawn().unwrap());
    let mut out = BufReader::new(second.0.stdout.take().unwrap());
    let said = line_with(&mut out, "waiting for");
    assert!(said.contains(&format!("process {} to end", first.child.id())) && said.contains("lagan-data"), "{said}");
    first.stop();
    line_with(&mut out, "Serving ");
    let ended = std::process::Command::new("kill").args(["-TERM", &second.0.id().to_string()]).status().unwrap();
    assert!(ended.success() && second.0.wait().unwrap().success());
}
