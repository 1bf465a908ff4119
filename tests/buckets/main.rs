//! `lagan serve` and the ways to reach a bucket: authorities, hosts, credentials, encryption, and what is wrong with each.
//!
//! The store is a real one, versitygw, which `tests/run --only drivers` starts. What it cannot tell is read off the
//! connection to it, by a listener in front.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod authority;
#[path = "../support/command.rs"]
mod command;
#[path = "../support/environment.rs"]
mod environment;
mod front;
#[path = "../support/issuer.rs"]
mod issuer;
mod registry;
#[path = "../support/server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod server;
mod token_service;

use authority::Authority;
use environment::variable_of_tests_run;
use front::Front;
use registry::{Bucket, credentials, push_and_pull, refusal, serve};
use token_service::TokenService;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: tests/run"]
async fn store_with_a_private_authority_is_trusted_by_its_bundle_alone() {
    let (authority, other) = (Authority::new(), Authority::new());
    let front = Front::with_tls(&variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT"), authority.acceptor()).await;
    let bucket = Bucket::at(&format!("https://{}", front.address));
    let trusting = bucket.clone().with(&format!("caBundleFile: {}", authority.bundle().display()));
    push_and_pull(&serve(&trusting, &[]), 20_000_000).await;
    assert!(front.heard().contains("PUT /lagan-tests/"), "it was not the store behind TLS");

    let strange = bucket.clone().with(&format!("caBundleFile: {}", other.bundle().display()));
    for wrong in [bucket, strange] {
        let (code, words) = refusal(&wrong, &[]);
        assert_eq!(code, 69, "{words}");
        assert!(words.contains("certificate") && words.contains("does not answer"), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: tests/run"]
async fn bucket_stands_in_the_host_or_the_path_of_an_address() {
    // Nobody but the proxy knows where the names lead.
    let proxy = Front::proxy(&variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT")).await;
    let url = format!("http://{}", proxy.address);
    let environment = [("HTTP_PROXY", url.as_str()), ("NO_PROXY", "")];
    let domain = variable_of_tests_run("LAGAN_TEST_S3_VIRTUAL_DOMAIN");
    let bucket = Bucket::at(&format!("http://{domain}"));
    let name = variable_of_tests_run("LAGAN_TEST_S3_BUCKET");

    push_and_pull(&serve(&bucket.clone().with("addressing: VirtualHost"), &environment), 20_000_000).await;
    let heard = proxy.heard();
    assert!(heard.contains(&format!("CONNECT {name}.{domain}:80 ")), "the bucket is not in the host's name");
    assert!(heard.contains("PUT /keys-"), "the bucket is in the path");

    for addressing in ["Path", "Auto"] {
        let proxy = Front::proxy(&variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT")).await;
        let url = format!("http://{}", proxy.address);
        let environment = [("HTTP_PROXY", url.as_str()), ("NO_PROXY", "")];
        let at_path = bucket.clone().with(&format!("addressing: {addressing}"));
        push_and_pull(&serve(&at_path, &environment), 1000).await;
        assert!(proxy.heard().contains(&format!("PUT /{name}/keys-")), "{addressing}: the bucket is not in the path");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: tests/run"]
async fn encryption_is_asked_for_with_everything_that_is_written() {
    let kms = "x-amz-server-side-encryption: aws:kms\r\n";
    let key = "x-amz-server-side-encryption-aws-kms-key-id: a-key\r\n";
    for (encryption, wanted) in [
        ("{type: S3Managed}", &["x-amz-server-side-encryption: AES256\r\n"][..]),
        ("{type: KMS}", &[kms]),
        ("{type: KMS, kmsKeyID: a-key}", &[kms, key]),
    ] {
        let front = Front::plain(&variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT")).await;
        let bucket = Bucket::at(&format!("http://{}", front.address)).with(&format!("encryption: {encryption}"));
        push_and_pull(&serve(&bucket, &[]), 20_000_000).await;
        let heads = front.heads();
        // A part's encryption is that of the upload, which its beginning says.
        let writes = heads.iter().filter(|head| {
            let line = head.lines().next().unwrap_or_default();
            line.starts_with("PUT ") && !line.contains("uploadId=")
                || line.starts_with("POST ") && line.contains("?uploads")
        });
        let writes: Vec<_> = writes.collect();
        assert!(writes.iter().any(|head| head.starts_with("POST ")), "no upload in parts was begun");
        for head in writes {
            assert!(wanted.iter().all(|header| head.contains(header)), "{encryption}: {head}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: tests/run"]
async fn token_of_a_workload_is_exchanged_for_credentials() {
    let service = TokenService::start(&credentials()).await;
    // A token goes to nobody without TLS.
    let authority = Authority::new();
    let secure = format!("https://{}", Front::with_tls(&service.url, authority.acceptor()).await.address);
    // The first server refuses tokens of sessions, whatever they say.
    let front = Front::plain(&variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT_2")).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "the-token-of-a-workload").unwrap();
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/lagan"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_STS", secure.as_str()),
    ];
    let bucket = Bucket::at(&format!("http://{}", front.address)).without_credentials();
    let bucket = bucket.with(&format!("caBundleFile: {}", authority.bundle().display()));
    push_and_pull(&serve(&bucket, &environment), 1000).await;
    let asked = service.heard();
    for part in ["Action=AssumeRoleWithWebIdentity", "the-token-of-a-workload", "role%2Flagan"] {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
    assert!(front.heard().contains("x-amz-security-token: of-the-session"), "the session's token was not sent");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: tests/run"]
async fn start_says_what_is_wrong_with_a_bucket() {
    let endpoint = variable_of_tests_run("LAGAN_TEST_S3_ENDPOINT");
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for (bucket, code, words) in [
        (Bucket::at(&endpoint).with_secret("another"), 77, "the store refuses the credentials: SignatureDoesNotMatch"),
        (Bucket::at(&endpoint).named("absent-bucket"), 69, "s3://absent-bucket/"),
        (Bucket::at(&endpoint).named("absent-bucket"), 69, "there is no such bucket: make it first"),
        (Bucket::at(&nobody), 69, "the store does not answer"),
    ] {
        let (found, said) = refusal(&bucket, &[]);
        assert_eq!(found, code, "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!said.contains(&variable_of_tests_run("LAGAN_TEST_S3_SECRET_KEY")), "{said}");
    }
}
