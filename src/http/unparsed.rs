//! Answers to what is no HTTP request.
//!
//! The HTTP library answers those by itself, without a body and without asking. Every other answer of a connection comes
//! from the service, so what is written while the service has nothing to write is the library's, and is replaced.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::error;

/// Everything that the service answered was sent.
const IDLE: u8 = 0;
/// The service has a request.
const ANSWERING: u8 = 1;
/// The service gave its whole answer, and part of it may still be on its way.
const ANSWERED: u8 = 2;

/// How far a connection's current answer is.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    /// The service has a request, until what is returned is dropped with the answer's body.
    pub(super) fn begin(&self) -> Answering {
        self.0.store(ANSWERING, Ordering::Release);
        Answering(self.clone())
    }

    fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) == IDLE
    }
}

/// An answer of the service, until it is dropped.
#[derive(Debug)]
pub(super) struct Answering(Progress);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.store(ANSWERED, Ordering::Release);
    }
}

/// A connection whose answers without a request are replaced.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    progress: Progress,
    /// What is written in place of the library's answer, and how much of it was.
    replacement: Option<(Vec<u8>, usize)>,
    /// How long a head may take.
    head_timeout: Duration,
    /// When the head that is awaited must be there: the first one from the start, others from their first byte on.
    head_due: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// A new connection, each of whose requests' heads may take so long.
    pub(super) fn new(stream: S, progress: Progress, head_timeout: Duration) -> Self {
        let head_due = Some(Box::pin(sleep(head_timeout)));
        Self { stream, progress, replacement: None, head_timeout, head_due }
    }

    /// Whether a head that has begun is late; if it is not, wakes the task when it is.
    fn is_head_late(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.head_due.as_mut().filter(|_| self.progress.is_idle());
        due.is_some_and(|due| due.as_mut().poll(cx).is_ready())
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Writes the replacement of what begins with `head`; ready when all of it was taken.
    fn poll_replace(&mut self, cx: &mut Context<'_>, head: &[u8]) -> Poll<io::Result<()>> {
        let (bytes, written) = self.replacement.get_or_insert_with(|| (error::unparsed(status_of(head)), 0));
        while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count;
        }
        Poll::Ready(Ok(()))
    }
}

/// The status of an answer's first line, such as `HTTP/1.1 431 …`.
fn status_of(head: &[u8]) -> StatusCode {
    let digits = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    StatusCode::from_bytes(digits).unwrap_or(StatusCode::BAD_REQUEST)
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Pending if this.is_head_late(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Ready(Ok(())) if buf.filled().len() > filled && this.is_head_late(cx) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Ready(Ok(())) => {
                if this.progress.is_idle() && buf.filled().len() > filled && this.head_due.is_none() {
                    this.head_due = Some(Box::pin(sleep(this.head_timeout)));
                }
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.progress.is_idle() && !buf.is_empty() {
            return this.poll_replace(cx, buf).map_ok(|()| buf.len());
        }
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if this.progress.is_idle() && length > 0 {
            let head = bufs.iter().find(|buf| !buf.is_empty()).map(|buf| &**buf).unwrap_or_default();
            return this.poll_replace(cx, head).map_ok(|()| length);
        }
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        // The library flushes once all it had was written, so nothing of the answer is left.
        if this.progress.0.compare_exchange(ANSWERED, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            this.head_due = None;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
        time::timeout,
    };

    use super::*;

    const HEAD_TIMEOUT: Duration = Duration::from_millis(50);

    /// A connection's two ends.
    fn connection(progress: &Progress) -> (DuplexStream, Watched<DuplexStream>) {
        let (client, server) = tokio::io::duplex(64);
        (client, Watched::new(server, progress.clone(), HEAD_TIMEOUT))
    }

    async fn read(watched: &mut Watched<DuplexStream>) -> Result<usize, io::ErrorKind> {
        let read = timeout(HEAD_TIMEOUT * 4, watched.read(&mut [0; 16])).await;
        read.map_err(|_| io::ErrorKind::WouldBlock)?.map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn connection_whose_first_head_is_late_ends() {
        let (mut client, mut watched) = connection(&Progress::default());
        client.write_all(b"GET").await.unwrap();
        assert_eq!(read(&mut watched).await, Ok(3));
        assert_eq!(read(&mut watched).await, Err(io::ErrorKind::TimedOut));
        client.write_all(b" /").await.unwrap();
        assert_eq!(read(&mut watched).await, Err(io::ErrorKind::TimedOut), "more bytes come too late");
    }

    #[tokio::test]
    async fn later_heads_are_late_from_their_first_byte_on() {
        let progress = Progress::default();
        let (mut client, mut watched) = connection(&progress);
        let answering = progress.begin();
        assert_eq!(read(&mut watched).await, Err(io::ErrorKind::WouldBlock), "a body may take longer");
        drop(answering);
        watched.flush().await.unwrap();
        assert_eq!(read(&mut watched).await, Err(io::ErrorKind::WouldBlock), "an idle connection may be kept");
        client.write_all(b"GET").await.unwrap();
        assert_eq!(read(&mut watched).await, Ok(3));
        assert_eq!(read(&mut watched).await, Err(io::ErrorKind::TimedOut));
    }

    #[test]
    fn the_status_is_read_from_the_first_line() {
        assert_eq!(status_of(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"), 431);
        assert_eq!(status_of(b"HTTP/1.1 4"), 400);
        assert_eq!(status_of(b""), 400);
    }
}
