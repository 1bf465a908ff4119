//! Amazon's token service, as far as a workload's token is exchanged for credentials.

use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::registry::Credentials;

/// Gives the same credentials to everybody.
pub(crate) struct TokenService {
    pub(crate) url: String,
    heard: Arc<Mutex<String>>,
}

impl TokenService {
    pub(crate) async fn start(credentials: &Credentials) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heard, answer) = (Arc::<Mutex<String>>::default(), answer(credentials));
        let notes = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (notes, answer) = (Arc::clone(&notes), answer.clone());
                let exchange = service_fn(move |request: Request<Incoming>| {
                    let (notes, answer) = (Arc::clone(&notes), answer.clone());
                    async move {
                        let query = request.uri().query().unwrap_or_default().to_owned();
                        let body = request.into_body().collect().await?.to_bytes();
                        let body = String::from_utf8_lossy(&body);
                        notes.lock().unwrap().extend([&query, " ", &body, "\n"]);
                        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(answer))))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), exchange));
            }
        });
        Self { url, heard }
    }

    /// What it was asked.
    pub(crate) fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}

fn answer(credentials: &Credentials) -> String {
    let Credentials { key, secret } = credentials;
    format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>of-the-session</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
         </AssumeRoleWithWebIdentityResponse>"
    )
}
