//! A policy whose runs remove what no tag reaches.

use std::{sync::Arc, time::Duration};

use crate::{
    api::{
        v1alpha1::{Approval, RetentionPolicySpec},
        wire::{ApplyRequest, PolicySource, RunRequest, RunState},
    },
    maintenance::RunId,
};

use super::{
    asking::ask,
    history::{Kind, Outcome},
    process::Process,
    world::World,
};

/// How long a run is waited for.
const LONGEST: Duration = Duration::from_secs(120);

fn source() -> PolicySource {
    let spec: RetentionPolicySpec = serde_json::from_value(serde_json::json!({
        "registryRef": {"name": "main"},
        "mode": "Enforce",
        "minimumAge": "5s",
        "untagged": {"action": "Delete", "minimumAge": "10s"},
        "unmatchedTags": "Ignore",
        "limits": {"maxDeletePercent": 100},
    }))
    .unwrap();
    PolicySource { namespace: "sim".into(), name: "untagged".into(), uid: "policy".into(), generation: 1, spec }
}

/// One run at a process, to its end.
pub(super) async fn run(world: &Arc<World>, process: &Arc<Process>) {
    let id = format!("policy-{}", world.number());
    let run: RunId = id.parse().unwrap();
    world.note(&process.address, "runs a policy", &id, &"");
    let operation = world.history.begin(process.id, None, Kind::Policy, world.time.now());
    let (runs, policy) = (process.runs.clone(), source());
    let request = RunRequest {
        run: id.clone(),
        policy: policy.uid.clone(),
        policies: vec![policy.clone()],
        approval: Approval::Automatic,
    };
    let started = ask(world, process, async move { runs.start(request).await }).await;
    let mut is_over = matches!(started, Some(Err(_)));
    let until = world.time.now() + LONGEST;
    let mut is_applied = false;
    while !is_over && !process.is_dead() && world.time.now() < until {
        world.time.sleep(Duration::from_millis(500)).await;
        let (runs, asked) = (process.runs.clone(), run.clone());
        let Some(Ok(status)) = ask(world, process, async move { runs.status(&asked).await }).await else { continue };
        match status.state {
            RunState::Planning | RunState::Applying => {}
            RunState::AwaitingUsage if !is_applied => {
                let (runs, asked) = (process.runs.clone(), run.clone());
                let request = ApplyRequest {
                    listing_seconds: 0.0,
                    in_use: Vec::new(),
                    policies: Vec::new(),
                    approve: None,
                    list: None,
                };
                is_applied =
                    matches!(ask(world, process, async move { runs.apply(&asked, request).await }).await, Some(Ok(_)));
            }
            RunState::AwaitingUsage => is_applied = false,
            RunState::AwaitingApproval
            | RunState::Completed
            | RunState::LimitExceeded
            | RunState::Interrupted
            | RunState::Failed => {
                world.note(
                    &process.address,
                    "ran a policy",
                    &id,
                    &format_args!("{:?} {:?}", status.state, status.message),
                );
                is_over = true;
            }
        }
    }
    if is_over {
        world.history.end(operation, Outcome::Unknown, None, world.time.now());
    }
}
