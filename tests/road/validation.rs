//! What is wrong is refused, or a condition says what to change.

use crate::support::{Kubectl, Namespace, Operator, Registry};

fn registry(spec: &str) -> String {
    format!("{{apiVersion: lagan.dev/v1alpha1, kind: Registry, metadata: {{name: wrong}}, spec: {{{spec}}}}}")
}

fn policy(spec: &str) -> String {
    format!(
        "{{apiVersion: lagan.dev/v1alpha1, kind: RetentionPolicy, metadata: {{name: wrong}}, \
         spec: {{registryRef: {{name: registry}}, {spec}}}}}"
    )
}

/// What somebody reads who writes a time in another form.
const TIME: &str = "write hours, minutes and seconds, such as 720h or 1h30m; there are no days";

#[test]
#[ignore = "needs a cluster: tests/run"]
fn invalid_objects_are_refused_with_words_that_say_what_is_wrong() {
    Operator::installed();
    let namespace = Namespace::new("refused");
    let claim_and_empty_dir = "storage: {type: PersistentVolumeClaim, persistentVolumeClaim: {}, emptyDir: {}}";
    let table = [
        (registry("accessMode: Sometimes"), "ReadOnly"),
        (registry(claim_and_empty_dir), "emptyDir is for type EmptyDir"),
        (registry("storage: {persistentVolumeClaim: {claimName: a, template: {size: 1Gi}}}"), "not both"),
        (registry("replicas: 2"), "object storage"),
        (registry("deletion: {restoreWindow: 1m}"), "at least 10m"),
        (registry("tls: {mode: SecretRef}"), "secretRef"),
        (policy("mode: Perhaps"), "Enforce"),
        (policy("unmatchedTags: Delete, startingDeadline: soon"), TIME),
        (policy("unmatchedTags: Delete, startingDeadline: 10s"), "startingDeadline must be at least 1m"),
        (policy("unmatchedTags: Delete, minimumAge: -1h"), TIME),
        (policy("minimumAge: 2d"), TIME),
        (policy("keep: [{name: a, tags: ['*'], pulledWithin: 30d}]"), TIME),
        (policy("keep: [{name: a, tags: ['*'], pushedWithin: 0h}]"), "0s keeps nothing"),
        (policy("unmatchedTags: Delete, untagged: {action: Delete, minimumAge: -24h}"), TIME),
        (registry("deletion: {restoreWindow: 7d}"), TIME),
        (registry("garbageCollection: {gracePeriod: -24h}"), TIME),
        (policy("unmatchedTags: Delete, limits: {maxDeletions: -5}"), "should be greater than or equal to 0"),
        (policy("unmatchedTags: Delete, limits: {maxDeletePercent: -1}"), "should be greater than or equal to 0"),
        (policy("keep: [{name: a, tags: ['*'], mostRecentlyPushed: 0}]"), "should be greater than or equal to 1"),
        (policy("keep: [{name: a, tags: ['*']}]"), "a keep rule needs a criterion, such as always: {}"),
        (policy("unmatchedTags: Delete, repositories: {include: []}"), "for all of them"),
        (policy("mode: Enforce"), "this policy does nothing: write rules into keep"),
        (policy("holds: [{repository: app}]"), "a hold needs a reference: write the tag or the digest"),
        (policy("unmatchedTags: Delete, limits: {maxDeletePercent: 101}"), "write 0 to 100, which is no limit"),
    ];
    for (object, words) in table {
        let refusal = namespace.refused(&object);
        assert!(refusal.contains(words), "{object}\nis refused without the words {words:?}:\n{refusal}");
        for riddle in ["rule evaluation error", "no such overload", "failed rule"] {
            assert!(!refusal.contains(riddle), "{object}\nis refused with {riddle:?}:\n{refusal}");
        }
    }
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn what_must_not_change_is_refused() {
    Operator::installed();
    let namespace = Namespace::new("immutable");
    namespace.apply(&registry("storage: {persistentVolumeClaim: {template: {size: 2Gi}}}"));
    let refusal = namespace.refused(&registry("storage: {type: EmptyDir}"));
    assert!(refusal.contains("storage.type cannot change"), "{refusal}");
    let refusal = namespace.refused(&registry("storage: {persistentVolumeClaim: {template: {size: 1Gi}}}"));
    assert!(refusal.contains("can only grow"), "{refusal}");
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn policy_without_its_registry_says_so_and_recovers() {
    Operator::installed();
    let namespace = Namespace::new("orphan");
    namespace.apply(&policy("unmatchedTags: Delete, schedule: '0 3 * * *'"));
    let message = namespace.await_reason("retentionpolicy/wrong", "Ready", "False", "RegistryNotFound");
    assert!(message.contains("registry"), "{message}");

    Registry::applied(&namespace, "registry", "");
    namespace.await_reason("retentionpolicy/wrong", "Ready", "True", "Scheduled");
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn schedule_that_is_none_and_zone_that_is_nowhere_are_conditions() {
    Operator::installed();
    // Each in a place of its own: the words about the first stay until the second was looked at.
    for (name, wrong, words) in [
        ("schedules", "schedule: 'every now and then'", "schedule"),
        ("zones", "timeZone: Atlantis/Capital", "Atlantis"),
    ] {
        let namespace = Namespace::new(name);
        Registry::applied(&namespace, "registry", "");
        namespace.apply(&policy(&format!("unmatchedTags: Delete, {wrong}")));
        let message = namespace.await_reason("retentionpolicy/wrong", "Ready", "False", "InvalidPolicy");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
#[ignore = "needs a cluster: tests/run"]
fn every_field_is_explained() {
    Operator::installed();
    let text = Kubectl::cluster().run("explain registry.spec.deletion.restoreWindow");
    assert!(text.contains("How long the trash keeps"), "{text}");
    let text = Kubectl::cluster().run("explain retentionpolicy.spec.holds");
    assert!(text.contains("restored if they are in the trash"), "{text}");
}
