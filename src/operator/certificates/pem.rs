//! What a certificate in PEM says about itself.

use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    pem::Pem,
    prelude::X509Certificate,
};

use super::Error;

/// From when to when a certificate is valid, for whom, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// DNS names and addresses, in order.
    pub names: Vec<String>,
    /// Whether it may be shown by the one that is called.
    pub serves: bool,
    /// Whether it may be shown by the one that calls.
    pub calls: bool,
}

/// Reads the first certificate of a PEM text.
///
/// # Errors
///
/// When the text begins with no certificate.
pub fn validity(pem: &str) -> Result<Validity, Error> {
    with_certificate(pem, |certificate| {
        let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|_| Error::Unreadable);
        let names = certificate.subject_alternative_name().map_err(|_| Error::Unreadable)?;
        let mut names: Vec<String> =
            names.iter().flat_map(|san| &san.value.general_names).filter_map(name_of).collect();
        names.sort();
        let purposes = certificate.extended_key_usage().map_err(|_| Error::Unreadable)?.map(|usage| usage.value);
        Ok(Validity {
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
            names,
            serves: purposes.is_none_or(|purposes| purposes.any || purposes.server_auth),
            calls: purposes.is_none_or(|purposes| purposes.any || purposes.client_auth),
        })
    })
}

/// The public key of a certificate, in DER as X.509 has it.
pub(super) fn public_key(pem: &str) -> Result<Vec<u8>, Error> {
    with_certificate(pem, |certificate| Ok(certificate.public_key().raw.to_vec()))
}

/// Whether `authority` issued `certificate`, by the identifier of the key that signed it.
pub(super) fn issued_by(certificate: &str, authority: &str) -> bool {
    let key_of = |pem: &str, find: fn(&ParsedExtension<'_>) -> Option<Vec<u8>>| {
        with_certificate(pem, |c| Ok(c.extensions().iter().find_map(|e| find(e.parsed_extension())))).ok().flatten()
    };
    let issuer = key_of(certificate, |extension| match extension {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    });
    let subject = key_of(authority, |extension| match extension {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    issuer.is_some() && issuer == subject
}

fn with_certificate<T>(pem: &str, read: impl FnOnce(&X509Certificate<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let block = Pem::iter_from_buffer(pem.as_bytes()).next().ok_or(Error::Unreadable)?;
    let block = block.map_err(|_| Error::Unreadable)?;
    read(&block.parse_x509().map_err(|_| Error::Unreadable)?)
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    }
}
