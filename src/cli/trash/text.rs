//! What of the trash is printed for people.

use crate::api::wire::{MovedTag, RestoreReport, TombstoneKind, TombstoneView};
use crate::oci::RepositoryName;

use crate::cli::output::{self, counted};

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
                format!("{:?}", entry.state),
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
        (_, [tag, others @ ..]) => format!("{}:{tag} (+{})", entry.repository, counted(others.len() as u64, "tag")),
    }
}

/// Where tags point by now.
pub(super) fn whereabouts(repository: &RepositoryName, moved: &[MovedTag]) -> String {
    let each = moved.iter().map(|MovedTag { tag, digest }| format!("{repository}:{tag} points to {digest} by now"));
    each.collect::<Vec<_>>().join(", ")
}

/// An entry in one line, with what tells it from others of the same name.
pub(super) fn identified(entry: &TombstoneView) -> String {
    let by = entry.policy.as_ref().unwrap_or(&entry.actor);
    let place = format!("entry {}, {}", entry.id, entry.digest);
    format!("{} ({place}, deleted at {:.0} by {by})", described(entry), entry.deleted_at)
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
        ("state", format!("{:?}", entry.state)),
        ("group", entry.group.clone()),
        ("needs", counted(entry.closure.len() as u64, "blob")),
    ];
    let moved =
        (!entry.moved_tags.is_empty()).then(|| ("moved tags", whereabouts(&entry.repository, &entry.moved_tags)));
    rows.iter().chain(&moved).map(|(name, value)| format!("{name:<17} {value}")).collect::<Vec<_>>().join("\n")
}

/// What was restored.
pub(super) fn report_text(report: &RestoreReport) -> String {
    let place = format!("{}@{}", report.repository, report.digest);
    let tags: Vec<String> = report.tags.iter().map(|tag| format!("{}:{tag}", report.repository)).collect();
    let what = if tags.is_empty() { place } else { format!("{} ({})", tags.join(", "), report.digest) };
    if report.already_present { format!("{what} is there already") } else { format!("restored {what}") }
}
