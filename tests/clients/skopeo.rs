//! skopeo: what most pipelines copy images with.

use serde_json::Value;

use crate::registry::Registry;
use crate::support::{Image, Layer};

on_folder_and_bucket!(
    images_of_1_and_40_and_127_layers_come_back_as_they_were_pushed,
    image_copied_to_a_folder_and_back_keeps_its_digest,
    docker_manifest_is_served_as_it_was_pushed,
    index_is_copied_with_all_its_images,
    image_is_listed_inspected_and_deleted,
    repository_is_synchronised_to_a_folder_and_to_another_repository,
);

fn images_of_1_and_40_and_127_layers_come_back_as_they_were_pushed(registry: &Registry) {
    for count in [1, 40, 127] {
        let names: Vec<String> = (0..count).map(|number| format!("{count}-{number}")).collect();
        let layers: Vec<Layer<'_>> = names.iter().map(|name| Layer::File { name, lines: 50 }).collect();
        let image = Image::of(&layers);
        let name = format!("layers/{count}:latest");

        registry.address.push(&image, &name);

        assert_eq!(image.layers.len(), count);
        registry.address.pull_is_identical(&image, &name);
    }
}

fn image_copied_to_a_folder_and_back_keeps_its_digest(registry: &Registry) {
    let image = Image::named("folders");
    registry.address.push(&image, "team/app:v1");
    let folder = format!("dir:{}", registry.folder().join("copy").display());

    let down = registry.address.skopeo("copy", "src-").arg(source(registry, "team/app:v1")).arg(&folder);
    down.succeeds();
    let up = registry.address.skopeo("copy", "dest-").arg(&folder).arg(source(registry, "team/app:again"));
    up.succeeds();

    assert_eq!(registry.address.digest("team/app:again"), image.digest);
    registry.address.pull_is_identical(&image, "team/app:again");
}

fn docker_manifest_is_served_as_it_was_pushed(registry: &Registry) {
    let image = Image::named("docker");
    let converted = registry.address.skopeo("copy", "dest-").args(["--format", "v2s2"]);
    converted.arg(format!("oci:{}", image.layout().display())).arg(source(registry, "team/docker:v1")).succeeds();

    let inspect = registry.address.skopeo("inspect", "").arg("--raw").arg(source(registry, "team/docker:v1"));
    let manifest: Value = serde_json::from_str(&inspect.succeeds()).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    registry.address.crane("validate").args(["--remote", &registry.address.reference("team/docker:v1")]).succeeds();
}

fn index_is_copied_with_all_its_images(registry: &Registry) {
    let index = Image::index("platforms");
    registry.address.push(&index, "team/multi:v1");

    let layout = registry.folder().join("multi");
    let all = registry.address.skopeo("copy", "src-").args(["--all", "--preserve-digests"]);
    all.arg(source(registry, "team/multi:v1")).arg(format!("oci:{}", layout.display())).succeeds();

    for digest in index.children.iter().chain(&index.layers).chain([&index.digest]) {
        let copied = std::fs::read(layout.join("blobs").join(digest.replace(':', "/"))).unwrap();
        assert_eq!(copied, index.blob(digest), "{digest}");
    }
}

fn image_is_listed_inspected_and_deleted(registry: &Registry) {
    let image = Image::named("listed");
    registry.address.push(&image, "team/app:v1");
    registry.address.push(&Image::named("kept"), "team/app:v2");

    let inspected = registry.address.skopeo("inspect", "").arg(source(registry, "team/app:v1")).succeeds();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], image.digest.as_str());
    assert_eq!(listed(registry), ["v1", "v2"]);

    registry.address.delete("team/app:v1");

    let gone = registry.address.skopeo("inspect", "").arg(source(registry, "team/app:v1")).fails();
    assert!(gone.contains("manifest unknown"), "{gone}");
    assert_eq!(listed(registry), ["v2"]);
}

fn repository_is_synchronised_to_a_folder_and_to_another_repository(registry: &Registry) {
    let images = ["v1", "v2", "v3"].map(|tag| (tag, Image::named(tag)));
    for (tag, image) in &images {
        registry.address.push(image, &format!("team/synced:{tag}"));
    }
    let folder = registry.folder().join("synced");
    std::fs::create_dir(&folder).unwrap();
    let down = registry.address.skopeo("sync", "src-").args(["--src", "docker", "--dest", "dir"]);
    down.arg(registry.address.reference("team/synced")).arg(&folder).succeeds();

    let up = registry.address.skopeo("sync", "dest-").args(["--src", "dir", "--dest", "docker"]);
    up.arg(&folder).arg(registry.address.reference("mirror")).succeeds();

    for (tag, image) in &images {
        registry.address.pull_is_identical(image, &format!("mirror/synced:{tag}"));
    }
}

fn source(registry: &Registry, name: &str) -> String {
    format!("docker://{}", registry.address.reference(name))
}

fn listed(registry: &Registry) -> Vec<String> {
    let listed = registry.address.skopeo("list-tags", "").arg(source(registry, "team/app")).succeeds();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    serde_json::from_value(listed["Tags"].clone()).unwrap()
}
