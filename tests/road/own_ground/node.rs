//! The node of the harness's cluster, as its administrator has it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{Kubectl, Program};

/// The node: this machine, in the cluster's network namespace.
pub(super) struct Node;

impl Node {
    /// Puts a Registry's `<name>-node-trust` in place, with nothing added: the folder is named by
    /// `status.endpoints.nodes`, the files by the map's keys.
    pub(super) fn trust(endpoint: &str, trust: &Value) {
        let folder = variable("LAGAN_CERTS_D").join(endpoint);
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in trust["data"].as_object().unwrap() {
            fs::write(folder.join(name), content.as_str().unwrap()).unwrap();
        }
    }

    /// The process of a pod's first container.
    pub(super) fn process_of(pod: &Value) -> u32 {
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
        let id = id.strip_prefix("containerd://").unwrap();
        let tasks = ctr().args(["tasks", "list"]).succeeds();
        let task = tasks.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("no {id} in {tasks}"));
        task.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Sends a signal to a process on the node.
    pub(super) fn signal(signal: &str, process: u32) {
        Program::new("kill").arg(format!("-{signal}")).arg(process.to_string()).succeeds();
    }

    /// The folder of the volume that a claim is bound to.
    pub(super) fn volume_of(kubectl: &Kubectl, claim: &str) -> PathBuf {
        let volume = kubectl.get(&format!("pvc/{claim}"))["spec"]["volumeName"].as_str().unwrap().to_owned();
        let volume = Kubectl::cluster().get(&format!("pv/{volume}"));
        PathBuf::from(volume["spec"]["local"]["path"].as_str().expect("a volume of tests/cluster"))
    }

    /// Makes the API server unreachable, until what is returned is dropped.
    pub(super) fn without_api_server() -> WithoutApiServer {
        apiserver("stop");
        WithoutApiServer
    }
}

/// While this lives, nobody reaches the API server.
pub(super) struct WithoutApiServer;

impl Drop for WithoutApiServer {
    fn drop(&mut self) {
        apiserver("start");
    }
}

fn apiserver(verb: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/apiserver");
    Program::new(script).arg(verb).succeeds();
}

fn ctr() -> Program {
    Program::new("ctr").arg("--address").arg(variable("LAGAN_CONTAINERD_ADDRESS")).args(["--namespace", "k8s.io"])
}

fn variable(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run this test through `tests/run`")).into()
}
