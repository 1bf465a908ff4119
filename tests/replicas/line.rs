//! A line between two processes that can be cut.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes on what comes to an address of its own. It is there until the test ends.
pub(crate) struct Line {
    /// What callers connect to.
    pub(crate) address: SocketAddr,
    is_cut: watch::Sender<bool>,
}

impl Line {
    /// A line to an address where somebody will listen.
    pub(crate) async fn to(called: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_cut, cuts) = watch::channel(false);
        tokio::spawn(pass(listener, called, cuts));
        Self { address, is_cut }
    }

    /// What goes through it ends when it is cut, and what comes meanwhile is refused.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }
}

async fn pass(listener: TcpListener, called: SocketAddr, mut cuts: watch::Receiver<bool>) {
    loop {
        let Ok((caller, _)) = listener.accept().await else { return };
        if !*cuts.borrow_and_update() {
            tokio::spawn(connect(caller, called, cuts.clone()));
        }
    }
}

async fn connect(mut caller: TcpStream, called: SocketAddr, mut cuts: watch::Receiver<bool>) {
    let Ok(mut called) = TcpStream::connect(called).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut caller, &mut called) => {}
        _ = cuts.wait_for(|is_cut| *is_cut) => {}
    }
}
