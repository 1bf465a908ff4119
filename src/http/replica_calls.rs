//! Calls between replicas, over their control listeners: the side that asks, and the side that answers.

use std::{
    error::Error as StdError,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hyper::{Method, Response, StatusCode};
use reqwest::Client;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use ulid::Ulid;

use crate::storage::{CallError, ReplicaAnswer, ReplicaCall, ReplicaCalls};

use super::{
    Error,
    body::{Body, RequestBody},
    call::Call,
    extension::read_json,
    reloading::{LoadError, Reloading},
    response::Answer,
    tls::certificates,
};

/// Where calls are answered.
const PREFIX: &str = "/v2/_lagan/replicas/";

/// How long a connection, with its handshake, may take: the other one is in the same cluster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How much longer an answer may take than what the call itself waits for. Who asks gives up before, and asks again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The way to other replicas: mutual TLS, with the certificate that this one shows to its own callers.
///
/// # Guarantees
/// It speaks only to a listener whose certificate an authority of the file signed, for the name that all replicas share,
/// or for the address that was called where there is none.
#[derive(Debug)]
pub struct ReplicaClient {
    client: Reloading<Client>,
}

impl ReplicaClient {
    /// A client from three PEM files, which are read again when they change.
    ///
    /// # Errors
    /// Where a file cannot be read, or they make no identity.
    pub fn load(
        certificate: &Path,
        key: &Path,
        authority: &Path,
        server_name: Option<&str>,
    ) -> Result<Self, LoadError> {
        let paths = vec![certificate.to_owned(), key.to_owned(), authority.to_owned()];
        let name = server_name.map(|name| ServerName::try_from(name.to_owned())).transpose();
        let name = name.map_err(|source| invalid(&paths, 0, source))?;
        let client = Reloading::load(paths.clone(), move |contents| client(&paths, contents, name.as_ref()))?;
        Ok(Self { client })
    }
}

#[async_trait]
impl ReplicaCalls for ReplicaClient {
    async fn call(&self, id: Ulid, address: &str, call: &ReplicaCall) -> Result<ReplicaAnswer, CallError> {
        let failed = |source: Box<dyn StdError + Send + Sync>| CallError { source };
        let unreachable = |source: reqwest::Error| failed(Box::new(source.without_url()));
        let url = format!("https://{address}{PREFIX}{id}/{}", call.name());
        let client = self.client.current().await;
        let request = client.post(url).timeout(call.wait() + ANSWER_TIMEOUT).json(call);
        let response = request.send().await.and_then(reqwest::Response::error_for_status).map_err(unreachable)?;
        let body = response.bytes().await.map_err(unreachable)?;
        serde_json::from_slice(&body).map_err(|source| failed(Box::new(source)))
    }
}

/// Answers another replica, where a request is such a call; `None` where it is not.
pub(super) async fn respond(
    request: &Call<'_>,
    path: &str,
    body: &mut RequestBody,
) -> Option<Result<Response<Body>, Error>> {
    let (id, name) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let id = Ulid::from_string(id).ok()?;
    if request.method != Method::POST {
        return None;
    }
    let call: ReplicaCall = match read_json(request, body).await {
        Ok(call) => call,
        Err(error) => return Some(Err(error)),
    };
    if call.name() != name {
        return None;
    }
    Some(Ok(Answer::json(StatusCode::OK, &request.app.catalog.answer(id, &call).await).build()))
}

fn invalid(paths: &[PathBuf], at: usize, source: impl StdError + Send + Sync + 'static) -> LoadError {
    LoadError::Invalid { path: paths.get(at).cloned().unwrap_or_default(), source: Box::new(source) }
}

fn client(paths: &[PathBuf], contents: &[Vec<u8>], name: Option<&ServerName<'static>>) -> Result<Client, LoadError> {
    let content = |at: usize| contents.get(at).map(Vec::as_slice).unwrap_or_default();
    let chain = certificates(content(0)).map_err(|source| invalid(paths, 0, source))?;
    let key = PrivateKeyDer::from_pem_slice(content(1)).map_err(|source| invalid(paths, 1, source))?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(content(2)).map_err(|source| invalid(paths, 2, source))? {
        roots.add(authority).map_err(|source| invalid(paths, 2, source))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = ReplicaVerifier::new(roots, name.cloned(), &provider).map_err(|source| invalid(paths, 2, source))?;
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| invalid(paths, 0, source))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(|source| invalid(paths, 0, source))?;
    let builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy().tls_backend_preconfigured(tls);
    builder.build().map_err(|source| invalid(paths, 0, source))
}

/// Verifies as usual, but for one name whatever the address: replicas share a certificate, and are called by addresses
/// that it does not know.
#[derive(Debug)]
struct ReplicaVerifier {
    usual: Arc<WebPkiServerVerifier>,
    name: Option<ServerName<'static>>,
}

impl ReplicaVerifier {
    fn new(
        roots: RootCertStore,
        name: Option<ServerName<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, rustls::client::VerifierBuilderError> {
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()?;
        Ok(Self { usual, name })
    }
}

impl ServerCertVerifier for ReplicaVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = self.name.as_ref().unwrap_or(server_name);
        self.usual.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
