//! A client's connection, with no more of HTTP/1.1 than a load needs.

use std::{io, net::SocketAddr, pin::Pin};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::TcpSocket,
};
use tokio_rustls::TlsConnector;

/// What the kernel keeps of an answer that is not read yet. Small, so that a slow reader holds the server up, as one
/// behind a slow line does.
const RECEIVE_BUFFER: u32 = 64 << 10;

/// One piece of what is sent or read.
const PIECE: usize = 64 << 10;

/// One piece of an upload: all content is zeros.
static ZEROS: [u8; PIECE] = [0; PIECE];

/// With or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// An open connection to the registry.
pub(crate) struct Connection(BufReader<Pin<Box<dyn Stream>>>);

/// The beginning of an answer.
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) length: u64,
}

impl Connection {
    /// Connects; with a connector, in TLS.
    pub(crate) async fn open(address: SocketAddr, tls: Option<&TlsConnector>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        match tls {
            None => Self(BufReader::new(Box::pin(stream))),
            Some(tls) => {
                let name = ServerName::from(address.ip());
                Self(BufReader::new(Box::pin(tls.connect(name, stream).await.unwrap())))
            }
        }
    }

    /// Sends the beginning of a request whose body has this length.
    pub(crate) async fn send(&mut self, method: &str, path: &str, length: u64) {
        self.send_content(method, path, "application/octet-stream", length).await;
    }

    /// The same of another content type.
    pub(crate) async fn send_content(&mut self, method: &str, path: &str, content_type: &str, length: u64) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: lagan\r\ncontent-length: {length}\r\n\
             content-type: {content_type}\r\n\r\n"
        );
        self.send_bytes(head.as_bytes()).await;
    }

    /// Sends these bytes.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
        self.0.get_mut().flush().await.unwrap();
    }

    /// Sends so many zeros.
    pub(crate) async fn send_zeros(&mut self, mut length: u64) {
        while length > 0 {
            let piece = usize::try_from(length).unwrap_or(PIECE).min(PIECE);
            self.0.get_mut().write_all(&ZEROS[..piece]).await.unwrap();
            length -= piece as u64;
        }
        self.0.get_mut().flush().await.unwrap();
    }

    /// Reads an answer up to its body.
    pub(crate) async fn head(&mut self) -> Head {
        let status = self.line().await;
        let status = status.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut head = Head { status: status.expect("an answer begins with its status"), location: None, length: 0 };
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else { return head };
            match name {
                "location" => head.location = Some(value.to_owned()),
                "content-length" => head.length = value.parse().unwrap(),
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    /// Reads a whole body and drops it.
    pub(crate) async fn read_body(&mut self, length: u64) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        let mut left = length;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let read = self.0.read(&mut piece[..wanted]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= read as u64;
        }
        Ok(())
    }
}
