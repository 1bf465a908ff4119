//! A registry of `lagan up`, as its object says, on this machine.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use crate::api::FieldError;
use crate::api::serve_config::{GarbageCollectionConfig, HealthConfig, LoggingConfig, ServeConfig, Surroundings};
use crate::api::v1alpha1::{Anonymous, AuthSpec, Registry, RegistrySpec, TlsMode};
use crate::cli::exit::InvalidUsage;
use crate::cli::objects::{Declared, Key, Objects};

use super::keys::KEYS;
use super::referred::{self, Referred};

/// Fields of a Registry that only a cluster can honour.
const CLUSTER_FIELDS: [&str; 9] = [
    "managementState",
    "image",
    "storage/persistentVolumeClaim",
    "storage/emptyDir",
    "expose",
    "podDisruptionBudget",
    "workload",
    "logging",
    "tracing",
];

/// One registry to serve.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Site {
    /// Namespace and name; of the registry without an object, two empty texts.
    pub(super) key: Key,
    /// The folder of this machine with its passwords and certificates, and its content where that is in no bucket.
    pub(super) folder: PathBuf,
    /// What to serve, and where; users and certificate are not in it yet.
    pub(super) config: ServeConfig,
    /// Where probes and metrics are answered, if they are.
    pub(super) health: Option<SocketAddr>,
    /// Who may log in.
    pub(super) users: Users,
    /// What clients see.
    pub(super) certificate: Certificate,
    /// What the object storage and the Redis need.
    pub(super) referred: Referred,
}

/// Who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Users {
    /// Nobody has to.
    Everybody,
    /// Lines of `user:bcrypt-hash`.
    Htpasswd(Vec<u8>),
    /// One with a password that is made here.
    Admin,
}

/// What clients see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Certificate {
    /// Plain HTTP.
    None,
    /// What a Secret holds, in PEM.
    Given {
        /// The chain.
        certificate: Vec<u8>,
        /// The private key.
        key: Vec<u8>,
    },
    /// One that is made here.
    SelfSigned,
}

/// Where registries go on this machine.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The first one's address; the others take the next ports.
    pub(super) listen: SocketAddr,
    /// The address of the first one's probes and metrics, if there are any; the others take the next ports.
    pub(super) health_listen: Option<SocketAddr>,
    /// The folder with all data.
    pub(super) data: PathBuf,
    /// Whether anybody may do everything from elsewhere, too.
    pub(super) allow_anonymous: bool,
}

impl Place {
    /// The registry without an object: everybody may do everything, and what is deleted can be restored.
    ///
    /// # Errors
    /// If others than this machine would reach it.
    pub(super) fn default_site(&self) -> Result<Site, InvalidUsage> {
        let auth = AuthSpec { anonymous: Anonymous::All, ..AuthSpec::default() };
        let spec = RegistrySpec { auth, ..RegistrySpec::default() };
        let site = Site {
            key: Key::default(),
            folder: self.data.clone(),
            config: serve_config(&spec, self.listen, &self.data).map_err(|error| InvalidUsage(error.to_string()))?,
            health: self.health_listen,
            users: Users::Everybody,
            certificate: Certificate::None,
            referred: Referred::default(),
        };
        self.check_exposure(&site)?;
        Ok(site)
    }

    /// The registries of the files.
    ///
    /// # Errors
    /// Names the object, the field and what would be right.
    pub(super) fn sites(&self, objects: &Objects) -> Result<Vec<Site>, InvalidUsage> {
        let mut sites = Vec::new();
        let served = objects.registries.iter().filter(|(_, declared)| declared.object.spec.replicas > 0);
        for (key, Declared { object, place, .. }) in served {
            let listen = nth_address("--listen", self.listen, sites.len())?;
            let site = self.site(key, object, listen, objects);
            let mut site = site.map_err(|reason| InvalidUsage(format!("{place}: Registry {}: {reason}", key.1)))?;
            let health = self.health_listen.map(|first| nth_address("--health-listen", first, sites.len()));
            site.health = health.transpose()?;
            self.check_exposure(&site)?;
            sites.push(site);
        }
        if sites.is_empty() {
            return Err(InvalidUsage("the files hold no Registry to serve".to_owned()));
        }
        Ok(sites)
    }

