//! The same secret scalar times many points: a Montgomery ladder on u alone, then the recovery of v.
//!
//! The points go to the Montgomery curve v^2 = u^3 + A u^2 + u, up to a factor on v, with one inversion for all. Since the lanes
//! share the scalar, a bit of it decides about whole vectors: one mask, no table, no address. Sources: Montgomery 1987; Okeya
//! and Sakurai 2001 for v, as written by Costello and Smith, "Montgomery curves and their arithmetic", algorithm 5.
//!
//! # Constant time
//! The scalar exists here only as [`Swaps`], and only as the mask of a select.

use std::hint::black_box;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::edwards::Point;
use crate::field::{Fe, MONTGOMERY_A, MONTGOMERY_SCALE, invert};
use crate::lane::{Kernel, Lane, Mask, uniform};

/// Bits of a canonical scalar.
const BITS: usize = 253;

/// When the ladder exchanges its two points: one mask a bit, the highest first, and one for the end.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Swaps {
    masks: [Mask; BITS],
    last: Mask,
}

impl Swaps {
    /// The schedule of a little-endian scalar below 2^253.
    pub(crate) fn new(scalar: &[u8; 32]) -> Self {
        let bit = |i: usize| scalar[i / 8] >> (i % 8) & 1;
        let mut swaps = Self { masks: [0; BITS], last: uniform(bit(0)) };
        for (i, mask) in swaps.masks.iter_mut().enumerate() {
            let at = BITS - 1 - i;
            let above = if at == BITS - 1 { 0 } else { bit(at + 1) };
            *mask = uniform(bit(at) ^ above);
        }
        // The compiler must not find out that these are all ones or all zeroes, and make a branch of that.
        black_box(&mut swaps.masks);
        black_box(&mut swaps.last);
        swaps
    }
}

/// Replaces each point by its multiple.
pub(crate) struct Multiply<'a, L: Lane> {
    pub(crate) swaps: &'a Swaps,
    pub(crate) points: &'a mut [Point<L>],
}

impl<L: Lane> Kernel<L> for Multiply<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut bases = vec![Base::start(); self.points.len()];
        let mut product = Fe::one();
        for (base, point) in bases.iter_mut().zip(self.points.iter()) {
            product = base.set(point, product);
        }
        let mut inverse = invert(product);
        for (base, point) in bases.iter().zip(self.points).rev() {
            let (u, v) = base.affine(point, inverse.mul(base.before));
            inverse = inverse.mul(base.denominator);
            let multiples = L::call(Climb { u: &u, masks: &self.swaps.masks });
            L::call(Recover {
                point,
                small: base.small,
                u: &u,
                v: &v,
                multiples: &multiples,
                swap: self.swaps.last,
            });
        }
    }
}

/// What the batched inversion keeps of a point.
#[derive(Clone, Copy)]
struct Base<L: Lane> {
    /// (Z - Y) X, or one in place of zero.
    denominator: Fe<L>,
    /// The product of the denominators of all earlier points.
    before: Fe<L>,
    /// Where X or Y is zero: a point of order 1, 2 or 4, which represents the identity.
    small: Mask,
}

impl<L: Lane> Base<L> {
    #[inline(always)]
    fn start() -> Self {
        Self { denominator: Fe::one(), before: Fe::one(), small: 0 }
    }

    /// Returns the product including this point.
    #[inline(always)]
    fn set(&mut self, point: &Point<L>, before: Fe<L>) -> Fe<L> {
        let denominator = point.z.sub(point.y).mul(point.x);
        self.small = point.x.mul(point.y).is_zero();
        self.denominator = Fe::select(self.small, Fe::one(), denominator);
        self.before = before;
        before.mul(self.denominator)
    }

    /// u = (Z + Y)/(Z - Y) and v = c u Z/X, from 1 / ((Z - Y) X).
    #[inline(always)]
    fn affine(&self, point: &Point<L>, inverse: Fe<L>) -> (Fe<L>, Fe<L>) {
        let scaled = point.z.add(point.y).mul(inverse);
        (scaled.mul(point.x), scaled.mul(point.z).mul(Fe::constant(MONTGOMERY_SCALE)))
    }
}

/// v of kP from u of P, kP and (k + 1)P, then back to the Edwards curve, in place.
///
/// The formula fails where kP or (k + 1)P is the identity, or P has small order: the answer is then the identity, -P, or the
/// identity, and is put in by mask. A function without a branch.
struct Recover<'a, L: Lane> {
    point: &'a mut Point<L>,
    small: Mask,
    u: &'a Fe<L>,
    v: &'a Fe<L>,
    multiples: &'a Multiples<L>,
    swap: Mask,
}

