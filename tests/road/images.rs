//! Pushes and pulls with real clients.

use crate::support::{Image, Layer, Namespace, Operator, Registry};

#[test]
#[ignore = "needs a cluster: tests/run"]
fn image_of_several_layers_pushed_with_skopeo_comes_back_with_crane() {
    Operator::installed();
    let namespace = Namespace::new("images");
    let registry = Registry::applied(&namespace, "registry", "");
    let file = |name| Layer::File { name, lines: 20_000 };
    let image = Image::of(&[Layer::Busybox, file("first"), file("second"), file("third")]);

    registry.address.push(&image, "team/app:v1");

    assert_eq!(registry.address.digest("team/app:v1"), image.digest);
    registry.address.pull_is_identical(&image, "team/app:v1");
    let by_digest = format!("team/app@{}", image.digest);
    registry.address.pull_is_identical(&image, &by_digest);
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn index_of_two_platforms_pushed_with_skopeo_comes_back_with_crane() {
    Operator::installed();
    let namespace = Namespace::new("indexes");
    let registry = Registry::applied(&namespace, "registry", "");
    let index = Image::index("multi");

    registry.address.push(&index, "team/multi:v1");

    assert_eq!(registry.address.digest("team/multi:v1"), index.digest);
    registry.address.pull_is_identical(&index, "team/multi:v1");
    for child in &index.children {
        assert_eq!(&registry.address.digest(&format!("team/multi@{child}")), child);
    }
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn wrong_or_no_credentials_are_refused() {
    Operator::installed();
    let namespace = Namespace::new("logins");
    let mut registry = Registry::applied(&namespace, "registry", "");
    let image = Image::named("refused");

    let credentials = registry.address.credentials.take();
    assert_eq!(registry.address.get("/v2/").status, 401);
    assert!(!registry.address.try_push(&image, "team/app:v1").is_success());

    registry.address.credentials = credentials.map(|mut wrong| {
        wrong.password.push('x');
        wrong
    });
    assert_eq!(registry.address.get("/v2/").status, 401);
    assert!(!registry.address.try_push(&image, "team/app:v1").is_success());
}
