//! Four lanes of AVX2: limbs are multiplied by the fused multiply-add of floating-point numbers.
//!
//! AVX2's integer product is 32 bits wide, but `vfmadd` keeps all 104 bits of a product of two 52-bit integers until it rounds
//! once. Adding 2^103 makes it round to a multiple of 2^51: the high half. Taking that off again with a second fused
//! multiply-add leaves the low half exactly, between -2^50 and 2^50. Both results lie in a range where the bits of the
//! floating-point number are an integer plus a constant, so they are added up as integers, and the constants are taken off at
//! the start of a sum. Cutting at 2^51 rather than 2^52 puts the high half where the next limb is: no doubling.
//!
//! The lowest operand is 0, the largest product below 2^103: no denormal number occurs, so the timing doesn't depend on values.

use core::arch::x86_64::*;

use super::fused::{HIGH, INTEGER, LOW};
use super::{AlignedFrame, Kernel, Lane, Mask, Row};

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Whether this CPU, and the operating system, can run [`Avx2`].
pub(crate) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn enter<K: Kernel<Avx2>>(kernel: K) -> K::Output {
    let mut frame = AlignedFrame(0);
    std::hint::black_box(&mut frame);
    kernel.run()
}

/// Lane functions that are one expression of intrinsics.
macro_rules! instructions {
    ($($name:ident($($arg:ident: $of:ty),*) -> $to:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name($($arg: $of),*) -> $to {
            // SAFETY: the intrinsics touch no memory, and this lane runs only where `available` said yes.
            unsafe { $body }
        }
    )*};
}

impl Lane for Avx2 {
    const LANES: usize = 4;
    const CUT: u32 = 51;
    const HIGH_OFFSET: u64 = HIGH.to_bits();
    const LOW_OFFSET: u64 = LOW.to_bits();
    const BIAS: u64 = 64;
    type Word = __m256i;
    type Factor = __m256d;
    type Array = [u64; 4];

    #[inline(always)]
    fn call<K: Kernel<Self>>(kernel: K) -> K::Output {
        // SAFETY: this lane runs only where `available` said yes.
        unsafe { enter(kernel) }
    }

    #[inline(always)]
    fn zeroes() -> [u64; 4] {
        [0; 4]
    }

    instructions! {
        splat(word: u64) -> __m256i = _mm256_set1_epi64x(word as i64);
        add(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi64(a, b);
        sub(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi64(a, b);
        and(a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256(a, b);
        or(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
        xor(a: __m256i, b: __m256i) -> __m256i = _mm256_xor_si256(a, b);
        times_19(a: __m256i) -> __m256i = {
            let three = _mm256_add_epi64(_mm256_add_epi64(a, a), a);
            _mm256_add_epi64(_mm256_slli_epi64::<4>(a), three)
        };
        add_19(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi64(a, _mm256_mul_epu32(b, _mm256_set1_epi64x(19)));
        factor(a: __m256i) -> __m256d = {
            let shifted = _mm256_or_si256(a, _mm256_set1_epi64x(INTEGER.to_bits() as i64));
            _mm256_sub_pd(_mm256_castsi256_pd(shifted), _mm256_set1_pd(INTEGER))
        };
        multiply_add(a: __m256d, b: __m256d, low: __m256i, high: __m256i) -> (__m256i, __m256i) = {
            let above = _mm256_fmadd_pd(a, b, _mm256_set1_pd(HIGH));
            let below = _mm256_fmadd_pd(a, b, _mm256_sub_pd(_mm256_set1_pd(HIGH + LOW), above));
            (_mm256_add_epi64(low, _mm256_castpd_si256(below)), _mm256_add_epi64(high, _mm256_castpd_si256(above)))
        };
        select(mask: Mask, set: __m256i, clear: __m256i) -> __m256i = _mm256_blendv_epi8(clear, set, widen(mask));
        is_zero(a: __m256i) -> Mask = narrow(_mm256_cmpeq_epi64(a, _mm256_setzero_si256()));
        is_odd(a: __m256i) -> Mask = narrow(_mm256_slli_epi64::<63>(a));
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(a: __m256i) -> __m256i {
        // SAFETY: no memory is touched, and this lane runs only where `available` said yes.
        unsafe { _mm256_srl_epi64(a, _mm_cvtsi32_si128(BITS as i32)) }
    }

    #[inline(always)]
    fn rotate_right<const RIGHT: i32, const LEFT: i32>(a: __m256i) -> __m256i {
        // SAFETY: no memory is touched, and this lane runs only where `available` said yes.
        unsafe { _mm256_or_si256(_mm256_srli_epi64::<RIGHT>(a), _mm256_slli_epi64::<LEFT>(a)) }
    }

    #[inline(always)]
    fn load(words: &[u64; 4]) -> __m256i {
        // SAFETY: the array is 32 readable bytes, and the load needs no alignment.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(word: __m256i) -> [u64; 4] {
        let mut words = [0; 4];
        // SAFETY: the array is 32 writable bytes, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), word) };
        words
    }

    #[inline(always)]
    fn gather<R: Row>(rows: &[R], index: &[usize; 8], at: usize) -> [__m256i; 4] {
        let row = |lane: usize| &rows[index[lane]].words()[at..at + 4];
        transpose([quad(row(0)), quad(row(1)), quad(row(2)), quad(row(3))])
    }

    #[inline(always)]
    fn prefetch<R: Row>(row: &R) {
        let at: *const i8 = std::ptr::from_ref(row).cast();
        // SAFETY: both addresses lie in the row or one past its end; fetching early reads nothing that could be seen.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(at);
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64));
        }
    }

    #[inline(always)]
    fn scatter<R: Row>(rows: &mut [R], index: &[usize; 8], at: usize, words: [__m256i; 4]) {
        let quads = transpose(words);
        for lane in 0..4 {
            rows[index[lane]].words_mut()[at..at + 4].copy_from_slice(&Self::store(quads[lane]));
        }
    }
}

/// A mask of bits as a mask of words.
#[inline(always)]
fn widen(mask: Mask) -> __m256i {
    // SAFETY: no memory is touched, and this lane runs only where `available` said yes.
    unsafe {
        let bit = _mm256_setr_epi64x(1, 2, 4, 8);
        _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(i64::from(mask)), bit), bit)
    }
}

/// The top bits of the words.
#[inline(always)]
fn narrow(words: __m256i) -> Mask {
    // SAFETY: no memory is touched, and this lane runs only where `available` said yes.
    unsafe { _mm256_movemask_pd(_mm256_castsi256_pd(words)) as u8 }
}

#[inline(always)]
fn quad(words: &[u64]) -> __m256i {
    let words: &[u64; 4] = words.first_chunk().expect("a quad is cut to four words");
    Avx2::load(words)
}

/// A 4 by 4 transpose, its own inverse.
#[inline(always)]
fn transpose([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    // SAFETY: no memory is touched, and this lane runs only where `available` said yes.
    unsafe {
        let (ab_even, ab_odd) = (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        let (cd_even, cd_odd) = (_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
        [
            _mm256_permute2x128_si256::<0x20>(ab_even, cd_even),
            _mm256_permute2x128_si256::<0x20>(ab_odd, cd_odd),
            _mm256_permute2x128_si256::<0x31>(ab_even, cd_even),
            _mm256_permute2x128_si256::<0x31>(ab_odd, cd_odd),
        ]
    }
}
