//! An object store on the node, which pods reach.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{Kubectl, Namespace, eventually};

/// Who may use it.
const KEY: &str = "lagan";
/// With what.
const SECRET: &str = "lagan-tests-only";
/// The one bucket.
const BUCKET: &str = "images";

/// versitygw over a folder: a store of S3's protocol, ended with its test.
pub(crate) struct ObjectStore {
    address: String,
    process: Child,
    _folder: TempDir,
}

impl ObjectStore {
    /// Starts one with an empty bucket.
    pub(crate) fn started() -> Self {
        let nodes = Kubectl::cluster().list("nodes", "");
        let addresses = nodes[0]["status"]["addresses"].as_array().unwrap().clone();
        let internal = addresses.into_iter().find(|address| address["type"] == "InternalIP").unwrap();
        let host = internal["address"].as_str().unwrap().to_owned();
        // Free a moment ago; the harness has the network to itself.
        let port = TcpListener::bind((host.as_str(), 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let address = format!("{host}:{port}");
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "versitygw", "--access", KEY, "--secret", SECRET, "--region", "us-east-1"])
            .args(["--port", &address, "--quiet", "posix"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let store = Self { address, process, _folder: folder };
        eventually("the object store answers", || {
            TcpStream::connect(&store.address).map(drop).map_err(|error| error.to_string())
        });
        store
    }

    /// The storage of a Registry on it, as YAML in braces' form; its Secret is applied.
    pub(crate) fn storage(&self, namespace: &Namespace) -> String {
        Self::apply_secret(namespace, SECRET);
        format!(
            "storage: {{type: S3, s3: {{bucket: {BUCKET}, endpoint: 'http://{}', prefix: a/b, \
             credentialsSecretRef: {{name: bucket}}}}}}",
            self.address
        )
    }

    /// The Secret with the right key, and this secret.
    pub(crate) fn apply_secret(namespace: &Namespace, secret: &str) {
        namespace.apply(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: bucket}}, \
             stringData: {{AWS_ACCESS_KEY_ID: {KEY}, AWS_SECRET_ACCESS_KEY: {secret}}}}}"
        ));
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
