//! The registry under load.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use crate::{
    connection::Connection, environment::variable_of_tests_run, holes::Holes, s3::s3_fields, server::Server,
    versitygw::objects_under,
};

/// A process with a store of its own, open to everybody.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) server: Arc<Server>,
    tls: Option<TlsConnector>,
    _holes: Option<Arc<Holes>>,
    _folder: Arc<TempDir>,
    objects: Option<Arc<Objects>>,
}

/// Where the S3 server keeps what one registry stores in its bucket, until it is dropped.
struct Objects(PathBuf);

impl Drop for Objects {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Registry {
    pub(crate) fn on_folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::on_folder_with(folder, "", None)
    }

    pub(crate) fn on_folder_with_tls() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = write_certificate(folder.path());
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name).display().to_string());
        Self::on_folder_with(folder, &format!("tls: {{certificate: {certificate}, key: {key}}}\n"), Some(tls))
    }

    fn on_folder_with(folder: TempDir, more: &str, tls: Option<TlsConnector>) -> Self {
        let data = folder.path().join("data");
        let storage = format!("{more}storage: {{filesystem: {{directory: {}}}}}", data.display());
        Self { _holes: Some(Arc::new(Holes::dug_in(&data))), ..Self::started(folder, &storage, tls) }
    }

    /// One that stores in a bucket of the S3 server that `tests/run` has started.
    pub(crate) fn on_bucket() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prefix = ulid::Ulid::generate().to_string();
        let endpoint = variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT");
        let s3 = s3_fields(&endpoint, &prefix, &folder.path().join("s3"));
        let storage = format!("storage: {{type: S3, s3: {{{s3}}}}}");
        let objects = Arc::new(Objects(objects_under(&prefix)));
        // No holes here: the state of an upload in a bucket is as large as its last piece.
        Self { objects: Some(objects), ..Self::started(folder, &storage, None) }
    }

    fn started(folder: TempDir, storage: &str, tls: Option<TlsConnector>) -> Self {
        let server = Arc::new(Server::start(folder.path(), &format!("auth: {{anonymous: All}}\n{storage}")));
        Self { server, tls, _holes: None, _folder: Arc::new(folder), objects: None }
    }

    pub(crate) fn is_on_bucket(&self) -> bool {
        self.objects.is_some()
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.server.address, self.tls.as_ref()).await
    }
}

/// Writes a certificate of the loopback address with its key, and returns what trusts it.
fn write_certificate(folder: &Path) -> TlsConnector {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = builder.with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
