//! What the documentation shows works: every object in it is one that an API server takes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use lagan::api::Validator;
use lagan::api::serve_config::ServeConfig;
use serde::Deserialize;
use serde_json::Value;

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|file| file.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has no {extension}");
    files
}

fn pages() -> Vec<PathBuf> {
    let top = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(PathBuf::from);
    files("docs", "md").into_iter().chain(top).collect()
}

fn documents(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    documents.filter(|document| !document.is_null()).collect()
}

/// Checks the objects of a text that are Lagan's, and answers how many there are.
fn check(place: &Path, text: &str) -> usize {
    let validator = Validator::new().unwrap();
    let known: Vec<Value> = documents(text).into_iter().filter(|object| validator.knows(object)).collect();
    for object in &known {
        if let Err(invalid) = validator.validate(object) {
            panic!("{}: {invalid}", place.display());
        }
    }
    known.len()
}

#[test]
fn examples_are_objects_that_are_accepted() {
    for file in files("docs/examples", "yaml") {
        let text = fs::read_to_string(&file).unwrap();
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("serve")) {
            let config: ServeConfig = serde_yaml::from_str(&text).unwrap();
            assert!(config.auth.htpasswd.is_some());
            config.storage.check().and(config.descriptor_cache.check()).unwrap();
            config.garbage_collection.check(&config.deletion.restore_window).unwrap();
        } else {
            assert!(check(&file, &text) > 0, "{} has no object", file.display());
        }
    }
}

#[test]
fn objects_in_the_text_are_accepted() {
    let mut found = 0;
    for page in pages() {
        for block in blocks(&fs::read_to_string(&page).unwrap(), "yaml") {
            if block.starts_with("apiVersion") {
                found += check(&page, &block);
            }
        }
    }
    assert!(found >= 2, "the README shows a Registry and a RetentionPolicy");
}

#[test]
fn five_lines_of_the_readme_are_the_example() {
    let readme = fs::read_to_string("README.md").unwrap();
    let registry = blocks(&readme, "yaml").into_iter().find(|block| block.contains("kind: Registry")).unwrap();
    assert_eq!(registry.trim().lines().count(), 5);
    assert_eq!(registry.trim(), fs::read_to_string("docs/examples/registry.yaml").unwrap().trim());
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target)) {
            let path = target.split('#').next().unwrap();
            let there = page.parent().unwrap_or(Path::new("")).join(path);
            assert!(target.contains("://") || there.exists(), "{}: {target}", page.display());
        }
    }
}

#[test]
fn commands_and_exit_codes_are_documented() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_lagan")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let page = fs::read_to_string("docs/command-line.md").unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut count = 0;
    for name in names.filter(|name| !["", "help"].contains(name)) {
        count += 1;
        assert!(page.contains(&format!("`lagan {name}")), "docs/command-line.md says nothing of {name}");
    }
    assert!(count >= 7, "{help}");
    for code in help.lines().skip_while(|line| *line != "Exit codes:").skip(1) {
        let number = code.split_whitespace().next().unwrap();
        assert!(page.contains(&format!("| {number} |")), "docs/command-line.md says nothing of exit code {number}");
    }
}

/// The fenced blocks of a page that are of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}
