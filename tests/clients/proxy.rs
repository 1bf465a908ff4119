//! A line that breaks.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// Longer than a client takes to send what a test sends.
const PATIENCE: Duration = Duration::from_secs(120);

/// What happens to the connection that carries one byte too many.
#[derive(Clone, Copy)]
pub(crate) enum Break {
    /// It is cut, in both directions.
    Cut,
    /// It stays, and carries nothing any more.
    Stall,
}

/// Passes connections on, and breaks one once so many bytes went to the registry in all. Later ones work.
pub(crate) struct Proxy {
    pub(crate) host: String,
    broken: Receiver<()>,
}

struct Line {
    registry: SocketAddr,
    after: u64,
    how: Break,
    carried: AtomicU64,
    broke: Sender<()>,
}

impl Proxy {
    pub(crate) fn to(registry: SocketAddr, how: Break, after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (broke, broken) = channel();
        let line = Arc::new(Line { registry, after, how, carried: AtomicU64::new(0), broke });
        // Ends with the program: it has nothing to give back.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let line = Arc::clone(&line);
                thread::spawn(move || line.connect(client));
            }
        });
        Self { host, broken }
    }

    /// Waits until the line has broken.
    pub(crate) fn await_break(&self) {
        self.broken.recv_timeout(PATIENCE).expect("so much was never sent through the proxy");
    }
}

impl Line {
    #[expect(clippy::needless_pass_by_value, reason = "it ends with the connection")]
    fn connect(&self, client: TcpStream) {
        let Ok(registry) = TcpStream::connect(self.registry) else { return };
        let back = (registry.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || carry(&back.0, &back.1, |_| true));
        carry(&client, &registry, |bytes| {
            let before = self.carried.fetch_add(bytes, Ordering::SeqCst);
            // One piece crosses the mark, whichever connection carries it.
            let breaks = before <= self.after && before + bytes > self.after;
            if breaks {
                let _ = self.broke.send(());
                if matches!(self.how, Break::Stall) {
                    // Until the client goes away.
                    while (&client).read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
                }
            }
            !breaks
        });
        let _ = client.shutdown(Shutdown::Both);
        let _ = registry.shutdown(Shutdown::Both);
    }
}

/// Carries bytes until one side ends or `goes_on` says no, which the piece it is asked about does not survive.
fn carry(mut from: &TcpStream, mut to: &TcpStream, goes_on: impl Fn(u64) -> bool) {
    let mut piece = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        if !goes_on(read as u64) || to.write_all(&piece[..read]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
