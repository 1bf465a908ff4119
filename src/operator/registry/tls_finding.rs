//! The condition `TLSReady`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;

use crate::api::v1alpha1::conditions::{ConditionType, Finding, Reason};
use crate::operator::certificates::{Leaf, leaf_problem, validity};

use super::{
    status::{Picture, finding},
    validate::Tls,
};

/// Two weeks before its end, somebody should have replaced a certificate that the operator does not.
const EXPIRING_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Whether clients see a valid certificate.
pub(super) fn tls(picture: &Picture<'_>, now: Timestamp) -> Finding {
    let say = |holds, reason, message: &str| finding(ConditionType::TlsReady, holds, reason, message);
    match &picture.valid.tls {
        Tls::Disabled => say(true, Reason::Disabled, "clients speak plain HTTP, as tls.mode says"),
        Tls::SelfSigned if picture.certificate_made => {
            say(true, Reason::Valid, "the operator made the certificate, and replaces it in time")
        }
        Tls::SelfSigned => say(false, Reason::SecretNotFound, "the certificate is not made yet"),
        Tls::Secret(name) => match &picture.observed.tls_secret {
            None => {
                let message = format!("tls.secretRef names Secret {name}, which does not exist: make it");
                say(false, Reason::SecretNotFound, &message)
            }
            Some(secret) => of_secret(name, secret, now),
        },
    }
}

fn of_secret(name: &str, secret: &Secret, now: Timestamp) -> Finding {
    let say = |holds, reason, message: String| finding(ConditionType::TlsReady, holds, reason, message);
    let data = secret.data.clone().unwrap_or_default();
    let leaf = match Leaf::from_data(&data) {
        Ok(leaf) => leaf,
        Err(error) => return say(false, Reason::InvalidKeyPair, format!("Secret {name}: {error}")),
    };
    if let Some(problem) = leaf_problem(&leaf) {
        return say(false, Reason::InvalidKeyPair, format!("Secret {name}: {problem}"));
    }
    let Ok(validity) = validity(&leaf.certificate) else {
        return say(false, Reason::InvalidKeyPair, format!("Secret {name}: tls.crt cannot be read"));
    };
    let end = validity.not_after;
    if end <= now {
        return say(false, Reason::Expired, format!("the certificate in Secret {name} ended at {end}: replace it"));
    }
    if end.duration_since(now) < EXPIRING_SOON {
        return say(true, Reason::ExpiringSoon, format!("the certificate in Secret {name} ends at {end}: replace it"));
    }
    say(true, Reason::Valid, format!("the certificate in Secret {name} is valid until {end}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;
    use crate::operator::certificates::{Authority, LeafUse};

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
    }

    fn leaf() -> Leaf {
        let authority = Authority::generate("theirs", day(0)).unwrap();
        Leaf::generate(&authority, "theirs", &["registry.example.com".to_owned()], LeafUse::Server, day(0)).unwrap()
    }

    fn secret(certificate: &str, key: &str) -> Secret {
        let data = [("tls.crt", certificate), ("tls.key", key)];
        let data: BTreeMap<String, ByteString> =
            data.into_iter().map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec()))).collect();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn certificate_of_somebody_else_is_judged_by_its_time() {
        let leaf = leaf();
        let secret = secret(&leaf.certificate, &leaf.key);
        for (at, holds, reason) in [
            (day(0), "True", Reason::Valid),
            (day(80), "True", Reason::ExpiringSoon),
            (day(91), "False", Reason::Expired),
        ] {
            let found = of_secret("theirs", &secret, at);
            assert_eq!((found.status.as_str(), found.reason), (holds, reason), "{}", found.message);
        }
    }

    #[test]
    fn what_is_no_pair_says_which_half_is_wrong() {
        let (one, other) = (leaf(), leaf());
        for (secret, word) in [
            (secret(&one.certificate, &other.key), "not the key"),
            (secret("x", &one.key), "tls.crt"),
            (secret(&one.certificate, "x"), "tls.key"),
            (Secret::default(), "tls.crt"),
        ] {
            let found = of_secret("theirs", &secret, day(0));
            assert_eq!(found.reason, Reason::InvalidKeyPair);
            assert!(found.message.contains(word), "{}", found.message);
        }
    }
}
