//! Talks to a registry through its control listener.

use std::{collections::BTreeMap, error::Error as StdError, net::SocketAddr, sync::Arc, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::de::DeserializeOwned;

use crate::api::wire::{
    ApplyRequest, CandidatePage, CollectionRequest, CollectionStatus, ErrorBody, InterruptRequest,
    RestoreReferenceRequest, RestoreReport, RunRequest, RunStatus,
};
use crate::operator::{
    certificates::{Authority, Leaf},
    registry::endpoints::CONTROL_PORT,
};

/// A Service in the same cluster accepts at once, or has no pod.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A restore waits up to 15 s for a delete of the same image; planning and applying are not waited for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest page that the registry gives.
const PAGE: u32 = 1000;

/// A registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Secret with the operator's certificate could not be read.
    #[error("could not read Secret {name}")]
    Secret {
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The Secret is not there yet, or does not hold what it should.
    #[error("Secret {name} does not let the operator talk to the registry: {reason}")]
    Credentials {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There was no answer.
    #[error("the registry does not answer")]
    Unreachable {
        /// Why.
        source: Box<reqwest::Error>,
    },
    /// It answered something else than Lagan does.
    #[error("the registry's answer could not be read")]
    Malformed {
        /// Why.
        source: serde_json::Error,
    },
    /// It does not know what was asked for.
    #[error("{said}")]
    NotFound {
        /// Its words.
        said: String,
    },
    /// Something else is in the way.
    #[error("{said}")]
    Conflict {
        /// Its words.
        said: String,
    },
    /// It does not do such things as it is set up.
    #[error("{said}")]
    Unsupported {
        /// Its words.
        said: String,
    },
    /// It cannot, now.
    #[error("{said}")]
    Failing {
        /// Its words.
        said: String,
    },
    /// It refuses for another reason.
    #[error("{said}")]
    Refused {
        /// Its words.
        said: String,
    },
}

impl Error {
    /// Whether the same request may succeed later, without anybody changing anything.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Secret { .. } | Self::Credentials { .. } | Self::Unreachable { .. } | Self::Failing { .. } => true,
            Self::Malformed { .. }
            | Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Unsupported { .. }
            | Self::Refused { .. } => false,
        }
    }

    /// The error and its causes in one line, for a status.
    #[must_use]
    pub fn in_words(&self) -> String {
        let causes = std::iter::successors(self.source(), |cause| (*cause).source());
        let mut words = self.to_string();
        for cause in causes.map(ToString::to_string) {
            if !words.ends_with(&cause) {
                words = format!("{words}: {cause}");
            }
        }
        words
    }
}

/// One registry's control listener.
///
/// # Guarantees
/// It is spoken to only if its certificate is of the authority in Secret `<name>-operator` and carries the name
/// `<name>-control.<namespace>.svc`; the operator shows the certificate in the same Secret.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    http: reqwest::Client,
    base: Url,
}

impl RegistryClient {
    /// Prepares to talk to the Registry of this name; it is not spoken to yet.
    ///
    /// # Errors
    /// [`Error::Secret`], [`Error::Credentials`].
    pub async fn connect(client: &Client, namespace: &str, registry: &str) -> Result<Self, Error> {
        let name = format!("{registry}-operator");
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let secret = secrets.get_opt(&name).await;
        let secret = secret.map_err(|source| Error::Secret { name: name.clone(), source: Box::new(source) })?;
        let credentials = |reason: String| Error::Credentials { name: name.clone(), reason };
        let secret = secret.ok_or_else(|| credentials("it does not exist yet".to_owned()))?;
        let tls = tls(&secret.data.unwrap_or_default()).map_err(credentials)?;
        let host = format!("{registry}-control.{namespace}.svc");
        let base = format!("https://{host}:{CONTROL_PORT}/");
        let base = base.parse().map_err(|error| credentials(format!("{base} is no address: {error}")))?;
        Self::new(base, tls, one_of(&host).await).map_err(|error| credentials(error.to_string()))
    }

    /// A client of the registry at `base`, which is at the address `replica` where that is known.
    pub(super) fn new(base: Url, tls: ClientConfig, replica: Option<SocketAddr>) -> Result<Self, reqwest::Error> {
        let mut builder = builder(tls);
        if let (Some(host), Some(replica)) = (base.host_str(), replica) {
            builder = builder.resolve(host, replica);
        }
        Ok(Self { http: builder.build()?, base })
    }

