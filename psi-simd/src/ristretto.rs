//! Bytes to points and back: RFC 9496, section 4.3, for many lanes.

use crate::edwards::{Completed, Point};
use crate::field::{
    D, D_MINUS_ONE_SQ, Fe, INVSQRT_A_MINUS_D, MINUS_D, ONE_MINUS_D_SQ, SQRT_AD_MINUS_ONE, SQRT_M1, invert,
    sqrt_ratio,
};
use crate::lane::{Kernel, Lane, Mask};

/// What a vector of encodings decodes to.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<L: Lane> {
    /// With z = 1; no point where the encoding is not valid.
    pub(crate) point: Point<L>,
    pub(crate) valid: Mask,
    pub(crate) identity: Mask,
}

/// Section 4.3.1 for `G` vectors. Missing lanes are the identity.
#[inline(always)]
pub(crate) fn decode<L: Lane, const G: usize>(encodings: [&[[u8; 32]]; G]) -> [Decoded<L>; G] {
    let one = Fe::one();
    let mut s = [one; G];
    let (mut u1, mut u2, mut v, mut squared, mut valid) = (s, s, s, s, [0; G]);
    for i in 0..G {
        s[i] = Fe::from_bytes(encodings[i].iter());
        valid[i] = s[i].is_canonical() & !s[i].is_negative() & !top_bits(encodings[i]);
        let ss = s[i].square();
        (u1[i], u2[i]) = (one.sub(ss), one.add(ss));
        squared[i] = u2[i].square();
        v[i] = Fe::constant(MINUS_D).mul_wide(u1[i].square()).sub(squared[i].wide()).carry();
        squared[i] = v[i].mul(squared[i]);
    }
    let (square, inverse) = sqrt_ratio([one; G], squared);
    let mut decoded = [Decoded { point: Point::identity(), valid: 0, identity: 0 }; G];
    for i in 0..G {
        let dx = inverse[i].mul(u2[i]);
        let dy = inverse[i].mul(dx).mul(v[i]);
        let x = s[i].double().mul(dx).abs();
        let y = u1[i].mul(dy);
        let t = x.mul(y);
        decoded[i] = Decoded {
            point: Point { x, y, z: one, t },
            valid: valid[i] & square[i] & !t.is_negative() & !y.is_zero(),
            identity: s[i].is_zero(),
        };
    }
    decoded
}

/// Bit 255 of the encodings, which the field code ignores.
#[inline(always)]
fn top_bits(encodings: &[[u8; 32]]) -> Mask {
    encodings.iter().enumerate().fold(0, |mask, (lane, bytes)| mask | (bytes[31] >> 7) << lane)
}

/// Section 4.3.4: the one-way map of 64 uniform bytes a lane.
#[inline(always)]
pub(crate) fn hash<L: Lane>(uniform: &[[u8; 64]]) -> Point<L> {
    let low = Fe::from_bytes(uniform.iter().map(half::<0>));
    let high = Fe::from_bytes(uniform.iter().map(half::<32>));
    let [p, q] = map([low, high]);
    p.split().add(&q.split().addend()).point()
}

#[inline(always)]
fn half<const AT: usize>(uniform: &[u8; 64]) -> &[u8; 32] {
    uniform[AT..].first_chunk().expect("a half of 64 bytes has 32")
}

/// Section 4.3.4, MAP.
#[inline(always)]
fn map<L: Lane, const G: usize>(t: [Fe<L>; G]) -> [Completed<L>; G] {
    let (one, d) = (Fe::one(), Fe::constant(D));
    let (mut r, mut numerator, mut denominator) = (t, t, t);
    for i in 0..G {
        r[i] = Fe::constant(SQRT_M1).mul(t[i].square());
        numerator[i] = r[i].add(one).mul(Fe::constant(ONE_MINUS_D_SQ));
        denominator[i] = one.add(r[i].mul(d)).neg().mul(r[i].add(d));
    }
    let (square, root) = sqrt_ratio(numerator, denominator);
    let mut mapped = [Completed { e: one, f: one, g: one, h: one }; G];
    for i in 0..G {
        let other = root[i].mul(t[i]).abs().neg();
        let s = Fe::select(square[i], root[i], other);
        let c = Fe::select(square[i], one.neg(), r[i]);
        let c = c.mul(r[i].sub(one)).mul_wide(Fe::constant(D_MINUS_ONE_SQ));
        let n = c.sub(denominator[i].wide()).carry();
        let ss = s.square();
        mapped[i] = Completed {
            e: s.double().mul(denominator[i]),
            f: one.add(ss),
            g: n.mul(Fe::constant(SQRT_AD_MINUS_ONE)),
            h: one.sub(ss),
        };
    }
    mapped
}

