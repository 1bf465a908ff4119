//! `lagan gc [--dry-run] [--confirm REPORT] [--registry URL | --data DIR | --config FILE]`

use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::api::wire::{
    CollectionHalt, CollectionProblem, CollectionRequest, CollectionState, CollectionStatus, YoungGarbage,
};

use super::exit::Halted;
use super::output::{OutputFormat, counted};
use super::progress::{self, Progress};
use super::registry_client::RegistryClient;
use super::registry_target::{RegistryTarget, TargetArguments};

/// How often the collection is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Free the space of what nothing needs any more, while the registry serves.
///
/// Nothing is removed that the trash can restore, that a manifest needs, or that is younger than the grace period. Where
/// much more would go than is to be expected, it stops and asks: its report says why, and --confirm lets it go on.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Say what would be removed, and remove nothing.
    #[arg(long, conflicts_with = "confirm")]
    dry_run: bool,
    /// Go on with what a brake stopped: the id of its report, which somebody has read.
    #[arg(long, value_name = "REPORT")]
    confirm: Option<String>,
    /// Begin nothing: say what runs, or what the last one did.
    #[arg(long, conflicts_with_all = ["dry_run", "confirm"])]
    status: bool,
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
/// [`Halted`] where a brake stopped it; else if the registry does not answer, or something cannot be read.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let target = RegistryTarget::find(&arguments.target).await?;
    let collected = collect(target.client(), &arguments).await;
    target.close().await;
    let status = collected?;
    let how_to_confirm = how_to_confirm(&status, &arguments.target.as_flags());
    if arguments.status {
        return arguments.output.print(&status, |status| report_text(status) + &how_to_confirm);
    }
    arguments.output.print(&status, report_text)?;
    match status.state {
        CollectionState::Finished => Ok(()),
        CollectionState::Halted => Err(Halted(format!("nothing was removed{how_to_confirm}")).into()),
        CollectionState::Interrupted => {
            anyhow::bail!("the collection was interrupted: {}", status.message.unwrap_or_default())
        }
        CollectionState::Failed | CollectionState::Running => {
            anyhow::bail!("the collection failed: {}", status.message.unwrap_or_default())
        }
    }
}

async fn collect(client: &RegistryClient, arguments: &Arguments) -> anyhow::Result<CollectionStatus> {
    if arguments.status {
        return client.get(&["gc"], &[]).await;
    }
    let request = CollectionRequest { dry_run: arguments.dry_run, confirm: arguments.confirm.clone() };
    let mut progress = Progress::begin();
    let mut status: CollectionStatus = client.post(&["gc"], &request).await?;
    let begun = status.id.clone();
    while status.state == CollectionState::Running {
        sleep(LOOK_EVERY).await;
        status = client.get(&["gc"], &[]).await?;
        if status.id != begun {
            anyhow::bail!("collection {begun} broke off, and somebody began another one, {}", status.id);
        }
        show(&mut progress, &status);
    }
    Ok(status)
}

fn show(progress: &mut Progress, status: &CollectionStatus) {
    let so_far = &status.progress;
    // How long marking takes is not known before its end; the sweep is counted.
    let percent = match so_far.phase.as_str() {
        "sweep" => 50 + (so_far.swept.saturating_mul(49) / status.garbage.blobs.max(1)).min(49),
        "clean" => 99,
        "mark" => 25,
        _ => 0,
    };
    let text = format!(
        "{}: {}, {}, {}, {} of {} of garbage dealt with",
        so_far.phase,
        counted(so_far.blobs, "blob"),
        counted(so_far.repositories, "repository"),
        counted(so_far.manifests, "manifest"),
        so_far.swept,
        counted(status.garbage.blobs, "blob")
    );
    progress.show(percent, &text);
}

fn report_text(status: &CollectionStatus) -> String {
    let mut lines: Vec<String> = status.problems.iter().map(problem).collect();
    let more = status.problem_count.saturating_sub(status.problems.len() as u64);
    if more > 0 {
        lines.push(format!("Not shown: {}.", counted(more, "more problem")));
    }
    lines.push(summary(status));
    lines.extend(status.young.as_ref().map(young));
    lines.extend(status.halt.as_ref().map(|halt| halted(status, halt)));
    lines.join("\n")
}

fn problem(problem: &CollectionProblem) -> String {
    let place = match (&problem.repository, &problem.digest) {
        (Some(repository), Some(digest)) => format!("{repository}@{digest}: "),
        (Some(repository), None) => format!("{repository}: "),
        (None, Some(digest)) => format!("{digest}: "),
        (None, None) => String::new(),
    };
    format!("damaged: {place}{}", problem.message)
}

