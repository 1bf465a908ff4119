//! `lagan retention plan`

use anyhow::bail;

use crate::api::v1alpha1::PlanDecision;
use crate::api::wire::{PlanPage, RunList, RunStatus};

use crate::cli::output::{self, OutputFormat};
use crate::cli::registry_client::RegistryClient;

use super::sheet::Sheet;

/// How many lines to ask for at a time: what the registry reads at once.
const PAGE: &str = "1000";

/// Prints the newest plan of each policy, or of one, page by page: none is ever held whole.
///
/// # Errors
/// If the registry does not answer, or knows no plan of the policy.
pub(super) async fn show(
    client: &RegistryClient,
    policy: Option<&str>,
    only: Option<PlanDecision>,
    format: OutputFormat,
) -> anyhow::Result<()> {
    let RunList { runs } = client.get(&["retention", "runs"], &[]).await?;
    let plans = stored(runs, policy);
    if let (Some(policy), true) = (policy, plans.is_empty()) {
        bail!("no plan of a policy {policy} is stored: its first run makes one");
    }
    let mut sheet = Sheet::new(format);
    if !output::go_on(&sheet.begin(plans.is_empty()))? {
        return Ok(());
    }
    for plan in &plans {
        if !output::go_on(&sheet.plan(plan)?)? || !lines(client, plan, only, &mut sheet).await? {
            return Ok(());
        }
    }
    output::go_on(&sheet.end()).map(drop)
}

/// The runs whose plans are stored, of each policy the newest, by the policies' names. `runs` come newest first.
fn stored(runs: Vec<RunStatus>, policy: Option<&str>) -> Vec<RunStatus> {
    let is_meant =
        |name: &str| policy.is_none_or(|policy| name == policy || name.split('/').next_back() == Some(policy));
    let mut plans: Vec<RunStatus> = Vec::new();
    for run in runs.into_iter().filter(|run| run.plan_lines.is_some() && is_meant(&run.policy)) {
        if !plans.iter().any(|known| known.policy == run.policy) {
            plans.push(run);
        }
    }
    plans.sort_by(|a, b| a.policy.cmp(&b.policy));
    plans
}

/// Prints the lines of a plan; whether somebody still reads.
async fn lines(
    client: &RegistryClient,
    plan: &RunStatus,
    only: Option<PlanDecision>,
    sheet: &mut Sheet,
) -> anyhow::Result<bool> {
    let decision = only.map(|only| format!("{only:?}"));
    let mut last: Option<u64> = None;
    loop {
        let mut query = vec![("n", PAGE)];
        query.extend(decision.as_deref().map(|only| ("decision", only)));
        let after = last.map(|last| last.to_string());
        query.extend(after.as_deref().map(|last| ("last", last)));
        let page: PlanPage = client.get(&["retention", "runs", &plan.run, "plan"], &query).await?;
        if !output::go_on(&sheet.lines(&page.lines)?)? {
            return Ok(false);
        }
        match page.next {
            Some(next) if last.is_some_and(|last| next <= last) => {
                anyhow::bail!("the registry does not go on with the plan: behind line {next} it points to line {next}")
            }
            Some(next) => last = Some(next),
            None => return output::go_on(&sheet.end_of_plan()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(id: &str, policy: &str, lines: Option<u64>) -> RunStatus {
        let status = json!({"run": id, "policy": policy, "mode": "DryRun", "state": "Completed",
            "createdAt": "2026-07-01T12:00:00Z", "planLines": lines});
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn newest_stored_plan_of_each_policy_is_shown_by_name() {
        let runs = || {
            vec![run("5", "b/p", None), run("4", "b/p", Some(1)), run("3", "a/p", Some(1)), run("2", "b/p", Some(9))]
        };
        let shown = |policy| stored(runs(), policy).into_iter().map(|run| run.run).collect::<Vec<_>>();
        assert_eq!(shown(None), ["3", "4"]);
        assert_eq!(shown(Some("p")), ["3", "4"]);
        assert_eq!(shown(Some("b/p")), ["4"]);
        assert!(shown(Some("b")).is_empty());
    }
}
