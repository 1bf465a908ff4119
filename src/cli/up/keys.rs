//! Passwords and certificates of `lagan up`, as files beside a registry's content.
//!
//! ```text
//! <directory>/lagan/up/
//! ├── admin-password      of the user admin, where the Registry names no users
//! ├── htpasswd
//! ├── tls.crt, tls.key    what clients see
//! ├── trust/ca.crt        what clients trust; the authority's key is beside it, in authority/
//! └── storage-credentials, redis-credentials, …-authorities   what the Registry refers to
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use rand::{Rng, distr::Alphanumeric};

use crate::api::serve_config::{HtpasswdConfig, ServeConfig, TlsConfig};
use crate::operator::certificates::{Authority, Leaf, LeafUse};

use super::referred::Referred;
use super::site::{Certificate, Site, Users};

/// The folder of a registry's keys, below its own.
pub(super) const KEYS: &str = "lagan/up";

/// The user that is made.
pub(super) const ADMIN: &str = "admin";

/// 62^32 passwords: nobody guesses one.
const PASSWORD_CHARS: usize = 32;

/// The least that is thought to be slow, for a password that cannot be guessed anyway.
const BCRYPT_COST: u32 = 10;

/// What an authority that is made here is called.
const AUTHORITY: &str = "lagan up";

/// What its certificates are called: OpenSSL takes one for self-signed that is called as its authority.
const SERVER: &str = "lagan up server";

