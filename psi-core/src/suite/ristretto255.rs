//! ristretto255-SHA512 (RFC 9496, RFC 9380 section 5.3.1, RFC 9497 section 4.1) on curve25519-dalek.
//!
//! A batch is cut into sub-batches, each a task of the rayon pool, and goes through stages: hash or decode, multiply,
//! encode. A stage that multiplies does so with half the scalar, since dalek's batch encoder, which shares one inversion
//! among a sub-batch, encodes the double of what it is given.
//!
//! Everything that sees a secret scalar is constant in time. The variable-time multi-scalar multiplication branches on
//! its coefficients alone and feeds the points to complete formulas. A proof over a peer's elements has public
//! coefficients. A mask proof has coefficients that are a hash of the whole list and of all its multiples, and points
//! H(x) that are secret: its timing depends on 128-bit hash outputs that nobody can predict who doesn't hold the whole
//! list already, and neither on k nor on the value of a point.

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_COMPRESSED;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar as Integer;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use rayon::prelude::*;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::{Composites, Group, Scalar, Side, Suite, SuiteId, Weigh};
use crate::element::{Element, ElementAt, ElementFault};

/// Points that share one inversion. From 256 on the inversion is below 2 % of an encoding.
const SUB_BATCH: usize = 512;

/// The fewest points worth a multi-scalar multiplication of their own: below, its buckets cost more than a core gains.
const SUM_AT_LEAST: usize = 2048;

/// The suite; it has no state.
#[derive(Debug)]
pub(super) struct Ristretto255;

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
        assert_eq!(messages.len(), out.len(), "one output a message");
        let expander = Expander::new(dst, prefix);
        messages.par_iter().zip(out).with_min_len(SUB_BATCH).for_each(|(message, out)| {
            *out = expander.hash(message).compress().to_bytes();
        });
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
        let (k, expander) = (unpack(k), Expander::new(dst, prefix));
        let Some(weigh) = weigh else {
            mask_all(&k, &expander, messages, out);
            return None;
        };
        let points = hash_all(&expander, messages);
        multiply_all(&k, &points, out);
        Some(composites_with_key(&k, &points, &weigh(out)))
    }

    fn evaluate(
        &self,
        k: &Scalar,
        elements: &[Element],
        out: &mut [Element],
        weigh: Option<Weigh<'_>>,
    ) -> Result<Option<Composites>, ElementAt> {
        let (k, points) = (unpack(k), decode_all(elements)?);
        multiply_all(&k, &points, out);
        Ok(weigh.map(|weigh| composites_with_key(&k, &points, &weigh(out))))
    }

    fn combine(
        &self,
        c: &[Element],
        d: &[Element],
        weights: &[i128],
    ) -> Result<Composites, (Side, ElementAt)> {
        let of = |side| move |at| (side, at);
        let m = weighted_sum(&decode_all(c).map_err(of(Side::C))?, weights);
        let z = weighted_sum(&decode_all(d).map_err(of(Side::D))?, weights);
        Ok(encode_composites([m, z]))
    }
}

/// M from the points, Z = k·M: the key saves the prover the second sum.
fn composites_with_key(k: &Integer, points: &[RistrettoPoint], weights: &[i128]) -> Composites {
    let m = weighted_sum(points, weights);
    encode_composites([m, m * k])
}

fn encode_composites(sums: [RistrettoPoint; 2]) -> Composites {
    let [mut m, mut z] = [Element::default(); 2];
    encode_doubles(&sums, [&mut m, &mut z]);
    Composites { m, z }
}

/// Hash, multiply and encode, a sub-batch at a time: no H(x) outlives its sub-batch.
fn mask_all(k: &Integer, expander: &Expander, messages: &[&[u8]], out: &mut [Element]) {
    assert_eq!(messages.len(), out.len(), "one output a message");
    let half = Zeroizing::new(k.div_by_2());
    messages.par_chunks(SUB_BATCH).zip(out.par_chunks_mut(SUB_BATCH)).for_each(|(messages, out)| {
        let products: Vec<_> = messages.iter().map(|message| expander.hash(message) * *half).collect();
        encode_doubles(&products, out);
    });
}

fn hash_all(expander: &Expander, messages: &[&[u8]]) -> Vec<RistrettoPoint> {
    messages.par_iter().with_min_len(SUB_BATCH).map(|message| expander.hash(message)).collect()
}

/// `out[i]` = k·points\[i\], encoded.
fn multiply_all(k: &Integer, points: &[RistrettoPoint], out: &mut [Element]) {
    assert_eq!(points.len(), out.len(), "one output an input");
    let half = Zeroizing::new(k.div_by_2());
    points.par_chunks(SUB_BATCH).zip(out.par_chunks_mut(SUB_BATCH)).for_each(|(points, out)| {
        let products: Vec<_> = points.iter().map(|point| point * *half).collect();
        encode_doubles(&products, out);
    });
}

/// The encodings of 2·P for each P, with one inversion.
fn encode_doubles<'a>(points: &[RistrettoPoint], out: impl IntoIterator<Item = &'a mut Element>) {
    for (encoding, out) in RistrettoPoint::double_and_compress_batch(points).iter().zip(out) {
        *out = encoding.to_bytes();
    }
}

/// Decodes all or names the first that can't be.
fn decode_all(elements: &[Element]) -> Result<Vec<RistrettoPoint>, ElementAt> {
    let mut points = vec![RistrettoPoint::default(); elements.len()];
    let first_fault =
        elements.par_iter().zip(&mut points).with_min_len(SUB_BATCH).enumerate().find_map_first(
            |(index, (element, point))| match decode(element) {
                Ok(decoded) => {
                    *point = decoded;
                    None
                }
                Err(fault) => Some(ElementAt { index, fault }),
            },
        );
    first_fault.map_or(Ok(points), Err)
}

/// RFC 9496, section 4.3.1, and without the identity, which dalek decodes from 32 zero bytes.
fn decode(element: &Element) -> Result<RistrettoPoint, ElementFault> {
    match CompressedRistretto(*element).decompress() {
        None => Err(ElementFault::NotCanonical),
        Some(point) if point.is_identity() => Err(ElementFault::Identity),
        Some(point) => Ok(point),
    }
}

/// Σ weights\[i\]·points\[i\], in variable time: the module says why it may be.
fn weighted_sum(points: &[RistrettoPoint], weights: &[i128]) -> RistrettoPoint {
    assert_eq!(points.len(), weights.len(), "one weight a point");
    let share = points.len().div_ceil(rayon::current_num_threads()).max(SUM_AT_LEAST);
    points.par_chunks(share).zip(weights.par_chunks(share)).map(|(p, w)| weighted_share(p, w)).sum()
}

/// The sign goes to the point, so that the scalars stay short.
fn weighted_share(points: &[RistrettoPoint], weights: &[i128]) -> RistrettoPoint {
    let scalars = weights.iter().map(|weight| Integer::from(weight.unsigned_abs()));
    let signed = points.iter().zip(weights).map(|(point, &weight)| if weight < 0 { -point } else { *point });
    RistrettoPoint::vartime_multiscalar_mul(scalars, signed)
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

    /// RFC 9496's one-way map of 64 expanded bytes.
    fn hash(&self, message: &[u8]) -> RistrettoPoint {
        let mut uniform = [0; 64];
        self.expand(message, &mut uniform);
        RistrettoPoint::from_uniform_bytes(&uniform)
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
