//! Real servers, which `tests/run --only drivers` starts and names in the environment.

use std::{env, sync::Arc};

use bytes::Bytes;
use object_store::{path::Path, signer::SignedUrlOptions};

use crate::storage::{
    driver::{
        Purge, StoragePath,
        suite::{self, Subject},
    },
    fixtures::{self, ManualClock, name, open},
};

use super::*;

/// Two parts and a half.
const LONG: usize = 20_000_017;

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run --only drivers"))
}

/// A folder of its own for each run.
fn options(provider: Provider) -> ObjectStoreOptions {
    let prefix: StoragePath = format!("suite-{:08x}", rand::random::<u32>()).parse().unwrap();
    // Whoever uses the library without a program around it installs this; here it is the tests.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    ObjectStoreOptions { prefix: Some(prefix), ..ObjectStoreOptions::new(provider) }
}

fn s3(endpoint: &str) -> S3Options {
    S3Options {
        region: Some(variable("LAGAN_TEST_S3_REGION")),
        endpoint: Some(variable(endpoint)),
        credentials: S3Credentials::Key {
            access_key_id: variable("LAGAN_TEST_S3_ACCESS_KEY"),
            secret_access_key: Secret::new(variable("LAGAN_TEST_S3_SECRET_KEY")),
            session_token: None,
        },
        ..S3Options::new(variable("LAGAN_TEST_S3_BUCKET"))
    }
}

/// With it, what is long in these tests is copied in several parts, the smallest that S3 takes.
const COPIED_IN_PARTS: Sizes = Sizes { copied_part: 5 << 20, ..Sizes::REAL };

fn driver(options: &ObjectStoreOptions, sizes: Sizes) -> Arc<ObjectDriver> {
    let ObjectDriver { shared, fenced } = ObjectDriver::open(options).unwrap();
    let shared = Shared { bucket: shared.bucket.clone(), budget: shared.budget.clone(), sizes };
    Arc::new(ObjectDriver { shared: Arc::new(shared), fenced })
}

fn subject(options: &ObjectStoreOptions, sizes: Sizes) -> Subject {
    let (driver, other) = (driver(options, sizes), driver(options, sizes));
    Subject { driver, other, long_upload: LONG, signs: true, shows_folders: false }
}

/// What the store knows of uploads in parts that were neither joined nor dropped, below a driver's prefix.
async fn open_uploads(options: &ObjectStoreOptions) -> usize {
    let driver = driver(options, Sizes::REAL);
    let signer = driver.shared.bucket.signer.clone().unwrap();
    let prefix = options.prefix.as_ref().unwrap().to_string();
    let query = SignedUrlOptions::new().with_query([("uploads", ""), ("prefix", prefix.as_str())]);
    let address = signer.signed_url_opts(http::Method::GET, &Path::default(), Duration::from_secs(60), &query).await;
    let answer = reqwest::get(address.unwrap()).await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.text().await.unwrap().matches("<UploadId>").count()
}

