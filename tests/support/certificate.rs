//! A certificate in files.

use std::{fs, path::Path};

use rcgen::{CertificateParams, KeyPair};

use super::issuer::new_issuer;

/// Writes tls.crt with tls.key for some names, and ca.crt of the new authority that signed it.
pub(crate) fn write_certificate(folder: &Path, names: &[&str]) {
    let authority = new_issuer();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}
