//! How the process ends: drained at the first signal, at once at the second.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals that ask the process to end.
pub(super) struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    /// Begins to listen for SIGTERM and SIGINT, which then no longer end the process by themselves.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let handler = |kind| signal(kind).context("could not listen for signals");
        Ok(Self { terminate: handler(SignalKind::terminate())?, interrupt: handler(SignalKind::interrupt())? })
    }

    /// Runs `work`, which is handed a token that the first signal cancels. It then has the time it wants to finish.
    ///
    /// # Errors
    /// What `work` answers; or that it was cut off, after a second signal.
    pub(super) async fn run<F>(mut self, work: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let drain = CancellationToken::new();
        let mut work = std::pin::pin!(work(drain.clone()));
        tokio::select! {
            ended = &mut work => return ended,
            () = self.next() => {}
        }
        tracing::info!("stopping: requests in progress may finish, a second signal cuts them off");
        drain.cancel();
        tokio::select! {
            ended = work => ended,
            () = self.next() => anyhow::bail!("stopped at once by a second signal; what was in progress is cut off"),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
