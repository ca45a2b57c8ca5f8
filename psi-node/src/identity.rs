//! The node's identity key on disk: `keys/identity.key`, PKCS#8 PEM (RFC 8410), mode 0600 in a folder of mode 0700.
//!
//! Written once and atomically, refused when others can read it. The key signs commits and statements, and it is the key
//! of the TLS certificate, which is reissued in memory (see [`crate::tls`]).

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use ed25519_dalek::{SigningKey, pkcs8::DecodePrivateKey};
pub use psi_core::signature::{Fingerprint, FingerprintError, Identity, PublicKey, PublicKeyError};
use rand::{TryRng, rngs::SysRng};
use zeroize::Zeroizing;

use crate::durable;

/// Where the key lies inside a node's home.
pub const KEY_FILE: &str = "keys/identity.key";

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// PKCS#8 version 1 up to the 32-byte private key (RFC 8410, section 7): the form that every OpenSSL reads.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// A PEM file of one Ed25519 key takes about 120 bytes; more than this isn't one.
const MAX_BYTES: u64 = 4096;

/// A new identity from the operating system's random numbers. Nothing is stored.
pub fn generate() -> Result<Identity, IdentityError> {
    let mut seed = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(seed.as_mut()).map_err(|error| IdentityError::Randomness(error.to_string()))?;
    Ok(Identity::from_seed(&seed))
}

/// Generates an identity and stores it at `path`, which must not exist.
pub fn create(path: &Path) -> Result<Identity, IdentityError> {
    let identity = generate()?;
    store(&identity, path)?;
    Ok(identity)
}

/// Stores the key at `path`, which must not exist, durably; the folder is made if it is missing.
pub fn store(identity: &Identity, path: &Path) -> Result<(), IdentityError> {
    let written = durable::create_folder(durable::parent(path))
        .and_then(|()| durable::write_new(path, to_pem(identity).as_bytes()));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => IdentityError::Exists { path: path.into() },
        _ => io_error(path, source),
    })
}

/// Loads the key, which nobody but its owner may be able to read.
pub fn load(path: &Path) -> Result<Identity, IdentityError> {
    let file = open(path)?;
    check_mode(path, file.metadata().map_err(|source| io_error(path, source))?.permissions().mode())?;
    let mut pem = Zeroizing::new(String::with_capacity(MAX_BYTES as usize + 1));
    file.take(MAX_BYTES + 1).read_to_string(&mut pem).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => malformed(path, "it is not text"),
        _ => io_error(path, source),
    })?;
    from_pem(&pem).map_err(|reason| malformed(path, reason))
}

fn to_pem(identity: &Identity) -> Zeroizing<String> {
    let der = Zeroizing::new([&PKCS8_PREFIX[..], &identity.seed()[..]].concat());
    let body = Zeroizing::new(BASE64.encode(&der));
    Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", *body))
}

fn from_pem(pem: &str) -> Result<Identity, &'static str> {
    let body = pem.trim().strip_prefix(BEGIN).ok_or("it doesn't begin as a PRIVATE KEY in PEM")?;
    let body = body.strip_suffix(END).ok_or("it doesn't end as a PRIVATE KEY in PEM")?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    let der = Zeroizing::new(BASE64.decode(body.as_bytes()).map_err(|_| "its body is not base64")?);
    let key = SigningKey::from_pkcs8_der(&der).map_err(|_| "its body is not an Ed25519 key")?;
    Ok(Identity::from_seed(&Zeroizing::new(key.to_bytes())))
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

fn open(path: &Path) -> Result<File, IdentityError> {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => IdentityError::Missing { path: path.into() },
        _ => io_error(path, source),
    })?;
    if !metadata.is_file() {
        return Err(IdentityError::NotAFile { path: path.into() });
    }
    File::open(path).map_err(|source| io_error(path, source))
}

fn check_mode(path: &Path, mode: u32) -> Result<(), IdentityError> {
    let mode = mode & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(IdentityError::Exposed { path: path.into(), mode }) }
}

fn io_error(path: &Path, source: io::Error) -> IdentityError {
    IdentityError::Io { path: path.into(), source }
}

fn malformed(path: &Path, reason: &'static str) -> IdentityError {
    IdentityError::Malformed { path: path.into(), reason }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn reason(text: &str) -> &'static str {
        from_pem(text).unwrap_err()
    }

    #[test]
    fn stored_key_is_loaded_again_and_private() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(KEY_FILE);
        let identity = create(&path).unwrap();
        assert_eq!(load(&path).unwrap().public_key(), identity.public_key());
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn an_existing_key_is_never_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("identity.key");
        let first = create(&path).unwrap();
        assert!(matches!(create(&path), Err(IdentityError::Exists { .. })));
        assert_eq!(load(&path).unwrap().public_key(), first.public_key());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_open_to_others_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("identity.key");
        create(&path).unwrap();
        for exposed in [0o640, 0o604, 0o620, 0o644] {
            fs::set_permissions(&path, Permissions::from_mode(exposed)).unwrap();
            let error = load(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Exposed { mode, .. } if mode == exposed), "{error}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        load(&path).unwrap();
    }

    #[test]
    fn missing_and_special_files_are_named() {
        let home = tempfile::tempdir().unwrap();
        let missing = load(&home.path().join("none"));
        assert!(matches!(missing, Err(IdentityError::Missing { .. })));
        assert!(matches!(load(home.path()), Err(IdentityError::NotAFile { .. })));
    }

    #[test]
    fn malformed_keys_are_named() {
        assert_eq!(reason(""), "it doesn't begin as a PRIVATE KEY in PEM");
        assert_eq!(reason(BEGIN), "it doesn't end as a PRIVATE KEY in PEM");
        assert_eq!(reason(&format!("{BEGIN}\n*\n{END}")), "its body is not base64");
        assert_eq!(reason(&format!("{BEGIN}\nAAAA\n{END}")), "its body is not an Ed25519 key");
    }

    #[test]
    fn rfc8410_examples_are_read() {
        let v1 = "-----BEGIN PRIVATE KEY-----\n\
                  MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                  -----END PRIVATE KEY-----\n";
        let key = from_pem(v1).unwrap();
        assert_eq!(key.public_key().to_string(), "ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
        assert_eq!(*to_pem(&key), v1);
    }

    #[test]
    fn halves_that_do_not_belong_together_are_refused() {
        // RFC 8410, section 10.3: version 2 carries the public half as well; here it is another key's.
        let mut der = vec![0x30, 0x51, 0x02, 0x01, 0x01];
        der.extend(&PKCS8_PREFIX[5..]);
        der.extend([1; 32]);
        der.extend([0x81, 0x21, 0x00]);
        let own = [&der, &Identity::from_seed(&[1; 32]).public_key().as_bytes()[..]].concat();
        let foreign = [&der, &Identity::from_seed(&[2; 32]).public_key().as_bytes()[..]].concat();
        let pem = |der: &[u8]| format!("{BEGIN}\n{}\n{END}", BASE64.encode(der));
        assert!(from_pem(&pem(&own)).is_ok());
        assert_eq!(reason(&pem(&foreign)), "its body is not an Ed25519 key");
    }
}
