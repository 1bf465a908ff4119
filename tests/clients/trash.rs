//! What was deleted says so, and comes back.

use crate::registry::Registry;
use crate::support::Image;

on_folder_and_bucket!(image_deleted_with_a_client_is_restored_and_pulled);

fn image_deleted_with_a_client_is_restored_and_pulled(registry: &Registry) {
    let index = Image::index("restored");
    registry.address.push(&index, "team/app:v1");

    registry.address.delete("team/app:v1");

    let gone = registry.address.get("/v2/team/app/manifests/v1");
    assert_eq!(gone.status, 404, "{gone:?}");
    let detail = &gone.json()["errors"][0]["detail"];
    assert!(detail["restorableUntil"].is_string() && detail["deletedBy"].is_string(), "{gone:?}");
    let refused =
        registry.address.crane("pull").arg(registry.address.reference("team/app:v1")).arg("/dev/null").fails();
    assert!(refused.contains("MANIFEST_UNKNOWN"), "{refused}");
    let listed = registry.trash("list").succeeds();
    assert!(listed.contains("team/app"), "{listed}");

    registry.trash("restore").arg("team/app:v1").succeeds();

    registry.address.pull_is_identical(&index, "team/app:v1");
}
