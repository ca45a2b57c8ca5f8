//! The field against arithmetic a bit at a time, at the extremes of the limbs.

use proptest::prelude::*;

use super::paths;
use crate::field::*;
use crate::lane::{Kernel, Lane};
use crate::path::Job;

type Limbs = [u64; 5];

/// Little-endian numbers of 256 bits modulo p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number([u8; 32]);

impl Number {
    const P: Self = {
        let mut p = [0xff; 32];
        p[0] = 0xed;
        p[31] = 0x7f;
        Self(p)
    };

    fn of(limbs: Limbs) -> Self {
        let weight = (0..51).fold(Self::small(1), |weight, _| weight.add(weight));
        limbs.iter().rev().fold(Self::small(0), |sum, &limb| sum.times(weight).add(Self::small(limb)))
    }

    fn small(value: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&value.to_le_bytes());
        Self(bytes)
    }

    fn less(self, other: Self) -> bool {
        self.0.iter().rev().lt(other.0.iter().rev())
    }

    /// Both below p.
    fn add(self, other: Self) -> Self {
        let mut carry = 0;
        let sum = std::array::from_fn(|i| {
            carry = (carry >> 8) + u16::from(self.0[i]) + u16::from(other.0[i]);
            carry as u8
        });
        if Self(sum).less(Self::P) { Self(sum) } else { Self(sum).minus_p() }
    }

    fn minus_p(self) -> Self {
        let mut borrow = 0i16;
        Self(std::array::from_fn(|i| {
            borrow = (borrow >> 8) + i16::from(self.0[i]) - i16::from(Self::P.0[i]);
            borrow as u8
        }))
    }

    fn neg(self) -> Self {
        self.times(Self::P.less_one())
    }

    fn less_one(mut self) -> Self {
        self.0[0] -= 1;
        self
    }

    fn bits(self) -> impl Iterator<Item = bool> {
        (0..256).rev().map(move |i| self.0[i / 8] >> (i % 8) & 1 == 1)
    }

    fn times(self, other: Self) -> Self {
        let step = |sum: Self, bit| if bit { sum.add(sum).add(self) } else { sum.add(sum) };
        other.bits().fold(Self::small(0), step)
    }

    fn power(self, exponent: Self) -> Self {
        let step = |power: Self, bit| {
            let squared = power.times(power);
            if bit { squared.times(self) } else { squared }
        };
        exponent.bits().fold(Self::small(1), step)
    }

    fn negative(self) -> bool {
        self.0[0] & 1 == 1
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Add,
    Sub,
    Mul,
    Square,
    Neg,
    Abs,
    SmallAdd,
    Sums,
    Invert,
    IsZero,
    IsNegative,
    IsCanonical,
}

const OPS: [Op; 12] = [
    Op::Add,
    Op::Sub,
    Op::Mul,
    Op::Square,
    Op::Neg,
    Op::Abs,
    Op::SmallAdd,
    Op::Sums,
    Op::Invert,
    Op::IsZero,
    Op::IsNegative,
    Op::IsCanonical,
];

/// The operation on each pair, on a lane.
struct Apply<'a> {
    op: Op,
    pairs: &'a [(Limbs, Limbs)],
    out: &'a mut [[u8; 32]],
}

impl Job for Apply<'_> {
    type Output = bool;

    fn on_lanes<L: Lane>(self) -> bool {
        L::call(self);
        true
    }

    fn portable(self) -> bool {
        false
    }
}

fn load<L: Lane>(limbs: impl Iterator<Item = Limbs>) -> Fe<L> {
    let mut columns = [L::zeroes(); 5];
    for (lane, limbs) in limbs.enumerate() {
        for (column, limb) in columns.iter_mut().zip(limbs) {
            column.as_mut()[lane] = limb;
        }
    }
    Fe(columns.map(|column| L::load(&column)))
}

impl<L: Lane> Kernel<L> for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (pairs, out) in self.pairs.chunks(L::LANES).zip(self.out.chunks_mut(L::LANES)) {
            let a = load::<L>(pairs.iter().map(|pair| pair.0));
            let b = load::<L>(pairs.iter().map(|pair| pair.1));
            let flag = |mask| Fe::select(mask, Fe::one(), Fe::zero());
            let result = match self.op {
                Op::Add => a.add(b),
                Op::Sub => a.sub(b),
                Op::Mul => a.mul(b),
                Op::Square => a.square(),
                Op::Neg => a.neg(),
                Op::Abs => a.abs(),
                Op::SmallAdd => a.mul_small_add((MONTGOMERY_A + 2) / 4, b).carry(),
                Op::Sums => a.mul_wide(b).add(b.square_wide()).sub(a.square_wide().double()).carry(),
                Op::Invert => invert(a),
                Op::IsZero => flag(a.is_zero()),
                Op::IsNegative => flag(a.is_negative()),
                Op::IsCanonical => flag(a.is_canonical()),
            };
            result.to_bytes(out.iter_mut());
        }
    }
}

