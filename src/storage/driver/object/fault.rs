//! What the stores' errors mean to those above.

use std::{error::Error as StdError, io};

use object_store::client::{HttpError, HttpErrorKind};

use crate::storage::driver::{Error, StoragePath};

/// What a call on `path` came to.
pub(super) fn fault(action: &'static str, path: &StoragePath, error: object_store::Error) -> Error {
    use object_store::Error as E;
    let path = path.clone();
    match error {
        E::NotFound { .. } => Error::NotFound { path },
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            Error::Denied { action, path, source: io::Error::other(error) }
        }
        // No write here has conditions, so that this is a 409: something else is going on at this place.
        E::AlreadyExists { .. } => Error::Busy { action, path, source: io::Error::other(error) },
        E::Generic { .. } => match status(&error) {
            Some(507) => Error::NoSpace { path },
            Some(429) => Error::Busy { action, path, source: io::Error::other(error) },
            Some(503) if is_stores_own(&error) => Error::Busy { action, path, source: io::Error::other(error) },
            // Given up half-way by the store or a proxy, which five more attempts did not end.
            Some(408 | 500..) => Error::Unavailable { action, path, source: io::Error::other(error) },
            Some(400..=499) => Error::Rejected { action, path, source: io::Error::other(error) },
            None if was_not_sent(&error) => Error::Busy { action, path, source: io::Error::other(error) },
            None if is_transport(&error) => Error::Unavailable { action, path, source: io::Error::other(error) },
            Some(_) | None => Error::Io { action, path, source: io::Error::other(error) },
        },
        other => Error::Io { action, path, source: io::Error::other(other) },
    }
}

/// A call that was given up.
pub(super) fn timed_out(action: &'static str, path: &StoragePath) -> Error {
    let source = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    Error::Unavailable { action, path: path.clone(), source }
}

/// Something that the store says, and that cannot be.
pub(super) fn broken(action: &'static str, path: &StoragePath, reason: impl Into<String>) -> Error {
    Error::Io { action, path: path.clone(), source: io::Error::new(io::ErrorKind::InvalidData, reason.into()) }
}

