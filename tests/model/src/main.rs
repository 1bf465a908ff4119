//! The protocol of replicas, promises, deletion and collection, as a model that is explored state by state; README.md says
//! how to read it. The tests explore all of it. This command explores configurations and weakened variants by name, and
//! prints how they are violated, step by step.

mod change;
mod check;
mod collect;
mod configurations;
mod delete;
mod explore;
mod gone;
mod join;
mod lease;
mod model;
mod protocol;
mod push;
mod replica;
mod restore;
mod settle;
mod state;
mod step;
mod watch;
mod weakened;

use std::process::ExitCode;

use crate::{
    configurations::{EVERYDAY, LARGE},
    explore::{Outcome, explore},
    gone::Marker,
    lease::Renewal,
    protocol::Protocol,
    weakened::Mutant,
};

/// Exits with 1 where something is not as expected, with 64 where nothing has one of the names.
fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        usage();
    }
    let mut as_expected = true;
    for name in &names {
        let Some((outcome, expected)) = explored(name) else {
            eprintln!("there is no configuration and no variant of the name {name}");
            return ExitCode::from(64);
        };
        as_expected &= match expected {
            Some(property) => outcome.violations.contains_key(property),
            None => outcome.violations.is_empty(),
        };
        println!("{}\n{}", outcome.line(name), outcome.traces());
    }
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What came of a configuration or variant, and what it should violate.
fn explored(name: &str) -> Option<(Outcome, Option<&'static str>)> {
    if let Some(config) = EVERYDAY.iter().chain(LARGE).find(|config| config.name == name) {
        return Some((explore(Protocol { config: *config, mutant: Mutant::None }), None));
    }
    if let Some((mutant, config, expected)) = weakened::ALL.iter().find(|(mutant, _, _)| format!("{mutant:?}") == name)
    {
        return Some((explore(Protocol { config: *config, mutant: *mutant }), *expected));
    }
    if let Some(variant) = gone::ALL.into_iter().find(|variant| format!("{variant:?}") == name) {
        return Some((explore(variant), (variant != Marker::Unchanged).then_some(gone::LANDED)));
    }
    let variant = lease::ALL.into_iter().find(|variant| format!("{variant:?}") == name)?;
    Some((explore(variant), (variant != Renewal::Unchanged).then_some(lease::GONE)))
}

fn usage() {
    println!("usage: cargo run -- NAME…");
    println!("configurations: {}", list(EVERYDAY.iter().chain(LARGE).map(|config| config.name)));
    println!("weakened: {}", list(weakened::ALL.iter().map(|(mutant, _, _)| format!("{mutant:?}"))));
    println!("the marker of who is gone: {}", list(gone::ALL.iter().map(|variant| format!("{variant:?}"))));
    println!("the lease: {}", list(lease::ALL.iter().map(|variant| format!("{variant:?}"))));
}

fn list(names: impl Iterator<Item = impl Into<String>>) -> String {
    names.map(Into::into).collect::<Vec<String>>().join(" ")
}
