//! The images that an object names, whatever its kind.

use serde_json::Value;

/// The keys under which a container, an image volume or a container's status names an image.
const KEYS: [&str; 4] = ["image", "imageID", "imageRef", "reference"];

/// Calls `found` with every text in `object` that names an image.
///
/// It looks at every depth instead of at the paths of today's schema: a field that a later Kubernetes adds, a
/// `ControllerRevision`, whose shape is its owner's business, and an object that is not well formed are searched all
/// the same. What it takes for an image and is none (the name of a Ceph image) names nothing that is there.
pub fn each_image(object: &Value, found: &mut impl FnMut(&str)) {
    match object {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if KEYS.contains(&key.as_str()) => found(text),
                    Value::Array(texts) if KEYS.contains(&key.as_str()) => {
                        texts.iter().filter_map(Value::as_str).for_each(&mut *found);
                        each_image(value, found);
                    }
                    value => each_image(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| each_image(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn images(object: &Value) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        each_image(object, &mut |image| {
            all.insert(image.to_owned());
        });
        all
    }

    fn set(images: &[&str]) -> BTreeSet<String> {
        images.iter().map(|image| (*image).to_owned()).collect()
    }

    fn pod_spec() -> Value {
        json!({
            "initContainers": [{"name": "i", "image": "init:1"}],
            "containers": [{"name": "a", "image": "app:1", "env": [{"name": "image", "value": "not:1"}]}],
            "ephemeralContainers": [{"name": "d", "image": "debug:1", "targetContainerName": "a"}],
            "volumes": [{"name": "v", "image": {"reference": "volume:1", "pullPolicy": "Always"}}],
        })
    }

    const OF_SPEC: [&str; 4] = ["init:1", "app:1", "debug:1", "volume:1"];

    #[test]
    fn pods_are_read_with_their_status() {
        let pod = json!({"spec": pod_spec(), "status": {
            "containerStatuses": [{
                "name": "a", "image": "docker.io/library/app:1", "imageID": "sha256:a",
                "volumeMounts": [{"name": "v", "volumeStatus": {"image": {"imageRef": "volume@sha256:b"}}}],
            }],
            "initContainerStatuses": [{"name": "i", "image": "sha256:c", "imageID": "init@sha256:c"}],
            "ephemeralContainerStatuses": [{"name": "d", "image": "debug:1", "imageID": "debug@sha256:d"}],
        }});
        let mut expected = set(&OF_SPEC);
        expected.extend(set(&[
            "docker.io/library/app:1",
            "sha256:a",
            "volume@sha256:b",
            "sha256:c",
            "init@sha256:c",
            "debug@sha256:d",
        ]));
        assert_eq!(images(&pod), expected);
    }

    #[test]
    fn templates_are_read_wherever_they_are() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod_spec()});
        for object in [
            json!({"spec": {"replicas": 0, "template": template}}),
            json!({"spec": {"suspend": true, "jobTemplate": {"spec": {"template": template}}}}),
            json!({"template": template}),
            json!({"revision": 3, "data": {"spec": {"template": {"$patch": "replace", "spec": pod_spec()}}}}),
        ] {
            assert_eq!(images(&object), set(&OF_SPEC), "{object}");
        }
    }

    #[test]
    fn unknown_shapes_are_searched_too() {
        let odd = json!({"data": [[{"image": "a:1"}, 7, null], {"image": {"image": "b:1"}}, {"image": 3, "x": "c:1"}]});
        assert_eq!(images(&odd), set(&["a:1", "b:1"]));
        assert_eq!(images(&json!({"data": {"image": ["a:1", {"image": "b:1"}, 7]}})), set(&["a:1", "b:1"]));
        assert_eq!(images(&json!("image")), set(&[]));
    }
}
