//! Imports between registries of this process, over connections that break.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::{
    Source,
    copier::Copier,
    copy,
    remote::{Login, Remote},
    report::{Report, Tally},
    selection::Selection,
    target::Target,
};
use crate::api::v1alpha1::Anonymous;
use crate::cli::registry::{clock, unserved_options};
use crate::http::{App, Authenticator, Metrics, Server, ServerOptions, Service, Settings};
use crate::oci::{Algorithm, Digest, Manifest, RepositoryName};
use crate::storage::driver::FilesystemDriver;
use crate::storage::{Catalog, PutManifest};

/// Eight breaks, which are more than what is tried of something that does not move.
const BLOB: usize = 4_000_000;
const BUDGET: u64 = 480_000;

struct Registry {
    address: SocketAddr,
    catalog: Catalog,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Registry {
    async fn start(htpasswd: Option<&std::path::Path>) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        });
        let folder = tempfile::tempdir().unwrap();
        let driver = Arc::new(FilesystemDriver::open(folder.path()).await.unwrap());
        let catalog = Catalog::open(driver, unserved_options(), clock()).await.unwrap();
        let metrics = Arc::new(Metrics::new());
        let app = Arc::new(App::new(catalog.clone(), Settings::default(), Arc::clone(&metrics)));
        let anonymous = if htpasswd.is_some() { Anonymous::None } else { Anonymous::All };
        let authenticator = Arc::new(Authenticator::new(anonymous, htpasswd).unwrap());
        let options = ServerOptions { max_connections: 64, drain_timeout: Duration::ZERO };
        let server = Server::new(Service::Registry { app, authenticator }, None, Arc::clone(&metrics), options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(server.serve(listener, stop.clone()));
        Self { address, catalog, metrics, stop, _folder: folder }
    }

    /// An image whose only layer is these bytes.
    async fn push(&self, tag: &str, layer: &[u8], algorithm: Algorithm) -> Digest {
        let repository = self.catalog.repository(&name());
        let mut descriptors = Vec::new();
        for content in [b"{}".as_slice(), layer] {
            let digest = Digest::of(Algorithm::Sha256, content);
            let mut upload = repository.create_upload().await.unwrap();
            upload.append(content.to_vec().into()).await.unwrap();
            upload.commit(&digest).await.unwrap();
            let media_type = "application/vnd.oci.image.layer.v1.tar";
            descriptors.push(serde_json::json!({ "mediaType": media_type, "digest": digest, "size": content.len() }));
        }
        let manifest = serde_json::json!({ "schemaVersion": 2, "config": descriptors[0], "layers": [descriptors[1]] });
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let put = PutManifest {
            digest: Some(Digest::of(algorithm, &bytes)),
            tags: vec![tag.parse().unwrap()],
            manifest: Manifest::parse(None, &bytes).unwrap(),
            bytes: bytes.into(),
            immutable: Vec::new(),
            actor: "test".to_owned(),
        };
        repository.put_manifest(put).await.unwrap()
    }

    fn requests(&self) -> u64 {
        let page = self.metrics.encode();
        let counted = page.lines().filter(|line| line.starts_with("lagan_http_requests_total{"));
        counted.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

fn name() -> RepositoryName {
    "team/app".parse().unwrap()
}

/// In front of a registry: ends each connection once so many bytes went one way. The addresses that it gives and takes, and
/// how many bytes went that way in all.
async fn breaking(behind: SocketAddr, down: u64, up: u64) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let passed = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&passed);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let server = TcpStream::connect(behind).await.unwrap();
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                tokio::select! {
                    () = pass(&mut from_client, &mut to_server, up, &counted) => {}
                    () = pass(&mut from_server, &mut to_client, down, &counted) => {}
                }
            });
        }
    });
    (address, passed)
}

async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut budget: u64,
    counted: &AtomicU64,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        counted.fetch_add(read as u64, Ordering::SeqCst);
        budget = budget.saturating_sub(read as u64);
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() || budget == 0 {
            return;
        }
    }
}

fn remote(flag: &'static str, address: SocketAddr) -> Remote {
    Remote::new(flag, &format!("http://{address}").parse::<Url>().unwrap(), None, None).unwrap()
}

async fn import(from: SocketAddr, to: SocketAddr) -> Report {
    let tally = Arc::new(Tally::new(false));
    let target = Target::Remote(Box::new(remote("--to", to)));
    let copier = Copier::new(Source(Arc::new(remote("--from", from))), target, Arc::clone(&tally), false);
    copy(&copier, &Selection::new(&["**".to_owned()], &["*".to_owned()]).unwrap(), 2).await.unwrap();
    tally.report()
}

fn layer() -> Vec<u8> {
    (0..BLOB as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).to_le_bytes()[0]).collect()
}

#[tokio::test]
async fn a_source_that_breaks_off_again_and_again_is_gone_on_with() {
    let (source, target) = (Registry::start(None).await, Registry::start(None).await);
    source.push("v1", &layer(), Algorithm::Sha256).await;
    let (address, passed) = breaking(source.address, BUDGET, u64::MAX).await;
    let report = import(address, target.address).await;
    assert_eq!((report.failures.len(), report.tags_copied, report.blobs_copied), (0, 1, 2), "{report:?}");
    assert_eq!(report.bytes_copied, BLOB as u64 + 2);
    let passed = passed.load(Ordering::SeqCst);
    assert!(passed < 2 * BLOB as u64, "{passed} bytes were asked for");
}

#[tokio::test]
async fn a_target_that_breaks_off_again_and_again_is_sent_only_what_it_lacks() {
    let (source, target) = (Registry::start(None).await, Registry::start(None).await);
    source.push("v1", &layer(), Algorithm::Sha256).await;
    let (address, passed) = breaking(target.address, u64::MAX, BUDGET).await;
    let report = import(source.address, address).await;
    assert_eq!((report.failures.len(), report.tags_copied, report.blobs_copied), (0, 1, 2), "{report:?}");
    assert_eq!(report.bytes_copied, BLOB as u64 + 2);
    let passed = passed.load(Ordering::SeqCst);
    assert!(passed < 2 * BLOB as u64, "{passed} bytes were sent");
}

#[tokio::test]
async fn a_tag_of_a_sha512_manifest_is_copied_once() {
    let (source, target) = (Registry::start(None).await, Registry::start(None).await);
    let digest = source.push("v1", b"layer", Algorithm::Sha512).await;
    let report = import(source.address, target.address).await;
    assert_eq!((report.failures.len(), report.tags_copied), (0, 1), "{report:?}");
    let tagged = target.catalog.repository(&name()).stat_manifest(&"v1".parse().unwrap()).await.unwrap();
    assert_eq!(tagged.digest, digest);
    let report = import(source.address, target.address).await;
    assert_eq!((report.tags_copied, report.tags_present), (0, 1), "{report:?}");
}

#[tokio::test]
async fn a_wrong_password_is_said_at_once() {
    let users = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(users.path(), format!("reader:{}\n", bcrypt::hash("right", 4).unwrap())).unwrap();
    let source = Registry::start(Some(users.path())).await;
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "wrong\n").unwrap();
    let login = Login::new("FROM", Some(&"reader".to_owned()), Some(&password.path().to_owned())).unwrap();
    let base: Url = format!("http://{}", source.address).parse().unwrap();
    let error = Remote::new("--from", &base, login, None).unwrap().check().await.unwrap_err();
    assert!(error.to_string().contains("the password is another one"), "{error}");
    assert_eq!(source.requests(), 2, "one without a name, and one with it");
}
