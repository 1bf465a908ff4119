//! Real clients against `lagan serve`: on a folder, and on a bucket of a real S3 server.
//!
//! `tests/run` starts the server and runs these; alone it is `tests/run --only clients`. Each test has a registry of its
//! own, with TLS and a login, as clients meet it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

/// Makes two tests of each function that takes a `&Registry`: `folder::NAME` and `bucket::NAME`.
macro_rules! on_folder_and_bucket {
    ($($scenario:ident),+ $(,)?) => {
        mod folder {
            $(
                #[test]
                #[ignore = "needs real clients: tests/run"]
                fn $scenario() {
                    super::$scenario(&crate::registry::Registry::on_folder());
                }
            )+
        }
        mod bucket {
            $(
                #[test]
                #[ignore = "needs real clients and an S3 server: tests/run"]
                fn $scenario() {
                    super::$scenario(&crate::registry::Registry::on_bucket());
                }
            )+
        }
    };
}

mod buildah;
#[path = "../support/certificate.rs"]
mod certificate;
mod containerd;
mod crane;
#[path = "../support/environment.rs"]
mod environment;
mod helm;
mod interrupted;
#[path = "../support/issuer.rs"]
mod issuer;
mod large_layer;
mod parallel;
mod podman;
mod proxy;
mod regctl;
mod registry;
#[path = "../support/s3.rs"]
mod s3;
mod skopeo;
mod support;
mod trash;
#[path = "../support/versitygw.rs"]
mod versitygw;
