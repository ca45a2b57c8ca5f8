//! The proof of knowledge of the k behind Y, which goes with Y in the Commit: without it a party could choose its Y as a
//! function of the other's.
//!
//! ```text
//! head  = F("XPSI1-KNOWLEDGE") F(sid: 32) F(role: 1) F(list: 2) F(identity key: 32) F(Y: 32)
//! r     = wide(SHA-512(F("XPSI1-NONCE") F(nonce key: 32) F(head)))
//! c     = HashToScalar(head F(T: 32)), T = r·G, DST "XPSI1-KNOWLEDGE-" ‖ suite name
//! s     = r - c·k
//! proof = c ‖ s; a verifier computes T = s·G + c·Y and compares c
//! ```

use super::{Invalid, PROOF_BYTES, Proof, nonce};
use crate::element::{Element, joined};
use crate::key::{MaskKey, Role};
use crate::suite::{Scalar, Suite};

/// A proof of knowledge of k: c ‖ s.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnowledgeProof(Proof);

impl KnowledgeProof {
    /// Takes a proof from outside.
    ///
    /// # Errors
    /// [`Invalid::NotCanonical`] if either half is not a canonical scalar.
    pub fn from_bytes(suite: &dyn Suite, bytes: &[u8; PROOF_BYTES]) -> Result<Self, Invalid> {
        Proof::from_bytes(suite, bytes).map(Self)
    }

    /// c ‖ s
    pub fn to_bytes(&self) -> [u8; PROOF_BYTES] {
        self.0.to_bytes()
    }
}

/// Proves that the party with this Ed25519 identity knows the k behind its Y.
pub fn prove_knowledge(
    suite: &dyn Suite,
    key: &MaskKey,
    sid: &[u8; 32],
    role: Role,
    list: u16,
    identity_key: &[u8; 32],
) -> KnowledgeProof {
    let head = head(sid, role, list, identity_key, key.public());
    let r = nonce(suite, key, &[&head]);
    let t = suite.multiply(&r, &suite.generator()).expect("the generator is canonical");
    let c = challenge(suite, &head, &t);
    KnowledgeProof(Proof::new(&c, &suite.response(&r, &c, key.scalar())))
}

/// Checks the proof of the party with this role and identity.
///
/// # Errors
/// [`Invalid::Key`] if Y is no key, [`Invalid::WrongProof`] if the proof doesn't hold.
pub fn verify_knowledge(
    suite: &dyn Suite,
    sid: &[u8; 32],
    role: Role,
    list: u16,
    identity_key: &[u8; 32],
    y: &Element,
    proof: &KnowledgeProof,
) -> Result<(), Invalid> {
    suite.check(y).map_err(Invalid::Key)?;
    let (c, s) = proof.0.scalars(suite).ok_or(Invalid::NotCanonical)?;
    let t = suite.combination(&s, &suite.generator(), &c, y).ok_or(Invalid::WrongProof)?;
    let expected = challenge(suite, &head(sid, role, list, identity_key, y), &t);
    if expected == c { Ok(()) } else { Err(Invalid::WrongProof) }
}

fn head(sid: &[u8; 32], role: Role, list: u16, identity_key: &[u8; 32], y: &Element) -> Vec<u8> {
    joined(&[b"XPSI1-KNOWLEDGE", sid, &[role.code()], &list.to_be_bytes(), identity_key, y])
}

fn challenge(suite: &dyn Suite, head: &[u8], t: &Element) -> Scalar {
    let dst = [b"XPSI1-KNOWLEDGE-", suite.id().name().as_bytes()].concat();
    suite.hash_to_scalar(&dst, &[head, &joined(&[t])].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::ElementFault;
    use crate::key::SessionSeed;
    use crate::suite::SuiteId;

    const SID: &[u8; 32] = &[1; 32];
    const IDENTITY: &[u8; 32] = &[2; 32];

    fn suite() -> &'static dyn Suite {
        SuiteId::Ristretto255Sha512.suite()
    }

    fn key(seed: u8) -> MaskKey {
        SessionSeed::from_bytes([seed; 32]).mask_key(suite(), "text/1", &[0; 32])
    }

    fn proof() -> KnowledgeProof {
        prove_knowledge(suite(), &key(5), SID, Role::Initiator, 3, IDENTITY)
    }

    #[test]
    fn an_honest_proof_holds_and_is_the_same_twice() {
        let y = *key(5).public();
        assert_eq!(verify_knowledge(suite(), SID, Role::Initiator, 3, IDENTITY, &y, &proof()), Ok(()));
        assert_eq!(proof(), proof());
        assert_eq!(KnowledgeProof::from_bytes(suite(), &proof().to_bytes()), Ok(proof()));
    }

    #[test]
    fn a_proof_holds_for_nothing_else() {
        let (y, other) = (*key(5).public(), *key(6).public());
        let check =
            |sid, role, list, identity, y| verify_knowledge(suite(), sid, role, list, identity, y, &proof());
        let wrong = Err(Invalid::WrongProof);
        assert_eq!(check(&[9; 32], Role::Initiator, 3, IDENTITY, &y), wrong);
        assert_eq!(check(SID, Role::Responder, 3, IDENTITY, &y), wrong);
        assert_eq!(check(SID, Role::Initiator, 4, IDENTITY, &y), wrong);
        assert_eq!(check(SID, Role::Initiator, 3, &[9; 32], &y), wrong);
        assert_eq!(check(SID, Role::Initiator, 3, IDENTITY, &other), wrong);
        assert_eq!(
            check(SID, Role::Initiator, 3, IDENTITY, &[0; 32]),
            Err(Invalid::Key(ElementFault::Identity))
        );
        let not_canonical = Err(Invalid::Key(ElementFault::NotCanonical));
        assert_eq!(check(SID, Role::Initiator, 3, IDENTITY, &[255; 32]), not_canonical);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let (y, bytes) = (*key(5).public(), proof().to_bytes());
        for bit in 0..8 * PROOF_BYTES {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let checked = KnowledgeProof::from_bytes(suite(), &flipped)
                .and_then(|proof| verify_knowledge(suite(), SID, Role::Initiator, 3, IDENTITY, &y, &proof));
            assert!(checked.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn two_statements_have_two_nonces() {
        let key = key(5);
        let nonce_for = |sid, role, list, identity| {
            *nonce(suite(), &key, &[&head(sid, role, list, identity, key.public())]).as_bytes()
        };
        let nonces = [
            nonce_for(SID, Role::Initiator, 3, IDENTITY),
            nonce_for(&[9; 32], Role::Initiator, 3, IDENTITY),
            nonce_for(SID, Role::Responder, 3, IDENTITY),
            nonce_for(SID, Role::Initiator, 4, IDENTITY),
            nonce_for(SID, Role::Initiator, 3, &[9; 32]),
        ];
        for (i, nonce) in nonces.iter().enumerate() {
            assert!(!nonces[..i].contains(nonce));
        }
    }
}
