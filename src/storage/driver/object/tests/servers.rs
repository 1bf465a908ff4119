//! Real servers, which `tests/run drivers` starts and names in the environment.

use std::{env, sync::Arc};

use crate::storage::driver::{
    StoragePath,
    suite::{self, Subject},
};

use super::*;

/// Two parts and a half.
const LONG: usize = 20_000_017;

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run drivers"))
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

fn subject(options: &ObjectStoreOptions) -> Subject {
    let open = || Arc::new(ObjectDriver::open(options).unwrap());
    let signs = !matches!(options.provider, Provider::Gcs(_));
    Subject { driver: open(), other: open(), long_upload: LONG, signs, shows_folders: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT: tests/run drivers"]
async fn the_suite_passes_over_s3() {
    suite::run(subject(&options(Provider::S3(s3("LAGAN_TEST_S3_ENDPOINT"))))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_S3_ENDPOINT_2: tests/run drivers"]
async fn the_suite_passes_over_another_s3() {
    let subject = subject(&options(Provider::S3(s3("LAGAN_TEST_S3_ENDPOINT_2"))));
    suite::run(Subject { shows_folders: true, ..subject }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_AZURE_ENDPOINT: tests/run drivers"]
async fn the_suite_passes_over_azure() {
    let azure = AzureOptions {
        account: variable("LAGAN_TEST_AZURE_ACCOUNT"),
        container: variable("LAGAN_TEST_AZURE_CONTAINER"),
        endpoint: Some(variable("LAGAN_TEST_AZURE_ENDPOINT")),
        credentials: AzureCredentials::AccessKey(Secret::new(variable("LAGAN_TEST_AZURE_KEY"))),
    };
    suite::run(subject(&options(Provider::Azure(azure)))).await;
}

/// The server has no uploads in parts in the form that the real one has them: whatever needs parts is not shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs LAGAN_TEST_GCS_ENDPOINT: tests/run drivers"]
async fn the_suite_for_short_files_passes_over_gcs() {
    let gcs = GcsOptions {
        bucket: variable("LAGAN_TEST_GCS_BUCKET"),
        endpoint: Some(variable("LAGAN_TEST_GCS_ENDPOINT")),
        credentials: GcsCredentials::Anonymous,
    };
    suite::short_files(&subject(&options(Provider::Gcs(gcs)))).await;
}
