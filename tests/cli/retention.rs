//! `lagan retention`: a plan that waits is read, approved in a file, and what it deleted is explained.

use std::process::Output;

use serde_json::Value;

use super::{Client, Image, POLICY, REGISTRY, Up, fs, lagan, line_with, tags, text};

fn retention(up: &Up, arguments: &[&str]) -> std::process::Output {
    lagan().arg("retention").args(arguments).args(["--registry", &up.url]).output().unwrap()
}

fn printed(done: &std::process::Output) -> String {
    assert_eq!(done.status.code(), Some(0), "{}{}", text(&done.stdout), text(&done.stderr));
    text(&done.stdout)
}

#[tokio::test]
async fn plan_that_waits_is_read_approved_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lagan.yaml");
    fs::write(&file, REGISTRY).unwrap();
    let client: Client = super::client();
    let mut up = Up::start(folder.path(), &["-f", "lagan.yaml"]);
    for number in 1..=7 {
        let tag = format!("v{number}");
        Image::new(&tag).push(&client, &up.url, &tag).await.unwrap();
    }
    assert!(printed(&retention(&up, &["plan"])).contains("No policy has planned anything yet."));
    assert_eq!(retention(&up, &["plan", "five"]).status.code(), Some(1));
    assert_eq!(retention(&up, &["why", "app"]).status.code(), Some(64));

    let manual = POLICY.replace("mode: MODE", "mode: Enforce\n  approval: Manual");
    fs::write(&file, format!("{REGISTRY}{manual}")).unwrap();
    let said = line_with(&mut up.out, "policy default/five");
    assert!(said.contains("would delete 2 and keep 5 (approval is Manual"), "{said}");
    let hash = said.split("lagan.dev/approve: ").nth(1).unwrap().split(' ').next().unwrap();

    let plan: Value = serde_json::from_str(&printed(&retention(&up, &["plan", "-o", "json"]))).unwrap();
    assert_eq!((&plan["plans"][0]["plan"]["hash"], plan["plans"].as_array().unwrap().len()), (&hash.into(), 1));
    let lines: Vec<&str> =
        plan["plans"][0]["lines"].as_array().unwrap().iter().map(|line| line["reference"].as_str().unwrap()).collect();
    assert_eq!(lines, ["app:v1", "app:v2", "app:v3", "app:v4", "app:v5", "app:v6", "app:v7"]);
    let table = printed(&retention(&up, &["plan", "five", "--only", "delete"]));
    assert!(table.contains("newest  not among the 5 most recently pushed"), "{table}");
    assert!(table.contains(hash) && !table.contains("app:v3"), "{table}");
    let pull = client.get(format!("{}/v2/app/manifests/v1", up.url)).send().await.unwrap();
    assert!(pull.headers()["warning"].to_str().unwrap().contains("policy default/five"), "{pull:?}");

    // That was a pull, so v1 stays.
    let approved =
        manual.replace("{lagan.dev/run-at: now}", &format!("{{lagan.dev/run-at: now, lagan.dev/approve: {hash}}}"));
    fs::write(&file, format!("{REGISTRY}{approved}")).unwrap();
    let said = line_with(&mut up.out, "policy default/five");
    assert!(said.contains("deleted 1 tag and 1 manifest"), "{said}");
    assert_eq!(tags(&client, &up.url).await, ["v1", "v3", "v4", "v5", "v6", "v7"]);

    let why = printed(&retention(&up, &["why", "app:v2"]));
    for words in ["app:v2 is not there", "by policy default/five: rule newest: not among", "brings it back"] {
        assert!(why.contains(words), "{words} is not in {why}");
    }
    let line = why.split('`').nth(1).unwrap();
    let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert!(lagan().args(&arguments).output().unwrap().status.success(), "{line}");
    Image::new("v2").assert_served(&client, &up.url, "v2").await;
    assert!(printed(&retention(&up, &["why", "app:v2"])).contains("restored at"), "it says why it stays");
    assert_eq!(retention(&up, &["why", "app:none"]).status.code(), Some(1));
    up.stop();

    // Without a process, from the folder.
    let data = folder.path().join("lagan-data/default/images");
    let folder = ["retention", "why", "app:v2", "--data", data.to_str().unwrap()];
    assert!(printed(&lagan().args(folder).output().unwrap()).contains("app:v2 is there"));
}

async fn push_seven(client: &Client, url: &str) {
    for number in 1..=7 {
        let tag = format!("v{number}");
        Image::new(&tag).push(client, url, &tag).await.unwrap();
    }
}

/// Of so many tags, the oldest two are to go.
fn policy(extra: &str) -> String {
    let policy = POLICY.replace("  annotations: {lagan.dev/run-at: now}\n", "");
    policy.replace("mode: MODE", &format!("mode: Enforce{extra}"))
}

/// A command that is refused with this exit code, and says why.
fn refused(done: &Output, code: i32, words: &str) {
    let said = text(&done.stderr);
    assert!(done.status.code() == Some(code) && said.contains(words), "{:?}: {said}", done.status);
}

