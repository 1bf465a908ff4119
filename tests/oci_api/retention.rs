//! A policy's run as the operator asks for it.

use lagan::api::v1alpha1::Mode;
use lagan::api::wire::{
    AskedOfUse, CandidatePage, Explanation, PlanPage, PlanReport, PolicyList, PolicyRunner, RunList, RunState,
    RunStatus,
};
use lagan::storage::DeletionMode;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::registry::{Registry, Setup, expect_error};

const RUNS: &str = "/v2/_lagan/retention/runs";

/// Keeps the tag `keep`, and deletes every other.
fn request(run: &str, mode: &str) -> Value {
    let spec = json!({
        "registryRef": { "name": "r" }, "mode": mode, "minimumAge": "0s", "unmatchedTags": "Delete",
        "keep": [{ "name": "kept", "tags": ["keep"], "always": {} }],
        "untagged": { "action": "Delete", "minimumAge": "0s" }, "limits": { "maxDeletePercent": 100 },
    });
    let policy = json!({ "namespace": "team", "name": "p", "uid": "u1", "generation": 1, "spec": spec });
    json!({ "run": run, "policy": "u1", "policies": [policy] })
}

async fn start(registry: &Registry, body: &Value) -> RunStatus {
    let started = registry.request(Method::POST, RUNS).json(body).send().await.unwrap();
    assert_eq!(started.status(), StatusCode::ACCEPTED, "{}", started.text().await.unwrap());
    started.json().await.unwrap()
}

async fn until(registry: &Registry, run: &str, state: RunState) -> RunStatus {
    loop {
        let status: RunStatus = registry.get(&format!("{RUNS}/{run}")).await.json().await.unwrap();
        assert_ne!(status.state, RunState::Failed, "{status:?}");
        if status.state == state {
            return status;
        }
        tokio::task::yield_now().await;
    }
}

async fn pushed() -> Registry {
    pushed_to(Registry::start().await).await
}

async fn pushed_to(registry: Registry) -> Registry {
    for tag in ["keep", "v1", "v2", "v3"] {
        registry.push_image("app", tag, tag.as_bytes()).await;
    }
    // What was pushed in the instant of the plan counts as pushed after it.
    registry.clock.pass(1);
    registry
}

