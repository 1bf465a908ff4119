use std::{path::PathBuf, sync::Arc, time::Duration};

use lagan::api::v1alpha1::Anonymous;
use lagan::http::{Authenticator, Metrics, Service, TlsIdentity};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, KeyPair};
use reqwest::{Certificate, Client, Identity, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::issuer::new_issuer;
use crate::registry::{Setup, app, install_crypto, serve};

/// An authority that signs for both sides.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        Self(new_issuer())
    }

    /// Certificate and key, as PEM.
    fn sign(&self, common_name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn client(&self, identity: Option<&str>) -> Client {
        let authority = Certificate::from_pem(self.0.pem().as_bytes()).unwrap();
        // A new connection for each request, so that each sees the certificate of its time.
        let builder = Client::builder().no_proxy().pool_max_idle_per_host(0).tls_certs_only([authority]);
        let name = identity.map(|name| self.sign(name));
        match name {
            Some((certificate, key)) => {
                builder.identity(Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap())
            }
            None => builder,
        }
        .build()
        .unwrap()
    }
}

/// A folder with `tls.crt`, `tls.key` and `ca.crt`.
struct Files(TempDir);

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, authority: &Authority) {
        let (certificate, key) = authority.sign("registry");
        std::fs::write(self.path("tls.crt"), certificate).unwrap();
        std::fs::write(self.path("tls.key"), key).unwrap();
        std::fs::write(self.path("ca.crt"), authority.0.pem()).unwrap();
    }
}

async fn registry_with_tls(files: &Files) -> (String, TempDir) {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new());
    let (app, _) = app(&folder, &Setup::default(), metrics.clone(), Arc::default()).await;
    let authenticator = Arc::new(Authenticator::new(Anonymous::All, None).unwrap());
    let tls = TlsIdentity::load(&files.path("tls.crt"), &files.path("tls.key")).unwrap();
    let service = Service::Registry { app, authenticator };
    let (address, _) = serve(service, Some(tls), metrics, Duration::ZERO, CancellationToken::new()).await;
    (format!("https://localhost:{}", address.port()), folder)
}

#[tokio::test]
async fn a_certificate_that_changes_is_served_and_a_broken_one_is_not() {
    let files = Files(tempfile::tempdir().unwrap());
    let (old, new) = (Authority::new(), Authority::new());
    files.write(&old);
    let (base, _folder) = registry_with_tls(&files).await;
    let url = format!("{base}/v2/");
    let (trusts_old, trusts_new) = (old.client(None), new.client(None));
    assert_eq!(trusts_old.get(&url).send().await.unwrap().status(), StatusCode::OK);
    assert!(trusts_new.get(&url).send().await.is_err());

    files.write(&new);
    while trusts_new.get(&url).send().await.is_err() {}
    assert!(trusts_old.get(&url).send().await.is_err());

    std::fs::write(files.path("tls.key"), "no key").unwrap();
    let until = std::time::Instant::now() + Duration::from_millis(1500);
    while std::time::Instant::now() < until {
        assert_eq!(trusts_new.get(&url).send().await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn plain_http_on_a_tls_port_harms_nobody() {
    let files = Files(tempfile::tempdir().unwrap());
    let authority = Authority::new();
    files.write(&authority);
    let (base, _folder) = registry_with_tls(&files).await;
    let plain = Client::builder().no_proxy().build().unwrap();
    assert!(plain.get(base.replace("https", "http")).send().await.is_err());
    assert_eq!(authority.client(None).get(format!("{base}/v2/")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_control_listener_wants_a_certificate_of_its_authority_and_needs_no_password() {
    install_crypto();
    let files = Files(tempfile::tempdir().unwrap());
    let authority = Authority::new();
    files.write(&authority);
    let folder = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new());
    let (app, _) = app(&folder, &Setup::default(), metrics.clone(), Arc::default()).await;
    let [certificate, key, ca] = ["tls.crt", "tls.key", "ca.crt"].map(|name| files.path(name));
    let tls = TlsIdentity::load_mutual(&certificate, &key, &ca).unwrap();
    let service = Service::Control { app };
    let (address, _) = serve(service, Some(tls), metrics, Duration::ZERO, CancellationToken::new()).await;
    let base = format!("https://localhost:{}", address.port());

    assert!(authority.client(None).get(format!("{base}/v2/_lagan/")).send().await.is_err());
    let stranger = Authority::new();
    let forged = Client::builder()
        .no_proxy()
        .tls_certs_only([Certificate::from_pem(authority.0.pem().as_bytes()).unwrap()])
        .identity({
            let (certificate, key) = stranger.sign("lagan-operator");
            Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap()
        })
        .build()
        .unwrap();
    assert!(forged.get(format!("{base}/v2/_lagan/")).send().await.is_err());

    let operator = authority.client(Some("lagan-operator"));
    let version = operator.get(format!("{base}/v2/_lagan/")).send().await.unwrap();
    assert_eq!(version.json::<Value>().await.unwrap()["version"], env!("CARGO_PKG_VERSION"));
    let trash = operator.get(format!("{base}/v2/_lagan/trash")).send().await.unwrap();
    assert_eq!(trash.json::<Value>().await.unwrap()["entries"], json!([]));
    // The registry itself is elsewhere.
    for path in ["/v2/", "/v2/app/manifests/v1"] {
        assert_eq!(operator.get(format!("{base}{path}")).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    }
}
