//! Pushes that break off, and go on.

use crate::proxy::{Break, Proxy};
use crate::regctl::regctl;
use crate::registry::Registry;
use crate::support::{Image, Layer};

on_folder_and_bucket!(
    push_whose_client_was_killed_succeeds_when_it_is_repeated,
    client_whose_connection_was_cut_goes_on_by_itself,
    upload_that_was_cut_says_how_far_it_came_and_ends_from_there,
);

/// Where the line breaks: in the middle of what these tests send.
const MIDDLE: u64 = 5 << 20;

fn push_whose_client_was_killed_succeeds_when_it_is_repeated(registry: &Registry) {
    let image = incompressible_image();
    let proxy = Proxy::to(registry.server.address, Break::Stall, MIDDLE);
    let target = format!("docker://{}/team/app:v1", proxy.host);
    let push = registry.through(&proxy.host);
    let mut skopeo = push
        .skopeo("copy", "dest-")
        .args(["--preserve-digests", "--quiet"])
        .arg(format!("oci:{}", image.layout().display()))
        .arg(target)
        .start();

    proxy.await_break();
    skopeo.kill().unwrap();
    skopeo.wait().unwrap();
    assert_eq!(registry.address.get("/v2/team/app/manifests/v1").status, 404, "half an image is none");

    registry.address.push(&image, "team/app:v1");
    registry.address.pull_is_identical(&image, "team/app:v1");
}

fn client_whose_connection_was_cut_goes_on_by_itself(registry: &Registry) {
    let image = incompressible_image();
    let proxy = Proxy::to(registry.server.address, Break::Cut, MIDDLE);
    let address = registry.through(&proxy.host);
    let layout = format!("ocidir://{}", image.layout().display());
    let source = format!("{layout}@{}", image.digest);

    regctl(registry, &address).args(["image", "copy", &source, &address.reference("team/app:v1")]).succeeds();

    proxy.await_break();
    registry.address.pull_is_identical(&image, "team/app:v1");
}

fn upload_that_was_cut_says_how_far_it_came_and_ends_from_there(registry: &Registry) {
    let content = bytes(3, 9 << 20);
    let digest = crate::support::sha256(&content);
    let proxy = Proxy::to(registry.server.address, Break::Cut, MIDDLE);
    let begun = registry.address.request("POST", "/v2/team/app/blobs/uploads/");
    let path = begun.headers["location"].replace(&registry.address.url(), "");

    let through = registry.through(&proxy.host);
    let cut = through.curl().args(["--data-binary", "@-", "--request", "PATCH"]);
    let cut = cut.args(["--header", "Content-Type: application/octet-stream"]);
    cut.arg(format!("https://{}{path}", proxy.host)).input(content.clone()).fails();
    proxy.await_break();

    let status = registry.address.get(&path);
    assert_eq!(status.status, 204, "{status:?}");
    let last: usize = status.headers["range"].strip_prefix("0-").unwrap().parse().unwrap();
    let rest = &content[last + 1..];
    assert!(!rest.is_empty() && rest.len() < content.len(), "the line did not break in the middle: {status:?}");
    let path = status.headers["location"].replace(&registry.address.url(), "");
    let end = registry.address.curl().args(["--data-binary", "@-", "--request", "PUT", "--fail-with-body"]);
    let end = end.args(["--header", "Content-Type: application/octet-stream"]);
    let separator = if path.contains('?') { '&' } else { '?' };
    end.arg(format!("{}{path}{separator}digest={digest}", registry.address.url())).input(rest.to_vec()).succeeds();

    let blob = registry.address.get(&format!("/v2/team/app/blobs/{digest}"));
    assert!(blob.body == content, "{} bytes came back of {}", blob.body.len(), content.len());
}

/// Four layers of four MiB that gzip does not make smaller.
fn incompressible_image() -> Image {
    let contents: Vec<Vec<u8>> = (0..4).map(|seed| bytes(seed, 4 << 20)).collect();
    Image::of(&contents.iter().map(|content| Layer::Bytes { name: "noise", content }).collect::<Vec<_>>())
}

/// Bytes without a pattern: xorshift, from this seed.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length / 8).flat_map(|_| next().to_le_bytes()).collect()
}