    fn site(&self, key: &Key, object: &Registry, listen: SocketAddr, objects: &Objects) -> Result<Site, String> {
        let (namespace, name) = key;
        let spec = &object.spec;
        let folder = self.data.join(namespace).join(name);
        let secret = |field: &str, secret: &str, key: &str| {
            let found = objects.secret(namespace, secret, key).map(<[u8]>::to_vec);
            found.ok_or_else(|| {
                format!("{field}: no file has a Secret {secret} with the key {key} in namespace {namespace}")
            })
        };
        let users = match &spec.auth.htpasswd {
            Some(htpasswd) => {
                let reference = &htpasswd.secret_ref;
                Users::Htpasswd(secret("spec.auth.htpasswd.secretRef", &reference.name, reference.key_or_default())?)
            }
            None if spec.auth.anonymous == Anonymous::All => Users::Everybody,
            None => Users::Admin,
        };
        let certificate = match (spec.tls.mode, &spec.tls.secret_ref) {
            (TlsMode::SecretRef, Some(reference)) => Certificate::Given {
                certificate: secret("spec.tls.secretRef", &reference.name, "tls.crt")?,
                key: secret("spec.tls.secretRef", &reference.name, "tls.key")?,
            },
            (TlsMode::SelfSigned, _) => Certificate::SelfSigned,
            _ => Certificate::None,
        };
        let config = serve_config(spec, listen, &folder).map_err(|error| error.to_string())?;
        let referred = Referred::find(spec, namespace, objects)?;
        Ok(Site { key: key.clone(), folder, config, health: None, users, certificate, referred })
    }

    fn check_exposure(&self, site: &Site) -> Result<(), InvalidUsage> {
        let everybody = site.config.auth.anonymous == Anonymous::All;
        if everybody && !is_loopback(site.config.listen.ip()) && !self.allow_anonymous {
            return Err(InvalidUsage(format!(
                "--listen {}: whoever reaches this address could push and delete. Use a Registry with credentials \
                 (-f FILE), or say --allow-anonymous",
                site.config.listen
            )));
        }
        Ok(())
    }
}

/// The address of a registry by its place in the files. Port 0 stays 0: the system chooses.
pub(super) fn nth_address(flag: &str, first: SocketAddr, place: usize) -> Result<SocketAddr, InvalidUsage> {
    let mut address = first;
    if address.port() != 0 {
        let port = u16::try_from(place).ok().and_then(|place| address.port().checked_add(place));
        let port = port.ok_or_else(|| InvalidUsage(format!("{flag}: there are not enough ports after it")))?;
        address.set_port(port);
    }
    Ok(address)
}

impl Site {
    /// What to call it.
    pub(super) fn name(&self) -> String {
        let (namespace, name) = &self.key;
        if name.is_empty() { "a registry".to_owned() } else { format!("registry {namespace}/{name}") }
    }
}

