//! Proofs that a whole message was multiplied by the key behind Y = k·G (docs/PROTOCOL.md, "Proofs").
//!
//! A batched Chaum-Pedersen proof: both sides fold the pairs (C_i, D_i) into M = 2·Σ d_i·C_i and Z = 2·Σ d_i·D_i, and the
//! Schnorr part, that of RFC 9497 (section 2.2), shows log_G(Y) = log_M(Z). The coefficients d_i are not the RFC's. There
//! d_i depends on (Y, i, C_i, D_i) alone, so that a forger of a large batch can search for wrong pairs one by one whose
//! weighted errors cancel. Here every d_i depends on the whole message: whoever changes one byte of it gets 128 fresh bits
//! for every pair. docs/decisions/0001-proof-coefficients.md has the argument.
//!
//! With F(x) = length of x in 8 bytes, big-endian ‖ x, and integers big-endian:
//!
//! ```text
//! head   = F(label) F(sid: 32) F(role: 1) F(list: 2) F(index: 4) F(n: 8) F(Y: 32)
//! seed   = SHA-256(head F(C_0 ‖ ... ‖ C_n-1: 32n) F(D_0 ‖ ... ‖ D_n-1: 32n))        label "XPSI1-DLEQ"
//! seed   = SHA-256(head F(prefix) F(m_0) ... F(m_n-1) F(D_0 ‖ ... ‖ D_n-1: 32n))    label "XPSI1-MASK", C_i = H(prefix ‖ m_i)
//! d_i    = bytes 16i to 16i + 15 of the ChaCha20 keystream (RFC 8439; key = seed, nonce 0, counter 0), a two's-complement little-endian integer from -2^127 to 2^127 - 1
//! r      = wide(SHA-512(F("XPSI1-NONCE") F(nonce key: 32) F(head) F(seed: 32) F(M: 32) F(Z: 32)))
//! t2, t3 = r·G, r·M
//! c      = HashToScalar(0020 ‖ Y ‖ 0020 ‖ M ‖ 0020 ‖ Z ‖ 0020 ‖ t2 ‖ 0020 ‖ t3 ‖ "Challenge"), DST of RFC 9497 in mode 01
//! s      = r - c·k
//! proof  = c ‖ s, 32 bytes each
//! ```
//!
//! wide() reads 64 bytes as the suite's `scalar_from_wide` does (ristretto255: little-endian, modulo the group order). A
//! verifier computes t2 = s·G + c·Y and t3 = s·M + c·Z and compares c.
//!
//! The nonce is a function of the secret nonce key and everything that the challenge depends on, so one statement has one
//! proof, and two statements never share a nonce: a shared one would give k away.

mod knowledge;

use std::sync::OnceLock;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

pub use self::knowledge::{KnowledgeProof, prove_knowledge, verify_knowledge};
use crate::element::{Element, ElementAt, ElementFault, field_length, joined};
use crate::key::{MaskKey, Role};
use crate::suite::{Composites, Group, Scalar, Side, Suite};

/// Bytes of an encoded proof.
pub const PROOF_BYTES: usize = 64;

/// The message that a proof is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statement<'a> {
    /// The session.
    pub sid: &'a [u8; 32],
    /// Who makes the proof.
    pub role: Role,
    /// Which of the session's lists, from 0.
    pub list: u16,
    /// Which message of this kind for this list, from 0.
    pub index: u32,
}

impl Statement<'_> {
    fn head(&self, label: &str, n: usize, y: &Element) -> Vec<u8> {
        let n = (n as u64).to_be_bytes();
        let (role, list, index) = ([self.role.code()], self.list.to_be_bytes(), self.index.to_be_bytes());
        joined(&[label.as_bytes(), self.sid, &role, &list, &index, &n, y])
    }
}

/// A challenge and its response: c ‖ s, both canonical scalars.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof([u8; PROOF_BYTES]);

impl Proof {
    /// Takes a proof from outside.
    ///
    /// # Errors
    /// [`Invalid::NotCanonical`] if either half is not a canonical scalar.
    pub fn from_bytes(suite: &dyn Suite, bytes: &[u8; PROOF_BYTES]) -> Result<Self, Invalid> {
        let proof = Self(*bytes);
        proof.scalars(suite).map(|_| proof).ok_or(Invalid::NotCanonical)
    }

    /// c ‖ s
    pub fn to_bytes(&self) -> [u8; PROOF_BYTES] {
        self.0
    }

    fn new(c: &Scalar, s: &Scalar) -> Self {
        let mut bytes = [0; PROOF_BYTES];
        bytes[..32].copy_from_slice(c.as_bytes());
        bytes[32..].copy_from_slice(s.as_bytes());
        Self(bytes)
    }

