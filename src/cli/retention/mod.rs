//! `lagan retention convert|plan|why`

mod convert;
mod plan;
mod sheet;
mod why;

use clap::{Args, Subcommand, ValueEnum};

use crate::api::v1alpha1::PlanDecision;

use super::image::Image;
use super::output::OutputFormat;
use super::registry_target::{RegistryTarget, TargetArguments};

/// See what policies plan to delete and why an image stays or goes, and write policies.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the newest plan of each policy, line by line, sorted.
    Plan {
        /// Only of this policy: NAME, or NAMESPACE/NAME.
        policy: Option<String>,
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
        Action::Plan { policy, only, asked: Asked { output, target } } => {
            let target = RegistryTarget::find(&target).await?;
            let done = plan::show(target.client(), policy.as_deref(), only.map(PlanDecision::from), output).await;
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
