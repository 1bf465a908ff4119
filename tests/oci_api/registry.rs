//! A registry to test, and how to talk to it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Once,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use lagan::api::v1alpha1::{AccessMode, Anonymous, GarbageCollectionMode};
use lagan::api::wire::ErrorBody;
use lagan::http::{App, Authenticator, Metrics, Server, ServerOptions, Service, Settings, TlsIdentity};
use lagan::maintenance::{Collections, RetentionRuns};
use lagan::oci::{Algorithm, Digest};
use lagan::retention::ImmutableTags;
use lagan::storage::driver::FilesystemDriver;
use lagan::storage::{Catalog, Clock, DeletionMode, Options};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Noon of a day, and so many seconds more as a test says.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Shows when a file was written, which is about now.
    pub(crate) fn show_time_of(&self, file: &Path) {
        let written = Timestamp::try_from(file.metadata().unwrap().modified().unwrap()).unwrap();
        self.pass(written.duration_since(self.now()).as_secs());
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let noon: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        noon + SignedDuration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn boot_time(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

/// What a test wants of its registry.
pub(crate) struct Setup {
    pub(crate) anonymous: Anonymous,
    pub(crate) htpasswd: Option<PathBuf>,
    pub(crate) access_mode: AccessMode,
    pub(crate) deletion: DeletionMode,
    pub(crate) garbage_collection: GarbageCollectionMode,
    pub(crate) max_manifest_size: u64,
    pub(crate) max_blob_size: Option<u64>,
    pub(crate) drain_timeout: Duration,
    /// Whether pulls of blobs go to the storage, if it has addresses.
    pub(crate) redirects: bool,
    /// Tags of every repository that never move.
    pub(crate) immutable_tags: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            anonymous: Anonymous::All,
            htpasswd: None,
            access_mode: AccessMode::ReadWrite,
            deletion: DeletionMode::Soft,
            garbage_collection: GarbageCollectionMode::Online,
            max_manifest_size: 4 << 20,
            max_blob_size: None,
            drain_timeout: Duration::from_secs(30),
            redirects: false,
            immutable_tags: Vec::new(),
        }
    }
}