fn chain(error: &object_store::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

fn is_transport(error: &object_store::Error) -> bool {
    transport(error).is_some()
}

fn transport(error: &object_store::Error) -> Option<&HttpError> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Whether there was no connection to send the request over.
fn was_not_sent(error: &object_store::Error) -> bool {
    transport(error).is_some_and(|error| error.kind() == HttpErrorKind::Connect)
}

/// What stores say when they have not begun with a request, of S3 and of Azure.
const NOT_BEGUN: [&str; 3] = ["<Code>SlowDown</Code>", "<Code>ServiceUnavailable</Code>", "<Code>ServerBusy</Code>"];

/// Whether a 503 is the store's own, which has then not begun with the request. A proxy says it too, and also of a request
/// that it had passed on.
fn is_stores_own(error: &object_store::Error) -> bool {
    chain(error).any(|error| {
        let text = error.to_string();
        NOT_BEGUN.iter().any(|code| text.contains(code))
    })
}

/// The status that the store answered with. The library keeps it in a type of its own that it does not show, so that
/// it can only be read off the message; the test below tells when that changes.
fn status(error: &object_store::Error) -> Option<u16> {
    const BEFORE: &str = "non-2xx status code: ";
    chain(error).find_map(|error| {
        let text = error.to_string();
        let (_, rest) = text.split_once(BEFORE)?;
        rest.get(..3)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use crate::storage::driver::{
        Durability, StorageDriver,
        object::{ObjectDriver, ObjectStoreOptions, Provider, S3Credentials, S3Options, Secret},
    };

    use super::*;

    /// A store that answers everything with one status; its address.
    async fn store_that_says(status: &'static str) -> String {
        store_that_says_at_first(status, usize::MAX, status).await
    }

    /// A store that says this in every answer's body; its address.
    async fn store_that_explains(status: &'static str, code: &str) -> String {
        let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
        let length = body.len();
        answering(move |_| format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"))
            .await
    }

    /// A store that answers so often with one status, and then with another; its address.
    async fn store_that_says_at_first(first: &'static str, count: usize, then: &'static str) -> String {
        answering(move |answered| {
            let status = if answered < count { first } else { then };
            format!("HTTP/1.1 {status}\r\netag: \"1\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        })
        .await
    }

    /// A store that gives the answer which `answer` makes of how many it gave before; its address.
    async fn answering(answer: impl Fn(usize) -> String + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut answered = 0;
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = connection.read(&mut request).await;
                let _ = connection.write_all(answer(answered).as_bytes()).await;
                answered += 1;
            }
        });
        format!("http://{address}")
    }

    async fn error_of(endpoint: String) -> Error {
        // The fenced client, because it asks once.
        let error = driver(endpoint).fenced().get(&"a/b".parse().unwrap()).await.unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hush"));
        error
    }

    fn driver(endpoint: String) -> std::sync::Arc<ObjectDriver> {
        let credentials = S3Credentials::Key {
            access_key_id: "id".into(),
            secret_access_key: Secret::new("hush"),
            session_token: None,
        };
        let s3 = S3Options { endpoint: Some(endpoint), credentials, ..S3Options::new("bucket") };
        std::sync::Arc::new(ObjectDriver::open(&ObjectStoreOptions::new(Provider::S3(s3))).unwrap())
    }

    #[tokio::test]
    async fn a_write_that_met_another_is_tried_again_by_the_client_with_retries() {
        let path = "a/b".parse().unwrap();
        let write = async |driver: std::sync::Arc<dyn StorageDriver>| {
            driver.put(&path, bytes::Bytes::from_static(b"content"), Durability::Durable).await
        };
        let busy = || store_that_says_at_first("409 Conflict", 2, "200 OK");
        write(driver(busy().await)).await.unwrap();
        let refused = write(driver(busy().await).fenced()).await.unwrap_err();
        assert!(matches!(refused, Error::Busy { .. }), "{refused:?}");
    }

    #[tokio::test]
    async fn what_is_refused_for_a_while_is_asked_again_but_not_by_the_client_without_retries() {
        let path = "a/b".parse().unwrap();
        for first in ["503 Slow Down", "500 Internal Server Error"] {
            let busy = || store_that_says_at_first(first, 1, "200 OK");
            driver(busy().await).put(&path, bytes::Bytes::new(), Durability::Durable).await.unwrap();
            let fenced = driver(busy().await).fenced();
            let refused = fenced.put(&path, bytes::Bytes::new(), Durability::Durable).await.unwrap_err();
            assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
            // The store has had the one request, and would have taken the next.
            fenced.put(&path, bytes::Bytes::new(), Durability::Durable).await.unwrap();
        }
    }

    #[tokio::test]
    async fn callers_learn_what_they_can_act_on() {
        for status in ["503 Service Unavailable", "504 Gateway Timeout", "500 Internal Server Error"] {
            let error = error_of(store_that_says(status).await).await;
            assert!(matches!(error, Error::Unavailable { .. }), "{status}: {error:?}");
        }
        let error = error_of(store_that_says("429 Too Many Requests").await).await;
        assert!(matches!(error, Error::Busy { .. }), "{error:?}");
        for code in ["SlowDown", "ServiceUnavailable", "ServerBusy"] {
            let error = error_of(store_that_explains("503 Service Unavailable", code).await).await;
            assert!(matches!(error, Error::Busy { .. }), "{code}: {error:?}");
        }
        let error = error_of(store_that_explains("500 Internal Server Error", "InternalError").await).await;
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        for status in ["403 Forbidden", "401 Unauthorized"] {
            let error = error_of(store_that_says(status).await).await;
            assert!(matches!(error, Error::Denied { .. }), "{status}: {error:?}");
        }
        assert!(matches!(error_of(store_that_says("404 Not Found").await).await, Error::NotFound { .. }));
        assert!(matches!(error_of(store_that_says("507 Insufficient Storage").await).await, Error::NoSpace { .. }));
        assert!(matches!(error_of(store_that_says("400 Bad Request").await).await, Error::Rejected { .. }));
    }

    #[tokio::test]
    async fn a_store_that_nobody_answers_for_has_done_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        assert!(matches!(error_of(endpoint).await, Error::Busy { .. }));
    }

    #[tokio::test]
    async fn a_connection_that_breaks_before_the_answer_leaves_the_outcome_open() {
        let error = error_of(answering(|_| String::new()).await).await;
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    }
}
