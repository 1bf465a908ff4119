//! What lies in a folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use lagan::oci::{Algorithm, Digest};

/// Every file below distribution's part of a store: its content's digest, and when it was written.
pub(crate) type Tree = BTreeMap<PathBuf, (Digest, SystemTime)>;

/// Reads all of it.
pub(crate) fn tree(data: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![data.join("docker")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
                continue;
            }
            let digest = Digest::of(Algorithm::Sha256, &fs::read(&path).unwrap());
            tree.insert(path, (digest, entry.metadata().unwrap().modified().unwrap()));
        }
    }
    tree
}

/// Fails with the paths that differ.
pub(crate) fn assert_untouched(before: &Tree, after: &Tree) {
    let changed: Vec<&PathBuf> = before
        .iter()
        .filter(|(path, was)| after.get(*path) != Some(was))
        .map(|(path, _)| path)
        .chain(after.keys().filter(|path| !before.contains_key(*path)))
        .collect();
    assert!(changed.is_empty(), "these were changed, removed or added: {changed:#?}");
}
