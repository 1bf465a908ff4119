//! `lagan retention plan|run|why|convert`

mod convert;
mod forecast;
mod plan;
mod policy_choice;
mod run;
mod sheet;
mod why;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::api::v1alpha1::PlanDecision;

use super::image::Image;
use super::output::OutputFormat;
use super::registry_target::{RegistryTarget, TargetArguments};

use policy_choice::PolicyChoice;

/// See what policies plan to delete and why an image stays or goes, run policies, and write them.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the newest plan of each policy, line by line, sorted; or, with --file, what policies in files would do.
    Plan {
        /// Only of this policy: NAME, or NAMESPACE/NAME.
        policy: Option<String>,
        /// Plan the policies in this YAML file now, without a trace, instead of showing what was planned. - is standard
        /// input. What other policies keep counts only if they are in the files, too.
        #[arg(short, long = "file", value_name = "FILE")]
        file: Vec<PathBuf>,
        /// Only what goes, or only what stays.
        #[arg(long, value_enum)]
        only: Option<Only>,
        #[command(flatten)]
        asked: Asked,
    },
    /// Say what the policies say about one image, also after it was deleted.
    Why {
        /// REPOSITORY:TAG or REPOSITORY@DIGEST.
        image: Image,
        #[command(flatten)]
        asked: Asked,
    },
    Run(run::Arguments),
    Convert(convert::Arguments),
}

/// Which registry is asked, and how its answer is printed.
#[derive(Debug, Args)]
struct Asked {
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
    // The last: its heading would stand over what follows.
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Only {
    Delete,
    Keep,
}

impl From<Only> for PlanDecision {
    fn from(only: Only) -> Self {
        match only {
            Only::Delete => Self::Delete,
            Only::Keep => Self::Keep,
        }
    }
}

/// Does what `lagan retention` was asked to.
///
/// # Errors
/// If the registry does not answer, or refuses, or nothing is known of what was asked for; else what each action says.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::Convert(arguments) => convert::run(&arguments),
        Action::Run(arguments) => run::run(arguments).await,
        Action::Plan { policy, file, only, asked: Asked { output, target } } => {
            let only = only.map(PlanDecision::from);
            let chosen = match file.as_slice() {
                [] => None,
                files => Some(PolicyChoice::of_files(files, policy.as_deref())?),
            };
            let target = RegistryTarget::find(&target).await?;
            let done = match chosen {
                None => plan::show(target.client(), policy.as_deref(), only, output).await,
                Some(chosen) => forecast::show(target.client(), &chosen, only, output).await,
            };
            target.close().await;
            done
        }
        Action::Why { image, asked: Asked { output, target: arguments } } => {
            let target = RegistryTarget::find(&arguments).await?;
            let done = why::show(target.client(), &image, &arguments.as_flags(), output).await;
            target.close().await;
            done
        }
    }
}
