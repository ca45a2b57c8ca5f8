//! Keys of one session: the seed, what is derived from it, and whose they are (docs/PROTOCOL.md, "Keys").
//!
//! Everything secret of a session comes from one 32-byte seed by HKDF-SHA512 (RFC 5869) with an empty salt: the seed is
//! uniform already, so extraction has nothing to gain from one. Each output has its own label, and all are bound to the
//! suite, the profile and the list, so that a changed list can't meet the same key:
//!
//! ```text
//! info = F(label) F(suite name) F(profile id) F(set digest) [counter]     F(x) = length of x, 8 bytes big-endian ‖ x
//! ```

use std::fmt;

use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::Sha512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::element::{Element, joined};
use crate::suite::{Group, Scalar, Suite};

/// Who of the two parties, by who called whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// The party that called.
    Initiator,
    /// The party that was called.
    Responder,
}

impl Role {
    /// The other party.
    pub fn opposite(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }

    /// The byte that stands for the role in every digest: 0 for the initiator, 1 for the responder.
    pub fn code(self) -> u8 {
        match self {
            Self::Initiator => 0,
            Self::Responder => 1,
        }
    }

    /// The word for the role in statements and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initiator => "initiator",
            Self::Responder => "responder",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A type of 32 secret bytes: erased when dropped, redacted.
macro_rules! secret_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the bytes back that were sealed.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes: for sealing, hashing and nothing else.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

secret_bytes! {
    /// The one random secret of a session, from which all others come.
    SessionSeed
}
secret_bytes! {
    /// Salts the leaves of the list root; kept, sealed, for as long as the list can be opened.
    ListSeed
}
secret_bytes! {
    /// Hides the mask proof behind its digest in the Commit.
    MaskProofSalt
}
secret_bytes! {
    /// Makes the nonces of the proofs.
    NonceKey
}

impl SessionSeed {
    /// A fresh seed.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Self([0; 32]);
        rng.fill_bytes(&mut seed.0);
        seed
    }

    /// The key for one list: `set_digest` is SHA-256 of the sorted canonical set, which is never stored or sent.
    pub fn mask_key(&self, suite: &dyn Suite, profile_id: &str, set_digest: &[u8; 32]) -> MaskKey {
        let list = List { suite, profile_id, set_digest };
        let candidates = (0..=u8::MAX).map(|counter| {
            let mut wide = Zeroizing::new([0; 64]);
            self.expand("XPSI1-KEY", &list, &[counter], &mut *wide);
            suite.scalar_from_wide(&wide)
        });
        let k = first_usable(suite, candidates);
        MaskKey::new(suite, k, NonceKey(self.secret("XPSI1-NONCE-KEY", &list)))
    }

    /// The seed of the salts of this list's leaves.
    pub fn list_seed(&self, suite: &dyn Suite, profile_id: &str, set_digest: &[u8; 32]) -> ListSeed {
        ListSeed(self.secret("XPSI1-LIST-SEED", &List { suite, profile_id, set_digest }))
    }

    /// The salt of the mask proof of this list.
    pub fn mask_proof_salt(
        &self,
        suite: &dyn Suite,
        profile_id: &str,
        set_digest: &[u8; 32],
    ) -> MaskProofSalt {
        MaskProofSalt(self.secret("XPSI1-MASK-PROOF-SALT", &List { suite, profile_id, set_digest }))
    }

    fn secret(&self, label: &str, list: &List<'_>) -> [u8; 32] {
        let mut out = [0; 32];
        self.expand(label, list, &[], &mut out);
        out
    }

    fn expand(&self, label: &str, list: &List<'_>, counter: &[u8], out: &mut [u8]) {
        let name = list.suite.id().name();
        let info = joined(&[label.as_bytes(), name.as_bytes(), list.profile_id.as_bytes(), list.set_digest]);
        Hkdf::<Sha512>::new(None, &self.0)
            .expand_multi_info(&[&info, counter], out)
            .expect("at most 64 bytes, far below the limit of 255 digests");
    }
}

/// What the secrets of a list are bound to.
struct List<'a> {
    suite: &'a dyn Suite,
    profile_id: &'a str,
    set_digest: &'a [u8; 32],
}

/// Passes over 0, 1 and -1, which would show H(x) or its inverse.
fn first_usable(group: &(impl Group + ?Sized), candidates: impl IntoIterator<Item = Scalar>) -> Scalar {
    let unusable = unusable_keys(group);
    candidates
        .into_iter()
        .find(|k| !unusable.contains(k))
        .expect("256 outputs of HKDF are not all among three values of 2^252")
}

fn unusable_keys(group: &(impl Group + ?Sized)) -> [Scalar; 3] {
    let small = |n: u8| {
        let mut wide = [0; 64];
        wide[0] = n;
        group.scalar_from_wide(&wide)
    };
    let minus_one = group.response(&small(0), &small(1), &small(1));
    [small(0), small(1), minus_one]
}

