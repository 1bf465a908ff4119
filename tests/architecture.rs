//! The picture in `src/lib.rs` is true: which layer imports which, how long a file may be, who reads the clock.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each layer with the layers that it may import. An edge that is missing here is a bug; adding one changes the
/// picture in `src/lib.rs` too.
const LAYERS: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("retention", &["oci"]),
    ("api", &["retention", "oci"]),
    ("storage", &["oci"]),
    ("maintenance", &["storage", "api", "retention", "oci"]),
    ("http", &["maintenance", "api", "storage", "retention", "oci"]),
    ("operator", &["api", "retention", "oci"]),
    ("cli", &["operator", "http", "maintenance", "storage", "api", "retention", "oci"]),
];

/// Lines of a file that are not its tests. Longer ones hold more than one noun.
const MAX_LINES: usize = 500;

/// The one file that reads the clock.
const CLOCK: &str = "src/cli/clock.rs";

#[test]
fn layers_import_only_what_the_picture_allows() {
    let mut violations = Vec::new();
    for (layer, allowed) in LAYERS {
        for file in sources(&Path::new("src").join(layer)) {
            for used in imported_layers(&code_of(&file)) {
                if used != *layer && !allowed.contains(&used.as_str()) {
                    violations.push(format!("{} uses crate::{used}, which {layer} must not know", file.display()));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn picture_names_every_folder_of_the_source_and_nothing_else() {
    let folders: BTreeSet<String> = fs::read_dir("src")
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let layers: BTreeSet<String> = LAYERS.iter().map(|(layer, _)| (*layer).to_owned()).collect();
    assert_eq!(folders, layers);
    assert_eq!(layers_of_picture(), LAYERS.iter().map(|(layer, below)| edges(layer, below)).collect());
}

#[test]
fn code_map_declares_the_layers_bottom_up() {
    let declared: Vec<String> = fs::read_to_string("src/lib.rs")
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned))
        .collect();
    let order: BTreeMap<&str, usize> = declared.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    for (layer, allowed) in LAYERS {
        let Some(at) = order.get(layer) else { continue };
        for below in *allowed {
            assert!(order.get(below).is_some_and(|under| under < at), "src/lib.rs declares {layer} before {below}");
        }
    }
}

#[test]
fn files_stay_short() {
    for file in sources(Path::new("src")) {
        let lines = production(&fs::read_to_string(&file).unwrap()).lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines outside its tests", file.display());
    }
}

#[test]
fn main_only_dispatches() {
    let lines = fs::read_to_string("src/main.rs").unwrap().lines().count();
    assert!(lines <= 60, "src/main.rs has {lines} lines: what it does belongs to src/cli");
}

#[test]
fn only_the_clock_reads_the_clock() {
    let lint = "disallowed_methods";
    for file in sources(Path::new("src")) {
        let code = code_of(&file);
        if file == Path::new(CLOCK) {
            assert!(code.contains(lint), "{CLOCK} says why it may read the clock");
        } else {
            assert!(!code.contains(lint), "{} lifts the ban on reading the clock", file.display());
        }
    }
    let lints = fs::read_to_string(".clippy.toml").unwrap();
    for clock in ["std::time::SystemTime::now", "jiff::Timestamp::now"] {
        assert!(lints.contains(clock), ".clippy.toml bans {clock}");
    }
}

#[test]
fn modules_are_imported_by_name_and_not_through_two_parents() {
    for file in sources(Path::new("src")) {
        let code = code_of(&file);
        assert!(!code.contains("super::super"), "{} climbs over its parent: write crate::…", file.display());
        assert!(!code.contains("#[path"), "{} includes a file from elsewhere", file.display());
        if file.parent().and_then(Path::parent) == Some(Path::new("src")) && file.ends_with("mod.rs") {
            let production = production(&code);
            assert!(!production.contains("super::"), "{} reaches another layer through `super`", file.display());
        }
        for line in code.lines().filter(|line| line.trim_start().starts_with("use crate::")) {
            assert!(!line.contains("::*"), "{}: {line} imports everything", file.display());
        }
    }
}

#[test]
fn grouped_aliased_and_bare_imports_are_seen() {
    let code = "use crate::{oci::Digest, storage::{Catalog, driver}, http as web};\nlet x = crate::cli::run();";
    let found = imported_layers(code);
    assert_eq!(found, ["cli", "http", "oci", "storage"].map(str::to_owned).into());
    assert_eq!(imported_layers("use lagan::operator::run;"), ["operator".to_owned()].into());
    assert_eq!(imported_layers("pub(crate) fn f() {}"), BTreeSet::new());
}

#[test]
fn whole_crate_aliases_are_refused() {
    let climbing = std::panic::catch_unwind(|| imported_layers("use crate as everything;"));
    assert!(climbing.is_err(), "an alias of the whole crate hides every edge");
}

#[test]
fn comments_and_texts_are_no_imports() {
    assert_eq!(strip_comments("a // crate::http\nb"), "a \nb");
    assert_eq!(strip_comments("//! crate::http\nuse x;"), "\nuse x;");
    assert_eq!(strip_comments("let url = \"http://host\"; // end"), "let url = \"http://host\"; ");
}

/// A layer with what it imports, as the picture has it.
fn edges(layer: &str, below: &[&str]) -> (String, BTreeSet<String>) {
    (layer.to_owned(), below.iter().map(|name| (*name).to_owned()).collect())
}

/// The edges that the picture in `src/lib.rs` draws: lines such as `//! http → api, oci`.
fn layers_of_picture() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    text.lines()
        .skip_while(|line| *line != "//! ```text")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .filter_map(|line| line.strip_prefix("//!")?.split_once('→'))
        .map(|(layer, below)| {
            let below: Vec<&str> = below.split(',').map(str::trim).filter(|name| *name != "nothing").collect();
            edges(layer.trim(), &below)
        })
        .collect()
}

/// Every Rust file below a folder, in order.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A file's text without its comments.
fn code_of(file: &Path) -> String {
    strip_comments(&fs::read_to_string(file).unwrap())
}

/// Removes what follows `//` on each line, except within a text such as an address.
fn strip_comments(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(strip_line).collect();
    lines.join("\n")
}

fn strip_line(line: &str) -> &str {
    let mut within_text = false;
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if within_text => at += 1,
            b'"' => within_text = !within_text,
            b'/' if !within_text && bytes.get(at + 1) == Some(&b'/') => return &line[..at],
            _ => {}
        }
        at += 1;
    }
    line
}

/// The layers that a text names after `crate::` (or, from a program, `lagan::`), grouped or not.
fn imported_layers(code: &str) -> BTreeSet<String> {
    assert!(!code.contains("use crate as"), "the whole crate under another name hides its edges");
    let mut layers = BTreeSet::new();
    for root in ["crate::", "lagan::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => layers.extend(heads_of_group(group)),
                None => layers.extend(head_of(rest)),
            }
        }
    }
    let known: BTreeSet<&str> = LAYERS.iter().map(|(layer, _)| *layer).collect();
    layers.retain(|layer| known.contains(layer.as_str()));
    layers
}

/// The first component of each entry of `{a::b, c::{d, e}}`, given what follows the brace.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut entry = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.extend(head_of(&std::mem::take(&mut entry))),
            _ if depth == 0 => entry.push(c),
            _ => {}
        }
    }
    heads.extend(head_of(&entry));
    heads
}

fn head_of(path: &str) -> Option<String> {
    let path = path.trim_start();
    assert!(!path.starts_with('*'), "the whole crate is imported by a glob");
    let head: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!head.is_empty()).then_some(head)
}

/// What precedes the tests of a file.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}
