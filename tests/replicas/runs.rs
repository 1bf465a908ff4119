//! Runs of policies: begun at one replica, gone on with at others.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Client, Image};
use crate::cluster::Cluster;

/// How many images are pushed. The policy keeps the last one.
const IMAGES: usize = 8;

/// How soon somebody asks again.
const PAUSE: Duration = Duration::from_millis(200);

/// Longer than a run of a replica that was killed is waited for: until it is gone, and nothing of it can land any more.
const PATIENCE: Duration = Duration::from_secs(240);

/// Pushes images t0, t1 and so on, each at another replica than the one before.
async fn push_images(client: &Client) -> Vec<Image> {
    let mut images = Vec::new();
    for number in 0..IMAGES {
        let image = Image::new(&format!("image {number}"));
        client.push(number % 3, &image, &format!("t{number}")).await.unwrap();
        images.push(image);
    }
    images
}

/// Which of the images a replica answers with.
async fn there(client: &Client, replica: usize, images: &[Image]) -> Vec<usize> {
    let mut there = Vec::new();
    for (number, image) in images.iter().enumerate() {
        if client.is_there(replica, &image.digest).await.unwrap() {
            there.push(number);
        }
    }
    there
}

/// A run of a policy that keeps the image pushed last.
struct Run {
    client: Client,
    id: &'static str,
}

impl Run {
    /// Asks a replica for the run, and waits until it is planned.
    async fn planned(client: Client, replica: usize, approval: &str) -> Self {
        let run = Self { client, id: "policy.1" };
        let spec = json!({
            "registryRef": {"name": "main"}, "mode": "Enforce", "minimumAge": "0s", "approval": approval,
            "keep": [{"name": "newest", "tags": ["*"], "mostRecentlyPushed": 1}],
            "untagged": {"action": "Delete", "minimumAge": "0s"}, "limits": {"maxDeletePercent": 100},
        });
        let policy = json!({"namespace": "shop", "name": "newest", "uid": "policy", "generation": 1, "spec": spec});
        let request = json!({"run": run.id, "policy": "policy", "policies": [policy], "approval": approval});
        let (status, answer) = run.client.post(replica, "/v2/_lagan/retention/runs", &request).await;
        assert_eq!(status, 202, "{answer}");
        run.until(replica, &["AwaitingUsage"]).await;
        run
    }

    fn path(&self) -> String {
        format!("/v2/_lagan/retention/runs/{}", self.id)
    }

    /// How far it is, as a replica sees it.
    async fn seen_by(&self, replica: usize) -> Value {
        let (status, answer) = self.client.get(replica, &self.path()).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Waits until a replica says that it is so far.
    async fn until(&self, replica: usize, states: &[&str]) -> Value {
        let began = Instant::now();
        loop {
            let seen = self.seen_by(replica).await;
            if states.iter().any(|state| seen["state"] == *state) {
                return seen;
            }
            assert!(began.elapsed() < PATIENCE, "{seen:#}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks a replica to apply it: the answer's status.
    async fn apply(&self, replica: usize, approve: Option<&Value>) -> u16 {
        let list = self.client.get(replica, &format!("{}/candidates", self.path())).await.1["list"].clone();
        let request = json!({"listingSeconds": 0.1, "inUse": [], "list": list, "approve": approve});
        let (status, answer) = self.client.post(replica, &format!("{}/apply", self.path()), &request).await;
        assert!([202, 409].contains(&status), "{status} {answer}");
        status
    }

    /// Asks a replica to apply it until it is over.
    async fn applied(&self, replica: usize) -> Value {
        let began = Instant::now();
        loop {
            let seen = self.seen_by(replica).await;
            match seen["state"].as_str().unwrap() {
                "AwaitingUsage" | "Applying" => self.apply(replica, None).await,
                _ => return seen,
            };
            assert!(began.elapsed() < PATIENCE, "{seen:#}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn a_plan_that_one_replica_stored_is_approved_at_another_and_applied_after_the_first_has_left() {
    let cluster = Cluster::start().await;
    let client = Client::new(&cluster);
    let images = push_images(&client).await;
    let run = Run::planned(Client::new(&cluster), 0, "Manual").await;
    assert_eq!(run.apply(0, None).await, 202);
    let waiting = run.until(0, &["AwaitingApproval"]).await;
    assert_eq!(run.seen_by(1).await, waiting);
    // It says what was pulled from it, or else nothing would go.
    cluster.end(0, Signal::TERM).await;

    assert_eq!(run.apply(1, Some(&waiting["plan"]["hash"])).await, 202);
    let done = run.until(2, &["Completed"]).await;

    assert_eq!((&done["approved"], &done["result"]["deletedTags"]), (&json!(true), &json!(IMAGES - 1)), "{done:#}");
    assert_eq!(run.until(1, &["Completed"]).await, done);
    cluster.restart(0).await;
    assert_eq!(run.seen_by(0).await, done);
    for replica in 0..3 {
        assert_eq!(there(&client, replica, &images).await, [IMAGES - 1], "replica {replica}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn of_an_approved_plan_everything_stays_whose_pulls_a_killed_replica_took_with_it_and_the_run_says_so() {
    let cluster = Cluster::start().await;
    let client = Client::new(&cluster);
    let images = push_images(&client).await;
    let run = Run::planned(Client::new(&cluster), 0, "Manual").await;
    assert_eq!(run.apply(0, None).await, 202);
    let waiting = run.until(0, &["AwaitingApproval"]).await;
    cluster.kill(0);

    let hash = &waiting["plan"]["hash"];
    let began = Instant::now();
    while run.apply(1, Some(hash)).await == 409 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(PAUSE).await;
    }
    let done = run.until(2, &["Completed"]).await;

    assert_eq!(done["result"]["deletedTags"], 0, "{done:#}");
    let told = done["leftOut"].as_array().unwrap();
    assert_eq!(told.len(), IMAGES - 1, "{done:#}");
    for left in told {
        assert_eq!(left["reason"], "in use: it is not known what was pulled after the plan was made");
    }
    assert_eq!(there(&client, 2, &images).await.len(), IMAGES);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an object store: tests/run --only replicas"]
async fn a_run_whose_replica_is_killed_while_it_applies_goes_on_at_another() {
    let cluster = Cluster::start().await;
    let client = Client::new(&cluster);
    let images = push_images(&client).await;
    let run = Run::planned(Client::new(&cluster), 0, "Automatic").await;
    assert_eq!(run.apply(0, None).await, 202);
    // In the midst of it, at the latest when its first deletion is seen.
    while there(&client, 1, &images).await.len() == IMAGES {}
    cluster.kill(0);

    let done = run.applied(1).await;

    assert_eq!(done["state"], "Completed", "{done:#}");
    assert_eq!(run.until(2, &["Completed"]).await, done);
    // A deletion that was cut off is frozen until it is settled, and then it is done.
    let began = Instant::now();
    while there(&client, 2, &images).await != [IMAGES - 1] {
        assert!(began.elapsed() < PATIENCE, "{done:#}");
        tokio::time::sleep(PAUSE).await;
    }
}
