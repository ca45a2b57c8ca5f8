//! Ed25519 identities: the key that a party is known by, and its signatures (RFC 8032).
//!
//! Every verification is `verify_strict`: no small-order keys, no second signature for the same message.

use std::{fmt, str::FromStr, sync::Arc};

use data_encoding::BASE64;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use thiserror::Error;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// An Ed25519 signature, as RFC 8032 encodes it.
pub type Signature = [u8; SIGNATURE_BYTES];

const PREFIX: &str = "ed25519:";

/// A party's public identity key; written `ed25519:BASE64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key with this encoding; whether it is a point is checked when a signature is verified.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of RFC 8032.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` is this key's over `message`, strictly.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a public key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a public key: expected `ed25519:` and 44 characters of base64")]
pub struct NotAKey;

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotAKey)?;
        let bytes = BASE64.decode(encoded.as_bytes()).map_err(|_| NotAKey)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| NotAKey)?;
        VerifyingKey::from_bytes(&bytes).map_err(|_| NotAKey)?;
        Ok(Self(bytes))
    }
}

/// A party's secret identity key, as the session uses it: it signs, and it knows its public half.
#[derive(Clone)]
pub struct Identity(Arc<SigningKey>);

impl Identity {
    /// The identity of a secret key; the key's memory is wiped when the last clone goes.
    pub fn new(key: SigningKey) -> Self {
        Self(Arc::new(key))
    }

    /// The identity of a secret key given by its 32 bytes (RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::new(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The signature over `message`; the same message gives the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.public()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_verifies() {
        let identity = Identity::new(SigningKey::from_bytes(&[7; 32]));
        let signature = identity.sign(b"message");
        assert!(identity.public().verifies(b"message", &signature));
        assert!(!identity.public().verifies(b"massage", &signature));
        assert!(!PublicKey::from_bytes([0; 32]).verifies(b"message", &signature));
    }

    #[test]
    fn text_form_round_trips() {
        let key = Identity::new(SigningKey::from_bytes(&[7; 32])).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        for wrong in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", &key.to_string()[..30]] {
            assert_eq!(wrong.parse::<PublicKey>(), Err(NotAKey));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", Identity::new(SigningKey::from_bytes(&[7; 32])));
        assert!(shown.starts_with("Identity(ed25519:"));
        assert!(!shown.contains("7, 7"));
    }
}
