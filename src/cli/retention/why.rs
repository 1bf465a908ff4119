//! `lagan retention why`

use anyhow::bail;

use crate::api::wire::{Explanation, PlanLine, PlannedVerdict, TombstoneState, TombstoneView};

use crate::cli::image::Image;
use crate::cli::output::OutputFormat;
use crate::cli::registry_client::RegistryClient;

/// Prints what the policies say about one image.
///
/// # Errors
/// If the registry does not answer, or knows nothing of the image.
pub(super) async fn show(
    client: &RegistryClient,
    image: &Image,
    flags: &str,
    format: OutputFormat,
) -> anyhow::Result<()> {
    let reference = image.reference.to_string();
    let query = [("repository", image.repository.as_str()), ("reference", reference.as_str())];
    let explanation: Explanation = client.get(&["retention", "why"], &query).await?;
    let Explanation { digest, planned, now, trash, .. } = &explanation;
    if digest.is_none() && trash.is_empty() && planned.is_empty() && now.is_empty() {
        bail!("{image} is not there, the trash has nothing of it, and no plan names it");
    }
    format.print(&explanation, |explanation| text(image, explanation, flags))
}

fn text(image: &Image, explanation: &Explanation, flags: &str) -> String {
    let Explanation { digest, planned, now, policies_of, trash, .. } = explanation;
    let mut parts = vec![match digest {
        Some(digest) => format!("{image} is there: {digest}"),
        None => format!("{image} is not there"),
    }];
    if let Some(told_at) = policies_of {
        parts.push(format!("Now, by the policies as of {told_at:.0}, whatever the cluster uses:"));
        if now.is_empty() {
            parts.push("  kept: no policy is about this repository".to_owned());
        }
        parts.extend(now.iter().map(|verdict| said(&verdict.policy, &verdict.line)));
    } else if digest.is_some() {
        parts.push("No policy has run yet, so none deletes it.".to_owned());
    }
    if !planned.is_empty() {
        parts.push("In the newest plans:".to_owned());
        parts.extend(planned.iter().map(planned_line));
    }
    if !trash.is_empty() {
        parts.push("In the trash:".to_owned());
        parts.extend(trash.iter().map(|entry| deleted(image, entry, flags)));
    }
    parts.join("\n")
}

fn said(policy: &str, line: &PlanLine) -> String {
    let PlanLine { reference, decision, rule, reason } = line;
    let rule = rule.as_ref().map(|rule| format!(", rule {rule}")).unwrap_or_default();
    format!("  {decision:?} {reference} (policy {policy}{rule}): {reason}")
}

fn planned_line(verdict: &PlannedVerdict) -> String {
    let waits = verdict.awaits.map(|awaits| format!("; waits for approval until {:.0}", awaits.expires_at));
    let (mode, at) = (verdict.mode, verdict.created_at);
    format!("{}; planned {at:.0} in mode {mode:?}{}", said(&verdict.policy, &verdict.line), waits.unwrap_or_default())
}

/// Who deleted it, why, until when it can come back, and with which line.
fn deleted(image: &Image, entry: &TombstoneView, flags: &str) -> String {
    let by = entry.policy.as_ref().map_or_else(|| entry.actor.clone(), |policy| format!("policy {policy}"));
    let what = format!("  deleted {:.0} by {by}: {}", entry.deleted_at, entry.reason);
    let how = match entry.state {
        TombstoneState::Restorable => {
            format!("; until {:.0}, `lagan trash restore{flags} {}` brings it back", entry.restorable_until, entry.id)
        }
        TombstoneState::Revived => format!("; {image} is there again"),
        TombstoneState::Missing => "; it cannot be restored: content that it needs is gone".to_owned(),
    };
    what + &how
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explanation(digest: Option<&str>) -> Explanation {
        let sha = format!("sha256:{}", "a".repeat(64));
        serde_json::from_value(json!({
            "repository": "app", "reference": "v1", "digest": digest.map(|_| &sha), "policiesOf": "2026-07-01T12:00:00Z",
            "planned": [{"policy": "team/p", "run": "r", "mode": "Enforce", "state": "AwaitingApproval",
                "createdAt": "2026-07-01T12:00:00Z", "awaits": {"brake": "Manual", "expiresAt": "2026-07-08T12:00:00Z"},
                "line": {"reference": "app:v1", "decision": "Delete", "rule": "ci", "reason": "not pushed within 1h"}}],
            "now": [{"policy": "team/p", "line": {"reference": "app:v1", "decision": "Keep", "reason": "immutable"}}],
            "trash": [{"id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "repository": "app", "kind": "Manifest", "digest": sha,
                "group": "g", "actor": "policy team/p", "reason": "rule ci: not pushed within 1h", "policy": "team/p",
                "deletedAt": "2026-06-01T12:00:00Z", "restorableUntil": "2026-06-08T12:00:00Z", "state": "Restorable"}],
        }))
        .unwrap()
    }

    #[test]
    fn text_says_who_decided_what_and_how_to_undo_it() {
        let image: Image = "app:v1".parse().unwrap();
        let said = text(&image, &explanation(Some("")), " --data d");
        for words in [
            "app:v1 is there: sha256:aaa",
            "Keep app:v1 (policy team/p): immutable",
            "Delete app:v1 (policy team/p, rule ci): not pushed within 1h; planned 2026-07-01T12:00:00Z in mode Enforce; waits for approval until 2026-07-08T12:00:00Z",
            "deleted 2026-06-01T12:00:00Z by policy team/p: rule ci: not pushed within 1h; until 2026-06-08T12:00:00Z, \
             `lagan trash restore --data d 01ARZ3NDEKTSV4RRFFQ69G5FAV` brings it back",
        ] {
            assert!(said.contains(words), "{words} is not in\n{said}");
        }
        assert!(text(&image, &explanation(None), "").starts_with("app:v1 is not there"));
    }
}
