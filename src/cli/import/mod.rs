//! `lagan import --from URL (--to URL | --data DIR)`: copies a whole registry over HTTP.
//!
//! [`selection`] says what is copied; [`remote`] talks to a registry, with the [`challenge`]s that it answers with and
//! [`retry`] for what fails; [`source`] asks it what it has. [`mod@target`] is where things go: another registry, or a
//! folder; [`blob_stream`] and [`blob_push`] are a blob's way there, over connections that may break. [`copier`] walks from a tag to everything that it needs, and [`report`] says what became of it.

mod blob_push;
mod blob_stream;
mod challenge;
mod copier;
mod failure;
mod locks;
mod remote;
mod report;
mod retry;
mod selection;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use futures::{StreamExt as _, stream};
use reqwest::Url;
use tokio::time::sleep;

use super::exit::InvalidUsage;
use super::output::OutputFormat;
use super::progress::Progress;
use super::registry::{UnservedRegistry, unserved_options};

use copier::Copier;
use remote::{Login, Remote};
use report::Tally;
use selection::Selection;
use source::Source;
use target::Target;

/// What `fuzz/` calls of this command.
#[cfg(any(test, fuzzing))]
pub(super) const FUZZ_TARGETS: &[crate::oci::fuzzing::Target] = &[("challenge", challenge::fuzz)];

/// How often the progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// How many tags are looked up ahead of those that are being copied.
const QUEUE: usize = 2;

/// Copy everything that another registry has: images, indexes, and what refers to them.
///
/// What is there already is left out, so an import that was cut off is simply started again. Every byte is verified.
/// The passwords come from `LAGAN_FROM_PASSWORD` and `LAGAN_TO_PASSWORD`, or from files.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address of the registry to copy from.
    #[arg(long, value_name = "URL")]
    from: Url,
    /// User to log in as there.
    #[arg(long, value_name = "NAME")]
    from_username: Option<String>,
    /// File with that user's password.
    #[arg(long, value_name = "FILE", requires = "from_username")]
    from_password_file: Option<PathBuf>,
    /// PEM file with the authority that signed that registry's certificate.
    #[arg(long, value_name = "FILE")]
    from_ca: Option<PathBuf>,
    /// Address of the registry to copy to.
    #[arg(long, value_name = "URL", required_unless_present = "data", conflicts_with = "data")]
    to: Option<Url>,
    /// User to log in as there.
    #[arg(long, value_name = "NAME", requires = "to")]
    to_username: Option<String>,
    /// File with that user's password.
    #[arg(long, value_name = "FILE", requires = "to_username")]
    to_password_file: Option<PathBuf>,
    /// PEM file with the authority that signed that registry's certificate.
    #[arg(long, value_name = "FILE", requires = "to")]
    to_ca: Option<PathBuf>,
    /// Folder of a registry that does not run, to copy into.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which repositories: names, or patterns such as `team/*`. Where all are names, the catalog is not asked for.
    #[arg(long, value_name = "PATTERN", num_args = 1.., default_value = "**")]
    repositories: Vec<String>,
    /// Which tags: names, or patterns such as `v*`.
    #[arg(long, value_name = "PATTERN", num_args = 1.., default_value = "*")]
    tags: Vec<String>,
    /// How many images are copied at the same time.
    #[arg(long, value_name = "COUNT", default_value = "4")]
    parallel: NonZeroUsize,
    /// Say what would be copied, and copy nothing.
    #[arg(long)]
    dry_run: bool,
    /// How to print the report.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

/// Does what the command line says.
///
/// # Errors
/// [`InvalidUsage`] for the command line; an error too where a single image could not be copied.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let selection = Selection::new(&arguments.repositories, &arguments.tags)?;
    let login = Login::new("FROM", arguments.from_username.as_ref(), arguments.from_password_file.as_ref())?;
    let source = Source(Arc::new(Remote::new("--from", &arguments.from, login, arguments.from_ca.as_ref())?));
    source.0.check().await?;
    let (target, folder) = target(&arguments).await?;
    let tally = Arc::new(Tally::new(arguments.dry_run));
    let copier = Copier::new(source, target, Arc::clone(&tally), arguments.dry_run);
    let copied = watched(copy(&copier, &selection, arguments.parallel.get()), &tally).await;
    drop(copier);
    if let Some(folder) = folder {
        folder.close().await;
    }
    copied?;
    let report = tally.report();
    arguments.output.print(&report, report::report_text)?;
    match report.failures.len() {
        0 => Ok(()),
        1 => anyhow::bail!("1 image was not copied: the report says why; start again to go on"),
        count => anyhow::bail!("{count} images were not copied: the report says why; start again to go on"),
    }
}

/// Where things go; with a folder's registry, which wants to be closed.
async fn target(arguments: &Arguments) -> anyhow::Result<(Target, Option<UnservedRegistry>)> {
    if let Some(directory) = &arguments.data {
        std::fs::create_dir_all(directory)
            .map_err(|error| InvalidUsage(format!("--data {}: {error}", directory.display())))?;
        let folder = UnservedRegistry::open_folder(directory, unserved_options()).await?;
        folder.catalog.adopt().await?;
        return Ok((Target::Folder(folder.catalog.clone()), Some(folder)));
    }
    let Some(to) = &arguments.to else {
        return Err(InvalidUsage("say where to copy to: --to URL, or --data DIR".to_owned()).into());
    };
    if to == &arguments.from {
        return Err(InvalidUsage(format!("--from and --to are both {to}")).into());
    }
    let login = Login::new("TO", arguments.to_username.as_ref(), arguments.to_password_file.as_ref())?;
    let remote = Remote::new("--to", to, login, arguments.to_ca.as_ref())?;
    remote.check().await?;
    Ok((Target::Remote(Box::new(remote)), None))
}

/// Copies each tag of each repository, some at a time.
async fn copy(copier: &Copier, selection: &Selection, parallel: usize) -> anyhow::Result<()> {
    let names = copier.repositories(selection).await?;
    copier.tally.expect(names.len());
    let tags = stream::iter(names)
        .map(|name| async move {
            let tags = copier.tags(&name, selection).await;
            stream::iter(tags.into_iter().map(move |tag| (name.clone(), tag)))
        })
        .buffered(QUEUE)
        .flatten();
    tags.for_each_concurrent(parallel, |(name, tag)| async move { copier.image(&name, &tag).await }).await;
    Ok(())
}

async fn watched<T>(work: impl Future<Output = T>, tally: &Tally) -> T {
    let mut progress = Progress::begin();
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(SHOW_EVERY) => progress.show(tally.percent(), &tally.in_words()),
        }
    }
}