    fn scalars(&self, group: &(impl Group + ?Sized)) -> Option<(Scalar, Scalar)> {
        let half = |at: usize| group.scalar_from_bytes(&std::array::from_fn(|i| self.0[at + i]));
        Some((half(0)?, half(32)?))
    }
}

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The two slices are not equally long.
    #[error("expected {expected} returned elements, got {got}")]
    Lengths {
        /// How many were multiplied.
        expected: usize,
        /// How many were returned.
        got: usize,
    },
    /// A proof over nothing, which any two sessions could share.
    #[error("proof over no elements")]
    Empty,
    /// The public key is no key.
    #[error("public key is {0}")]
    Key(ElementFault),
    /// An element can't be decoded.
    #[error("{0} {1}")]
    Element(Side, ElementAt),
    /// A scalar of the proof is not canonical.
    #[error("proof is not two canonical scalars")]
    NotCanonical,
    /// The elements are not those multiplied by the key, or the proof belongs to something else.
    #[error("proof does not hold for these elements")]
    WrongProof,
}

/// Evaluates one message of the peer and proves it: `out[i]` = k·elements\[i\].
///
/// A proof over no elements is made, but no verifier takes it.
///
/// # Errors
/// The first element that is not canonical or is the identity; nothing has been multiplied then.
///
/// # Panics
/// If the lengths differ.
pub fn evaluate(
    suite: &dyn Suite,
    key: &MaskKey,
    statement: &Statement<'_>,
    elements: &[Element],
    out: &mut [Element],
) -> Result<Proof, ElementAt> {
    let prover = Prover::new(suite, key, statement.head("XPSI1-DLEQ", elements.len(), key.public()));
    let weigh = |d: &[Element]| prover.weigh(|head| evaluated_seed(head, elements, d), d.len());
    let composites = suite.evaluate(key.scalar(), elements, out, Some(&weigh))?;
    Ok(prover.prove(&composites.expect("composites are made when coefficients are given")))
}

/// Checks the proof that `d[i]` = k·`c[i]` for the k behind `y`. `statement` names the party that made it.
///
/// # Errors
/// [`Invalid`], which says what is wrong.
pub fn verify(
    suite: &dyn Suite,
    statement: &Statement<'_>,
    y: &Element,
    c: &[Element],
    d: &[Element],
    proof: &Proof,
) -> Result<(), Invalid> {
    let head = statement.head("XPSI1-DLEQ", c.len(), y);
    verify_batch(suite, y, c, d, || evaluated_seed(&head, c, d), proof)
}

/// Masks one part of the own list and proves it: `out[i]` = k·H(prefix ‖ messages\[i\]).
///
/// The seed binds the messages, which determine H(m_i), so that no H(m_i) need be encoded.
///
/// # Panics
/// If the lengths differ.
pub fn mask(
    suite: &dyn Suite,
    key: &MaskKey,
    statement: &Statement<'_>,
    prefix: &[u8],
    messages: &[&[u8]],
    out: &mut [Element],
) -> Proof {
    let prover = Prover::new(suite, key, statement.head("XPSI1-MASK", messages.len(), key.public()));
    let weigh = |d: &[Element]| prover.weigh(|head| masked_seed(head, prefix, messages, d), d.len());
    let dst = suite.id().hash_to_group_dst();
    let composites = suite.mask(key.scalar(), dst, prefix, messages, out, Some(&weigh));
    prover.prove(&composites.expect("composites are made when coefficients are given"))
}

/// Checks the proof that `masked[i]` = k·H(prefix ‖ messages\[i\]) for the k behind `y`, on the day a list is opened.
///
/// # Errors
/// [`Invalid`], which says what is wrong.
pub fn verify_mask(
    suite: &dyn Suite,
    statement: &Statement<'_>,
    y: &Element,
    prefix: &[u8],
    messages: &[&[u8]],
    masked: &[Element],
    proof: &Proof,
) -> Result<(), Invalid> {
    let mut hashed = vec![Element::default(); messages.len()];
    suite.hash_to_group(suite.id().hash_to_group_dst(), prefix, messages, &mut hashed);
    let head = statement.head("XPSI1-MASK", messages.len(), y);
    verify_batch(suite, y, &hashed, masked, || masked_seed(&head, prefix, messages, masked), proof)
}

fn verify_batch(
    suite: &dyn Suite,
    y: &Element,
    c: &[Element],
    d: &[Element],
    seed: impl FnOnce() -> Seed,
    proof: &Proof,
) -> Result<(), Invalid> {
    if c.len() != d.len() {
        return Err(Invalid::Lengths { expected: c.len(), got: d.len() });
    }
    if c.is_empty() {
        return Err(Invalid::Empty);
    }
    suite.check(y).map_err(Invalid::Key)?;
    let weights = coefficients(&seed(), c.len());
    let composites = suite.combine(c, d, &weights).map_err(|(side, at)| Invalid::Element(side, at))?;
    verify_composites(suite, y, &composites, proof)
}

