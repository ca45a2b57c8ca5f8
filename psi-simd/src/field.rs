//! Integers modulo p = 2^255 - 19, one a lane, in five limbs of 51 bits (docs/SIMD.md, "The field").
//!
//! An [`Fe`] has limbs a little above 2^51 at most and is a factor; a [`Wide`] is a sum of products that was not carried yet.
//! One carry follows a sum or difference of products, not each product. `lane::interval` proves the bounds.

use crate::lane::{Kernel, Lane, Mask, raise, start};

mod constants;
mod power;

pub(crate) use constants::*;
pub(crate) use power::{invert, sqrt_ratio};

/// 2^51 - 1, a full limb.
pub(crate) const LIMB: u64 = (1 << 51) - 1;
/// The lowest limb of p; the others are [`LIMB`].
const LOWEST: u64 = LIMB - 18;

/// Limb `i` of p.
const fn prime(i: usize) -> u64 {
    if i == 0 { LOWEST } else { LIMB }
}

/// `[e(0), .., e(4)]` with a constant index, written out so that no loop is left to unroll.
macro_rules! limbs {
    ($i:ident => $e:expr) => {
        [
            { const $i: usize = 0; $e },
            { const $i: usize = 1; $e },
            { const $i: usize = 2; $e },
            { const $i: usize = 3; $e },
            { const $i: usize = 4; $e },
        ]
    };
}

/// A field element a lane; limbs below 2^51 + 2^18.
#[derive(Clone, Copy)]
pub(crate) struct Fe<L: Lane>(pub(crate) [L::Word; 5]);

/// A field element a lane as a sum of products; limbs below 2^63.
#[derive(Clone, Copy)]
pub(crate) struct Wide<L: Lane>([L::Word; 5]);

impl<L: Lane> Wide<L> {
    #[inline(always)]
    pub(crate) fn add(self, other: Self) -> Self {
        Self(limbs!(I => L::add(self.0[I], other.0[I])))
    }

    /// Taking off a wide element borrows 2^11 p, which is more than a product or a sum of four has.
    #[inline(always)]
    pub(crate) fn sub(self, other: Self) -> Self {
        Self(limbs!(I => L::sub(L::add(self.0[I], L::splat(prime(I) << 11)), other.0[I])))
    }

    #[inline(always)]
    pub(crate) fn double(self) -> Self {
        self.add(self)
    }

    #[inline(always)]
    pub(crate) fn carry(self) -> Fe<L> {
        L::inline(Carry(self))
    }
}

/// What is above 51 bits goes to the next limb, and from the highest limb, times 19, to the lowest.
struct Carry<L: Lane>(Wide<L>);

impl<L: Lane> Kernel<L> for Carry<L> {
    type Output = Fe<L>;

    #[inline(always)]
    fn run(self) -> Fe<L> {
        let low = limbs!(I => L::and(self.0.0[I], L::splat(LIMB)));
        let high = limbs!(I => L::shift_right::<51>(self.0.0[I]));
        Fe([
            L::add_19(low[0], high[4]),
            L::add(low[1], high[0]),
            L::add(low[2], high[1]),
            L::add(low[3], high[2]),
            L::add(low[4], high[3]),
        ])
    }
}

impl<L: Lane> Fe<L> {
    #[inline(always)]
    pub(crate) fn constant(limbs: [u64; 5]) -> Self {
        Self(limbs!(I => L::splat(limbs[I])))
    }

    #[inline(always)]
    pub(crate) fn small(value: u64) -> Self {
        Self::constant([value, 0, 0, 0, 0])
    }

    #[inline(always)]
    pub(crate) fn zero() -> Self {
        Self::small(0)
    }

    #[inline(always)]
    pub(crate) fn one() -> Self {
        Self::small(1)
    }

    /// As a sum of products, to be added to others.
    #[inline(always)]
    pub(crate) fn wide(self) -> Wide<L> {
        Wide(self.0)
    }

    #[inline(always)]
    pub(crate) fn add(self, other: Self) -> Self {
        self.wide().add(other.wide()).carry()
    }

    /// a + 4p - b.
    #[inline(always)]
    pub(crate) fn sub(self, other: Self) -> Self {
        Wide(limbs!(I => L::sub(L::add(self.0[I], L::splat(4 * prime(I))), other.0[I]))).carry()
    }