    /// Starts a run; of a run that is known already, the status.
    ///
    /// # Errors
    /// [`Error::Conflict`] while another run is in progress, [`Error::Unsupported`] where nothing is deleted.
    pub async fn start_run(&self, request: &RunRequest) -> Result<RunStatus, Error> {
        self.send(self.request(Method::POST, &["retention", "runs"]).json(request)).await
    }

    /// How far a run is.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a run that was never asked for, or forgotten.
    pub async fn run(&self, run: &str) -> Result<RunStatus, Error> {
        self.send(self.request(Method::GET, &["retention", "runs", run])).await
    }

    /// What a run would delete, after the candidate of number `last`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] while it plans.
    pub async fn candidates(&self, run: &str, last: Option<u32>) -> Result<CandidatePage, Error> {
        let request = self.request(Method::GET, &["retention", "runs", run, "candidates"]).query(&[("n", PAGE)]);
        let request = match last {
            Some(last) => request.query(&[("last", last)]),
            None => request,
        };
        self.send(request).await
    }

    /// Applies a run's plan, less what is in use.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] while it plans or another run is in progress.
    pub async fn apply_run(&self, run: &str, request: &ApplyRequest) -> Result<RunStatus, Error> {
        self.send(self.request(Method::POST, &["retention", "runs", run, "apply"]).json(request)).await
    }

    /// Ends a run that waits.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn interrupt_run(&self, run: &str, reason: String) -> Result<RunStatus, Error> {
        let request = InterruptRequest { reason };
        self.send(self.request(Method::POST, &["retention", "runs", run, "interrupt"]).json(&request)).await
    }

    /// Brings an image back from the trash, if it is there.
    ///
    /// # Errors
    /// [`Error::NotFound`] where neither the repository nor its trash has it; [`Error::Conflict`] where its tag
    /// points elsewhere, or content is gone.
    pub async fn restore(&self, request: &RestoreReferenceRequest) -> Result<RestoreReport, Error> {
        self.send(self.request(Method::POST, &["restore"]).json(request)).await
    }

    /// Begins a collection of garbage, which then goes on by itself.
    ///
    /// # Errors
    /// [`Error::Conflict`] while one runs, or where the report to confirm is not the last one; [`Error::Unsupported`] where
    /// nothing is collected.
    pub async fn collect(&self, request: &CollectionRequest) -> Result<CollectionStatus, Error> {
        self.send(self.request(Method::POST, &["gc"]).json(request)).await
    }

    /// The collection of garbage that runs, or the last one.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there was none.
    pub async fn collection(&self) -> Result<CollectionStatus, Error> {
        self.send(self.request(Method::GET, &["gc"])).await
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        // An address with a host always has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v2", "_lagan"]).extend(path);
        }
        self.http.request(method, url)
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let unreachable = |source: reqwest::Error| Error::Unreachable { source: Box::new(source.without_url()) };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|source| Error::Malformed { source });
        }
        let said = words(status, &body);
        Err(match status {
            StatusCode::NOT_FOUND => Error::NotFound { said },
            StatusCode::CONFLICT => Error::Conflict { said },
            StatusCode::METHOD_NOT_ALLOWED => Error::Unsupported { said },
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Error::Failing { said },
            _ => Error::Refused { said },
        })
    }
}

fn builder(tls: ClientConfig) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT);
    builder.no_proxy().tls_backend_preconfigured(tls)
}

/// The address of one replica, the same one for as long as it is ready: it knows how far its runs are without a look at
/// the store. `None` where the name cannot be resolved now; a request then says why.
async fn one_of(host: &str) -> Option<SocketAddr> {
    let port = u16::try_from(CONTROL_PORT).ok()?;
    tokio::net::lookup_host((host, port)).await.ok()?.min()
}

/// What the registry says about an error.
fn words(status: StatusCode, body: &[u8]) -> String {
    ErrorBody::in_words(body).unwrap_or_else(|| format!("the registry answers {status}"))
}

