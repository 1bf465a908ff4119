//! `lagan crd`

use anyhow::Context;
use kube::CustomResourceExt;

use crate::api::v1alpha1::{Registry, RetentionPolicy};

use super::output;

/// Prints the definitions of all resources, as `crds/` has them.
///
/// # Errors
/// If standard output cannot be written to.
pub fn run() -> anyhow::Result<()> {
    let definitions = [Registry::crd(), RetentionPolicy::crd()];
    let documents = definitions
        .iter()
        .map(serde_yaml::to_string)
        .collect::<Result<Vec<String>, _>>()
        .context("could not write the definitions")?;
    output::print(&documents.join("---\n"))
}
