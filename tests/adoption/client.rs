//! A client of any registry.

use lagan::oci::Digest;
use reqwest::{Client as Http, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::image::Image;

const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Who talks to one registry.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: Http,
    pub(crate) url: String,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { http: Http::new(), url: url.to_owned() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        self.http.request(method, url).header("Accept", ACCEPT)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    pub(crate) async fn status(&self, method: Method, path: &str) -> StatusCode {
        self.request(method, path).send().await.unwrap().status()
    }

    pub(crate) async fn delete(&self, path: &str) {
        assert_eq!(self.status(Method::DELETE, path).await, StatusCode::ACCEPTED, "DELETE {path}");
    }

    /// Where an upload that was answered with `answer` goes on.
    pub(crate) fn location(&self, answer: &Response) -> String {
        let text = answer.headers()["Location"].to_str().unwrap();
        if text.starts_with("http") { text.to_owned() } else { format!("{}{text}", self.url) }
    }

    /// Begins an upload; its answer.
    pub(crate) async fn begin_upload(&self, repository: &str) -> Response {
        let answer = self.request(Method::POST, &format!("/v2/{repository}/blobs/uploads/")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "could not begin an upload");
        answer
    }

    pub(crate) async fn push_blob(&self, repository: &str, digest: &Digest, bytes: &[u8]) {
        let begun = self.begin_upload(repository).await;
        let location = self.location(&begun);
        let joint = if location.contains('?') { '&' } else { '?' };
        let put = self.request(Method::PUT, &format!("{location}{joint}digest={digest}"));
        let answer = put.header("Content-Type", "application/octet-stream").body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "blob {digest}: {}", answer.text().await.unwrap());
    }

    /// Pushes all of an image, children first, without a tag.
    pub(crate) async fn push_untagged(&self, repository: &str, image: &Image) {
        for child in &image.children {
            Box::pin(self.push_untagged(repository, child)).await;
        }
        for (digest, bytes) in &image.blobs {
            self.push_blob(repository, digest, bytes).await;
        }
        self.put_manifest(repository, &image.digest().to_string(), image).await;
    }

    pub(crate) async fn push(&self, repository: &str, tag: &str, image: &Image) {
        self.push_untagged(repository, image).await;
        self.put_manifest(repository, tag, image).await;
    }

    async fn put_manifest(&self, repository: &str, reference: &str, image: &Image) {
        let put = self.request(Method::PUT, &format!("/v2/{repository}/manifests/{reference}"));
        let put = put.header("Content-Type", image.media_type).body(image.manifest.clone());
        let answer = put.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{reference}: {}", answer.text().await.unwrap());
    }

    /// Pulls all of an image, and compares every byte.
    pub(crate) async fn assert_served(&self, repository: &str, reference: &str, image: &Image) {
        let answer = self.get(&format!("/v2/{repository}/manifests/{reference}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "manifest {repository} {reference}");
        assert_eq!(answer.headers()["Content-Type"], image.media_type, "{repository} {reference}");
        assert_eq!(answer.headers()["Docker-Content-Digest"], image.digest().to_string().as_str(), "{reference}");
        assert_eq!(answer.bytes().await.unwrap(), image.manifest, "manifest {repository} {reference}");
        for (digest, bytes) in &image.blobs {
            let head = self.request(Method::HEAD, &format!("/v2/{repository}/blobs/{digest}")).send().await.unwrap();
            assert_eq!(head.headers()["Content-Length"], bytes.len().to_string().as_str(), "{digest} of {reference}");
            let answer = self.get(&format!("/v2/{repository}/blobs/{digest}")).await;
            assert_eq!(answer.status(), StatusCode::OK, "{digest} of {reference}");
            assert!(answer.bytes().await.unwrap() == *bytes, "{digest} of {repository} {reference} has other bytes");
        }
        for child in &image.children {
            Box::pin(self.assert_served(repository, &child.digest().to_string(), child)).await;
        }
    }

    /// What a repository's list of tags shows; nothing where it does not exist.
    pub(crate) async fn tags(&self, repository: &str) -> Vec<String> {
        let answer = self.get(&format!("/v2/{repository}/tags/list")).await;
        if answer.status() == StatusCode::NOT_FOUND {
            return Vec::new();
        }
        let body: Value = answer.json().await.unwrap();
        let mut tags: Vec<String> = serde_json::from_value(body["tags"].clone()).unwrap_or_default();
        tags.sort();
        tags
    }

    pub(crate) async fn catalog(&self) -> Vec<String> {
        serde_json::from_value(self.json("/v2/_catalog").await["repositories"].clone()).unwrap_or_default()
    }
}