/// Section 4.3.2: the encodings of the first lanes.
#[inline(always)]
pub(crate) fn encode<'a, L: Lane>(point: &Point<L>, out: impl Iterator<Item = &'a mut [u8; 32]>) {
    let Point { x, y, z, t } = *point;
    let u1 = z.add(y).mul(z.sub(y));
    let u2 = x.mul(y);
    let (_, [root]) = sqrt_ratio([Fe::one()], [u1.mul(u2.square())]);
    let (den1, den2) = (root.mul(u1), root.mul(u2));
    let z_inverse = den1.mul(den2).mul(t);
    let rotate = t.mul(z_inverse).is_negative();
    let i = Fe::constant(SQRT_M1);
    let (ix, iy) = (x.mul(i), y.mul(i));
    let (x, y) = (Fe::select(rotate, iy, x), Fe::select(rotate, ix, y));
    let den = Fe::select(rotate, den1.mul(Fe::constant(INVSQRT_A_MINUS_D)), den2);
    let y = y.negate_if(x.mul(z_inverse).is_negative());
    den.mul(z.sub(y)).abs().to_bytes(out);
}

/// The encodings of 2P for a batch of points P, with one inversion and no square root.
///
/// The isogeny that defines ristretto255 factors the doubling, so that the encoding of 2P is a rational function of P (Hamburg,
/// <https://ristretto.group/details/isogeny_encoding.html>). `out` has one slot a lane, fewer at the end.
pub(crate) struct DoubleEncode<'a, L: Lane> {
    pub(crate) points: &'a [Point<L>],
    pub(crate) out: &'a mut [[u8; 32]],
}

impl<L: Lane> Kernel<L> for DoubleEncode<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut states = vec![Doubling::start(); self.points.len()];
        let mut product = Fe::one();
        for (state, point) in states.iter_mut().zip(self.points) {
            product = state.set(point, product);
        }
        let mut inverse = invert(product);
        for (state, out) in states.iter().zip(self.out.chunks_mut(L::LANES)).rev() {
            state.finish(inverse.mul(state.before)).to_bytes(out.iter_mut());
            inverse = inverse.mul(state.efgh);
        }
    }
}

/// 2P = (EF : GH : FG : EH), on its way to an encoding.
#[derive(Clone, Copy)]
struct Doubling<L: Lane> {
    e: Fe<L>,
    f: Fe<L>,
    g: Fe<L>,
    h: Fe<L>,
    eg: Fe<L>,
    fh: Fe<L>,
    /// eg * fh, or one in place of zero.
    efgh: Fe<L>,
    /// Where eg * fh is zero: 2P is the identity.
    zero: Mask,
    /// The product of `efgh` over all earlier points.
    before: Fe<L>,
}

impl<L: Lane> Doubling<L> {
    #[inline(always)]
    fn start() -> Self {
        let one = Fe::one();
        Self { e: one, f: one, g: one, h: one, eg: one, fh: one, efgh: one, zero: 0, before: one }
    }

    /// Returns the product including this point.
    #[inline(always)]
    fn set(&mut self, point: &Point<L>, before: Fe<L>) -> Fe<L> {
        let zz = point.z.square_wide();
        let dtt = point.t.square().mul_wide(Fe::constant(D));
        self.e = point.x.mul_wide(point.y).double().carry();
        self.f = zz.add(dtt).carry();
        self.g = point.y.square_wide().add(point.x.square_wide()).carry();
        self.h = zz.sub(dtt).carry();
        self.eg = self.e.mul(self.g);
        self.fh = self.f.mul(self.h);
        let efgh = self.eg.mul(self.fh);
        self.zero = efgh.is_zero();
        self.efgh = Fe::select(self.zero, Fe::one(), efgh);
        self.before = before;
        before.mul(self.efgh)
    }

    /// The encoding as a field element, from 1 / efgh.
    #[inline(always)]
    fn finish(&self, inverse: Fe<L>) -> Fe<L> {
        let inverse = Fe::select(self.zero, Fe::zero(), inverse);
        let (z_inverse, t_inverse) = (self.eg.mul(inverse), self.fh.mul(inverse));
        let i = Fe::constant(SQRT_M1);
        let rotate = self.eg.mul(z_inverse).is_negative();
        let e = Fe::select(rotate, self.g, self.e);
        let g = Fe::select(rotate, self.e.neg(), self.g);
        let h = Fe::select(rotate, self.f.mul(i), self.h);
        let magic = Fe::select(rotate, i, Fe::constant(INVSQRT_A_MINUS_D));
        let g = g.negate_if(h.mul(e).mul(z_inverse).is_negative());
        h.sub(g).mul(magic.mul(g.mul(t_inverse))).abs()
    }
}
