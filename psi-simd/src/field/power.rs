//! Inverses and square roots: powers by a fixed chain of squarings (RFC 9496, section 3.1 and 4.2).

use super::{Fe, Kernel, Lane, Mask, SQRT_M1};

/// `G` elements side by side: their chains are independent, and one hides the other's latency.
type Group<L, const G: usize> = [Fe<L>; G];

#[inline(always)]
fn square_times<L: Lane, const G: usize>(x: Group<L, G>, times: usize) -> Group<L, G> {
    let mut power = x;
    for _ in 0..times {
        let mut i = 0;
        while i < G {
            power[i] = power[i].square();
            i += 1;
        }
    }
    power
}

#[inline(always)]
fn mul<L: Lane, const G: usize>(a: Group<L, G>, b: Group<L, G>) -> Group<L, G> {
    let mut product = a;
    let mut i = 0;
    while i < G {
        product[i] = a[i].mul(b[i]);
        i += 1;
    }
    product
}

/// x^(2^250 - 1) and x^11.
#[inline(always)]
fn power_250<L: Lane, const G: usize>(x: Group<L, G>) -> (Group<L, G>, Group<L, G>) {
    let x2 = square_times(x, 1);
    let x9 = mul(x, square_times(x2, 2));
    let x11 = mul(x2, x9);
    let ones_5 = mul(x9, square_times(x11, 1));
    let ones_10 = mul(square_times(ones_5, 5), ones_5);
    let ones_20 = mul(square_times(ones_10, 10), ones_10);
    let ones_40 = mul(square_times(ones_20, 20), ones_20);
    let ones_50 = mul(square_times(ones_40, 10), ones_10);
    let ones_100 = mul(square_times(ones_50, 50), ones_50);
    let ones_200 = mul(square_times(ones_100, 100), ones_100);
    (mul(square_times(ones_200, 50), ones_50), x11)
}

struct Invert<L: Lane>(Fe<L>);

impl<L: Lane> Kernel<L> for Invert<L> {
    type Output = Fe<L>;

    #[inline(always)]
    fn run(self) -> Fe<L> {
        let (ones_250, x11) = power_250([self.0]);
        mul(square_times(ones_250, 5), x11)[0]
    }
}

/// x^(p - 2): the inverse, or zero for zero.
#[inline(always)]
pub(crate) fn invert<L: Lane>(x: Fe<L>) -> Fe<L> {
    L::call(Invert(x))
}

struct PowerP58<L: Lane, const G: usize>(Group<L, G>);

impl<L: Lane, const G: usize> Kernel<L> for PowerP58<L, G> {
    type Output = Group<L, G>;

    #[inline(always)]
    fn run(self) -> Group<L, G> {
        let (ones_250, _) = power_250(self.0);
        mul(square_times(ones_250, 2), self.0)
    }
}

/// RFC 9496's SQRT_RATIO_M1: where u/v is a square, and the non-negative root of u/v or of sqrt(-1) u/v.
#[inline(always)]
pub(crate) fn sqrt_ratio<L: Lane, const G: usize>(
    u: Group<L, G>,
    v: Group<L, G>,
) -> ([Mask; G], Group<L, G>) {
    let v3 = mul(square_times(v, 1), v);
    let v7 = mul(square_times(v3, 1), v);
    let candidate = mul(mul(u, v3), L::call(PowerP58(mul(u, v7))));
    let (mut square, mut root) = ([0; G], candidate);
    let mut i = 0;
    while i < G {
        (square[i], root[i]) = settle(u[i], v[i], candidate[i]);
        i += 1;
    }
    (square, root)
}

/// The candidate r has v r^2 = u times a fourth root of one.
#[inline(always)]
fn settle<L: Lane>(u: Fe<L>, v: Fe<L>, candidate: Fe<L>) -> (Mask, Fe<L>) {
    let i = Fe::constant(SQRT_M1);
    let check = v.mul(candidate.square());
    let correct = check.sub(u).is_zero();
    let flipped = check.add(u).is_zero();
    let flipped_i = check.add(u.mul(i)).is_zero();
    let root = Fe::select(flipped | flipped_i, candidate.mul(i), candidate);
    (correct | flipped, root.abs())
}
