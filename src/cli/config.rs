//! The file of `lagan serve`, read and checked before anything is opened.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use crate::api::FieldError;
use crate::api::serve_config::{ServeConfig, StorageConfig};
use crate::api::v1alpha1::compile_immutable_tags;

use super::exit::InvalidUsage;

/// A configuration in which everything fits.
///
/// Invariant: no two listeners have the same address, every file that it names can be read, and durations and sizes
/// lie within the bounds that the `Registry` resource sets.
#[derive(Debug, Clone)]
pub(super) struct Config(ServeConfig);

impl Config {
    /// Reads a file and checks all of it. `advertise` overrules `control.advertise`: it differs by machine.
    ///
    /// # Errors
    /// Names the file, the field and what would be right.
    pub(super) fn load(file: &Path, advertise: Option<&str>) -> Result<Self, InvalidUsage> {
        let wrong = |reason: String| InvalidUsage(format!("{}: {reason}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(unreadable(&error)))?;
        let mut raw: ServeConfig = serde_yaml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if let Some(advertise) = advertise {
            let control = raw.control.as_mut();
            let control =
                control.ok_or_else(|| wrong("--advertise is for a listener of control: add it".to_owned()))?;
            control.advertise = Some(advertise.to_owned());
        }
        Self::try_from(raw).map_err(|error| wrong(error.to_string()))
    }

    /// What it says.
    #[must_use]
    pub(super) fn into_inner(self) -> ServeConfig {
        self.0
    }
}

impl TryFrom<ServeConfig> for Config {
    type Error = FieldError;

    fn try_from(raw: ServeConfig) -> Result<Self, FieldError> {
        check_listeners(&raw)?;
        check_bounds(&raw)?;
        check_storage(&raw.storage)?;
        raw.descriptor_cache.check().map_err(below("descriptorCache"))?;
        check_control(&raw)?;
        raw.tracing.as_ref().map_or(Ok(()), |tracing| tracing.check().map_err(below("tracing")))?;
        for (field, file) in files(&raw) {
            fs::File::open(&file)
                .map_err(|error| FieldError::new(field, format!("{} {}", file.display(), unreadable(&error))))?;
        }
        Ok(Self(raw))
    }
}

fn check_listeners(raw: &ServeConfig) -> Result<(), FieldError> {
    let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    let control = raw.control.as_ref().map(|control| ("control.listen", control.listen));
    for (field, address) in [("listen", raw.listen), ("health.listen", raw.health.listen)].into_iter().chain(control) {
        // Port 0 asks the system for a free one, so two of them do not collide.
        if address.port() == 0 {
            continue;
        }
        if let Some(other) = taken.insert(address, field) {
            let message = format!("{address} is the address of {other} already: choose another port");
            return Err(FieldError::new(field, message));
        }
    }
    Ok(())
}

fn check_bounds(raw: &ServeConfig) -> Result<(), FieldError> {
    let invalid = |field, reason: String| Err(FieldError::new(field, reason));
    let window = &raw.deletion.restore_window;
    if window.as_seconds() < 600 {
        return invalid("deletion.restoreWindow", format!("{window} is too short: at least 10m"));
    }
    let expiry = &raw.uploads.expire_after;
    if expiry.as_seconds() < 24 * 3600 {
        return invalid("uploads.expireAfter", format!("{expiry} is too short: at least 24h"));
    }
    compile_immutable_tags(&raw.immutable_tags)?;
    raw.garbage_collection.check(window).map_err(below("garbageCollection"))?;
    let drain = &raw.limits.drain_timeout;
    if drain.as_seconds() > 3600 {
        return invalid("limits.drainTimeout", format!("{drain} is too long: at most 1h"));
    }
    let size = &raw.limits.max_manifest_size;
    if !(4 << 10..=64 << 20).contains(&size.as_bytes()) {
        return invalid("limits.maxManifestSize", format!("{size} is out of bounds: between 4Ki and 64Mi"));
    }
    if let Some(size) = raw.limits.max_blob_size.as_ref().filter(|size| size.as_bytes() == 0) {
        return invalid("limits.maxBlobSize", format!("{size} is too little: leave it out for no bound"));
    }
    Ok(())
}

/// Puts the name of a section before that of its field.
fn below(section: &'static str) -> impl Fn(FieldError) -> FieldError {
    move |FieldError { path, message }| FieldError::new(format!("{section}.{path}"), message)
}

fn check_storage(storage: &StorageConfig) -> Result<(), FieldError> {
    storage.check().map_err(below("storage"))?;
    match storage.directory() {
        Some(directory) if directory.is_file() => {
            let message = format!("{} is a file: write a folder", directory.display());
            Err(FieldError::new("storage.filesystem.directory", message))
        }
        _ => Ok(()),
    }
}

fn check_control(raw: &ServeConfig) -> Result<(), FieldError> {
    let Some(control) = &raw.control else { return Ok(()) };
    match &control.advertise {
        Some(address) if advertised(address, control.listen.port()).is_none() => {
            let message = format!(
                "{address:?} is no address: write an IP address or a name, and a port where it is not that of \
                 control.listen, such as 10.0.0.5 or node-1.example.com:5001"
            );
            Err(FieldError::new("control.advertise", message))
        }
        _ => Ok(()),
    }
}

/// Host and port of an address that has perhaps no port.
pub(super) fn advertised(text: &str, port: u16) -> Option<String> {
    let is_name = |host: &str| {
        !host.is_empty() && host.len() <= 253 && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
    };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, port).to_string());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.to_string());
    }
    match text.rsplit_once(':') {
        Some((host, port)) => {
            (is_name(host) && port.parse::<u16>().is_ok_and(|port| port != 0)).then(|| text.to_owned())
        }
        None => is_name(text).then(|| format!("{text}:{port}")),
    }
}

