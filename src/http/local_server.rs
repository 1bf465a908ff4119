//! The control listener of one machine: a socket in the folder of a registry, for commands of who owns the folder.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Server, peer::Peer, server::drive};

/// How many commands are answered at once: people's.
const MAX_COMMANDS: usize = 16;

/// How long to wait after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Server {
    /// As [`Self::serve`], for processes of this machine that run as the same user, or as root. Others are cut off: who
    /// may write the folder can do everything to what is in it anyway, and nobody else.
    pub async fn serve_local(self, listener: UnixListener, shutdown: CancellationToken) {
        let mut commands = JoinSet::new();
        loop {
            let has_room = commands.len() < MAX_COMMANDS;
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = commands.join_next() => {}
                accepted = listener.accept(), if has_room => match accepted {
                    Ok((stream, _)) => self.begin(stream, &mut commands, &shutdown),
                    Err(error) => {
                        warn!(error = &error as &(dyn std::error::Error + 'static), "could not accept a command");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        drop(listener);
        let drained = timeout(self.options.drain_timeout, async { while commands.join_next().await.is_some() {} });
        if drained.await.is_err() {
            commands.shutdown().await;
        }
    }

    fn begin(&self, stream: UnixStream, commands: &mut JoinSet<()>, shutdown: &CancellationToken) {
        let Ok(credentials) = stream.peer_cred() else { return };
        let user = credentials.uid();
        if user != 0 && user != rustix::process::geteuid().as_raw() {
            debug!(user, "cut off a command of another user");
            return;
        }
        let (shared, shutdown) = (self.shared.clone(), shutdown.clone());
        let name = Some(format!("local user {user}").into());
        let peer = Peer { address: Ipv4Addr::LOCALHOST.into(), name, is_tls: false };
        commands.spawn(async move {
            if let Err(error) = drive(&shared, stream, peer, shutdown).await {
                debug!(error = &error as &(dyn std::error::Error + 'static), "a command ended early");
            }
        });
    }
}
