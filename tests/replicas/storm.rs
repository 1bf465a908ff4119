//! Clients that push, move tags, pull and delete before, during and after what happens to a replica.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::client::{Client, Image, Unanswered};
use crate::cluster::Cluster;

/// How many clients work at the same time, each on its own images.
const CLIENTS: usize = 4;

/// What clients have seen.
#[derive(Debug, Default)]
struct Tally {
    pushed: AtomicUsize,
    pushed_at_three: AtomicUsize,
    moved: AtomicUsize,
    deleted: AtomicUsize,
    deleted_in_trouble: AtomicUsize,
}

fn count(tally: &AtomicUsize) {
    tally.fetch_add(1, Ordering::Relaxed);
}

/// One client's life.
struct Life {
    client: Client,
    tally: Arc<Tally>,
    number: usize,
    in_trouble: CancellationToken,
    /// The images that are to be there in the end.
    kept: Vec<Image>,
    /// The tag that it moves from image to image: another one after a move that was not answered, which may have
    /// happened or happen yet.
    moving: String,
}

/// Lets clients work while `trouble` happens; in the end all that was acknowledged is on all replicas.
pub(crate) async fn storm(cluster: Cluster, trouble: impl AsyncFnOnce(&Cluster)) {
    let tally = Arc::new(Tally::default());
    let (stop, in_trouble) = (CancellationToken::new(), CancellationToken::new());
    let lives: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (client, tally, in_trouble) = (Client::new(&cluster), tally.clone(), in_trouble.clone());
            let moving = format!("moving-{number}");
            let life = Life { client, tally, number, in_trouble, kept: Vec::new(), moving };
            tokio::spawn(life.until(stop.clone()))
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    in_trouble.cancel();
    trouble(&cluster).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    stop.cancel();
    cluster.await_ready().await;
    let client = Client::new(&cluster);
    for life in lives {
        for image in life.await.unwrap() {
            for replica in 0..3 {
                client.pull(replica, &image).await;
            }
        }
    }
    eprintln!("{tally:?}");
    let seen = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    assert!([&tally.pushed, &tally.moved, &tally.deleted].into_iter().all(|of| seen(of) > CLIENTS), "too few");
    assert!(seen(&tally.pushed_at_three) > 0 && seen(&tally.deleted_in_trouble) > 0, "nothing went on in the trouble");
}

impl Life {
    async fn until(mut self, stop: CancellationToken) -> Vec<Image> {
        let mut round = 0;
        while !stop.is_cancelled() {
            self.work(round).await;
            round += 1;
        }
        self.kept
    }

    /// One image's life: it is pushed somewhere, read everywhere, tagged anew somewhere else, and every second one is
    /// deleted at the third replica and read everywhere again. An image whose delete was not answered is not looked at
    /// again: it may be there or not.
    async fn work(&mut self, round: usize) {
        let image = Image::new(&format!("image {round} of client {}", self.number));
        let tag = format!("client-{}-{round}", self.number);
        let at = self.push(round, &image, &tag).await;
        count(&self.tally.pushed);
        self.sees(&tag, Some(&image.digest)).await;
        self.retag(at + 1, round, &image).await;
        if round.is_multiple_of(2) {
            self.kept.push(image);
            return;
        }
        if self.client.delete((at + 2) % 3, &image.digest).await.is_err() {
            return;
        }
        self.sees(&image.digest, None).await;
        self.sees(&tag, None).await;
        count(&self.tally.deleted);
        if self.in_trouble.is_cancelled() {
            count(&self.tally.deleted_in_trouble);
        }
    }

    /// Pushes where it can be pushed, every third image's layer in pieces that go to three replicas; where the manifest
    /// went.
    async fn push(&self, round: usize, image: &Image, tag: &str) -> usize {
        let began = Instant::now();
        let mut at = self.number + round;
        loop {
            let pushed = if round.is_multiple_of(3) {
                self.push_at_three(at, image, tag).await
            } else {
                self.client.push(at % 3, image, tag).await
            };
            match pushed {
                Ok(()) => return at,
                Err(Unanswered(why)) => {
                    assert!(began.elapsed() < Duration::from_secs(180), "{tag} cannot be pushed anywhere: {why}");
                }
            }
            at += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn push_at_three(&self, at: usize, image: &Image, tag: &str) -> Result<(), Unanswered> {
        let replica = |step| (at + step) % 3;
        let layer = &image.blobs[1];
        let (first, rest) = layer.split_at(layer.len() / 3);
        let location = self.client.begin_upload(replica(1)).await?;
        let location = self.client.append(replica(2), &location, first, 0).await?;
        let location = self.client.append(replica(0), &location, rest, first.len()).await?;
        self.client.finish(replica(1), &location, &[], layer).await?;
        self.client.push_blob(replica(0), &image.blobs[0]).await?;
        self.client.put(replica(0), image, tag).await?;
        count(&self.tally.pushed_at_three);
        Ok(())
    }

    /// Moves the client's tag to an image.
    async fn retag(&mut self, at: usize, round: usize, image: &Image) {
        if self.client.put(at % 3, image, &self.moving).await.is_ok() {
            self.sees(&self.moving, Some(&image.digest)).await;
            count(&self.tally.moved);
        } else {
            self.moving = format!("moving-{}-{round}", self.number);
        }
    }

    /// What every replica that answers says of a reference.
    async fn sees(&self, reference: &str, expected: Option<&str>) {
        for replica in 0..3 {
            if let Ok(found) = self.client.tagged(replica, reference).await {
                assert_eq!(found.as_deref(), expected, "replica {replica} on {reference}");
            }
        }
    }
}
