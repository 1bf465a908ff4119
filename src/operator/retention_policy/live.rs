//! The policies of a Registry, as the API server has them: the cache may lag behind, and what one of them says that it
//! does not know yet may be that something is kept.

use kube::{Api, ResourceExt, api::ListParams};

use crate::api::v1alpha1::RetentionPolicy;
use crate::api::wire::PolicySource;

use super::assess::{invalid_sibling, source};

/// Reads the policies of one policy's Registry.
pub struct LivePolicies<'a> {
    api: Api<RetentionPolicy>,
    policy: &'a RetentionPolicy,
}

impl<'a> LivePolicies<'a> {
    /// Of the Registry of `policy`, in whose namespace `api` is.
    #[must_use]
    pub fn new(api: Api<RetentionPolicy>, policy: &'a RetentionPolicy) -> Self {
        Self { api, policy }
    }

    /// All of them, to start a run with: the one that runs as it was read.
    ///
    /// # Errors
    /// The API server's.
    pub async fn to_start_with(&self) -> Result<Vec<PolicySource>, kube::Error> {
        let all = self.list().await?;
        let others = all.iter().filter(|other| other.uid() != self.policy.uid());
        Ok(others.map(source).chain([source(self.policy)]).collect())
    }

    /// All of them, to apply a plan with; the inner error says why it must not be applied, in words.
    ///
    /// # Errors
    /// The API server's.
    pub async fn to_apply_with(&self) -> Result<Result<Vec<PolicySource>, String>, kube::Error> {
        let all = self.list().await?;
        let Some(latest) = all.iter().find(|other| other.uid() == self.policy.uid()) else {
            return Ok(Err("the policy was deleted during the run, so its plan was not applied".to_owned()));
        };
        if latest.metadata.generation > self.policy.status.as_ref().and_then(|status| status.observed_generation) {
            return Ok(Err("the policy was changed during the run, so its plan was not applied".to_owned()));
        }
        match invalid_sibling(self.policy, &all) {
            Some(words) => Ok(Err(words)),
            None => Ok(Ok(all.iter().map(source).collect())),
        }
    }

    async fn list(&self) -> Result<Vec<RetentionPolicy>, kube::Error> {
        let all = self.api.list(&ListParams::default()).await?.items.into_iter();
        Ok(all.filter(|other| other.spec.registry_ref == self.policy.spec.registry_ref).collect())
    }
}
