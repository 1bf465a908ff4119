//! Where a registry answers, and the clients that talk to it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Image, Output, Program, eventually};

/// A user of a registry.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A registry's address with what a client needs to use it. Works without the cluster's API server.
pub(crate) struct RegistryAddress {
    /// `host:port`, as it is written before the repository.
    pub(crate) host: String,
    pub(crate) credentials: Option<Credentials>,
    /// Holds ca.crt where the registry speaks TLS, and the file of crane's logins.
    folder: TempDir,
    tls: bool,
}

impl RegistryAddress {
    /// With TLS, verified with this authority only.
    pub(crate) fn trusting(host: &str, authority: &str, credentials: Credentials) -> Self {
        let address = Self::at(host, Some(credentials), true);
        fs::write(address.authority(), authority).unwrap();
        address
    }

    /// Without TLS and without a login.
    pub(crate) fn plain(host: &str) -> Self {
        Self::at(host, None, false)
    }

    fn at(host: &str, credentials: Option<Credentials>, tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(Credentials { user, password }) = &credentials {
            let logins = serde_json::json!({"auths": {host: {"username": user, "password": password}}});
            fs::write(folder.path().join("config.json"), logins.to_string()).unwrap();
        }
        Self { host: host.to_owned(), credentials, folder, tls }
    }

    /// The file of the authority that signed its certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// The base of all addresses.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.host)
    }

    /// A folder with `ca.crt` as the one certificate, and the logins that Docker's clients read.
    #[allow(dead_code, reason = "not every test binary has a client that wants a folder")]
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a pod's image or a client's argument says: `host:port/repository:tag`.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// curl with the authority and the login, to be completed.
    pub(crate) fn curl(&self) -> Program {
        let mut curl = Program::new("curl").args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]);
        if self.tls {
            curl = curl.arg("--cacert").arg(self.authority());
        }
        if let Some(Credentials { user, password }) = &self.credentials {
            curl = curl.args(["--user", &format!("{user}:{password}")]);
        }
        curl
    }

    /// A request, and the answer whatever its status is.
    pub(crate) fn request(&self, method: &str, path: &str) -> Answer {
        self.try_request(method, path).unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// A request; an error if there was no answer at all.
    pub(crate) fn try_request(&self, method: &str, path: &str) -> Result<Answer, String> {
        let body = self.folder.path().join("body");
        let _ = fs::remove_file(&body);
        let headers = self.folder.path().join("headers");
        let curl = self.curl().args(["--write-out", "%{http_code}", "--output"]).arg(&body).arg("--dump-header");
        let curl = curl.arg(&headers).args(["--header", "Accept: application/vnd.oci.image.manifest.v1+json"]);
        let curl = curl.args(["--header", "Accept: application/vnd.oci.image.index.v1+json"]);
        let curl = if method == "HEAD" { curl.arg("--head") } else { curl.args(["--request", method]) };
        let status = curl.arg(format!("{}{path}", self.url())).output().into_result()?;
        Ok(Answer {
            status: status.parse().map_err(|_| format!("no status in {status:?}"))?,
            body: fs::read(&body).unwrap_or_default(),
            headers: headers_in(&headers),
        })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path)
    }

    /// skopeo, to be completed, with options whose names begin as the side it talks to.
    pub(crate) fn skopeo(&self, verb: &str, side: &str) -> Program {
        let mut skopeo = Program::new("skopeo").args(["--insecure-policy", verb]);
        if self.tls {
            skopeo = skopeo.arg(format!("--{side}cert-dir")).arg(self.folder.path());
        } else {
            skopeo = skopeo.arg(format!("--{side}tls-verify=false"));
        }
        if let Some(Credentials { user, password }) = &self.credentials {
            skopeo = skopeo.arg(format!("--{side}creds")).arg(format!("{user}:{password}"));
        }
        skopeo
    }

    /// Pushes with skopeo, all platforms of an index too.
    pub(crate) fn push(&self, image: &Image, name: &str) {
        let output = self.try_push(image, name);
        assert!(output.is_success(), "{output}");
    }

    pub(crate) fn try_push(&self, image: &Image, name: &str) -> Output {
        self.skopeo("copy", "dest-")
            .args(["--all", "--preserve-digests", "--quiet"])
            .arg(format!("oci:{}", image.layout().display()))
            .arg(format!("docker://{}", self.reference(name)))
            .output()
    }

    /// Deletes with skopeo.
    pub(crate) fn delete(&self, name: &str) {
        self.skopeo("delete", "").arg(format!("docker://{}", self.reference(name))).succeeds();
    }

    /// crane with the login and the authority, to be completed.
    pub(crate) fn crane(&self, verb: &str) -> Program {
        let crane = Program::new("crane").arg(verb).env("DOCKER_CONFIG", self.folder.path());
        if self.tls { crane.env("SSL_CERT_FILE", self.authority()) } else { crane.arg("--insecure") }
    }

    /// The digest that a name stands for, as crane sees it.
    pub(crate) fn digest(&self, name: &str) -> String {
        self.crane("digest").arg(self.reference(name)).succeeds()
    }

    /// Pulls with crane into an OCI layout, all platforms too, and returns the layout.
    pub(crate) fn pull(&self, name: &str) -> TempDir {
        eventually(&format!("the registry takes the connections of a pull of {name}"), || {
            let layout = tempfile::tempdir().unwrap();
            let pull = self.crane("pull").args(["--format", "oci"]).arg(self.reference(name)).arg(layout.path());
            let output = pull.output();
            // A node's rules for a Service follow the readiness of a pod that was killed with a delay, and refuse
            // connections meanwhile. Nothing else is tried again.
            let refused = output.stderr.contains("connection refused");
            assert!(output.is_success() || refused, "{output}");
            output.into_result().map(|_| layout)
        })
    }

    /// Pulls, and fails unless what came is the image to the last byte.
    pub(crate) fn pull_is_identical(&self, image: &Image, name: &str) {
        let layout = self.pull(name);
        let digests = [&image.digest].into_iter().chain(&image.children).chain(&image.layers);
        for digest in digests {
            let pulled = fs::read(super::image::blob_path(layout.path(), digest))
                .unwrap_or_else(|error| panic!("the pull of {name} did not bring {digest}: {error}"));
            assert_eq!(pulled, image.blob(digest), "{digest} of {name} is not what was pushed");
        }
    }

    /// The tags of a repository.
    pub(crate) fn tags(&self, repository: &str) -> Vec<String> {
        let answer = self.get(&format!("/v2/{repository}/tags/list"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let tags = answer.json()["tags"].clone();
        serde_json::from_value(tags).unwrap()
    }
}

fn headers_in(file: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

/// A registry's answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} {:?} {}", self.status, self.headers, body.chars().take(2000).collect::<String>())
    }
}
