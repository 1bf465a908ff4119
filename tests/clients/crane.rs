//! crane: the client of scripts.

use crate::registry::Registry;
use crate::support::{Image, Layer};

on_folder_and_bucket!(
    image_is_pushed_pulled_and_validated,
    label_makes_another_image_and_leaves_the_first,
    tags_and_repositories_are_listed,
    overwritten_tag_leaves_its_image_pullable_by_digest,
    deleted_manifest_is_gone_under_its_tag_too,
    layer_that_another_repository_has_is_mounted,
);

fn push(registry: &Registry, image: &Image, name: &str) {
    registry.address.crane("push").arg(image.layout()).arg(registry.address.reference(name)).succeeds();
}

fn image_is_pushed_pulled_and_validated(registry: &Registry) {
    let image = Image::named("crane");
    push(registry, &image, "team/app:v1");

    assert_eq!(registry.address.digest("team/app:v1"), image.digest);
    registry.address.crane("validate").args(["--remote", &registry.address.reference("team/app:v1")]).succeeds();
    registry.address.pull_is_identical(&image, "team/app:v1");
    let tarball = registry.folder().join("app.tar");
    registry.address.crane("pull").arg(registry.address.reference("team/app:v1")).arg(&tarball).succeeds();
    registry.address.crane("validate").arg("--tarball").arg(&tarball).succeeds();
}

fn label_makes_another_image_and_leaves_the_first(registry: &Registry) {
    let image = Image::named("mutated");
    push(registry, &image, "team/app:v1");
    let first = registry.address.reference("team/app:v1");
    let second = registry.address.reference("team/app:labelled");

    registry.address.crane("mutate").args(["--label", "stage=test", "--tag", &second, &first]).succeeds();

    let config = registry.address.crane("config").arg(&second).succeeds();
    assert!(config.contains(r#""stage":"test""#), "{config}");
    assert_ne!(registry.address.digest("team/app:labelled"), image.digest);
    registry.address.pull_is_identical(&image, "team/app:v1");
}

fn tags_and_repositories_are_listed(registry: &Registry) {
    let image = Image::named("listed");
    for name in ["team/app:v1", "team/app:v2", "team/base:v1", "other:v1"] {
        push(registry, &image, name);
    }
    let tags = registry.address.crane("ls").arg(registry.address.reference("team/app")).succeeds();
    assert_eq!(tags.lines().collect::<Vec<_>>(), ["v1", "v2"]);
    let repositories = registry.address.crane("catalog").arg(&registry.address.host).succeeds();
    assert_eq!(repositories.lines().collect::<Vec<_>>(), ["other", "team/app", "team/base"]);
}

fn overwritten_tag_leaves_its_image_pullable_by_digest(registry: &Registry) {
    let [old, new] = ["old", "new"].map(Image::named);
    push(registry, &old, "team/app:latest");
    push(registry, &new, "team/app:latest");

    assert_eq!(registry.address.digest("team/app:latest"), new.digest);
    registry.address.pull_is_identical(&new, "team/app:latest");
    registry.address.pull_is_identical(&old, &format!("team/app@{}", old.digest));
}

fn deleted_manifest_is_gone_under_its_tag_too(registry: &Registry) {
    let image = Image::named("deleted");
    push(registry, &image, "team/app:v1");
    let by_digest = registry.address.reference(&format!("team/app@{}", image.digest));

    registry.address.crane("delete").arg(&by_digest).succeeds();

    for reference in [by_digest, registry.address.reference("team/app:v1")] {
        let gone = registry.address.crane("manifest").arg(&reference).fails();
        assert!(gone.contains("MANIFEST_UNKNOWN"), "{gone}");
    }
}

fn layer_that_another_repository_has_is_mounted(registry: &Registry) {
    let image = Image::of(&[Layer::Busybox, Layer::File { name: "mounted", lines: 20_000 }]);
    registry.address.push(&image, "team/first:v1");

    let crane = registry.address.crane("copy").arg("--verbose");
    let copied = crane
        .arg(registry.address.reference("team/first:v1"))
        .arg(registry.address.reference("other/second:v1"))
        .output();

    assert!(copied.is_success(), "{copied}");
    let requests = |method: &str| copied.stderr.lines().filter(|line| line.contains(&format!("--> {method} "))).count();
    assert!(copied.stderr.contains("mount=sha256"), "it did not ask for a mount: {copied}");
    assert_eq!(requests("PATCH"), 0, "bytes were sent: {copied}");
    registry.address.pull_is_identical(&image, "other/second:v1");
}
