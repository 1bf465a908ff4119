//! containerd: what nodes pull with. The tests on a cluster run pods; here it fetches content.

use std::{fs, path::Path, process::Child};

use crate::registry::Registry;
use crate::support::{Image, Program, eventually};

on_folder_and_bucket!(image_and_index_are_fetched_whole);

fn image_and_index_are_fetched_whole(registry: &Registry) {
    let containerd = Containerd::started(&registry.folder().join("containerd"));
    let hosts = registry.folder().join("hosts").join(&registry.address.host);
    fs::create_dir_all(&hosts).unwrap();
    let authority = registry.address.authority();
    let text = format!("server = '{}'\nca = '{}'\n", registry.address.url(), authority.display());
    fs::write(hosts.join("hosts.toml"), text).unwrap();

    for (name, image) in [("team/app:v1", Image::named("fetched")), ("team/multi:v1", Image::index("fetched"))] {
        registry.address.push(&image, name);
        let fetch = containerd.ctr().args(["content", "fetch", "--all-platforms", "--user", &registry.login()]);
        fetch.arg("--hosts-dir").arg(registry.folder().join("hosts")).arg(registry.address.reference(name)).succeeds();

        let content = containerd.ctr().args(["content", "ls", "--quiet"]).succeeds();
        for digest in image.layers.iter().chain(&image.children).chain([&image.digest]) {
            assert!(content.contains(digest), "{digest} was not fetched: {content}");
        }
    }
}

/// A containerd of its own, without what runs containers.
struct Containerd {
    process: Child,
    socket: String,
}

impl Containerd {
    fn started(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let socket = at("socket");
        let configuration = format!(
            "version = 3\nroot = '{}'\nstate = '{}'\n\
             disabled_plugins = ['io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', \
             'io.containerd.grpc.v1.cri', 'io.containerd.nri.v1.nri', 'io.containerd.internal.v1.opt']\n\
             [grpc]\naddress = '{socket}'\n",
            at("root"),
            at("state")
        );
        fs::write(at("config.toml"), configuration).unwrap();
        let program = Program::new("setpriv").args(["--pdeathsig", "KILL", "containerd", "--config"]);
        let process = program.arg(at("config.toml")).start_logging(&folder.join("log"));
        let containerd = Self { process, socket };
        eventually("containerd answers", || containerd.ctr().arg("version").output().into_result());
        containerd
    }

    fn ctr(&self) -> Program {
        Program::new("ctr").args(["--address", &self.socket])
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