/// Every file and folder that must be there, with the field that names it.
fn files(raw: &ServeConfig) -> Vec<(&'static str, PathBuf)> {
    let mut files = Vec::new();
    if let Some(tls) = &raw.tls {
        files.extend([("tls.certificate", Some(&tls.certificate)), ("tls.key", Some(&tls.key))]);
    }
    if let Some(control) = &raw.control {
        files.extend([
            ("control.tls.certificate", Some(&control.tls.certificate)),
            ("control.tls.key", Some(&control.tls.key)),
            ("control.tls.clientAuthority", Some(&control.tls.client_authority)),
        ]);
    }
    files.push(("auth.htpasswd.file", raw.auth.htpasswd.as_ref().map(|htpasswd| &htpasswd.file)));
    files.extend(storage_files(&raw.storage));
    if let Some(redis) = &raw.descriptor_cache.redis {
        files.extend([
            ("descriptorCache.redis.credentialsDirectory", redis.credentials_directory.as_ref()),
            ("descriptorCache.redis.tls.caFile", redis.tls.as_ref().and_then(|tls| tls.ca_file.as_ref())),
        ]);
    }
    files.into_iter().filter_map(|(field, file)| Some((field, file?.clone()))).collect()
}

fn storage_files(storage: &StorageConfig) -> Vec<(&'static str, Option<&PathBuf>)> {
    match storage {
        StorageConfig::Filesystem(_) => Vec::new(),
        StorageConfig::S3(s3) => vec![
            ("storage.s3.credentialsDirectory", s3.credentials_directory.as_ref()),
            ("storage.s3.caBundleFile", s3.ca_bundle_file.as_ref()),
        ],
        StorageConfig::Gcs(gcs) => vec![
            ("storage.gcs.credentialsFile", gcs.credentials_file.as_ref()),
            ("storage.gcs.caBundleFile", gcs.ca_bundle_file.as_ref()),
        ],
        StorageConfig::Azure(azure) => vec![
            ("storage.azure.credentialsDirectory", azure.credentials_directory.as_ref()),
            ("storage.azure.caBundleFile", azure.ca_bundle_file.as_ref()),
        ],
    }
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
            ("garbageCollection: {gracePeriod: 0s}", "garbageCollection.gracePeriod: 0s is too short: at least 10m"),
            (
                "deletion: {restoreWindow: 1h}\ngarbageCollection: {gracePeriod: 2h}",
                "garbageCollection.gracePeriod: 2h is longer than deletion.restoreWindow, 1h",
            ),
            ("garbageCollection: {schedule: nightly}", "garbageCollection.schedule: \"nightly\" is no cron expression"),
            ("uploads: {expireAfter: 23h}", "uploads.expireAfter: 23h is too short: at least 24h"),
            ("limits: {drainTimeout: 2h}", "limits.drainTimeout: 2h is too long: at most 1h"),
            ("limits: {maxManifestSize: 1Ki}", "limits.maxManifestSize: 1Ki is out of bounds: between 4Ki and 64Mi"),
            ("auth: {htpasswd: {file: /nowhere/users}}", "auth.htpasswd.file: /nowhere/users does not exist"),
            ("limits: {maxBlobSize: 0}", "limits.maxBlobSize: 0 is too little"),
            ("descriptorCache: {type: Redis}", "descriptorCache.redis: type Redis needs its settings"),
            (
                "descriptorCache: {type: Redis, redis: {address: 'r:1', credentialsDirectory: /nowhere}}",
                "descriptorCache.redis.credentialsDirectory: /nowhere does not exist",
            ),
            ("tracing: {otlpEndpoint: 'collector:4318'}", "tracing.otlpEndpoint: it is no address"),
            ("tracing: {otlpEndpoint: 'http://c:1', sampleRatio: 1.5}", "tracing.sampleRatio: 1.5 is no part"),
            (
                "control: {listen: '0.0.0.0:1', advertise: 'a b', tls: {certificate: a, key: b, clientAuthority: c}}",
                "control.advertise: \"a b\" is no address",
            ),
            ("health: {listen: '0.0.0.0:5000'}", "health.listen: 0.0.0.0:5000 is the address of listen already"),
        ] {
            let found = reason(rest);
            assert!(found.starts_with(expected), "{found:?} for {rest}");
        }
    }

    #[test]
    fn bucket_is_checked_with_its_files() {
        for (storage, expected) in [
            ("{type: S3, s3: {bucket: B}}", "storage.s3.bucket: \"B\" is no bucket's name"),
            (
                "{type: S3, s3: {bucket: b-1, credentialsDirectory: /nowhere}}",
                "storage.s3.credentialsDirectory: /nowhere",
            ),
            ("{type: GCS, gcs: {bucket: b-1, credentialsFile: /nowhere}}", "storage.gcs.credentialsFile: /nowhere"),
            (
                "{type: Azure, azure: {account: acme, container: c-1, caBundleFile: /nowhere}}",
                "storage.azure.caBundleFile",
            ),
        ] {
            let raw: ServeConfig = serde_yaml::from_str(&format!("storage: {storage}")).unwrap();
            let found = Config::try_from(raw).map(|_| ()).unwrap_err().to_string();
            assert!(found.starts_with(expected), "{found:?} for {storage}");
        }
    }

    #[test]
    fn advertised_address_takes_the_listeners_port_where_it_has_none() {
        for (text, expected) in [
            ("10.0.0.5", Some("10.0.0.5:5001")),
            ("10.0.0.5:7", Some("10.0.0.5:7")),
            ("fd00::1", Some("[fd00::1]:5001")),
            ("[fd00::1]:7", Some("[fd00::1]:7")),
            ("node-1.example.com", Some("node-1.example.com:5001")),
            ("node-1:7", Some("node-1:7")),
            ("", None),
            ("node-1:", None),
            ("https://node-1", None),
        ] {
            assert_eq!(advertised(text, 5001).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn file_with_an_unknown_field_is_refused_by_name_and_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serve.yaml");
        fs::write(&file, format!("{FOLDER}lisen: '0.0.0.0:5000'\n")).unwrap();
        let error = Config::load(&file, None).unwrap_err().to_string();
        assert!(error.contains("serve.yaml") && error.contains("lisen") && error.contains("line 2"), "{error}");
    }
}