    #[inline(always)]
    pub(crate) fn neg(self) -> Self {
        Self::zero().sub(self)
    }

    #[inline(always)]
    pub(crate) fn double(self) -> Self {
        self.add(self)
    }

    #[inline(always)]
    pub(crate) fn mul(self, other: Self) -> Self {
        self.mul_wide(other).carry()
    }

    #[inline(always)]
    pub(crate) fn square(self) -> Self {
        self.square_wide().carry()
    }

    #[inline(always)]
    fn factors(self) -> [L::Factor; 5] {
        limbs!(I => L::factor(self.0[I]))
    }

    #[inline(always)]
    pub(crate) fn mul_wide(self, other: Self) -> Wide<L> {
        L::inline(Product(self, other))
    }

    #[inline(always)]
    pub(crate) fn square_wide(self) -> Wide<L> {
        L::inline(Square(self))
    }

    /// self * small + other, for a small factor below 2^20.
    #[inline(always)]
    pub(crate) fn mul_small_add(self, small: u64, other: Self) -> Wide<L> {
        let (a, small) = (self.factors(), L::factor(L::splat(small)));
        let parts = limbs!(I => {
            let low = L::add(other.0[I], start::<L>(0, 2, L::BIAS * prime(I)));
            L::multiply_add(a[I], small, low, start::<L>(1, 0, 0))
        });
        Wide([
            L::add_19(parts[0].0, raise::<L>(parts[4].1)),
            L::add(parts[1].0, raise::<L>(parts[0].1)),
            L::add(parts[2].0, raise::<L>(parts[1].1)),
            L::add(parts[3].0, raise::<L>(parts[2].1)),
            L::add(parts[4].0, raise::<L>(parts[3].1)),
        ])
    }

    #[inline(always)]
    pub(crate) fn select(mask: Mask, set: Self, clear: Self) -> Self {
        Self(limbs!(I => L::select(mask, set.0[I], clear.0[I])))
    }

    /// -self in the lanes of the mask.
    #[inline(always)]
    pub(crate) fn negate_if(self, mask: Mask) -> Self {
        Self::select(mask, self.neg(), self)
    }

    #[inline(always)]
    pub(crate) fn freeze(self) -> Self {
        L::inline(Freeze(self))
    }
    /// Whether the limbs are already those of [`Fe::freeze`].
    #[inline(always)]
    pub(crate) fn is_canonical(self) -> Mask {
        let frozen = self.freeze();
        let same = limbs!(I => L::is_zero(L::sub(self.0[I], frozen.0[I])));
        same[0] & same[1] & same[2] & same[3] & same[4]
    }

    #[inline(always)]
    pub(crate) fn is_zero(self) -> Mask {
        let a = self.freeze().0;
        L::is_zero(L::or(L::or(L::or(a[0], a[1]), L::or(a[2], a[3])), a[4]))
    }

    /// RFC 9496, section 3.1: the least significant bit of the encoding.
    #[inline(always)]
    pub(crate) fn is_negative(self) -> Mask {
        L::is_odd(self.freeze().0[0])
    }

    #[inline(always)]
    pub(crate) fn abs(self) -> Self {
        self.negate_if(self.is_negative())
    }

    /// Little-endian; bit 255 is ignored. Missing lanes are zero.
    #[inline(always)]
    pub(crate) fn from_bytes<'a>(bytes: impl Iterator<Item = &'a [u8; 32]>) -> Self {
        let mut columns = [L::zeroes(); 5];
        for (lane, bytes) in bytes.enumerate() {
            for (column, limb) in columns.iter_mut().zip(split(bytes)) {
                column.as_mut()[lane] = limb;
            }
        }
        Self(limbs!(I => L::load(&columns[I])))
    }

    /// The canonical encodings of the first lanes.
    #[inline(always)]
    pub(crate) fn to_bytes<'a>(self, out: impl Iterator<Item = &'a mut [u8; 32]>) {
        let frozen = self.freeze();
        let columns = limbs!(I => L::store(frozen.0[I]));
        for (lane, out) in out.enumerate() {
            *out = join(limbs!(I => columns[I].as_ref()[lane]));
        }
    }
}

/// Schoolbook, a column of equal weight at a time: 25 products.
struct Product<L: Lane>(Fe<L>, Fe<L>);

impl<L: Lane> Kernel<L> for Product<L> {
    type Output = Wide<L>;

