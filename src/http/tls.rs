//! Certificates, read again when they change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier, server::danger::ClientCertVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::reloading::{LoadError, Reloading};

/// What is wrong with a PEM file.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the file holds no certificate")]
    NoCertificate,
    #[error("the file is no PEM that can be read")]
    Pem { source: rustls_pki_types::pem::Error },
    #[error("certificate and key do not make an identity")]
    Identity { source: rustls::Error },
    #[error("the authority cannot be used")]
    Authority { source: rustls::Error },
    #[error("clients cannot be verified")]
    Verifier { source: rustls::server::VerifierBuilderError },
}

/// A listener's certificate and key.
#[derive(Debug)]
pub struct TlsIdentity {
    config: Reloading<Arc<ServerConfig>>,
}

impl TlsIdentity {
    /// An identity from two PEM files, for clients of any kind.
    ///
    /// # Errors
    /// Where a file cannot be read, or both do not fit each other.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, LoadError> {
        let paths = vec![certificate.to_owned(), key.to_owned()];
        let config = Reloading::load(paths.clone(), move |contents| server_config(&paths, contents, false))?;
        Ok(Self { config })
    }

    /// An identity that accepts only clients whose certificate one of the authorities in a third file signed.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_mutual(certificate: &Path, key: &Path, client_authority: &Path) -> Result<Self, LoadError> {
        let paths = vec![certificate.to_owned(), key.to_owned(), client_authority.to_owned()];
        let config = Reloading::load(paths.clone(), move |contents| server_config(&paths, contents, true))?;
        Ok(Self { config })
    }

    /// The configuration for a connection that begins now.
    pub(super) async fn current(&self) -> Arc<ServerConfig> {
        (*self.config.current().await).clone()
    }
}

fn server_config(paths: &[PathBuf], contents: &[Vec<u8>], mutual: bool) -> Result<Arc<ServerConfig>, LoadError> {
    let invalid = |at: usize| {
        let path = paths.get(at).cloned().unwrap_or_default();
        move |source: TlsError| LoadError::Invalid { path: path.clone(), source: Box::new(source) }
    };
    let content = |at: usize| contents.get(at).map(Vec::as_slice).unwrap_or_default();
    let chain = certificates(content(0)).map_err(invalid(0))?;
    let key =
        PrivateKeyDer::from_pem_slice(content(1)).map_err(|source| TlsError::Pem { source }).map_err(invalid(1))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Identity { source })
        .map_err(invalid(0))?;
    let builder = if mutual {
        builder.with_client_cert_verifier(verifier(content(2), provider).map_err(invalid(2))?)
    } else {
        builder.with_no_client_auth()
    };
    let mut config =
        builder.with_single_cert(chain, key).map_err(|source| TlsError::Identity { source }).map_err(invalid(0))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificates in a PEM file.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|source| TlsError::Pem { source })?;
    if chain.is_empty() { Err(TlsError::NoCertificate) } else { Ok(chain) }
}

fn verifier(
    pem: &[u8],
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|source| TlsError::Authority { source })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|source| TlsError::Verifier { source })
}

/// The common name of a client's certificate, which rustls has verified.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?;
    name.as_str().ok().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = write("tls.crt", &one.cert.pem());
        let fitting = write("tls.key", &one.signing_key.serialize_pem());
        let foreign = write("other.key", &other.signing_key.serialize_pem());
        let empty = write("empty", "");

        assert!(TlsIdentity::load(&certificate, &fitting).is_ok());
        assert!(TlsIdentity::load(&certificate, &foreign).is_err());
        assert!(TlsIdentity::load(&empty, &fitting).is_err());
        assert!(TlsIdentity::load(&certificate, &empty).is_err());
        assert!(TlsIdentity::load_mutual(&certificate, &fitting, &empty).is_err());
    }

    #[test]
    fn the_common_name_is_read_from_the_subject() {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "lagan-operator");
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(common_name(certificate.der()).as_deref(), Some("lagan-operator"));
    }
}
