//! What the field code asks of a vector unit: a few operations on `LANES` unsigned 64-bit words at a time.
//!
//! The field, the curve and the multi-scalar multiplication are written once over [`Lane`]. [`ifma`] and [`avx2`] run it on a
//! CPU, [`emulated`] runs the same formulas in plain Rust (any CPU, Miri), [`interval`] runs them on intervals and so proves
//! that no word overflows. docs/SIMD.md has the maths.
//!
//! # How the instructions stay inlined
//! An intrinsic is compiled into a function only where its CPU feature is switched on. Every function of a lane, and every
//! generic function above it, is therefore `#[inline(always)]` up to [`Lane::call`], the one place a lane where
//! `#[target_feature]` stands. A [`Kernel`] is what is handed to it: the unit of code that is compiled for a lane.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(test)]
pub(crate) mod emulated;
#[cfg(target_arch = "x86_64")]
pub(crate) mod ifma;
#[cfg(test)]
pub(crate) mod interval;

/// The constants that cut a product with fused multiply-adds of floating-point numbers (see [`avx2`]).
pub(crate) mod fused {
    /// 2^103: a product below it is rounded to a multiple of 2^51 when it is added.
    pub(crate) const HIGH: f64 = (1u128 << 103) as f64;
    /// 3 * 2^51: a low half, added to it, lands where neighbouring floating-point numbers are 1 apart.
    pub(crate) const LOW: f64 = (3u64 << 51) as f64;
    /// 2^52, to whose bits an integer below 2^52 can be added.
    pub(crate) const INTEGER: f64 = (1u64 << 52) as f64;
}

/// A local variable of this type makes the compiler align the stack frame. Without one it spills vectors to addresses of which
/// half straddle two cache lines, or none, as luck has it: a third of the speed.
#[cfg(target_arch = "x86_64")]
#[repr(align(64))]
#[allow(dead_code, reason = "only the alignment matters")]
struct AlignedFrame(u8);

/// One bit a lane, lane 0 lowest; bits from `LANES` up mean nothing.
pub(crate) type Mask = u8;

/// Code that is compiled with the CPU features of lane `L`. `run` is `#[inline(always)]` in every implementation.
pub(crate) trait Kernel<L: Lane> {
    type Output;
    fn run(self) -> Self::Output;
}

/// A table of rows of words, from which a vector is gathered: one row a lane.
pub(crate) trait Row {
    fn words(&self) -> &[u64];
    fn words_mut(&mut self) -> &mut [u64];
}

/// `LANES` words of 64 bits.
///
/// The functions are safe to write down but may run only on a CPU that has the lane's features: nothing but
/// [`Path`](crate::Path), which looks first, picks a lane.
pub(crate) trait Lane: Copy + 'static {
    const LANES: usize;
    /// A product of two limbs is cut into `high * 2^CUT + low`.
    const CUT: u32;
    /// What an instruction leaves in a sum for each high and each low half that it adds; [`start`] takes it off beforehand.
    const HIGH_OFFSET: u64 = 0;
    const LOW_OFFSET: u64 = 0;
    /// The multiple of p that keeps sums of signed low halves from falling below zero.
    const BIAS: u64 = 0;

    type Word: Copy;
    /// A word below 2^52, made ready to be multiplied.
    type Factor: Copy;
    type Array: Copy + AsRef<[u64]> + AsMut<[u64]>;

    /// Runs a kernel as a function of its own.
    fn call<K: Kernel<Self>>(kernel: K) -> K::Output;
    /// Runs a kernel in place. A lane in plain Rust, for which everything above is inlined as well, makes it a function to keep
    /// compile times in bounds.
    #[inline(always)]
    fn inline<K: Kernel<Self>>(kernel: K) -> K::Output {
        kernel.run()
    }

    fn zeroes() -> Self::Array;
    fn splat(word: u64) -> Self::Word;
    fn load(words: &Self::Array) -> Self::Word;
    fn store(word: Self::Word) -> Self::Array;
    /// Four neighbouring words of one row a lane: word `at + i` of row `index[lane]` goes to the lane of the `i`th result.
    fn gather<R: Row>(rows: &[R], index: &[usize; 8], at: usize) -> [Self::Word; 4];
    /// Asks for a row that will be gathered soon.
    #[inline(always)]
    fn prefetch<R: Row>(_row: &R) {}
    /// The inverse of [`Lane::gather`]; of lanes with the same row the last one stays.
    fn scatter<R: Row>(rows: &mut [R], index: &[usize; 8], at: usize, words: [Self::Word; 4]);

    fn add(a: Self::Word, b: Self::Word) -> Self::Word;
    fn sub(a: Self::Word, b: Self::Word) -> Self::Word;
    fn and(a: Self::Word, b: Self::Word) -> Self::Word;
    fn or(a: Self::Word, b: Self::Word) -> Self::Word;
    fn xor(a: Self::Word, b: Self::Word) -> Self::Word;
    fn shift_right<const BITS: u32>(a: Self::Word) -> Self::Word;
    /// By `RIGHT` bits; `LEFT` is 64 - `RIGHT`.
    fn rotate_right<const RIGHT: i32, const LEFT: i32>(a: Self::Word) -> Self::Word;
    /// 19a mod 2^64.
    fn times_19(a: Self::Word) -> Self::Word;
    /// a + 19b for b < 2^32.
    fn add_19(a: Self::Word, b: Self::Word) -> Self::Word;

    fn factor(a: Self::Word) -> Self::Factor;
    /// Adds the halves of ab to `low` and `high`. Needs a, b < 2^52 and ab < 2^(CUT + 52).
    fn multiply_add(
        a: Self::Factor,
        b: Self::Factor,
        low: Self::Word,
        high: Self::Word,
    ) -> (Self::Word, Self::Word);

    /// `set` in the lanes of the mask, `clear` in the others.
    fn select(mask: Mask, set: Self::Word, clear: Self::Word) -> Self::Word;
    fn is_zero(a: Self::Word) -> Mask;
    fn is_odd(a: Self::Word) -> Mask;
}

/// Where a sum of `highs` high halves and `half_lows / 2` low halves starts, so that it ends at its value plus `bias`.
#[inline(always)]
pub(crate) fn start<L: Lane>(highs: u64, half_lows: u64, bias: u64) -> L::Word {
    let offset = L::HIGH_OFFSET.wrapping_mul(highs).wrapping_add((L::LOW_OFFSET / 2).wrapping_mul(half_lows));
    L::splat(bias.wrapping_sub(offset))
}

/// A sum of high halves in units of 2^51, the weight of the limb above.
#[inline(always)]
pub(crate) fn raise<L: Lane>(high: L::Word) -> L::Word {
    if L::CUT == 52 { L::add(high, high) } else { high }
}

/// All lanes or none, for a bit that is 0 or 1.
#[inline(always)]
pub(crate) fn uniform(bit: u8) -> Mask {
    0u8.wrapping_sub(bit)
}
