//! Ed25519 identities (RFC 8032): the key that a party is known by, its fingerprint for people, and its signatures.

use std::{fmt, str::FromStr, sync::Arc};

use data_encoding::BASE64;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// An Ed25519 signature, as RFC 8032 encodes it.
pub type Signature = [u8; SIGNATURE_BYTES];

/// An Ed25519 SubjectPublicKeyInfo up to the key itself (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PREFIX: &str = "ed25519:";
const DIGITS: usize = 30;
/// 10^30, below 2^100.
const MODULUS: u128 = 10_u128.pow(DIGITS as u32);

/// An Ed25519 public key: a point of large order in its 32-byte encoding. As text, `ed25519:BASE64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes 32 bytes that encode a point which isn't of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, PublicKeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| PublicKeyError::NotAPoint)?;
        if key.is_weak() { Err(PublicKeyError::Weak) } else { Ok(Self(*bytes)) }
    }

    fn of(key: &VerifyingKey) -> Self {
        Self(key.to_bytes())
    }

    /// The key out of a SubjectPublicKeyInfo in DER.
    pub fn from_spki(der: &[u8]) -> Result<Self, PublicKeyError> {
        let key = der.strip_prefix(&SPKI_PREFIX).ok_or(PublicKeyError::NotEd25519)?;
        Self::from_bytes(key.try_into().map_err(|_| PublicKeyError::Length { got: key.len() })?)
    }

    /// The SubjectPublicKeyInfo in DER, 44 bytes (RFC 8410).
    pub fn to_spki(&self) -> [u8; 44] {
        let mut der = [0; 44];
        der[..12].copy_from_slice(&SPKI_PREFIX);
        der[12..].copy_from_slice(&self.0);
        der
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` is this key's over `message`, strictly: canonical encodings, no points of small order, no
    /// cofactor.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }

    /// The digits that two people compare over the phone.
    pub fn fingerprint(&self) -> Fingerprint {
        let hash = Sha256::digest(self.to_spki());
        Fingerprint(hash.iter().fold(0, |value, byte| (value * 256 + u128::from(*byte)) % MODULUS))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(PublicKeyError::Prefix)?;
        let bytes = BASE64.decode(encoded.as_bytes()).map_err(|_| PublicKeyError::Base64)?;
        Self::from_bytes(
            bytes.as_slice().try_into().map_err(|_| PublicKeyError::Length { got: bytes.len() })?,
        )
    }
}

/// What can be wrong with a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// The text doesn't start with `ed25519:`.
    #[error("expected \"{PREFIX}\" before the key")]
    Prefix,
    /// What follows the prefix is no padded base64.
    #[error("the key is not base64")]
    Base64,
    /// It isn't 32 bytes.
    #[error("expected a key of 32 bytes, got {got}")]
    Length {
        /// The bytes there were.
        got: usize,
    },
    /// The SubjectPublicKeyInfo is of another algorithm.
    #[error("expected an Ed25519 key")]
    NotEd25519,
    /// The bytes encode no point of the curve.
    #[error("the key is not a point of the curve")]
    NotAPoint,
    /// The point is of small order: anybody could sign for it.
    #[error("the key is a point of small order")]
    Weak,
}

/// SHA-256 of the SubjectPublicKeyInfo in DER, as a big-endian integer modulo 10^30: six groups of five digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:030}", self.0);
        for start in (0..DIGITS).step_by(5) {
            let space = if start == 0 { "" } else { " " };
            write!(f, "{space}{}", &digits[start..start + 5])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Reads digits as people type them: white space and hyphens anywhere, ASCII or full-width digits.
impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut value = 0_u128;
        let mut count = 0_usize;
        for c in text.chars().filter(|c| !is_separator(*c)) {
            let digit = digit(c).ok_or(FingerprintError::NotADigit(c))?;
            count += 1;
            value = (value * 10 + digit) % MODULUS;
        }
        if count == DIGITS { Ok(Self(value)) } else { Err(FingerprintError::Length { got: count }) }
    }
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}')
}

fn digit(c: char) -> Option<u128> {
    match c {
        '0'..='9' => Some(u128::from(c) - u128::from('0')),
        '\u{ff10}'..='\u{ff19}' => Some(u128::from(c) - 0xff10),
        _ => None,
    }
}

/// What can be wrong with typed digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FingerprintError {
    /// Something other than digits, white space and hyphens.
    #[error("expected digits, got {0:?}")]
    NotADigit(char),
    /// Too few or too many digits.
    #[error("expected 30 digits, got {got}")]
    Length {
        /// The digits there were.
        got: usize,
    },
}

/// A party's secret identity key: it signs, and it knows its public half.
#[derive(Clone)]
pub struct Identity(Arc<SigningKey>);

impl Identity {
    /// The identity of a 32-byte seed, RFC 8032's private key; wiped when the last clone goes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Arc::new(SigningKey::from_bytes(seed)))
    }

    /// The seed: for the key file and nothing else.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half, which the other side pins.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::of(&self.0.verifying_key())
    }

    /// The signature over `message`; the same message gives the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.public_key()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> PublicKey {
        Identity::from_seed(&[seed; 32]).public_key()
    }

    #[test]
    fn text_round_trip() {
        assert_eq!(key(1).to_string().parse(), Ok(key(1)));
        assert_eq!(PublicKey::from_spki(&key(1).to_spki()), Ok(key(1)));
    }

    /// RFC 8032, section 7.1, test 1; the digits were computed apart from this code.
    #[test]
    fn fingerprint_known_answer() {
        let key: PublicKey = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".parse().unwrap();
        let digits = "91157 94289 39917 66915 14443 81609";
        assert_eq!(key.fingerprint().to_string(), digits);
        assert_eq!(digits.parse(), Ok(key.fingerprint()));
    }

    #[test]
    fn leading_zeros_are_shown() {
        assert_eq!(Fingerprint(12_345).to_string(), "00000 00000 00000 00000 00000 12345");
    }

    #[test]
    fn bad_texts_are_named() {
        let parse = |text: &str| text.parse::<PublicKey>().unwrap_err();
        assert_eq!(parse("rsa:AAAA"), PublicKeyError::Prefix);
        assert_eq!(parse("ed25519:!!!!"), PublicKeyError::Base64);
        assert_eq!(parse("ed25519:AAAA"), PublicKeyError::Length { got: 3 });
        let encoded = |bytes: [u8; 32]| format!("ed25519:{}", BASE64.encode(&bytes));
        let mut off_curve = [0; 32];
        off_curve[0] = 2;
        assert_eq!(parse(&encoded(off_curve)), PublicKeyError::NotAPoint);
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(parse(&encoded(neutral)), PublicKeyError::Weak);
    }

    #[test]
    fn other_spki_is_refused() {
        let mut der = key(1).to_spki();
        der[8] = 0x6e; // X25519's OID
        assert_eq!(PublicKey::from_spki(&der), Err(PublicKeyError::NotEd25519));
        assert_eq!(PublicKey::from_spki(&key(1).to_spki()[..40]), Err(PublicKeyError::Length { got: 28 }));
    }

    #[test]
    fn typed_digits_are_tolerated() {
        let fingerprint = key(1).fingerprint();
        let text = fingerprint.to_string();
        let wide: String = text.chars().map(|c| if c == ' ' { '\u{3000}' } else { wide_digit(c) }).collect();
        for typed in [text.clone(), text.replace(' ', "-"), text.replace(' ', ""), format!(" {text}\n"), wide]
        {
            assert_eq!(typed.parse(), Ok(fingerprint), "{typed}");
        }
    }

    fn wide_digit(c: char) -> char {
        char::from_u32(u32::from(c) - u32::from('0') + 0xff10).unwrap()
    }

    #[test]
    fn wrong_digits_are_named() {
        let parse = |text: &str| text.parse::<Fingerprint>().unwrap_err();
        assert_eq!(parse("12345"), FingerprintError::Length { got: 5 });
        assert_eq!(parse(&"1".repeat(31)), FingerprintError::Length { got: 31 });
        assert_eq!(parse("1234x"), FingerprintError::NotADigit('x'));
    }

    #[test]
    fn rfc8032_test_1_is_signed_and_verified() {
        let seed = data_encoding::HEXLOWER
            .decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
            .unwrap();
        let identity = Identity::from_seed(&seed.try_into().unwrap());
        let signature = identity.sign(b"");
        let start = data_encoding::HEXLOWER.encode(&signature[..16]);
        assert_eq!(start, "e5564300c360ac729086e2cc806e828a", "RFC 8032, section 7.1, test 1");
        assert!(identity.public_key().verifies(b"", &signature));
        assert!(!identity.public_key().verifies(b"x", &signature));
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", Identity::from_seed(&[7; 32]));
        assert!(text.contains("ed25519:") && !text.contains("7, 7"), "{text}");
    }
}
