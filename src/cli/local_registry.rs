//! A registry in a folder, reached by a command of this machine: through the process that holds the folder, or, where
//! none does, by holding it for as long as the command takes.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::serve_config::{ServeConfig, UploadsConfig};
use crate::http::{App, Metrics, Server, Service, Settings};
use crate::maintenance::{Collections, RetentionRuns, Scrubs};
use crate::storage::{StorageMetrics, Timing};

use super::exit::InvalidUsage;
use super::listener::client_options;
use super::local_socket::{self, OwnSocket, SocketPath};
use super::registry::{self, UnservedRegistry, unserved_options};
use super::registry_client::RegistryClient;
use super::registry_folder::refuse_other;

/// How long the last answer may take at the end: it is being written when the command has it.
const DRAIN: Duration = Duration::from_secs(1);

/// A registry in a folder, which answers.
#[derive(Debug)]
pub(super) struct LocalRegistry {
    /// By which it is asked.
    pub(super) client: RegistryClient,
    /// What this process holds, if it does.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    registry: UnservedRegistry,
    scrubs: Scrubs,
    collections: Collections,
    runs: RetentionRuns,
    server: JoinHandle<()>,
    stop: CancellationToken,
    socket: OwnSocket,
}

impl LocalRegistry {
    /// Reaches the registry in a folder, which is as `config` says where nobody serves it.
    ///
    /// # Errors
    /// [`InvalidUsage`] where there is no such folder, or no registry in it; else if it can neither be held nor be asked.
    pub(super) async fn reach(directory: &Path, config: Option<&ServeConfig>) -> anyhow::Result<Self> {
        refuse_other(directory)?;
        let metrics = StorageMetrics::new();
        let (options, timing) = match config {
            Some(config) => (registry::options(config, None, metrics), registry::timing(config)),
            None => (unserved_options(), Timing::default()),
        };
        let held = match UnservedRegistry::try_open(directory, options, timing).await? {
            Some(registry) => Some(Held::serve(registry, directory, config).await?),
            None => None,
        };
        let place = directory.display();
        let socket = SocketPath::of(directory).with_context(|| format!("could not use {place}"))?;
        Ok(Self { client: RegistryClient::local(socket, directory)?, held })
    }

    /// As [`Self::reach`], of what a configuration of `lagan serve` names.
    ///
    /// # Errors
    /// [`InvalidUsage`] of object storage; else as [`Self::reach`].
    pub(super) async fn of_config(config: &ServeConfig) -> anyhow::Result<Self> {
        match config.storage.directory() {
            Some(directory) => Self::reach(directory, Some(config)).await,
            None => Err(InvalidUsage(format!(
                "{}: of object storage the registry itself is asked: give its --registry URL",
                config.storage
            ))
            .into()),
        }
    }

    /// Whether this process holds the folder, because no other one serves it.
    pub(super) fn is_held_here(&self) -> bool {
        self.held.is_some()
    }

    /// Waits for what is in progress, and gives the folder back.
    pub(super) async fn close(self) {
        if let Some(held) = self.held {
            held.close().await;
        }
    }
}

impl Held {
    async fn serve(registry: UnservedRegistry, directory: &Path, config: Option<&ServeConfig>) -> anyhow::Result<Self> {
        let uploads = config.map_or_else(UploadsConfig::default, |config| config.uploads.clone());
        let expire_after = uploads.expire_after.as_std();
        let (listener, socket) =
            local_socket::bind(directory).with_context(|| format!("could not listen in {}", directory.display()))?;
        let scrubs = Scrubs::new(registry.catalog.clone(), registry::clock());
        let collections = Collections::open(registry.catalog.clone(), registry::clock(), expire_after).await;
        let collections = collections.context("could not read what was collected before")?;
        let access_mode = settings(config).access_mode;
        let immutable = config.map(registry::immutable_tags).transpose()?.unwrap_or_default();
        let runs = RetentionRuns::open(registry.catalog.clone(), access_mode, immutable, registry::clock()).await;
        let runs = runs.context("could not read what policies did before")?;
        let metrics = Arc::new(Metrics::new());
        let app = App::new(registry.catalog.clone(), settings(config), Arc::clone(&metrics));
        let app = app.with_scrubs(scrubs.clone()).with_collections(collections.clone()).with_runs(runs.clone());
        let stop = CancellationToken::new();
        let server = Server::new(Service::Control { app: Arc::new(app) }, None, metrics, client_options(DRAIN));
        let server = tokio::spawn(server.serve_local(listener, stop.clone()));
        Ok(Self { registry, scrubs, collections, runs, server, stop, socket })
    }

    async fn close(self) {
        drop(self.socket);
        self.stop.cancel();
        // It ends by itself then; that it was cut off says nothing that matters any more.
        let _ = self.server.await;
        self.runs.shutdown().await;
        self.collections.shutdown().await;
        self.scrubs.shutdown().await;
        self.registry.close().await;
    }
}

fn settings(config: Option<&ServeConfig>) -> Settings {
    let default = Settings::default();
    match config {
        Some(config) => {
            Settings { access_mode: config.access_mode, garbage_collection: config.garbage_collection.mode, ..default }
        }
        None => default,
    }
}
