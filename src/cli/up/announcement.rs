//! What a user needs next, once a registry is there.

use std::net::SocketAddr;

use crate::api::v1alpha1::DeletionMode;

use super::keys::{ADMIN, Keys};
use super::site::{Certificate, Site, Users};

/// Where a registry answers, and commands to try, ready to be pasted.
///
/// # Errors
/// If the password cannot be read.
pub(super) fn announcement(site: &Site, keys: &Keys, address: SocketAddr) -> anyhow::Result<String> {
    let reached = reached(address);
    let scheme = if site.certificate == Certificate::None { "http" } else { "https" };
    let mut lines = vec![format!("Serving {} on {scheme}://{reached} from {}", site.name(), site.config.storage)];
    let (verify, ca) = match &site.certificate {
        Certificate::None => ("--dest-tls-verify=false".to_owned(), String::new()),
        Certificate::Given { .. } => (String::new(), String::new()),
        Certificate::SelfSigned => {
            let trust = keys.trust();
            (format!("--dest-cert-dir={}", trust.display()), format!(" --ca {}", trust.join("ca.crt").display()))
        }
    };
    let (login, user) = match &site.users {
        Users::Everybody => (String::new(), String::new()),
        Users::Htpasswd(_) => ("--dest-creds=USER:PASSWORD".to_owned(), " --username USER --password-stdin".to_owned()),
        Users::Admin => {
            lines.push(format!(
                "  user {ADMIN}, password {} (in {})",
                keys.admin_password()?.trim_end(),
                keys.admin_file().display()
            ));
            let password = format!("\"$(cat {})\"", keys.admin_file().display());
            (
                format!("--dest-creds={ADMIN}:{password}"),
                format!(" --username {ADMIN} --password-stdin <{}", keys.admin_file().display()),
            )
        }
    };
    let copy =
        ["skopeo copy", &verify, &login, "docker://docker.io/library/alpine:3", &format!("docker://{reached}/app:1")];
    let copy: Vec<&str> = copy.into_iter().filter(|part| !part.is_empty()).collect();
    lines.push(format!("  push:    {}", copy.join(" ")));
    if site.config.deletion.mode == DeletionMode::Soft {
        let registry = format!("--registry {scheme}://{reached}{ca}");
        let window = &site.config.deletion.restore_window;
        lines.push(format!("  undo:    lagan trash restore app:1 {registry}{user}   (for {window} after a delete)"));
        lines.push(format!("  look:    lagan trash list {registry}{user}"));
    }
    lines.push("  stop:    Ctrl+C; what was pushed stays".to_owned());
    Ok(lines.join("\n"))
}

/// The address as this machine reaches it: nobody can connect to 0.0.0.0.
fn reached(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_address_is_reached_as_localhost() {
        assert_eq!(reached("0.0.0.0:5000".parse().unwrap()), "localhost:5000");
        assert_eq!(reached("[::]:5001".parse().unwrap()), "localhost:5001");
        assert_eq!(reached("127.0.0.1:5000".parse().unwrap()), "127.0.0.1:5000");
    }
}
