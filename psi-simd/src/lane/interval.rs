//! One lane of intervals: every word is the set of values it can take, and every operation asserts what it needs.
//!
//! Running a kernel over this lane on the widest inputs proves that the kernel never overflows a word, never takes a larger
//! number from a smaller one and never multiplies a limb that is too long, whatever the inputs. Both sides of a select are
//! kept. `CUT` picks the multiplier: 52 that of IFMA, 51 that of AVX2.

use std::cell::Cell;

use super::{Kernel, Lane, Mask, Row};

thread_local! {
    /// The greatest word and the greatest factor that this thread has met.
    pub(crate) static WIDEST: Cell<(i128, i128)> = const { Cell::new((0, 0)) };
}

/// From the least to the greatest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) i128, pub(crate) i128);

impl Span {
    const ANY: Self = Self(0, (1 << 64) - 1);

    /// A sum may stay below zero for a while, since words wrap; what is read as a number may not.
    fn number(self) -> Self {
        assert!(self.0 >= 0 && self.1 < 1 << 64, "{self:?} is no 64-bit word");
        WIDEST.set((WIDEST.get().0.max(self.1), WIDEST.get().1));
        self
    }

    fn product(self, other: Self) -> Self {
        Self(self.0 * other.0, self.1 * other.1)
    }

    fn union(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.max(other.1))
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Interval<const CUT: u32>;

impl<const CUT: u32> Lane for Interval<CUT> {
    const LANES: usize = 1;
    const CUT: u32 = CUT;
    const BIAS: u64 = if CUT == 51 { 64 } else { 0 };
    type Word = Span;
    type Factor = Span;
    type Array = [u64; 1];

    #[inline(never)]
    fn call<K: Kernel<Self>>(kernel: K) -> K::Output {
        kernel.run()
    }

    #[inline(never)]
    fn inline<K: Kernel<Self>>(kernel: K) -> K::Output {
        kernel.run()
    }

    fn zeroes() -> [u64; 1] {
        [0]
    }

    #[inline(never)]
    fn splat(word: u64) -> Span {
        Span(word.into(), word.into())
    }

    /// Anything up to what is loaded.
    #[inline(never)]
    fn load(words: &[u64; 1]) -> Span {
        Span(0, words[0].into())
    }

    #[inline(never)]
    fn store(word: Span) -> [u64; 1] {
        [word.number().1 as u64]
    }

    #[inline(never)]
    fn gather<R: Row>(rows: &[R], index: &[usize; 8], at: usize) -> [Span; 4] {
        std::array::from_fn(|word| Self::load(&[rows[index[0]].words()[at + word]]))
    }

    #[inline(never)]
    fn scatter<R: Row>(rows: &mut [R], index: &[usize; 8], at: usize, words: [Span; 4]) {
        rows[index[0]].words_mut()[at..at + 4].copy_from_slice(&words.map(|word| Self::store(word)[0]));
    }

    #[inline(never)]
    fn add(a: Span, b: Span) -> Span {
        Span(a.0 + b.0, a.1 + b.1)
    }

    #[inline(never)]
    fn sub(a: Span, b: Span) -> Span {
        Span(a.0 - b.1, a.1 - b.0)
    }

    #[inline(never)]
    fn and(a: Span, b: Span) -> Span {
        Span(0, a.number().1.min(b.number().1))
    }

    #[inline(never)]
    fn or(a: Span, b: Span) -> Span {
        let bits = 128 - (a.number().1 | b.number().1).leading_zeros();
        Span(a.0.max(b.0), (1 << bits) - 1)
    }

    #[inline(never)]
    fn xor(_: Span, _: Span) -> Span {
        Span::ANY
    }

    #[inline(never)]
    fn shift_right<const BITS: u32>(a: Span) -> Span {
        Span(a.number().0 >> BITS, a.1 >> BITS)
    }

    #[inline(never)]
    fn rotate_right<const RIGHT: i32, const LEFT: i32>(_: Span) -> Span {
        Span::ANY
    }

    #[inline(never)]
    fn times_19(a: Span) -> Span {
        Span(19 * a.0, 19 * a.1)
    }

    #[inline(never)]
    fn add_19(a: Span, b: Span) -> Span {
        assert!(b.number().1 < 1 << 32, "{b:?} is no short carry");
        Self::add(a, Self::times_19(b))
    }

    #[inline(never)]
    fn factor(a: Span) -> Span {
        assert!(a.number().1 < 1 << 52, "{a:?} is no 52-bit factor");
        WIDEST.set((WIDEST.get().0, WIDEST.get().1.max(a.1)));
        a
    }

    #[inline(never)]
    fn multiply_add(a: Span, b: Span, low: Span, high: Span) -> (Span, Span) {
        let product = a.product(b);
        assert!(product.1 < 1 << (CUT + 52), "{product:?} is too long a product");
        let (low_half, high_half) = if CUT == 52 {
            (Span(0, product.1.min((1 << 52) - 1)), Span(product.0 >> 52, product.1 >> 52))
        } else {
            let half = 1 << 50;
            let short = Span(0, product.1.min(half));
            let low_half = if product.1 <= half { short } else { Span(-half, half) };
            (low_half, Span((product.0 + half) >> 51, (product.1 + half) >> 51))
        };
        (Self::add(low, low_half), Self::add(high, high_half))
    }

    #[inline(never)]
    fn select(_: Mask, set: Span, clear: Span) -> Span {
        set.union(clear)
    }

    #[inline(never)]
    fn is_zero(_: Span) -> Mask {
        0
    }

    #[inline(never)]
    fn is_odd(_: Span) -> Mask {
        0
    }
}
