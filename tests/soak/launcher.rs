//! Starting processes that end with the test.

use std::{
    io,
    process::{Child, Command},
    sync::mpsc,
    thread,
};

use tokio::sync::oneshot;

type Order = (Command, oneshot::Sender<io::Result<Child>>);

/// A thread that starts processes, and lives as long as the test: a process that dies with its parent dies with the thread
/// that started it, and the threads of a runtime's pool end when they are idle.
#[derive(Debug, Clone)]
pub(crate) struct Launcher(mpsc::Sender<Order>);

impl Launcher {
    pub(crate) fn new() -> Self {
        let (orders, received) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, started) in received {
                let _ = started.send(command.spawn());
            }
            // The last order was given long before the last process may end.
            loop {
                thread::park();
            }
        });
        Self(orders)
    }

    /// Starts a program, which dies with this one even if that is killed.
    pub(crate) async fn start(&self, command: Command) -> Child {
        let (started, child) = oneshot::channel();
        self.0.send((command, started)).unwrap();
        child.await.unwrap().unwrap()
    }
}
