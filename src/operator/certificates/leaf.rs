//! A certificate that an authority signed, with its key.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use super::{Authority, DAY_HOURS, Error, authority::text, pem, set_validity};

/// A quarter of a year: short enough that rotation is exercised, long enough that an operator that was away for
/// a while finds everything running.
const VALID_FOR: SignedDuration = SignedDuration::from_hours(90 * DAY_HOURS);

/// A month before its end a certificate is replaced.
const REPLACE_BEFORE: SignedDuration = SignedDuration::from_hours(30 * DAY_HOURS);

/// The common name's bound in X.509, in characters.
const MAX_COMMON_NAME: usize = 64;

/// Which side of a connection shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafUse {
    /// The one that is called.
    Server,
    /// The one that calls.
    Client,
    /// Both: one of several that call each other.
    Peer,
}

impl LeafUse {
    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Self::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Self::Peer => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        }
    }

    /// Whether a certificate with these purposes serves this use.
    fn is_served_by(self, serves: bool, calls: bool) -> bool {
        match self {
            Self::Server => serves,
            Self::Client => calls,
            Self::Peer => serves && calls,
        }
    }
}

/// A certificate and its private key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for Leaf {
    /// Says which certificate, and nothing of its key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Leaf {
    /// The key of a Secret with the certificate.
    pub const CERTIFICATE: &'static str = "tls.crt";
    /// The key of a Secret with the private key.
    pub const KEY: &'static str = "tls.key";

    /// Makes a certificate for `names`, DNS names and addresses.
    ///
    /// # Errors
    ///
    /// When a name is none, or the authority's key does not sign.
    pub fn generate(
        authority: &Authority,
        common_name: &str,
        names: &[String],
        leaf_use: LeafUse,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        let common_name: String = common_name.chars().take(MAX_COMMON_NAME).collect();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = leaf_use.purposes();
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, VALID_FOR);
        let certificate = params.signed_by(&key, &authority.active.issuer()?)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Reads the keys `tls.crt` and `tls.key` of a Secret.
    ///
    /// # Errors
    ///
    /// When one is missing.
    pub fn from_data(data: &BTreeMap<String, ByteString>) -> Result<Self, Error> {
        Ok(Self { certificate: text(data, Self::CERTIFICATE)?, key: text(data, Self::KEY)? })
    }

    /// Whether the certificate is no longer, or not yet, the right one: its names differ, it may not be used so, its
    /// end is near, or another authority signs by now.
    #[must_use]
    pub fn needs_replacement(
        &self,
        authority: &Authority,
        names: &[String],
        leaf_use: LeafUse,
        now: Timestamp,
    ) -> bool {
        let Ok(validity) = pem::validity(&self.certificate) else { return true };
        let mut wanted = names.to_vec();
        wanted.sort();
        validity.names != wanted
            || !leaf_use.is_served_by(validity.serves, validity.calls)
            || validity.not_after.duration_since(now) < REPLACE_BEFORE
            || !pem::issued_by(&self.certificate, &authority.active.certificate)
    }
}

/// Why a pair that somebody else made cannot be served, in words; none if it can.
#[must_use]
pub fn leaf_problem(leaf: &Leaf) -> Option<String> {
    if pem::validity(&leaf.certificate).is_err() {
        return Some("tls.crt holds no certificate in PEM".to_owned());
    }
    let Ok(key) = KeyPair::from_pem(&leaf.key) else {
        return Some("tls.key holds no private key in PEM (PKCS#8, SEC1 or PKCS#1)".to_owned());
    };
    let belongs = pem::public_key(&leaf.certificate)
        .is_ok_and(|public| public == rcgen::PublicKeyData::subject_public_key_info(&key));
    (!belongs).then(|| "tls.key is not the key of the certificate in tls.crt".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn server(authority: &Authority, of: &[&str]) -> Leaf {
        Leaf::generate(authority, "main", &names(of), LeafUse::Server, day(0)).unwrap()
    }

    #[test]
    fn certificate_carries_names_and_addresses() {
        let authority = Authority::generate("lagan main", day(0)).unwrap();
        let leaf = server(&authority, &["main.apps.svc", "10.0.0.5", "fd00::1"]);
        let validity = pem::validity(&leaf.certificate).unwrap();
        assert_eq!(validity.names, names(&["10.0.0.5", "fd00::1", "main.apps.svc"]));
        assert!(validity.not_before < day(0) && validity.not_after > day(89));
        assert_eq!(leaf_problem(&leaf), None);
    }

    #[test]
    fn certificate_is_replaced_when_its_names_its_time_or_its_authority_change() {
        let authority = Authority::generate("lagan main", day(0)).unwrap();
        let other = Authority::generate("lagan main", day(0)).unwrap();
        let leaf = server(&authority, &["b", "a"]);
        for (authority, of, at, expected) in [
            (&authority, &["a", "b"][..], 0, false),
            (&authority, &["a", "b"], 59, false),
            (&authority, &["a", "b"], 61, true),
            (&authority, &["a"], 0, true),
            (&authority, &["a", "b", "c"], 0, true),
            (&other, &["a", "b"], 0, true),
        ] {
            let replaced = leaf.needs_replacement(authority, &names(of), LeafUse::Server, day(at));
            assert_eq!(replaced, expected, "{of:?} on day {at}");
        }
    }

    #[test]
    fn certificate_of_another_use_is_replaced() {
        let authority = Authority::generate("lagan main", day(0)).unwrap();
        for (made, wanted, expected) in [
            (LeafUse::Server, LeafUse::Peer, true),
            (LeafUse::Client, LeafUse::Peer, true),
            (LeafUse::Peer, LeafUse::Peer, false),
            (LeafUse::Peer, LeafUse::Server, false),
            (LeafUse::Server, LeafUse::Client, true),
        ] {
            let leaf = Leaf::generate(&authority, "main", &names(&["a"]), made, day(0)).unwrap();
            let replaced = leaf.needs_replacement(&authority, &names(&["a"]), wanted, day(0));
            assert_eq!(replaced, expected, "{made:?} for {wanted:?}");
        }
    }

    #[test]
    fn pairs_that_cannot_be_served_are_told_apart() {
        let authority = Authority::generate("lagan main", day(0)).unwrap();
        let (a, b) = (server(&authority, &["a"]), server(&authority, &["a"]));
        let mixed = Leaf { certificate: a.certificate.clone(), key: b.key };
        let problem = leaf_problem(&mixed).unwrap();
        assert!(problem.contains("not the key"), "{problem}");
        let text = |text: &str| text.to_owned();
        assert!(leaf_problem(&Leaf { certificate: text("x"), key: a.key }).unwrap().contains("tls.crt"));
        assert!(leaf_problem(&Leaf { certificate: a.certificate, key: text("x") }).unwrap().contains("tls.key"));
    }
}
