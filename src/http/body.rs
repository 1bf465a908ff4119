//! The bodies of requests and answers, as streams that hold one piece at a time.

use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap,
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    header::EXPECT,
};
use tokio::time::timeout;

use crate::storage::driver::ByteStream;

use super::{
    Error,
    body_budget::{BodyBudget, Share},
    observation::Observation,
    unparsed::Answering,
};

/// How long a client may send nothing in the middle of a body. Long enough for a stalled mobile link to recover,
/// short enough that a dead client does not hold its upload for an afternoon.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How much of an unread body is read away after an error. A connection that is closed with bytes unread is reset,
/// and the reset may overtake the answer that says what was wrong.
const DRAIN_BYTES: u64 = 1 << 20;

/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A body of which no more is left than this is read away whole, if it says so: clients send chunks of 5 to 64 MiB, and
/// one that came out of order is sent again only if its client learns of that.
const DRAIN_WHOLE: u64 = 64 << 20;

/// How long that may take.
const DRAIN_WHOLE_TIME: Duration = Duration::from_secs(10);

/// A body that has its share of the memory goes on by so much at a time, or ends, within [`COLLECT_TIME`]: 52 KB/s. One
/// that stalls gives way to those that wait for a share, and these wait for longer.
const COLLECT_STEP: u64 = 256 << 10;

/// See [`COLLECT_STEP`].
const COLLECT_TIME: Duration = Duration::from_secs(5);

/// A request's body, whole, and its share of the memory for such.
#[derive(Debug)]
pub(super) struct WholeBody {
    bytes: Bytes,
    _share: Option<Share>,
}

impl WholeBody {
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// What a request carries.
#[derive(Debug)]
pub(super) struct RequestBody {
    incoming: Incoming,
    received: u64,
    /// Whether the client sends nothing before it is told to, which the first look at the body does.
    is_held_back: bool,
}

impl RequestBody {
    /// The body of a request with these headers.
    pub(super) fn new(incoming: Incoming, headers: &HeaderMap) -> Self {
        let expected = headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self { incoming, received: 0, is_held_back: expected }
    }

    /// The bytes read so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The `Content-Length`; `None` for a stream of unknown length.
    pub(super) fn declared(&self) -> Option<u64> {
        self.incoming.size_hint().exact().map(|rest| rest + self.received)
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// Where the client goes away, or stalls, before the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.is_held_back = false;
        loop {
            let frame = timeout(IDLE_TIMEOUT, self.incoming.frame())
                .await
                .map_err(|_| Error::BodyStalled { after: IDLE_TIMEOUT })?;
            let Some(frame) = frame else { return Ok(None) };
            // Trailers mean nothing here.
            if let Ok(data) = frame.map_err(|source| Error::BodyBroken { source })?.into_data() {
                self.received += data.len() as u64;
                return Ok(Some(data));
            }
        }
    }

    /// The whole body, if it has at most `limit` bytes; `None` if it has more. A large one waits for its share of
    /// `budget`, and keeps it for as long as the bytes are held.
    ///
    /// # Errors
    /// As [`next`](Self::next); and where no share became free, or the body took too long once it had one.
    pub(super) async fn collect(&mut self, limit: u64, budget: &BodyBudget) -> Result<Option<WholeBody>, Error> {
        if self.declared().is_some_and(|size| size > limit) {
            return Ok(None);
        }
        let mut whole = BytesMut::new();
        if !self.collect_until(BodyBudget::FREE.min(limit), &mut whole).await? {
            return Ok(Some(WholeBody { bytes: whole.freeze(), _share: None }));
        }
        let expected = self.declared().unwrap_or(limit);
        if whole.len() as u64 > limit {
            return Ok(None);
        }
        let share = budget.reserve(expected).await?;
        // Asked for at once: a buffer that doubles is held twice while it is copied.
        whole.reserve(usize::try_from(expected).unwrap_or_default().saturating_sub(whole.len()));
        let mut has_more = true;
        while has_more && whole.len() as u64 <= limit {
            let step = limit.min(whole.len() as u64 + COLLECT_STEP);
            let gathered = timeout(COLLECT_TIME, self.collect_until(step, &mut whole)).await;
            has_more = gathered.map_err(|_| Error::BodyStalled { after: COLLECT_TIME })??;
        }
        Ok((!has_more).then(|| WholeBody { bytes: whole.freeze(), _share: Some(share) }))
    }

