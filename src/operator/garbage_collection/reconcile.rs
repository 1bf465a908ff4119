//! One look at a Registry's garbage.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{controller::Action, events::EventType},
};
use serde_json::json;

use crate::api::v1alpha1::{GarbageCollectionResult, GarbageCollectionStatus, Registry};
use crate::api::wire::{CollectionRequest, CollectionState};
use crate::operator::{context::Context, registries::Registries, registry_client};

use super::{
    decide::{Step, collects, decide},
    status::known,
};

/// Who writes `status.lastGarbageCollection`: not the controller of Registry, whose writes leave it alone so.
const FIELD_MANAGER: &str = "lagan-operator-collection";

/// How often a registry is asked without a cause: somebody may have collected by hand.
const RESYNC: Duration = Duration::from_secs(600);
/// How often it is asked while it collects.
const RUNNING: Duration = Duration::from_secs(15);
/// After what time it is asked again where it did not answer.
const LATER: Duration = Duration::from_secs(60);

/// A look failed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not do what it was asked.
    #[error("could not {action}")]
    Api {
        /// What was asked.
        action: &'static str,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// The registry did not.
    #[error("the registry did not do what it was asked")]
    Registry(#[from] registry_client::Error),
}

/// Has registries collect their garbage.
pub struct Reconciler {
    /// What all controllers share.
    pub context: Context,
    /// How registries are reached.
    pub registries: Registries,
}

impl Reconciler {
    /// Does what is to be done about a Registry's garbage now, and says in its status what the last collection did.
    ///
    /// # Errors
    /// When it has to be tried again.
    pub async fn reconcile(&self, cached: Arc<Registry>) -> Result<Action, Error> {
        // A schedule that is none is said by the controller of Registry; so is what else is wrong.
        let Ok(schedule) = cached.spec.garbage_collection.compile_schedule() else {
            return Ok(Action::await_change());
        };
        if !collects(&cached) {
            return Ok(Action::await_change());
        }
        // What is acted on is what the API server has: the cache may not have this controller's own last write.
        let (namespace, name) = (cached.namespace().unwrap_or_default(), cached.name_any());
        let api: Api<Registry> = Api::namespaced(self.context.client.clone(), &namespace);
        let live = api.get_opt(&name).await;
        let live = live.map_err(|source| Error::Api { action: "read the Registry", source: Box::new(source) })?;
        let Some(registry) = live.filter(collects) else { return Ok(Action::await_change()) };
        let client = match self.registries.connect(&self.context.client, &namespace, &name).await {
            Ok(client) => client,
            Err(error) => return Ok(later(&error)),
        };
        let said = match client.collection().await {
            Ok(said) => Some(said),
            Err(registry_client::Error::NotFound { .. }) => None,
            Err(error) => return Ok(later(&error)),
        };
        let before = registry.status.as_ref().and_then(|status| status.last_garbage_collection.as_ref());
        let last = known(before, said.as_ref(), self.context.now());
        if said.as_ref().is_some_and(|said| said.state == CollectionState::Running) {
            self.write(&api, &registry, last.as_ref()).await?;
            return Ok(Action::requeue(RUNNING));
        }
        match decide(&registry, &schedule, last.as_ref(), self.context.now()) {
            Step::Wait { until } => {
                self.write(&api, &registry, last.as_ref()).await?;
                let now = self.context.now();
                Ok(Action::requeue(until.map_or(RESYNC, |until| pause(until, now))))
            }
            Step::Begin { confirm } => match client.collect(&CollectionRequest { dry_run: false, confirm }).await {
                Ok(begun) => {
                    let last = known(last.as_ref(), Some(&begun), self.context.now());
                    self.write(&api, &registry, last.as_ref()).await?;
                    Ok(Action::requeue(RUNNING))
                }
                Err(error) => {
                    self.write(&api, &registry, last.as_ref()).await?;
                    Ok(later(&error))
                }
            },
        }
    }

    /// Writes what is known, if the status says something else, and tells of what has ended.
    async fn write(
        &self,
        api: &Api<Registry>,
        registry: &Registry,
        last: Option<&GarbageCollectionStatus>,
    ) -> Result<(), Error> {
        let before = registry.status.as_ref().and_then(|status| status.last_garbage_collection.as_ref());
        let Some(last) = last.filter(|last| before != Some(*last)) else { return Ok(()) };
        let patch = json!({
            "apiVersion": Registry::api_version(&()),
            "kind": Registry::kind(&()),
            "metadata": {"name": registry.name_any()},
            "status": {"lastGarbageCollection": last},
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = api.patch_status(&registry.name_any(), &params, &Patch::Apply(patch)).await;
        written.map_err(|source| Error::Api { action: "write the status", source: Box::new(source) })?;
        if let Some(result) = last.result {
            self.context.metrics.collection_ended(&format!("{result:?}"));
            self.announce(registry, result, last).await;
        }
        Ok(())
    }

    /// An Event for what was collected. What a brake stopped is told by the condition Degraded, and by its Event.
    async fn announce(&self, registry: &Registry, result: GarbageCollectionResult, last: &GarbageCollectionStatus) {
        let (blobs, bytes) = (last.removed_blobs.unwrap_or(0), last.reclaimed_bytes.unwrap_or(0));
        if result == GarbageCollectionResult::Completed && blobs > 0 {
            let words = format!("garbage collection removed {blobs} blobs and freed {bytes} bytes");
            self.context.record(&registry.object_ref(&()), EventType::Normal, "GarbageCollected", &words).await;
        }
    }
}

/// What is in the way goes by itself, or somebody else says so.
fn later(error: &registry_client::Error) -> Action {
    tracing::info!(reason = error.in_words(), "could not have the registry collect its garbage yet");
    Action::requeue(LATER)
}

/// How long to wait for the next collection: not so long that one by hand would go unnoticed.
fn pause(until: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or_default().clamp(Duration::from_secs(1), RESYNC)
}
