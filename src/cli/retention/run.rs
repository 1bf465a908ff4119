//! `lagan retention run`

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use clap::Args;
use tokio::time::sleep;

use crate::api::v1alpha1::{InUseProtection, Mode};
use crate::api::wire::{
    ApplyRequest, PolicyList, PolicyRunner, PolicySource, RunList, RunRequest, RunState, RunStatus,
};
use crate::storage::Clock;

use crate::cli::clock::SystemClock;
use crate::cli::exit::{Halted, InvalidUsage};
use crate::cli::output::OutputFormat;
use crate::cli::progress::while_waiting;
use crate::cli::registry_client::RegistryClient;
use crate::cli::registry_target::{RegistryTarget, TargetArguments};
use crate::cli::run_outcome::{ANNOTATION, outcome};

use super::forecast;
use super::policy_choice::PolicyChoice;

/// How often a run is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often in a row a run may be found waiting for whoever applies it: a minute.
const MAX_LOOKS_IN_VAIN: u32 = 300;

/// Run policies now, and wait for what they do.
///
/// Those of `lagan up` are known by their names. A registry that `lagan serve` serves knows none: --file gives them, and
/// with them all that count. In a cluster the operator runs them, for it knows what is in use:
/// kubectl annotate retentionpolicy NAME lagan.dev/run-at="$(date)" --overwrite
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which policy: NAME, or NAMESPACE/NAME. With --file, all where none is named.
    #[arg(required_unless_present = "file")]
    policy: Option<String>,
    /// YAML file with the policies, of a registry that nobody runs policies for; - is standard input.
    #[arg(short, long = "file", value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Nothing uses the images but what the policies keep: with --file, nobody is asked what is in use.
    #[arg(long, requires = "file")]
    nothing_in_use: bool,
    /// With --file: apply the plan that waits and has this hash, less what has changed since.
    #[arg(long, value_name = "HASH", requires = "file", conflicts_with = "dry_run")]
    approve: Option<String>,
    /// Say what would be deleted, and delete nothing.
    #[arg(long)]
    dry_run: bool,
    /// How to print what was done.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
    // The last: its heading would stand over what follows.
    #[command(flatten)]
    target: TargetArguments,
}

/// Does what the command line says.
///
/// # Errors
/// [`InvalidUsage`] where the policies do not run in this way; [`Halted`] where a plan waits for approval; else if the
/// registry does not answer, or a run fails.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let in_files = match arguments.file.as_slice() {
        [] => None,
        files => Some(PolicyChoice::of_files(files, arguments.policy.as_deref())?),
    };
    let target = RegistryTarget::find(&arguments.target).await?;
    let is_configured = target.is_configured(&arguments.target);
    let done = run_at(target.client(), &arguments, in_files, is_configured).await;
    target.close().await;
    done
}