/// The files of one registry.
#[derive(Debug)]
pub(super) struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// Writes what a registry needs, and answers the configuration that names it. What is there and still good stays.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(super) fn prepare(site: &Site, now: Timestamp) -> anyhow::Result<(Self, ServeConfig)> {
        let keys = Self { folder: site.folder.join(KEYS) };
        let mut config = site.config.clone();
        let users = match &site.users {
            Users::Everybody => None,
            Users::Htpasswd(lines) => Some(keys.write("htpasswd", lines)?),
            Users::Admin => Some(keys.admin()?),
        };
        config.auth.htpasswd = users.map(|file| HtpasswdConfig { file });
        match &site.certificate {
            Certificate::None => {}
            Certificate::Given { certificate, key } => {
                config.tls = Some(TlsConfig {
                    certificate: keys.write(Leaf::CERTIFICATE, certificate)?,
                    key: keys.write(Leaf::KEY, key)?,
                });
            }
            Certificate::SelfSigned => config.tls = Some(keys.self_signed(config.listen.ip(), now)?),
        }
        keys.write_referred(&site.referred)?;
        Ok((keys, config))
    }

    /// Removes them, and the folders above them that are empty then, up to `existing`: for a start that failed, where
    /// there was nothing before. What cannot be removed stays.
    pub(super) fn discard(&self, existing: Option<&Path>) {
        let _ = fs::remove_dir_all(&self.folder);
        let above = self.folder.ancestors().skip(1).take_while(|folder| Some(*folder) != existing);
        for folder in above {
            if fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }

    /// Writes what the Registry refers to, and removes what it does not any more: a session's token that is gone from a
    /// Secret must not be used again.
    fn write_referred(&self, referred: &Referred) -> anyhow::Result<()> {
        let wanted: BTreeMap<_, _> = referred.folders().collect();
        for folder in Referred::FOLDERS {
            let files = wanted.get(folder);
            for name in self.names_in(folder) {
                if !files.is_some_and(|files| files.contains_key(&name)) {
                    let file = self.folder.join(folder).join(name);
                    fs::remove_file(&file).with_context(|| format!("could not remove {}", file.display()))?;
                }
            }
            for (name, content) in files.into_iter().flat_map(|files| files.iter()) {
                // Names of keys have no slash: an API server refuses them.
                let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
                anyhow::ensure!(plain && !name.starts_with(".."), "{name:?} is no key of a Secret");
                self.write(&format!("{folder}/{name}"), content)?;
            }
        }
        Ok(())
    }

    fn names_in(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// The password of the user that was made.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn admin_password(&self) -> anyhow::Result<String> {
        let file = self.admin_file();
        fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))
    }

    /// Where the user's password is.
    pub(super) fn admin_file(&self) -> PathBuf {
        self.folder.join("admin-password")
    }

    /// A folder with the authority that clients trust, as `skopeo --dest-cert-dir` takes it.
    pub(super) fn trust(&self) -> PathBuf {
        self.folder.join("trust")
    }

    fn admin(&self) -> anyhow::Result<PathBuf> {
        if !self.admin_file().exists() {
            let password: String = rand::rng().sample_iter(Alphanumeric).take(PASSWORD_CHARS).map(char::from).collect();
            self.write("admin-password", password.as_bytes())?;
        }
        let hash = bcrypt::hash(self.admin_password()?.trim_end(), BCRYPT_COST).context("could not hash a password")?;
        self.write("htpasswd", format!("{ADMIN}:{hash}\n").as_bytes())
    }

    fn self_signed(&self, listen: IpAddr, now: Timestamp) -> anyhow::Result<TlsConfig> {
        let authority = self.authority(now)?;
        let names = names(listen);
        let known = Leaf::from_data(&self.read(&[Leaf::CERTIFICATE, Leaf::KEY])).ok();
        if known.is_none_or(|leaf| leaf.needs_replacement(&authority, &names, LeafUse::Server, now)) {
            let leaf = Leaf::generate(&authority, SERVER, &names, LeafUse::Server, now)
                .context("could not make a certificate")?;
            self.write(Leaf::KEY, leaf.key.as_bytes())?;
            self.write(Leaf::CERTIFICATE, leaf.certificate.as_bytes())?;
        }
        self.write("trust/ca.crt", authority.bundle().as_bytes())?;
        Ok(TlsConfig { certificate: self.folder.join(Leaf::CERTIFICATE), key: self.folder.join(Leaf::KEY) })
    }

    fn authority(&self, now: Timestamp) -> anyhow::Result<Authority> {
        let mut data = BTreeMap::new();
        if let Ok(entries) = fs::read_dir(self.folder.join("authority")) {
            for entry in entries {
                let entry = entry.context("could not read the authority's folder")?;
                data.insert(entry.file_name().to_string_lossy().into_owned(), ByteString(fs::read(entry.path())?));
            }
        }
        let known = if data.is_empty() { None } else { Some(Authority::from_data(&data)?) };
        let changed = match &known {
            Some(known) => known.advance(AUTHORITY, now)?,
            None => Some(Authority::generate(AUTHORITY, now)?),
        };
        if let Some(changed) = &changed {
            for (name, content) in changed.to_data() {
                self.write(&format!("authority/{name}"), &content.0)?;
            }
        }
        changed.or(known).context("there is no authority")
    }

    fn read(&self, names: &[&str]) -> BTreeMap<String, ByteString> {
        let file = |name: &&str| Some(((*name).to_owned(), ByteString(fs::read(self.folder.join(name)).ok()?)));
        names.iter().filter_map(file).collect()
    }

    /// Writes a file that only this user can read, if it says something else so far.
    fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<PathBuf> {
        let file = self.folder.join(name);
        let written = || -> io::Result<()> {
            if fs::read(&file).is_ok_and(|known| known == content) {
                return Ok(());
            }
            let folder = file.parent().unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let staged = file.with_extension("new");
            let mut options = fs::OpenOptions::new();
            let mut opened = options.write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
            io::Write::write_all(&mut opened, content)?;
            fs::rename(&staged, &file)
        };
        written().with_context(|| format!("could not write {}", file.display()))?;
        Ok(file)
    }
}

/// What clients on this machine, and those that reach the address, call the registry.
fn names(listen: IpAddr) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !listen.is_unspecified() && !listen.is_loopback() {
        names.push(listen.to_string());
    }
    names
}