/// What the files say and this machine cannot do, each once.
///
/// # Errors
/// If a policy is for a Registry that is not there.
pub(super) fn remarks(objects: &Objects) -> Result<Vec<String>, InvalidUsage> {
    let mut remarks = objects.remarks.clone();
    for ((namespace, name), Declared { object, given, .. }) in &objects.registries {
        let fields = CLUSTER_FIELDS.iter().filter(|field| given.pointer(&format!("/spec/{field}")).is_some());
        let dotted = fields.map(|field| field.replace('/', "."));
        remarks.extend(dotted.map(|field| format!("Registry {namespace}/{name}: spec.{field} does nothing here")));
        if object.spec.replicas > 1 {
            let replicas = object.spec.replicas;
            remarks.push(format!(
                "Registry {namespace}/{name}: spec.replicas is {replicas}, and one process serves it here"
            ));
        }
        if object.spec.replicas == 0 {
            remarks.push(format!("Registry {namespace}/{name} has no replicas, and is not served"));
        }
    }
    for ((namespace, name), Declared { object, given, place }) in &objects.policies {
        let registry = &object.spec.registry_ref.name;
        if !objects.registries.iter().any(|((of, known), _)| of == namespace && known == registry) {
            return Err(InvalidUsage(format!(
                "{place}: RetentionPolicy {name}: spec.registryRef: no file has a Registry {registry} in namespace {namespace}"
            )));
        }
        if given.pointer("/spec/inUse").is_some() {
            remarks
                .push(format!("RetentionPolicy {namespace}/{name}: spec.inUse does nothing here: nothing is in use"));
        }
    }
    Ok(remarks)
}