async fn run_at(
    client: &RegistryClient,
    arguments: &Arguments,
    in_files: Option<PolicyChoice>,
    is_configured: bool,
) -> anyhow::Result<()> {
    let known: PolicyList = client.get(&["retention", "policies"], &[]).await?;
    let from_files = in_files.is_some();
    check_runner(known.runner, from_files)?;
    let choice = match in_files {
        Some(choice) => choice,
        None => PolicyChoice::among(known.policies, arguments.policy.as_deref())?,
    };
    if arguments.dry_run {
        return forecast::show(client, &choice, None, arguments.output).await;
    }
    if from_files {
        check_use(&choice, arguments.nothing_in_use, is_configured)?;
    }
    let mut runs = Vec::new();
    for policy in &choice.chosen {
        let run = async {
            match (&arguments.approve, from_files) {
                (Some(hash), _) => approve(client, &choice, policy, hash).await,
                (None, true) => run_here(client, &choice, policy).await,
                (None, false) => run_there(client, policy).await,
            }
        };
        runs.push(while_waiting(&format!("policy {}/{} runs", policy.namespace, policy.name), run).await?);
    }
    let approved_with = if from_files { "--approve" } else { ANNOTATION };
    let line = |run: &RunStatus| format!("policy {}: {}", run.policy, outcome(run, approved_with));
    let list = RunList { runs };
    arguments.output.print(&list, |list| list.runs.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    verdict(&list.runs)
}

/// That the policies of this registry run in the way that is asked for.
fn check_runner(runner: PolicyRunner, from_files: bool) -> Result<(), InvalidUsage> {
    Err(InvalidUsage(match (runner, from_files) {
        (PolicyRunner::Files, false) | (PolicyRunner::Nobody, true) => return Ok(()),
        (PolicyRunner::Files, true) => {
            "the registry runs the policies of its own files: leave --file away, and change \
             those (`lagan retention plan --file` says what others would do)"
                .to_owned()
        }
        (PolicyRunner::Operator, _) => "an operator runs the policies of this registry, for it knows what the cluster \
             uses: kubectl annotate retentionpolicy NAME lagan.dev/run-at=\"$(date)\" --overwrite"
            .to_owned(),
        (PolicyRunner::Nobody, false) => {
            "the registry runs no policies by itself: give them with --file, and all others that count".to_owned()
        }
    }))
}

/// That nothing is deleted of which it is not known whether it may be: what one policy keeps, none deletes.
fn check_use(choice: &PolicyChoice, nothing_in_use: bool, is_configured: bool) -> Result<(), InvalidUsage> {
    let deletes = choice.chosen.iter().any(|policy| policy.spec.mode == Mode::Enforce);
    let asks = |policy: &&PolicySource| policy.spec.in_use.protection == InUseProtection::Enabled;
    if let Some(policy) = choice.all.iter().find(asks).filter(|_| deletes && !nothing_in_use) {
        return Err(InvalidUsage(format!(
            "policy {}/{} keeps what is in use, and nobody knows here what is: if nothing is, say --nothing-in-use",
            policy.namespace, policy.name
        )));
    }
    if deletes && !is_configured {
        return Err(InvalidUsage(
            "nobody serves the folder, and it does not say which of its tags are immutable: give --config FILE instead \
             of --data, or serve it"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Has the registry's own process run a policy.
async fn run_there(client: &RegistryClient, policy: &PolicySource) -> anyhow::Result<RunStatus> {
    let path = ["retention", "policies", &policy.namespace, &policy.name, "run"];
    let begun: RunStatus = client.post_long(&path, &[], &serde_json::json!({})).await?;
    let mut in_vain = 0;
    loop {
        let status = settled(client, &begun.run).await?;
        if status.state != RunState::AwaitingUsage {
            return Ok(status);
        }
        // The process goes on with it at once, or else it has given it up.
        in_vain += 1;
        if in_vain == MAX_LOOKS_IN_VAIN {
            bail!("run {} goes on no more: {}", status.run, status.message.unwrap_or_default());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Runs a policy of the files.
async fn run_here(client: &RegistryClient, choice: &PolicyChoice, policy: &PolicySource) -> anyhow::Result<RunStatus> {
    let request = RunRequest {
        run: format!("{}.asked-{}", policy.uid, SystemClock.now().as_millisecond()),
        policy: policy.uid.clone(),
        policies: choice.all.clone(),
        approval: policy.spec.approval,
    };
    let begun: RunStatus = client.post(&["retention", "runs"], &request).await?;
    let planned = settled(client, &begun.run).await?;
    apply(client, choice, planned, None).await
}

/// Applies the plan of a policy that waits.
async fn approve(
    client: &RegistryClient,
    choice: &PolicyChoice,
    policy: &PolicySource,
    hash: &str,
) -> anyhow::Result<RunStatus> {
    let RunList { runs } = client.get(&["retention", "runs"], &[]).await?;
    let waits = |run: &RunStatus| {
        let has_hash = run.plan.as_ref().is_some_and(|plan| plan.hash == hash);
        has_hash && run.policy_uid == policy.uid && run.state == RunState::AwaitingApproval
    };
    match runs.into_iter().find(waits) {
        Some(run) => apply(client, choice, run, Some(hash.to_owned())).await,
        None => bail!("no plan of policy {}/{} waits that has the hash {hash}", policy.namespace, policy.name),
    }
}

/// Applies a run that waits, until it is over or waits for approval.
async fn apply(
    client: &RegistryClient,
    choice: &PolicyChoice,
    mut status: RunStatus,
    mut approve: Option<String>,
) -> anyhow::Result<RunStatus> {
    while status.state == RunState::AwaitingUsage || approve.is_some() {
        let before = (status.state, status.result);
        let request = ApplyRequest { policies: choice.all.clone(), approve: approve.take(), ..ApplyRequest::default() };
        let _: RunStatus = client.post(&["retention", "runs", &status.run, "apply"], &request).await?;
        status = settled(client, &status.run).await?;
        if (status.state, status.result) == before {
            bail!("run {} does not go on: {}", status.run, status.message.unwrap_or_default());
        }
    }
    Ok(status)
}

/// Waits until a run neither plans nor applies.
async fn settled(client: &RegistryClient, run: &str) -> anyhow::Result<RunStatus> {
    loop {
        let status: RunStatus = client.get(&["retention", "runs", run], &[]).await?;
        if !matches!(status.state, RunState::Planning | RunState::Applying) {
            return Ok(status);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What the runs come to.
fn verdict(runs: &[RunStatus]) -> anyhow::Result<()> {
    for run in runs {
        let message = run.message.clone().unwrap_or_default();
        match run.state {
            RunState::Completed | RunState::AwaitingApproval => {}
            _ => bail!("policy {}: {:?}: {message}", run.policy, run.state),
        }
        if let Some(result) = run.result.filter(|result| result.failed > 0) {
            bail!("policy {}: {} could not be deleted, the registry's log says why", run.policy, result.failed);
        }
    }
    match runs.iter().find(|run| run.state == RunState::AwaitingApproval) {
        Some(waiting) => Err(Halted(format!("the plan of policy {} waits for approval", waiting.policy)).into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(mode: &str, protection: &str) -> PolicySource {
        let spec = json!({"registryRef": {"name": "r"}, "mode": mode, "inUse": {"protection": protection},
            "keep": [{"name": "all", "tags": ["*"], "always": {}}]});
        let spec = serde_json::from_value(spec).unwrap();
        PolicySource { namespace: "a".into(), name: "p".into(), uid: "a.p".into(), generation: 1, spec }
    }

    #[test]
    fn what_may_be_in_use_is_deleted_only_where_somebody_says_that_nothing_is() {
        let alone = |mode, protection| PolicyChoice::among(vec![policy(mode, protection)], None).unwrap();
        let refused = |mode, protection, said| check_use(&alone(mode, protection), said, true).is_err();
        assert!(refused("Enforce", "Enabled", false));
        assert!(!refused("Enforce", "Enabled", true));
        assert!(!refused("Enforce", "Disabled", false), "the policy says that nobody is to be asked");
        assert!(!refused("DryRun", "Enabled", false));
        let unconfigured = |mode| check_use(&alone(mode, "Disabled"), true, false).is_err();
        assert_eq!((unconfigured("Enforce"), unconfigured("DryRun")), (true, false));
        let other = PolicySource { name: "q".into(), ..policy("DryRun", "Enabled") };
        let beside = PolicyChoice::among(vec![policy("Enforce", "Disabled"), other], Some("p")).unwrap();
        assert!(check_use(&beside, false, true).unwrap_err().0.contains("policy a/q keeps what is in use"));
        assert!(check_use(&beside, true, true).is_ok());
    }

    #[test]
    fn policies_of_files_never_run_beside_those_of_somebody_else() {
        for (runner, from_files, fine) in [
            (PolicyRunner::Files, false, true),
            (PolicyRunner::Files, true, false),
            (PolicyRunner::Operator, false, false),
            (PolicyRunner::Operator, true, false),
            (PolicyRunner::Nobody, false, false),
            (PolicyRunner::Nobody, true, true),
        ] {
            assert_eq!(check_runner(runner, from_files).is_ok(), fine, "{runner:?}");
        }
        assert!(check_runner(PolicyRunner::Operator, true).unwrap_err().0.contains("kubectl annotate"));
    }

    #[test]
    fn what_failed_or_waits_is_no_success() {
        let run = |state: &str, failed: u64| -> RunStatus {
            let status = json!({"run": "r", "policy": "a/p", "mode": "Enforce", "state": state,
                "createdAt": "2026-07-01T12:00:00Z", "result": {"deletedTags": 1, "deletedManifests": 0,
                "changedSincePlanned": 0, "failed": failed, "bytes": 0}});
            serde_json::from_value(status).unwrap()
        };
        assert!(verdict(&[run("Completed", 0)]).is_ok());
        assert!(verdict(&[run("Completed", 1)]).unwrap_err().to_string().contains("could not be deleted"));
        assert!(verdict(&[run("Interrupted", 0)]).is_err());
        let waits = verdict(&[run("AwaitingApproval", 0)]).unwrap_err();
        assert!(waits.downcast_ref::<Halted>().is_some());
        assert!(
            verdict(&[run("AwaitingApproval", 0), run("Failed", 0)]).unwrap_err().downcast_ref::<Halted>().is_none()
        );
    }
}
