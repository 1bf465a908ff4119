//! What is built, for specs that differ in one thing each.

use serde_json::{Value, json};

use super::{Inputs, Objects, build, claim, claim_patch, image};
use crate::api::serve_config::ServeConfig;
use crate::api::v1alpha1::RegistryEndpoints;
use crate::operator::registry::{endpoints::Endpoints, validate::tests::valid};

const CA: &str = "-----BEGIN CERTIFICATE-----\n";

fn built(spec: Value, node_hosts: &[&str]) -> Objects {
    let node_hosts: Vec<String> = node_hosts.iter().map(|&host| host.to_owned()).collect();
    let published = RegistryEndpoints { nodes: node_hosts.first().cloned(), ..RegistryEndpoints::default() };
    let endpoints = Endpoints { published, node_hosts };
    let inputs = Inputs {
        operator_image: "example.com/lagan:1",
        ca_bundle: Some(CA),
        endpoints: &endpoints,
        referred_hash: Some("5ec2e7"),
    };
    build(&valid(spec), &inputs).unwrap()
}

fn pod(spec: Value) -> Value {
    serde_json::to_value(built(spec, &[]).deployment).unwrap()["spec"]["template"]["spec"].clone()
}

fn data(objects: &Objects, name: &str) -> Option<Value> {
    let found = objects.config_maps.iter().find(|map| map.metadata.name.as_deref() == Some(name))?;
    serde_json::to_value(&found.data).ok()
}

#[test]
fn pod_is_restricted() {
    let pod = pod(json!({}));
    assert_eq!(pod["automountServiceAccountToken"], false);
    let security = json!({"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(pod["securityContext"], security);
    let container = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]}});
    assert_eq!(pod["containers"][0]["securityContext"], container);
}

#[test]
fn platform_that_assigns_users_gets_its_way() {
    assert_eq!(pod(json!({"workload": {"podSecurityContext": {}}}))["securityContext"], json!({}));
}

#[test]
fn workload_is_replaced_and_not_doubled() {
    let deployment = serde_json::to_value(built(json!({"replicas": 0}), &[]).deployment).unwrap();
    assert_eq!(deployment["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(deployment["spec"]["replicas"], 0);
    assert_eq!(deployment["metadata"]["ownerReferences"][0]["uid"], "1");
}

#[test]
fn pod_has_longer_than_it_drains() {
    assert_eq!(pod(json!({"limits": {"drainTimeout": "2m"}}))["terminationGracePeriodSeconds"], 135);
    let replica = pod(json!({"limits": {"drainTimeout": "2m"}, "storage": bucket()}));
    assert_eq!(replica["terminationGracePeriodSeconds"], 160);
    assert_eq!(replica["containers"][0]["lifecycle"], json!({"preStop": {"sleep": {"seconds": 5}}}));
}

#[test]
fn probes_ask_the_port_of_health() {
    let container = pod(json!({}))["containers"][0].clone();
    for (probe, path) in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], "health");
    }
    assert_eq!(container["args"], json!(["serve", "--config", "/etc/lagan/config.yaml"]));
}

#[test]
fn pod_mounts_no_authority_and_no_password() {
    let pod = pod(json!({}));
    let volumes = pod["volumes"].as_array().unwrap();
    let secrets: Vec<_> = volumes.iter().filter(|volume| !volume["secret"].is_null()).collect();
    let names: Vec<_> = secrets.iter().map(|volume| volume["secret"]["secretName"].as_str().unwrap()).collect();
    assert_eq!(names, ["main-control", "main-tls", "main-admin"]);
    assert_eq!(secrets[2]["secret"]["items"], json!([{"key": "htpasswd", "path": "htpasswd"}]));
}

#[test]
fn file_of_serve_is_read_back_and_says_what_the_spec_says() {
    let spec = json!({"deletion": {"mode": "Disabled"}, "tls": {"mode": "Disabled"}, "auth": {"anonymous": "All"},
        "accessMode": "ReadOnly", "limits": {"maxManifestSize": "8Mi"}});
    let file = data(&built(spec, &[]), "main-config").unwrap()["config.yaml"].as_str().unwrap().to_owned();
    let config: ServeConfig = serde_yaml::from_str(&file).unwrap();
    assert!(config.tls.is_none() && config.auth.htpasswd.is_none() && config.control.is_some());
    assert_eq!(config.limits.max_manifest_size.as_bytes(), 8 << 20);
    assert!(file.contains("mode: Disabled") && file.contains("accessMode: ReadOnly"), "{file}");
}