/// The configuration of a registry whose folder is `folder`.
fn serve_config(spec: &RegistrySpec, listen: SocketAddr, folder: &Path) -> Result<ServeConfig, FieldError> {
    let nowhere = PathBuf::new;
    let around = Surroundings {
        listen,
        health: HealthConfig::default(),
        control: None,
        tls: None,
        htpasswd: None,
        data: folder.to_owned(),
        storage_credentials: nowhere(),
        storage_authorities: nowhere(),
        redis_credentials: nowhere(),
        redis_authorities: nowhere(),
    };
    let config = ServeConfig::of_registry(spec, referred::located(&folder.join(KEYS), around))?;
    // There is no operator to keep the schedule.
    let schedule = Some(spec.garbage_collection.schedule.clone());
    let garbage_collection = GarbageCollectionConfig { schedule, ..config.garbage_collection };
    // One log is written for all registries.
    Ok(ServeConfig { logging: LoggingConfig::default(), garbage_collection, ..config })
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use crate::api::Validator;
    use crate::cli::site_policy;

    use super::*;

    fn place(listen: &str, allow_anonymous: bool) -> Place {
        let health_listen = Some("127.0.0.1:6000".parse().unwrap());
        Place { listen: listen.parse().unwrap(), health_listen, data: "data".into(), allow_anonymous }
    }

    fn objects(text: &str) -> Objects {
        Objects::read(&[("lagan.yaml".into(), text.to_owned())], &Validator::new().unwrap(), None).unwrap()
    }

    fn registry(name: &str, spec: &str) -> String {
        format!("apiVersion: lagan.dev/v1alpha1\nkind: Registry\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
    }

    #[test]
    fn everybody_from_elsewhere_needs_so_many_words() {
        assert!(place("127.0.0.1:5000", false).default_site().is_ok());
        assert!(place("[::1]:5000", false).default_site().is_ok());
        let InvalidUsage(message) = place("0.0.0.0:5000", false).default_site().unwrap_err();
        assert!(message.contains("--allow-anonymous"), "{message}");
        assert!(place("0.0.0.0:5000", true).default_site().is_ok());
        let closed = objects(&registry("images", "{}"));
        assert_eq!(place("0.0.0.0:5000", false).sites(&closed).unwrap()[0].users, Users::Admin);
    }

    #[test]
    fn registries_take_ports_and_folders_in_their_order() {
        let two = objects(&format!("{}{}", registry("b", "{}"), registry("a", "{}")));
        let sites = place("127.0.0.1:5000", false).sites(&two).unwrap();
        let found: Vec<_> =
            sites.iter().map(|site| (site.config.listen.port(), site.config.storage.to_string())).collect();
        assert_eq!(found, [(5000, "data/default/b".to_owned()), (5001, "data/default/a".to_owned())]);
        let health: Vec<_> = sites.iter().map(|site| site.health.unwrap().port()).collect();
        assert_eq!(health, [6000, 6001]);
    }

    #[test]
    fn garbage_is_collected_when_the_registry_says() {
        let spec = "{garbageCollection: {schedule: '15 1 * * 6', gracePeriod: 2h}}";
        let sites = place("127.0.0.1:5000", false).sites(&objects(&registry("images", spec))).unwrap();
        let collection = &sites[0].config.garbage_collection;
        assert_eq!(collection.schedule.as_deref(), Some("15 1 * * 6"));
        assert_eq!(collection.grace_period.as_ref().map(ToString::to_string).as_deref(), Some("2h"));
        let nightly = objects(&registry("images", "{garbageCollection: {schedule: nightly}}"));
        let InvalidUsage(message) = place("127.0.0.1:5000", false).sites(&nightly).unwrap_err();
        assert!(message.contains("document 1: Registry images: spec.garbageCollection.schedule"), "{message}");
    }

    #[test]
    fn what_no_schema_can_check_is_told_with_the_file_and_the_document() {
        let with = |spec: &str| {
            let policy = "apiVersion: lagan.dev/v1alpha1\nkind: RetentionPolicy\nmetadata: {name: nightly}\n";
            objects(&format!("{}{policy}spec: {spec}\n", registry("images", "{}")))
        };
        let key = ("default".to_owned(), "images".to_owned());
        let cron = with("{registryRef: {name: images}, unmatchedTags: Delete, schedule: 0 25 * * *}");
        let InvalidUsage(cron) = site_policy::policies(&cron, &key).unwrap_err();
        let elsewhere = with("{registryRef: {name: other}, unmatchedTags: Delete}");
        let InvalidUsage(elsewhere) = remarks(&elsewhere).unwrap_err();
        for (message, words) in [(cron, "spec.schedule"), (elsewhere, "spec.registryRef")] {
            assert!(message.contains(&format!("document 2: RetentionPolicy nightly: {words}")), "{message}");
        }
    }

    #[test]
    fn secret_that_is_not_there_is_named() {
        let text = registry("images", "{auth: {htpasswd: {secretRef: {name: users}}}}");
        let InvalidUsage(message) = place("127.0.0.1:5000", false).sites(&objects(&text)).unwrap_err();
        assert!(message.contains("spec.auth.htpasswd.secretRef") && message.contains("users"), "{message}");
    }

    #[test]
    fn fields_of_clusters_are_remarked() {
        let bucket = "{type: S3, s3: {bucket: images}}";
        for (spec, remark) in [
            (
                "{storage: {type: EmptyDir, emptyDir: {sizeLimit: 1Gi}}}".to_owned(),
                "spec.storage.emptyDir does nothing",
            ),
            ("{replicas: 0}".to_owned(), "no replicas"),
            (format!("{{replicas: 3, storage: {bucket}}}"), "spec.replicas is 3, and one process serves it"),
        ] {
            let found = remarks(&objects(&registry("images", &spec))).unwrap();
            assert!(matches!(found.as_slice(), [only] if only.contains(remark)), "{found:?} for {spec}");
        }
    }

    #[test]
    fn bucket_is_served_with_the_secret_beside_it() {
        let spec = "{storage: {type: S3, s3: {bucket: images, credentialsSecretRef: {name: keys}}}}";
        let InvalidUsage(message) =
            place("127.0.0.1:5000", false).sites(&objects(&registry("images", spec))).unwrap_err();
        assert!(message.contains("credentialsSecretRef of the storage: no file has a Secret keys"), "{message}");
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {AWS_ACCESS_KEY_ID: a}\n";
        let there = objects(&format!("{}{secret}", registry("images", spec)));
        let sites = place("127.0.0.1:5000", false).sites(&there).unwrap();
        assert_eq!(sites[0].config.storage.to_string(), "s3://images");
        let folders: Vec<_> = sites[0].referred.folders().collect();
        assert_eq!(folders, [("storage-credentials", &[("AWS_ACCESS_KEY_ID".to_owned(), b"a".to_vec())].into())]);
        let text = serde_yaml::to_string(&sites[0].config).unwrap();
        assert!(text.contains("data/default/images/lagan/up/storage-credentials"), "{text}");
    }
}
