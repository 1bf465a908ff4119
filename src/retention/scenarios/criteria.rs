//! What pulls, versions, contents and sizes keep.

use std::time::Duration;

use super::{NONE, five};
use crate::retention::fixtures::{
    DAY, HOUR, ago, annotations, digest, labels, plan, platforms, policy, pulled_last, repository, types, versions,
};
use crate::retention::{Criterion, ImageFacts, ManifestSnapshot, PullsKnown, RepositorySnapshot};

#[test]
fn pulls_keep_and_what_was_never_pulled_counts_from_its_push() {
    let repository = five().pulled("v5", HOUR).pulled("v4", DAY * 30).pulled("v3", DAY * 2);
    let cases: [(&str, Criterion, &[&str]); 5] = [
        ("within two days and a half", Criterion::PulledWithin(HOUR * 60), &["v4"]),
        ("within an hour", Criterion::PulledWithin(HOUR), &["v1", "v2", "v3", "v4", "v5"]),
        ("the last one", pulled_last(1), &["v1", "v2", "v3", "v4"]),
        ("the last two", pulled_last(2), &["v2", "v3", "v4"]),
        ("of two at the same time the later name", pulled_last(3), &["v2", "v4"]),
    ];
    for (name, criterion, gone) in cases {
        let plan = plan(&[policy("p").keeping("rule", "v*", &[criterion])], &repository);
        assert_eq!(plan.tags_that_go(), gone, "{name}");
    }
}

#[test]
fn a_pull_by_digest_counts_for_the_tags_and_the_indexes_above() {
    let repository = repository()
        .image("amd64", DAY * 9)
        .index("index", &["amd64"], DAY * 9)
        .tag("multi", "index", DAY * 9)
        .tag("single", "amd64", DAY * 9)
        .tagged("other", DAY * 9);
    let policy = [policy("p").keeping("rule", "*", &[Criterion::PulledWithin(DAY)])];
    let pulled = |name: &str| repository.clone().manifest(name, |manifest| manifest.pulled_at = Some(ago(HOUR)));
    assert_eq!(plan(&policy, &pulled("amd64")).tags_that_go(), ["other"]);
    assert_eq!(plan(&policy, &pulled("index")).tags_that_go(), ["other", "single"]);
    assert_eq!(plan(&policy, &pulled("amd64")).reason("other"), "not pulled within 24h");
}

#[test]
fn pulls_that_are_not_known_keep_what_they_may_have_been_of() {
    let with = |pulls: PullsKnown| {
        let mut repository = five().pulled("v5", HOUR);
        repository.pulls = pulls;
        repository
    };
    let within = [policy("p").keeping("rule", "v*", &[Criterion::PulledWithin(DAY)])];
    assert_eq!(plan(&within, &with(PullsKnown::Until(ago(DAY)))).tags_that_go(), ["v1", "v2", "v3", "v4"]);
    let unclear = plan(&within, &with(PullsKnown::Until(ago(HOUR * 23))));
    assert_eq!(unclear.tags_that_go(), NONE);
    assert_eq!(unclear.reason("v1"), "not known whether it is pulled within 24h");
    assert_eq!(plan(&within, &with(PullsKnown::Nothing)).tags_that_go(), NONE);

    let last = |count: u32| [policy("p").keeping("rule", "v*", &[pulled_last(count)])];
    let half_a_day_ago = with(PullsKnown::Until(ago(HOUR * 12)));
    assert_eq!(plan(&last(1), &half_a_day_ago).tags_that_go(), ["v1", "v2", "v3", "v4"], "v5 surely was the last");
    assert_eq!(plan(&last(2), &half_a_day_ago).tags_that_go(), NONE, "any other may have been the one before");
}