#[test]
fn what_is_read_at_the_start_only_rolls_the_pods() {
    let hash = |spec| {
        let objects = built(spec, &[]);
        let template = serde_json::to_value(&objects.deployment).unwrap()["spec"]["template"]["metadata"].clone();
        assert_eq!(template["annotations"]["lagan.dev/config-hash"], objects.config_hash);
        objects.config_hash
    };
    let plain = hash(json!({}));
    assert_eq!(plain, hash(json!({"expose": {"service": {"type": "NodePort"}}})));
    assert_ne!(plain, hash(json!({"deletion": {"restoreWindow": "24h"}})));
}

#[test]
fn nodes_get_the_files_of_containerd() {
    let objects = built(json!({}), &["10.0.0.1:30500", "10.0.0.2:30500"]);
    let trust = data(&objects, "main-node-trust").unwrap();
    assert_eq!(trust["ca.crt"], CA);
    let expected = r#"server = "https://10.0.0.1:30500"

[host."https://10.0.0.1:30500"]
  capabilities = ["pull", "resolve"]
  ca = "ca.crt"

[host."https://10.0.0.2:30500"]
  capabilities = ["pull", "resolve"]
  ca = "ca.crt"
"#;
    assert_eq!(trust["hosts.toml"], expected);
    assert_eq!(data(&built(json!({}), &[]), "main-node-trust"), None);
    let plain = data(&built(json!({"tls": {"mode": "Disabled"}}), &["a:1"]), "main-node-trust").unwrap();
    assert_eq!(
        plain["hosts.toml"],
        "server = \"http://a:1\"\n\n[host.\"http://a:1\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
    );
}

#[test]
fn services_are_one_for_clients_and_a_headless_one() {
    let spec = json!({"expose": {"service": {"type": "NodePort", "nodePort": 30500, "annotations": {"a": "b"}}}});
    let services = serde_json::to_value(built(spec, &[]).services).unwrap();
    assert_eq!(services[0]["spec"]["type"], "NodePort");
    assert_eq!(services[0]["spec"]["ports"][0]["nodePort"], 30500);
    assert_eq!(services[0]["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(services[1]["metadata"]["name"], "main-control");
    assert_eq!(services[1]["spec"]["clusterIP"], "None");
}

#[test]
fn image_is_the_operators_but_for_what_the_spec_says() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (spec, operators, expected) in [
        (json!({}), "host:5000/lagan:1", "host:5000/lagan:1".to_owned()),
        (json!({"tag": "2"}), "host:5000/lagan:1", "host:5000/lagan:2".to_owned()),
        (json!({"tag": "2"}), "host:5000/lagan", "host:5000/lagan:2".to_owned()),
        (json!({"repository": "mirror/lagan"}), "host/lagan:1", "mirror/lagan:1".to_owned()),
        (json!({"repository": "mirror/lagan"}), "host/lagan@sha256:1", "mirror/lagan@sha256:1".to_owned()),
        (json!({"tag": "2", "digest": digest}), "host/lagan:1", format!("host/lagan@{digest}")),
    ] {
        assert_eq!(image(Some(&serde_json::from_value(spec).unwrap()), operators), expected);
    }
}

#[test]
fn claim_is_made_as_the_template_says() {
    let template = json!({"storageClassName": "fast", "size": "5Gi", "accessModes": ["ReadWriteMany"]});
    let made = claim(&valid(json!({"storage": {"persistentVolumeClaim": {"template": template}}}))).unwrap();
    let made = serde_json::to_value(made).unwrap();
    assert_eq!(made["spec"]["storageClassName"], "fast");
    assert_eq!(made["spec"]["accessModes"], json!(["ReadWriteMany"]));
    assert_eq!(made["spec"]["resources"]["requests"]["storage"], "5Gi");
    assert_eq!(made["metadata"]["ownerReferences"], Value::Null);
    assert!(claim(&valid(json!({"storage": {"persistentVolumeClaim": {"claimName": "theirs"}}}))).is_none());
    assert!(claim(&valid(json!({"storage": {"type": "EmptyDir"}}))).is_none());
}

#[test]
fn claim_that_is_as_it_should_be_is_left_alone() {
    let registry = valid(json!({}));
    let live = claim(&registry).unwrap();
    assert_eq!(claim_patch(&registry, &live), None);
    // A Registry that was made again with another class finds its claim, which cannot change.
    let other = json!({"storage": {"persistentVolumeClaim": {"template": {"storageClassName": "other"}}}});
    assert_eq!(claim_patch(&valid(other), &live), None);
}

const BUCKET: &str = r#"{"type": "S3", "s3": {"bucket": "images", "endpoint": "https://s3.example.com",
    "credentialsSecretRef": {"name": "keys"}, "caBundleRef": {"name": "authorities", "key": "bundle.pem"}}}"#;

fn bucket() -> Value {
    serde_json::from_str(BUCKET).unwrap()
}

