//! A listener in front of a server, which writes down what clients say to it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// As what it listens.
#[derive(Clone)]
enum Manner {
    Plain,
    Tls(TlsAcceptor),
    /// Tunnels wherever it is asked to lead to the server.
    Proxy,
}

/// What the clients of each connection said.
type Transcripts = Arc<Mutex<Vec<Arc<Mutex<Vec<u8>>>>>>;

/// Forwards connections, for as long as its test runs.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    transcripts: Transcripts,
}

impl Front {
    pub(crate) async fn plain(endpoint: &str) -> Self {
        Self::start(endpoint, Manner::Plain).await
    }

    pub(crate) async fn with_tls(endpoint: &str, acceptor: TlsAcceptor) -> Self {
        Self::start(endpoint, Manner::Tls(acceptor)).await
    }

    pub(crate) async fn proxy(endpoint: &str) -> Self {
        Self::start(endpoint, Manner::Proxy).await
    }

    async fn start(endpoint: &str, manner: Manner) -> Self {
        let server: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let transcripts = Transcripts::default();
        let all = Arc::clone(&transcripts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let transcript = Arc::default();
                all.lock().unwrap().push(Arc::clone(&transcript));
                tokio::spawn(connection(client, server, manner.clone(), transcript));
            }
        });
        Self { address, transcripts }
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        let transcripts = self.transcripts.lock().unwrap();
        transcripts.iter().flat_map(|transcript| heads(&transcript.lock().unwrap())).collect()
    }

    /// The same, in one text.
    pub(crate) fn heard(&self) -> String {
        self.heads().concat()
    }
}

/// The heads of one connection's requests, whose bodies are as long as they say.
fn heads(mut said: &[u8]) -> Vec<String> {
    let mut heads = Vec::new();
    while let Some(end) = said.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&said[..end + 4]).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        said = said.get(end + 4 + length..).unwrap_or_default();
        heads.push(head);
    }
    heads
}

async fn connection(client: TcpStream, server: SocketAddr, manner: Manner, transcript: Arc<Mutex<Vec<u8>>>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    match manner {
        Manner::Plain => forward(client, server, &transcript).await,
        Manner::Tls(acceptor) => {
            // Who does not trust it goes away.
            let Ok(client) = acceptor.accept(client).await else { return };
            forward(client, server, &transcript).await;
        }
        Manner::Proxy => {
            let mut client = client;
            if read_head(&mut client, &transcript).await {
                let _ = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
                forward(client, server, &transcript).await;
            }
        }
    }
}

/// Reads up to an empty line; whether there was one.
async fn read_head(client: &mut TcpStream, transcript: &Mutex<Vec<u8>>) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return false };
        head.push(byte);
    }
    transcript.lock().unwrap().append(&mut head);
    true
}

async fn forward(client: impl AsyncRead + AsyncWrite, server: TcpStream, transcript: &Mutex<Vec<u8>>) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        let mut piece = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_client.read(&mut piece).await {
            transcript.lock().unwrap().extend_from_slice(&piece[..read]);
            if to_server.write_all(&piece[..read]).await.is_err() {
                break;
            }
        }
        let _ = to_server.shutdown().await;
    };
    let back = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(there, back);
}
