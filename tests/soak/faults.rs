//! What is done to replicas, and what it explains.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use crate::site::Site;

/// A time in which something was wrong with the world, not with the registry.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    began: Instant,
    /// Absent as long as it lasts.
    ended: Option<Instant>,
    /// Whether a process may have left something that others keep frozen until Q has passed.
    leaves_frozen: bool,
}

/// All that was wrong so far with one registry's processes.
#[derive(Debug)]
pub(crate) struct Faults(Mutex<Vec<Trouble>>);

impl Faults {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    fn begin(&self, leaves_frozen: bool) -> usize {
        let mut all = self.0.lock().unwrap();
        all.push(Trouble { began: Instant::now(), ended: None, leaves_frozen });
        all.len() - 1
    }

    fn end(&self, number: usize) {
        self.0.lock().unwrap()[number].ended = Some(Instant::now());
    }

    /// Whether something was wrong during a request, or so long before it.
    pub(crate) fn explain(&self, began: Instant, answered: Instant, after: Duration) -> bool {
        self.any(began, answered, after, |_| true)
    }

    /// The same, of what may have left something frozen.
    pub(crate) fn explain_frozen(&self, began: Instant, answered: Instant, after: Duration) -> bool {
        self.any(began, answered, after, |trouble| trouble.leaves_frozen)
    }

    fn any(&self, began: Instant, answered: Instant, after: Duration, which: impl Fn(&Trouble) -> bool) -> bool {
        let overlaps =
            |trouble: &Trouble| trouble.began <= answered && trouble.ended.is_none_or(|ended| ended + after >= began);
        // The latest ones are what matters.
        self.0.lock().unwrap().iter().rev().take(200).any(|trouble| which(trouble) && overlaps(trouble))
    }
}

/// Kills, pauses and ends replicas until it is told to stop; then all of them serve.
pub(crate) async fn trouble(site: Arc<Site>, stop: CancellationToken) {
    let mut rng = StdRng::seed_from_u64(site.settings.seed ^ 0xFA17 ^ site.replicas.len() as u64);
    loop {
        let calm = site.settings.calm.mul_f64(rng.random_range(0.4..1.6));
        tokio::select! {
            () = tokio::time::sleep(calm) => {}
            () = stop.cancelled() => return,
        }
        let first = rng.random_range(0..site.replicas.len());
        if site.replicas.len() > 1 && rng.random_bool(0.15) {
            // Two at once: one is left.
            let second = (first + 1) % site.replicas.len();
            let mut other = StdRng::seed_from_u64(rng.random());
            tokio::join!(one(&site, first, &mut rng), one(&site, second, &mut other));
        } else {
            one(&site, first, &mut rng).await;
        }
    }
}

async fn one(site: &Site, number: usize, rng: &mut StdRng) {
    let kind = rng.random_range(0..100);
    let away = match rng.random_range(0..3) {
        // Shorter than a lease, about as long as one, and longer than it takes to be gone.
        0 => rng.random_range(200..1_500),
        1 => rng.random_range(1_500..4_500),
        _ => rng.random_range(4_500..10_000),
    };
    let away = Duration::from_millis(away);
    let replica = &site.replicas[number];
    let trouble = site.faults.begin(kind < 80);
    let result = match kind {
        0..45 => {
            site.tally.say(&format!("{} {number} is killed for {away:?}", site.name));
            site.count("kills");
            replica.kill();
            tokio::time::sleep(away).await;
            replica.restart().await
        }
        45..80 => {
            site.tally.say(&format!("{} {number} is paused for {away:?}", site.name));
            site.count("pauses");
            replica.pause();
            tokio::time::sleep(away).await;
            replica.go_on();
            Ok(())
        }
        _ => {
            site.tally.say(&format!("{} {number} is ended in order, for {away:?}", site.name));
            site.count("ends in order");
            match replica.end_in_order().await {
                Ok(()) => {
                    tokio::time::sleep(away).await;
                    replica.restart().await
                }
                error => error,
            }
        }
    };
    site.faults.end(trouble);
    if let Err(complaint) = result {
        site.spurious(&format!("replica {number}: {complaint}"));
        replica.kill();
        // What cannot be started ends the soak: there is nothing more to learn from it.
        if let Err(again) = replica.restart().await {
            panic!("{} {number} does not start: {again}", site.name);
        }
    }
}
