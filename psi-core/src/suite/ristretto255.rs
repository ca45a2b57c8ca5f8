//! ristretto255-SHA512 (RFC 9496, RFC 9380 section 5.3.1, RFC 9497 section 4.1): batches on psi-simd, single elements and
//! scalars on curve25519-dalek.
//!
//! A batch is cut into sub-batches, each a task of the rayon pool, and goes through psi-simd's stages on the fastest path of
//! this CPU: hash or decode, multiply, encode.
//!
//! Everything that sees a secret scalar is constant in time. The variable-time multi-scalar multiplication branches on
//! its coefficients alone and feeds the points to complete formulas. A proof over a peer's elements has public
//! coefficients. A mask proof has coefficients that are a hash of the whole list and of all its multiples, and points
//! H(x) that are secret: its timing depends on 128-bit hash outputs that nobody can predict who doesn't hold the whole
//! list already, and neither on k nor on the value of a point.

use std::sync::LazyLock;

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_COMPRESSED;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar as Integer;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use psi_simd::{Bad, Path, Points};
use rayon::prelude::*;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::{Composites, Group, Scalar, Side, Suite, SuiteId, Weigh};
use crate::element::{Element, ElementAt, ElementFault};

/// Points that share one inversion. From 256 on the inversion is below 2 % of an encoding.
const SUB_BATCH: usize = 512;

/// The suite, with the instructions that its batches use.
#[derive(Debug)]
pub(super) struct Ristretto255(Path);

/// The suite on every path of this CPU, the fastest first.
pub(super) fn on_paths() -> &'static [Ristretto255] {
    static ON_PATHS: LazyLock<Vec<Ristretto255>> =
        LazyLock::new(|| Path::available().iter().copied().map(Ristretto255).collect());
    &ON_PATHS
}

impl Ristretto255 {
    pub(super) fn path(&self) -> &'static str {
        self.0.name()
    }
}

impl Group for Ristretto255 {
    fn scalar_from_wide(&self, wide: &[u8; 64]) -> Scalar {
        pack(&Integer::from_bytes_mod_order_wide(wide))
    }

    fn scalar_from_bytes(&self, bytes: &[u8; 32]) -> Option<Scalar> {
        Option::<Integer>::from(Integer::from_canonical_bytes(*bytes)).map(|scalar| pack(&scalar))
    }

    fn hash_to_scalar(&self, dst: &[u8], message: &[u8]) -> Scalar {
        let mut wide = Zeroizing::new([0; 64]);
        Expander::new(dst, b"").expand(message, &mut *wide);
        self.scalar_from_wide(&wide)
    }

    fn generator(&self) -> Element {
        RISTRETTO_BASEPOINT_COMPRESSED.to_bytes()
    }

    fn check(&self, element: &Element) -> Result<(), ElementFault> {
        decode(element).map(|_| ())
    }

    fn multiply(&self, k: &Scalar, element: &Element) -> Option<Element> {
        let point = CompressedRistretto(*element).decompress()?;
        Some((point * *unpack(k)).compress().to_bytes())
    }

    fn combination(&self, s: &Scalar, a: &Element, c: &Scalar, b: &Element) -> Option<Element> {
        let points = [CompressedRistretto(*a).decompress()?, CompressedRistretto(*b).decompress()?];
        let sum = RistrettoPoint::vartime_multiscalar_mul([*unpack(s), *unpack(c)], points);
        Some(sum.compress().to_bytes())
    }

    fn response(&self, r: &Scalar, c: &Scalar, k: &Scalar) -> Scalar {
        let product = Zeroizing::new(*unpack(c) * *unpack(k));
        pack(&(*unpack(r) - *product))
    }
}

impl Suite for Ristretto255 {
    fn id(&self) -> SuiteId {
        SuiteId::Ristretto255Sha512
    }