impl<L: Lane> Kernel<L> for Recover<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (u, v, [(x1, z1), (x2, z2)]) = (*self.u, *self.v, self.multiples.ordered(self.swap));
        let uz = u.mul(z1);
        let product = x1.sub(uz).square().mul(x2);
        let az = Fe::small(2 * MONTGOMERY_A).mul(z1);
        let sum = x1.add(uz).add(az).mul(u.mul(x1).add(z1));
        let y = sum.sub(az.mul(z1)).mul(z2).sub(product);
        let scale = v.double().mul(z1).mul(z2);
        let multiple = to_edwards([scale.mul(x1), y, scale.mul(z1)]);
        let beyond = z2.is_zero();
        let multiple = Point::select(beyond, &self.point.negate_if(beyond), &multiple);
        *self.point = Point::select(z1.is_zero() | self.small, &Point::identity(), &multiple);
    }
}

/// x = c U/V, y = (U - W)/(U + W).
#[inline(always)]
fn to_edwards<L: Lane>([u, v, w]: [Fe<L>; 3]) -> Point<L> {
    let scaled = u.mul(Fe::constant(MONTGOMERY_SCALE));
    let (sum, difference) = (u.add(w), u.sub(w));
    Point { x: scaled.mul(sum), y: difference.mul(v), z: v.mul(sum), t: scaled.mul(difference) }
}

/// X + Z and X - Z of two points: the multiples n P and (n + 1) P, in an order that the schedule knows.
struct Multiples<L: Lane> {
    plus: (Fe<L>, Fe<L>),
    minus: (Fe<L>, Fe<L>),
}

impl<L: Lane> Multiples<L> {
    /// (2X, 2Z) of the lower and of the upper multiple.
    #[inline(always)]
    fn ordered(&self, swap: Mask) -> [(Fe<L>, Fe<L>); 2] {
        let (plus, minus) = (exchange(swap, self.plus), exchange(swap, self.minus));
        [(plus.0.add(minus.0), plus.0.sub(minus.0)), (plus.1.add(minus.1), plus.1.sub(minus.1))]
    }
}

#[inline(always)]
fn exchange<L: Lane>(swap: Mask, (a, b): (Fe<L>, Fe<L>)) -> (Fe<L>, Fe<L>) {
    (Fe::select(swap, b, a), Fe::select(swap, a, b))
}

/// kP and (k + 1)P from u of P.
///
/// The differential addition doesn't care which of the two points is which, so that only the input of the doubling is selected.
/// A function of its own, so that its machine code can be looked at: its only branch is the loop's.
struct Climb<'a, L: Lane> {
    u: &'a Fe<L>,
    masks: &'a [Mask; BITS],
}

impl<L: Lane> Kernel<L> for Climb<'_, L> {
    type Output = Multiples<L>;

    #[inline(always)]
    fn run(self) -> Multiples<L> {
        let (u, one) = (*self.u, Fe::one());
        let (mut a, mut b, mut c, mut d) = (one, one, u.add(one), u.sub(one));
        for &swap in self.masks {
            let (plus, minus) = (Fe::select(swap, c, a), Fe::select(swap, d, b));
            let (da, cb) = (d.mul_wide(a), c.mul_wide(b));
            let (squared_plus, squared_minus) = (plus.square_wide(), minus.square_wide());

            // The doubling and the addition take turns, so that what one waits for is hidden by the other.
            let (aa, bb) = (squared_plus.carry(), squared_minus.carry());
            let e = squared_plus.sub(squared_minus).carry();
            let (sum, difference) = (da.add(cb).carry(), da.sub(cb).carry());
            let scaled = e.mul_small_add((MONTGOMERY_A + 2) / 4, bb).carry();
            let squared = difference.square();
            let (doubled_x, added_z) = (aa.mul_wide(bb), u.mul_wide(squared));
            let (doubled_z, added_x) = (e.mul_wide(scaled), sum.square_wide());
            (a, b) = (doubled_x.add(doubled_z).carry(), doubled_x.sub(doubled_z).carry());
            (c, d) = (added_x.add(added_z).carry(), added_x.sub(added_z).carry());
        }
        Multiples { plus: (a, c), minus: (b, d) }
    }
}
