//! `lagan retention convert`: another registry's policy as a `RetentionPolicy`.
//!
//! *Guarantees*: what comes out is what an API server takes. It decides as the other system does, but for what its
//! remarks say, and but for what Lagan always does: a dry run first, limits, and nothing that is in use. Where
//! something cannot be said exactly, what comes out keeps more; a remark says so where that is not so.

mod draft;
mod duration;
mod ecr;
#[cfg(test)]
mod equivalence;
mod harbor;
mod pattern;
mod zot;

use std::{
    fs,
    io::{self, Read, Write},
};

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::cli::exit::InvalidUsage;
use crate::cli::output;

use draft::{Draft, Keeps, Remark};

/// The largest policy that is read, in bytes. Harbor's and ECR's have a few kilobytes; a whole configuration of zot
/// has not much more.
const MAX_BYTES: u64 = 4 << 20;

/// Write another registry's retention policy as one for Lagan.
///
/// What cannot be translated is said on standard error, and in comments. The policy only plans until its mode is changed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Whose policy it is.
    #[arg(long, value_enum)]
    from: System,
    /// Harbor: the JSON of its API. zot: its configuration. ECR: the JSON of a lifecycle policy. - is standard input.
    file: String,
    /// The Registry that the policy is for.
    #[arg(long, default_value = "registry")]
    registry: String,
    /// What the policy is called. The system's name where it is not given; further ones get a number.
    #[arg(long)]
    name: Option<String>,
    /// ECR: a pattern of the repositories that have the policy; may be given several times.
    #[arg(long)]
    repository: Vec<String>,
    /// Harbor: the project that has the policy, as it is called in the names of repositories.
    #[arg(long)]
    project: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum System {
    /// Harbor.
    Harbor,
    /// zot.
    Zot,
    /// Amazon ECR.
    Ecr,
}

impl System {
    /// Its name, for people, and for objects.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Harbor => ("Harbor", "harbor"),
            Self::Zot => ("zot", "zot"),
            Self::Ecr => ("Amazon ECR", "ecr"),
        }
    }
}

/// What a policy of another system is in Lagan.
#[derive(Debug, Default)]
struct Translation {
    /// One policy for each set of repositories.
    drafts: Vec<Draft>,
    /// What it does not say, and what is not as it was.
    remarks: Vec<Remark>,
}

impl Translation {
    /// Says that something is not as it was.
    fn remark(&mut self, place: impl Into<String>, text: impl Into<String>) {
        let remark = Remark { place: place.into(), text: text.into() };
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }
}

/// What is said of a rank by pulls alone, which is none here.
fn of_a_rank_by_pulls(place: &str, system: &str, count: u64, translation: &mut Translation) -> Keeps {
    let words = format!(
        "{system} ranks by pulls alone, and what was never pulled comes last; here a push counts as a use, so that new images \
         would take the places of pulled ones, which would go. So all of the rule's tags stay; mostRecentlyPulled: {count} is \
         for those who accept that"
    );
    translation.remark(place, words);
    Keeps::Always
}

/// Says what a rank by pushes goes by here, where the system goes by an image's first push.
fn remark_on_first_pushes(place: &str, system: &str, translation: &mut Translation) {
    let words = format!(
        "{system} goes by when an image was pushed first, and here it is when it was pushed last, by any of its tags: one that \
         gets a tag later is a new one here, and takes the place of another, which goes. This DELETES MORE"
    );
    translation.remark(place, words);
}

/// Whether a glob has an alternative of nothing, as in `v1{,-rc}`, which no glob here has.
fn has_empty_alternative(glob: &str) -> bool {
    ["{,", ",,", ",}", "{}"].iter().any(|empty| glob.contains(empty))
}

/// Prints the policies.
///
/// # Errors
/// [`InvalidUsage`] if the text is not what it is said to be, or cannot be translated at all.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let text = read(&arguments.file)?;
    let (yaml, remarks) = convert(arguments, &text)?;
    for remark in &remarks {
        // A reader who has gone away misses it.
        let _ = writeln!(io::stderr(), "lagan: {remark}");
    }
    output::print(&yaml)
}

fn convert(arguments: &Arguments, text: &str) -> Result<(String, Vec<Remark>), InvalidUsage> {
    let (title, name) = arguments.from.names();
    let wrong = |message: String| InvalidUsage(format!("{}: {message}", shown(&arguments.file)));
    let translation = match arguments.from {
        System::Harbor => harbor::translate(text, arguments.project.as_deref()),
        System::Zot => zot::translate(text),
        System::Ecr => ecr::translate(text, &arguments.repository),
    };
    let translation = translation.map_err(wrong)?;
    let name = arguments.name.as_deref().unwrap_or(name);
    let documents = translation.drafts.iter().enumerate().map(|(at, draft)| {
        let name = if at == 0 { name.to_owned() } else { format!("{name}-{}", at + 1) };
        draft.to_yaml(&name, &arguments.registry).map_err(wrong)
    });
    let documents: Vec<String> = documents.collect::<Result<_, _>>()?;
    let mut yaml = format!("# Translated from {title}. mode is DryRun: read what it plans, then say Enforce.\n");
    for remark in &translation.remarks {
        yaml.extend(["# ", &remark.to_string(), "\n"]);
    }
    yaml.push_str(&documents.join("---\n"));
    Ok((yaml, translation.remarks))
}

fn read(file: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if file == "-" {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text)
    } else {
        let opened = fs::File::open(file).with_context(|| format!("could not read {file}"))?;
        opened.take(MAX_BYTES + 1).read_to_string(&mut text)
    };
    match read {
        Ok(length) if u64::try_from(length).is_ok_and(|length| length <= MAX_BYTES) => Ok(text),
        Ok(_) => Err(InvalidUsage(format!("{}: it is larger than {MAX_BYTES} bytes", shown(file))).into()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(InvalidUsage(format!("{}: it is no text", shown(file))).into())
        }
        Err(error) => Err(error).with_context(|| format!("could not read {}", shown(file))),
    }
}

fn shown(file: &str) -> &str {
    if file == "-" { "standard input" } else { file }
}