/// Mutual TLS out of the data of the operator's Secret, or what is wrong with that.
fn tls(data: &BTreeMap<String, ByteString>) -> Result<ClientConfig, String> {
    let pem = |key: &str| data.get(key).map(|bytes| bytes.0.as_slice()).ok_or_else(|| format!("it has no key {key}"));
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pem(Authority::BUNDLE)?) {
        let authority = authority.map_err(|error| format!("{}: {error}", Authority::BUNDLE))?;
        roots.add(authority).map_err(|error| format!("{}: {error}", Authority::BUNDLE))?;
    }
    if roots.is_empty() {
        return Err(format!("{} holds no certificate in PEM", Authority::BUNDLE));
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem(Leaf::CERTIFICATE)?).collect();
    let chain = chain.map_err(|error| format!("{}: {error}", Leaf::CERTIFICATE))?;
    let key = PrivateKeyDer::from_pem_slice(pem(Leaf::KEY)?).map_err(|error| format!("{}: {error}", Leaf::KEY))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer, server::WebPkiClientVerifier};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };
    use tokio_rustls::TlsAcceptor;

    use crate::operator::certificates::LeafUse;

    use super::*;

    fn authority() -> Authority {
        Authority::generate("Lagan operator", now()).unwrap()
    }

    /// The time of the test, which TLS compares certificates with: when this process began.
    fn now() -> jiff::Timestamp {
        std::fs::metadata("/proc/self").unwrap().modified().unwrap().try_into().unwrap()
    }

    /// The data of Secret `<registry>-operator`, as the controller of Registry writes it.
    fn secret(trusted: &Authority, own: &Authority) -> BTreeMap<String, ByteString> {
        let leaf =
            Leaf::generate(own, "lagan-operator", &["lagan-operator".to_owned()], LeafUse::Client, now()).unwrap();
        let mut data = trusted.to_data();
        for (key, pem) in [(Leaf::CERTIFICATE, leaf.certificate), (Leaf::KEY, leaf.key)] {
            data.insert(key.to_owned(), ByteString(pem.into_bytes()));
        }
        data
    }

    /// A control listener whose certificate has this name, and which answers one request.
    async fn listener(authority: &Authority, name: &str) -> (Url, JoinHandle<()>) {
        let leaf = Leaf::generate(authority, "main", &[name.to_owned()], LeafUse::Server, now()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.bundle().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
        let key = PrivatePkcs8KeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()];
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key.into()).unwrap();
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let base = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"candidates\":[]}";
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        (base.parse().unwrap(), serving)
    }

    async fn asked(base: Url, data: &BTreeMap<String, ByteString>) -> Result<CandidatePage, Error> {
        RegistryClient::new(base, tls(data).unwrap(), None).unwrap().candidates("run", None).await
    }

    #[tokio::test]
    async fn registry_and_operator_of_one_authority_talk() {
        let ours = authority();
        let (base, serving) = listener(&ours, "localhost").await;
        assert!(asked(base, &secret(&ours, &ours)).await.unwrap().candidates.is_empty());
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn registry_of_another_name_or_authority_is_not_spoken_to() {
        let (ours, theirs) = (authority(), authority());
        for (signer, name, trusted, own) in [
            (&ours, "other-control.shop.svc", &ours, &ours),
            (&theirs, "localhost", &ours, &ours),
            // The registry does not know the operator.
            (&ours, "localhost", &ours, &theirs),
        ] {
            let (base, serving) = listener(signer, name).await;
            let error = asked(base, &secret(trusted, own)).await.unwrap_err();
            assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
            assert!(error.is_temporary());
            serving.await.unwrap();
        }
    }

    #[test]
    fn secret_that_lacks_something_says_what() {
        let ours = authority();
        for key in [Authority::BUNDLE, Leaf::CERTIFICATE, Leaf::KEY] {
            let mut data = secret(&ours, &ours);
            data.remove(key);
            assert!(tls(&data).unwrap_err().contains(key), "{key}");
            data.insert(key.to_owned(), ByteString(b"no PEM".to_vec()));
            assert!(tls(&data).is_err(), "{key} is no PEM");
        }
    }

    #[test]
    fn words_of_an_error_are_the_registrys_own() {
        let body =
            br#"{"errors": [{"code": "CONFLICT", "message": "another run is in progress", "detail": {"run": "r"}}]}"#;
        assert_eq!(words(StatusCode::CONFLICT, body), "another run is in progress (CONFLICT): run r");
        assert_eq!(words(StatusCode::BAD_GATEWAY, b"<html>"), "the registry answers 502 Bad Gateway");
    }
}