    fn hash_to_group(&self, dst: &[u8], prefix: &[u8], messages: &[&[u8]], out: &mut [Element]) {
        // 1·H(m) goes through the very stages that k·H(m) goes through.
        mask_all(self.0, &Integer::ONE, dst, prefix, messages, out, false);
    }

    fn mask(
        &self,
        k: &Scalar,
        dst: &[u8],
        prefix: &[u8],
        messages: &[&[u8]],
        out: &mut [Element],
        weigh: Option<Weigh<'_>>,
    ) -> Option<Composites> {
        let k = unpack(k);
        let points = mask_all(self.0, &k, dst, prefix, messages, out, weigh.is_some());
        weigh.map(|weigh| composites_with_key(self.0, &k, &points, &weigh(out)))
    }

    fn evaluate(
        &self,
        k: &Scalar,
        elements: &[Element],
        out: &mut [Element],
        weigh: Option<Weigh<'_>>,
    ) -> Result<Option<Composites>, ElementAt> {
        let k = unpack(k);
        let points = evaluate_all(self.0, &k, elements, out, weigh.is_some())?;
        Ok(weigh.map(|weigh| composites_with_key(self.0, &k, &points, &weigh(out))))
    }

    fn combine(
        &self,
        c: &[Element],
        d: &[Element],
        weights: &[i128],
    ) -> Result<Composites, (Side, ElementAt)> {
        let of = |side| move |at| (side, at);
        let c = decode_all(self.0, c).map_err(of(Side::C))?;
        let d = decode_all(self.0, d).map_err(of(Side::D))?;
        let [m, z] = self.0.combine2(&c, &d, weights);
        Ok(Composites { m, z })
    }
}

/// M from the points, Z = k·M: the key saves the prover the second sum.
fn composites_with_key(path: Path, k: &Integer, points: &Points, weights: &[i128]) -> Composites {
    let m = path.combine(points, weights);
    let point = CompressedRistretto(m).decompress().expect("a sum is encoded canonically");
    Composites { m, z: (point * k).compress().to_bytes() }
}

/// `out[i]` = k·H(prefix ‖ messages\[i\]), a sub-batch at a time; keeps the H(m_i) only where they are needed.
fn mask_all(
    path: Path,
    k: &Integer,
    dst: &[u8],
    prefix: &[u8],
    messages: &[&[u8]],
    out: &mut [Element],
    keep: bool,
) -> Points {
    assert_eq!(messages.len(), out.len(), "one output a message");
    assert!(dst.len() <= 255, "a tag of at most 255 bytes");
    let k = Zeroizing::new(k.to_bytes());
    let sub_batches = messages.par_chunks(SUB_BATCH).zip(out.par_chunks_mut(SUB_BATCH));
    let parts = sub_batches.map(|(messages, out)| {
        let mut uniform = Zeroizing::new(vec![[0; 64]; messages.len()]);
        path.expand(dst, prefix, messages, &mut uniform);
        let mut points = Points::with_capacity(path, if keep { messages.len() } else { 0 });
        path.mask(&k, &uniform, out, keep.then_some(&mut points));
        points
    });
    joined(path, parts.collect())
}

/// `out[i]` = k·elements\[i\], a sub-batch at a time, each checked before it is multiplied; on an error `out` means nothing.
fn evaluate_all(
    path: Path,
    k: &Integer,
    elements: &[Element],
    out: &mut [Element],
    keep: bool,
) -> Result<Points, ElementAt> {
    assert_eq!(elements.len(), out.len(), "one output an element");
    let k = Zeroizing::new(k.to_bytes());
    let sub_batches = elements.par_chunks(SUB_BATCH).zip(out.par_chunks_mut(SUB_BATCH)).enumerate();
    let parts = sub_batches.map(|(at, (elements, out))| {
        let mut points = Points::with_capacity(path, if keep { elements.len() } else { 0 });
        let done = path.evaluate(&k, elements, out, keep.then_some(&mut points));
        done.map(|()| points).map_err(|bad| fault_in(at, bad))
    });
    in_order(path, parts.collect())
}

