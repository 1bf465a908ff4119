//! What `tests/run` tells the tests.

use std::env;

/// A variable of the environment that it sets for the servers that it starts.
pub(crate) fn variable_of_tests_run(name: &str) -> String {
    // The others are run by a section of their own name.
    let section = match env!("CARGO_CRATE_NAME") {
        "buckets" | "oci_api" => "drivers",
        section => section,
    };
    env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: `tests/run --only {section}` starts the server and does"))
}
