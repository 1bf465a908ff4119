//! What the tests stand on: real programs, run and awaited.

#[path = "../../support/address.rs"]
mod address;
#[path = "../../support/condition.rs"]
mod condition;
#[path = "../../support/digest.rs"]
mod digest;
mod forbidden;
#[path = "../../support/image.rs"]
mod image;
mod kubectl;
mod namespace;
mod object_store;
mod operator;
mod policy;
#[path = "../../support/program.rs"]
mod program;
mod registry;
mod signature;

pub(crate) use address::{Credentials, RegistryAddress};
pub(crate) use condition::{eventually, eventually_within};
pub(crate) use digest::sha256_digits;
pub(crate) use forbidden::Forbidden;
pub(crate) use image::{Image, Layer};
pub(crate) use kubectl::Kubectl;
pub(crate) use namespace::Namespace;
pub(crate) use object_store::ObjectStore;
pub(crate) use operator::{NAMESPACE as OPERATOR_NAMESPACE, Operator, helm_template};
pub(crate) use policy::{Policy, planned_tag_deletions};
pub(crate) use program::{Output, Program};
pub(crate) use registry::Registry;
pub(crate) use signature::Signature;
