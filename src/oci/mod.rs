//! The vocabulary of the OCI image and distribution specifications, as values that cannot be malformed.
//!
//! Everything here is pure: text or bytes in, a value or an error out. No type of this layer performs IO,
//! reads a clock or knows where content is stored.

mod descriptor;
mod digest;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod image_config;
mod manifest;
mod media_type;
mod object;
mod reference;
mod repository_name;
mod tag;

pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError};
pub use image_config::{ImageConfig, Platform, PlatformError};
pub use manifest::{Manifest, ManifestError, ManifestKind};
pub use media_type::{MediaType, MediaTypeError};
pub use object::Object;
pub use reference::{Reference, ReferenceError};
pub use repository_name::{RepositoryName, RepositoryNameError};
pub use tag::{Tag, TagError};
