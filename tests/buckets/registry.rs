//! A registry on a bucket, and what is said where there can be none.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use lagan::oci::{Algorithm, Digest};
use tempfile::TempDir;

use crate::environment::variable_of_tests_run;
use crate::server::Server;

/// Who may use the store.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) key: String,
    pub(crate) secret: String,
}

pub(crate) fn credentials() -> Credentials {
    Credentials {
        key: variable_of_tests_run("LAGAN_TEST_S3_ACCESS_KEY"),
        secret: variable_of_tests_run("LAGAN_TEST_S3_SECRET_KEY"),
    }
}

/// A place in a bucket, as a configuration names it.
#[derive(Clone)]
pub(crate) struct Bucket {
    endpoint: String,
    name: String,
    credentials: Option<Credentials>,
    fields: Vec<String>,
}

impl Bucket {
    /// The tests' own one, at this address.
    pub(crate) fn at(endpoint: &str) -> Self {
        let (name, credentials) = (variable_of_tests_run("LAGAN_TEST_S3_BUCKET"), Some(credentials()));
        Self { endpoint: endpoint.to_owned(), name, credentials, fields: Vec::new() }
    }

    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// With one more field.
    pub(crate) fn with(mut self, field: &str) -> Self {
        self.fields.push(field.to_owned());
        self
    }

    pub(crate) fn with_secret(self, secret: &str) -> Self {
        let credentials = Credentials { secret: secret.to_owned(), ..credentials() };
        Self { credentials: Some(credentials), ..self }
    }

    /// With those of the environment.
    pub(crate) fn without_credentials(self) -> Self {
        Self { credentials: None, ..self }
    }

    /// The configuration, whose credentials are in files of a folder.
    fn configuration(&self, folder: &Path) -> String {
        let mut fields = vec![
            format!("bucket: {}", self.name),
            format!("endpoint: '{}'", self.endpoint),
            format!("prefix: keys-{}", ulid::Ulid::generate()),
        ];
        if let Some(Credentials { key, secret }) = &self.credentials {
            let credentials = folder.join("s3");
            fs::create_dir(&credentials).unwrap();
            fs::write(credentials.join("AWS_ACCESS_KEY_ID"), key).unwrap();
            fs::write(credentials.join("AWS_SECRET_ACCESS_KEY"), secret).unwrap();
            fields.push(format!("credentialsDirectory: {}", credentials.display()));
        }
        fields.extend(self.fields.iter().cloned());
        format!("auth: {{anonymous: All}}\nstorage: {{type: S3, s3: {{{}}}}}", fields.join(", "))
    }
}

/// A registry's process and its folder.
pub(crate) struct Registry {
    server: Server,
    _folder: TempDir,
}

/// Starts one, and awaits that it is ready.
pub(crate) fn serve(bucket: &Bucket, environment: &[(&str, &str)]) -> Registry {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &bucket.configuration(folder.path()), environment);
    Registry { server, _folder: folder }
}

/// How one ends that cannot be served: its exit code, and what it said.
pub(crate) fn refusal(bucket: &Bucket, environment: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serve.yaml");
    let configuration = bucket.configuration(folder.path());
    fs::write(&file, format!("listen: 127.0.0.1:0\nhealth: {{listen: '127.0.0.1:0'}}\n{configuration}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lagan"));
    command.args(["serve", "--config"]).arg(&file).envs(environment.iter().copied()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&words).into_owned())
}

/// Pushes a blob of so many bytes, and pulls it.
pub(crate) async fn push_and_pull(registry: &Registry, bytes: usize) {
    let content: Vec<u8> = (0..bytes).map(|at| at.to_le_bytes()[at % 3]).collect();
    let digest = Digest::of(Algorithm::Sha256, &content);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/v2/team/app/blobs", registry.server.address);
    let pushed = client.post(format!("{url}/uploads/?digest={digest}")).body(content.clone()).send().await.unwrap();
    assert_eq!(pushed.status(), 201, "{}", registry.server.log());
    let pulled = client.get(format!("{url}/{digest}")).send().await.unwrap();
    assert_eq!(pulled.status(), 200, "{}", registry.server.log());
    assert!(pulled.bytes().await.unwrap() == content, "other bytes came back");
}
