//! Pushes: blobs in every way in which clients bring them, then the manifest.

use std::time::{Duration, Instant};

use rand::Rng as _;
use reqwest::Method;

use crate::book::State;
use crate::caller::Answer;
use crate::image::{Blob, Image, MANIFEST};
use crate::life::Life;
use crate::tally::Invariant;

const BYTES: &str = "application/octet-stream";

/// How much earlier than the promise ends a client counts on it: the answer was under way for a while.
const MARGIN: Duration = Duration::from_secs(2);

impl Life {
    /// Pushes a new image, or one that was there before, under a tag.
    pub(crate) async fn push(&mut self, book: usize) {
        let again = if self.rng.random_bool(0.4) { self.books[book].any(State::Absent, &mut self.rng) } else { None };
        let image = match again {
            Some(image) => image,
            None => Image::new(self.site.settings.seed, &mut self.rng),
        };
        let tag = self.tag();
        if let Some(promised) = self.push_blobs(book, &image).await {
            self.put(book, &image, &tag, promised).await;
        }
    }

    /// Brings an image's blobs; when the first of them was promised. `None`: one could not be brought.
    pub(crate) async fn push_blobs(&mut self, book: usize, image: &Image) -> Option<Instant> {
        let mut first = None;
        for (digest, blob) in &image.blobs {
            let promised = self.push_blob(book, digest, *blob).await?;
            first.get_or_insert(promised);
        }
        // Some manifests come much later than their blobs.
        if self.rng.random_bool(0.04) {
            self.think(self.site.settings.times.grace / 2).await;
        }
        first
    }

    /// Brings a blob, where it is not there.
    pub(crate) async fn push_blob(&mut self, book: usize, digest: &str, blob: Blob) -> Option<Instant> {
        let path = format!("/v2/{}/blobs", self.books[book].name);
        if self.rng.random_bool(0.6) {
            let answer = {
                let at = self.replica();
                self.caller.head(at, &format!("{path}/{digest}")).await
            };
            match answer.status {
                200 => return Some(answer.ended),
                404 => {}
                _ => return None,
            }
        }
        let at = self.replica();
        let done = match self.rng.random_range(0..4) {
            0 => {
                let from = &self.books[(book + 1) % self.books.len()].name;
                let mount = format!("{path}/uploads/?mount={digest}&from={from}");
                let answer = self.caller.call(at, Method::POST, &mount, None).await;
                if answer.status == 202 { self.finish(&answer, digest, blob.bytes()).await? } else { answer }
            }
            1 => {
                let begun = self.caller.call(at, Method::POST, &format!("{path}/uploads/"), None).await;
                let (bytes, at) = (blob.bytes(), self.replica());
                let location = self.place(&begun)?;
                let appended = self.caller.call(at, Method::PATCH, &location, Some((BYTES, bytes))).await;
                self.finish(&appended, digest, Vec::new()).await?
            }
            _ => {
                let whole = format!("{path}/uploads/?digest={digest}");
                self.caller.call(at, Method::POST, &whole, Some((BYTES, blob.bytes()))).await
            }
        };
        match done.status {
            201 => {
                self.site.count("blobs pushed or mounted");
                Some(done.ended)
            }
            _ if done.is_evasive() => None,
            _ => {
                self.site.spurious(&format!("{done}"));
                None
            }
        }
    }

    /// Ends an upload, at any replica.
    async fn finish(&mut self, begun: &Answer, digest: &str, rest: Vec<u8>) -> Option<Answer> {
        let location = self.place(begun)?;
        let separator = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{separator}digest={digest}");
        let at = self.replica();
        Some(self.caller.call(at, Method::PUT, &path, Some((BYTES, rest))).await)
    }

    /// Where to go on with an upload: the path, as every replica has it.
    fn place(&self, answer: &Answer) -> Option<String> {
        if answer.status != 202 {
            self.expect_evasive(answer);
            return None;
        }
        let location = answer.location.as_ref()?;
        Some(location[location.find("/v2/")?..].to_owned())
    }

    /// Puts an image's manifest under a tag, whose blobs were promised then.
    pub(crate) async fn put(&mut self, book: usize, image: &Image, tag: &str, promised: Instant) {
        let at = self.replica();
        let answer = self.put_manifest(at, book, image, tag).await;
        let book = &mut self.books[book];
        match answer.status {
            201 => {
                self.site.count("pushes");
                book.put(image, State::Present);
                book.point(tag, Some(&image.digest));
                // Its entry is revived, and says nothing any more.
                book.trash.retain(|entry| entry.digest != image.digest);
            }
            _ if answer.is_evasive() => {
                book.unsettle(image, false, answer.ended);
                book.may_point(tag, Some(&image.digest), answer.ended);
            }
            _ if answer.began + MARGIN > promised + self.site.settings.times.grace / 2 => {
                self.site.count("pushes too slow");
            }
            _ => self.site.violation(Invariant::I2, &format!("what was promised is refused: {answer}")),
        }
    }

    pub(crate) async fn put_manifest(&self, at: usize, book: usize, image: &Image, tag: &str) -> Answer {
        let path = format!("/v2/{}/manifests/{tag}", self.books[book].name);
        let body = Some((MANIFEST, image.manifest.clone().into_bytes()));
        self.caller.call(at, Method::PUT, &path, body).await
    }
}
