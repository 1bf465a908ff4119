//! `lagan crd`

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::api::crd_values;

use super::output;

/// Print the definitions of the custom resources as YAML.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write a file for each into this folder, as crds/ has them, instead of printing them.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints the definitions of all resources, or writes them.
///
/// # Errors
/// If the files or standard output cannot be written to.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let definitions = crd_values().context("could not make the definitions")?;
    match &arguments.directory {
        None => {
            let documents: Vec<String> = definitions.iter().map(text).collect::<Result<_, _>>()?;
            output::print(&documents.join("---\n"))
        }
        Some(directory) => {
            fs::create_dir_all(directory).with_context(|| format!("could not make {}", directory.display()))?;
            definitions.iter().try_for_each(|definition| {
                let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("crd");
                let file = directory.join(format!("{name}.yaml"));
                fs::write(&file, text(definition)?).with_context(|| format!("could not write {}", file.display()))
            })
        }
    }
}

fn text(definition: &Value) -> anyhow::Result<String> {
    serde_yaml::to_string(definition).context("could not write a definition")
}
