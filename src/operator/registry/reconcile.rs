//! One reconciliation of a Registry.

use std::{error::Error as _, sync::Arc, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope, api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{controller::Action, events::EventType},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::v1alpha1::{
    ManagementState, Registry, RegistryStatus,
    conditions::{ConditionType, Reason},
};
use crate::operator::{apply, context::Context, labels};

use super::{
    build::{self, Inputs, Objects},
    endpoints::{Endpoints, endpoints},
    observed::{Caches, Observed, children, dereference},
    secrets::{self, Secrets},
    status::{self, Picture, Trouble},
    validate::{self, ValidRegistry, validate},
};

/// How often a Registry that is well is looked at without a cause: Secrets are not watched, and certificates end.
const WELL: Duration = Duration::from_secs(300);
/// How often one is looked at that is not: what it waits for may be a Secret, and Degraded is said in time.
const NOT_WELL: Duration = Duration::from_secs(20);

/// A reconciliation failed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spec has to change.
    #[error("the spec cannot be acted on")]
    Invalid(#[from] validate::Error),
    /// An object could not be brought into its state.
    #[error("an object is not as it should be")]
    Apply(#[from] apply::Error),
    /// A Secret could not be brought into its state.
    #[error("a Secret is not as it should be")]
    Secrets(#[from] secrets::Error),
    /// The objects cannot be built.
    #[error("the objects cannot be built")]
    Build(#[from] build::Error),
    /// The status could not be written.
    #[error("could not write the status")]
    Status {
        /// Why.
        source: Box<kube::Error>,
    },
}

impl Error {
    /// The same, for the status.
    fn trouble(&self) -> Trouble {
        match self {
            Self::Invalid(error) => Trouble::Invalid(error.to_string()),
            Self::Build(build::Error::Spec(error)) => Trouble::Invalid(error.to_string()),
            Self::Apply(apply::Error::NotOwned { kind, .. })
            | Self::Secrets(secrets::Error::Apply(apply::Error::NotOwned { kind, .. })) => {
                Trouble::NotOwned { kind: kind.clone(), message: chain(self) }
            }
            _ => Trouble::Refused(chain(self)),
        }
    }
}

/// An error and its causes in one line, without its own first words: those are for the log.
fn chain(error: &Error) -> String {
    let mut cause = error.source();
    let mut texts = Vec::new();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        cause = error.source();
    }
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

/// Reconciles Registries.
pub struct Reconciler {
    /// What both controllers share.
    pub context: Context,
    /// What the operator made.
    pub caches: Caches,
}

impl Reconciler {
    /// Brings one Registry into its state, as far as that goes now, and says in its status how far it went.
    ///
    /// # Errors
    ///
    /// When it has to be tried again.
    pub async fn reconcile(&self, registry: Arc<Registry>) -> Result<Action, Error> {
        if registry.metadata.deletion_timestamp.is_some() {
            // What goes with it goes by itself, and what stays needs nothing done.
            return Ok(Action::await_change());
        }
        if registry.spec.management_state == ManagementState::Unmanaged {
            self.write_status(&registry, status::of_unmanaged(&registry, self.context.now())).await?;
            return Ok(Action::await_change());
        }
        // Boxed: what a reconciliation holds is too much for the stacks of those who wait for it.
        let outcome = Box::pin(self.act(&registry)).await;
        let now = self.context.now();
        let (status, failed) = match outcome {
            Ok(status) => (status, None),
            Err(error) => (status::of_trouble(&registry, &error.trouble(), now), Some(error)),
        };
        let well = !status.conditions.iter().any(|c| c.type_ == ConditionType::Ready.as_str() && c.status != "True");
        self.write_status(&registry, status).await?;
        match failed {
            // Somebody has to change something; trying harder does not help.
            Some(Error::Invalid(_) | Error::Build(build::Error::Spec(_))) => Ok(Action::requeue(NOT_WELL)),
            Some(error) if matches!(error.trouble(), Trouble::NotOwned { .. }) => Ok(Action::requeue(NOT_WELL)),
            Some(error) => Err(error),
            None => Ok(Action::requeue(if well { WELL } else { NOT_WELL })),
        }
    }

    /// Dereference, validate, build, apply, prune; then the status that follows.
    async fn act(&self, registry: &Registry) -> Result<RegistryStatus, Error> {
        let valid = validate(registry)?;
        let mut observed = dereference(&self.context.client, &self.caches, &valid).await?;
        let before = registry.status.as_ref().and_then(|status| status.endpoints.as_ref());
        let endpoints = endpoints(&valid, observed.service.as_ref(), &observed.nodes, before);
        let trouble = match Box::pin(self.ensure(registry, &valid, &endpoints, &mut observed)).await {
            Ok(()) => None,
            Err(error) => match error.trouble() {
                trouble @ Trouble::NotOwned { .. } => Some(trouble),
                _ => return Err(error),
            },
        };
        let operators = self.context.config.image.as_str();
        let image = build::image(valid.spec.image.as_ref(), operators);
        let picture = Picture {
            valid: &valid,
            observed: &observed,
            endpoints: &endpoints,
            certificate_made: observed.ca_bundle.is_some(),
            version: (image == operators).then_some(self.context.config.version.as_str()),
            image: &image,
            config_hash: observed.config_hash.as_deref().unwrap_or_default(),
            trouble: trouble.as_ref(),
        };
        Ok(status::of_picture(registry, &picture, self.context.now()))
    }

    /// Claim, Secrets, then what depends on them; `observed` becomes what there is afterwards.
    async fn ensure(
        &self,
        registry: &Registry,
        valid: &ValidRegistry,
        endpoints: &Endpoints,
        observed: &mut Observed,
    ) -> Result<(), Error> {
        observed.claim = self.ensure_claim(registry, valid, observed.claim.take()).await?;
        let secrets = Secrets::new(self.context.client.clone(), registry, valid, self.context.now());
        let made = secrets.ensure(observed.service.as_ref(), &observed.nodes).await?;
        observed.ca_bundle.clone_from(&made);
        let theirs = observed.tls_secret.as_ref().and_then(|secret| secret.data.as_ref()?.get("ca.crt"));
        let theirs = theirs.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
        let referred_hash = observed.referred.hash();
        let inputs = Inputs {
            operator_image: &self.context.config.image,
            ca_bundle: made.as_deref().or(theirs.as_deref()),
            endpoints,
            referred_hash: referred_hash.as_deref(),
        };
        let objects = build::build(valid, &inputs)?;
        observed.config_hash = Some(objects.config_hash.clone());
        let wanted: Vec<String> = objects.config_maps.iter().map(ResourceExt::name_any).collect();
        let bounded = objects.disruption_budget.is_some();
        Box::pin(self.apply(registry, valid, objects, observed)).await?;
        self.prune(registry, &wanted, bounded).await
    }

    async fn apply(
        &self,
        registry: &Registry,
        valid: &ValidRegistry,
        objects: Objects,
        observed: &mut Observed,
    ) -> Result<(), Error> {
        let client = &self.context.client;
        for config_map in objects.config_maps {
            let name = config_map.name_any();
            let live = apply::live(client, &self.caches.config_maps, &valid.namespace, &name).await?;
            apply::apply(client, registry, live, config_map).await?;
        }
        for service in objects.services {
            let name = service.name_any();
            let live = apply::live(client, &self.caches.services, &valid.namespace, &name).await?;
            let applied = apply::apply(client, registry, live, service).await?;
            if name == valid.name {
                observed.service = Some(applied);
            }
        }
        let live = observed.deployment.take();
        observed.deployment = Some(apply::apply(client, registry, live, objects.deployment).await?);
        if let Some(budget) = objects.disruption_budget {
            apply::apply(client, registry, observed.disruption_budget.take(), budget).await?;
        }
        Ok(())
    }

    /// The claim is made once, and then only grown or given to the Registry and taken back.
    async fn ensure_claim(
        &self,
        registry: &Registry,
        valid: &ValidRegistry,
        live: Option<PersistentVolumeClaim>,
    ) -> Result<Option<PersistentVolumeClaim>, Error> {
        let Some(wanted) = build::claim(valid) else { return Ok(live) };
        let name = wanted.name_any();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), &valid.namespace);
        let error = |verb, source| apply::Error::api::<PersistentVolumeClaim>(verb, &name, source);
        let Some(live) = live else {
            let params = PostParams { field_manager: Some(labels::OPERATOR.to_owned()), ..PostParams::default() };
            let created = api.create(&params, &wanted).await.map_err(|source| error("create", source))?;
            return Ok(Some(created));
        };
        apply::Error::check_ownership(&live, registry)?;
        let Some(patch) = build::claim_patch(valid, &live) else { return Ok(Some(live)) };
        let params = PatchParams { field_manager: Some(labels::OPERATOR.to_owned()), ..PatchParams::default() };
        let patched = api.patch(&name, &params, &Patch::Merge(patch)).await;
        Ok(Some(patched.map_err(|source| error("patch", source))?))
    }

    /// Deletes what the Registry no longer becomes: `ConfigMap`s, and the bound on evictions. Claims and Secrets never
    /// go.
    async fn prune(&self, registry: &Registry, wanted: &[String], bounded: bool) -> Result<(), Error> {
        for budget in children(&self.caches.disruption_budgets, registry).iter().filter(|_| !bounded) {
            self.delete(&**budget).await?;
        }
        for config_map in children(&self.caches.config_maps, registry) {
            if !wanted.contains(&config_map.name_any()) {
                self.delete(&*config_map).await?;
            }
        }
        Ok(())
    }

    async fn delete<K>(&self, object: &K) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
        let api: Api<K> = Api::namespaced(self.context.client.clone(), &namespace);
        let preconditions = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => Err(apply::Error::api::<K>("delete", &name, source).into()),
        }
    }

    /// Writes a status if it is not the one that is there, and records what changed.
    async fn write_status(&self, registry: &Registry, status: RegistryStatus) -> Result<(), Error> {
        let before = registry.status.clone().unwrap_or_default();
        if before == status {
            return Ok(());
        }
        let (name, namespace) = (registry.name_any(), registry.namespace().unwrap_or_default());
        let api: Api<Registry> = Api::namespaced(self.context.client.clone(), &namespace);
        let patch = json!({
            "apiVersion": Registry::api_version(&()),
            "kind": Registry::kind(&()),
            "metadata": {"name": name},
            // That one is another controller's.
            "status": RegistryStatus { last_garbage_collection: None, ..status.clone() },
        });
        let params = PatchParams::apply(labels::OPERATOR).force();
        let written = api.patch_status(&name, &params, &Patch::Apply(patch)).await;
        written.map_err(|source| Error::Status { source: Box::new(source) })?;
        for (type_, condition) in transitions(&before.conditions, &status.conditions) {
            self.context.record(&registry.object_ref(&()), type_, &condition.reason, &condition.message).await;
        }
        Ok(())
    }
}

/// The conditions worth an Event: those that changed, of the two that sum up the others. What is only on its way is
/// no warning: that is what was well before, and what somebody has to change.
fn transitions<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<(EventType, &'a Condition)> {
    let is_summary = |type_: &str| [ConditionType::Ready.as_str(), ConditionType::Degraded.as_str()].contains(&type_);
    let event = |condition: &'a Condition| {
        let was = before.iter().find(|before| before.type_ == condition.type_);
        let invalid = condition.reason == Reason::ConfigInvalid.as_str();
        let changed = was.map_or(invalid, |was| was.status != condition.status || was.reason != condition.reason);
        let warns = !is_good(condition) && (invalid || was.is_some_and(is_good));
        changed.then_some((if warns { EventType::Warning } else { EventType::Normal }, condition))
    };
    after.iter().filter(|condition| is_summary(&condition.type_)).filter_map(event).collect()
}

/// Whether a summary says that all is well.
fn is_good(condition: &Condition) -> bool {
    let wanted = if condition.type_ == ConditionType::Degraded.as_str() { "False" } else { "True" };
    condition.status == wanted
}
