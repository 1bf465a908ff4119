//! How the API server is reached.

use std::time::Duration;

use kube::{Client, Config, runtime::watcher};

/// How long a kind is watched before it is watched anew: a watch that has died without a word is missed for half a
/// minute at most, and a dozen requests a minute are nothing to an API server.
const WATCH_SECONDS: u32 = 30;

/// How long an answer may make no progress. Longer than a watch of nothing lasts.
const READ_TIMEOUT: Duration = Duration::from_secs(45);

/// A client of the API server that this process is configured for.
///
/// # Errors
/// Where there is no such configuration.
pub(super) async fn connect() -> Result<Client, kube::Error> {
    let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    Client::try_from(bounded(config, READ_TIMEOUT))
}

/// How each kind is watched.
pub(super) fn watch_config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// Requests that end. Without a limit, one that the API server took and never answered, as may happen while it ends or
/// starts, would leave a controller blind.
fn bounded(mut config: Config, read_timeout: Duration) -> Config {
    config.read_timeout = Some(read_timeout);
    // A connection that was idle for long is as good as a new one.
    config.reset_reader_on_write = true;
    config
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::{Api, api::ListParams};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn request_that_is_never_answered_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let silent = tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Ok(connection) = listener.accept().await {
                taken.push(connection);
            }
        });
        let client = Client::try_from(bounded(Config::new(url), Duration::from_millis(200))).unwrap();
        let pods: Api<Pod> = Api::all(client);
        // The client tries again by itself; in the end it gives up.
        let listed = tokio::time::timeout(Duration::from_secs(60), pods.list(&ListParams::default())).await;
        assert!(listed.unwrap().is_err());
        silent.abort();
    }
}