/// A registry that serves a folder until it is dropped.
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    pub(crate) app: Arc<App>,
    pub(crate) catalog: Catalog,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) client: Client,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<()>,
    pub(crate) folder: TempDir,
    credentials: Option<(String, String)>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        Self::on(tempfile::tempdir().unwrap(), setup).await
    }

    pub(crate) async fn on(folder: TempDir, setup: Setup) -> Self {
        install_crypto();
        let metrics = Arc::new(Metrics::new());
        let clock = Arc::new(TestClock::default());
        let (app, catalog) = app(&folder, &setup, metrics.clone(), clock.clone()).await;
        let authenticator = Arc::new(Authenticator::new(setup.anonymous, setup.htpasswd.as_deref()).unwrap());
        let service = Service::Registry { app: app.clone(), authenticator };
        let shutdown = CancellationToken::new();
        let (address, server) = serve(service, None, metrics.clone(), setup.drain_timeout, shutdown.clone()).await;
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { address, app, catalog, metrics, clock, client, shutdown, server, folder, credentials: None }
    }

    /// Sends these credentials from now on.
    pub(crate) fn log_in(&mut self, user: &str, password: &str) {
        self.credentials = Some((user.to_owned(), password.to_owned()));
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let path = path.strip_prefix(&format!("http://{}", self.address)).unwrap_or(path);
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        match &self.credentials {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn head(&self, path: &str) -> Response {
        self.request(Method::HEAD, path).send().await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        self.request(Method::DELETE, path).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str) -> Response {
        self.request(Method::POST, path).send().await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        self.request(Method::PUT, path).body(body).send().await.unwrap()
    }

    pub(crate) async fn patch(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        self.request(Method::PATCH, path).body(body).send().await.unwrap()
    }

    /// Ends it, and gives its folder back.
    pub(crate) async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        self.server.await.unwrap();
        drop((self.app, self.catalog));
        self.folder
    }

    /// How many requests are being answered.
    pub(crate) fn in_flight(&self) -> i64 {
        let page = self.metrics.encode();
        let line = page.lines().find(|line| line.starts_with("lagan_http_requests_in_flight ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Begins an upload and returns its location.
    pub(crate) async fn begin_upload(&self, name: &str) -> String {
        let begun = self.post(&format!("/v2/{name}/blobs/uploads/")).await;
        assert_eq!(begun.status(), StatusCode::ACCEPTED);
        header(&begun, "location")
    }

    pub(crate) async fn push_blob(&self, name: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, content);
        let location = self.begin_upload(name).await;
        let done = self.put(&format!("{location}?digest={digest}"), content.to_vec()).await;
        assert_eq!(done.status(), StatusCode::CREATED, "{}", done.text().await.unwrap());
        digest
    }
}

/// The registry's content under a folder.
pub(crate) async fn app(
    folder: &TempDir,
    setup: &Setup,
    metrics: Arc<Metrics>,
    clock: Arc<TestClock>,
) -> (Arc<App>, Catalog) {
    let driver = FilesystemDriver::open(folder.path()).await.unwrap();
    let options = Options {
        deletion: setup.deletion,
        restore_window: Duration::from_secs(7 * 24 * 3600),
        cache_entries: 1000,
        redis: None,
        metrics: metrics.storage().clone(),
    };
    let catalog = Catalog::open(Arc::new(driver), options, clock.clone()).await.unwrap();
    catalog.adopt().await.unwrap();
    catalog.begin_pulls().await.unwrap();
    let mut immutable = ImmutableTags::none();
    if !setup.immutable_tags.is_empty() {
        immutable.add(&["**".to_owned()], &setup.immutable_tags).unwrap();
    }
    let immutable = Arc::new(immutable);
    let settings = Settings {
        access_mode: setup.access_mode,
        garbage_collection: setup.garbage_collection,
        max_manifest_size: setup.max_manifest_size,
        max_blob_size: setup.max_blob_size,
        immutable_tags: Arc::clone(&immutable),
        redirect_for: setup.redirects.then_some(Duration::from_secs(60)),
        ..Settings::default()
    };
    let runs = RetentionRuns::open(catalog.clone(), setup.access_mode, immutable, clock.clone()).await.unwrap();
    let collections = Collections::open(catalog.clone(), clock, Duration::from_secs(7 * 24 * 3600)).await.unwrap();
    let app = App::new(catalog.clone(), settings, metrics).with_runs(runs).with_collections(collections);
    (Arc::new(app), catalog)
}

/// Serves on a free port of the loopback interface.
pub(crate) async fn serve(
    service: Service,
    tls: Option<TlsIdentity>,
    metrics: Arc<Metrics>,
    drain_timeout: Duration,
    shutdown: CancellationToken,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(service, tls, metrics, ServerOptions { max_connections: 128, drain_timeout });
    (address, tokio::spawn(server.serve(listener, shutdown)))
}

/// reqwest is built without a provider of its own.
pub(crate) fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap());
}

/// A header's value; empty where it is missing.
pub(crate) fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// The codes of an answer that is an error, after its status was checked.
pub(crate) async fn error(response: Response, status: u16) -> ErrorBody {
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(response.status().as_u16(), status, "{}", response.text().await.unwrap());
    let body: ErrorBody = response.json().await.unwrap();
    assert!(!body.errors.is_empty());
    body
}

/// Checks that an answer is one error of this status and code.
pub(crate) async fn expect_error(response: Response, status: u16, code: &str) -> Option<serde_json::Value> {
    let mut body = error(response, status).await;
    assert_eq!(body.errors[0].code, code, "{body:?}");
    body.errors.remove(0).detail
}