    #[inline(always)]
    fn run(self) -> Wide<L> {
        let [a0, a1, a2, a3, a4] = self.0.factors();
        let [b0, b1, b2, b3, b4] = self.1.factors();
        let (c0, next) = column::<L, 0, 1>([(a0, b0)], first::<L>());
        let (c1, next) = column::<L, 1, 2>([(a0, b1), (a1, b0)], next);
        let (c2, next) = column::<L, 2, 3>([(a0, b2), (a1, b1), (a2, b0)], next);
        let (c3, next) = column::<L, 3, 4>([(a0, b3), (a1, b2), (a2, b1), (a3, b0)], next);
        let (c4, next) = column::<L, 4, 5>([(a0, b4), (a1, b3), (a2, b2), (a3, b1), (a4, b0)], next);
        let (c5, next) = column::<L, 5, 4>([(a1, b4), (a2, b3), (a3, b2), (a4, b1)], next);
        let (c6, next) = column::<L, 6, 3>([(a2, b4), (a3, b3), (a4, b2)], next);
        let (c7, next) = column::<L, 7, 2>([(a3, b4), (a4, b3)], next);
        let (c8, c9) = column::<L, 8, 1>([(a4, b4)], next);
        fold([c0, c1, c2, c3, c4], [c5, c6, c7, c8, c9])
    }
}

/// The products of different limbs are made once and doubled: 15 products.
struct Square<L: Lane>(Fe<L>);

impl<L: Lane> Kernel<L> for Square<L> {
    type Output = Wide<L>;

    #[inline(always)]
    fn run(self) -> Wide<L> {
        let [a0, a1, a2, a3, a4] = self.0.factors();
        let (c0, next, odd) = even_column::<L, 0, 0>([], a0, half_start::<L>(0));
        let (c1, next) = odd_column::<L, 1, 1>([(a0, a1)], next, odd);
        let (c2, next, odd) = even_column::<L, 2, 1>([(a0, a2)], a1, next);
        let (c3, next) = odd_column::<L, 3, 2>([(a0, a3), (a1, a2)], next, odd);
        let (c4, next, odd) = even_column::<L, 4, 2>([(a0, a4), (a1, a3)], a2, next);
        let (c5, next) = odd_column::<L, 5, 2>([(a1, a4), (a2, a3)], next, odd);
        let (c6, next, odd) = even_column::<L, 6, 1>([(a2, a4)], a3, next);
        let (c7, next) = odd_column::<L, 7, 1>([(a3, a4)], next, odd);
        let (c8, next, odd) = even_column::<L, 8, 0>([], a4, next);
        let (c9, _) = odd_column::<L, 9, 0>([], next, odd);
        fold([c0, c1, c2, c3, c4], [c5, c6, c7, c8, c9])
    }
}

/// The representative below p, with limbs below 2^51.
struct Freeze<L: Lane>(Fe<L>);

impl<L: Lane> Kernel<L> for Freeze<L> {
    type Output = Fe<L>;

    #[inline(always)]
    fn run(self) -> Fe<L> {
        let reduced = ripple::<L>(ripple::<L>(self.0.0, true), true);
        // Now below 2p. The carry out of the top of (value + 19) says whether it is p or more: add 19 and drop 2^255.
        let mut over = L::shift_right::<51>(L::add(reduced[0], L::splat(19)));
        for &limb in &reduced[1..] {
            over = L::shift_right::<51>(L::add(limb, over));
        }
        let mut value = reduced;
        value[0] = L::add_19(value[0], over);
        Fe(ripple::<L>(value, false))
    }
}

/// How many products of limbs have weight `s` (in limbs).
const fn products(s: usize) -> u64 {
    (match s {
        0..=4 => s + 1,
        5..=8 => 9 - s,
        _ => 0,
    }) as u64
}

/// How many products of two different limbs, each pair once, have weight `s`.
const fn crosses(s: usize) -> u64 {
    products(s) / 2
}

/// The multiple of p that the sum of column `s` carries along.
const fn bias<L: Lane>(s: usize) -> u64 {
    if s < 5 { L::BIAS * prime(s) } else { 0 }
}

#[inline(always)]
fn first<L: Lane>() -> L::Word {
    start::<L>(0, 2 * products(0), bias::<L>(0))
}