#[test]
fn versions_stay_by_range_and_number_and_others_are_said_to_be_none() {
    let tags = ["1.0.0", "1.0.1", "1.0.2", "1.0.3-rc.1", "v1.1.0", "2.0.0", "latest"];
    let repository = tags.iter().fold(repository(), |repository, tag| repository.tagged(tag, DAY));
    let plan = plan(&[policy("p").keeping("semver", "*", &[versions("<2.0.0", 2)])], &repository);
    assert_eq!(plan.tags_that_go(), ["1.0.0", "1.0.3-rc.1", "2.0.0", "latest"]);
    let missed = "not a version in <2.0.0 among the 2 highest of its minor version";
    assert_eq!(plan.reason("1.0.0"), missed);
    assert_eq!(plan.reason("latest"), format!("{missed} (it is no version such as 1.2.3)"));
    assert_eq!(plan.reason("2.0.0"), format!("{missed} (it is not in the range)"));
    let pre_release = format!("{missed} (it is a pre-release, of which the range names none)");
    assert_eq!(plan.reason("1.0.3-rc.1"), pre_release);
    assert_eq!(plan.reason("1.0.2"), "a version in <2.0.0 among the 2 highest of its minor version");
}

#[test]
fn what_the_content_says_keeps_and_an_index_is_what_it_lists() {
    let repository = repository()
        .image("labelled", DAY * 9)
        .config("labelled", |config| drop(config.labels.insert("keep".into(), "true".into())))
        .image("arm", DAY * 9)
        .config("arm", |config| config.platform = Some("linux/arm/v7".parse().unwrap()))
        .image("young", DAY * 9)
        .config("young", |config| config.created = Some(ago(HOUR)))
        .image("typed", DAY * 9)
        .manifest("typed", |manifest| manifest.content.as_mut().unwrap().artifact_type = Some("application/x".into()))
        .index("index", &["labelled", "arm", "young", "typed"], DAY * 9)
        .manifest("index", |manifest| {
            let annotations = &mut manifest.content.as_mut().unwrap().annotations;
            annotations.insert("tier".into(), "gold".into());
        });
    let names = ["labelled", "arm", "young", "typed", "index"];
    let repository = names.iter().fold(repository, |repository, name| repository.tag(name, name, DAY * 9));
    let repository = repository.tagged("old", DAY * 9).config("old", |config| config.created = Some(ago(DAY * 9)));
    for (criterion, kept) in [
        (labels(&[("keep", "true")]), "labelled"),
        (platforms(&["windows/amd64", "linux/arm"]), "arm"),
        (types(&["application/x"]), "typed"),
        (annotations(&[("tier", "gold")]), "index"),
    ] {
        let plan = plan(&[policy("p").keeping("rule", "*", std::slice::from_ref(&criterion))], &repository);
        let stay: Vec<&str> = names
            .into_iter()
            .chain(["old"])
            .filter(|name| !plan.tags_that_go().contains(&(*name).to_owned()))
            .collect();
        let expected: Vec<&str> = names.into_iter().filter(|name| *name == kept || *name == "index").collect();
        assert_eq!(stay, expected, "{criterion}");
    }
    let created = plan(&[policy("p").keeping("rule", "*", &[Criterion::CreatedWithin(DAY)])], &repository);
    assert_eq!(created.tags_that_go(), ["old"], "what does not say when it was made stays");
    assert_eq!(created.reason("arm"), "not known whether it is created within 24h");
    assert_eq!(created.reason("old"), "not created within 24h");
}

#[test]
fn content_that_could_not_be_read_or_is_not_there_keeps() {
    let repository = five()
        .manifest("v1", |manifest| manifest.content.as_mut().unwrap().image = ImageFacts::Unknown)
        .manifest("v2", |manifest| manifest.content.as_mut().unwrap().image = ImageFacts::None)
        .manifest("v3", |manifest| manifest.content.as_mut().unwrap().children = vec![digest("not there")]);
    for criterion in [labels(&[("keep", "true")]), platforms(&["linux/arm64"])] {
        let plan = plan(&[policy("p").keeping("rule", "v*", std::slice::from_ref(&criterion))], &repository);
        assert_eq!(plan.tags_that_go(), ["v2", "v4", "v5"], "{criterion}");
    }
}

