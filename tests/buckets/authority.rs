//! What stores that speak TLS show.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use crate::issuer::new_issuer;

/// An authority, and the file that says so.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    bundle: PathBuf,
    _folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let issuer = new_issuer();
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("ca.crt");
        fs::write(&bundle, issuer.pem()).unwrap();
        Self { issuer, bundle, _folder: folder }
    }

    /// Its certificate, in PEM.
    pub(crate) fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// What serves TLS on the loopback address with a certificate of this authority's.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
