//! Which folders of this machine hold a registry.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::storage::Catalog;

use super::exit::InvalidUsage;

/// Fails where a folder is there and no registry lies in it, before anything is written into it.
///
/// # Errors
/// [`InvalidUsage`] says what is missing, and names the registries below the folder.
pub(super) fn refuse_other(folder: &Path) -> Result<(), InvalidUsage> {
    if !folder.is_dir() || Catalog::lies_in(folder) {
        return Ok(());
    }
    let below: Vec<String> = registries_below(folder).iter().map(|folder| folder.display().to_string()).collect();
    let hint = if below.is_empty() {
        "give the folder that `lagan up` names when it starts, or storage.filesystem.directory of `lagan serve`"
            .to_owned()
    } else {
        format!("below it are {}", below.join(", "))
    };
    Err(InvalidUsage(format!(
        "{} holds no registry: neither docker/registry/v2/repositories nor lagan/v1/adoption is in it; {hint}",
        folder.display()
    )))
}

/// Whether no lagan was ever in a folder: then none holds it.
pub(super) fn is_untouched(folder: &Path) -> bool {
    !folder.join("lagan").exists()
}

/// The registries that lie where `lagan up -f FILE` puts them: in `<folder>/<namespace>/<name>`.
pub(super) fn registries_below(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = folders_in(folder).iter().flat_map(|namespace| folders_in(namespace)).collect();
    found.retain(|folder| Catalog::lies_in(folder));
    found.sort_unstable();
    found
}

/// None of a folder that is not there, or cannot be read.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_without_a_registry_is_refused_with_those_below_it() {
        let data = tempfile::tempdir().unwrap();
        let refused = refuse_other(data.path()).unwrap_err().to_string();
        assert!(refused.contains("lagan/v1/adoption") && refused.contains("`lagan up`"), "{refused}");
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);

        let served = data.path().join("default/images");
        fs::create_dir_all(served.join("lagan/v1")).unwrap();
        fs::write(served.join("lagan/v1/adoption"), "").unwrap();
        let adopted = data.path().join("team/old");
        fs::create_dir_all(adopted.join("docker/registry/v2/repositories")).unwrap();
        fs::create_dir_all(data.path().join("team/keys-only/lagan/up")).unwrap();
        assert_eq!(registries_below(data.path()), [served.clone(), adopted.clone()]);
        let refused = refuse_other(data.path()).unwrap_err().to_string();
        assert!(refused.contains("default/images") && refused.contains("team/old"), "{refused}");
        assert!(refuse_other(&served).is_ok() && refuse_other(&adopted).is_ok());
    }
}
