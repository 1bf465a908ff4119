//! A registry in this process, on a folder.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use lagan::api::v1alpha1::Anonymous;
use lagan::http::{App, Authenticator, Metrics, Server, ServerOptions, Service, Settings};
use lagan::maintenance::{Collections, Scrubs};
use lagan::storage::driver::FilesystemDriver;
use lagan::storage::{Catalog, Clock, DeletionMode, Options};
use rustix::time::{ClockId, clock_gettime};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::client::Client;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// The machine's clock: a collection compares the ages of files with it.
#[derive(Debug)]
struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let now = clock_gettime(ClockId::Realtime);
        Timestamp::new(now.tv_sec, i32::try_from(now.tv_nsec).unwrap()).unwrap()
    }

    fn boot_time(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
    }
}

/// A registry that serves, until it is stopped.
pub(crate) struct Registry {
    pub(crate) client: Client,
    driver: FilesystemDriver,
    catalog: Catalog,
    collections: Collections,
    scrubs: Scrubs,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Registry {
    /// Opens a folder as `lagan serve` does, which recovers it.
    pub(crate) async fn open(data: &Path) -> Result<Self, String> {
        let driver =
            FilesystemDriver::open(data).await.map_err(|error| format!("the folder does not open: {error}"))?;
        let metrics = Arc::new(Metrics::new());
        let clock: Arc<dyn Clock> = Arc::new(MachineClock);
        let options = Options {
            deletion: DeletionMode::Soft,
            restore_window: WEEK,
            cache_entries: 1000,
            redis: None,
            metrics: metrics.storage().clone(),
        };
        let text = |error: &dyn std::error::Error| format!("the store does not open: {error}: {:?}", error.source());
        let catalog =
            Catalog::open(Arc::new(driver.clone()), options, Arc::clone(&clock)).await.map_err(|e| text(&e))?;
        catalog.adopt().await.map_err(|e| text(&e))?;
        let collections = Collections::open(catalog.clone(), Arc::clone(&clock), WEEK).await.map_err(|e| text(&e))?;
        let scrubs = Scrubs::new(catalog.clone(), clock);
        let app = App::new(catalog.clone(), Settings::default(), Arc::clone(&metrics));
        let app = Arc::new(app.with_scrubs(scrubs.clone()).with_collections(collections.clone()));
        let authenticator = Arc::new(Authenticator::new(Anonymous::All, None).unwrap());
        let service = Service::Registry { app, authenticator };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()));
        let drain_timeout = Duration::from_millis(200);
        let server = Server::new(service, None, metrics, ServerOptions { max_connections: 64, drain_timeout });
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(server.serve(listener, shutdown.clone()));
        Ok(Self { client, driver, catalog, collections, scrubs, shutdown, server })
    }

    /// Ends it without a word to the store, once nothing runs.
    pub(crate) async fn abandon(self) {
        self.shutdown.cancel();
        self.server.await.unwrap();
        self.catalog.drain().await;
        self.collections.shutdown().await;
        self.scrubs.shutdown().await;
    }

    /// Ends it in order.
    pub(crate) async fn close(self) {
        let driver = self.driver.clone();
        self.abandon().await;
        driver.close().await.unwrap();
    }
}
