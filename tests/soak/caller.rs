//! Requests to replicas, and whether their answers can be explained.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Method, header};
use serde_json::Value;

use crate::image::MANIFEST;
use crate::site::Site;

/// A read is answered at once, or by a replica that stands still.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// A delete may wait twice until a replica is gone, and for the keys of another one.
const WRITE_TIMEOUT: Duration = Duration::from_secs(40);

/// Shorter than a registry keeps an idle connection, so that no request goes into one that is being closed.
const IDLE: Duration = Duration::from_secs(3);

/// What a replica said, or that it said nothing.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status; 0: there was no whole answer.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) digest: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// The request, for complaints.
    request: String,
}

impl Answer {
    /// Whether it says nothing of what was asked: nobody was there, or the replica could not do it now.
    pub(crate) fn is_evasive(&self) -> bool {
        matches!(self.status, 0 | 429 | 500..)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        let body: String = body.chars().take(600).collect();
        write!(f, "{} answered {} after {:?}: {body}", self.request, self.status, self.ended - self.began)
    }
}

/// Someone who talks to the replicas of a registry.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    http: reqwest::Client,
    pub(crate) site: Arc<Site>,
}

impl Caller {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        let http = reqwest::Client::builder().no_proxy().pool_idle_timeout(IDLE).build().unwrap();
        Self { http, site }
    }

    pub(crate) async fn get(&self, replica: usize, path: &str) -> Answer {
        self.call(replica, Method::GET, path, None).await
    }

    pub(crate) async fn head(&self, replica: usize, path: &str) -> Answer {
        self.call(replica, Method::HEAD, path, None).await
    }

    pub(crate) async fn delete(&self, replica: usize, path: &str) -> Answer {
        self.call(replica, Method::DELETE, path, None).await
    }

    pub(crate) async fn post(&self, replica: usize, path: &str, body: &Value) -> Answer {
        self.call(replica, Method::POST, path, Some(("application/json", body.to_string().into_bytes()))).await
    }

    /// Sends a request, and complains where its answer is evasive without a reason.
    pub(crate) async fn call(
        &self,
        replica: usize,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Answer {
        let timeout = if method == Method::GET || method == Method::HEAD { READ_TIMEOUT } else { WRITE_TIMEOUT };
        let (kind, body) = body.unwrap_or_default();
        let address = self.site.replicas[replica].address;
        let request = format!("{} {replica}: {method} {path}", self.site.name);
        let sent = self.http.request(method, format!("http://{address}{path}")).timeout(timeout).body(body);
        let sent = sent.header(header::ACCEPT, MANIFEST).header(header::CONTENT_TYPE, kind);
        let began = Instant::now();
        let mut answer =
            Answer { status: 0, body: Vec::new(), digest: None, location: None, began, ended: began, request };
        match sent.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let of = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
                (answer.digest, answer.location) = (of("docker-content-digest"), of("location"));
                match response.bytes().await {
                    Ok(body) => (answer.status, answer.body) = (status, body.to_vec()),
                    Err(error) => answer.body = format!("{status}, and then {error:?}").into_bytes(),
                }
            }
            Err(error) => answer.body = format!("{error:?}").into_bytes(),
        }
        answer.ended = Instant::now();
        self.judge(&answer);
        answer
    }

    fn judge(&self, answer: &Answer) {
        let (site, times) = (&self.site, self.site.settings.times);
        site.count("requests");
        if !answer.is_evasive() {
            return;
        }
        let (began, ended) = (answer.began, answer.ended);
        let gone = times.recovery + times.removal_bound;
        if site.faults.explain(began, ended, times.recovery) {
            site.count("requests failed in a fault");
        } else if is_frozen(answer) && site.faults.explain_frozen(began, ended, gone) {
            site.count("requests refused until Q");
        } else if lacks_lease(answer) && site.starvation.explains(began, ended, times.recovery) {
            site.count("requests refused on a starved machine");
        } else {
            site.spurious(&answer.to_string());
        }
    }
}

/// Whether somebody else holds what was asked for.
fn is_frozen(answer: &Answer) -> bool {
    answer.status == 503 && String::from_utf8_lossy(&answer.body).contains("another operation is changing this")
}

/// Whether the replica has lost its lease. A HEAD says no more than 503.
fn lacks_lease(answer: &Answer) -> bool {
    let body = String::from_utf8_lossy(&answer.body);
    answer.status == 503 && (body.is_empty() || body.contains("this replica lost its place"))
}