#[tokio::test]
async fn a_run_is_planned_paged_applied_and_undone() {
    let registry = pushed().await;
    assert_eq!(start(&registry, &request("u1.1", "Enforce")).await.run, "u1.1");
    until(&registry, "u1.1", RunState::AwaitingUsage).await;
    // Asked again, it is the same run.
    assert_eq!(start(&registry, &request("u1.1", "Enforce")).await.state, RunState::AwaitingUsage);

    let mut tags = Vec::new();
    let mut query = Some("?n=2".to_owned());
    let mut used = None;
    while let Some(here) = query {
        let page: CandidatePage = registry.get(&format!("{RUNS}/u1.1/candidates{here}")).await.json().await.unwrap();
        assert!(page.candidates.len() <= 2);
        query = page.next.map(|next| format!("?n=2&last={next}"));
        for candidate in page.candidates {
            assert!(candidate.closure.contains(&candidate.digest));
            let tag = candidate.tag.map(|tag| tag.to_string()).unwrap_or_default();
            if tag == "v2" {
                used = Some(candidate.index);
            }
            tags.push(tag);
        }
    }
    tags.sort();
    assert_eq!(tags, ["v1", "v2", "v3"]);

    let body = json!({ "listingSeconds": 0.5, "inUse": [{ "candidate": used, "reason": "deployment web" }] });
    let apply = registry.request(Method::POST, &format!("{RUNS}/u1.1/apply")).json(&body).send().await.unwrap();
    assert_eq!(apply.status(), StatusCode::ACCEPTED);
    let done = until(&registry, "u1.1", RunState::Completed).await;
    assert_eq!(done.plan.as_ref().unwrap().protected_in_use, 1);
    assert_eq!(done.result.unwrap().deleted_tags, 2, "{done:?}");
    for tag in ["keep", "v2"] {
        assert_eq!(registry.get(&format!("/v2/app/manifests/{tag}")).await.status(), StatusCode::OK);
    }
    let detail = registry.expect_no_manifest("app", "v1").await.unwrap();
    assert_eq!(detail["policy"], "team/p");
    let body = json!({ "repository": "app", "reference": "v1" });
    registry.request(Method::POST, "/v2/_lagan/restore").json(&body).send().await.unwrap();
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_dry_run_deletes_nothing() {
    let registry = pushed().await;
    start(&registry, &request("u1.1", "DryRun")).await;
    until(&registry, "u1.1", RunState::AwaitingUsage).await;
    let apply = registry.request(Method::POST, &format!("{RUNS}/u1.1/apply"));
    apply.json(&json!({ "listingSeconds": 0.0, "inUse": [] })).send().await.unwrap();
    let done = until(&registry, "u1.1", RunState::Completed).await;
    assert_eq!(done.plan.unwrap().deletes, 3);
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_apart() {
    let registry = pushed().await;
    for run in ["u1.9", "UPPER", "..%2f"] {
        let unknown = registry.get(&format!("{RUNS}/{run}")).await;
        assert_eq!(unknown.status(), StatusCode::NOT_FOUND, "{run}");
    }
    expect_error(registry.get(&format!("{RUNS}/u1.9/candidates")).await, 404, "NOT_FOUND").await;
    expect_error(registry.post(RUNS).await, 400, "UNSUPPORTED").await;
    let mut foreign = request("u1.1", "Enforce");
    foreign["policy"] = json!("another");
    let refused = registry.request(Method::POST, RUNS).json(&foreign).send().await.unwrap();
    expect_error(refused, 400, "UNSUPPORTED").await;
    for path in ["u1.9/plan", "u1.9/interrupt"] {
        let method = if path.ends_with("plan") { Method::GET } else { Method::POST };
        let asked = registry.request(method, &format!("{RUNS}/{path}")).json(&json!({ "reason": "so" }));
        expect_error(asked.send().await.unwrap(), 404, "NOT_FOUND").await;
    }
    expect_error(registry.get(&format!("{RUNS}/u1.9/plan?decision=Maybe")).await, 400, "UNSUPPORTED").await;
    expect_error(registry.get("/v2/_lagan/retention/why?repository=app").await, 400, "UNSUPPORTED").await;
}

/// Tells a run what is in use: nothing. With `approve`, of a plan that waits.
async fn apply(registry: &Registry, run: &str, approve: Option<&str>) -> StatusCode {
    let body = json!({ "listingSeconds": 0.5, "approve": approve });
    registry.request(Method::POST, &format!("{RUNS}/{run}/apply")).json(&body).send().await.unwrap().status()
}

/// The header of a pull, with GET and with HEAD, which say the same.
async fn warning(registry: &Registry, reference: &str) -> Option<String> {
    let path = format!("/v2/app/manifests/{reference}");
    let (get, head) = (registry.get(&path).await, registry.request(Method::HEAD, &path).send().await.unwrap());
    assert_eq!((get.status(), head.status()), (StatusCode::OK, StatusCode::OK));
    let header =
        |answer: &reqwest::Response| answer.headers().get("warning").map(|text| text.to_str().unwrap().to_owned());
    assert_eq!(header(&get), header(&head));
    header(&get)
}

#[tokio::test]
async fn pulling_a_tag_of_a_plan_that_waits_warns_of_it() {
    let registry = pushed().await;
    let mut manual = request("u1.1", "Enforce");
    manual["policies"][0]["spec"]["approval"] = json!("Manual");
    start(&registry, &manual).await;
    until(&registry, "u1.1", RunState::AwaitingUsage).await;
    assert_eq!(warning(&registry, "v1").await, None);
    assert_eq!(apply(&registry, "u1.1", None).await, StatusCode::ACCEPTED);
    let waiting = until(&registry, "u1.1", RunState::AwaitingApproval).await;

    let words = "299 - \"app:v1 is to be deleted by retention policy team/p, once approved\"";
    assert_eq!(warning(&registry, "v1").await.as_deref(), Some(words));
    assert_eq!(warning(&registry, "keep").await, None);
    let manifest = registry.get("/v2/app/manifests/v1").await;
    let digest = manifest.headers()["docker-content-digest"].to_str().unwrap().to_owned();
    assert_eq!(warning(&registry, &digest).await, None, "a pull by digest names no tag");
    let again = registry.request(Method::GET, "/v2/app/manifests/v1").header("if-none-match", format!("\"{digest}\""));
    let again = again.send().await.unwrap();
    assert_eq!((again.status(), again.headers().contains_key("warning")), (StatusCode::NOT_MODIFIED, true));

    let hash = waiting.plan.unwrap().hash;
    assert_eq!(apply(&registry, "u1.1", Some("0123")).await, StatusCode::BAD_REQUEST);
    let interrupted =
        registry.request(Method::POST, &format!("{RUNS}/u1.1/interrupt")).json(&json!({ "reason": "so" }));
    assert_eq!(interrupted.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(warning(&registry, "v1").await, None);
    assert_eq!(apply(&registry, "u1.1", Some(&hash)).await, StatusCode::ACCEPTED);
    let over: RunStatus = registry.get(&format!("{RUNS}/u1.1")).await.json().await.unwrap();
    assert_eq!((over.state, over.message.as_deref()), (RunState::Interrupted, Some("so")));
}

#[tokio::test]
async fn whole_plan_and_one_image_of_it_can_be_read_and_the_image_after_it_was_deleted_too() {
    let registry = pushed().await;
    start(&registry, &request("u1.1", "Enforce")).await;
    until(&registry, "u1.1", RunState::AwaitingUsage).await;
    expect_error(registry.get(&format!("{RUNS}/u1.1/plan")).await, 404, "NOT_FOUND").await;
    apply(&registry, "u1.1", None).await;
    until(&registry, "u1.1", RunState::Completed).await;

    let runs: RunList = registry.get(RUNS).await.json().await.unwrap();
    assert_eq!((runs.runs.len(), runs.runs[0].plan_lines), (1, Some(4)));
    let (mut lines, mut query) = (Vec::new(), "?n=3".to_owned());
    loop {
        let page: PlanPage = registry.get(&format!("{RUNS}/u1.1/plan{query}")).await.json().await.unwrap();
        lines.extend(page.lines.into_iter().map(|line| line.reference));
        let Some(next) = page.next else { break };
        query = format!("?n=3&last={next}");
    }
    assert_eq!(lines, ["app:keep", "app:v1", "app:v2", "app:v3"]);
    let gone: PlanPage = registry.get(&format!("{RUNS}/u1.1/plan?decision=Delete")).await.json().await.unwrap();
    assert_eq!(gone.lines.len(), 3);

    let why = "/v2/_lagan/retention/why?repository=app&reference=v1";
    let explained: Explanation = registry.get(why).await.json().await.unwrap();
    assert_eq!((explained.digest, explained.planned.len(), explained.trash.len()), (None, 1, 1));
    assert_eq!(explained.trash[0].policy.as_deref(), Some("team/p"));
    let kept: Explanation = registry.get(&why.replace("v1", "keep")).await.json().await.unwrap();
    assert_eq!((kept.now.len(), kept.now[0].line.rule.as_deref()), (1, Some("kept")));
}

/// Every file of the storage, with its length.
fn files(folder: &std::path::Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path(), entry.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn plan_without_a_trace_says_what_a_run_would_do_and_writes_nothing() {
    let setup = Setup { deletion: DeletionMode::Disabled, immutable_tags: vec!["v3".to_owned()], ..Setup::default() };
    let registry = pushed_to(Registry::with(setup).await).await;
    let plan = |query: &'static str, change: fn(&mut Value)| {
        let mut body = request("unused", "Enforce");
        body.as_object_mut().unwrap().remove("run");
        change(&mut body);
        registry.request(Method::POST, &format!("/v2/_lagan/retention/plan{query}")).json(&body).send()
    };
    // What was pulled is written down in any case: the first plan has that done.
    assert_eq!(plan("", |_| {}).await.unwrap().status(), StatusCode::OK);
    let before = files(registry.folder.path());

    let answer = plan("?n=3", |_| {}).await.unwrap().text().await.unwrap();
    assert!(!answer.contains("\"hash\""), "nobody can approve it: {answer}");
    let report: PlanReport = serde_json::from_str(&answer).unwrap();
    assert_eq!((report.policy.as_str(), report.plan.deletes, report.plan.keeps), ("team/p", 2, 2));
    assert_eq!((report.mode, report.in_use, report.more), (Mode::Enforce, AskedOfUse::Nobody, true));
    let lines = |report: &PlanReport| report.lines.iter().map(|line| line.reference.clone()).collect::<Vec<_>>();
    assert_eq!(lines(&report), ["app:v1", "app:v2", "app:keep"], "what goes comes first");
    let kept: PlanReport = plan("?decision=Keep", |_| {}).await.unwrap().json().await.unwrap();
    assert_eq!((lines(&kept), kept.more), (vec!["app:keep".to_owned(), "app:v3".to_owned()], false));
    let none: PlanReport = plan("?n=0", |_| {}).await.unwrap().json().await.unwrap();
    assert_eq!((lines(&none), none.more, none.plan.deletes), (Vec::new(), true, 2));
    let over = plan("", |body| body["policies"][0]["spec"]["limits"] = json!({ "maxDeletions": 1 })).await.unwrap();
    let over: PlanReport = over.json().await.unwrap();
    assert!(over.message.as_ref().unwrap().contains("would wait for approval"), "{over:?}");

    assert_eq!(files(registry.folder.path()), before);
    let runs: RunList = registry.get(RUNS).await.json().await.unwrap();
    assert_eq!(runs.runs, []);

    expect_error(plan("?last=3", |_| {}).await.unwrap(), 400, "UNSUPPORTED").await;
    expect_error(plan("?decision=Maybe", |_| {}).await.unwrap(), 400, "UNSUPPORTED").await;
    expect_error(plan("", |body| body["run"] = json!("u1.1")).await.unwrap(), 400, "UNSUPPORTED").await;
    expect_error(plan("", |body| body["policy"] = json!("another")).await.unwrap(), 400, "UNSUPPORTED").await;
    expect_error(registry.get("/v2/_lagan/retention/plan").await, 405, "UNSUPPORTED").await;
}

#[tokio::test]
async fn registry_that_runs_no_policies_by_itself_says_so() {
    let registry = pushed().await;
    let list: PolicyList = registry.get("/v2/_lagan/retention/policies").await.json().await.unwrap();
    assert_eq!(list, PolicyList { runner: PolicyRunner::Nobody, policies: Vec::new() });
    expect_error(registry.post("/v2/_lagan/retention/policies/team/p/run").await, 404, "NOT_FOUND").await;
}
