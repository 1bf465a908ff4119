//! The policies of a Registry, as the API server has them: the cache may lag behind, and what one of them says that it
//! does not know yet may be that something is kept.

use std::time::Duration;

use kube::{Api, ResourceExt, api::ListParams};

use crate::api::v1alpha1::RetentionPolicy;
use crate::api::wire::PolicySource;
use crate::operator::in_use::Demand;

use super::assess::{invalid_sibling, source};

/// Reading the policies may take so long. The listing of the cluster grows old meanwhile, and the client tries again by
/// itself for minutes.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The policies could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not do what it was asked.
    #[error("could not list the policies of the Registry")]
    Api {
        /// Why not.
        source: Box<kube::Error>,
    },
    /// It took too long.
    #[error("listing the policies of the Registry took more than {seconds} seconds")]
    TooSlow {
        /// What it may take.
        seconds: u64,
    },
}

/// Reads the policies of one policy's Registry.
pub struct LivePolicies<'a> {
    api: Api<RetentionPolicy>,
    policy: &'a RetentionPolicy,
    limit: Duration,
}

/// The policies to apply a plan with.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// All of them.
    pub policies: Vec<PolicySource>,
    /// What they count as in use.
    pub demand: Demand,
}

impl<'a> LivePolicies<'a> {
    /// Of the Registry of `policy`, in whose namespace `api` is.
    #[must_use]
    pub fn new(api: Api<RetentionPolicy>, policy: &'a RetentionPolicy) -> Self {
        Self { api, policy, limit: TIME_LIMIT }
    }

    /// All of them, to start a run with: the one that runs as it was read.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn to_start_with(&self) -> Result<Vec<PolicySource>, Error> {
        let all = self.list().await?;
        let others = all.iter().filter(|other| other.uid() != self.policy.uid());
        Ok(others.map(source).chain([source(self.policy)]).collect())
    }

    /// What they count as in use, to list the cluster by.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn demand(&self) -> Result<Demand, Error> {
        Ok(demand(&self.list().await?))
    }

    /// All of them, to apply a plan with; the inner error says why it must not be applied, in words.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn to_apply_with(&self) -> Result<Result<Latest, String>, Error> {
        let all = self.list().await?;
        let Some(latest) = all.iter().find(|other| other.uid() == self.policy.uid()) else {
            return Ok(Err("the policy was deleted during the run, so its plan was not applied".to_owned()));
        };
        if latest.metadata.generation > self.policy.status.as_ref().and_then(|status| status.observed_generation) {
            return Ok(Err("the policy was changed during the run, so its plan was not applied".to_owned()));
        }
        match invalid_sibling(self.policy, &all) {
            Some(words) => Ok(Err(words)),
            None => Ok(Ok(Latest { policies: all.iter().map(source).collect(), demand: demand(&all) })),
        }
    }

    async fn list(&self) -> Result<Vec<RetentionPolicy>, Error> {
        let params = ListParams::default();
        let all = tokio::time::timeout(self.limit, self.api.list(&params)).await;
        let all = all.map_err(|_| Error::TooSlow { seconds: self.limit.as_secs() })?;
        let all = all.map_err(|source| Error::Api { source: Box::new(source) })?;
        let is_sibling = |other: &RetentionPolicy| other.spec.registry_ref == self.policy.spec.registry_ref;
        Ok(all.items.into_iter().filter(is_sibling).collect())
    }
}

/// What policies count as in use.
#[must_use]
pub fn demand<'a>(policies: impl IntoIterator<Item = &'a RetentionPolicy>) -> Demand {
    Demand::of(policies.into_iter().map(|policy| (policy.name_any(), &policy.spec.in_use)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::operator::fixtures::{Answer, Cluster};

    use super::*;

    #[tokio::test]
    async fn policies_that_do_not_come_are_not_waited_for() {
        let hour = Duration::from_secs(3600);
        let cluster = Cluster::answering(move |_| Answer::ok(json!({"items": []})).after(hour));
        let spec = serde_json::from_value(json!({"registryRef": {"name": "main"}})).unwrap();
        let policy = RetentionPolicy::new("cleanup", spec);
        let mut live = LivePolicies::new(Api::namespaced(cluster.client(), "shop"), &policy);
        live.limit = Duration::from_millis(20);
        assert!(matches!(live.demand().await, Err(Error::TooSlow { .. })));
        assert!(matches!(live.to_apply_with().await, Err(Error::TooSlow { .. })));
    }
}
