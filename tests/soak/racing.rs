//! Two operations at the same time, at two replicas.

use std::time::Duration;

use rand::Rng as _;

use crate::book::State;
use crate::caller::Answer;
use crate::image::Image;
use crate::life::Life;
use crate::tally::Invariant;

impl Life {
    /// Puts two images under one tag: it is one of them afterwards, and the same one everywhere.
    pub(crate) async fn move_tag_twice(&mut self, book: usize) {
        let tag = self.tag();
        let images = [(); 2].map(|()| Image::new(self.site.settings.seed, &mut self.rng));
        for image in &images {
            if self.push_blobs(book, image).await.is_none() {
                return;
            }
        }
        let [first, second] = [self.replica(), self.replica()];
        let answers = tokio::join!(
            self.put_manifest(first, book, &images[0], &tag),
            self.put_manifest(second, book, &images[1], &tag)
        );
        let answers = [answers.0, answers.1];
        for (image, answer) in images.iter().zip(&answers) {
            self.expect_put(answer);
            match answer.status {
                201 => self.books[book].put(image, State::Present),
                _ => self.books[book].unsettle(image, false, answer.ended),
            }
            self.books[book].may_point(&tag, Some(&image.digest), answer.ended);
        }
        if answers.iter().any(|answer| answer.status != 201) {
            return;
        }
        self.site.count("pushes at the same time");
        let Some(found) = self.agreed(book, &tag).await else { return };
        if !images.iter().any(|image| Some(&image.digest) == found.as_ref()) {
            let what = format!("{} {tag} is {found:?} after {} and {}", self.books[book].name, answers[0], answers[1]);
            self.site.violation(Invariant::I4, &what);
        }
        self.books[book].point(&tag, found.as_deref());
    }

    /// Pushes an image while it is deleted: all of it is there afterwards, or nothing.
    pub(crate) async fn push_while_deleting(&mut self, book: usize) {
        let state = if self.rng.random_bool(0.7) { State::Present } else { State::Absent };
        let Some(image) = self.books[book].any(state, &mut self.rng) else { return };
        let tag = self.tag();
        if self.books[book].target(&tag).is_none() || self.push_blobs(book, &image).await.is_none() {
            return;
        }
        let path = format!("/v2/{}/manifests/{}", self.books[book].name, image.digest);
        let [first, second] = [self.replica(), self.replica()];
        let [head_start, handicap] = [(); 2].map(|()| Duration::from_millis(self.rng.random_range(0..30)));
        let (put, deleted) = tokio::join!(
            async {
                tokio::time::sleep(head_start).await;
                self.put_manifest(first, book, &image, &tag).await
            },
            async {
                tokio::time::sleep(handicap).await;
                self.caller.delete(second, &path).await
            }
        );
        self.expect_put(&put);
        if deleted.status == 404 && state == State::Present {
            self.site.violation(Invariant::I4, &format!("what was pushed is unknown: {deleted}"));
        }
        self.books[book].trash.retain(|entry| entry.digest != image.digest);
        match (put.status, deleted.status) {
            (201, 202) => self.expect_all_or_nothing(book, &image, &tag, [put, deleted]).await,
            (201, 404) => {
                self.books[book].put(&image, State::Present);
                self.books[book].point(&tag, Some(&image.digest));
            }
            _ => self.not_answered(book, &image, &tag, &[put, deleted]),
        }
    }

    async fn expect_all_or_nothing(&mut self, book: usize, image: &Image, tag: &str, answers: [Answer; 2]) {
        self.site.count("pushes while deleting");
        self.books[book].untag(&image.digest);
        let (by_digest, by_tag) = (self.agreed(book, &image.digest).await, self.agreed(book, tag).await);
        let (Some(by_digest), Some(by_tag)) = (by_digest, by_tag) else {
            return self.not_answered(book, image, tag, &answers);
        };
        if by_digest != by_tag {
            let [put, deleted] = &answers;
            let what = format!("{by_digest:?} is there, and {tag} is {by_tag:?}, after {put} and {deleted}");
            self.site.violation(Invariant::I4, &what);
        }
        self.books[book].put(image, if by_digest.is_some() { State::Present } else { State::Absent });
        self.books[book].point(tag, by_tag.as_deref());
    }

    fn not_answered(&mut self, book: usize, image: &Image, tag: &str, answers: &[Answer; 2]) {
        let since = answers.iter().map(|answer| answer.ended).max().unwrap();
        let book = &mut self.books[book];
        book.may_untag(&image.digest, since);
        book.may_point(tag, Some(&image.digest), since);
        book.may_point(tag, None, since);
        book.unsettle(image, true, since);
    }

    fn expect_put(&self, answer: &Answer) {
        if answer.status != 201 && !answer.is_evasive() {
            self.site.violation(Invariant::I2, &format!("what was promised a moment ago is refused: {answer}"));
        }
    }
}
