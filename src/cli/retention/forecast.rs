//! What policies would do now, planned without a trace.

use serde::Serialize;

use crate::api::v1alpha1::{Mode, PlanDecision};
use crate::api::wire::{PlanReport, PlanRequest};

use crate::cli::output::OutputFormat;
use crate::cli::progress::while_waiting;
use crate::cli::registry_client::RegistryClient;

use super::policy_choice::PolicyChoice;
use super::sheet::Sheet;

/// What is printed.
#[derive(Debug, Serialize)]
struct Plans {
    plans: Vec<PlanReport>,
}

/// Prints what the chosen policies would do, each with the first lines of its plan: as many as the registry hands out.
///
/// # Errors
/// If the registry does not answer, or refuses.
pub(super) async fn show(
    client: &RegistryClient,
    choice: &PolicyChoice,
    only: Option<PlanDecision>,
    format: OutputFormat,
) -> anyhow::Result<()> {
    let decision = only.map(|only| format!("{only:?}"));
    let query: Vec<_> = decision.as_deref().map(|only| ("decision", only)).into_iter().collect();
    let mut plans = Vec::new();
    for policy in &choice.chosen {
        let request = PlanRequest { policy: policy.uid.clone(), policies: choice.all.clone() };
        let asked = client.post_long(&["retention", "plan"], &query, &request);
        plans.push(while_waiting(&format!("planning {}/{}", policy.namespace, policy.name), asked).await?);
    }
    format.print(&Plans { plans }, |Plans { plans }| plans.iter().map(text).collect::<Vec<_>>().join("\n"))
}

fn text(report: &PlanReport) -> String {
    let PlanReport { policy, mode, plan, message, lines, more, .. } = report;
    let mode = if *mode == Mode::DryRun { " (a dry run)" } else { "" };
    let message = message.as_deref().map(|message| format!(" ({message})")).unwrap_or_default();
    let head = format!("policy {policy}: a run{mode} would delete {} and keep {}{message}\n", plan.deletes, plan.keeps);
    // Only what is written as data can fail to be.
    let lines = Sheet::new(OutputFormat::Table).lines(lines).unwrap_or_default();
    let more = if *more { "There are more lines; --only shows those of one decision.\n" } else { "" };
    format!("{head}{lines}{more}Nobody was asked what is in use: a run in a cluster keeps that, too.\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_says_what_is_not_known_and_not_shown() {
        let report = json!({"policy": "a/p", "mode": "Enforce", "inUse": "Nobody", "more": true, "message": "too many",
            "lines": [{"reference": "app:v1", "decision": "Delete", "reason": "old"}],
            "plan": {"createdAt": "2026-07-01T12:00:00Z", "tagsInScope": 3, "deletes": 2, "keeps": 1,
                "protectedInUse": 0, "reclaimableBytes": 0}});
        let mut report: PlanReport = serde_json::from_value(report).unwrap();
        let said = text(&report);
        assert!(said.starts_with("policy a/p: a run would delete 2 and keep 1 (too many)\nDECISION"), "{said}");
        assert!(said.contains("app:v1") && said.contains("more lines") && said.contains("in use"), "{said}");
        (report.more, report.mode) = (false, Mode::DryRun);
        let said = text(&report);
        assert!(said.contains("a dry run") && !said.contains("more lines"), "{said}");
    }
}
