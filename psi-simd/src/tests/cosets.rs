//! Every point that stands for an element: the four of its coset, with any z.

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;

use super::{edge_scalars, encode, hashed, paths, scalar};
use crate::edwards::{Point, Split};
use crate::field::{Fe, SQRT_M1};
use crate::ladder::{Multiply, Swaps};
use crate::lane::{Kernel, Lane};
use crate::path::Job;
use crate::ristretto::{self, DoubleEncode};

/// Decodes, adds a point of order 1, 2 or 4, scales the coordinates, and goes on from there.
struct Shifted<'a> {
    encodings: &'a [[u8; 32]],
    /// The multiple of (i, 0) that is added.
    torsion: usize,
    then: Then<'a>,
    out: &'a mut [[u8; 32]],
}

#[derive(Clone, Copy)]
enum Then<'a> {
    Encode,
    DoubleEncode,
    Multiply(&'a Scalar),
}

impl Job for Shifted<'_> {
    type Output = bool;

    fn on_lanes<L: Lane>(self) -> bool {
        let Self { encodings, torsion, then, out } = self;
        for (encodings, out) in encodings.chunks(L::LANES).zip(out.chunks_mut(L::LANES)) {
            let mut points = [L::call(Shift { encodings, torsion })];
            if let Then::Multiply(k) = then {
                L::call(Multiply { swaps: &Swaps::new(k.as_bytes()), points: &mut points });
            }
            match then {
                Then::Encode => L::call(Encode { point: &points[0], out }),
                _ => L::call(DoubleEncode { points: &points, out }),
            }
        }
        true
    }

    fn portable(self) -> bool {
        false
    }
}

struct Shift<'a> {
    encodings: &'a [[u8; 32]],
    torsion: usize,
}

impl<L: Lane> Kernel<L> for Shift<'_> {
    type Output = Point<L>;

    #[inline(always)]
    fn run(self) -> Point<L> {
        let [decoded] = ristretto::decode([self.encodings]);
        let i = Fe::constant(SQRT_M1);
        let quarter = Split { minus: i.neg(), plus: i, z: Fe::one(), t: Fe::zero() }.addend();
        let Point { x, y, z, t } = decoded.point;
        let mut sum = Split { minus: y.sub(x), plus: y.add(x), z, t };
        for _ in 0..self.torsion {
            sum = sum.add(&quarter).split();
        }
        let (Point { x, y, z, t }, scale) = (sum.point(), Fe::small(12_345));
        Point { x: x.mul(scale), y: y.mul(scale), z: z.mul(scale), t: t.mul(scale) }
    }
}

struct Encode<'a, L: Lane> {
    point: &'a Point<L>,
    out: &'a mut [[u8; 32]],
}

impl<L: Lane> Kernel<L> for Encode<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        ristretto::encode(self.point, self.out.iter_mut());
    }
}

/// Nine elements; the identity is the first and the sixth.
fn elements() -> Vec<RistrettoPoint> {
    let mut elements = hashed(40, 9);
    elements[0] = RistrettoPoint::default();
    elements[5] = RistrettoPoint::default();
    elements
}

fn check(then: Then, want: &[[u8; 32]]) {
    let encodings = encode(&elements());
    for path in paths() {
        for torsion in 0..4 {
            let mut out = vec![[0xaa; 32]; encodings.len()];
            let shifted = Shifted { encodings: &encodings, torsion, then, out: &mut out };
            if path.dispatch(shifted) {
                assert_eq!(out, want, "{torsion} on {path:?}");
            }
        }
    }
}

#[test]
fn the_encoding_is_that_of_the_coset() {
    check(Then::Encode, &encode(&elements()));
}

#[test]
fn the_encoding_of_the_double_is_that_of_the_coset() {
    check(Then::DoubleEncode, &encode(&elements().iter().map(|point| point + point).collect::<Vec<_>>()));
}

/// Twice k, including k = 0 and k = -1, for which the ladder's last step has no formula.
#[test]
fn multiples_are_those_of_the_coset() {
    for k in edge_scalars().into_iter().chain([scalar(41), scalar(42)]) {
        let want: Vec<RistrettoPoint> = elements().iter().map(|point| point * (k + k)).collect();
        check(Then::Multiply(&k), &encode(&want));
    }
}
