//! An API server for tests, which answers what it is told to.

use std::sync::{Arc, Mutex};

use http::{Request, Response, Uri};
use kube::{Client, client::Body};
use serde_json::{Value, json};

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
        match (self.script)(&asked) {
            Answer::Json(code, body) => {
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                Ok(Response::builder().status(code).header("content-type", "application/json").body(body).unwrap())
            }
            Answer::Broken => Err(std::io::ErrorKind::ConnectionReset.into()),
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
