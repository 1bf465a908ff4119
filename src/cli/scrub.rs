//! `lagan scrub [--data DIR | --config FILE | --registry URL] [--repair]`

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use crate::api;
use crate::api::wire::{FindingPage, FindingView, ScrubRequest, ScrubState, ScrubStatus, Treatment};

use super::exit::FoundDamage;
use super::output::{self, OutputFormat, counted};
use super::progress::{self, Progress};
use super::registry_client::RegistryClient;
use super::registry_target::{RegistryTarget, TargetArguments};

/// How often the scrub is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many findings to ask for at a time.
const PAGE: usize = 500;

/// Hash everything that a registry stores, look at every link and record, and report or mend what is wrong.
///
/// A registry is asked for it: --registry; or, on this machine, by its folder, whether or not a process serves it: --data,
/// or --config with the configuration of `lagan serve`. Pushes and pulls go on meanwhile. Nothing is lost: damaged bytes
/// are moved to lagan/v1/quarantine.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Mend what can be mended.
    #[arg(long)]
    repair: bool,
    /// Report only, which is also what happens without --repair.
    #[arg(long, conflicts_with = "repair")]
    dry_run: bool,
    /// An upload to which nothing came for this long is abandoned, such as 168h.
    #[arg(long, value_name = "AGE", default_value = "168h")]
    uploads_older_than: api::Duration,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
    // The last: its heading would stand over what follows.
    #[command(flatten)]
    target: TargetArguments,
}

/// Everything that a scrub says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(flatten)]
    status: ScrubStatus,
    findings: Vec<FindingView>,
}

/// Does what the command line says.
///
/// # Errors
/// [`FoundDamage`] where damage is left; else if the registry does not answer, the folder is in use, or something cannot
/// be read.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let request =
        ScrubRequest { repair: arguments.repair, uploads_older_than: Some(arguments.uploads_older_than.clone()) };
    let target = RegistryTarget::find(&arguments.target).await?;
    let scrubbed = scrub(target.client(), &request).await;
    target.close().await;
    let report = scrubbed?;
    arguments.output.print(&report, report_text)?;
    match report.status.state {
        ScrubState::Finished if report.status.damage == 0 => Ok(()),
        ScrubState::Finished => Err(FoundDamage(format!("{} damaged", counted(report.status.damage, "thing"))).into()),
        ScrubState::Interrupted => anyhow::bail!("the registry stopped before the scrub was over"),
        ScrubState::Failed | ScrubState::Running => {
            anyhow::bail!("the scrub failed: {}", report.status.message.unwrap_or_default())
        }
    }
}

async fn scrub(client: &RegistryClient, request: &ScrubRequest) -> anyhow::Result<Report> {
    let mut progress = Progress::begin();
    let mut status: ScrubStatus = client.post(&["scrub"], request).await?;
    let begun = status.id.clone();
    while status.state == ScrubState::Running {
        sleep(LOOK_EVERY).await;
        status = client.get(&["scrub"], &[]).await?;
        if status.id != begun {
            anyhow::bail!("scrub {begun} broke off, and somebody began another one, {}", status.id);
        }
        show(&mut progress, &status);
    }
    let mut findings = Vec::new();
    let mut last: Option<String> = None;
    loop {
        let limit = PAGE.to_string();
        let query: Vec<(&str, &str)> =
            [("n", limit.as_str())].into_iter().chain(last.as_deref().map(|last| ("last", last))).collect();
        let page: FindingPage = client.get(&["scrub", "findings"], &query).await?;
        findings.extend(page.findings);
        match page.next {
            Some(next) if last.as_ref() == Some(&next) => {
                anyhow::bail!("the registry repeats its page of findings after {next}")
            }
            Some(next) => last = Some(next),
            None => return Ok(Report { status, findings }),
        }
    }
}

fn show(progress: &mut Progress, status: &ScrubStatus) {
    let so_far = &status.progress;
    // The blobs are nearly all of it: what follows reads small files.
    let percent = if so_far.phase == "blobs" { so_far.blobs_percent.min(99) } else { 99 };
    let looked_at = format!(
        "{}: {} ({}), {}, {}, {} damaged",
        so_far.phase,
        counted(so_far.blobs, "blob"),
        progress::bytes(so_far.bytes),
        counted(so_far.repositories, "repository"),
        counted(so_far.manifests, "manifest"),
        status.damage
    );
    progress.show(percent, &looked_at);
}

fn report_text(report: &Report) -> String {
    let header = ["WHAT", "WHERE", "DONE", "DETAIL"];
    let rows = report.findings.iter().map(|finding| {
        vec![format!("{:?}", finding.kind), place(finding), done(finding).to_owned(), finding.detail.clone()]
    });
    let mut text = if report.findings.is_empty() { String::new() } else { output::table(&header, rows) + "\n\n" };
    let found: u64 = report.status.found.values().map(|count| count.found).sum();
    let kept = report.findings.len() as u64;
    if found > kept {
        text = format!("{text}{} more are not shown.\n", found - kept);
    }
    text + &summary(&report.status)
}

fn place(finding: &FindingView) -> String {
    match (&finding.repository, &finding.tag, &finding.digest) {
        (Some(repository), Some(tag), _) => format!("{repository}:{tag}"),
        (Some(repository), None, Some(digest)) => format!("{repository}@{digest}"),
        (None, _, Some(digest)) => digest.to_string(),
        _ => finding.path.clone(),
    }
}

fn done(finding: &FindingView) -> &'static str {
    match finding.treatment {
        Treatment::Repaired => "repaired",
        Treatment::Reported if finding.is_damage => "damaged",
        Treatment::Beyond if finding.is_damage => "cannot be repaired",
        Treatment::Reported | Treatment::Beyond => "noted",
    }
}

fn summary(status: &ScrubStatus) -> String {
    let so_far = &status.progress;
    let looked_at = format!(
        "{} ({}) hashed; {} and {} of {}, {} of the trash",
        counted(so_far.blobs, "blob"),
        progress::bytes(so_far.bytes),
        counted(so_far.manifests, "manifest"),
        counted(so_far.tags, "tag"),
        counted(so_far.repositories, "repository"),
        counted(so_far.trash, "entry")
    );
    let repaired: u64 = status.found.values().map(|count| count.repaired).sum();
    let result = match (status.damage, repaired) {
        (0, 0) => "nothing is damaged".to_owned(),
        (0, repaired) => format!("{} repaired, nothing is damaged", counted(repaired, "thing")),
        (damage, 0) => format!("{} damaged", counted(damage, "thing")),
        (damage, repaired) => format!("{} repaired, {} damaged", counted(repaired, "thing"), counted(damage, "thing")),
    };
    format!("{looked_at}: {result}.")
}
