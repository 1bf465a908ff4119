//! One collection after the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::caller::{Answer, Caller};
use crate::site::Site;

/// How often to look whether one is over.
const LOOK: Duration = Duration::from_millis(250);

/// How long one may take. A collection waits for the sweep of one that died, whose keys are frozen for Q.
const PATIENCE: Duration = Duration::from_secs(180);

/// Begins collections until it is told to stop.
pub(crate) async fn collect(site: Arc<Site>, stop: CancellationToken) {
    let mut rng = StdRng::seed_from_u64(site.settings.seed ^ 0xC011);
    let caller = Caller::new(site.clone());
    let mut confirm = None;
    while !stop.is_cancelled() {
        let at = site.any(&mut rng);
        let request = match confirm.take() {
            Some(id) => json!({"confirm": id}),
            None => json!({}),
        };
        let answer = caller.post(at, "/v2/_lagan/gc", &request).await;
        match answer.status {
            202 => confirm = follow(&caller, &answer, &mut rng).await,
            // Another one is noted: of a process that died, until that is known; or of a request that was not answered.
            409 => {}
            // A confirmation that was taken before.
            400 if request != json!({}) => {}
            _ if answer.is_evasive() => {}
            _ => site.spurious(&answer.to_string()),
        }
        tokio::time::sleep(LOOK.mul_f64(rng.random_range(0.5..6.0))).await;
    }
}

/// Waits until a collection is over; its name, where it wants to be confirmed.
async fn follow(caller: &Caller, begun: &Answer, rng: &mut StdRng) -> Option<String> {
    let site = &caller.site;
    let id = begun.json()["id"].clone();
    while begun.began.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let answer = caller.get(site.any(rng), "/v2/_lagan/gc").await;
        let status = answer.json();
        if answer.status != 200 || status["id"] != id {
            // Another one began meanwhile: nobody knows that this one died, and it did.
            if answer.status == 200 && begun.began.elapsed() > Duration::from_secs(60) {
                site.count("collections lost sight of");
                return None;
            }
            continue;
        }
        if status["state"] != "Running" {
            return ended(site, begun, &status);
        }
    }
    let explained = site.faults.explain(begun.began, Instant::now(), Duration::ZERO);
    site.count(if explained { "collections lost sight of" } else { "collections too slow" });
    if !explained {
        site.spurious(&format!("a collection is not over: {begun}"));
    }
    None
}

fn ended(site: &Site, begun: &Answer, status: &Value) -> Option<String> {
    let number = |path: &str| status.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let add = |what, number| site.tally.add(site.name, what, number);
    add("bytes reclaimed", number("/removed/bytes"));
    add("blobs reclaimed", number("/removed/blobs"));
    add("blobs wanted again in a sweep", number("/kept"));
    add("trash entries expired", number("/tombstonesExpired"));
    if number("/problemCount") > 0 {
        site.spurious(&format!("a collection came upon damage: {status}"));
    }
    let explained = site.faults.explain(begun.began, Instant::now(), site.settings.times.recovery);
    match status["state"].as_str() {
        Some("Finished") => site.count("collections"),
        Some("Halted") if status["halt"]["confirmable"] == true => {
            site.count("collections halted and confirmed");
            return status["id"].as_str().map(str::to_owned);
        }
        Some("Interrupted" | "Failed") if explained => site.count("collections cut off by a fault"),
        _ => site.spurious(&format!("a collection ended like this: {status}")),
    }
    None
}
