//! An API server and a registry for tests, which answer what they are told to.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kube::{Client, client::Body};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    config::{OperatorConfig, WatchScope},
    context::Context,
    metrics::Metrics,
    registry_client::RegistryClient,
};

/// A request that a [`Cluster`] was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The HTTP method.
    pub(crate) method: String,
    /// The body, if it is JSON.
    pub(crate) body: Value,
    uri: Uri,
    earlier: usize,
}

impl Asked {
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// A parameter of the query, as it was encoded.
    pub(crate) fn query(&self, key: &str) -> Option<&str> {
        let pairs = self.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).next()
    }

    /// How many requests of the same method, path and query came before it.
    pub(crate) fn earlier(&self) -> usize {
        self.earlier
    }
}

/// What a [`Cluster`] answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Json(u16, Value),
    /// The connection breaks.
    Broken,
    /// It comes late.
    Late(Duration, Box<Answer>),
}

impl Answer {
    pub(crate) fn ok(body: Value) -> Self {
        Self::Json(200, body)
    }

    /// An error as the API server writes one.
    pub(crate) fn failure(code: u16, message: &str) -> Self {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "Forbidden", "code": code});
        Self::Json(code, status)
    }

    pub(crate) fn broken() -> Self {
        Self::Broken
    }

    /// The same, after a while.
    pub(crate) fn after(self, pause: Duration) -> Self {
        Self::Late(pause, Box::new(self))
    }
}

type Script = dyn Fn(&Asked) -> Answer + Send + Sync;

/// An API server that answers what it is told to, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct Cluster {
    script: Arc<Script>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Cluster {
    pub(crate) fn answering(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), asked: Arc::default() }
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn client(&self) -> Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let cluster = cluster.clone();
            async move { cluster.answer(request).await }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap();
        let asked =
            self.remember(parts.method.to_string(), parts.uri, serde_json::from_slice(&bytes).unwrap_or_default());
        let mut answer = (self.script)(&asked);
        while let Answer::Late(pause, then) = answer {
            tokio::time::sleep(pause).await;
            answer = *then;
        }
        match answer {
            Answer::Json(code, body) => {
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                Ok(Response::builder().status(code).header("content-type", "application/json").body(body).unwrap())
            }
            Answer::Broken | Answer::Late(..) => Err(std::io::ErrorKind::ConnectionReset.into()),
        }
    }

    fn remember(&self, method: String, uri: Uri, body: Value) -> Asked {
        let mut all = self.asked.lock().unwrap();
        let earlier = all.iter().filter(|asked| asked.method == method && asked.uri == uri).count();
        let asked = Asked { method, body, uri, earlier };
        all.push(asked.clone());
        asked
    }
}

/// What controllers share that ask a cluster, at a time.
pub(crate) fn context(cluster: &Cluster, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Context {
    let config = OperatorConfig {
        image: "lagan".to_owned(),
        version: "1".to_owned(),
        scope: WatchScope::Cluster,
        lease_namespace: "lagan".to_owned(),
        identity: "one".to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
    };
    Context::new(cluster.client(), config, Arc::new(Metrics::default()), Arc::new(now))
}

/// A registry's control listener that answers what it is told to, until it is dropped.
pub(crate) struct RegistryStub {
    cluster: Cluster,
    address: std::net::SocketAddr,
    _serving: JoinSet<()>,
}

impl RegistryStub {
    /// Listens without TLS: who is spoken to is another test's matter.
    pub(crate) async fn answering(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (cluster, address) = (Cluster::answering(script), listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, cluster.clone()));
        Self { cluster, address, _serving: serving }
    }

    pub(crate) fn client(&self) -> RegistryClient {
        plain_client(self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.cluster.requests()
    }

    /// What it was asked, as it goes on.
    pub(crate) fn asked(&self) -> Arc<Mutex<Vec<Asked>>> {
        Arc::clone(&self.cluster.asked)
    }
}

/// A client of a registry at an address, without TLS.
pub(crate) fn plain_client(address: std::net::SocketAddr) -> RegistryClient {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    RegistryClient::new(format!("http://{address}/").parse().unwrap(), tls, None).unwrap()
}

async fn serve(listener: TcpListener, cluster: Cluster) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let cluster = cluster.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer_registry(cluster.clone(), request));
            // A broken connection is what some scripts ask for.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer_registry(
    cluster: Cluster,
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let answer = cluster.answer(Request::from_parts(parts, Body::from(bytes.to_vec()))).await?;
    let (parts, body) = answer.into_parts();
    Ok(Response::from_parts(parts, Full::new(body.collect_bytes().await.unwrap())))
}
