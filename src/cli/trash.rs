//! `lagan trash list|show|restore`

use clap::{Args, Subcommand, ValueEnum};

use crate::api::wire::{
    Conflict, RestoreReferenceRequest, RestoreReport, RestoreRequest, TombstoneKind, TombstoneState, TombstoneView,
    TrashPage,
};
use crate::oci::{Reference, RepositoryName};

use super::exit::InvalidUsage;
use super::output::{self, OutputFormat};
use super::registry_client::{RegistryArguments, RegistryClient};

/// How many entries to ask for at a time. The answer stays below a megabyte even where closures are long.
const PAGE: &str = "500";

/// Look at what was deleted, and bring it back.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    registry: RegistryArguments,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: OutputFormat,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what can be restored, newest first.
    List {
        /// Only what was in this repository.
        #[arg(long)]
        repository: Option<RepositoryName>,
        /// Only what this tag or digest would bring back.
        #[arg(long, requires = "repository")]
        reference: Option<Reference>,
    },
    /// Show one entry with all that is known about it.
    Show {
        /// An entry's id, as the list has it.
        id: String,
    },
    /// Bring an image back, with its tags.
    Restore {
        /// REPOSITORY:TAG, REPOSITORY@DIGEST, or an entry's id.
        what: Target,
        /// What to do where a tag points to something else by now: leave everything, or move the tag back. What it
        /// pointed to goes to the trash.
        #[arg(long, value_enum, default_value_t)]
        conflict: OnConflict,
        /// Say what would be restored, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum OnConflict {
    #[default]
    Fail,
    Replace,
}

impl From<OnConflict> for Conflict {
    fn from(choice: OnConflict) -> Self {
        match choice {
            OnConflict::Fail => Self::Fail,
            OnConflict::Replace => Self::Replace,
        }
    }
}

/// What to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Entry(String),
    Image { repository: RepositoryName, reference: Reference },
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (repository, reference) = match text.split_once('@').or_else(|| text.rsplit_once(':')) {
            Some(parts) => parts,
            None if is_ulid(text) => return Ok(Self::Entry(text.to_ascii_uppercase())),
            None => return Err("write REPOSITORY:TAG, REPOSITORY@DIGEST, or an id from `lagan trash list`".to_owned()),
        };
        Ok(Self::Image {
            repository: repository.parse().map_err(|error| format!("repository {repository:?}: {error}"))?,
            reference: reference.parse().map_err(|error| format!("tag or digest {reference:?}: {error}"))?,
        })
    }
}

fn is_ulid(text: &str) -> bool {
    ulid::Ulid::from_string(text).is_ok()
}

/// Does what the command line says.
///
/// # Errors
/// If the registry does not answer, or refuses.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = RegistryClient::new(&arguments.registry)?;
    match arguments.action {
        Action::List { repository, reference } => {
            let entries = list(&client, repository.as_ref(), reference.as_ref()).await?;
            arguments.output.print(&entries, |entries| list_table(entries))
        }
        Action::Show { id } => {
            if !is_ulid(&id) {
                return Err(InvalidUsage(format!("{id:?} is no entry's id: `lagan trash list` shows them")).into());
            }
            let entry: TombstoneView = client.get(&["trash", &id], &[]).await?;
            arguments.output.print(&entry, entry_text)
        }
        Action::Restore { what, dry_run: true, .. } => {
            let entry = found(&client, &what).await?;
            if entry.state == TombstoneState::Missing {
                let id = &entry.id;
                anyhow::bail!("{} cannot be restored: content that {id} needs is gone", described(&entry));
            }
            arguments.output.print(&entry, |entry| format!("would restore {}", described(entry)))
        }
        Action::Restore { what, conflict, dry_run: false } => {
            let report = restore(&client, what, conflict.into()).await?;
            arguments.output.print(&report, report_text)
        }
    }
}

async fn list(
    client: &RegistryClient,
    repository: Option<&RepositoryName>,
    reference: Option<&Reference>,
) -> anyhow::Result<Vec<TombstoneView>> {
    let reference = reference.map(Reference::to_string);
    let mut entries = Vec::new();
    let mut last: Option<String> = None;
    loop {
        let mut query = vec![("n", PAGE)];
        query.extend(repository.map(|name| ("repository", name.as_str())));
        query.extend(reference.as_deref().map(|text| ("reference", text)));
        query.extend(last.as_deref().map(|id| ("last", id)));
        let page: TrashPage = client.get(&["trash"], &query).await?;
        entries.extend(page.entries);
        match page.next {
            Some(next) => last = Some(next),
            None => return Ok(entries),
        }
    }
}

/// The entry that a restore would bring back: of several, the newest.
async fn found(client: &RegistryClient, what: &Target) -> anyhow::Result<TombstoneView> {
    match what {
        Target::Entry(id) => client.get(&["trash", id], &[]).await,
        Target::Image { repository, reference } => list(client, Some(repository), Some(reference))
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| anyhow::anyhow!("the trash holds nothing for {repository} {reference}")),
    }
}

async fn restore(client: &RegistryClient, what: Target, conflict: Conflict) -> anyhow::Result<RestoreReport> {
    match what {
        Target::Entry(id) => client.post(&["trash", &id, "restore"], &RestoreRequest { conflict }).await,
        Target::Image { repository, reference } => restore_image(client, repository, reference, conflict).await,
    }
}

/// The registry leaves a tag that is there as it is. Who says `--conflict replace` wants what the tag was before.
async fn restore_image(
    client: &RegistryClient,
    repository: RepositoryName,
    reference: Reference,
    conflict: Conflict,
) -> anyhow::Result<RestoreReport> {
    let request = RestoreReferenceRequest { repository: repository.clone(), reference: reference.clone(), conflict };
    let report: RestoreReport = client.post(&["restore"], &request).await?;
    if !report.already_present || matches!(reference, Reference::Digest(_)) || conflict != Conflict::Replace {
        return Ok(report);
    }
    let entries = list(client, Some(&repository), Some(&reference)).await?;
    match entries.into_iter().find(|entry| entry.digest != report.digest) {
        Some(entry) => client.post(&["trash", &entry.id, "restore"], &RestoreRequest { conflict }).await,
        None => Ok(report),
    }
}

fn list_table(entries: &[TombstoneView]) -> String {
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
fn described(entry: &TombstoneView) -> String {
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

fn entry_text(entry: &TombstoneView) -> String {
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
        ("needs", format!("{} manifests and blobs", entry.closure.len())),
    ];
    rows.iter().map(|(name, value)| format!("{name:<17} {value}")).collect::<Vec<_>>().join("\n")
}

fn report_text(report: &RestoreReport) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_a_tag_a_digest_or_an_id() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let image = |repository: &str, reference: &str| Target::Image {
            repository: repository.parse().unwrap(),
            reference: reference.parse().unwrap(),
        };
        assert_eq!("team/app:1.2".parse(), Ok(image("team/app", "1.2")));
        assert_eq!(format!("team/app@{digest}").parse(), Ok(image("team/app", &digest)));
        assert_eq!("01arz3ndektsv4rrffq69g5fav".parse(), Ok(Target::Entry("01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned())));
    }

    #[test]
    fn target_that_names_nothing_says_what_to_write() {
        let error = "app".parse::<Target>().unwrap_err();
        assert!(error.contains("REPOSITORY:TAG"), "{error}");
        let error = "App:1".parse::<Target>().unwrap_err();
        assert!(error.contains("repository \"App\""), "{error}");
    }
}
