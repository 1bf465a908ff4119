//! What the cluster runs, or would run: the images that no policy may delete.
//!
//! *Expected flow*: the candidates of a plan go into a [`CandidateIndex`]; the cluster is listed live
//! ([`Inquiry::list`]), and each image that an object names is looked up there at once ([`Protection`]); what is left is
//! the list of candidates in use, with a reason each.
//!
//! *Guarantees*: either every source was read to its end, or there is an error and nobody may delete anything. The
//! cluster's images stay in this process: what leaves it is the numbers of candidates, and the names of objects in
//! the policy's own namespace.
//!
//! What counts as in use is what any policy of the Registry counts as such ([`Demand`]).
//!
//! *Assumptions*: what is in use moves down only, from what makes to what is made (see [`SOURCES`]).

mod custom_resource;
mod demand;
mod error;
mod image_list;
mod image_reference;
mod images;
mod listing;
mod pages;
mod protection;
#[cfg(test)]
mod recorded;
mod rollout_history;
mod source;

pub use demand::Demand;
pub use error::Error;
pub use image_reference::ImageReference;
pub use images::each_image;
pub use listing::Inquiry;
pub use protection::{CandidateIndex, Protection, User};
pub use source::{SOURCES, Source};
