//! Hash or decode, multiply, encode: the calls on whole batches.

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use zeroize::{Zeroize, Zeroizing};

use crate::edwards::Point;
use crate::ladder::{Multiply, Swaps};
use crate::lane::{Kernel, Lane, Mask};
use crate::path::{Job, Path};
use crate::points::{Keep, Points, Store};
use crate::portable;
use crate::ristretto::{self, Decoded, DoubleEncode};

/// How many elements are multiplied and encoded at a time, with one inversion each, on a vector path.
const BLOCK: usize = 1024;

/// Why an element was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("element {index} is {fault}")]
pub struct Bad {
    /// Where it stands in the batch, from 0; the first one, if there are several.
    pub index: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not the canonical encoding of an element (RFC 9496, section 4.3.1).
    #[error("no canonical encoding")]
    NotCanonical,
    /// The identity, which every scalar maps to itself.
    #[error("the identity")]
    Identity,
}

impl Path {
    /// Maps 64 uniform bytes an element to the group (RFC 9496, section 4.3.4), multiplies by `k` and encodes.
    ///
    /// `k` is little-endian and taken modulo the order of the group. The elements before the multiplication are added to
    /// `keep`. Takes the same time for every `k`.
    ///
    /// # Panics
    /// If `out` is not as long as `uniform`.
    pub fn mask(self, k: &[u8; 32], uniform: &[[u8; 64]], out: &mut [[u8; 32]], keep: Option<&mut Points>) {
        assert_eq!(uniform.len(), out.len(), "one result an element");
        self.dispatch(MaskAll { half: Half::new(k), uniform, out, path: self, keep });
    }

    /// Decodes a peer's elements, multiplies by `k` and encodes.
    ///
    /// All elements are checked before any is multiplied; on an error `out` and `keep` are as they were. The elements before
    /// the multiplication are added to `keep`. `k` as in [`Path::mask`].
    ///
    /// # Errors
    /// [`Bad`] names the first element that is no canonical encoding or the identity.
    ///
    /// # Panics
    /// If `out` is not as long as `encodings`.
    pub fn evaluate(
        self,
        k: &[u8; 32],
        encodings: &[[u8; 32]],
        out: &mut [[u8; 32]],
        keep: Option<&mut Points>,
    ) -> Result<(), Bad> {
        assert_eq!(encodings.len(), out.len(), "one result an element");
        self.dispatch(Evaluate { half: Half::new(k), encodings, out, path: self, keep })
    }

    /// Decodes elements and adds them to `points`.
    ///
    /// # Errors
    /// As [`Path::evaluate`]; then none was added.
    pub fn decode(self, encodings: &[[u8; 32]], points: &mut Points) -> Result<(), Bad> {
        self.dispatch(Decode { encodings, identity: Identity::Refused, path: self, points })
    }

    /// [`Path::decode`] that allows the identity.
    pub(crate) fn decode_any(self, encodings: &[[u8; 32]], points: &mut Points) -> Result<(), Bad> {
        self.dispatch(Decode { encodings, identity: Identity::Allowed, path: self, points })
    }
}

/// What decoding does about the identity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    Allowed,
    Refused,
}

/// k/2 modulo the order: the encoding doubles.
struct Half(Scalar);

impl Half {
    fn new(k: &[u8; 32]) -> Self {
        let mut k = Scalar::from_bytes_mod_order(*k);
        let half = Self(k.div_by_2());
        k.zeroize();
        half
    }

    fn swaps(&self) -> Swaps {
        Swaps::new(&Zeroizing::new(self.0.to_bytes()))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

struct MaskAll<'a> {
    half: Half,
    uniform: &'a [[u8; 64]],
    out: &'a mut [[u8; 32]],
    path: Path,
    keep: Option<&'a mut Points>,
}

impl Job for MaskAll<'_> {
    type Output = ();

    fn on_lanes<L: Lane>(mut self) {
        let swaps = self.half.swaps();
        let mut points = vec![Point::<L>::identity(); BLOCK.min(self.uniform.len()).div_ceil(L::LANES)];
        for (uniform, out) in self.uniform.chunks(BLOCK).zip(self.out.chunks_mut(BLOCK)) {
            let points = &mut points[..uniform.len().div_ceil(L::LANES)];
            L::call(Hash { uniform, points });
            keep_points(self.path, self.keep.as_deref_mut(), points, false, uniform.len());
            multiply(&swaps, points, out);
        }
    }

    fn portable(self) {
        let points = portable::hash(self.uniform);
        portable::multiply(&self.half.0, &points, self.out);
        keep_portable(self.keep, points);
    }
}

/// The points come out multiplied.
fn multiply<L: Lane>(swaps: &Swaps, points: &mut [Point<L>], out: &mut [[u8; 32]]) {
    L::call(Multiply { swaps, points });
    L::call(DoubleEncode { points, out });
}

/// Adds the first `count` points to `keep`, in the form that it has.
fn keep_points<L: Lane>(
    path: Path,
    keep: Option<&mut Points>,
    points: &[Point<L>],
    affine: bool,
    count: usize,
) {
    let Some(keep) = keep else { return };
    if let Store::Records(records) = &mut keep.store {
        return L::call(Keep { points, affine, count, records });
    }
    let mut kept = Points::new(path);
    keep_points(path, Some(&mut kept), points, affine, count);
    keep.append(&kept);
}

