//! The HTTP client of the stores.
//!
//! The library's own reads ahead of a slow reader as much as comes, up to 400 KiB that are read and as much that waits:
//! a thousand slow pulls took a gigabyte. This one holds less of each, and least of those that come when many are open.

use std::{
    error::Error as StdError,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use http::{
    HeaderValue, Method,
    header::{HeaderName, USER_AGENT},
};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use jiff::SignedDuration;
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use rustls::ClientConfig;
use tokio::time::{Sleep, sleep, timeout};

use super::dial::{Dialer, trusting};

/// How much of an answer is read at once, and as much again waits for its reader: with it a connection is fast.
const WIDE: usize = 64 << 10;

/// The same, while many answers are open: a thousand slow pulls have 32 MiB, and a system call for each of these still
/// fills a line of 10 Gbit/s.
const NARROW: usize = 16 << 10;

/// How many answers may be open that are read with [`WIDE`]: 16 MiB.
const FEW: usize = 128;

/// How long a connection may take to come about. A store is near; one that takes longer is not there.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a store may be silent that puts an object together, or copies one: it does so before it answers, and some
/// move the bytes for that.
const LABOUR: Duration = Duration::from_secs(600);

/// For how long connections are kept that nobody uses. Stores end them sooner, which is noticed.
const IDLE: Duration = Duration::from_secs(60);

/// What asks for a copy.
const COPY_SOURCES: [HeaderName; 3] = [
    HeaderName::from_static("x-amz-copy-source"),
    HeaderName::from_static("x-goog-copy-source"),
    HeaderName::from_static("x-ms-copy-source"),
];

/// Who is asking.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("lagan/", env!("CARGO_PKG_VERSION")));

/// Makes clients.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    tls: Arc<ClientConfig>,
    /// How long nothing may be heard of a request.
    silence: Duration,
    /// How long where the store has work to do before it answers.
    labour: Duration,
}

impl Clients {
    /// Clients that trust the well-known authorities, and these. They wait for as long as `silence` for each piece of
    /// an answer, and where they are `patient` for longer where the store has work to do.
    pub(super) fn new(authorities: Option<&str>, silence: Duration, patient: bool) -> object_store::Result<Self> {
        let tls = trusting(authorities)
            .map_err(|source| object_store::Error::Generic { store: "client", source: Box::new(source) })?;
        Ok(Self { tls: Arc::new(tls), silence, labour: if patient { LABOUR } else { silence } })
    }

    /// One that speaks TLS only, unless `plain` allows other addresses.
    pub(super) fn client(&self, plain: bool, connect_timeout: Duration) -> HttpClient {
        let dialer = Dialer::new(Arc::clone(&self.tls), plain, connect_timeout);
        let [wide, narrow] = [WIDE, NARROW].map(|buffer| {
            let mut builder = legacy::Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).http1_max_buf_size(buffer);
            builder.build(dialer.clone())
        });
        HttpClient::new(StoreClient { wide, narrow, open: Arc::default(), silence: self.silence, labour: self.labour })
    }
}

impl HttpConnector for Clients {
    /// The library wants several: for the store, for its tokens, and for what a machine says of itself, in plain HTTP.
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let limit = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let limit = limit.and_then(|text| text.parse::<SignedDuration>().ok()?.try_into().ok());
        Ok(self.client(plain, limit.unwrap_or(CONNECT_TIMEOUT)))
    }
}

#[derive(Debug)]
struct StoreClient {
    wide: legacy::Client<Dialer, HttpRequestBody>,
    narrow: legacy::Client<Dialer, HttpRequestBody>,
    /// Each answer that is open has one.
    open: Arc<()>,
    silence: Duration,
    labour: Duration,
}

#[async_trait]
impl HttpService for StoreClient {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let silence = if is_labour(&request) { self.labour } else { self.silence };
        request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
        let open = Arc::clone(&self.open);
        let http = if Arc::strong_count(&open) <= FEW { &self.wide } else { &self.narrow };
        let answer = timeout(silence, http.request(request)).await.map_err(|_| silent(silence))?;
        let answer = answer.map_err(|error| HttpError::new(kind(&error, error.is_connect()), error))?;
        Ok(answer.map(|body| HttpResponseBody::new(Heard { body, silence, waiting: None, _open: open })))
    }
}

/// Whether a store has more to do for a request than to take bytes in or out: it joins parts, or copies.
fn is_labour(request: &HttpRequest) -> bool {
    let joins =
        *request.method() == Method::POST && request.uri().query().is_some_and(|query| query.contains("uploadId="));
    joins || COPY_SOURCES.iter().any(|name| request.headers().contains_key(name))
}

/// The body of an answer, which fails when nothing comes.
#[derive(Debug)]
struct Heard {
    body: Incoming,
    silence: Duration,
    /// While somebody waits.
    waiting: Option<Pin<Box<Sleep>>>,
    _open: Arc<()>,
}

impl Body for Heard {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| HttpError::new(kind(&error, false), error))));
        }
        let silence = this.silence;
        ready!(this.waiting.get_or_insert_with(|| Box::pin(sleep(silence))).as_mut().poll(cx));
        Poll::Ready(Some(Err(silent(silence))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A store that says nothing.
#[derive(Debug)]
struct Silent(Duration);

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing was heard for {} s", self.0.as_secs())
    }
}

impl StdError for Silent {}

fn silent(after: Duration) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, Silent(after))
}

/// Whether the library may make a request again: what never reached the store, always; what may have, where that does
/// no harm.
fn kind(error: &(dyn StdError + 'static), is_connect: bool) -> HttpErrorKind {
    if is_connect {
        return HttpErrorKind::Connect;
    }
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let mut known = causes.filter_map(|error| {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            let is_gone = error.is_closed() || error.is_incomplete_message() || error.is_body_write_aborted();
            return is_gone.then_some(HttpErrorKind::Request);
        }
        match error.downcast_ref::<io::Error>()?.kind() {
            io::ErrorKind::TimedOut => Some(HttpErrorKind::Timeout),
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Some(HttpErrorKind::Interrupted),
            _ => None,
        }
    });
    known.next().unwrap_or(HttpErrorKind::Unknown)
}
