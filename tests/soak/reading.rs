//! Pulls, and what becomes of operations that were not answered.

use std::time::Instant;

use rand::Rng as _;

use crate::book::State;
use crate::caller::Answer;
use crate::digest::sha256;
use crate::image::Image;
use crate::life::Life;
use crate::tally::Invariant;

impl Life {
    /// Pulls an image that is there, by its digest or a tag.
    pub(crate) async fn pull(&mut self, book: usize) {
        let Some(image) = self.books[book].any(State::Present, &mut self.rng) else { return };
        let tags = self.books[book].tags_of(&image.digest);
        let by_tag = !tags.is_empty() && self.rng.random_bool(0.5);
        let reference = if by_tag { tags[self.rng.random_range(0..tags.len())].clone() } else { image.digest.clone() };
        let at = self.replica();
        self.pull_from(at, book, &image, &reference).await;
    }

    /// Pulls one by its digest.
    pub(crate) async fn pull_image(&mut self, book: usize, digest: &str) {
        let Some(image) = self.books[book].images.get(digest).map(|known| known.image.clone()) else { return };
        let at = self.replica();
        self.pull_from(at, book, &image, digest).await;
    }

    /// Reads all of an image and compares it; whether it came.
    pub(crate) async fn pull_from(&self, at: usize, book: usize, image: &Image, reference: &str) -> bool {
        let name = &self.books[book].name;
        let manifest = self.caller.get(at, &format!("/v2/{name}/manifests/{reference}")).await;
        if manifest.is_evasive() {
            return false;
        }
        if manifest.status != 200 {
            self.site.violation(Invariant::I4, &format!("what was pushed is gone: {manifest}"));
            return false;
        }
        if manifest.body != image.manifest.as_bytes() {
            let invariant = if reference.contains(':') { Invariant::I1 } else { Invariant::I4 };
            self.site.violation(invariant, &format!("it should be {}: {manifest}", image.digest));
            return false;
        }
        for (digest, _) in &image.blobs {
            let blob = self.caller.get(at, &format!("/v2/{name}/blobs/{digest}")).await;
            if blob.is_evasive() {
                return false;
            }
            if blob.status != 200 || sha256(&blob.body) != *digest {
                self.site.violation(Invariant::I1, &format!("a blob of {} is gone or wrong: {blob}", image.digest));
                return false;
            }
        }
        self.site.count("pulls");
        true
    }

    /// Asks for an image that was deleted.
    pub(crate) async fn pull_absent(&mut self, book: usize) {
        let Some(image) = self.books[book].any(State::Absent, &mut self.rng) else { return };
        let path = format!("/v2/{}/manifests/{}", self.books[book].name, image.digest);
        let at = self.replica();
        let answer = self.caller.get(at, &path).await;
        if !answer.is_evasive() && answer.status != 404 {
            self.site.violation(Invariant::I5, &format!("after its delete: {answer}"));
        }
    }

    /// Looks what became of what was not answered, once it is over.
    pub(crate) async fn settle(&mut self, book: usize) {
        let settled = self.site.settings.times.settled;
        let is_over = |since: Instant| since.elapsed() > settled;
        let image = self.books[book].images.values().find_map(|known| match known.state {
            State::Unsettled { since, must_be_there } if is_over(since) => Some((known.image.clone(), must_be_there)),
            _ => None,
        });
        if let Some((image, must_be_there)) = image {
            self.settle_image(book, &image, must_be_there).await;
        }
        let tags = self.books[book].tags.iter();
        let tag = tags.filter(|(_, pointer)| pointer.since.is_some_and(is_over)).map(|(tag, _)| tag.clone()).next();
        if let Some(tag) = tag {
            self.settle_tag(book, &tag).await;
        }
    }

    /// The same for all that was not answered, when all of it is over and everybody answers.
    pub(crate) async fn settle_all(&mut self, book: usize) {
        // One image and one tag each time.
        for _ in 0..self.books[book].images.len() + self.books[book].tags.len() {
            self.settle(book).await;
        }
        if !self.books[book].is_settled() {
            self.site.spurious(&format!("replicas do not say what is in {}", self.books[book].name));
        }
    }

    /// Every replica has what is there, and nothing else.
    pub(crate) async fn look_at_all(&self, book: usize) {
        let name = &self.books[book].name;
        for (digest, known) in &self.books[book].images {
            match known.state {
                State::Present => {
                    for replica in 0..self.site.replicas.len() {
                        self.pull_from(replica, book, &known.image, digest).await;
                    }
                }
                State::Absent => self.is_gone(&format!("/v2/{name}/manifests/{digest}")).await,
                State::Unsettled { .. } => {}
            }
        }
        for tag in self.books[book].tags.keys() {
            let found = self.agreed(book, tag).await;
            let expected = self.books[book].target(tag).map(|target| target.map(str::to_owned));
            if found != expected {
                let what = format!("{name} {tag} is {found:?} in the end, and should be {expected:?}");
                self.site.violation(Invariant::I4, &what);
            }
        }
    }

    async fn settle_image(&mut self, book: usize, image: &Image, must_be_there: bool) {
        let Some(found) = self.agreed(book, &image.digest).await else { return };
        let at = self.replica();
        if found.is_none() {
            if must_be_there {
                self.site
                    .violation(Invariant::I4, &format!("{} was pushed and not deleted, and is gone", image.digest));
            }
            self.site.count("unanswered, then settled");
            self.books[book].put(image, State::Absent);
        } else if self.pull_from(at, book, image, &image.digest).await {
            self.site.count("unanswered, then settled");
            self.books[book].put(image, State::Present);
        }
    }

    async fn settle_tag(&mut self, book: usize, tag: &str) {
        let Some(found) = self.agreed(book, tag).await else { return };
        let pointer = &self.books[book].tags[tag];
        let is_gone = |digest: &str| self.books[book].state(digest) != Some(State::Present);
        let may_be_gone = pointer.candidates.iter().any(|candidate| candidate.as_deref().is_none_or(is_gone));
        if !(pointer.candidates.contains(&found) || found.is_none() && may_be_gone) {
            let candidates = &pointer.candidates;
            let what = format!("{} {tag} is {found:?}, and not one of {candidates:?}", self.books[book].name);
            self.site.violation(Invariant::I4, &what);
        }
        self.site.count("unanswered, then settled");
        self.books[book].point(tag, found.as_deref());
    }

    /// What all replicas say of a reference. `None`: not all of them say something now.
    #[allow(clippy::option_option, reason = "nothing said, said not to be there, and its digest")]
    pub(crate) async fn agreed(&self, book: usize, reference: &str) -> Option<Option<String>> {
        let path = format!("/v2/{}/manifests/{reference}", self.books[book].name);
        let mut answers: Vec<Answer> = Vec::new();
        for replica in 0..self.site.replicas.len() {
            answers.push(self.caller.head(replica, &path).await);
        }
        if answers.iter().any(Answer::is_evasive) {
            return None;
        }
        let found = |answer: &Answer| (answer.status == 200).then(|| answer.digest.clone().unwrap());
        let first = found(&answers[0]);
        if answers.iter().any(|answer| found(answer) != first || !matches!(answer.status, 200 | 404)) {
            let all: Vec<String> = answers.iter().map(Answer::to_string).collect();
            self.site.violation(Invariant::I4, &format!("replicas differ: {}", all.join("; ")));
        }
        Some(first)
    }
}