fn keep_portable(keep: Option<&mut Points>, points: Vec<RistrettoPoint>) {
    if let Some(keep) = keep {
        keep.append(&Points::with(Path::Portable, Store::Portable(points)));
    }
}

pub(crate) struct Hash<'a, L: Lane> {
    pub(crate) uniform: &'a [[u8; 64]],
    pub(crate) points: &'a mut [Point<L>],
}

impl<L: Lane> Kernel<L> for Hash<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (uniform, point) in self.uniform.chunks(L::LANES).zip(self.points) {
            *point = ristretto::hash(uniform);
        }
    }
}

struct Evaluate<'a> {
    half: Half,
    encodings: &'a [[u8; 32]],
    out: &'a mut [[u8; 32]],
    path: Path,
    keep: Option<&'a mut Points>,
}

impl Job for Evaluate<'_> {
    type Output = Result<(), Bad>;

    fn on_lanes<L: Lane>(self) -> Result<(), Bad> {
        let mut points = decode::<L>(self.encodings, Identity::Refused)?;
        keep_points(self.path, self.keep, &points, true, self.encodings.len());
        let swaps = self.half.swaps();
        for (points, out) in points.chunks_mut(BLOCK / L::LANES).zip(self.out.chunks_mut(BLOCK)) {
            multiply(&swaps, points, out);
        }
        Ok(())
    }

    fn portable(self) -> Result<(), Bad> {
        let points = decode_portable(self.encodings, Identity::Refused)?;
        portable::multiply(&self.half.0, &points, self.out);
        keep_portable(self.keep, points);
        Ok(())
    }
}

struct Decode<'a> {
    encodings: &'a [[u8; 32]],
    identity: Identity,
    path: Path,
    points: &'a mut Points,
}

impl Job for Decode<'_> {
    type Output = Result<(), Bad>;

    fn on_lanes<L: Lane>(self) -> Result<(), Bad> {
        let points = decode::<L>(self.encodings, self.identity)?;
        keep_points(self.path, Some(self.points), &points, true, self.encodings.len());
        Ok(())
    }

    fn portable(self) -> Result<(), Bad> {
        keep_portable(Some(self.points), decode_portable(self.encodings, self.identity)?);
        Ok(())
    }
}

fn decode_portable(encodings: &[[u8; 32]], identity: Identity) -> Result<Vec<RistrettoPoint>, Bad> {
    let decoded = portable::decode(encodings);
    let sound = decoded.as_ref().map_or_else(|&index| index, Vec::len);
    if identity == Identity::Refused
        && let Some(index) = encodings[..sound].iter().position(|bytes| *bytes == [0; 32])
    {
        return Err(Bad { index, fault: Fault::Identity });
    }
    decoded.map_err(|index| Bad { index, fault: Fault::NotCanonical })
}

fn decode<L: Lane>(encodings: &[[u8; 32]], identity: Identity) -> Result<Vec<Point<L>>, Bad> {
    let mut points = vec![Point::identity(); encodings.len().div_ceil(L::LANES)];
    L::call(DecodeAll { encodings, identity, points: &mut points })?;
    Ok(points)
}

pub(crate) struct DecodeAll<'a, L: Lane> {
    pub(crate) encodings: &'a [[u8; 32]],
    pub(crate) identity: Identity,
    pub(crate) points: &'a mut [Point<L>],
}

impl<L: Lane> Kernel<L> for DecodeAll<'_, L> {
    type Output = Result<(), Bad>;

    /// Two vectors at a time.
    #[inline(always)]
    fn run(self) -> Result<(), Bad> {
        let pairs = self.encodings.chunks(2 * L::LANES).zip(self.points.chunks_mut(2));
        for (pair, (encodings, points)) in pairs.enumerate() {
            let (first, second) = encodings.split_at(encodings.len().min(L::LANES));
            let decoded = ristretto::decode([first, second]);
            for (half, (point, decoded)) in points.iter_mut().zip(&decoded).enumerate() {
                *point = decoded.point;
                let bytes = if half == 0 { first } else { second };
                check(decoded, bytes.len(), self.identity)
                    .map_err(|bad| Bad { index: (2 * pair + half) * L::LANES + bad.index, ..bad })?;
            }
        }
        Ok(())
    }
}

/// Refuses the first bad lane of a vector.
#[inline(always)]
fn check<L: Lane>(decoded: &Decoded<L>, lanes: usize, identity: Identity) -> Result<(), Bad> {
    let refused = if identity == Identity::Refused { decoded.identity & decoded.valid } else { 0 };
    let all = ((1u16 << lanes) - 1) as Mask;
    let bad = (!decoded.valid | refused) & all;
    if bad == 0 {
        return Ok(());
    }
    let index = bad.trailing_zeros() as usize;
    let fault = if refused >> index & 1 == 1 { Fault::Identity } else { Fault::NotCanonical };
    Err(Bad { index, fault })
}
