//! Why containers ended that do not become ready: what a registry says that cannot open its bucket.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kube::{Api, Client, api::ListParams};

use crate::operator::{apply, labels};

use super::validate::{Storage, ValidRegistry};

/// `lagan serve` ends so when the object store does not answer, or has no such bucket.
const STORAGE_UNAVAILABLE: i32 = 69;
/// `lagan serve` ends so when the object store refuses the credentials.
const STORAGE_REFUSED: i32 = 77;

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub cause: EndingCause,
    /// The last line that it wrote.
    pub message: String,
}

/// Why a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndingCause {
    /// The object store did not answer, or has no such bucket.
    Unavailable,
    /// The object store refused the credentials.
    Refused,
}

/// How the containers of a Registry ended last that are not ready. Only a bucket is asked for so.
///
/// # Errors
///
/// When the API server does not answer.
pub async fn endings(client: &Client, registry: &ValidRegistry) -> Result<Vec<Ending>, apply::Error> {
    if registry.storage != Storage::Bucket || registry.spec.replicas == 0 {
        return Ok(Vec::new());
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), &registry.namespace);
    let params = ListParams::default().labels(&labels::selector_text(&registry.name));
    let pods = api.list(&params).await.map_err(|source| apply::Error::api::<Pod>("list", &registry.name, source))?;
    Ok(pods.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).flat_map(of_pod).collect())
}

fn of_pod(pod: &Pod) -> Vec<Ending> {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    containers.iter().filter(|container| !container.ready).filter_map(of_container).collect()
}

fn of_container(container: &ContainerStatus) -> Option<Ending> {
    let terminated = [container.state.as_ref(), container.last_state.as_ref()];
    let ended: &ContainerStateTerminated =
        terminated.into_iter().flatten().find_map(|state| state.terminated.as_ref())?;
    let cause = match ended.exit_code {
        STORAGE_UNAVAILABLE => EndingCause::Unavailable,
        STORAGE_REFUSED => EndingCause::Refused,
        _ => return None,
    };
    let last = ended.message.as_deref().unwrap_or_default().trim_end().lines().last().unwrap_or_default();
    Some(Ending { cause, message: last.trim_start_matches("lagan: ").to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(container: Value) -> Option<(EndingCause, String)> {
        let mut container = container;
        for (key, value) in [("name", "registry"), ("image", "x"), ("imageID", "x")] {
            container[key] = json!(value);
        }
        container["restartCount"] = json!(1);
        let pod =
            serde_json::from_value(json!({"metadata": {}, "status": {"containerStatuses": [container]}})).unwrap();
        of_pod(&pod).pop().map(|ending| (ending.cause, ending.message))
    }

    fn ended(code: i32) -> Value {
        json!({"terminated": {"exitCode": code, "message": "starting\nlagan: no such bucket\n"}})
    }

    #[test]
    fn container_that_ended_for_its_bucket_says_why() {
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let found = of(json!({"ready": false, "state": waiting, "lastState": ended(69)}));
        assert_eq!(found, Some((EndingCause::Unavailable, "no such bucket".to_owned())));
        let found = of(json!({"ready": false, "state": ended(77)}));
        assert_eq!(found.map(|(cause, _)| cause), Some(EndingCause::Refused));
    }

    #[test]
    fn others_say_nothing_of_the_bucket() {
        assert_eq!(of(json!({"ready": false, "state": ended(1)})), None);
        assert_eq!(of(json!({"ready": false, "state": {"running": {}}})), None);
        assert_eq!(of(json!({"ready": true, "state": {"running": {}}, "lastState": ended(69)})), None);
    }
}
