//! The node's identity: one Ed25519 key (RFC 8032).
//!
//! The other side pins its public half. The key signs commits and statements, and it is the key of the TLS
//! certificate, which is reissued in memory (see [`crate::tls`]). On disk it is `keys/identity.key`: PKCS#8 PEM
//! (RFC 8410), mode 0600 in a folder of mode 0700. docs/PROTOCOL.md, "A session".

mod file;
mod public;

use std::{fmt, io, path::PathBuf};

use ed25519_dalek::{Signer, SigningKey};
use rand::{TryRng, rngs::SysRng};
use zeroize::Zeroizing;

pub use self::public::{Fingerprint, FingerprintError, PublicKey, PublicKeyError, SignatureError};

/// Where the key lies inside a node's home.
pub const KEY_FILE: &str = "keys/identity.key";

/// The node's identity key.
pub struct Identity {
    key: SigningKey,
    public: PublicKey,
}

impl Identity {
    /// A new identity from the operating system's random numbers. Nothing is stored.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(seed.as_mut()).map_err(|error| IdentityError::Randomness(error.to_string()))?;
        Ok(Self::from_seed(&seed))
    }

    /// The identity of a 32-byte seed, RFC 8032's private key.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::from_key(SigningKey::from_bytes(seed))
    }

    fn from_key(key: SigningKey) -> Self {
        let public = PublicKey::of(&key.verifying_key());
        Self { key, public }
    }

    /// The public half, which the other side pins.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The 32 bytes of the public half.
    pub fn public_key_bytes(&self) -> &[u8; 32] {
        self.public.as_bytes()
    }

    /// The signature (64 bytes) over `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).finish_non_exhaustive()
    }
}

/// What can be wrong with the key file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no key at this path.
    #[error("no identity key at {path}")]
    Missing {
        /// The path looked at.
        path: PathBuf,
    },
    /// A key is there already; it is never overwritten.
    #[error("an identity key exists already at {path}")]
    Exists {
        /// The path that was to be written.
        path: PathBuf,
    },
    /// The path leads to a folder, a device or a pipe.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// The path looked at.
        path: PathBuf,
    },
    /// Group or others may read, write or run the file.
    #[error("{path} is open to group or others: expected mode 0600, got {mode:04o}")]
    Exposed {
        /// The path looked at.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no Ed25519 key in PKCS#8 PEM, or its two halves don't belong together.
    #[error("{path} holds no Ed25519 key in PKCS#8 PEM: {reason}")]
    Malformed {
        /// The path looked at.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Reading or writing failed.
    #[error("identity key {path}: {source}")]
    Io {
        /// The path looked at.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system: {0}")]
    Randomness(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8032_test_1_is_signed_and_verified() {
        let seed = data_encoding::HEXLOWER
            .decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
            .unwrap();
        let identity = Identity::from_seed(&seed.try_into().unwrap());
        let signature = identity.sign(b"");
        assert_eq!(
            data_encoding::HEXLOWER.encode(&signature[..16]),
            "e5564300c360ac729086e2cc806e828a",
            "RFC 8032, section 7.1, test 1"
        );
        identity.public_key().verify(b"", &signature).unwrap();
        assert_eq!(identity.public_key().verify(b"x", &signature), Err(SignatureError));
    }

    #[test]
    fn two_identities_differ() {
        assert_ne!(Identity::generate().unwrap().public_key(), Identity::generate().unwrap().public_key());
    }

    #[test]
    fn debug_shows_no_secret() {
        let identity = Identity::from_seed(&[7; 32]);
        let text = format!("{identity:?}");
        assert!(text.contains("ed25519:") && !text.contains("7, 7"), "{text}");
    }
}