fn summary(status: &CollectionStatus) -> String {
    let CollectionStatus { id, state, progress, garbage, removed, kept, .. } = status;
    let looked_at = format!(
        "{id}: {}, {} of {}",
        counted(progress.blobs, "blob"),
        counted(progress.manifests, "manifest"),
        counted(progress.repositories, "repository")
    );
    let found = format!("{} ({}) of garbage", counted(garbage.blobs, "blob"), progress::bytes(garbage.bytes));
    let gone = format!("{} ({})", counted(removed.blobs, "blob"), progress::bytes(removed.bytes));
    let uploads = counted(status.uploads_purged, "abandoned upload");
    let also = format!("; {uploads}, {} of the trash", counted(status.tombstones_expired, "expired entry"));
    match state {
        CollectionState::Running => format!("{looked_at}: going on ({})", progress.phase),
        CollectionState::Finished if status.dry_run => format!("{looked_at}: would remove {found}."),
        CollectionState::Finished => {
            let kept = if *kept == 0 { String::new() } else { format!(", {kept} kept, which are needed again") };
            format!("{looked_at}: removed {gone}{kept}{also}.")
        }
        CollectionState::Halted => format!("{looked_at}: found {found}, and stopped before removing any of it."),
        CollectionState::Failed | CollectionState::Interrupted => {
            format!("{looked_at}: removed {gone}, and broke off.")
        }
    }
}

fn halted(status: &CollectionStatus, halt: &CollectionHalt) -> String {
    if status.dry_run {
        return format!("A collection would stop before that: {}", halt.message);
    }
    halt.message.clone()
}

/// What lets a collection go on that a brake stopped, if something does. `target` says where.
fn how_to_confirm(status: &CollectionStatus, target: &str) -> String {
    let is_confirmable = status.halt.as_ref().is_some_and(|halt| halt.confirmable);
    if status.state != CollectionState::Halted || !is_confirmable {
        return String::new();
    }
    format!(". If what the report says is right: lagan gc --confirm {}{target}", status.id)
}

/// What waits, and until when.
fn young(young: &YoungGarbage) -> String {
    let YoungGarbage { blobs, bytes, until, grace_seconds } = young;
    let grace = match (grace_seconds / 3600, grace_seconds % 3600) {
        (hours, 0) => format!("{hours}h"),
        _ => format!("{}m", grace_seconds / 60),
    };
    format!(
        "Garbage, but younger than the grace period of {grace}: {} ({}); a collection after {until:.0} removes the last of it.",
        counted(*blobs, "blob"),
        progress::bytes(*bytes)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(state: &str, dry_run: bool) -> CollectionStatus {
        serde_json::from_value(json!({
            "id": "01J0", "state": state, "dryRun": dry_run, "startedAt": "2026-07-01T04:00:00Z",
            "progress": {"phase": "sweep", "blobs": 9, "repositories": 1, "manifests": 2, "swept": 3},
            "garbage": {"blobs": 3, "bytes": 3072}, "removed": {"blobs": 2, "bytes": 2048}, "kept": 1,
            "uploadsPurged": 4, "tombstonesExpired": 5, "problemCount": 0,
        }))
        .unwrap()
    }

    #[test]
    fn report_says_what_went_or_would_go_and_how_much() {
        let text = report_text(&status("Finished", false));
        let expected = "01J0: 9 blobs, 2 manifests of 1 repository: removed 2 blobs (2.00 KiB), 1 kept, which are \
                        needed again; 4 abandoned uploads, 5 expired entries of the trash.";
        assert_eq!(text, expected);
        let text = report_text(&status("Finished", true));
        assert!(text.contains("would remove 3 blobs (3.00 KiB) of garbage"), "{text}");
        let mut dry = status("Finished", true);
        let halt = json!({"brake": "TooMuch", "confirmable": true, "message": "33 % of the blobs would go"});
        dry.halt = Some(serde_json::from_value(halt).unwrap());
        let text = report_text(&dry);
        assert!(text.contains("would stop before that: 33 %") && !text.contains("--confirm"), "{text}");
    }

    #[test]
    fn report_of_a_halt_says_how_to_go_on_where_that_helps() {
        let mut halted = status("Halted", false);
        for (confirmable, command) in [(true, true), (false, false)] {
            let halt = json!({"brake": "TooMuch", "confirmable": confirmable, "message": "33 % of the blobs would go"});
            halted.halt = Some(serde_json::from_value(halt).unwrap());
            let text = report_text(&halted);
            assert!(text.contains("stopped before removing any") && text.contains("33 %"), "{text}");
            let hint = how_to_confirm(&halted, " --data there");
            assert_eq!(hint.contains("lagan gc --confirm 01J0 --data there"), command, "{hint}");
        }
    }

    #[test]
    fn report_says_what_waits_for_the_grace_period_and_until_when() {
        let mut young = status("Finished", false);
        assert!(!report_text(&young).contains("younger"));
        let (until, bytes) = ("2026-07-02T03:00:00.123Z".parse().unwrap(), 2048);
        young.young = Some(YoungGarbage { blobs: 1, bytes, until, grace_seconds: 24 * 3600 });
        let text = report_text(&young);
        let expected = "younger than the grace period of 24h: 1 blob (2.00 KiB); a collection after 2026-07-02T03:00:00Z \
                        removes";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn problems_are_named_with_their_place_and_the_rest_is_counted() {
        let mut damaged = status("Finished", false);
        damaged.problem_count = 12;
        damaged.problems = vec![CollectionProblem {
            repository: Some("app".parse().unwrap()),
            digest: None,
            message: "a manifest is unreadable: all of the repository was kept".to_owned(),
        }];
        let text = report_text(&damaged);
        assert!(text.starts_with("damaged: app: a manifest is unreadable"), "{text}");
        assert!(text.contains("11 more problems"), "{text}");
    }
}
