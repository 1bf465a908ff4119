//! The registry that clients talk to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::certificate::write_certificate;
use crate::environment::variable_of_tests_run;
use crate::s3::s3_fields;
use crate::support::{Credentials, Program, RegistryAddress, Server};
use crate::versitygw::objects_under;

/// A process with TLS, one user, and a store of its own.
pub(crate) struct Registry {
    pub(crate) address: RegistryAddress,
    pub(crate) server: Server,
    folder: TempDir,
    /// Where the S3 server keeps what this one stores in its bucket.
    objects: Option<PathBuf>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Gibibytes, some of them, and more tests are to come.
        self.objects.as_ref().map(fs::remove_dir_all);
    }
}

impl Registry {
    /// One that stores in a folder.
    pub(crate) fn on_folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = format!("{{filesystem: {{directory: {}}}}}", folder.path().join("data").display());
        Self::storing(folder, &storage, None)
    }

    /// One that stores in a bucket, under a prefix of its own.
    pub(crate) fn on_bucket() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prefix = ulid::Ulid::generate().to_string();
        let endpoint = variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT");
        let s3 = s3_fields(&endpoint, &prefix, &folder.path().join("s3"));
        Self::storing(folder, &format!("{{type: S3, s3: {{{s3}}}}}"), Some(objects_under(&prefix)))
    }

    fn storing(folder: TempDir, storage: &str, objects: Option<PathBuf>) -> Self {
        let credentials = Credentials { user: "tester".to_owned(), password: "a password of tests".to_owned() };
        let hash = bcrypt::hash(&credentials.password, 4).unwrap();
        fs::write(folder.path().join("users"), format!("{}:{hash}\n", credentials.user)).unwrap();
        write_certificate(folder.path(), &["127.0.0.1", "localhost"]);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let configuration = format!(
            "storage: {storage}\ntls: {{certificate: {}, key: {}}}\nauth: {{anonymous: None, htpasswd: {{file: {}}}}}",
            at("tls.crt"),
            at("tls.key"),
            at("users")
        );
        let server = Server::start(folder.path(), &configuration);
        let authority = fs::read_to_string(at("ca.crt")).unwrap();
        let address = RegistryAddress::trusting(&server.address.to_string(), &authority, credentials);
        Self { address, server, folder, objects }
    }

    /// The same registry at another address, such as a proxy's.
    pub(crate) fn through(&self, host: &str) -> RegistryAddress {
        let authority = fs::read_to_string(self.address.authority()).unwrap();
        RegistryAddress::trusting(host, &authority, self.credentials().clone())
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        self.address.credentials.as_ref().expect("it was made with a login")
    }

    /// `user:password`.
    pub(crate) fn login(&self) -> String {
        format!("{}:{}", self.credentials().user, self.credentials().password)
    }

    /// A folder that is removed with the registry.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `lagan trash`, to be completed.
    pub(crate) fn trash(&self, verb: &str) -> Program {
        let authority = self.address.authority();
        Program::new(env!("CARGO_BIN_EXE_lagan"))
            .args(["trash", verb, "--registry", &self.address.url(), "--username", &self.credentials().user, "--ca"])
            .arg(authority)
            .env("LAGAN_PASSWORD", &self.credentials().password)
    }
}
