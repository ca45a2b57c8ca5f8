//! Eight lanes in plain Rust: the formulas that ship, on any CPU and under Miri.
//!
//! A [`Unit`] stands for the multiplier of a real lane: [`Integer`] for IFMA's, [`Fused`] for the floating-point one of AVX2.

use std::marker::PhantomData;

use super::{Kernel, Lane, Mask, Row, fused};

/// Two lanes are enough for Miri, which takes its time.
const WIDTH: usize = if cfg!(miri) { 2 } else { 8 };

/// The multiplier of one lane.
pub(crate) trait Unit: Copy + 'static {
    const CUT: u32;
    const HIGH_OFFSET: u64;
    const LOW_OFFSET: u64;
    const BIAS: u64;
    type Factor: Copy;

    fn factor(a: u64) -> Self::Factor;
    /// The low and the high half of ab, each with its offset.
    fn multiply(a: Self::Factor, b: Self::Factor) -> (u64, u64);
}

/// `vpmadd52luq` and `vpmadd52huq`.
#[derive(Clone, Copy)]
pub(crate) struct Integer;

impl Unit for Integer {
    const CUT: u32 = 52;
    const HIGH_OFFSET: u64 = 0;
    const LOW_OFFSET: u64 = 0;
    const BIAS: u64 = 0;
    type Factor = u64;

    fn factor(a: u64) -> u64 {
        assert!(a < 1 << 52, "a factor has 52 bits");
        a
    }

    fn multiply(a: u64, b: u64) -> (u64, u64) {
        let product = u128::from(a) * u128::from(b);
        (product as u64 & ((1 << 52) - 1), (product >> 52) as u64)
    }
}

/// `vfmadd` of 53-bit floating-point numbers.
#[derive(Clone, Copy)]
pub(crate) struct Fused;

impl Unit for Fused {
    const CUT: u32 = 51;
    const HIGH_OFFSET: u64 = fused::HIGH.to_bits();
    const LOW_OFFSET: u64 = fused::LOW.to_bits();
    const BIAS: u64 = 64;
    type Factor = f64;

    fn factor(a: u64) -> f64 {
        assert!(a < 1 << 52, "a factor has 52 bits");
        f64::from_bits(a | fused::INTEGER.to_bits()) - fused::INTEGER
    }

