//! `lagan retention`: a plan that waits is read, approved in a file, and what it deleted is explained.

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
