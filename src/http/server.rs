//! Connections: accepted, bounded, and at the end drained.

use std::{convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    Metrics, Service, TlsIdentity,
    connection_shares::{ConnectionShares, Seat},
    peer::Peer,
    tls,
    unparsed::{Progress, Watched},
};

/// How long a client may stay connected without a request after the first one. Longer than the 90 s for which Go's
/// clients keep idle connections, so that they let go first and never send into a closing one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a client may take over a request's head, and to begin with the first: who holds connections without asking
/// for anything keeps others out.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a connection is read ahead, heads included, and how much of an answer is enough to wait for the socket
/// with: 1,000 slow readers then hold one chunk each, and not three. `tests/memory` loads a registry with that many.
const READ_BUFFER: usize = 32 << 10;

/// How much TLS holds that the socket has not taken yet: two records, which for 1,000 slow readers are 32 MiB.
const TLS_WRITE_BUFFER: usize = 32 << 10;

/// How long to wait after an accept that failed: mostly for want of file descriptors, which time brings back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of a listener.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// How many connections may be open at once; more wait in the kernel's queue. One address has half of them at most,
    /// and what comes from it beyond that is closed at once.
    pub max_connections: usize,
    /// How long requests in flight may take to end after a shutdown began.
    pub drain_timeout: Duration,
}

/// A service on a listener.
#[derive(Debug)]
pub struct Server {
    pub(super) shared: Arc<Shared>,
    pub(super) options: ServerOptions,
}

#[derive(Debug)]
pub(super) struct Shared {
    service: Service,
    tls: Option<TlsIdentity>,
    metrics: Arc<Metrics>,
}

impl Server {
    /// A server; without an identity it speaks plain HTTP.
    #[must_use]
    pub fn new(service: Service, tls: Option<TlsIdentity>, metrics: Arc<Metrics>, options: ServerOptions) -> Self {
        Self { shared: Arc::new(Shared { service, tls, metrics }), options }
    }

    /// Serves until `shutdown` is cancelled, and then until the requests in flight are answered or the drain's time
    /// is over; what is not done by then is cut.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let room = Room {
            permits: Arc::new(Semaphore::new(self.options.max_connections)),
            shares: ConnectionShares::new(self.options.max_connections),
        };
        let mut connections = JoinSet::new();
        while let Some((stream, place)) = next_connection(&listener, &room, &mut connections, &shutdown).await {
            connections.spawn(serve_connection(self.shared.clone(), stream, place, shutdown.clone()));
        }
        // Whoever connects from now on is refused, and finds another replica or tries again.
        drop(listener);
        let drained = timeout(self.options.drain_timeout, async { while connections.join_next().await.is_some() {} });
        if drained.await.is_err() {
            warn!(connections = connections.len(), "cutting connections that did not drain in time");
            connections.shutdown().await;
        }
    }
}

/// The connections that may be open.
struct Room {
    permits: Arc<Semaphore>,
    shares: ConnectionShares,
}

/// The place of one connection, until it is dropped.
type Place = (OwnedSemaphorePermit, Seat);

/// The next connection, as soon as there is room for one; `None` at shutdown.
async fn next_connection(
    listener: &TcpListener,
    room: &Room,
    connections: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> Option<((TcpStream, IpAddr), Place)> {
    let accept = async {
        let permit = room.permits.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    if let Some(seat) = room.shares.take(from.ip()) {
                        return Some(((stream, from.ip()), (permit, seat)));
                    }
                    debug!(client = %from.ip(), "closed a connection: its address has its share of them");
                }
                Err(error) => {
                    warn!(error = &error as &(dyn std::error::Error + 'static), "could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::pin!(accept);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return None,
            accepted = &mut accept => return accepted,
            // The set would grow with every connection that ended.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(
    shared: Arc<Shared>,
    (stream, address): (TcpStream, IpAddr),
    _place: Place,
    shutdown: CancellationToken,
) {
    shared.metrics.connection_opens();
    let served = match handshake(&shared, stream).await {
        Ok(Connection::Plain(stream)) => {
            drive(&shared, stream, Peer { address, name: None, is_tls: false }, shutdown).await
        }
        Ok(Connection::Tls(stream, name)) => {
            drive(&shared, stream, Peer { address, name, is_tls: true }, shutdown).await
        }
        Err(error) => {
            debug!(error = &error as &(dyn std::error::Error + 'static), "connection was not established");
            Ok(())
        }
    };
    // Clients that go away are everyday life, and the request's own line says so.
    if let Err(error) = served {
        debug!(error = &error as &(dyn std::error::Error + 'static), "connection ended early");
    }
    shared.metrics.connection_closes();
}

enum Connection {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>, Option<Arc<str>>),
}

async fn handshake(shared: &Shared, stream: TcpStream) -> io::Result<Connection> {
    // Small answers would wait 40 ms for the client's delayed acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let Some(identity) = &shared.tls else { return Ok(Connection::Plain(stream)) };
    let acceptor = TlsAcceptor::from(identity.current().await);
    let mut stream = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let (_, session) = stream.get_mut();
    session.set_buffer_limit(Some(TLS_WRITE_BUFFER));
    let peer = session.peer_certificates().and_then(|chain| chain.first()).and_then(tls::common_name);
    Ok(Connection::Tls(Box::new(stream), peer.map(Into::into)))
}

/// Answers the requests of one connection.
pub(super) async fn drive(
    shared: &Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    shutdown: CancellationToken,
) -> hyper::Result<()> {
    let progress = Progress::default();
    let stream = Watched::new(stream, progress.clone(), HEAD_TIMEOUT);
    let service = service_fn(move |request| {
        let (shared, peer, answering) = (shared.clone(), peer.clone(), progress.begin());
        async move {
            let response = shared.service.respond(request, &peer).await;
            Ok::<_, Infallible>(response.map(|body| body.answering(answering)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        // Who said that nothing more will come still wants the answer.
        .half_close(true)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}
