//! A client of all replicas.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::digest::sha256;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Reads are answered at once, or by a replica that stands still.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A delete may wait twice until a replica is gone: for the freeze, and for the caches.
const WRITE_TIMEOUT: Duration = Duration::from_secs(150);

/// An image with one layer, another one for each label.
pub(crate) struct Image {
    pub(crate) digest: String,
    manifest: String,
    /// Its configuration and its layer.
    pub(crate) blobs: [Vec<u8>; 2],
}

impl Image {
    pub(crate) fn new(label: &str) -> Self {
        let blobs = ["{}", "layer"].map(|part| format!("{part} of {label}, {}", ulid::Ulid::generate()).into_bytes());
        let [config, layer] = blobs.each_ref().map(|blob| (sha256(blob), blob.len()));
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
            config.0, config.1, layer.0, layer.1
        );
        Self { digest: sha256(manifest.as_bytes()), manifest, blobs }
    }
}

/// The answer did not come, or was another one than what was asked for.
#[derive(Debug)]
pub(crate) struct Unanswered(pub(crate) String);

pub(crate) struct Client {
    http: reqwest::Client,
    addresses: Vec<Arc<Mutex<SocketAddr>>>,
}

impl Client {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, addresses: cluster.addresses() }
    }

    fn request(&self, replica: usize, method: Method, path: &str) -> RequestBuilder {
        let address = *self.addresses[replica].lock().unwrap();
        self.http.request(method, format!("http://{address}{path}"))
    }

    async fn send(&self, request: RequestBuilder, timeout: Duration) -> Result<reqwest::Response, Unanswered> {
        request.timeout(timeout).send().await.map_err(|error| Unanswered(format!("{error:?}")))
    }

    /// Pushes an image under a tag; ends well only if all of it was acknowledged.
    pub(crate) async fn push(&self, replica: usize, image: &Image, tag: &str) -> Result<(), Unanswered> {
        for blob in &image.blobs {
            self.push_blob(replica, blob).await?;
        }
        self.put(replica, image, tag).await
    }

    pub(crate) async fn push_blob(&self, replica: usize, blob: &[u8]) -> Result<(), Unanswered> {
        let path = format!("/v2/app/blobs/uploads/?digest={}", sha256(blob));
        self.write(self.request(replica, Method::POST, &path).body(blob.to_vec()), StatusCode::CREATED).await
    }

    /// Puts an image's manifest, whose blobs are there.
    pub(crate) async fn put(&self, replica: usize, image: &Image, tag: &str) -> Result<(), Unanswered> {
        let put = self.request(replica, Method::PUT, &format!("/v2/app/manifests/{tag}"));
        let put = put.header(header::CONTENT_TYPE, MANIFEST).body(image.manifest.clone());
        self.write(put, StatusCode::CREATED).await
    }

    pub(crate) async fn delete(&self, replica: usize, digest: &str) -> Result<(), Unanswered> {
        let delete = self.request(replica, Method::DELETE, &format!("/v2/app/manifests/{digest}"));
        self.write(delete, StatusCode::ACCEPTED).await
    }

    async fn write(&self, request: RequestBuilder, expected: StatusCode) -> Result<(), Unanswered> {
        let response = self.send(request, WRITE_TIMEOUT).await?;
        if response.status() == expected { Ok(()) } else { Err(Unanswered(format!("{response:?}"))) }
    }

    /// Whether a manifest is there; an error unless the replica says so or the opposite.
    pub(crate) async fn is_there(&self, replica: usize, reference: &str) -> Result<bool, Unanswered> {
        Ok(self.tagged(replica, reference).await?.is_some())
    }

    /// The digest that a tag points to; `None`: there is no such tag.
    pub(crate) async fn tagged(&self, replica: usize, tag: &str) -> Result<Option<String>, Unanswered> {
        let head = self.request(replica, Method::HEAD, &format!("/v2/app/manifests/{tag}"));
        let response = self.send(head.header(header::ACCEPT, MANIFEST), READ_TIMEOUT).await?;
        match response.status() {
            StatusCode::OK => {
                let digest = response.headers().get("docker-content-digest").unwrap();
                Ok(Some(digest.to_str().unwrap().to_owned()))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(Unanswered(format!("{response:?}"))),
        }
    }

    /// Asks for what is beside the images: the status and the answer.
    pub(crate) async fn get(&self, replica: usize, path: &str) -> (u16, Value) {
        self.ask(self.request(replica, Method::GET, path)).await
    }

    /// Asks for something to be done: the status and the answer.
    pub(crate) async fn post(&self, replica: usize, path: &str, body: &Value) -> (u16, Value) {
        self.ask(self.request(replica, Method::POST, path).json(body)).await
    }

    async fn ask(&self, request: RequestBuilder) -> (u16, Value) {
        let response = self.send(request, WRITE_TIMEOUT).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Reads all of an image, and compares it.
    pub(crate) async fn pull(&self, replica: usize, image: &Image) {
        let manifest = self.content(replica, "manifests", &image.digest).await;
        assert_eq!(manifest, image.manifest.as_bytes(), "replica {replica}");
        for blob in &image.blobs {
            assert_eq!(self.blob(replica, &sha256(blob)).await, *blob, "replica {replica}");
        }
    }

    pub(crate) async fn blob(&self, replica: usize, digest: &str) -> Vec<u8> {
        self.content(replica, "blobs", digest).await
    }

    async fn content(&self, replica: usize, kind: &str, digest: &str) -> Vec<u8> {
        let get = self.request(replica, Method::GET, &format!("/v2/app/{kind}/{digest}"));
        let response = self.send(get.header(header::ACCEPT, MANIFEST), WRITE_TIMEOUT).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{digest} on replica {replica}");
        response.bytes().await.unwrap().to_vec()
    }

    pub(crate) async fn begin_upload(&self, replica: usize) -> Result<String, Unanswered> {
        let begin = self.request(replica, Method::POST, "/v2/app/blobs/uploads/");
        location(&self.send(begin, WRITE_TIMEOUT).await?)
    }

    pub(crate) async fn append(
        &self,
        replica: usize,
        location: &str,
        part: &[u8],
        offset: usize,
    ) -> Result<String, Unanswered> {
        let range = format!("{offset}-{}", offset + part.len() - 1);
        let patch = self.request(replica, Method::PATCH, location).header(header::CONTENT_RANGE, range);
        self::location(&self.send(patch.body(part.to_vec()), WRITE_TIMEOUT).await?)
    }

    /// Ends an upload with its last part; the digest of all parts.
    pub(crate) async fn finish(
        &self,
        replica: usize,
        location: &str,
        part: &[u8],
        whole: &[u8],
    ) -> Result<String, Unanswered> {
        let digest = sha256(whole);
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = self.request(replica, Method::PUT, &format!("{location}{separator}digest={digest}"));
        self.write(put.body(part.to_vec()), StatusCode::CREATED).await?;
        Ok(digest)
    }
}

/// Where to go on: the path, as every replica has it.
fn location(response: &reqwest::Response) -> Result<String, Unanswered> {
    if response.status() != StatusCode::ACCEPTED {
        return Err(Unanswered(format!("{response:?}")));
    }
    let location = response.headers().get(header::LOCATION).unwrap().to_str().unwrap();
    let path = location.find("/v2/").unwrap();
    Ok(location[path..].to_owned())
}
