//! `lagan trash list|show|restore|purge|put`

mod restore;
mod target;
mod text;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};

use crate::api::wire::{Conflict, PurgeReport, RepositoryDeletion, RepositorySummary, TombstoneState, TombstoneView};
use crate::oci::{Reference, RepositoryName};

use super::exit::InvalidUsage;
use super::output::{OutputFormat, counted};
use super::registry_client::RegistryClient;
use super::registry_target::{RegistryTarget, TargetArguments};

use target::{Filter, Target, find, group_of, is_ulid, list};
use text::{entry_text, identified, list_table, whereabouts};

/// Look at what was deleted, bring it back, or give it up.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: OutputFormat,
    #[command(subcommand)]
    action: Action,
    // The last: its heading would stand over what follows.
    #[command(flatten)]
    target: TargetArguments,
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
        /// Only what was deleted together, by the group that `lagan trash show` names.
        #[arg(long)]
        group: Option<String>,
    },
    /// Show one entry with all that is known about it.
    Show {
        /// An entry's id, as the list has it.
        id: String,
    },
    /// Bring an image back, with its tags.
    Restore {
        /// REPOSITORY:TAG, REPOSITORY@DIGEST, or an entry's id; or REPOSITORY: all that was deleted from it last, at one
        /// go.
        what: Target,
        /// Bring back all that was deleted together with it.
        #[arg(long)]
        group: bool,
        /// What to do where a tag points to something else by now: leave everything, or move the tag back. What it
        /// pointed to goes to the trash.
        #[arg(long, value_enum, default_value_t)]
        conflict: OnConflict,
        /// Say what would be restored, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Give an entry up: it cannot be restored any more, and the next collection frees its space.
    Purge {
        /// An entry's id, REPOSITORY:TAG or REPOSITORY@DIGEST; or REPOSITORY: all that was deleted from it last, at one
        /// go.
        what: Target,
        /// Give up all that was deleted together with it.
        #[arg(long)]
        group: bool,
        /// Say what would be given up, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Put a whole repository into the trash.
    Put {
        /// Which one.
        repository: RepositoryName,
        /// Say what would be deleted, and change nothing.
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

/// Does what the command line says.
///
/// # Errors
/// If the registry does not answer, or refuses.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let target = RegistryTarget::find(&arguments.target).await?;
    let done = act(target.client(), arguments.action, arguments.output).await;
    target.close().await;
    done
}

async fn act(client: &RegistryClient, action: Action, output: OutputFormat) -> anyhow::Result<()> {
    match action {
        Action::List { repository, reference, group } => {
            let filter =
                Filter { repository: repository.as_ref(), reference: reference.as_ref(), group: group.as_deref() };
            output.print(&list(client, filter).await?, |entries| list_table(entries))
        }
        Action::Show { id } => {
            if !is_ulid(&id) {
                return Err(InvalidUsage(format!("{id:?} is no entry's id: `lagan trash list` shows them")).into());
            }
            let entry: TombstoneView = client.get(&["trash", &id], &[]).await?;
            output.print(&entry, entry_text)
        }
        Action::Restore { what, group, conflict, dry_run } => {
            let restore = restore::Restore { client, conflict: conflict.into(), output };
            if group || matches!(what, Target::Repository(_)) {
                restore.group(&what, dry_run).await
            } else {
                restore.entry(what, dry_run).await
            }
        }
        Action::Purge { what, group, dry_run } => purge(client, &what, group, dry_run, output).await,
        Action::Put { repository, dry_run } => {
            let path: Vec<&str> = std::iter::once("repositories").chain(repository.as_str().split('/')).collect();
            if dry_run {
                return output.print(&client.get(&path, &[]).await?, would_put);
            }
            output.print(&client.delete(&path, &[]).await?, put_text)
        }
    }
}

async fn purge(
    client: &RegistryClient,
    what: &Target,
    group: bool,
    dry_run: bool,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let Some(entry) = find(client, what).await? else {
        bail!(
            "the trash holds nothing of {what}, and only what is in it can be given up. What is not deleted yet, a client \
             deletes, or `lagan trash put REPOSITORY`"
        );
    };
    let is_group = group || matches!(what, Target::Repository(_));
    if dry_run {
        let entries = if is_group { group_of(client, &entry).await? } else { vec![entry] };
        return output.print(&PurgeReport { purged: entries }, |report| purge_text(report, "would give up"));
    }
    let report: PurgeReport = if is_group {
        let query = [("repository", entry.repository.as_str()), ("group", entry.group.as_str())];
        client.delete(&["trash"], &query).await?
    } else {
        client.delete(&["trash", &entry.id], &[]).await?
    };
    output.print(&report, |report| purge_text(report, "gave up"))
}

fn purge_text(report: &PurgeReport, did: &str) -> String {
    let line = |entry: &TombstoneView| {
        let tags = whereabouts(&entry.repository, &entry.moved_tags);
        let stays = match (tags.as_str(), entry.state) {
            ("", TombstoneState::Revived) => "; the same content was pushed again, and stays".to_owned(),
            ("", _) => String::new(),
            (tags, _) => format!("; {tags}, and stays"),
        };
        format!("{did} {}{stays}", identified(entry))
    };
    report.purged.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn would_put(summary: &RepositorySummary) -> String {
    let RepositorySummary { repository, manifests, tags } = summary;
    format!("would delete {repository}: {}, {}", counted(*manifests, "manifest"), counted(*tags, "tag"))
}

fn put_text(deleted: &RepositoryDeletion) -> String {
    let RepositoryDeletion { repository, group, manifests, tags, restorable_until } = deleted;
    format!(
        "deleted {repository}: {}, {}, as group {group}\n\
         until {restorable_until:.0}, `lagan trash restore {repository}` brings it back",
        counted(*manifests, "manifest"),
        counted(*tags, "tag")
    )
}