/// Both the store's own copies, and what is streamed where it has none, come to the same; and the store has them.
async fn the_store_copies_in_parts(options: &ObjectStoreOptions) {
    let driver = driver(options, COPIED_IN_PARTS);
    let content: Bytes = (0..12_000_000_u32).map(|n| n.to_le_bytes()[(n % 4) as usize]).collect();
    let (from, to) = ("copied/from a+b".parse().unwrap(), "copied/to".parse().unwrap());
    driver.put(&from, content.clone(), Durability::Durable).await.unwrap();
    let bucket = driver.bucket();
    let id = bucket.begin_parts(&to).await.unwrap();
    let mut parts = Vec::new();
    for (number, range) in [0..5 << 20, 5 << 20..content.len() as u64].into_iter().enumerate() {
        let copied = bucket.copy_part((&from, range), &to, &id, number).await.unwrap();
        parts.push(copied.expect("the store copies in parts"));
    }
    bucket.join_parts(&to, &id, &parts).await.unwrap();
    assert!(driver.get(&to).await.unwrap() == content, "the copy has other content");
    let absent = "copied/absent".parse().unwrap();
    let id = bucket.begin_parts(&to).await.unwrap();
    let refused = bucket.copy_part((&absent, 0..10), &to, &id, 0).await.unwrap_err();
    assert!(matches!(refused, Error::NotFound { .. }), "{refused:?}");
    bucket.drop_parts(&to, &id).await.unwrap();
    driver.delete_directory(&"copied".parse().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT: tests/run --only drivers"]
async fn the_suite_passes_over_s3() {
    let options = options(Provider::S3(s3("LAGAN_TEST_S3_ENDPOINT")));
    suite::run(subject(&options, COPIED_IN_PARTS)).await;
    assert_eq!(open_uploads(&options).await, 0, "parts are left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT_2: tests/run --only drivers"]
async fn the_suite_passes_over_another_s3() {
    let subject = subject(&options(Provider::S3(s3("LAGAN_TEST_S3_ENDPOINT_2"))), COPIED_IN_PARTS);
    suite::run(Subject { shows_folders: true, ..subject }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT: tests/run --only drivers"]
async fn long_uploads_pass_over_s3_with_each_checksum() {
    for checksum in [S3Checksum::Sha256, S3Checksum::Crc64Nvme] {
        let s3 = S3Options { checksum: Some(checksum), ..s3("LAGAN_TEST_S3_ENDPOINT") };
        let options = options(Provider::S3(s3));
        suite::long_files(&subject(&options, COPIED_IN_PARTS)).await;
    }
}

#[tokio::test]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT and LAGAN_TEST_S3_ENDPOINT_2: tests/run --only drivers"]
async fn s3_copies_in_parts() {
    for endpoint in ["LAGAN_TEST_S3_ENDPOINT", "LAGAN_TEST_S3_ENDPOINT_2"] {
        the_store_copies_in_parts(&options(Provider::S3(s3(endpoint)))).await;
    }
}

/// An upload that was left in its midst is found by its age, and goes with its parts. Not on the other S3, which does not
/// tell what uploads it has, and whose names of files are too long for such a place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT: tests/run --only drivers"]
async fn an_upload_left_on_s3_is_purged_with_its_parts() {
    let options = options(Provider::S3(s3("LAGAN_TEST_S3_ENDPOINT")));
    let content = Bytes::from(vec![b'x'; LONG]);
    let catalog = open(driver(&options, Sizes::REAL), fixtures::options(), Arc::new(ManualClock::new())).await;
    let repository = catalog.repository(&name("left"));
    let mut upload = repository.create_upload().await.unwrap();
    let id = upload.id().clone();
    upload.append(content.clone()).await.unwrap();
    upload.suspend().await.unwrap();
    let mut again = repository.resume_upload(&id).await.unwrap();
    again.append(content).await.unwrap();
    // As in a process that dies: there are parts now that no state names.
    drop(again);
    assert!(open_uploads(&options).await > 0, "there are no parts to be purged");
    assert_eq!(repository.purge_upload(&id, Timestamp::UNIX_EPOCH).await.unwrap(), Purge::InUse);
    assert_eq!(repository.purge_upload(&id, Timestamp::MAX).await.unwrap(), Purge::Removed);
    assert_eq!(open_uploads(&options).await, 0, "parts are left");
    assert!(repository.upload_offset(&id).await.is_err());
}

fn azure(credentials: AzureCredentials) -> ObjectStoreOptions {
    options(Provider::Azure(AzureOptions {
        account: variable("LAGAN_TEST_AZURE_ACCOUNT"),
        container: variable("LAGAN_TEST_AZURE_CONTAINER"),
        endpoint: Some(variable("LAGAN_TEST_AZURE_ENDPOINT")),
        credentials,
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_AZURE_ENDPOINT: tests/run --only drivers"]
async fn the_suite_passes_over_azure() {
    let key = AzureCredentials::AccessKey(Secret::new(variable("LAGAN_TEST_AZURE_KEY")));
    suite::run(subject(&azure(key), Sizes::REAL)).await;
}

/// All but deletes: with a signature, Azurite answers the request that the library makes of them with 500.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_AZURE_SAS: tests/run --only drivers"]
async fn a_shared_access_signature_is_accepted_by_azure() {
    let sas = variable("LAGAN_TEST_AZURE_SAS");
    for signature in [sas.clone(), format!("?{sas}")] {
        let options = azure(AzureCredentials::SharedAccessSignature(Secret::new(signature)));
        let driver = driver(&options, Sizes::REAL);
        let (at, content) = ("put/a".parse().unwrap(), Bytes::from(vec![b'x'; LONG]));
        driver.put(&at, Bytes::from("small"), Durability::Durable).await.unwrap();
        assert_eq!(driver.get(&at).await.unwrap(), "small");
        let part = |part: &str| format!("staged{part}").parse().unwrap();
        let staging =
            Staging { folder: part(""), started_at: part("/startedat"), data: part("/data"), states: part("/states") };
        let mut file = driver.stage(&staging, Bytes::from("now")).await.unwrap();
        file.append(content.clone()).await.unwrap();
        let _ = file.seal().await.unwrap();
        file.publish(&"put/b".parse().unwrap()).await.unwrap();
        assert!(driver.get(&"put/b".parse().unwrap()).await.unwrap() == content, "other bytes came back");
        let names = driver.list(&"put".parse().unwrap(), None, 10).await.unwrap();
        assert_eq!(names.into_iter().map(|entry| entry.name).collect::<Vec<_>>(), ["a", "b"]);
    }
    let forged = Secret::new(sas.replace("sp=racwdl", "sp=racwdlx"));
    let forged = azure(AzureCredentials::SharedAccessSignature(forged));
    let refused = driver(&forged, Sizes::REAL).get(&"put/a".parse().unwrap()).await.unwrap_err();
    assert!(matches!(refused, Error::Denied { .. }), "{refused:?}");
}

/// The server has no uploads in parts in the form that the real one has them: whatever needs parts is not shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_GCS_ENDPOINT: tests/run --only drivers"]
async fn the_suite_for_short_files_passes_over_gcs() {
    let gcs = GcsOptions {
        bucket: variable("LAGAN_TEST_GCS_BUCKET"),
        endpoint: Some(gcs_proxy::in_front_of(&variable("LAGAN_TEST_GCS_ENDPOINT")).await),
        credentials: GcsCredentials::Anonymous,
    };
    let subject = subject(&options(Provider::Gcs(gcs)), Sizes::REAL);
    suite::short_files(&Subject { signs: false, ..subject }).await;
}
