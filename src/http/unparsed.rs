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
};

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, progress: Progress) -> Self {
        Self { stream, progress, replacement: None }
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

    fn is_idle(&self) -> bool {
        self.progress.0.load(Ordering::Acquire) == IDLE
    }
}

/// The status of an answer's first line, such as `HTTP/1.1 431 …`.
fn status_of(head: &[u8]) -> StatusCode {
    let digits = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    StatusCode::from_bytes(digits).unwrap_or(StatusCode::BAD_REQUEST)
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_idle() && !buf.is_empty() {
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
        if this.is_idle() && length > 0 {
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
        let _ = this.progress.0.compare_exchange(ANSWERED, IDLE, Ordering::AcqRel, Ordering::Acquire);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_the_first_line() {
        assert_eq!(status_of(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"), 431);
        assert_eq!(status_of(b"HTTP/1.1 4"), 400);
        assert_eq!(status_of(b""), 400);
    }
}
