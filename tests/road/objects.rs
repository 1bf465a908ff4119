//! The API server takes and refuses the objects of `tests/objects`, with their words, as Lagan's own validator does.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{Namespace, Operator};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// What the API server says to making the object of a file, which is not made.
fn asked(namespace: &Namespace, file: &Path) -> Result<String, String> {
    let create = namespace.program(["create", "--dry-run=server", "--validate=strict", "--filename"]);
    create.arg(file).output().into_result()
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn api_server_agrees_with_our_validator() {
    Operator::installed();
    let namespace = Namespace::new("objects");
    let mut wrong = Vec::new();
    for file in files("accepted") {
        if let Err(refusal) = asked(&namespace, &file) {
            wrong.push(format!("{} is refused: {refusal}", file.display()));
        }
    }
    for file in files("refused") {
        let text = fs::read_to_string(&file).unwrap();
        let words = text.lines().next().unwrap().strip_prefix("# message: ").unwrap();
        match asked(&namespace, &file) {
            Ok(_) => wrong.push(format!("{} is taken", file.display())),
            Err(refusal) if !refusal.contains(words) || refusal.contains("rule evaluation error") => {
                wrong.push(format!("{} is refused in other words than {words:?}: {refusal}", file.display()));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