/// Decodes all or names the first that can't be.
fn decode_all(path: Path, elements: &[Element]) -> Result<Points, ElementAt> {
    let parts = elements.par_chunks(SUB_BATCH).enumerate().map(|(at, elements)| {
        let mut points = Points::with_capacity(path, elements.len());
        path.decode(elements, &mut points).map(|()| points).map_err(|bad| fault_in(at, bad))
    });
    in_order(path, parts.collect())
}

/// The parts as one, or the fault of the first part that has one, however the threads finished.
fn in_order(path: Path, parts: Vec<Result<Points, ElementAt>>) -> Result<Points, ElementAt> {
    parts.into_iter().collect::<Result<Vec<_>, _>>().map(|parts| joined(path, parts))
}

fn joined(path: Path, parts: Vec<Points>) -> Points {
    let mut all = Points::with_capacity(path, parts.iter().map(Points::len).sum());
    parts.iter().for_each(|part| all.append(part));
    all
}

/// A fault in a sub-batch, at its place in the batch.
fn fault_in(sub_batch: usize, bad: Bad) -> ElementAt {
    let fault = match bad.fault {
        psi_simd::Fault::NotCanonical => ElementFault::NotCanonical,
        psi_simd::Fault::Identity => ElementFault::Identity,
    };
    ElementAt { index: sub_batch * SUB_BATCH + bad.index, fault }
}

/// RFC 9496, section 4.3.1, and without the identity, which dalek decodes from 32 zero bytes.
fn decode(element: &Element) -> Result<RistrettoPoint, ElementFault> {
    match CompressedRistretto(*element).decompress() {
        None => Err(ElementFault::NotCanonical),
        Some(point) if point.is_identity() => Err(ElementFault::Identity),
        Some(point) => Ok(point),
    }
}

fn pack(scalar: &Integer) -> Scalar {
    Scalar::from_canonical(scalar.to_bytes())
}

/// The bytes are canonical already, so the reduction changes nothing; it is the constructor that can't fail.
fn unpack(scalar: &Scalar) -> Zeroizing<Integer> {
    Zeroizing::new(Integer::from_bytes_mod_order(*scalar.as_bytes()))
}

/// RFC 9380's `expand_message_xmd` with SHA-512, for many messages behind one prefix.
struct Expander {
    /// SHA-512 after Z_pad and the prefix.
    start: Sha512,
    dst_prime: Vec<u8>,
}

impl Expander {
    /// # Panics
    /// If `dst` is longer than 255 bytes, which RFC 9380 would hash first and no tag here is.
    fn new(dst: &[u8], prefix: &[u8]) -> Self {
        let length = u8::try_from(dst.len()).expect("a tag of at most 255 bytes");
        let start = Sha512::new().chain_update([0; 128]).chain_update(prefix);
        Self { start, dst_prime: [dst, &[length]].concat() }
    }

    /// Fills `out`, which is at most 255 digests long, with uniform bytes.
    fn expand(&self, message: &[u8], out: &mut [u8]) {
        let length = u16::try_from(out.len()).expect("at most 255 digests");
        let b_0 =
            self.start.clone().chain_update(message).chain_update(length.to_be_bytes()).chain_update([0]);
        let b_0: [u8; 64] = b_0.chain_update(&self.dst_prime).finalize().into();
        let mut chained = b_0;
        for (index, block) in (1..=255u8).zip(out.chunks_mut(64)) {
            let b_i = Sha512::new().chain_update(chained).chain_update([index]).chain_update(&self.dst_prime);
            let b_i: [u8; 64] = b_i.finalize().into();
            block.copy_from_slice(&b_i[..block.len()]);
            chained = std::array::from_fn(|j| b_0[j] ^ b_i[j]);
        }
    }
}

#[cfg(test)]
mod tests;
