//! What these share with the tests on a cluster.

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/address.rs"]
mod address;
#[path = "../support/command.rs"]
mod command;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/condition.rs"]
mod condition;
#[path = "../support/digest.rs"]
mod digest;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/image.rs"]
mod image;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/program.rs"]
mod program;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/server.rs"]
mod server;

pub(crate) use address::{Credentials, RegistryAddress};
pub(crate) use condition::eventually;
pub(crate) use digest::sha256;
pub(crate) use image::{Image, Layer};
pub(crate) use program::{Output, Program};
pub(crate) use server::Server;
