//! A Redis behind TLS, with an authority of its own and an access control list.

use std::error::Error as _;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::storage::{
    Options, RedisOptions, RedisTarget, RedisTls, Repository,
    cache::blob_descriptor::redis::Session,
    fixtures::{World, name, open, options},
    tests::{by, cause, image, is_there},
};

use super::redis_server::{RedisServer, target_of};

const USER: &str = "lagan";
const PASSWORD: &str = "driftwood";

/// What docs/observability.md says that its user needs.
const COMMANDS: [&str; 9] =
    ["+evalsha", "+eval", "+script|load", "+hmget", "+hget", "+hset", "+pexpire", "+del", "+info"];

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// A folder with what a server of this machine shows.
    fn server_files(&self) -> TempDir {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
        folder
    }
}

/// A Redis that speaks TLS at an address of this machine, and has one user who may do what is needed.
struct Guarded {
    server: RedisServer,
    options: RedisOptions,
    _files: TempDir,
}

impl Guarded {
    async fn start(authority: &Authority) -> Self {
        // Whoever uses the library without a program around it installs this; here it is the tests.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let files = authority.server_files();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| files.path().join(name).display().to_string();
        let server = RedisServer::start_with(&[
            &["--bind", "127.0.0.1", "--tls-port", &port.to_string(), "--tls-auth-clients", "no"],
            &[
                "--tls-cert-file",
                &at("tls.crt"),
                "--tls-key-file",
                &at("tls.key"),
                "--tls-ca-cert-file",
                &at("tls.crt"),
            ],
        ])
        .await;
        let password = format!(">{PASSWORD}");
        let user = ["ACL", "SETUSER", USER, "on", &password, "~lagan*", "-@all"];
        let () = server.command(&[&user[..], &COMMANDS].concat()).await;
        let options = RedisOptions {
            tls: Some(RedisTls { authorities: Some(authority.pem()) }),
            username: Some(USER.into()),
            password: Some(PASSWORD.into()),
            ..RedisOptions::at(format!("localhost:{port}"))
        };
        Self { server, options, _files: files }
    }

    /// What is said of a connection with other options.
    async fn complaint(&self, options: RedisOptions) -> String {
        let error = Session::open(&target_of(options)).await.unwrap_err();
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            text = format!("{text}: {deeper}");
            cause = deeper.source();
        }
        assert!(!text.contains(PASSWORD), "{text}");
        text
    }
}

/// Pushes an image, and reads it twice.
async fn serves(world: &World, redis: RedisTarget) -> Repository {
    let options = Options { redis: Some(redis), ..options() };
    let repository = open(world.driver.clone(), options, world.clock.clone()).await.repository(&name("a"));
    let digest = image("flotsam").push(&repository, Some("latest")).await.unwrap();
    for _ in 0..2 {
        assert!(is_there(&repository, &by(&digest)).await);
    }
    repository
}

#[tokio::test]
async fn a_user_who_may_do_what_is_documented_fills_it_over_tls() {
    let guarded = Guarded::start(&Authority::new()).await;
    let world = World::new();
    let repository = serves(&world, target_of(guarded.options.clone())).await;
    let keys = guarded.server.keys().await;
    let digest = image("flotsam").digest();
    assert!(keys.iter().any(|key| key.ends_with(&digest.to_string())), "{keys:?}");
    let epoch = repository.store.cache_epoch();
    repository.delete_manifest(&by(&digest), cause()).await.unwrap();
    assert!(epoch.is_some());
    assert_eq!(repository.store.cache_epoch(), epoch, "the delete could tell it");
}

#[tokio::test]
async fn a_redis_that_is_not_who_it_should_be_is_named_and_done_without() {
    let guarded = Guarded::start(&Authority::new()).await;
    let others = Some(RedisTls { authorities: Some(Authority::new().pem()) });
    let of_others = RedisOptions { tls: others, ..guarded.options.clone() };
    let complaint = guarded.complaint(of_others.clone()).await;
    assert!(complaint.contains("could not connect to redis") && complaint.contains("certificate"), "{complaint}");
    let by_address = guarded.options.address.replace("localhost", "127.0.0.1");
    let complaint = guarded.complaint(RedisOptions { address: by_address, ..guarded.options.clone() }).await;
    assert!(complaint.contains("certificate"), "its certificate is of another name: {complaint}");
    let complaint = guarded.complaint(RedisOptions { tls: None, ..guarded.options.clone() }).await;
    assert!(complaint.contains("could not connect to redis"), "{complaint}");
    serves(&World::new(), target_of(of_others)).await;
    assert_eq!(guarded.server.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_login_that_is_refused_is_named_and_done_without() {
    let guarded = Guarded::start(&Authority::new()).await;
    let wrong = RedisOptions { password: Some("flotsam".into()), ..guarded.options.clone() };
    let complaint = guarded.complaint(wrong.clone()).await;
    assert!(
        complaint.contains("could not connect to redis") && complaint.contains("authentication failed"),
        "{complaint}"
    );
    serves(&World::new(), target_of(wrong)).await;
    let () = guarded.server.command(&["ACL", "SETUSER", USER, "-info"]).await;
    let complaint = guarded.complaint(guarded.options.clone()).await;
    assert!(complaint.contains("NOPERM") || complaint.contains("info"), "{complaint}");
    assert_eq!(guarded.server.keys().await, Vec::<String>::new());
}