fn expected(op: Op, limbs: Limbs, other: Limbs) -> Number {
    let (a, b) = (Number::of(limbs), Number::of(other));
    let flag = |flag| Number::small(u64::from(flag));
    match op {
        Op::Add => a.add(b),
        Op::Sub => a.add(b.neg()),
        Op::Mul => a.times(b),
        Op::Square => a.times(a),
        Op::Neg => a.neg(),
        Op::Abs => {
            if a.negative() {
                a.neg()
            } else {
                a
            }
        }
        Op::SmallAdd => a.times(Number::small(121_666)).add(b),
        Op::Sums => a.times(b).add(b.times(b)).add(a.times(a).add(a.times(a)).neg()),
        Op::Invert => a.power(Number::P.less_one().less_one()),
        Op::IsZero => flag(a == Number::small(0)),
        Op::IsNegative => flag(a.negative()),
        Op::IsCanonical => flag(limbs.iter().all(|&limb| limb <= LIMB) && !is_p_or_more(limbs)),
    }
}

fn is_p_or_more(limbs: Limbs) -> bool {
    limbs[1..].iter().all(|&limb| limb == LIMB) && limbs[0] >= LIMB - 18
}

fn check(pairs: &[(Limbs, Limbs)], ops: &[Op]) {
    for &op in ops {
        let want: Vec<[u8; 32]> = pairs.iter().map(|&(a, b)| expected(op, a, b).0).collect();
        for path in paths() {
            let mut out = vec![[0; 32]; pairs.len()];
            if path.dispatch(Apply { op, pairs, out: &mut out }) {
                assert_eq!(out, want, "{op:?} on {path:?}");
            }
        }
    }
}

/// p - 1, p, p + 18 and their like; full limbs; the longest limbs that a carry leaves.
fn extremes() -> Vec<Limbs> {
    let full = [LIMB; 5];
    let low = |limb: u64| [limb, LIMB, LIMB, LIMB, LIMB];
    let longest = LIMB + (1 << 18);
    let mut extremes = vec![[0; 5], [1, 0, 0, 0, 0], [2, 0, 0, 0, 0], full, [longest; 5]];
    extremes.extend([19, 18, 17, 1].map(|below| low(LIMB - below)));
    extremes.extend((0..5).map(|i| std::array::from_fn(|j| if i == j { longest } else { 0 })));
    extremes.extend((0..5).map(|i| std::array::from_fn(|j| if i == j { 0 } else { longest })));
    extremes.push(std::array::from_fn(|j| if j % 2 == 0 { longest } else { 1 << 50 }));
    // 2p and its neighbours.
    extremes.extend(
        [35, 36, 37].map(|below| std::array::from_fn(|j| if j == 0 { (1 << 52) - 1 - below } else { LIMB })),
    );
    extremes.retain(|limbs| limbs.iter().all(|&limb| limb <= longest));
    extremes
}

#[test]
fn extreme_limbs_equal_slow_arithmetic() {
    let extremes = extremes();
    let pairs: Vec<(Limbs, Limbs)> =
        extremes.iter().flat_map(|&a| extremes.iter().map(move |&b| (a, b))).collect();
    check(&pairs, &OPS[..8]);
    let single: Vec<(Limbs, Limbs)> = extremes.iter().map(|&a| (a, a)).collect();
    check(&single, &OPS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_limbs_equal_slow_arithmetic(pairs in prop::collection::vec(any::<(Limbs, Limbs)>(), 1..12)) {
        let cut = |limbs: Limbs| limbs.map(|limb| limb % (LIMB + (1 << 18) + 1));
        let pairs: Vec<(Limbs, Limbs)> = pairs.into_iter().map(|(a, b)| (cut(a), cut(b))).collect();
        check(&pairs, &OPS);
    }
}

#[test]
fn constants_are_what_they_are_called() {
    let one = Number::small(1);
    let minus = |number: Number| number.neg();
    let square = |limbs: Limbs| Number::of(limbs).times(Number::of(limbs));
    let d = Number::of(D);
    assert_eq!(d.times(Number::small(121_666)), minus(Number::small(121_665)));
    assert_eq!(Number::of(D_TIMES_2), d.add(d));
    assert_eq!(Number::of(HALF_D_INVERSE).times(d.add(d)), one);
    assert_eq!(Number::of(MINUS_D), minus(d));
    assert_eq!(square(SQRT_M1), minus(one));
    assert_eq!(Number::of(ONE_MINUS_D_SQ), one.add(minus(d.times(d))));
    assert_eq!(Number::of(D_MINUS_ONE_SQ), d.add(minus(one)).times(d.add(minus(one))));
    assert_eq!(square(SQRT_AD_MINUS_ONE), minus(d.add(one)));
    assert_eq!(square(INVSQRT_A_MINUS_D).times(minus(d.add(one))), one);
    assert_eq!(square(MONTGOMERY_SCALE), minus(Number::small(MONTGOMERY_A + 2)));
    // Which of the two roots: RFC 9496, section 4.1, by their lowest bits.
    assert_eq!([SQRT_M1, SQRT_AD_MINUS_ONE, INVSQRT_A_MINUS_D].map(|root| root[0] & 1), [0, 1, 0]);
}
