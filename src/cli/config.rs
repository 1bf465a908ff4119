//! The file of `lagan serve`, read and checked before anything is opened.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::api::serve_config::ServeConfig;

use super::exit::InvalidUsage;

/// A configuration in which everything fits.
///
/// Invariant: no two listeners have the same address, every file that it names can be read, and durations and sizes
/// lie within the bounds that the `Registry` resource sets.
#[derive(Debug, Clone)]
pub(super) struct Config(ServeConfig);

impl Config {
    /// Reads a file and checks all of it.
    ///
    /// # Errors
    /// Names the file, the field and what would be right.
    pub(super) fn load(file: &Path) -> Result<Self, InvalidUsage> {
        let wrong = |reason: String| InvalidUsage(format!("{}: {reason}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(unreadable(&error)))?;
        let raw: ServeConfig = serde_yaml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        Self::try_from(raw).map_err(|Invalid { field, reason }| wrong(format!("{field}: {reason}")))
    }

    /// What it says.
    #[must_use]
    pub(super) fn into_inner(self) -> ServeConfig {
        self.0
    }
}

/// A field that cannot be as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub(super) struct Invalid {
    field: &'static str,
    reason: String,
}

impl TryFrom<ServeConfig> for Config {
    type Error = Invalid;

    fn try_from(raw: ServeConfig) -> Result<Self, Invalid> {
        check_listeners(&raw)?;
        check_bounds(&raw)?;
        for (field, file) in files(&raw) {
            fs::File::open(file)
                .map_err(|error| Invalid { field, reason: format!("{} {}", file.display(), unreadable(&error)) })?;
        }
        Ok(Self(raw))
    }
}

fn check_listeners(raw: &ServeConfig) -> Result<(), Invalid> {
    let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    let control = raw.control.as_ref().map(|control| ("control.listen", control.listen));
    for (field, address) in [("listen", raw.listen), ("health.listen", raw.health.listen)].into_iter().chain(control) {
        // Port 0 asks the system for a free one, so two of them do not collide.
        if address.port() == 0 {
            continue;
        }
        if let Some(other) = taken.insert(address, field) {
            return Err(Invalid {
                field,
                reason: format!("{address} is the address of {other} already: choose another port"),
            });
        }
    }
    Ok(())
}

fn check_bounds(raw: &ServeConfig) -> Result<(), Invalid> {
    let invalid = |field, reason: String| Err(Invalid { field, reason });
    let window = &raw.deletion.restore_window;
    if window.as_seconds() < 600 {
        return invalid("deletion.restoreWindow", format!("{window} is too short: at least 10m"));
    }
    let drain = &raw.limits.drain_timeout;
    if drain.as_seconds() > 3600 {
        return invalid("limits.drainTimeout", format!("{drain} is too long: at most 1h"));
    }
    let size = &raw.limits.max_manifest_size;
    if !(4 << 10..=64 << 20).contains(&size.as_bytes()) {
        return invalid("limits.maxManifestSize", format!("{size} is out of bounds: between 4Ki and 64Mi"));
    }
    if raw.descriptor_cache.in_memory.max_entries == 0 {
        return invalid("descriptorCache.inMemory.maxEntries", "0 is too few: at least 1".to_owned());
    }
    let directory = &raw.storage.filesystem.directory;
    if directory.as_os_str().is_empty() {
        return invalid("storage.filesystem.directory", "it is empty: write the folder to store in".to_owned());
    }
    if directory.is_file() {
        return invalid("storage.filesystem.directory", format!("{} is a file: write a folder", directory.display()));
    }
    Ok(())
}

/// Every file that must be there, with the field that names it.
fn files(raw: &ServeConfig) -> Vec<(&'static str, &PathBuf)> {
    let mut files = Vec::new();
    if let Some(tls) = &raw.tls {
        files.extend([("tls.certificate", &tls.certificate), ("tls.key", &tls.key)]);
    }
    if let Some(control) = &raw.control {
        files.extend([
            ("control.tls.certificate", &control.tls.certificate),
            ("control.tls.key", &control.tls.key),
            ("control.tls.clientAuthority", &control.tls.client_authority),
        ]);
    }
    files.extend(raw.auth.htpasswd.as_ref().map(|htpasswd| ("auth.htpasswd.file", &htpasswd.file)));
    files
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => format!("could not be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "storage: {filesystem: {directory: /nowhere}}\n";

    fn reason(rest: &str) -> String {
        let raw: ServeConfig = serde_yaml::from_str(&format!("{FOLDER}{rest}")).unwrap();
        Config::try_from(raw).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn folder_alone_is_enough() {
        let raw: ServeConfig = serde_yaml::from_str(FOLDER).unwrap();
        assert!(Config::try_from(raw).is_ok());
    }

    #[test]
    fn wrong_field_is_named_with_what_would_be_right() {
        for (rest, expected) in [
            ("deletion: {restoreWindow: 5m}", "deletion.restoreWindow: 5m is too short: at least 10m"),
            ("limits: {drainTimeout: 2h}", "limits.drainTimeout: 2h is too long: at most 1h"),
            ("limits: {maxManifestSize: 1Ki}", "limits.maxManifestSize: 1Ki is out of bounds: between 4Ki and 64Mi"),
            ("auth: {htpasswd: {file: /nowhere/users}}", "auth.htpasswd.file: /nowhere/users does not exist"),
            ("health: {listen: '0.0.0.0:5000'}", "health.listen: 0.0.0.0:5000 is the address of listen already"),
        ] {
            let found = reason(rest);
            assert!(found.starts_with(expected), "{found:?} for {rest}");
        }
    }

    #[test]
    fn file_with_an_unknown_field_is_refused_by_name_and_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serve.yaml");
        fs::write(&file, format!("{FOLDER}lisen: '0.0.0.0:5000'\n")).unwrap();
        let error = Config::load(&file).unwrap_err().to_string();
        assert!(error.contains("serve.yaml") && error.contains("lisen") && error.contains("line 2"), "{error}");
    }
}
