//! A certificate authority that replaces itself without a moment in which anybody distrusts it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::{DAY_HOURS, Error, pem, set_validity};

/// Ten years: authorities are copied to machines that nobody looks at again.
const VALID_FOR: SignedDuration = SignedDuration::from_hours(3650 * DAY_HOURS);

/// The next authority is made a year before the active one ends: enough for everybody who copied it.
const REPLACE_BEFORE: SignedDuration = SignedDuration::from_hours(365 * DAY_HOURS);

/// The next authority is published for a month before it signs, so that it is trusted by then.
const PUBLISHED_BEFORE_SIGNING: SignedDuration = SignedDuration::from_hours(30 * DAY_HOURS);

/// The certificate and the private key of an authority, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityKeys {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for AuthorityKeys {
    /// Says which authority, and nothing of its key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorityKeys").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The authority of one Registry.
///
/// # Guarantees
///
/// A certificate is signed by an authority only after the authority was in [`Authority::bundle`] for a month,
/// except by the first one; and an authority stays in the bundle for as long as what it signed can be valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The one that signs.
    pub active: AuthorityKeys,
    /// The one that will sign next, published already.
    next: Option<AuthorityKeys>,
    /// The certificate of the one that signed before, still published.
    retired: Option<String>,
}

impl Authority {
    /// The key of a Secret with the certificates to trust.
    pub const BUNDLE: &'static str = "ca.crt";
    const ACTIVE: (&'static str, &'static str) = ("authority.crt", "authority.key");
    const NEXT: (&'static str, &'static str) = ("next.crt", "next.key");
    const RETIRED: &'static str = "retired.crt";

    /// Makes a first authority.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be made.
    pub fn generate(common_name: &str, now: Timestamp) -> Result<Self, Error> {
        Ok(Self { active: AuthorityKeys::generate(common_name, now)?, next: None, retired: None })
    }

    /// Reads what [`Authority::to_data`] wrote.
    ///
    /// # Errors
    ///
    /// When the signing certificate or its key is missing or unreadable.
    pub fn from_data(data: &BTreeMap<String, ByteString>) -> Result<Self, Error> {
        let pair = |(certificate, key): (&'static str, &'static str)| {
            Ok::<_, Error>(AuthorityKeys { certificate: text(data, certificate)?, key: text(data, key)? })
        };
        let active = pair(Self::ACTIVE)?;
        pem::validity(&active.certificate)?;
        let next = if data.contains_key(Self::NEXT.0) { Some(pair(Self::NEXT)?) } else { None };
        Ok(Self { active, next, retired: text(data, Self::RETIRED).ok() })
    }

    /// The data of the Secret that keeps this authority.
    #[must_use]
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, value: &str| {
            data.insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
        };
        put(Self::BUNDLE, &self.bundle());
        put(Self::ACTIVE.0, &self.active.certificate);
        put(Self::ACTIVE.1, &self.active.key);
        if let Some(next) = &self.next {
            put(Self::NEXT.0, &next.certificate);
            put(Self::NEXT.1, &next.key);
        }
        if let Some(retired) = &self.retired {
            put(Self::RETIRED, retired);
        }
        data
    }

    /// The certificates to trust, in PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map(|next| next.certificate.as_str());
        let all = [Some(self.active.certificate.as_str()), next, self.retired.as_deref()];
        all.into_iter().flatten().collect()
    }

    /// The authority as it should be by now, if that is not as it is.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be made or read.
    pub fn advance(&self, common_name: &str, now: Timestamp) -> Result<Option<Self>, Error> {
        let mut advanced = self.clone();
        advanced.drop_retired(now)?;
        advanced.take_over(now)?;
        let ends = pem::validity(&advanced.active.certificate)?.not_after;
        if advanced.next.is_none() && ends.duration_since(now) < REPLACE_BEFORE {
            advanced.next = Some(AuthorityKeys::generate(common_name, now)?);
        }
        Ok((advanced != *self).then_some(advanced))
    }

    fn drop_retired(&mut self, now: Timestamp) -> Result<(), Error> {
        if let Some(retired) = &self.retired
            && pem::validity(retired)?.not_after <= now
        {
            self.retired = None;
        }
        Ok(())
    }

    /// Lets the next authority sign when it was published for long enough, or when the active one has ended.
    fn take_over(&mut self, now: Timestamp) -> Result<(), Error> {
        let Some(next) = self.next.take() else { return Ok(()) };
        let since = pem::validity(&next.certificate)?.not_before;
        let ended = pem::validity(&self.active.certificate)?.not_after <= now;
        if ended || now.duration_since(since) >= PUBLISHED_BEFORE_SIGNING {
            let before = std::mem::replace(&mut self.active, next);
            self.retired = Some(before.certificate);
        } else {
            self.next = Some(next);
        }
        Ok(())
    }
}

impl AuthorityKeys {
    fn generate(common_name: &str, now: Timestamp) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now, VALID_FOR);
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// What signs.
    pub(super) fn issuer(&self) -> Result<Issuer<'static, KeyPair>, Error> {
        Ok(Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?)
    }
}

/// A key of a Secret's data as text.
pub(super) fn text(data: &BTreeMap<String, ByteString>, key: &'static str) -> Result<String, Error> {
    let bytes = data.get(key).ok_or(Error::KeyMissing { key })?;
    String::from_utf8(bytes.0.clone()).map_err(|_| Error::KeyMissing { key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
    }

    #[test]
    fn authority_survives_being_written_and_read() {
        let authority = Authority::generate("lagan main", day(0)).unwrap();
        assert_eq!(Authority::from_data(&authority.to_data()).unwrap(), authority);
    }

    #[test]
    fn young_authority_stays_as_it_is() {
        let authority = Authority::generate("lagan main", day(0)).unwrap();
        assert_eq!(authority.advance("lagan main", day(0)).unwrap(), None);
        assert_eq!(authority.advance("lagan main", day(3650 - 366)).unwrap(), None);
    }

    #[test]
    fn next_authority_is_published_for_a_month_before_it_signs() {
        let first = Authority::generate("lagan main", day(0)).unwrap();
        let published = first.advance("lagan main", day(3300)).unwrap().unwrap();
        assert_eq!(published.active, first.active);
        assert_eq!(published.bundle().matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(published.advance("lagan main", day(3329)).unwrap(), None);

        let signing = published.advance("lagan main", day(3331)).unwrap().unwrap();
        assert_ne!(signing.active, first.active);
        assert!(signing.bundle().contains(&first.active.certificate), "the old one stays trusted");
        assert_eq!(Authority::from_data(&signing.to_data()).unwrap(), signing);

        let alone = signing.advance("lagan main", day(3651)).unwrap().unwrap();
        assert_eq!(alone.bundle(), signing.active.certificate);
    }

    #[test]
    fn secret_without_a_key_is_refused() {
        let mut data = Authority::generate("lagan main", day(0)).unwrap().to_data();
        data.remove("authority.key");
        assert!(matches!(Authority::from_data(&data), Err(Error::KeyMissing { key: "authority.key" })));
    }
}
