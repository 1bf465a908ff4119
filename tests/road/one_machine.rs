//! `lagan up`: the same without a cluster.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Child,
};

use crate::support::{Image, Program, RegistryAddress, eventually};

const LAGAN: &str = env!("CARGO_BIN_EXE_lagan");

/// A `lagan up` in a folder of its own.
struct OneMachine {
    folder: PathBuf,
    listen: String,
    address: RegistryAddress,
    process: Child,
}

impl OneMachine {
    fn up(folder: &Path) -> Self {
        // The kernel gives a port that is free; nothing else takes it in the moment until it is used.
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        Self::up_at(folder, &listen)
    }

    fn up_at(folder: &Path, listen: &str) -> Self {
        let process =
            Program::new(LAGAN).args(["up", "--listen", listen]).folder(folder).start_logging(&folder.join("log"));
        let machine = Self {
            folder: folder.to_owned(),
            listen: listen.to_owned(),
            address: RegistryAddress::plain(listen),
            process,
        };
        eventually("lagan up answers", || {
            let answer = machine.address.try_request("GET", "/v2/").map_err(|error| error + &machine.log())?;
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        });
        machine
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Ends it as ctrl-c does, and awaits the end.
    fn ends(mut self) {
        Program::new("kill").args(["-INT", &self.process.id().to_string()]).succeeds();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// `lagan trash` in its folder.
    fn trash(&self, arguments: &[&str]) -> String {
        let server = format!("http://{}", self.listen);
        Program::new(LAGAN).arg("trash").args(arguments).args(["--registry", &server]).folder(&self.folder).succeeds()
    }
}

impl Drop for OneMachine {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs skopeo and crane: tests/run"]
fn image_deleted_on_one_machine_is_restored_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let machine = OneMachine::up(folder.path());
    let image = Image::named("one-machine");
    machine.address.push(&image, "team/app:v1");
    assert!(machine.log().contains(&machine.listen), "it does not say where it answers: {}", machine.log());

    machine.address.delete("team/app:v1");
    let answer = machine.address.get("/v2/team/app/manifests/v1");
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(answer.json()["errors"][0]["detail"]["restorableUntil"].is_string(), "{answer:?}");

    let trash = machine.trash(&["list"]);
    assert!(trash.contains("team/app"), "{trash}");
    machine.trash(&["restore", "team/app:v1"]);
    machine.address.pull_is_identical(&image, "team/app:v1");

    let listen = machine.listen.clone();
    machine.ends();
    let machine = OneMachine::up_at(folder.path(), &listen);
    machine.address.pull_is_identical(&image, "team/app:v1");
    machine.ends();
}
