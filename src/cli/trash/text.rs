//! What of the trash is printed for people.

use crate::api::wire::{RestoreReport, TombstoneKind, TombstoneState, TombstoneView};

use crate::cli::output;

/// A list of entries.
pub(super) fn list_table(entries: &[TombstoneView]) -> String {
    if entries.is_empty() {
        return "The trash is empty.".to_owned();
    }
    let header = ["ID", "WHAT", "DELETED", "BY", "RESTORABLE UNTIL", "STATE", "REASON"];
    output::table(
        &header,
        entries.iter().map(|entry| {
            vec![
                entry.id.clone(),
                described(entry),
                format!("{:.0}", entry.deleted_at),
                entry.policy.clone().unwrap_or_else(|| entry.actor.clone()),
                format!("{:.0}", entry.restorable_until),
                state(entry.state).to_owned(),
                entry.reason.clone(),
            ]
        }),
    )
}

/// `repository:tag` for what a person would call it by, `repository@digest` for the rest.
pub(super) fn described(entry: &TombstoneView) -> String {
    match (entry.kind, entry.tags.as_slice()) {
        (TombstoneKind::Blob, _) => format!("{}@{} (blob)", entry.repository, entry.digest),
        (_, []) => format!("{}@{}", entry.repository, entry.digest),
        (_, [tag]) => format!("{}:{tag}", entry.repository),
        (_, [tag, others @ ..]) => format!("{}:{tag} (+{} tags)", entry.repository, others.len()),
    }
}

fn state(state: TombstoneState) -> &'static str {
    match state {
        TombstoneState::Restorable => "restorable",
        TombstoneState::Revived => "visible again",
        TombstoneState::Missing => "missing",
    }
}

/// One entry with all that is known about it.
pub(super) fn entry_text(entry: &TombstoneView) -> String {
    let tags: Vec<&str> = entry.tags.iter().map(crate::oci::Tag::as_str).collect();
    let rows = [
        ("id", entry.id.clone()),
        ("repository", entry.repository.to_string()),
        ("digest", entry.digest.to_string()),
        ("tags", if tags.is_empty() { "none".to_owned() } else { tags.join(", ") }),
        ("deleted", entry.deleted_at.to_string()),
        ("by", entry.policy.as_ref().map_or_else(|| entry.actor.clone(), |policy| format!("policy {policy}"))),
        ("reason", entry.reason.clone()),
        ("restorable until", entry.restorable_until.to_string()),
        ("state", state(entry.state).to_owned()),
        ("group", entry.group.clone()),
        ("needs", format!("{} manifests and blobs", entry.closure.len())),
    ];
    rows.iter().map(|(name, value)| format!("{name:<17} {value}")).collect::<Vec<_>>().join("\n")
}

/// What was restored.
pub(super) fn report_text(report: &RestoreReport) -> String {
    let place = format!("{}@{}", report.repository, report.digest);
    let tags: Vec<String> = report.tags.iter().map(|tag| format!("{}:{tag}", report.repository)).collect();
    match (report.already_present, tags.as_slice()) {
        (true, []) => return format!("{place} is there already: nothing was restored"),
        (true, _) => {
            return format!(
                "{} is there already, as {}: nothing was restored; --conflict replace brings back what it was before",
                tags.join(", "),
                report.digest
            );
        }
        (false, _) => {}
    }
    match tags.as_slice() {
        [] => format!("restored {place}"),
        _ => format!("restored {} ({})", tags.join(", "), report.digest),
    }
}
