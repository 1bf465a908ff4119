//! regctl: referrers, artifacts, and blobs in chunks.

use serde_json::{Value, json};

use crate::registry::Registry;
use crate::support::{Image, Program, RegistryAddress};

on_folder_and_bucket!(
    image_is_copied_with_what_refers_to_it,
    artifact_is_listed_by_its_type_and_read_back,
    deleted_tag_leaves_the_others_of_its_image,
    blob_sent_in_chunks_is_read_back_whole_and_in_part,
);

/// regctl with the login and the authority; blobs of more than a MiB go in chunks of that size.
pub(crate) fn regctl(registry: &Registry, address: &RegistryAddress) -> Program {
    let host = json!({
        "tls": "enabled",
        "regcert": std::fs::read_to_string(address.authority()).unwrap(),
        "user": registry.credentials().user,
        "pass": registry.credentials().password,
        "blobChunk": 1 << 20,
        "blobMax": 1 << 20,
    });
    let configuration = json!({"hosts": {(address.host.clone()): host}});
    let file = address.folder().join("regctl.json");
    std::fs::write(&file, configuration.to_string()).unwrap();
    Program::new("regctl").env("REGCTL_CONFIG", file)
}

fn image_is_copied_with_what_refers_to_it(registry: &Registry) {
    let image = Image::named("signed");
    registry.address.push(&image, "team/app:v1");
    let regctl = || regctl(registry, &registry.address);
    let subject = registry.address.reference("team/app:v1");
    put_artifact(registry, &subject, "application/spdx+json", "a bill of materials");
    // As cosign did before there were referrers: a tag that is called after the digest.
    let signature = format!("team/app:{}.sig", image.digest.replace(':', "-"));
    registry.address.push(&Image::named("signature"), &signature);

    let copy = registry.address.reference("mirror/app:v1");
    regctl().args(["image", "copy", "--digest-tags", "--referrers", &subject, &copy]).succeeds();

    registry.address.pull_is_identical(&image, "mirror/app:v1");
    let listed = regctl().args(["artifact", "list", &copy, "--format", "{{json .}}"]).succeeds();
    assert!(listed.contains("application/spdx+json"), "{listed}");
    let tags = registry.address.tags("mirror/app");
    assert!(tags.iter().any(|tag| tag.strip_suffix(".sig").is_some()), "{tags:?}");
}

fn artifact_is_listed_by_its_type_and_read_back(registry: &Registry) {
    registry.address.push(&Image::named("subject"), "team/app:v1");
    let subject = registry.address.reference("team/app:v1");
    put_artifact(registry, &subject, "application/spdx+json", "a bill of materials");
    put_artifact(registry, &subject, "application/vnd.example.report", "a report");
    let regctl = || regctl(registry, &registry.address);

    let filter = ["--filter-artifact-type", "application/vnd.example.report"];
    let listed = regctl().args(["artifact", "list", &subject, "--format", "{{json .}}"]).args(filter).succeeds();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["descriptors"].as_array().map(Vec::len), Some(1), "{listed}");

    let got = regctl().args(["artifact", "get", "--subject", &subject]).args(filter).succeeds();
    assert_eq!(got, "a report");
}

fn deleted_tag_leaves_the_others_of_its_image(registry: &Registry) {
    let image = Image::named("tagged");
    registry.address.push(&image, "team/app:v1");
    registry.address.push(&image, "team/app:latest");
    let regctl = || regctl(registry, &registry.address);

    regctl().args(["tag", "rm", &registry.address.reference("team/app:latest")]).succeeds();

    let tags = regctl().args(["tag", "ls", &registry.address.reference("team/app")]).succeeds();
    assert_eq!(tags, "v1");
    registry.address.pull_is_identical(&image, "team/app:v1");
}

fn blob_sent_in_chunks_is_read_back_whole_and_in_part(registry: &Registry) {
    let content: Vec<u8> = (0..(5 << 20) + 77_u32).map(|number| number.to_le_bytes()[number as usize % 3]).collect();
    let repository = registry.address.reference("team/blobs");
    let regctl = || regctl(registry, &registry.address);

    let digest = regctl().args(["blob", "put", &repository]).input(content.clone()).succeeds();

    let whole = regctl().args(["blob", "get", &repository, &digest]).output();
    assert!(whole.stdout == content, "{} bytes came back of {}", whole.stdout.len(), content.len());
    let url = format!("{}/v2/team/blobs/blobs/{digest}", registry.address.url());
    let part = registry.address.curl().args(["--range", "3000000-3999999", &url]).output();
    assert!(part.stdout == content[3_000_000..=3_999_999], "{part}");
}

fn put_artifact(registry: &Registry, subject: &str, kind: &str, content: &str) {
    let put = regctl(registry, &registry.address).args(["artifact", "put", "--artifact-type", kind]);
    put.args(["--subject", subject]).input(content).succeeds();
}
