//! What can go wrong between the first byte of TLS and a verified peer, by name.

use std::io;

use rustls::{AlertDescription, CertificateError, OtherError};

use crate::identity::PublicKey;

/// Why there is no TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Seen by a server: the caller's key is not among the pinned ones.
    #[error("the caller's key is not pinned here: {got}")]
    UnpinnedKey {
        /// The key that the caller showed.
        got: PublicKey,
    },
    /// Seen by a client: the peer's key is not the one pinned for it.
    #[error("the peer's key is not the pinned one: expected {expected}, got {got}")]
    WrongKey {
        /// The pinned key.
        expected: PublicKey,
        /// The key that the peer showed.
        got: PublicKey,
    },
    /// The peer's certificate holds no Ed25519 key, so it can't be the pinned one.
    #[error("the peer's certificate holds no Ed25519 key")]
    OtherKind,
    /// The caller showed no certificate.
    #[error("the caller showed no certificate")]
    MissingCertificate,
    /// The peer's certificate has expired.
    #[error("the peer's certificate has expired")]
    Expired,
    /// The peer's certificate isn't valid yet: one of the two clocks is wrong.
    #[error("the peer's certificate is not valid yet")]
    NotYetValid,
    /// The peer's certificate can't be read, or its signature is wrong.
    #[error("the peer's certificate is invalid: {0}")]
    InvalidCertificate(String),
    /// The peer refused our key: it isn't pinned there.
    #[error("the peer refused our key: it is not pinned there")]
    OurKeyRefused,
    /// The peer says that our certificate has expired or isn't valid yet, by its clock.
    #[error("the peer refused our certificate as expired or not valid yet by its clock")]
    OurCertificateExpired,
    /// The peer refused our certificate for another reason, named by its alert (RFC 8446, section 6).
    #[error("the peer refused our certificate: {0}")]
    OurCertificateRefused(String),
    /// What arrived is not TLS (plain HTTP, for example).
    #[error("the peer doesn't speak TLS on this port")]
    NotTls,
    /// The peer doesn't offer TLS 1.3.
    #[error("the peer doesn't offer TLS 1.3")]
    Version,
    /// The peer doesn't offer HTTP/2 by ALPN.
    #[error("the peer doesn't offer HTTP/2")]
    NotHttp2,
    /// The connection was closed before the handshake was done.
    #[error("the connection was closed during the TLS handshake")]
    Closed,
    /// The handshake took too long.
    #[error("the TLS handshake timed out")]
    TimedOut,
    /// The node has as many connections as it takes.
    #[error("too many connections")]
    Full,
    /// Anything else that rustls refuses, in its words.
    #[error("tls: {0}")]
    Handshake(String),
}

impl TlsError {
    /// The certificate error that makes rustls send the fitting alert and carries `self` to [`TlsError::from_io`].
    pub(crate) fn into_rustls(self) -> rustls::Error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(std::sync::Arc::new(self))))
    }

    /// Names what a handshake, or the first read after it, ended with.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        inner.map_or(Self::Closed, Self::from_rustls)
    }

    fn from_rustls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(reason) => Self::from_certificate(reason),
            rustls::Error::NoCertificatesPresented => Self::MissingCertificate,
            rustls::Error::AlertReceived(alert) => Self::from_alert(*alert),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::PeerIncompatible(reason) => Self::from_incompatible(reason),
            rustls::Error::NoApplicationProtocol => Self::NotHttp2,
            other => Self::Handshake(other.to_string()),
        }
    }

    fn from_certificate(reason: &CertificateError) -> Self {
        match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::Other(OtherError(inner)) => match inner.downcast_ref::<Self>() {
                Some(own) => own.clone(),
                None => Self::InvalidCertificate(inner.to_string()),
            },
            other => Self::InvalidCertificate(other.to_string()),
        }
    }

    fn from_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Self::OurKeyRefused,
            AlertDescription::CertificateExpired => Self::OurCertificateExpired,
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked => Self::OurCertificateRefused(format!("{alert:?}")),
            AlertDescription::ProtocolVersion => Self::Version,
            AlertDescription::NoApplicationProtocol => Self::NotHttp2,
            other => Self::Handshake(format!("the peer sent the alert {other:?}")),
        }
    }

    fn from_incompatible(reason: &rustls::PeerIncompatible) -> Self {
        use rustls::PeerIncompatible as P;
        match reason {
            P::SupportedVersionsExtensionRequired
            | P::Tls12NotOffered
            | P::Tls12NotOfferedOrEnabled
            | P::Tls13RequiredForQuic
            | P::ServerDoesNotSupportTls12Or13
            | P::ServerTlsVersionIsDisabledByOurConfig
            | P::ServerSentHelloRetryRequestWithUnknownExtension => Self::Version,
            other => Self::Handshake(format!("{other:?}")),
        }
    }
}
