//! Which registry a command means: one that is reached over the network, or one in a folder of this machine.

use std::path::PathBuf;

use clap::Args;

use super::config::Config;
use super::local_registry::LocalRegistry;
use super::registry_client::{RegistryArguments, RegistryClient};

/// Which registry, and who asks.
#[derive(Debug, Args)]
pub(super) struct TargetArguments {
    #[command(flatten)]
    registry: RegistryArguments,
    /// Folder of a registry on this machine, whether or not a process serves it; needs no password.
    #[arg(long, value_name = "DIR", conflicts_with = "config", global = true, help_heading = "Registry")]
    data: Option<PathBuf>,
    /// The same, by the configuration of `lagan serve`.
    #[arg(long, value_name = "FILE", global = true, help_heading = "Registry")]
    config: Option<PathBuf>,
}

impl TargetArguments {
    /// The same once more, for a command that a message shows: with a space before each flag.
    pub(super) fn as_flags(&self) -> String {
        match (&self.data, &self.config) {
            (Some(directory), _) => format!(" --data {}", directory.display()),
            (None, Some(file)) => format!(" --config {}", file.display()),
            (None, None) => self.registry.as_flags(),
        }
    }
}

/// A registry that can be asked.
#[derive(Debug)]
pub(super) enum RegistryTarget {
    /// Over the network.
    Remote(RegistryClient),
    /// On this machine.
    Local(LocalRegistry),
}

impl RegistryTarget {
    /// Finds it.
    ///
    /// # Errors
    /// If what the command line says cannot be used, or a folder can neither be held nor be asked about.
    pub(super) async fn find(arguments: &TargetArguments) -> anyhow::Result<Self> {
        Ok(match (&arguments.data, &arguments.config) {
            (Some(directory), _) => Self::Local(LocalRegistry::reach(directory, None).await?),
            (None, Some(file)) => {
                let config = Config::load(file, None)?.into_inner();
                Self::Local(LocalRegistry::of_config(&config).await?)
            }
            (None, None) => Self::Remote(RegistryClient::new(&arguments.registry)?),
        })
    }

    /// By which it is asked.
    pub(super) fn client(&self) -> &RegistryClient {
        match self {
            Self::Remote(client) => client,
            Self::Local(local) => &local.client,
        }
    }

    /// Whether it is asked with all that its configuration says of it: of a folder that nobody serves, this process knows
    /// only what `--config` says.
    pub(super) fn is_configured(&self, arguments: &TargetArguments) -> bool {
        match self {
            Self::Remote(_) => true,
            Self::Local(local) => arguments.config.is_some() || !local.is_held_here(),
        }
    }

    /// Lets it go.
    pub(super) async fn close(self) {
        match self {
            Self::Remote(_) => {}
            Self::Local(local) => local.close().await,
        }
    }
}
