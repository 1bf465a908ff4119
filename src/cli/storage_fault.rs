//! The first look at a bucket, and what is wrong with one that a registry cannot be served from.

use std::sync::Arc;

use crate::api::serve_config::StorageConfig;
use crate::storage::driver::{Error, StorageDriver, StoragePath, self_test};

use super::exit::{CredentialsRefused, Unreachable};

/// Where the test writes: beside everything else of ours.
const FOLDER: &str = "lagan/v1/self-test";

/// Looks whether a bucket can be used, and shows at once what was written to it (PROTOCOL.md, assumption A1). One that
/// does not would lose content: it is not served.
///
/// # Errors
/// In words for its user, with the exit code that tells what it is.
pub(super) async fn test(storage: &StorageConfig, driver: &Arc<dyn StorageDriver>) -> anyhow::Result<()> {
    let folder: StoragePath = FOLDER.parse()?;
    let violations = self_test(Arc::clone(driver), &folder).await.map_err(|error| of_start(storage, error))?;
    match violations.first() {
        None => Ok(()),
        Some(violation) => Err(Unreachable(format!(
            "{storage}: the store is not consistent, and would lose content ({violation}; {} such findings)",
            violations.len()
        ))
        .into()),
    }
}

fn of_start(storage: &StorageConfig, error: Error) -> anyhow::Error {
    match &error {
        Error::Denied { .. } => {
            CredentialsRefused(format!("{storage}: the store refuses the credentials: {}", causes(error))).into()
        }
        // What the test reads it has written: so it is the bucket that is absent.
        Error::NotFound { .. } => Unreachable(format!("{storage}: there is no such bucket: make it first")).into(),
        Error::Unavailable { .. } => {
            Unreachable(format!("{storage}: the store does not answer: {}", causes(error))).into()
        }
        Error::NoSpace { .. }
        | Error::ReadOnly { .. }
        | Error::Poisoned
        | Error::Fenced { .. }
        | Error::Io { .. } => Unreachable(format!("{storage}: {}", causes(error))).into(),
    }
}

/// The error and its causes in one line: it is the last one that the process writes.
fn causes(error: Error) -> String {
    format!("{:#}", anyhow::Error::new(error)).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::cli::exit::{Exit, exit_of};

    use super::*;

    fn exit(error: Error) -> (Exit, String) {
        let storage = serde_yaml::from_str("{type: S3, s3: {bucket: images}}").unwrap();
        let error = of_start(&storage, error);
        (exit_of(&error), error.to_string())
    }

    #[test]
    fn each_fault_has_its_exit_and_its_words() {
        let path = || "a".parse().unwrap();
        let source = || io::Error::other("403\nForbidden");
        let (code, words) = exit(Error::Denied { action: "write", path: path(), source: source() });
        assert_eq!(code, Exit::Refused);
        assert!(words.starts_with("s3://images: the store refuses the credentials") && !words.contains('\n'), "{words}");
        let (code, words) = exit(Error::NotFound { path: path() });
        assert_eq!((code, words.as_str()), (Exit::Unavailable, "s3://images: there is no such bucket: make it first"));
        let (code, words) = exit(Error::Unavailable { action: "list", path: path(), source: source() });
        assert!(code == Exit::Unavailable && words.contains("does not answer"), "{words}");
    }
}
