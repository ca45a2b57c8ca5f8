//! The verifiers of both ends: first the key in the peer's certificate is compared with the pinned one, then webpki
//! checks the certificate against itself (signature, validity, usage), then the handshake's signature is checked.

use std::{
    collections::HashSet,
    sync::{Arc, RwLock},
    time::Duration,
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs::ED25519};

use super::TlsError;
use crate::identity::PublicKey;

static ED25519_ONLY: &[&dyn SignatureVerificationAlgorithm] = &[ED25519];
static ALGORITHMS: WebPkiSupportedAlgorithms =
    WebPkiSupportedAlgorithms { all: ED25519_ONLY, mapping: &[(SignatureScheme::ED25519, ED25519_ONLY)] };

/// The keys that may call this node. Clones share one set, which can be replaced at run time; connections that were
/// accepted before stay, but their next call is refused.
#[derive(Clone, Debug, Default)]
pub struct Pins(Arc<RwLock<HashSet<PublicKey>>>);

impl Pins {
    /// A set of these keys.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self(Arc::new(RwLock::new(keys.into_iter().collect())))
    }

    /// Replaces the whole set, for all clones at once.
    pub fn replace(&self, keys: impl IntoIterator<Item = PublicKey>) {
        let fresh = keys.into_iter().collect();
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = fresh;
    }

    /// Whether `key` may call.
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).contains(key)
    }
}

/// The Ed25519 key inside a certificate; nothing else of it is checked.
pub fn key_of(certificate: &CertificateDer<'_>) -> Result<PublicKey, TlsError> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|error| named(&error))?;
    PublicKey::from_spki(&parsed.subject_public_key_info()).map_err(|_| TlsError::OtherKind)
}

/// Checks a certificate with itself as the anchor: its own signature, its validity at `now`, and that it may serve
/// both ends.
pub fn check_self_signed(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), TlsError> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|error| named(&error))?;
    let anchor = [anchor_from_trusted_cert(certificate).map_err(|error| named(&error))?];
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        parsed
            .verify_for_usage(ED25519_ONLY, &anchor, &[], now, usage, None, None)
            .map_err(|error| named(&error))?;
    }
    Ok(())
}

/// The last second in which a certificate is valid, since 1970: it is asked for at the end of time, and the refusal says.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let anchor = [anchor_from_trusted_cert(certificate).ok()?];
    let (end, usage) = (UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX)), KeyUsage::server_auth());
    match parsed.verify_for_usage(ED25519_ONLY, &anchor, &[], end, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after.as_secs()),
        _ => None,
    }
}

fn named(error: &webpki::Error) -> TlsError {
    match error {
        webpki::Error::CertExpired { .. } => TlsError::Expired,
        webpki::Error::CertNotValidYet { .. } => TlsError::NotYetValid,
        other => TlsError::InvalidCertificate(format!("{other:?}")),
    }
}

/// As rustls wants it, so that the peer gets the alert that fits: certificate_expired, bad_certificate, or
/// certificate_unknown for a key that isn't pinned.
fn rejection(error: TlsError) -> Error {
    match error {
        TlsError::Expired => CertificateError::Expired.into(),
        TlsError::NotYetValid => CertificateError::NotValidYet.into(),
        TlsError::InvalidCertificate(_) => CertificateError::BadEncoding.into(),
        other => other.into_rustls(),
    }
}

/// The client's verifier: exactly this key.
#[derive(Debug)]
pub(super) struct ExpectedKey(pub(super) PublicKey);

impl ExpectedKey {
    fn check(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), TlsError> {
        let got = key_of(certificate)?;
        if got != self.0 {
            return Err(TlsError::WrongKey { expected: self.0, got });
        }
        check_self_signed(certificate, now)
    }
}

impl ServerCertVerifier for ExpectedKey {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate, now).map_err(rejection)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// The server's verifier: any pinned key; a caller without a certificate is refused.
#[derive(Debug)]
pub(super) struct PinnedKeys(pub(super) Pins);

impl PinnedKeys {
    fn check(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), TlsError> {
        let got = key_of(certificate)?;
        if !self.0.contains(&got) {
            return Err(TlsError::UnpinnedKey { got });
        }
        check_self_signed(certificate, now)
    }
}

impl ClientCertVerifier for PinnedKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(certificate, now).map_err(rejection)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[test]
    fn clones_of_pins_share_one_set() {
        let [a, b] = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]).public_key());
        let pins = Pins::new([a]);
        let shared = pins.clone();
        pins.replace([b]);
        assert!(!shared.contains(&a) && shared.contains(&b));
    }

    #[test]
    fn another_kind_of_key_is_named() {
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&other).unwrap();
        assert_eq!(key_of(certificate.der()), Err(TlsError::OtherKind));
    }
}
