//! Points of the curve -x^2 + y^2 = 1 + d x^2 y^2, one a lane (docs/SIMD.md, "The curve").
//!
//! The addition is complete: it needs no case for equal, opposite or small-order points. Formulas: Hisil, Wong, Carter and
//! Dawson, "Twisted Edwards Curves Revisited", 2008.

use crate::field::{D_TIMES_2, Fe};
use crate::lane::{Lane, Mask};

/// (X : Y : Z : T) with x = X/Z, y = Y/Z, xy = T/Z.
#[derive(Clone, Copy)]
pub(crate) struct Point<L: Lane> {
    pub(crate) x: Fe<L>,
    pub(crate) y: Fe<L>,
    pub(crate) z: Fe<L>,
    pub(crate) t: Fe<L>,
}

/// The same as (Y - X, Y + X, Z, T): what an addition starts from.
#[derive(Clone, Copy)]
pub(crate) struct Split<L: Lane> {
    pub(crate) minus: Fe<L>,
    pub(crate) plus: Fe<L>,
    pub(crate) z: Fe<L>,
    pub(crate) t: Fe<L>,
}

/// The other operand of an addition: (Y - X, Y + X, 2Z, 2dT).
#[derive(Clone, Copy)]
pub(crate) struct Addend<L: Lane> {
    pub(crate) minus: Fe<L>,
    pub(crate) plus: Fe<L>,
    pub(crate) z2: Fe<L>,
    pub(crate) t2d: Fe<L>,
}

/// X = EF, Y = GH, Z = FG, T = EH: what an addition, a doubling or the map to the curve ends with.
#[derive(Clone, Copy)]
pub(crate) struct Completed<L: Lane> {
    pub(crate) e: Fe<L>,
    pub(crate) f: Fe<L>,
    pub(crate) g: Fe<L>,
    pub(crate) h: Fe<L>,
}

impl<L: Lane> Point<L> {
    #[inline(always)]
    pub(crate) fn identity() -> Self {
        Self { x: Fe::zero(), y: Fe::one(), z: Fe::one(), t: Fe::zero() }
    }

    #[inline(always)]
    pub(crate) fn select(mask: Mask, set: &Self, clear: &Self) -> Self {
        Self {
            x: Fe::select(mask, set.x, clear.x),
            y: Fe::select(mask, set.y, clear.y),
            z: Fe::select(mask, set.z, clear.z),
            t: Fe::select(mask, set.t, clear.t),
        }
    }

    #[inline(always)]
    pub(crate) fn negate_if(&self, mask: Mask) -> Self {
        Self { x: self.x.negate_if(mask), t: self.t.negate_if(mask), ..*self }
    }

    #[inline(always)]
    pub(crate) fn split(&self) -> Split<L> {
        Split { minus: self.y.sub(self.x), plus: self.y.add(self.x), z: self.z, t: self.t }
    }

    #[inline(always)]
    pub(crate) fn double(&self) -> Completed<L> {
        let (xx, yy, zz) = (self.x.square_wide(), self.y.square_wide(), self.z.square_wide());
        let g = yy.sub(xx);
        Completed {
            e: self.x.mul_wide(self.y).double().carry(),
            f: zz.double().add(xx).sub(yy).carry(),
            g: g.carry(),
            h: xx.add(yy).carry(),
        }
    }
}

impl<L: Lane> Split<L> {
    #[inline(always)]
    pub(crate) fn identity() -> Self {
        Self { minus: Fe::one(), plus: Fe::one(), z: Fe::one(), t: Fe::zero() }
    }

    #[inline(always)]
    pub(crate) fn addend(&self) -> Addend<L> {
        let t2d = self.t.mul(Fe::constant(D_TIMES_2));
        Addend { minus: self.minus, plus: self.plus, z2: self.z.double(), t2d }
    }

    /// Twice the coordinates, so that nothing is halved.
    #[inline(always)]
    pub(crate) fn point(&self) -> Point<L> {
        Point {
            x: self.plus.sub(self.minus),
            y: self.plus.add(self.minus),
            z: self.z.double(),
            t: self.t.double(),
        }
    }

    #[inline(always)]
    pub(crate) fn add(&self, other: &Addend<L>) -> Completed<L> {
        let (a, b) = (self.minus.mul_wide(other.minus), self.plus.mul_wide(other.plus));
        let (e, h) = (b.sub(a).carry(), b.add(a).carry());
        let (c, d) = (self.t.mul_wide(other.t2d), self.z.mul_wide(other.z2));
        Completed { e, f: d.sub(c).carry(), g: d.add(c).carry(), h }
    }
}

impl<L: Lane> Completed<L> {
    #[inline(always)]
    pub(crate) fn point(&self) -> Point<L> {
        Point { x: self.e.mul(self.f), y: self.g.mul(self.h), z: self.f.mul(self.g), t: self.e.mul(self.h) }
    }

    #[inline(always)]
    pub(crate) fn split(&self) -> Split<L> {
        let (x, y) = (self.e.mul_wide(self.f), self.g.mul_wide(self.h));
        Split {
            minus: y.sub(x).carry(),
            plus: y.add(x).carry(),
            z: self.f.mul(self.g),
            t: self.e.mul(self.h),
        }
    }
}
