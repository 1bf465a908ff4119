//! The first look at a bucket, and what is wrong with one that a registry cannot be served from.

use std::sync::Arc;

use crate::api::serve_config::StorageConfig;
use crate::storage::Catalog;
use crate::storage::driver::{Error, StorageDriver};

use super::exit::{CredentialsRefused, Unreachable};

/// Looks whether a bucket can be used, and shows at once what was written to it (docs/protocol.md, assumption A1). One
/// that does not would lose content: it is not served.
///
/// # Errors
/// In words for its user, with the exit code that tells what it is.
pub(super) async fn test(storage: &StorageConfig, driver: &Arc<dyn StorageDriver>) -> anyhow::Result<()> {
    let violations = Catalog::self_test(driver).await.map_err(|error| of_start(storage, error))?;
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
        Error::Unavailable { .. } | Error::Busy { .. } => {
            Unreachable(format!("{storage}: the store does not answer: {}", causes(error))).into()
        }
        Error::NoSpace { .. }
        | Error::ReadOnly { .. }
        | Error::Rejected { .. }
        | Error::Poisoned
        | Error::Fenced { .. }
        | Error::Io { .. } => Unreachable(format!("{storage}: {}", causes(error))).into(),
    }
}

/// How much of a store's words is repeated, in characters: an operator shows them, and a pod's last words are 2 KiB.
const MAX_WORDS: usize = 300;

/// What the store itself says, in one line: the code and the message of its answer, or the innermost cause. What lies
/// between repeats addresses and, in answers of S3, keys' names and pages of what was signed.
fn causes(error: Error) -> String {
    let error = anyhow::Error::new(error);
    let chain = format!("{error:#}");
    let said = match (between(&chain, "<Code>", "</Code>"), between(&chain, "<Message>", "</Message>")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.root_cause().to_string(),
    };
    said.replace(char::is_control, " ").chars().take(MAX_WORDS).collect()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(between, _)| between)
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
    fn answer_of_a_store_is_repeated_in_one_short_line() {
        let answer = format!(
            "403: <Error><Code>SignatureDoesNotMatch</Code><Message>Check your key.</Message>\n<StringToSign>{}",
            "a".repeat(5000)
        );
        let error = Error::Denied { action: "write", path: "a".parse().unwrap(), source: io::Error::other(answer) };
        let (_, words) = exit(error);
        let expected = "the store refuses the credentials: SignatureDoesNotMatch: Check your key.";
        assert_eq!(words, format!("s3://images: {expected}"));
        let endless = io::Error::other("b".repeat(5000));
        let (_, words) = exit(Error::Unavailable { action: "write", path: "a".parse().unwrap(), source: endless });
        assert!(words.len() < 400, "{words}");
    }

    #[test]
    fn each_fault_has_its_exit_and_its_words() {
        let path = || "a".parse().unwrap();
        let source = || io::Error::other("403\nForbidden");
        let (code, words) = exit(Error::Denied { action: "write", path: path(), source: source() });
        assert_eq!(code, Exit::Refused);
        assert!(
            words.starts_with("s3://images: the store refuses the credentials") && !words.contains('\n'),
            "{words}"
        );
        let (code, words) = exit(Error::NotFound { path: path() });
        assert_eq!((code, words.as_str()), (Exit::Unavailable, "s3://images: there is no such bucket: make it first"));
        let (code, words) = exit(Error::Unavailable { action: "list", path: path(), source: source() });
        assert!(code == Exit::Unavailable && words.contains("does not answer"), "{words}");
    }
}