/// Column `S`: its sum, and the start of the next one, which takes over the high halves.
#[inline(always)]
fn column<L: Lane, const S: usize, const N: usize>(
    factors: [(L::Factor, L::Factor); N],
    mut low: L::Word,
) -> (L::Word, L::Word) {
    let mut high = start::<L>(products(S), 2 * products(S + 1), bias::<L>(S + 1));
    let mut i = 0;
    while i < N {
        (low, high) = L::multiply_add(factors[i].0, factors[i].1, low, high);
        i += 1;
    }
    (low, raise::<L>(high))
}

/// The start of a square's column `s` before it is doubled: half of what is to be taken off, half of the bias.
#[inline(always)]
fn half_start<L: Lane>(s: usize) -> L::Word {
    let highs = if s == 0 { 0 } else { crosses(s - 1) };
    let diagonal = (s < 9 && s.is_multiple_of(2)) as u64;
    start::<L>(highs, 2 * crosses(s) + diagonal, bias::<L>(s) / 2)
}

/// An even column of a square: cross products, doubled, and the square of limb `S / 2`, whose high half belongs to the odd
/// column above. If it is cut at 2^52 it counts double there and can join what will be doubled; else it waits in the last result.
#[inline(always)]
fn even_column<L: Lane, const S: usize, const N: usize>(
    factors: [(L::Factor, L::Factor); N],
    diagonal: L::Factor,
    half: L::Word,
) -> (L::Word, L::Word, L::Word) {
    let (doubled, next) = cross::<L, S, N>(factors, half);
    if L::CUT == 52 {
        let (sum, next) = L::multiply_add(diagonal, diagonal, doubled, next);
        return (sum, next, L::splat(0));
    }
    let (sum, odd) = L::multiply_add(diagonal, diagonal, doubled, start::<L>(1, 0, 0));
    (sum, next, odd)
}

#[inline(always)]
fn odd_column<L: Lane, const S: usize, const N: usize>(
    factors: [(L::Factor, L::Factor); N],
    half: L::Word,
    odd: L::Word,
) -> (L::Word, L::Word) {
    let (doubled, next) = cross::<L, S, N>(factors, half);
    (L::add(doubled, odd), next)
}

#[inline(always)]
fn cross<L: Lane, const S: usize, const N: usize>(
    factors: [(L::Factor, L::Factor); N],
    mut low: L::Word,
) -> (L::Word, L::Word) {
    let mut high = half_start::<L>(S + 1);
    let mut i = 0;
    while i < N {
        (low, high) = L::multiply_add(factors[i].0, factors[i].1, low, high);
        i += 1;
    }
    (L::add(low, low), raise::<L>(high))
}

/// 2^255 = 19.
#[inline(always)]
fn fold<L: Lane>(low: [L::Word; 5], high: [L::Word; 5]) -> Wide<L> {
    Wide(limbs!(I => L::add(low[I], L::times_19(high[I]))))
}

/// Carries from limb to limb; the last carry wraps around or is dropped.
#[inline(always)]
fn ripple<L: Lane>(mut limbs: [L::Word; 5], wrap: bool) -> [L::Word; 5] {
    for i in 0..4 {
        limbs[i + 1] = L::add(limbs[i + 1], L::shift_right::<51>(limbs[i]));
        limbs[i] = L::and(limbs[i], L::splat(LIMB));
    }
    if wrap {
        limbs[0] = L::add_19(limbs[0], L::shift_right::<51>(limbs[4]));
    }
    limbs[4] = L::and(limbs[4], L::splat(LIMB));
    limbs
}

/// 255 bits as limbs.
#[inline(always)]
fn split(bytes: &[u8; 32]) -> [u64; 5] {
    let (words, _) = bytes.as_chunks::<8>();
    let [a, b, c, d] = [words[0], words[1], words[2], words[3]].map(u64::from_le_bytes);
    [
        a & LIMB,
        (a >> 51 | b << 13) & LIMB,
        (b >> 38 | c << 26) & LIMB,
        (c >> 25 | d << 39) & LIMB,
        d >> 12 & LIMB,
    ]
}

/// The inverse of [`split`] for full limbs.
#[inline(always)]
fn join(limbs: [u64; 5]) -> [u8; 32] {
    let [a, b, c, d, e] = limbs;
    let mut bytes = [0; 32];
    let words = [a | b << 51, b >> 13 | c << 38, c >> 26 | d << 25, d >> 39 | e << 12];
    for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    bytes
}
