//! podman: building, and running what was pulled.

use std::{fs, path::Path};

use crate::registry::Registry;
use crate::support::{Output, Program};

on_folder_and_bucket!(image_built_here_is_pushed_pulled_and_run);

fn image_built_here_is_pushed_pulled_and_run(registry: &Registry) {
    let store = Store::in_folder(&registry.folder().join("podman"));
    let name = registry.address.reference("team/built:v1");
    let context = registry.folder().join("context");
    write_context(&context, "it runs");
    store.podman("build").args(["--isolation", "chroot", "--tag", &name]).arg(&context).succeeds();

    store.to_registry("push", registry).arg(&name).succeeds();
    store.podman("rmi").args(["--all", "--force"]).succeeds();
    store.to_registry("pull", registry).arg(&name).succeeds();

    assert_eq!(store.run(&name).into_result().as_deref(), Ok("it runs"));
}

/// Writes a Dockerfile and what it copies.
pub(crate) fn write_context(context: &Path, says: &str) {
    fs::create_dir_all(context).unwrap();
    fs::copy("/bin/busybox", context.join("busybox")).unwrap();
    fs::write(context.join("says"), says).unwrap();
    let lines =
        format!("FROM scratch\nCOPY busybox /bin/sh\nCOPY says /says\nCMD [\"/bin/sh\", \"-c\", \"echo {says}\"]\n");
    fs::write(context.join("Dockerfile"), lines).unwrap();
}

/// Where podman and buildah keep images: a folder that goes with the test.
pub(crate) struct Store {
    arguments: Vec<String>,
}

impl Store {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        // vfs copies whole layers, and works on every filesystem and without a kernel's help.
        let arguments = ["--storage-driver", "vfs", "--root", &at("root"), "--runroot", &at("run")];
        Self { arguments: arguments.map(str::to_owned).to_vec() }
    }

    /// podman or buildah with a verb, to be completed.
    pub(crate) fn program(&self, program: &str, verb: &str) -> Program {
        Program::new(program).args(&self.arguments).arg(verb)
    }

    fn podman(&self, verb: &str) -> Program {
        let podman = Program::new("podman").args(&self.arguments);
        podman.args(["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "runc"]).arg(verb)
    }

    fn to_registry(&self, verb: &str, registry: &Registry) -> Program {
        let podman = self.podman(verb).arg("--quiet").args(["--creds", &registry.login()]);
        podman.arg("--cert-dir").arg(registry.address.folder())
    }

    fn run(&self, image: &str) -> Output {
        // Root in a small virtual machine may lack the right to raise limits, which podman does by default.
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        self.podman("run").args(["--rm", "--network", "none"]).args(limits).arg(image).output()
    }
}