    fn multiply(a: f64, b: f64) -> (u64, u64) {
        let above = a.mul_add(b, fused::HIGH);
        let below = a.mul_add(b, (fused::HIGH + fused::LOW) - above);
        (below.to_bits(), above.to_bits())
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Emulated<U>(PhantomData<U>);

fn map(a: [u64; WIDTH], f: impl Fn(u64) -> u64) -> [u64; WIDTH] {
    a.map(f)
}

fn zip(a: [u64; WIDTH], b: [u64; WIDTH], f: impl Fn(u64, u64) -> u64) -> [u64; WIDTH] {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

fn mask(a: [u64; WIDTH], f: impl Fn(u64) -> bool) -> Mask {
    (0..WIDTH).fold(0, |mask, lane| mask | (u8::from(f(a[lane])) << lane))
}

impl<U: Unit> Lane for Emulated<U> {
    const LANES: usize = WIDTH;
    const CUT: u32 = U::CUT;
    const HIGH_OFFSET: u64 = U::HIGH_OFFSET;
    const LOW_OFFSET: u64 = U::LOW_OFFSET;
    const BIAS: u64 = U::BIAS;
    type Word = [u64; WIDTH];
    type Factor = [U::Factor; WIDTH];
    type Array = [u64; WIDTH];

    #[inline(never)]
    fn call<K: Kernel<Self>>(kernel: K) -> K::Output {
        kernel.run()
    }

    #[inline(never)]
    fn inline<K: Kernel<Self>>(kernel: K) -> K::Output {
        kernel.run()
    }

    fn zeroes() -> [u64; WIDTH] {
        [0; WIDTH]
    }

    #[inline(never)]
    fn splat(word: u64) -> [u64; WIDTH] {
        [word; WIDTH]
    }

    #[inline(never)]
    fn load(words: &[u64; WIDTH]) -> [u64; WIDTH] {
        *words
    }

    #[inline(never)]
    fn store(word: [u64; WIDTH]) -> [u64; WIDTH] {
        word
    }

    #[inline(never)]
    fn gather<R: Row>(rows: &[R], index: &[usize; 8], at: usize) -> [[u64; WIDTH]; 4] {
        std::array::from_fn(|word| std::array::from_fn(|lane| rows[index[lane]].words()[at + word]))
    }

    #[inline(never)]
    fn scatter<R: Row>(rows: &mut [R], index: &[usize; 8], at: usize, words: [[u64; WIDTH]; 4]) {
        for (lane, &row) in index.iter().enumerate().take(WIDTH) {
            rows[row].words_mut()[at..at + 4].copy_from_slice(&words.map(|word| word[lane]));
        }
    }

    #[inline(never)]
    fn add(a: [u64; WIDTH], b: [u64; WIDTH]) -> [u64; WIDTH] {
        zip(a, b, u64::wrapping_add)
    }

    #[inline(never)]
    fn sub(a: [u64; WIDTH], b: [u64; WIDTH]) -> [u64; WIDTH] {
        zip(a, b, u64::wrapping_sub)
    }

    #[inline(never)]
    fn and(a: [u64; WIDTH], b: [u64; WIDTH]) -> [u64; WIDTH] {
        zip(a, b, |a, b| a & b)
    }

    #[inline(never)]
    fn or(a: [u64; WIDTH], b: [u64; WIDTH]) -> [u64; WIDTH] {
        zip(a, b, |a, b| a | b)
    }

    #[inline(never)]
    fn xor(a: [u64; WIDTH], b: [u64; WIDTH]) -> [u64; WIDTH] {
        zip(a, b, |a, b| a ^ b)
    }

    #[inline(never)]
    fn shift_right<const BITS: u32>(a: [u64; WIDTH]) -> [u64; WIDTH] {
        map(a, |a| a >> BITS)
    }

    #[inline(never)]
    fn rotate_right<const RIGHT: i32, const LEFT: i32>(a: [u64; WIDTH]) -> [u64; WIDTH] {
        assert_eq!(RIGHT + LEFT, 64);
        map(a, |a| a >> RIGHT | a << LEFT)
    }

    #[inline(never)]
    fn times_19(a: [u64; WIDTH]) -> [u64; WIDTH] {
        map(a, |a| a.wrapping_mul(19))
    }

    #[inline(never)]
    fn add_19(a: [u64; WIDTH], b: [u64; WIDTH]) -> [u64; WIDTH] {
        zip(a, b, |a, b| {
            assert!(b < 1 << 32, "a carry is short");
            a.wrapping_add(19 * b)
        })
    }

    #[inline(never)]
    fn factor(a: [u64; WIDTH]) -> [U::Factor; WIDTH] {
        a.map(U::factor)
    }

    #[inline(never)]
    fn multiply_add(
        a: [U::Factor; WIDTH],
        b: [U::Factor; WIDTH],
        low: [u64; WIDTH],
        high: [u64; WIDTH],
    ) -> ([u64; WIDTH], [u64; WIDTH]) {
        let products: [(u64, u64); WIDTH] = std::array::from_fn(|lane| U::multiply(a[lane], b[lane]));
        (
            std::array::from_fn(|lane| low[lane].wrapping_add(products[lane].0)),
            std::array::from_fn(|lane| high[lane].wrapping_add(products[lane].1)),
        )
    }

    #[inline(never)]
    fn select(mask: Mask, set: [u64; WIDTH], clear: [u64; WIDTH]) -> [u64; WIDTH] {
        std::array::from_fn(|lane| if mask >> lane & 1 == 1 { set[lane] } else { clear[lane] })
    }

    #[inline(never)]
    fn is_zero(a: [u64; WIDTH]) -> Mask {
        mask(a, |a| a == 0)
    }

    #[inline(never)]
    fn is_odd(a: [u64; WIDTH]) -> Mask {
        mask(a, |a| a & 1 == 1)
    }
}
