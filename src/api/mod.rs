//! What people and programs write to Lagan: the custom resources, the file of `lagan serve`, and the wire types.
//!
//! Every type here is raw: it has the shape of a text that was written elsewhere. `TryFrom` makes the types of
//! the lower layers from them, which cannot be wrong.

mod crd;
mod duration;
mod invalid;
mod quantity;
pub mod serve_config;
pub mod v1alpha1;
mod validate;
pub mod wire;

pub use crd::{CrdError, crd_values, crds};
pub use duration::{Duration, DurationError};
pub use invalid::{FieldError, Invalid};
pub use quantity::{Quantity, QuantityError};
pub use validate::{Validator, ValidatorError};
