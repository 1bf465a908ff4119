//! A blob on its way to a registry, which may break off in the middle.
//!
//! What the target has of an upload it says itself, and the rest follows: no byte is sent twice, however often the
//! connection breaks. All bytes are hashed here on their way; so that the hash, too, can be gone on with, it is kept as it
//! was at some points before.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{Stream, stream};
use reqwest::{
    Body, Method, Response,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE},
};

use crate::oci::{Digest, RepositoryName};
use crate::storage::UploadHash;

use super::{blob_stream::BlobStream, failure::Failure, remote::Remote, retry::Patience, source::Source};

/// How many bytes lie between two points to which the hash can go back: what is asked of the source once more, at most.
const POINT_EVERY: u64 = 1 << 20;

/// How many such points are kept: buffers on the way hold less than they span. For what lies before them, the source is
/// asked from its first byte.
const POINTS: usize = 64;

/// An upload that is being made.
pub(super) struct BlobPush<'a> {
    remote: &'a Remote,
    source: &'a Source,
    name: &'a RepositoryName,
    digest: &'a Digest,
    journey: Arc<Mutex<Journey>>,
}

/// What is known of a blob's way, whichever connection it takes.
#[derive(Debug, Default)]
struct Journey {
    /// The hash at some points, the last one last.
    points: VecDeque<UploadHash>,
    /// The blob's length, once a source has said it.
    size: Option<u64>,
    /// How many bytes were hashed.
    length: u64,
    /// Why nothing more comes.
    problem: Option<Failure>,
}

/// Where an upload is, and what it has.
struct Place {
    url: String,
    offset: u64,
}

impl<'a> BlobPush<'a> {
    pub(super) fn new(remote: &'a Remote, source: &'a Source, name: &'a RepositoryName, digest: &'a Digest) -> Self {
        Self { remote, source, name, digest, journey: Arc::default() }
    }

    /// Sends all of it; how many bytes that were.
    ///
    /// # Errors
    /// [`Failure`]: where nothing more comes from the source, or several attempts in a row brought nothing to the target.
    pub(super) async fn run(self) -> Result<u64, Failure> {
        let mut place = self.begin().await?;
        let mut patience = Patience::default();
        loop {
            let Err(failure) = self.send_rest(&place).await else { return Ok(self.journey().length) };
            let problem = self.journey().problem.take();
            let is_lost = is_lost(&failure, &place);
            let waited = match problem {
                Some(problem) => Err(problem),
                None if failure.is_break() || is_lost => patience.after(failure).await,
                None => Err(failure),
            };
            if let Err(failure) = waited {
                self.cancel(&place).await;
                return Err(failure);
            }
            place = match self.found(&place).await {
                Some(found) if !is_lost && found.offset >= place.offset => {
                    if found.offset > place.offset {
                        patience.renew();
                    }
                    found
                }
                _ => self.begin_anew(&place).await?,
            };
        }
    }

    async fn begin(&self) -> Result<Place, Failure> {
        let path = format!("/v2/{}/blobs/uploads/", self.name);
        let begun = super::retry::with_retries(|| {
            self.remote.send(self.name.as_str(), &path, |url| self.remote.request(Method::POST, url))
        });
        let url = location(self.remote, &begun.await?).ok_or_else(|| {
            let reason = "the target began an upload and did not say where".to_owned();
            Failure::Content { what: self.what(), reason }
        })?;
        Ok(Place { url, offset: 0 })
    }

    async fn begin_anew(&self, place: &Place) -> Result<Place, Failure> {
        self.cancel(place).await;
        self.begin().await
    }

    /// What the target has; `None` where it has forgotten the upload, or does not say.
    async fn found(&self, place: &Place) -> Option<Place> {
        let request = |url| self.remote.request(Method::GET, url);
        let answer = self.remote.send(self.name.as_str(), &place.url, request).await.ok()?;
        let last: u64 = answer.headers().get(RANGE)?.to_str().ok()?.rsplit_once('-')?.1.trim().parse().ok()?;
        // `0-0` is what an empty one says, too; of one byte nothing is lost.
        let offset = if last == 0 { 0 } else { last.saturating_add(1) };
        Some(Place { url: location(self.remote, &answer).unwrap_or_else(|| place.url.clone()), offset })
    }

    /// Sends what the target does not have, and ends the upload.
    async fn send_rest(&self, place: &Place) -> Result<Response, Failure> {
        let offset = place.offset;
        let (hash, size) = self.journey().go_back(offset, self.digest);
        let (source, from) = (self.source.clone(), hash.length());
        let mut content = BlobStream::new(source, self.name.clone(), self.digest.clone(), from, size);
        let size = content.size().await?;
        self.journey().size = size;
        let mut url = self.remote.url(&place.url)?;
        url.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let mut request = self.remote.request(Method::PUT, url).header(CONTENT_TYPE, "application/octet-stream");
        if let Some(size) = size {
            request = request.header(CONTENT_LENGTH, size.saturating_sub(offset));
            if offset > 0 && size > offset {
                request = request.header(CONTENT_RANGE, format!("{offset}-{}", size - 1));
            }
        }
        let journey = Arc::clone(&self.journey);
        let passing = Passing { content, offset, held: None, hash: Some(hash), digest: self.digest.clone(), journey };
        let request = request.body(Body::wrap_stream(passing.into_stream()));
        self.remote.send_stream(self.name.as_str(), request, &self.what()).await
    }

