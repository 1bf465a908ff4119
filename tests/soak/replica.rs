//! One process of a registry.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::Mutex,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::serve;
use crate::launcher::Launcher;
use crate::memory::kib;

/// How long one may take until it is ready, or has ended in order: it finishes what it has in flight, and a replica waits
/// for others that are gone.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often to look.
const PAUSE: Duration = Duration::from_millis(50);

/// What a process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Serving,
    /// SIGSTOP.
    Paused,
    /// It was killed, it ends, or it begins.
    Down,
}

/// A `lagan serve` that is ended and started again, always on the same ports.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    health: SocketAddr,
    folder: PathBuf,
    launcher: Launcher,
    divisor: u32,
    condition: Mutex<Condition>,
    process: Mutex<Option<Child>>,
}

impl Replica {
    /// Starts one whose files are in a folder, and awaits that it is ready. `configuration` is the rest of its file.
    pub(crate) async fn start(launcher: &Launcher, divisor: u32, folder: &Path, configuration: &str) -> Self {
        let [address, health] = [free_address(), free_address()];
        fs::create_dir_all(folder).unwrap();
        let file = format!("listen: {address}\nhealth: {{listen: '{health}'}}\n{configuration}\n");
        fs::write(folder.join("serve.yaml"), file).unwrap();
        let (condition, process) = (Mutex::new(Condition::Down), Mutex::default());
        let (launcher, folder) = (launcher.clone(), folder.to_owned());
        let this = Self { address, health, folder, launcher, divisor, condition, process };
        this.restart().await.unwrap();
        this
    }

    /// Starts it, and awaits that it is ready.
    ///
    /// # Errors
    /// With the reason, when it ends or does not get ready.
    pub(crate) async fn restart(&self) -> Result<(), String> {
        let mut command = serve(&self.folder);
        command.env("LAGAN_TEST_TIMING_DIVISOR", self.divisor.to_string());
        let process = self.launcher.start(command).await;
        *self.process.lock().unwrap() = Some(process);
        let began = Instant::now();
        while !self.is_ready().await {
            if let Some(status) = self.ended() {
                return Err(format!("it ended at its start, {status}: see {}", self.log().display()));
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("it did not get ready: see {}", self.log().display()));
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.set(Condition::Serving);
        Ok(())
    }

    pub(crate) fn condition(&self) -> Condition {
        *self.condition.lock().unwrap()
    }

    fn set(&self, condition: Condition) {
        *self.condition.lock().unwrap() = condition;
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.set(Condition::Down);
        if let Some(mut process) = self.process.lock().unwrap().take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(crate) fn pause(&self) {
        self.set(Condition::Paused);
        self.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
        self.set(Condition::Serving);
    }

    /// SIGTERM, and until it has ended.
    ///
    /// # Errors
    /// With the reason, where it does not end, or not well.
    pub(crate) async fn end_in_order(&self) -> Result<(), String> {
        self.set(Condition::Down);
        self.signal(Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match self.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("it ended with {status} on SIGTERM: see {}", self.log().display())),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
        Err(format!("it did not end on SIGTERM: see {}", self.log().display()))
    }

    /// The id of its process, where it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.lock().unwrap().as_ref().map(Child::id)
    }

    /// What it has resident, in bytes; 0 where it does not run.
    pub(crate) fn resident(&self) -> u64 {
        self.id().and_then(|id| kib(id, "VmRSS")).unwrap_or_default() * 1024
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = self.process.lock().unwrap().as_ref() {
            let id = i32::try_from(process.id()).unwrap();
            kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
        }
    }

    fn ended(&self) -> Option<ExitStatus> {
        self.process.lock().unwrap().as_mut().and_then(|process| process.try_wait().unwrap())
    }

    async fn is_ready(&self) -> bool {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().unwrap();
        let answer = client.get(format!("http://{}/readyz", self.health)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address of the loopback interface that nobody listens on, below the system's range of ports for clients, so that
/// none of those takes it while its process is down.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(12_000..20_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
