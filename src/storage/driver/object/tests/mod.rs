//! The driver over a store in memory, and over real ones.

mod gcs_proxy;
mod listing;
mod servers;
mod uploads;
mod watched;

use std::sync::Arc;

use crate::storage::driver::suite::{self, Subject};

use super::*;
use watched::Watched;

/// Sizes with which a few bytes are many parts.
const TINY: Sizes = Sizes {
    first_part: 100_000,
    parts_of_a_size: 4,
    parts_between_states: 3,
    longest_copy: 2_000_000,
    copied_part: 200_000,
};

/// A replica over a store in memory.
fn replica(store: &Arc<Watched>, sizes: Sizes, buffer_bytes: usize) -> Arc<ObjectDriver> {
    let bucket = Bucket::new(Arc::clone(store) as _, None, None, Some("some/prefix".parse().unwrap()), None);
    let bucket = bucket.forgetting_absence();
    let shared = Shared { bucket: bucket.clone(), budget: Budget::new(buffer_bytes), sizes };
    Arc::new(ObjectDriver { shared: Arc::new(shared), fenced: bucket })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_over_a_store_in_memory() {
    let store = Arc::new(Watched::default());
    let (driver, other) = (replica(&store, TINY, 1_000_000), replica(&store, TINY, 1_000_000));
    for sizes in [TINY, Sizes { longest_copy: 0, ..TINY }] {
        let driver = replica(&store, sizes, 1_000_000);
        suite::run(Subject {
            driver,
            other: other.clone(),
            long_upload: 1_234_567,
            signs: false,
            shows_folders: false,
        })
        .await;
        assert_eq!(store.paths().await, [""; 0], "everything was removed");
        assert_eq!(store.open_uploads(), 0, "no parts are left");
    }
    assert_eq!(driver.shared.budget.free_bytes(), 1_000_000);
    assert_eq!(other.shared.budget.free_bytes(), 1_000_000);
}