    /// Ends an upload that came to nothing. Where that fails too, the target forgets it in time.
    async fn cancel(&self, place: &Place) {
        cancel(self.remote, self.name, Some(place.url.clone())).await;
    }

    fn journey(&self) -> MutexGuard<'_, Journey> {
        lock(&self.journey)
    }

    fn what(&self) -> String {
        format!("{}@{}", self.name, self.digest)
    }
}

fn lock(journey: &Mutex<Journey>) -> MutexGuard<'_, Journey> {
    journey.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the target does not go on with what it had: it has forgotten the upload, or something else than was sent.
fn is_lost(failure: &Failure, place: &Place) -> bool {
    match failure {
        Failure::Answer { status, .. } => place.offset > 0 && matches!(status.as_u16(), 400 | 404 | 416),
        _ => false,
    }
}

impl Journey {
    /// The hash of no more than the first `offset` bytes, to go on from, and the whole size.
    fn go_back(&mut self, offset: u64, digest: &Digest) -> (UploadHash, Option<u64>) {
        while self.points.back().is_some_and(|point| point.length() > offset) {
            self.points.pop_back();
        }
        let hash = self.points.back().cloned().unwrap_or_else(|| UploadHash::new(digest.algorithm()));
        self.length = hash.length();
        (hash, self.size)
    }

    fn hashed(&mut self, hash: &UploadHash) {
        self.length = hash.length();
        if self.length >= self.points.back().map_or(0, UploadHash::length) + POINT_EVERY {
            self.points.push_back(hash.clone());
            if self.points.len() > POINTS {
                self.points.pop_front();
            }
        }
    }
}

/// Passes a stream on, with the last piece held back until all of it is verified: what is not what was announced never
/// arrives whole, whether or not the target verifies.
struct Passing {
    content: BlobStream,
    /// How many of the first bytes the target has.
    offset: u64,
    /// What came last.
    held: Option<Bytes>,
    /// There until the end.
    hash: Option<UploadHash>,
    digest: Digest,
    journey: Arc<Mutex<Journey>>,
}

impl Passing {
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(self, |mut passing| async move { passing.next().await.map(|piece| (piece, passing)) })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let hash = self.hash.as_mut()?;
            match self.content.next().await {
                Ok(Some(mut piece)) => {
                    let known = self.offset.saturating_sub(hash.length());
                    hash.update(&piece);
                    lock(&self.journey).hashed(hash);
                    let piece = piece.split_off(usize::try_from(known).unwrap_or(usize::MAX).min(piece.len()));
                    if piece.is_empty() {
                        continue;
                    }
                    if let Some(before) = self.held.replace(piece) {
                        return Some(Ok(before));
                    }
                }
                Ok(None) => {
                    let actual = self.hash.take().and_then(UploadHash::finish);
                    return match actual.filter(|actual| *actual != self.digest) {
                        None => self.held.take().map(Ok),
                        Some(actual) => {
                            let reason = format!("what the source sent hashes to {actual}");
                            Some(Err(self.refuse(Failure::Content { what: self.digest.to_string(), reason })))
                        }
                    };
                }
                Err(failure) => return Some(Err(self.refuse(failure))),
            }
        }
    }

    fn refuse(&mut self, problem: Failure) -> io::Error {
        self.hash = None;
        let error = io::Error::other(problem.to_string());
        lock(&self.journey).problem = Some(problem);
        error
    }
}

pub(super) fn location(remote: &Remote, answer: &Response) -> Option<String> {
    let text = answer.headers().get("Location")?.to_str().ok()?;
    remote.url(text).ok().map(|url| url.to_string())
}

/// Ends an upload, if there is one.
pub(super) async fn cancel(remote: &Remote, name: &RepositoryName, place: Option<String>) {
    if let Some(place) = place {
        let _ = remote.send(name.as_str(), &place, |url| remote.request(Method::DELETE, url)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn a_journey_goes_back_to_a_point_before_what_the_target_has() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let (mut journey, mut hash) = (Journey::default(), UploadHash::new(Algorithm::Sha256));
        for _ in 0..3 * POINTS {
            hash.update(&vec![7; usize::try_from(POINT_EVERY).unwrap() / 2]);
            journey.hashed(&hash);
        }
        assert_eq!(journey.points.len(), POINTS);
        let (back, _) = journey.go_back(60 * POINT_EVERY + 5, &digest);
        assert_eq!(back.length(), 60 * POINT_EVERY);
        let (back, _) = journey.go_back(5, &digest);
        assert_eq!(back.length(), 0, "what is before all points begins anew");
    }
}
