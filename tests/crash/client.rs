//! A client of a registry, whose every failure is a sentence.

use std::{sync::OnceLock, time::Duration};

use lagan::oci::{Algorithm, Digest};
use reqwest::{Client as Http, Method, StatusCode};
use serde_json::{Value, json};

use super::image::Image;

const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    location: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn expect(self, what: &str, expected: &[u16]) -> Result<Self, String> {
        if expected.contains(&self.status.as_u16()) {
            return Ok(self);
        }
        Err(format!("{what} was answered with {}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

/// Who talks to one registry.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: Http,
    pub(crate) url: String,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        // One for all: to build one takes longer than all that is asked with it.
        static HTTP: OnceLock<Http> = OnceLock::new();
        let http = HTTP.get_or_init(|| {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let builder = Http::builder().no_proxy().timeout(Duration::from_secs(60)).pool_max_idle_per_host(0);
            builder.build().unwrap()
        });
        Self { http: http.clone(), url: url.to_owned() }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> Result<Answer, String> {
        let what = format!("{method} {path}");
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        let request = self.http.request(method, url).header("Accept", ACCEPT).header("Content-Type", kind).body(body);
        let answer = request.send().await.map_err(|error| format!("{what}: {error:?}"))?;
        let location =
            answer.headers().get("Location").and_then(|text| text.to_str().ok()).unwrap_or_default().to_owned();
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| format!("{what}: {error:?}"))?.to_vec();
        Ok(Answer { status, location, body })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, String> {
        self.send(Method::GET, path, "text/plain", Vec::new()).await
    }

    /// Uploads a blob in so many parts, besides the last request.
    pub(crate) async fn push_blob(&self, repository: &str, bytes: &[u8], parts: usize) -> Result<(), String> {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        let begun =
            self.send(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), "text/plain", Vec::new()).await?;
        let mut location = begun.expect("a new upload", &[202])?.location;
        let mut rest = bytes;
        for part in 0..parts {
            let (chunk, others) = rest.split_at(rest.len() / (parts - part + 1));
            let sent = self.send(Method::PATCH, &location, "application/octet-stream", chunk.to_vec()).await?;
            location = sent.expect("a part", &[202])?.location;
            rest = others;
        }
        let joint = if location.contains('?') { '&' } else { '?' };
        let end = format!("{location}{joint}digest={digest}");
        let done = self.send(Method::PUT, &end, "application/octet-stream", rest.to_vec()).await?;
        done.expect(&format!("blob {digest}"), &[201]).map(drop)
    }

    pub(crate) async fn mount(&self, repository: &str, from: &str, digest: &Digest) -> Result<(), String> {
        let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        let done = self.send(Method::POST, &path, "text/plain", Vec::new()).await?;
        done.expect("a mount", &[201]).map(drop)
    }

    pub(crate) async fn put_manifest(&self, repository: &str, reference: &str, image: &Image) -> Result<(), String> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let done = self.send(Method::PUT, &path, image.media_type, image.manifest.clone()).await?;
        done.expect(&format!("manifest {reference}"), &[201]).map(drop)
    }

    /// Deletes; where it is asked for again, it may be gone already.
    pub(crate) async fn delete(&self, path: &str, is_again: bool) -> Result<(), String> {
        let done = self.send(Method::DELETE, path, "text/plain", Vec::new()).await?;
        done.expect(&format!("DELETE {path}"), if is_again { &[202, 404] } else { &[202] }).map(drop)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        self.send(Method::POST, path, "application/json", body.to_string().into_bytes()).await
    }

    pub(crate) async fn restore(&self, repository: &str, reference: &str) -> Result<(), String> {
        let body = json!({"repository": repository, "reference": reference});
        self.post("/v2/_lagan/restore", &body).await?.expect("a restore", &[200]).map(drop)
    }

    /// Begins work that goes on by itself, and awaits its end.
    pub(crate) async fn work(&self, name: &str, body: &Value) -> Result<Value, String> {
        let path = format!("/v2/_lagan/{name}");
        self.post(&path, body).await?.expect(name, &[200, 201, 202])?;
        loop {
            let status = self.get(&path).await?.json();
            match status["state"].as_str() {
                Some("Running") => tokio::time::sleep(Duration::from_millis(2)).await,
                Some("Finished") => return Ok(status),
                _ => return Err(format!("{name} ended: {status:#}")),
            }
        }
    }

    /// The entries of the trash.
    pub(crate) async fn trash(&self) -> Result<Vec<Value>, String> {
        let page = self.get("/v2/_lagan/trash").await?.expect("the trash", &[200])?.json();
        Ok(page["entries"].as_array().cloned().unwrap_or_default())
    }

    /// Restores whatever can be.
    pub(crate) async fn restore_all(&self) -> Result<(), String> {
        for entry in self.trash().await? {
            let id = entry["id"].as_str().unwrap_or_default().to_owned();
            match entry["state"].as_str() {
                Some("Restorable") => {
                    let body = json!({"conflict": "Replace"});
                    let done = self.post(&format!("/v2/_lagan/trash/{id}/restore"), &body).await?;
                    // What was in its group is restored with it, and its entry gone.
                    done.expect(&format!("the restore of {entry}"), &[200, 404])?;
                }
                Some("Revived") => {}
                _ => return Err(format!("an entry of the trash cannot be restored: {entry:#}")),
            }
        }
        Ok(())
    }

    /// Why an image is not served as it is; with all that it needs.
    pub(crate) async fn check_image(
        &self,
        repository: &str,
        references: &[String],
        image: &Image,
    ) -> Result<(), String> {
        for reference in references {
            let got = self.get(&format!("/v2/{repository}/manifests/{reference}")).await?;
            let got = got.expect(&format!("the manifest {repository} {reference}"), &[200])?;
            if got.body != image.manifest {
                return Err(format!("{repository} {reference} is another manifest"));
            }
        }
        for (digest, bytes) in &image.blobs {
            self.check_blob(repository, digest, bytes).await?;
        }
        for child in &image.children {
            Box::pin(self.check_image(repository, &[child.digest().to_string()], child)).await?;
        }
        Ok(())
    }

    pub(crate) async fn check_blob(&self, repository: &str, digest: &Digest, bytes: &[u8]) -> Result<(), String> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let head = self.send(Method::HEAD, &path, "text/plain", Vec::new()).await?;
        head.expect(&format!("HEAD {path}"), &[200])?;
        let got = self.get(&path).await?.expect(&format!("the blob {repository} {digest}"), &[200])?;
        if got.body == bytes { Ok(()) } else { Err(format!("blob {digest} has other bytes")) }
    }

    /// Why something that is gone is not.
    pub(crate) async fn check_gone(&self, repository: &str, references: &[String]) -> Result<(), String> {
        for reference in references {
            let got = self.get(&format!("/v2/{repository}/manifests/{reference}")).await?;
            got.expect(&format!("the deleted {repository} {reference}"), &[404])?;
        }
        Ok(())
    }

    pub(crate) async fn tags(&self, repository: &str) -> Result<Vec<String>, String> {
        let got = self.get(&format!("/v2/{repository}/tags/list")).await?.expect("the tags", &[200, 404])?;
        let mut tags: Vec<String> = serde_json::from_value(got.json()["tags"].clone()).unwrap_or_default();
        tags.sort();
        Ok(tags)
    }
}
