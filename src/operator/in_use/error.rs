//! Why it is not known what is in use.

use crate::api::v1alpha1::{FieldPathError, Misfit};

/// What is in use could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refuses.
    #[error("could not list {resource}: {message}")]
    Refused {
        /// What was listed, such as `cronjobs.batch`.
        resource: String,
        /// What the API server says.
        message: String,
    },
    /// The API server did not answer, or not in words that can be read.
    #[error("could not list {resource}")]
    Unanswered {
        /// What was listed.
        resource: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The list ran out each time before it was read to its end.
    #[error("the list of {resource} ran out each time before it was read to its end")]
    Expired {
        /// What was listed.
        resource: String,
    },
    /// It took too long.
    #[error("listing the cluster took more than {seconds} seconds")]
    TooSlow {
        /// What it may take.
        seconds: u64,
    },
    /// What a policy names besides the workloads could not be read.
    #[error("inUse of RetentionPolicy {policy} cannot be read")]
    OfPolicy {
        /// The policy's name.
        policy: String,
        /// Why.
        source: Box<Self>,
    },
    /// A `ConfigMap` of `extraImagesFrom` is not there.
    #[error("there is no ConfigMap {name} in this namespace, which inUse.extraImagesFrom names")]
    NoConfigMap {
        /// Its name.
        name: String,
    },
    /// A `ConfigMap` of `extraImagesFrom` could not be read.
    #[error("could not read ConfigMap {name}, which inUse.extraImagesFrom names: {message}")]
    ConfigMap {
        /// Its name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// A kind of `customResources` does not exist.
    #[error("the cluster has no kind {kind} of {api_version}, which inUse.customResources names")]
    NoKind {
        /// The kind.
        kind: String,
        /// The group and the version.
        api_version: String,
    },
    /// A path of `customResources` is none.
    #[error("inUse.customResources has a path that cannot be read")]
    Path {
        /// Why.
        source: FieldPathError,
    },
    /// An object has something else than an image where a path of `customResources` leads.
    #[error("an object of {resource} does not have an image at {path}: {message}")]
    NoImage {
        /// What was listed.
        resource: String,
        /// The path.
        path: String,
        /// What is there instead.
        message: String,
    },
}

impl Error {
    /// Names the policy that asked.
    pub(super) fn of_policy(policy: &str) -> impl Fn(Self) -> Self {
        move |source| Self::OfPolicy { policy: policy.to_owned(), source: Box::new(source) }
    }

    /// Whether the API server refuses.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::OfPolicy { source, .. } => source.is_refusal(),
            _ => false,
        }
    }

    /// What the API server's answer to the list of a resource means.
    pub(super) fn listing(resource: String, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused { resource, message: status.message },
            error => Self::Unanswered { resource, source: Box::new(error) },
        }
    }

    pub(super) fn misfit(resource: &str, path: &str, misfit: Misfit) -> Self {
        Self::NoImage { resource: resource.to_owned(), path: path.to_owned(), message: misfit.to_string() }
    }
}
