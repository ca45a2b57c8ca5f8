//! The self-signed certificate over the identity key, issued in memory for 90 days and reissued while running.

use std::{
    fmt,
    sync::{Arc, RwLock},
    time::Duration,
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PKCS_ED25519, PublicKeyData, SanType, date_time_ymd,
};
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime},
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, Signer, SigningKey},
};

use super::{TlsError, verify};
use crate::{
    clock::Clock,
    identity::{Identity, PublicKey},
};

/// How long a certificate lasts from its issue.
pub const VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);
/// How far before its issue it starts, for peers whose clocks are behind.
pub const BACKDATE: Duration = Duration::from_secs(3600);
/// A name for the parties' tools; nobody compares it.
const NAME: &str = "psi-node";

/// Why there is no certificate, or no new one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The clock reads a time that a certificate can't hold.
    #[error("the clock reads a time outside of 1970 to 9999")]
    Clock,
    /// The certificate couldn't be made.
    #[error("the certificate can't be issued: {0}")]
    Issue(String),
    /// The offered certificate isn't one that a peer would take from us.
    #[error("the new certificate is refused, the old one stays: {0}")]
    Refused(#[from] TlsError),
}

/// A self-signed certificate of `identity`, valid from [`BACKDATE`] before `now`, in time since 1970-01-01 UTC, until
/// [`VALIDITY`] after it.
pub fn issue(identity: &Identity, now: Duration) -> Result<CertificateDer<'static>, CertificateError> {
    const YEAR_9999: Duration = Duration::from_secs(253_370_764_800);
    if now < BACKDATE || now.saturating_add(VALIDITY) >= YEAR_9999 {
        return Err(CertificateError::Clock);
    }
    let epoch = date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + (now - BACKDATE);
    params.not_after = epoch + (now + VALIDITY);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.subject_alt_names = vec![SanType::DnsName(NAME.try_into().map_err(issue_error)?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params
        .self_signed(&Issuer { identity, public: identity.public_key() })
        .map_err(issue_error)?
        .der()
        .clone())
}

fn issue_error(error: rcgen::Error) -> CertificateError {
    CertificateError::Issue(error.to_string())
}

/// Our key and the certificate in use: what TLS shows to the peer. Handshakes that begin after a reissue show the new
/// certificate; connections stay.
pub struct Credentials {
    identity: Identity,
    clock: Arc<dyn Clock>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Credentials {
    /// Issues the first certificate.
    pub fn new(identity: Identity, clock: Arc<dyn Clock>) -> Result<Self, CertificateError> {
        let certificate = issue(&identity, clock.wall())?;
        let current = RwLock::new(certified(&identity, certificate));
        Ok(Self { identity, clock, current })
    }

    /// The identity whose key this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The certificate in use, in DER.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.current().cert[0].clone()
    }

    /// When the certificate in use ends, in seconds since 1970.
    pub fn expires(&self) -> u64 {
        verify::not_after(&self.certificate()).unwrap_or_default()
    }

    /// Issues a new certificate by the clock and shows it from now on; to be called daily. On an error the old one
    /// stays in use.
    pub fn reissue(&self) -> Result<(), CertificateError> {
        self.replace(issue(&self.identity, self.clock.wall())?)
    }

    /// Shows `certificate` from now on if a peer that pins our key would take it now; else the old one stays in use.
    pub fn replace(&self, certificate: CertificateDer<'static>) -> Result<(), CertificateError> {
        let own = self.identity.public_key();
        let got = verify::key_of(&certificate)?;
        if got != own {
            return Err(TlsError::WrongKey { expected: own, got }.into());
        }
        verify::check_self_signed(&certificate, UnixTime::since_unix_epoch(self.clock.wall()))?;
        let fresh = certified(&self.identity, certificate);
        *self.current.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = fresh;
        Ok(())
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(identity: &Identity, certificate: CertificateDer<'static>) -> Arc<CertifiedKey> {
    Arc::new(CertifiedKey::new(vec![certificate], Arc::new(TlsKey(identity.clone()))))
}

/// The identity key as rcgen wants it: the secret never leaves [`Identity`].
struct Issuer<'a> {
    identity: &'a Identity,
    public: PublicKey,
}

impl PublicKeyData for Issuer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Issuer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.identity.sign(message).to_vec())
    }
}

/// The identity key as rustls wants it.
#[derive(Clone, Debug)]
struct TlsKey(Identity);

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.0.public_key().to_spki().to_vec().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mock;

    const NOW: Duration = Duration::from_secs(1_790_000_000);

    fn identity(seed: u8) -> Identity {
        Identity::from_seed(&[seed; 32])
    }

    #[test]
    fn a_certificate_holds_the_identity_key_for_ninety_days() {
        let certificate = issue(&identity(1), NOW).unwrap();
        assert_eq!(verify::key_of(&certificate).unwrap(), identity(1).public_key());
        let check = |time| verify::check_self_signed(&certificate, UnixTime::since_unix_epoch(time));
        let second = Duration::from_secs(1);
        check(NOW - BACKDATE).unwrap();
        check(NOW + VALIDITY).unwrap();
        assert_eq!(verify::not_after(&certificate), Some((NOW + VALIDITY).as_secs()));
        assert_eq!(check(NOW - BACKDATE - second), Err(TlsError::NotYetValid));
        assert_eq!(check(NOW + VALIDITY + second), Err(TlsError::Expired));
    }

    #[test]
    fn a_bad_certificate_keeps_the_old_one() {
        let credentials = Credentials::new(identity(1), Arc::new(Mock::at(NOW.as_secs()))).unwrap();
        let old = credentials.certificate();
        let foreign = issue(&identity(2), NOW).unwrap();
        let expired = issue(&identity(1), NOW - VALIDITY * 2).unwrap();
        let mut altered = old.to_vec();
        *altered.last_mut().unwrap() ^= 1;
        let refusals = [foreign, expired, altered.into(), CertificateDer::from(vec![1, 2, 3])]
            .map(|certificate| credentials.replace(certificate).unwrap_err());
        assert!(matches!(refusals[0], CertificateError::Refused(TlsError::WrongKey { .. })), "{refusals:?}");
        assert_eq!(refusals[1], CertificateError::Refused(TlsError::Expired));
        assert!(
            matches!(refusals[2], CertificateError::Refused(TlsError::InvalidCertificate(_))),
            "{refusals:?}"
        );
        assert!(
            matches!(refusals[3], CertificateError::Refused(TlsError::InvalidCertificate(_))),
            "{refusals:?}"
        );
        assert_eq!(credentials.certificate(), old);
    }

    #[test]
    fn a_reissue_replaces_the_certificate() {
        let clock = Mock::at(NOW.as_secs());
        let credentials = Credentials::new(identity(1), Arc::new(clock.clone())).unwrap();
        let old = credentials.certificate();
        clock.advance(24 * BACKDATE);
        credentials.reissue().unwrap();
        assert_ne!(credentials.certificate(), old);
    }

    #[test]
    fn a_clock_out_of_range_is_named() {
        for now in [Duration::ZERO, Duration::from_secs(253_402_300_800), Duration::MAX] {
            assert_eq!(issue(&identity(1), now), Err(CertificateError::Clock));
        }
    }
}
