//! Stores change hands: between docker-registry 2.8.2, distribution 3.1.2 and Lagan, in both directions, each as a
//! process of its own.
//!
//! They need `docker-registry` (Debian's package) and distribution's `registry` on the PATH, so they are run by
//! `tests/run --only tools adoption`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod buckets;
mod client;
mod collected;
#[path = "../support/environment.rs"]
mod environment;
mod folders;
mod image;
mod imported;
mod registry;
#[path = "../support/s3.rs"]
mod s3;
mod scrubbed;
mod taken_back;
mod taken_over;
mod trash;
#[path = "../support/versitygw.rs"]
mod versitygw;

/// Runs a test's body once for each other registry, so that the name of the one that failed is in the test's.
macro_rules! for_each_distribution {
    ($($name:ident => $body:path;)*) => {
        mod docker_registry_2 {
            $(#[tokio::test] #[ignore = "needs the programs of tests/cluster/tools"]
            async fn $name() { $body(crate::registry::Kind::DockerRegistry).await; })*
        }
        mod distribution_3 {
            $(#[tokio::test] #[ignore = "needs the programs of tests/cluster/tools"]
            async fn $name() { $body(crate::registry::Kind::Distribution).await; })*
        }
    };
}

for_each_distribution! {
    a_folder_is_served_as_it_is => super::taken_over::served_as_it_is;
    a_bucket_is_served_as_it_is => super::buckets::served_as_it_is;
    what_was_deleted_in_a_bucket_is_deleted => super::buckets::deletes_hold;
    an_upload_in_progress_goes_on => super::taken_over::upload_goes_on;
    a_push_to_an_adopted_folder_is_understood_by_both => super::taken_over::pushes_are_understood;
    an_adopted_image_is_deleted_and_restored => super::taken_over::deleted_and_restored;
    what_was_pushed_is_served => super::taken_back::pushes_are_served;
    what_was_overwritten_is_served => super::taken_back::overwrites_are_served;
    what_was_deleted_is_deleted => super::taken_back::deletes_hold;
    what_was_restored_is_back => super::taken_back::restores_hold;
    a_store_of_another_registry_is_clean => super::scrubbed::another_registry_s_store_is_clean;
    damage_is_mended => super::scrubbed::damage_in_another_registry_s_store_is_mended;
    a_whole_registry_is_imported => super::imported::a_whole_registry_is_copied;
    some_of_a_registry_is_imported_into_a_folder => super::imported::some_of_a_registry_is_copied_into_a_folder;
    what_cannot_be_imported_is_said => super::imported::what_cannot_be_copied_is_said;
    what_is_collected_of_its_store_is_garbage => super::collected::garbage_goes_and_nothing_else;
    nothing_is_collected_while_it_writes => super::collected::nothing_goes_while_it_writes;
    a_collection_that_empties_the_trash_is_said => super::trash::collected_trash_is_missing;
}
