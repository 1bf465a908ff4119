//! Copies, within a store of S3, into the parts of an upload.
//!
//! One request copies 5 GiB at most, and takes a minute for them. Parts are copied side by side, and there is no bound
//! but that of an object. The library has no such request, and signs one for us.

use std::{io, ops::Range, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use object_store::{
    client::{HttpClient, HttpError, HttpRequest, HttpRequestBody},
    path::Path,
    signer::{SignedUrlOptions, Signer},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::sleep;

use crate::storage::driver::{self, StoragePath};

use super::options::S3Options;

/// How long an address that was signed for a copy is good.
const SIGNED_FOR: Duration = Duration::from_secs(900);

/// How long to wait before a copy is tried again, which may be made as often as one likes.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

/// How much of a store's words is repeated.
const WORDS: usize = 300;

const SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const SOURCE_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");

/// What stands as it is in the name of a source.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A client that copies into parts.
#[derive(Debug)]
pub(super) struct PartCopies {
    signer: Arc<dyn Signer>,
    client: HttpClient,
    bucket: String,
}

/// A part of an object that becomes a part of another one.
pub(super) struct Part<'a> {
    /// Of which object.
    pub(super) from: &'a Path,
    /// Which of its bytes.
    pub(super) range: Range<u64>,
    /// In which object.
    pub(super) to: &'a Path,
    /// By which upload.
    pub(super) id: &'a str,
    /// Which part of it, counted from 0.
    pub(super) number: usize,
}

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("could not sign the request")]
    Unsigned(#[source] object_store::Error),
    #[error("the store did not answer")]
    Unanswered(#[source] HttpError),
    #[error("the store says {status}: {words}")]
    Refused { status: StatusCode, words: String },
}

impl Refusal {
    fn may_pass(&self) -> bool {
        match self {
            Self::Unsigned(_) => false,
            Self::Unanswered(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(status)
            }
        }
    }

    /// What it means to those above.
    pub(super) fn at(self, action: &'static str, path: &StoragePath) -> driver::Error {
        let path = path.clone();
        let may_pass = self.may_pass();
        match &self {
            Self::Refused { status: StatusCode::NOT_FOUND, .. } => driver::Error::NotFound { path },
            Self::Refused { status: StatusCode::INSUFFICIENT_STORAGE, .. } => driver::Error::NoSpace { path },
            Self::Refused { status: StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, .. } => {
                driver::Error::Denied { action, path, source: io::Error::other(self) }
            }
            _ if may_pass => driver::Error::Unavailable { action, path, source: io::Error::other(self) },
            _ => driver::Error::Io { action, path, source: io::Error::other(self) },
        }
    }
}

impl PartCopies {
    pub(super) fn new(signer: Arc<dyn Signer>, client: HttpClient, options: &S3Options) -> Self {
        Self { signer, client, bucket: options.bucket.clone() }
    }

    /// Copies a part; what names it when the parts are joined.
    pub(super) async fn copy(&self, part: &Part<'_>) -> Result<String, Refusal> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.copy_once(part).await {
                Err(refusal) if refusal.may_pass() => match pauses.next() {
                    Some(pause) => sleep(*pause).await,
                    None => return Err(refusal),
                },
                copied => return copied,
            }
        }
    }

    async fn copy_once(&self, part: &Part<'_>) -> Result<String, Refusal> {
        let request = self.request(part).await?;
        let answer = self.client.execute(request).await.map_err(Refusal::Unanswered)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(Refusal::Unanswered)?.to_bytes();
        let words = String::from_utf8_lossy(&body);
        let named = status.is_success().then(|| element(&words, "ETag")).flatten();
        let named = named.map(|tag| tag.replace("&quot;", "\"").replace("&#34;", "\""));
        named.ok_or_else(|| {
            // A copy that fails on the way has begun with 200.
            let status = if status.is_success() { StatusCode::INTERNAL_SERVER_ERROR } else { status };
            Refusal::Refused { status, words: words.chars().take(WORDS).collect() }
        })
    }

    async fn request(&self, part: &Part<'_>) -> Result<HttpRequest, Refusal> {
        let Part { from, range, to, id, number } = part;
        let source = format!("{}/{}", self.bucket, utf8_percent_encode(from.as_ref(), ESCAPED));
        let bytes = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let value = |text: String| HeaderValue::try_from(text).map_err(unsigned);
        let (source, bytes) = (value(source)?, value(bytes)?);
        let number = (number + 1).to_string();
        let options = SignedUrlOptions::new()
            .with_query([("partNumber", number.as_str()), ("uploadId", *id)])
            .with_signed_header(SOURCE, source.clone())
            .with_signed_header(SOURCE_RANGE, bytes.clone());
        let signed = self.signer.signed_url_opts(Method::PUT, to, SIGNED_FOR, &options).await;
        let url = signed.map_err(Refusal::Unsigned)?;
        let request = http::Request::put(url.as_str()).header(SOURCE, source).header(SOURCE_RANGE, bytes);
        request.header(CONTENT_LENGTH, 0).body(HttpRequestBody::empty()).map_err(unsigned)
    }
}

fn unsigned(error: impl std::error::Error + Send + Sync + 'static) -> Refusal {
    Refusal::Unsigned(object_store::Error::Generic { store: "S3", source: Box::new(error) })
}

/// The text of an element that has no attributes and no elements in it.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}