#[test]
fn a_platform_that_is_not_said_keeps_and_an_index_says_it_of_what_it_lists() {
    let listed = |repository: RepositorySnapshot, name: &str, platform: &str| {
        repository.manifest(name, |manifest| {
            manifest.content.as_mut().unwrap().platforms = vec![platform.parse().unwrap()];
        })
    };
    let artifact = |manifest: &mut ManifestSnapshot| manifest.content.as_mut().unwrap().image = ImageFacts::None;
    let repository = repository()
        .tagged("silent", DAY)
        .config("silent", |config| config.platform = None)
        .tagged("any-arm", DAY)
        .config("any-arm", |config| config.platform = Some("linux/arm".parse().unwrap()))
        .tagged("intel", DAY)
        .tagged("artifact", DAY)
        .manifest("artifact", artifact)
        .image("wasm", DAY)
        .manifest("wasm", artifact)
        .index("wasm-arm", &["wasm"], DAY)
        .tag("wasm-arm", "wasm-arm", DAY)
        .index("wasm-intel", &["wasm"], DAY)
        .tag("wasm-intel", "wasm-intel", DAY);
    let repository = listed(listed(repository, "wasm-arm", "linux/arm/v7"), "wasm-intel", "linux/amd64");
    let plan = plan(&[policy("p").keeping("rule", "*", &[platforms(&["linux/arm/v7"])])], &repository);
    assert_eq!(plan.tags_that_go(), ["artifact", "intel", "wasm-intel"]);
    assert_eq!(plan.reason("silent"), "not known whether it is for linux/arm/v7");
    assert_eq!(plan.reason("wasm-arm"), "for linux/arm/v7");
}

#[test]
fn an_annotation_says_when_an_artifact_was_made() {
    let at = |age: Duration| ago(age).to_string();
    let repository = repository().tagged("new", DAY * 9).tagged("old", DAY * 9);
    let repository = [("new", HOUR), ("old", DAY * 9)].into_iter().fold(repository, |repository, (name, age)| {
        repository.manifest(name, |manifest| {
            let content = manifest.content.as_mut().unwrap();
            content.image = ImageFacts::None;
            content.annotations.insert("org.opencontainers.image.created".into(), at(age));
        })
    });
    let plan = plan(&[policy("p").keeping("rule", "*", &[Criterion::CreatedWithin(DAY)])], &repository);
    assert_eq!(plan.tags_that_go(), ["old"]);
}

#[test]
fn a_size_keeps_the_newest_that_fit_and_counts_shared_bytes_once() {
    let share = |manifest: &mut crate::retention::ManifestSnapshot| {
        manifest.content.as_mut().unwrap().blobs[1] = crate::retention::Blob { digest: digest("base"), size: 1000 };
    };
    let plain = five();
    let shared = (1..=5).fold(five(), |repository, n| repository.manifest(&format!("v{n}"), share));
    for (repository, bytes, gone) in [
        (&plain, 1109, &["v1", "v2", "v3", "v4", "v5"] as &[&str]),
        (&plain, 1110, &["v2", "v3", "v4", "v5"]),
        (&plain, 3 * 1110, &["v4", "v5"]),
        (&shared, 1110 + 2 * 110, &["v4", "v5"]),
        (&shared, 1110 + 4 * 110, &[]),
    ] {
        let plan = plan(&[policy("p").keeping("rule", "v*", &[Criterion::WithinSize(bytes)])], repository);
        assert_eq!(plan.tags_that_go(), gone, "{bytes} bytes");
    }
    let one_image = five().tag("same", "v1", HOUR).tag("again", "v1", HOUR * 2);
    let plan = plan(&[policy("p").keeping("rule", "*", &[Criterion::WithinSize(1110)])], &one_image);
    assert_eq!(plan.tags_that_go(), ["v2", "v3", "v4", "v5"], "tags of one image take its place once");
}
