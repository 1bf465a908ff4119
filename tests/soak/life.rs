//! A client: one operation after another, each held against all before it.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use crate::book::Book;
use crate::caller::Caller;
use crate::site::Site;

/// How many repositories a client has.
const REPOSITORIES: usize = 2;

/// How many images a repository has at most.
const IMAGES: usize = 8;

pub(crate) struct Life {
    pub(crate) site: Arc<Site>,
    pub(crate) caller: Caller,
    pub(crate) rng: StdRng,
    pub(crate) books: Vec<Book>,
}

impl Life {
    pub(crate) fn new(site: Arc<Site>, number: usize) -> Self {
        let seed = site.settings.seed.wrapping_mul(1000).wrapping_add(number as u64);
        // The two sites live different lives.
        let rng = StdRng::seed_from_u64(seed ^ (site.replicas.len() as u64) << 56);
        let books = (0..REPOSITORIES).map(|book| Book::new(format!("client-{number}/app-{book}"))).collect();
        Self { caller: Caller::new(site.clone()), site, rng, books }
    }

    pub(crate) async fn until(mut self, stop: CancellationToken) -> Self {
        while !stop.is_cancelled() {
            let book = self.rng.random_range(0..REPOSITORIES);
            self.work(book).await;
            self.settle(book).await;
            self.books[book].forget(&mut self.rng);
            let pause = self.site.settings.pause.mul_f64(self.rng.random_range(0.0..2.0));
            tokio::time::sleep(pause).await;
        }
        self
    }

    async fn work(&mut self, book: usize) {
        let is_full = self.books[book].present_count() >= IMAGES;
        match self.rng.random_range(0..100) {
            0..30 if is_full => self.delete(book).await,
            0..30 => self.push(book).await,
            30..35 => self.move_tag_twice(book).await,
            35..41 => self.push_while_deleting(book).await,
            41..53 => self.delete(book).await,
            53..59 => self.delete_tag(book).await,
            59..72 => self.restore(book).await,
            72..75 => self.purge(book).await,
            75..78 => self.delete_repository(book).await,
            78..82 => self.delete_blob(book).await,
            82..86 => self.pull_absent(book).await,
            _ => self.pull(book).await,
        }
    }

    /// One replica.
    pub(crate) fn replica(&mut self) -> usize {
        self.site.any(&mut self.rng)
    }

    /// One of a repository's tags.
    pub(crate) fn tag(&mut self) -> String {
        format!("tag-{}", self.rng.random_range(0..6))
    }

    /// Does nothing for a moment, as somebody who builds or thinks.
    pub(crate) async fn think(&mut self, at_most: Duration) {
        let pause = at_most.mul_f64(self.rng.random());
        tokio::time::sleep(pause).await;
    }
}
