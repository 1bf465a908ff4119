//! The registry that clients talk to.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use crate::issuer::new_issuer;
use crate::support::{Credentials, Program, RegistryAddress, Server};

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
        for (file, variable) in
            [("AWS_ACCESS_KEY_ID", "LAGAN_TEST_S3_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "LAGAN_TEST_S3_SECRET_KEY")]
        {
            fs::create_dir_all(folder.path().join("s3")).unwrap();
            fs::write(folder.path().join("s3").join(file), variable_of_tests_run(variable)).unwrap();
        }
        let (bucket, prefix) = (variable_of_tests_run("LAGAN_TEST_S3_BUCKET"), ulid::Ulid::generate().to_string());
        let objects =
            Path::new(&variable_of_tests_run("LAGAN_SERVERS_DIR")).join("versitygw").join(&bucket).join(&prefix);
        let storage = format!(
            "{{type: S3, s3: {{bucket: {bucket}, endpoint: '{}', addressing: Path, prefix: {prefix}, credentialsDirectory: {}}}}}",
            variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT"),
            folder.path().join("s3").display()
        );
        Self::storing(folder, &storage, Some(objects))
    }

    fn storing(folder: TempDir, storage: &str, objects: Option<PathBuf>) -> Self {
        let credentials = Credentials { user: "tester".to_owned(), password: "a password of tests".to_owned() };
        let hash = bcrypt::hash(&credentials.password, 4).unwrap();
        fs::write(folder.path().join("users"), format!("{}:{hash}\n", credentials.user)).unwrap();
        let authority = write_certificate(folder.path());
        let at = |name: &str| folder.path().join(name).display().to_string();
        let configuration = format!(
            "storage: {storage}\ntls: {{certificate: {}, key: {}}}\nauth: {{anonymous: None, htpasswd: {{file: {}}}}}",
            at("tls.crt"),
            at("tls.key"),
            at("users")
        );
        let server = Server::start(folder.path(), &configuration);
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

fn variable_of_tests_run(name: &str) -> String {
    env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: `tests/run --only clients` starts the server and does"))
}

/// Writes tls.crt and tls.key for the loopback address, and returns the authority that signed, in PEM.
fn write_certificate(folder: &Path) -> String {
    let authority = new_issuer();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    authority.pem()
}