/// The secret scalar k of one list, its public key Y = k·G, and the key of its proofs' nonces.
pub struct MaskKey {
    k: Scalar,
    public: Element,
    nonce: NonceKey,
}

impl MaskKey {
    fn new(group: &(impl Group + ?Sized), k: Scalar, nonce: NonceKey) -> Self {
        let public = group.multiply(&k, &group.generator()).expect("the generator is canonical");
        Self { k, public, nonce }
    }

    /// A key of the standard's vectors; its nonces are given too.
    #[cfg(test)]
    pub(crate) fn with_scalar(group: &(impl Group + ?Sized), k: Scalar) -> Self {
        Self::new(group, k, NonceKey([0; 32]))
    }

    /// k, for masking and evaluating without a proof.
    pub fn scalar(&self) -> &Scalar {
        &self.k
    }

    /// Y = k·G, which the Commit carries.
    pub fn public(&self) -> &Element {
        &self.public
    }

    /// What nonces are made from.
    pub(crate) fn nonce_key(&self) -> &NonceKey {
        &self.nonce
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::SuiteId;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn suite() -> &'static dyn Suite {
        SuiteId::Ristretto255Sha512.suite()
    }

    fn small(n: u8) -> Scalar {
        let mut wide = [0; 64];
        wide[0] = n;
        suite().scalar_from_wide(&wide)
    }

    fn minus(n: u8) -> Scalar {
        suite().response(&small(0), &small(n), &small(1))
    }

    #[test]
    fn keys_follow_from_seed_profile_and_set_and_from_nothing_else() {
        let seed = SessionSeed::from_bytes([5; 32]);
        let key = seed.mask_key(suite(), "text/1", &[1; 32]);
        assert_eq!(key.public(), seed.mask_key(suite(), "text/1", &[1; 32]).public());
        assert_ne!(key.public(), seed.mask_key(suite(), "text/2", &[1; 32]).public());
        assert_ne!(key.public(), seed.mask_key(suite(), "text/1", &[2; 32]).public());
        let other = SessionSeed::from_bytes([6; 32]);
        assert_ne!(key.public(), other.mask_key(suite(), "text/1", &[1; 32]).public());
        assert_eq!(suite().multiply(key.scalar(), &suite().generator()), Some(*key.public()));
    }

    #[test]
    fn hkdf_is_rfc_5869_written_out_with_hmac() {
        use hmac::{Hmac, KeyInit, Mac};
        let hmac = |key: &[u8], message: &[&[u8]]| -> [u8; 64] {
            let mut mac = Hmac::<Sha512>::new_from_slice(key).unwrap();
            message.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().into()
        };
        let mut info = Vec::new();
        for field in [&b"XPSI1-KEY"[..], b"ristretto255-SHA512", b"text/1", &[1; 32]] {
            info.extend([0, 0, 0, 0, 0, 0, 0, u8::try_from(field.len()).unwrap()]);
            info.extend(field);
        }
        let wide = hmac(&hmac(&[0; 64], &[&[5; 32]]), &[&info, &[0], &[1]]);
        let key = SessionSeed::from_bytes([5; 32]).mask_key(suite(), "text/1", &[1; 32]);
        assert_eq!(key.scalar(), &suite().scalar_from_wide(&wide));
    }

    #[test]
    fn each_secret_has_its_own_label() {
        let seed = SessionSeed::from_bytes([5; 32]);
        let key = seed.mask_key(suite(), "text/1", &[1; 32]);
        let secrets = [
            *key.scalar().as_bytes(),
            *key.nonce_key().as_bytes(),
            *seed.list_seed(suite(), "text/1", &[1; 32]).as_bytes(),
            *seed.mask_proof_salt(suite(), "text/1", &[1; 32]).as_bytes(),
        ];
        for (i, secret) in secrets.iter().enumerate() {
            assert!(!secrets[..i].contains(secret));
        }
    }

    #[test]
    fn unusable_keys_are_passed_over() {
        let candidates = [small(0), minus(1), small(1), minus(2), small(3)];
        assert_eq!(first_usable(suite(), candidates), minus(2));
        assert_eq!(first_usable(suite(), [small(2)]), small(2));
    }

    #[test]
    fn fresh_seeds_differ() {
        let mut rng = StdRng::from_seed([1; 32]);
        let (a, b) = (SessionSeed::generate(&mut rng), SessionSeed::generate(&mut rng));
        assert_ne!(a.as_bytes(), b.as_bytes());
    }

    #[test]
    fn secrets_are_redacted() {
        let seed = SessionSeed::from_bytes([5; 32]);
        assert_eq!(format!("{seed:?}"), "SessionSeed { .. }");
        assert_eq!(format!("{:?}", seed.mask_key(suite(), "text/1", &[1; 32])), "MaskKey { .. }");
    }

    #[test]
    fn roles_are_opposite() {
        for role in [Role::Initiator, Role::Responder] {
            assert_eq!(role.opposite().opposite(), role);
            assert_ne!(role.opposite().code(), role.code());
        }
    }
}