type Seed = [u8; 32];

fn evaluated_seed(head: &[u8], c: &[Element], d: &[Element]) -> Seed {
    let hash = Sha256::new_with_prefix(head);
    [c, d]
        .into_iter()
        .fold(hash, |hash, elements| chain_field(hash, elements.as_flattened()))
        .finalize()
        .into()
}

fn masked_seed(head: &[u8], prefix: &[u8], messages: &[&[u8]], d: &[Element]) -> Seed {
    let hash = chain_field(Sha256::new_with_prefix(head), prefix);
    let hash = messages.iter().fold(hash, |hash, message| chain_field(hash, message));
    chain_field(hash, d.as_flattened()).finalize().into()
}

fn chain_field<H: Digest>(hash: H, bytes: &[u8]) -> H {
    hash.chain_update(field_length(bytes)).chain_update(bytes)
}

/// d_0 to d_n-1.
fn coefficients(seed: &Seed, n: usize) -> Vec<i128> {
    let mut keystream = vec![[0; 16]; n];
    ChaCha20::new(seed.into(), &[0; 12].into()).apply_keystream(keystream.as_flattened_mut());
    keystream.into_iter().map(i128::from_le_bytes).collect()
}

/// A proof in the making: its seed is known only when the outputs are.
struct Prover<'a> {
    suite: &'a dyn Suite,
    key: &'a MaskKey,
    head: Vec<u8>,
    seed: OnceLock<Seed>,
}

impl<'a> Prover<'a> {
    fn new(suite: &'a dyn Suite, key: &'a MaskKey, head: Vec<u8>) -> Self {
        Self { suite, key, head, seed: OnceLock::new() }
    }

    fn weigh(&self, seed: impl FnOnce(&[u8]) -> Seed, n: usize) -> Vec<i128> {
        coefficients(self.seed.get_or_init(|| seed(&self.head)), n)
    }

    fn prove(&self, composites: &Composites) -> Proof {
        let seed = self.seed.get().expect("a suite asks for the coefficients before it gives composites");
        let r = nonce(self.suite, self.key, &[&self.head, seed, &composites.m, &composites.z]);
        prove_composites(self.suite, self.key, composites, &r)
    }
}

/// wide(SHA-512(F("XPSI1-NONCE") F(nonce key) F(part) ...)): the same for the same parts, unknown without the key.
fn nonce(group: &(impl Group + ?Sized), key: &MaskKey, parts: &[&[u8]]) -> Scalar {
    let hash = chain_field(chain_field(Sha512::new(), b"XPSI1-NONCE"), key.nonce_key().as_bytes());
    let hash = parts.iter().fold(hash, |hash, part| chain_field(hash, part));
    group.scalar_from_wide(&Zeroizing::new(hash.finalize().into()))
}

/// RFC 9497, GenerateProof from the composites on, with the nonce as an argument.
fn prove_composites(suite: &dyn Suite, key: &MaskKey, composites: &Composites, r: &Scalar) -> Proof {
    let times_r = |element| suite.multiply(r, element).expect("the prover's own elements are canonical");
    let (t2, t3) = (times_r(&suite.generator()), times_r(&composites.m));
    let c = challenge(suite, key.public(), composites, &t2, &t3);
    Proof::new(&c, &suite.response(r, &c, key.scalar()))
}

/// RFC 9497, VerifyProof from the composites on.
fn verify_composites(
    suite: &dyn Suite,
    y: &Element,
    composites: &Composites,
    proof: &Proof,
) -> Result<(), Invalid> {
    let (c, s) = proof.scalars(suite).ok_or(Invalid::NotCanonical)?;
    let t2 = suite.combination(&s, &suite.generator(), &c, y).ok_or(Invalid::WrongProof)?;
    let t3 = suite.combination(&s, &composites.m, &c, &composites.z).ok_or(Invalid::WrongProof)?;
    if challenge(suite, y, composites, &t2, &t3) == c { Ok(()) } else { Err(Invalid::WrongProof) }
}

fn challenge(suite: &dyn Suite, y: &Element, composites: &Composites, t2: &Element, t3: &Element) -> Scalar {
    let mut transcript = Vec::with_capacity(5 * (2 + y.len()) + 9);
    for element in [y, &composites.m, &composites.z, t2, t3] {
        transcript.extend_from_slice(&(element.len() as u16).to_be_bytes());
        transcript.extend_from_slice(element);
    }
    transcript.extend_from_slice(b"Challenge");
    let dst = [b"HashToScalar-OPRFV1-\x01-", suite.id().name().as_bytes()].concat();
    suite.hash_to_scalar(&dst, &transcript)
}

#[cfg(test)]
mod tests;