#[tokio::test]
async fn policy_of_lagan_up_runs_when_somebody_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lagan.yaml");
    fs::write(&file, format!("{REGISTRY}{}", policy(""))).unwrap();
    let client: Client = super::client();
    let mut up = Up::start(folder.path(), &["-f", "lagan.yaml"]);
    push_seven(&client, &up.url).await;
    let named = file.to_str().unwrap();

    // Planned, without a trace.
    let other = fs::read_to_string(&file).unwrap().replace("mostRecentlyPushed: 5", "mostRecentlyPushed: 6");
    let elsewhere = folder.path().join("other.yaml");
    fs::write(&elsewhere, other).unwrap();
    let planned = printed(&retention(&up, &["plan", "-f", elsewhere.to_str().unwrap()]));
    assert!(planned.contains("would delete 1 and keep 6") && planned.contains("in use"), "{planned}");
    let planned = printed(&retention(&up, &["run", "five", "--dry-run", "-o", "json"]));
    let planned: Value = serde_json::from_str(&planned).unwrap();
    assert_eq!((&planned["plans"][0]["plan"]["deletes"], &planned["plans"][0]["inUse"]), (&2.into(), &"Nobody".into()));
    assert!(printed(&retention(&up, &["plan"])).contains("No policy has planned anything yet."));
    refused(&retention(&up, &["run", "six"]), 64, "there are: default/five");
    refused(&retention(&up, &["run", "-f", named, "--nothing-in-use"]), 64, "leave --file away");
    fs::write(&elsewhere, "kind: RetentionPolicy").unwrap();
    refused(&retention(&up, &["plan", "-f", elsewhere.to_str().unwrap()]), 64, "document 1");
    assert_eq!(tags(&client, &up.url).await.len(), 7);

    let done = printed(&retention(&up, &["run", "default/five"]));
    assert!(done.contains("policy default/five: deleted 2 tags and 2 manifests, kept 5"), "{done}");
    assert!(line_with(&mut up.out, "policy default/five: deleted").contains("deleted 2 tags"));
    assert_eq!(tags(&client, &up.url).await, ["v3", "v4", "v5", "v6", "v7"]);

    fs::write(&file, format!("{REGISTRY}{}", policy("\n  approval: Manual").replace("Pushed: 5", "Pushed: 4")))
        .unwrap();
    line_with(&mut up.out, "were read again");
    let waits = retention(&up, &["run", "five"]);
    refused(&waits, 75, "waits for approval");
    assert!(text(&waits.stdout).contains("the annotation lagan.dev/approve:"), "{waits:?}");
    up.stop();
}

#[tokio::test]
async fn registry_without_policies_of_its_own_runs_those_of_a_file_if_nothing_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    fs::write(&file, policy("").replace("maxDeletePercent: 100", "maxDeletePercent: 10")).unwrap();
    let client: Client = super::client();
    let up = Up::start(folder.path(), &[]);
    push_seven(&client, &up.url).await;
    let run = |arguments: &[&str]| {
        let file = ["run", "-f", file.to_str().unwrap()];
        retention(&up, &file.iter().chain(arguments).copied().collect::<Vec<_>>())
    };

    refused(&retention(&up, &["run", "five"]), 64, "give them with --file");
    refused(&run(&[]), 64, "--nothing-in-use");
    assert!(printed(&run(&["--dry-run"])).contains("would wait for approval"));
    assert!(printed(&retention(&up, &["plan"])).contains("No policy has planned anything yet."));
    let waits = run(&["--nothing-in-use", "-o", "json"]);
    refused(&waits, 75, "waits for approval");
    let waiting: Value = serde_json::from_slice(&waits.stdout).unwrap();
    let hash = waiting["runs"][0]["plan"]["hash"].as_str().unwrap();
    refused(&run(&["--nothing-in-use", "--approve", "0123"]), 1, "0123");
    assert_eq!(tags(&client, &up.url).await.len(), 7);
    let done = printed(&run(&["--nothing-in-use", "--approve", hash]));
    assert!(done.contains("deleted 2 tags and 2 manifests"), "{done}");
    assert_eq!(tags(&client, &up.url).await, ["v3", "v4", "v5", "v6", "v7"]);
    up.stop();

    // Without a process: of a folder alone nobody knows which tags are immutable.
    fs::write(&file, policy("").replace("Pushed: 5", "Pushed: 3")).unwrap();
    let data = folder.path().join("lagan-data");
    let offline = |arguments: &[&str]| {
        let mut command = lagan();
        command.args(["retention", "run", "--nothing-in-use", "-f", file.to_str().unwrap()]).args(arguments);
        command.output().unwrap()
    };
    refused(&offline(&["--data", data.to_str().unwrap()]), 64, "immutable");
    let config = folder.path().join("serve.yaml");
    let immutable = "immutableTags: [{repositories: ['**'], tags: [v3]}]";
    let storage = format!("storage: {{filesystem: {{directory: {}}}}}\n{immutable}\n", data.display());
    fs::write(&config, storage).unwrap();
    let done = printed(&offline(&["--config", config.to_str().unwrap()]));
    assert!(done.contains("deleted 1 tag and 1 manifest, kept 4"), "{done}");
}
