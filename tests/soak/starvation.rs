//! When the machine has no time for the registries: a replica that waits for a processor for most of its lease loses it.

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::site::Site;

/// Looks at the machine between two of these a lease.
const LOOKS: u32 = 8;

/// How long threads have waited for a processor: by process and thread, in nanoseconds.
type Waits = BTreeMap<(u32, String), u64>;

/// The times in which it was so.
#[derive(Debug, Default)]
pub(crate) struct Starvation(Mutex<Vec<(Instant, Instant)>>);

impl Starvation {
    /// Whether it was so during a request, or so long before it.
    pub(crate) fn explains(&self, began: Instant, answered: Instant, after: Duration) -> bool {
        let all = self.0.lock().unwrap();
        all.iter().rev().take(200).any(|(from, until)| *from <= answered && *until + after >= began)
    }

    fn note(&self, from: Instant) {
        self.0.lock().unwrap().push((from, Instant::now()));
    }
}

/// Looks at the processes of a site, and of its object store, until it is told to stop.
pub(crate) async fn watch(site: Arc<Site>, stop: CancellationToken) {
    let lease = site.settings.times.lease;
    let mut looks: Vec<(Instant, Waits)> = Vec::new();
    while !stop.is_cancelled() {
        tokio::time::sleep(lease / LOOKS).await;
        let now = (Instant::now(), waits(&site));
        looks.retain(|(at, _)| at.elapsed() <= lease);
        if let Some((at, before)) = looks.first() {
            let waited =
                |(thread, total): (&(u32, String), &u64)| total.saturating_sub(*before.get(thread).unwrap_or(total));
            let longest = Duration::from_nanos(now.1.iter().map(waited).max().unwrap_or_default());
            if longest > lease / 2 {
                site.starvation.note(*at);
                site.count("looks at a starved machine");
            }
        }
        site.count("looks at the machine");
        looks.push(now);
    }
}

fn waits(site: &Site) -> Waits {
    let mut processes: Vec<u32> = site.replicas.iter().filter_map(crate::replica::Replica::id).collect();
    if site.replicas.len() > 1 {
        let file = Path::new(&env::var("LAGAN_SERVERS_DIR").unwrap_or_default()).join("versitygw.pid");
        let id: Option<u32> =
            fs::read_to_string(file).ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
        processes.extend(id);
    }
    let mut waits = Waits::new();
    for process in processes {
        for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
            let figures = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let waited = figures.split_whitespace().nth(1).and_then(|text| text.parse().ok());
            let name = thread.file_name().to_string_lossy().into_owned();
            waits.extend(waited.map(|waited| ((process, name), waited)));
        }
    }
    waits
}
