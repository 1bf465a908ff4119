//! Clients of the object stores.

use std::{sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::GoogleCloudStorageBuilder,
};

use super::{
    bucket::Bucket,
    client::{CONNECT_TIMEOUT, Clients},
    options::{
        AzureCredentials, AzureOptions, GcsCredentials, GcsOptions, ObjectStoreOptions, Provider, S3Addressing,
        S3Checksum, S3Credentials, S3Encryption, S3Options,
    },
    part_copies::PartCopies,
};

/// How long nothing may be heard of a request. A store that is asked to slow down takes its time; and while a part is
/// being sent nothing is heard: 128 MiB at 2 MiB/s.
const SILENCE: Duration = Duration::from_secs(60);

/// The whole time of a fenced request (docs/protocol.md, assumption A4).
pub(super) const FENCED_TIMEOUT: Duration = Duration::from_secs(10);

/// How a request is made again that can be: after 100 ms, then twice as long each time, with some randomness. Five
/// times are 3 s and more, longer than stores are out of breath, and shorter than clients wait.
fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 };
    RetryConfig { backoff, max_retries: 5, retry_timeout: Duration::from_secs(90) }
}

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Tries again what can be done again.
    Everything,
    /// Asks once, and gives up after [`FENCED_TIMEOUT`].
    Fenced,
}

impl Purpose {
    fn retries(self) -> RetryConfig {
        match self {
            Self::Everything => retries(),
            Self::Fenced => RetryConfig { max_retries: 0, ..retries() },
        }
    }

    fn clients(self, options: &ObjectStoreOptions) -> object_store::Result<Clients> {
        let silence = match self {
            Self::Everything => SILENCE,
            Self::Fenced => FENCED_TIMEOUT,
        };
        Clients::new(options.ca_bundle.as_deref(), silence, self == Self::Everything)
    }
}

/// Whether an endpoint is spoken to without TLS.
fn is_plain(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

fn client_options(endpoint: Option<&str>) -> ClientOptions {
    ClientOptions::new().with_allow_http(is_plain(endpoint))
}

/// Makes a client; nothing is sent.
pub(super) fn connect(options: &ObjectStoreOptions, purpose: Purpose) -> object_store::Result<Bucket> {
    let prefix = options.prefix.clone();
    let limit = (purpose == Purpose::Fenced).then_some(FENCED_TIMEOUT);
    let clients = purpose.clients(options)?;
    Ok(match &options.provider {
        Provider::S3(s3) => {
            let copying = clients.client(is_plain(s3.endpoint.as_deref()), CONNECT_TIMEOUT);
            let builder = s3_builder(s3)?.with_retry(purpose.retries()).with_http_connector(clients);
            let store = Arc::new(builder.with_client_options(client_options(s3.endpoint.as_deref())).build()?);
            let copies = PartCopies::new(store.clone(), copying, s3);
            let bucket = Bucket::new(store.clone(), Some(store.clone()), Some(store), prefix, limit);
            let bucket = bucket.forgetting_absence();
            // With checksums the store wants that of each part when they are joined, and some tell a wrong one of copies.
            if s3.checksum.is_some() { bucket } else { bucket.copying_parts(copies) }
        }
        Provider::Gcs(gcs) => {
            let builder = gcs_builder(gcs).with_retry(purpose.retries()).with_http_connector(clients);
            let store = Arc::new(builder.with_client_options(client_options(gcs.endpoint.as_deref())).build()?);
            Bucket::new(store.clone(), Some(store.clone()), Some(store), prefix, limit).forgetting_absence()
        }
        Provider::Azure(azure) => {
            let builder = azure_builder(azure).with_retry(purpose.retries()).with_http_connector(clients);
            let store = Arc::new(builder.with_client_options(client_options(azure.endpoint.as_deref())).build()?);
            Bucket::new(store.clone(), Some(store.clone()), Some(store), prefix, limit)
        }
    })
}

fn s3_builder(options: &S3Options) -> object_store::Result<AmazonS3Builder> {
    let mut builder = match &options.credentials {
        S3Credentials::Environment => AmazonS3Builder::from_env(),
        S3Credentials::Key { access_key_id, secret_access_key, session_token } => {
            let builder = AmazonS3Builder::new()
                .with_access_key_id(access_key_id)
                .with_secret_access_key(secret_access_key.reveal());
            match session_token {
                Some(token) => builder.with_token(token.reveal()),
                None => builder,
            }
        }
    };
    // Deletes are few, and not every store has the request for many.
    builder = builder.with_bucket_name(&options.bucket).with_disable_bulk_delete(true);
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    let in_host = match options.addressing {
        S3Addressing::Auto => options.endpoint.is_none(),
        S3Addressing::Path => false,
        S3Addressing::VirtualHost => true,
    };
    builder = builder.with_virtual_hosted_style_request(in_host);
    if let Some(endpoint) = &options.endpoint {
        let endpoint = endpoint.trim_end_matches('/');
        builder = builder.with_endpoint(match endpoint.split_once("://") {
            Some((scheme, host)) if in_host => format!("{scheme}://{}.{host}", options.bucket),
            _ => endpoint.to_owned(),
        });
    }
    if let Some(checksum) = options.checksum {
        builder = builder.with_checksum_algorithm(match checksum {
            S3Checksum::Sha256 => Checksum::SHA256,
            S3Checksum::Crc64Nvme => Checksum::CRC64NVME,
        });
    }
    encrypted(builder, options.encryption.as_ref())
}

fn encrypted(builder: AmazonS3Builder, encryption: Option<&S3Encryption>) -> object_store::Result<AmazonS3Builder> {
    // The library does not show the key's type, but its name.
    let kind: AmazonS3ConfigKey = "aws_server_side_encryption".parse()?;
    Ok(match encryption {
        None => builder,
        Some(S3Encryption::StoreManaged) => builder.with_config(kind, "AES256"),
        Some(S3Encryption::Kms { key_id: Some(key) }) => builder.with_sse_kms_encryption(key),
        Some(S3Encryption::Kms { key_id: None }) => builder.with_config(kind, "aws:kms"),
    })
}

fn gcs_builder(options: &GcsOptions) -> GoogleCloudStorageBuilder {
    let builder = match &options.credentials {
        GcsCredentials::Environment => GoogleCloudStorageBuilder::from_env(),
        GcsCredentials::ServiceAccount(key) => GoogleCloudStorageBuilder::new().with_service_account_key(key.reveal()),
        // Without a token the library asks the machine for one, whatever it is told of signatures.
        GcsCredentials::Anonymous => {
            GoogleCloudStorageBuilder::new().with_skip_signature(true).with_bearer_token("anonymous")
        }
    };
    let builder = builder.with_bucket_name(&options.bucket);
    match &options.endpoint {
        Some(endpoint) => builder.with_base_url(endpoint),
        None => builder,
    }
}

fn azure_builder(options: &AzureOptions) -> MicrosoftAzureBuilder {
    let builder = match &options.credentials {
        AzureCredentials::Environment => MicrosoftAzureBuilder::from_env(),
        AzureCredentials::AccessKey(key) => MicrosoftAzureBuilder::new().with_access_key(key.reveal()),
        AzureCredentials::SharedAccessSignature(signature) => {
            let signature = signature.reveal().trim_start_matches('?');
            MicrosoftAzureBuilder::new().with_config(AzureConfigKey::SasKey, signature)
        }
    };
    let builder = builder.with_account(&options.account).with_container_name(&options.container);
    match &options.endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint.trim_end_matches('/').to_owned()),
        None => builder,
    }
}