    /// Gathers until there are more than `limit` bytes, or the body ends; whether there are more.
    async fn collect_until(&mut self, limit: u64, whole: &mut BytesMut) -> Result<bool, Error> {
        while whole.len() as u64 <= limit {
            let Some(piece) = self.next().await? else { return Ok(false) };
            whole.extend_from_slice(&piece);
        }
        Ok(true)
    }

    /// Reads away what is left of a body that nobody wants, within bounds.
    pub(super) async fn drain(&mut self) {
        if self.is_held_back {
            return;
        }
        let left = self.declared().map(|length| length - self.received);
        let (bytes, time) = match left {
            Some(left) if left <= DRAIN_WHOLE => (left, DRAIN_WHOLE_TIME),
            _ => (DRAIN_BYTES, DRAIN_TIME),
        };
        let end = self.received + bytes;
        let rest = async { while self.received < end && matches!(self.next().await, Ok(Some(_))) {} };
        // Whether or not it ended: the connection is closed otherwise.
        let _ = timeout(time, rest).await;
    }

    /// Whether everything was read.
    pub(super) fn is_read(&self) -> bool {
        self.incoming.is_end_stream()
    }
}

enum Content {
    Full(Bytes),
    Stream { stream: ByteStream, remaining: u64 },
}

/// What an answer carries. Its length is always known.
pub(super) struct Body {
    content: Content,
    observation: Option<Observation>,
    /// Held for its drop.
    answering: Option<Answering>,
}

impl Body {
    pub(super) fn empty() -> Self {
        Self::full(Bytes::new())
    }

    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        Self { content: Content::Full(bytes.into()), observation: None, answering: None }
    }

    /// A stream that yields exactly `length` bytes; one that yields less or more breaks the connection, so that no
    /// client takes a part for the whole.
    pub(super) fn stream(stream: ByteStream, length: u64) -> Self {
        Self { content: Content::Stream { stream, remaining: length }, observation: None, answering: None }
    }

    /// Keeps the request under observation until the body was sent or dropped.
    pub(super) fn observed(mut self, observation: Observation) -> Self {
        self.observation = Some(observation);
        self
    }

    /// Says when it was sent or dropped.
    pub(super) fn answering(mut self, answering: Answering) -> Self {
        self.answering = Some(answering);
        self
    }

    fn remaining(&self) -> u64 {
        match &self.content {
            Content::Full(bytes) => bytes.len() as u64,
            Content::Stream { remaining, .. } => *remaining,
        }
    }
}

type BodyError = Box<dyn StdError + Send + Sync>;

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.remaining() == 0 {
            return Poll::Ready(None);
        }
        let piece = match &mut this.content {
            Content::Full(bytes) => std::mem::take(bytes),
            Content::Stream { stream, remaining } => match futures::ready!(stream.poll_next_unpin(cx)) {
                Some(Ok(piece)) if piece.len() as u64 <= *remaining => {
                    *remaining -= piece.len() as u64;
                    piece
                }
                Some(Ok(_)) => return Poll::Ready(Some(Err("the content is longer than it should be".into()))),
                Some(Err(error)) => {
                    tracing::error!(error = &error as &(dyn StdError + 'static), "could not send content");
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => return Poll::Ready(Some(Err("the content is shorter than it should be".into()))),
            },
        };
        if let Some(observation) = &mut this.observation {
            observation.sent(piece.len() as u64);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}
