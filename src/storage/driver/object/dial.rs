//! Connections to the stores.

use std::{error::Error as StdError, fmt, future::Future, io, pin::Pin, sync::Arc, task, time::Duration};

use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use rustls::{ClientConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use rustls_platform_verifier::Verifier;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

/// How long a connection says nothing before it is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

type BoxError = Box<dyn StdError + Send + Sync>;

/// Connects to stores, through a proxy where the environment names one (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
#[derive(Clone)]
pub(super) struct Dialer {
    tcp: HttpConnector,
    tls: Arc<ClientConfig>,
    proxies: Arc<Matcher>,
    /// Whether addresses without TLS will do.
    plain: bool,
    limit: Duration,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may have a password.
        f.debug_struct("Dialer").field("plain", &self.plain).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Dialer {
    /// Connects within `limit`, name, proxy and TLS included.
    pub(super) fn new(tls: Arc<ClientConfig>, plain: bool, limit: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        Self { tcp, tls, proxies: Arc::new(Matcher::from_env()), plain, limit }
    }

    async fn dial(self, to: Uri) -> Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError> {
        if !self.plain && to.scheme() != Some(&Scheme::HTTPS) {
            return Err("an address without TLS was to be called from one with it".into());
        }
        let Some(proxy) = self.proxies.intercept(&to) else {
            return HttpsConnector::from((self.tcp, self.tls)).call(to).await;
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp);
        if let Some(login) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(login.clone());
        }
        HttpsConnector::from((tunnel, self.tls)).call(with_port(to)).await
    }
}

/// The same place with its port: a tunnel takes 443 for the port of what says none, also without TLS.
fn with_port(to: Uri) -> Uri {
    if to.port().is_some() || to.scheme() != Some(&Scheme::HTTP) {
        return to;
    }
    let mut parts = to.clone().into_parts();
    let authority = parts.authority.as_ref().and_then(|authority| format!("{authority}:80").parse().ok());
    parts.authority = authority.or(parts.authority);
    Uri::from_parts(parts).unwrap_or(to)
}

impl Service<Uri> for Dialer {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), BoxError>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (dialer, limit) = (self.clone(), self.limit);
        Box::pin(async move { timeout(limit, dialer.dial(to)).await? })
    }
}

/// TLS that trusts what the machine trusts, and these authorities, in PEM.
pub(super) fn trusting(authorities: Option<&str>) -> io::Result<ClientConfig> {
    let parsed = CertificateDer::pem_slice_iter(authorities.unwrap_or_default().as_bytes());
    let parsed = parsed.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    if parsed.is_empty() && authorities.is_some() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the bundle of authorities holds no certificate in PEM",
        ));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(parsed, Arc::clone(&provider)).map_err(io::Error::other)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    // Not dangerous: it is the machine's own way to verify.
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}
