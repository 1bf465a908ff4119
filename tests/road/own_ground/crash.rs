//! `kill -9` in the middle of pushes.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::Node;
use crate::support::{Image, Namespace, Operator, Registry, eventually};

/// How many clients push at once.
const CLIENTS: usize = 3;

/// How often the registry is killed.
const KILLS: usize = 3;

#[test]
#[ignore = "needs the cluster of tests/run"]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    Operator::installed();
    let namespace = Namespace::new("crash");
    let registry = Registry::applied(&namespace, "registry", "");
    let acknowledged: Mutex<Vec<(String, Image)>> = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);

    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (registry, acknowledged, stop) = (&registry, &acknowledged, &stop);
            scope.spawn(move || push_until(stop, registry, client, acknowledged));
        }
        // However this ends, the clients must.
        let _ended = Ended(&stop);
        for kill in 1..=KILLS {
            let before = acknowledged.lock().unwrap().len();
            eventually("pushes are acknowledged", || {
                let now = acknowledged.lock().unwrap().len();
                if now >= before + CLIENTS { Ok(()) } else { Err(format!("{now} so far")) }
            });
            Node::signal("KILL", Node::process_of(&registry.pod()));
            eventually("the container has started again", || {
                let pod = registry.pod();
                let status = &pod["status"]["containerStatuses"][0];
                let again = status["restartCount"].as_u64() >= Some(kill as u64) && status["ready"] == true;
                if again { Ok(()) } else { Err(format!("{status:#}")) }
            });
        }
    });

    registry.await_answer();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= CLIENTS * KILLS);
    for (name, image) in &acknowledged {
        registry.address.pull_is_identical(image, name);
    }
}

/// Tells the clients to stop when it goes out of scope.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Pushes image after image; what the registry did not acknowledge counts for nothing.
fn push_until(stop: &AtomicBool, registry: &Registry, client: usize, acknowledged: &Mutex<Vec<(String, Image)>>) {
    let numbers = (0..).take_while(|_| !stop.load(Ordering::Relaxed));
    for number in numbers {
        let tag = format!("c{client}-{number}");
        let image = Image::named(&tag);
        let name = format!("client{client}/app:{tag}");
        if registry.address.try_push(&image, &name).is_success() {
            acknowledged.lock().unwrap().push((name, image));
        }
    }
}
