//! The Secrets of a Registry: its administrator, its authorities, their certificates.
//!
//! Secrets are read one by one, never listed or watched. What is there is kept: the administrator's Secret is
//! never written again, certificates are written only to replace them.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, Service},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use rand::{Rng, distr::Alphanumeric};
use serde_json::json;

use crate::api::v1alpha1::Registry;
use crate::operator::{
    apply,
    certificates::{self, Authority, Leaf, LeafUse},
    labels,
};

use super::{
    build,
    endpoints::certificate_names,
    validate::{Tls, Users, ValidRegistry},
};

/// The user of a generated administrator.
const ADMIN: &str = "admin";
/// Letters and digits that nobody guesses: 190 bits.
const PASSWORD_CHARS: usize = 32;
/// A twelfth of a second for each guess, for a password that is not to be guessed anyway: the registry verifies
/// it for each new connection.
const BCRYPT_COST: u32 = 10;

/// A Secret could not be brought into its state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read or written, or is somebody else's.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// What it holds is damaged, or could not be made.
    #[error("Secret {name} cannot be used: delete it, and it is made anew")]
    Content {
        /// The Secret.
        name: String,
        /// Why.
        source: certificates::Error,
    },
    /// The password could not be hashed.
    #[error("could not hash a password")]
    Hash(#[from] bcrypt::BcryptError),
}

/// The Secrets of one Registry.
pub struct Secrets<'a> {
    api: Api<Secret>,
    registry: &'a Registry,
    valid: &'a ValidRegistry,
    now: Timestamp,
}

impl<'a> Secrets<'a> {
    /// Those of `registry`.
    #[must_use]
    pub fn new(client: Client, registry: &'a Registry, valid: &'a ValidRegistry, now: Timestamp) -> Self {
        Self { api: Api::namespaced(client, &valid.namespace), registry, valid, now }
    }

    /// Makes what is missing and replaces what has run out. Returns the certificates that clients must trust, if
    /// the operator made the registry's.
    ///
    /// # Errors
    ///
    /// When one of them is somebody else's, cannot be used, or the API server refuses.
    pub async fn ensure(&self, service: Option<&Service>, nodes: &[IpAddr]) -> Result<Option<String>, Error> {
        self.ensure_control().await?;
        if self.valid.users == Users::Admin {
            self.ensure_admin().await?;
        }
        if self.valid.tls != Tls::SelfSigned {
            return Ok(None);
        }
        let authority = self.ensure_authority("ca", Lifetime::Kept).await?;
        let names = certificate_names(self.valid, service, nodes);
        self.ensure_leaf("tls", &authority, &names, LeafUse::Server).await?;
        Ok(Some(authority.bundle()))
    }

    /// The administrator: made once, never written again.
    async fn ensure_admin(&self) -> Result<(), Error> {
        let name = self.valid.child("admin");
        if self.owned(&name).await?.is_some() {
            return Ok(());
        }
        let password: String = rand::rng().sample_iter(Alphanumeric).take(PASSWORD_CHARS).map(char::from).collect();
        let hash = bcrypt::hash(&password, BCRYPT_COST)?;
        let data = [("username", ADMIN.to_owned()), ("password", password), ("htpasswd", format!("{ADMIN}:{hash}\n"))];
        let data = data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect();
        self.create(name, data, "kubernetes.io/basic-auth", Lifetime::Kept).await
    }

    /// Mutual TLS between the operator and the pods: the authority and the operator's own certificate in one
    /// Secret, what the pods mount in another.
    async fn ensure_control(&self) -> Result<(), Error> {
        let authority = self.ensure_authority("operator", Lifetime::Owned).await?;
        // Replicas show it to those that call them, and to those that they call.
        self.ensure_leaf("control", &authority, &[self.valid.control_host()], LeafUse::Peer).await
    }

    /// An authority in its Secret. The one of the control listener has the operator's certificate beside it.
    async fn ensure_authority(&self, suffix: &str, lifetime: Lifetime) -> Result<Authority, Error> {
        let name = self.valid.child(suffix);
        let common_name = format!("Lagan {suffix} {}/{}", self.valid.namespace, self.valid.name);
        let content = |source| Error::Content { name: name.clone(), source };
        let Some(live) = self.owned(&name).await? else {
            let authority = Authority::generate(&common_name, self.now).map_err(content)?;
            let data = self.authority_data(&authority, None, lifetime).map_err(content)?;
            self.create(name, data, "Opaque", lifetime).await?;
            return Ok(authority);
        };
        let before = live.data.unwrap_or_default();
        let authority = Authority::from_data(&before).map_err(content)?;
        let advanced = authority.advance(&common_name, self.now).map_err(content)?;
        let authority = advanced.unwrap_or(authority);
        let data = self.authority_data(&authority, Some(&before), lifetime).map_err(content)?;
        if data != before {
            self.replace(&name, &before, &data).await?;
        }
        Ok(authority)
    }