#[test]
fn bucket_has_no_volume_and_is_rolled_without_a_gap() {
    let objects = built(json!({"replicas": 3, "storage": bucket()}), &[]);
    let deployment = serde_json::to_value(&objects.deployment).unwrap();
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    assert_eq!((&deployment["spec"]["replicas"], &deployment["spec"]["strategy"]), (&json!(3), &rolling));
    let pod = &deployment["spec"]["template"]["spec"];
    let volumes = pod["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume["name"] != "data"), "{volumes:?}");
    let named = |name: &str| volumes.iter().find(|volume| volume["name"] == name).unwrap();
    assert_eq!(named("storage-credentials")["secret"]["secretName"], "keys");
    let items = json!([{"key": "bundle.pem", "path": "ca.crt"}]);
    assert_eq!(named("storage-authorities")["configMap"]["items"], items);
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts.len(), volumes.len());
    assert!(mounts.iter().all(|mount| mount["readOnly"] == true), "{mounts:?}");
    assert_eq!(deployment["spec"]["template"]["metadata"]["annotations"]["lagan.dev/credentials-hash"], "5ec2e7");
}

#[test]
fn pods_of_a_bucket_know_their_address_and_one_name() {
    let spec = json!({"replicas": 2, "storage": bucket()});
    let container = pod(spec.clone())["containers"][0].clone();
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], "status.podIP");
    assert_eq!(container["env"][1], json!({"name": "LAGAN_ADVERTISE", "value": "$(POD_IP)"}));
    let file = data(&built(spec, &[]), "main-config").unwrap()["config.yaml"].as_str().unwrap().to_owned();
    let config: ServeConfig = serde_yaml::from_str(&file).unwrap();
    assert_eq!(config.storage.to_string(), "s3://images");
    assert_eq!(config.control.unwrap().tls.server_name.as_deref(), Some("main-control.apps.svc"));
    assert!(file.contains("credentialsDirectory: /run/lagan/storage-credentials"), "{file}");
    assert!(file.contains("caBundleFile: /run/lagan/storage-authorities/ca.crt"), "{file}");
    assert_eq!(pod(json!({}))["containers"][0]["env"], Value::Null);
}

#[test]
fn replicas_are_spread_unless_the_spec_says_how() {
    let keys = |workload: Value| -> Vec<String> {
        let pod = pod(json!({"replicas": 2, "storage": bucket(), "workload": workload}));
        let all = pod["topologySpreadConstraints"].as_array().unwrap();
        all.iter().map(|constraint| constraint["topologyKey"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(json!({})), ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
    let own = json!({"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"});
    assert_eq!(keys(json!({"topologySpreadConstraints": [own]})), ["rack"]);
    assert_eq!(pod(json!({}))["topologySpreadConstraints"], Value::Null);
}

#[test]
fn evictions_are_bounded_where_there_are_two() {
    let budget = |replicas: i32, mode: &str| {
        let spec = json!({"replicas": replicas, "storage": bucket(), "podDisruptionBudget": {"mode": mode}});
        built(spec, &[]).disruption_budget.map(|budget| serde_json::to_value(budget).unwrap())
    };
    assert_eq!(budget(1, "Auto"), None);
    assert_eq!(budget(2, "Disabled"), None);
    let two = budget(2, "Auto").unwrap();
    assert_eq!(two["spec"]["maxUnavailable"], 1);
    assert_eq!(two["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"], "main");
}

#[test]
fn redis_is_mounted_with_what_it_refers_to() {
    let redis = json!({"address": "redis:6379", "tls": {"caBundleRef": {"name": "authorities"}},
        "credentialsSecretRef": {"name": "cache"}});
    let spec = json!({"descriptorCache": {"type": "Redis", "redis": redis}});
    let file = data(&built(spec.clone(), &[]), "main-config").unwrap()["config.yaml"].as_str().unwrap().to_owned();
    for line in ["credentialsDirectory: /run/lagan/redis-credentials", "caFile: /run/lagan/redis-authorities/ca.crt"] {
        assert!(file.contains(line), "{file}");
    }
    let pod = pod(spec);
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let paths: Vec<_> = mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
    assert!(paths.contains(&"/run/lagan/redis-credentials") && paths.contains(&"/run/lagan/redis-authorities"));
}

#[test]
fn bucket_that_is_none_is_refused_with_its_field() {
    let endpoints = Endpoints::default();
    let inputs = Inputs { operator_image: "lagan", ca_bundle: None, endpoints: &endpoints, referred_hash: None };
    let wrong = valid(json!({"storage": {"type": "S3", "s3": {"bucket": "Images"}}}));
    match build(&wrong, &inputs) {
        Err(super::Error::Spec(error)) => assert_eq!(error.path, "spec.storage.s3.bucket"),
        other => panic!("{other:?}"),
    }
}