    /// What an authority's Secret should hold, given what it holds.
    fn authority_data(
        &self,
        authority: &Authority,
        before: Option<&BTreeMap<String, ByteString>>,
        lifetime: Lifetime,
    ) -> Result<BTreeMap<String, ByteString>, certificates::Error> {
        let mut data = authority.to_data();
        if lifetime == Lifetime::Owned {
            let names = [labels::OPERATOR.to_owned()];
            let leaf = before.and_then(|before| Leaf::from_data(before).ok());
            let leaf = match leaf.filter(|leaf| !leaf.needs_replacement(authority, &names, LeafUse::Client, self.now)) {
                Some(leaf) => leaf,
                None => Leaf::generate(authority, labels::OPERATOR, &names, LeafUse::Client, self.now)?,
            };
            data.extend(leaf_data(&leaf));
        }
        Ok(data)
    }

    /// A certificate that `authority` signed, in its Secret, with the certificates to trust beside it.
    async fn ensure_leaf(
        &self,
        suffix: &str,
        authority: &Authority,
        names: &[String],
        leaf_use: LeafUse,
    ) -> Result<(), Error> {
        let name = self.valid.child(suffix);
        let live = self.owned(&name).await?.map(|live| live.data.unwrap_or_default());
        let leaf = live.as_ref().and_then(|data| Leaf::from_data(data).ok());
        let leaf = match leaf.filter(|leaf| !leaf.needs_replacement(authority, names, leaf_use, self.now)) {
            Some(leaf) => leaf,
            None => Leaf::generate(authority, &self.valid.name, names, leaf_use, self.now)
                .map_err(|source| Error::Content { name: name.clone(), source })?,
        };
        let mut data = leaf_data(&leaf);
        data.insert(Authority::BUNDLE.to_owned(), ByteString(authority.bundle().into_bytes()));
        match live {
            None => self.create(name, data, "kubernetes.io/tls", Lifetime::Owned).await,
            Some(before) if before != data => self.replace(&name, &before, &data).await,
            Some(_) => Ok(()),
        }
    }

    /// The live Secret of a name, if there is one; an error if it is somebody else's.
    async fn owned(&self, name: &str) -> Result<Option<Secret>, Error> {
        let live = self.api.get_opt(name).await;
        let live = live.map_err(|source| apply::Error::api::<Secret>("read", name, source))?;
        if let Some(live) = &live {
            apply::Error::check_ownership(live, self.registry)?;
        }
        Ok(live)
    }

    async fn create(
        &self,
        name: String,
        data: BTreeMap<String, ByteString>,
        type_: &str,
        lifetime: Lifetime,
    ) -> Result<(), Error> {
        let metadata = match lifetime {
            Lifetime::Owned => build::owned(self.valid, name.clone()),
            Lifetime::Kept => build::kept(self.valid, name.clone()),
        };
        let secret = Secret { metadata, data: Some(data), type_: Some(type_.to_owned()), ..Secret::default() };
        let params = PostParams { field_manager: Some(labels::OPERATOR.to_owned()), ..PostParams::default() };
        let created = self.api.create(&params, &secret).await;
        created.map(|_| ()).map_err(|source| apply::Error::api::<Secret>("create", &name, source).into())
    }

    /// Replaces the data, and drops the keys that are no longer in it.
    async fn replace(
        &self,
        name: &str,
        before: &BTreeMap<String, ByteString>,
        data: &BTreeMap<String, ByteString>,
    ) -> Result<(), Error> {
        let gone = before.keys().filter(|key| !data.contains_key(*key)).map(|key| (key.clone(), None));
        let patch: BTreeMap<String, Option<ByteString>> =
            data.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).chain(gone).collect();
        let params = PatchParams { field_manager: Some(labels::OPERATOR.to_owned()), ..PatchParams::default() };
        let patched = self.api.patch(name, &params, &Patch::Merge(json!({"data": patch}))).await;
        patched.map(|_| ()).map_err(|source| apply::Error::api::<Secret>("patch", name, source).into())
    }
}

/// Whether a Secret goes with its Registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    /// It does: it can be made anew, and nobody has copied it.
    Owned,
    /// It stays, as the claim does: people have copied what it says.
    Kept,
}

fn leaf_data(leaf: &Leaf) -> BTreeMap<String, ByteString> {
    let pair = [(Leaf::CERTIFICATE, &leaf.certificate), (Leaf::KEY, &leaf.key)];
    pair.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.clone().into_bytes()))).collect()
}
