//! Eight lanes of AVX-512 with IFMA: `vpmadd52luq` and `vpmadd52huq` multiply 52-bit limbs and add, as they are.

use core::arch::x86_64::*;

use super::{AlignedFrame, Kernel, Lane, Mask, Row};

#[derive(Clone, Copy)]
pub(crate) struct Ifma;

/// Whether this CPU, and the operating system, can run [`Ifma`].
pub(crate) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512ifma")
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn enter<K: Kernel<Ifma>>(kernel: K) -> K::Output {
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

impl Lane for Ifma {
    const LANES: usize = 8;
    const CUT: u32 = 52;
    type Word = __m512i;
    type Factor = __m512i;
    type Array = [u64; 8];

    #[inline(always)]
    fn call<K: Kernel<Self>>(kernel: K) -> K::Output {
        // SAFETY: this lane runs only where `available` said yes.
        unsafe { enter(kernel) }
    }

    #[inline(always)]
    fn zeroes() -> [u64; 8] {
        [0; 8]
    }

    instructions! {
        splat(word: u64) -> __m512i = _mm512_set1_epi64(word as i64);
        add(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi64(a, b);
        sub(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi64(a, b);
        and(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);
        or(a: __m512i, b: __m512i) -> __m512i = _mm512_or_si512(a, b);
        xor(a: __m512i, b: __m512i) -> __m512i = _mm512_xor_si512(a, b);
        times_19(a: __m512i) -> __m512i = _mm512_mullo_epi64(a, _mm512_set1_epi64(19));
        add_19(a: __m512i, b: __m512i) -> __m512i = _mm512_madd52lo_epu64(a, b, _mm512_set1_epi64(19));
        multiply_add(a: __m512i, b: __m512i, low: __m512i, high: __m512i) -> (__m512i, __m512i) =
            (_mm512_madd52lo_epu64(low, a, b), _mm512_madd52hi_epu64(high, a, b));
        select(mask: Mask, set: __m512i, clear: __m512i) -> __m512i = _mm512_mask_mov_epi64(clear, mask, set);
        is_zero(a: __m512i) -> Mask = _mm512_testn_epi64_mask(a, a);
        is_odd(a: __m512i) -> Mask = _mm512_test_epi64_mask(a, _mm512_set1_epi64(1));
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(a: __m512i) -> __m512i {
        // SAFETY: no memory is touched, and this lane runs only where `available` said yes.
        unsafe { _mm512_srli_epi64::<BITS>(a) }
    }

    #[inline(always)]
    fn rotate_right<const RIGHT: i32, const LEFT: i32>(a: __m512i) -> __m512i {
        // SAFETY: no memory is touched, and this lane runs only where `available` said yes.
        unsafe { _mm512_ror_epi64::<RIGHT>(a) }
    }

    #[inline(always)]
    fn factor(a: __m512i) -> __m512i {
        a
    }

    #[inline(always)]
    fn load(words: &[u64; 8]) -> __m512i {
        // SAFETY: the array is 64 readable bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(word: __m512i) -> [u64; 8] {
        let mut words = [0; 8];
        // SAFETY: the array is 64 writable bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), word) };
        words
    }

    #[inline(always)]
    fn gather<R: Row>(rows: &[R], index: &[usize; 8], at: usize) -> [__m512i; 4] {
        let (r0, r1, r2, r3) = (
            pair(rows, index[0], index[2], at),
            pair(rows, index[1], index[3], at),
            pair(rows, index[4], index[6], at),
            pair(rows, index[5], index[7], at),
        );
        // SAFETY: no memory is touched, and this lane runs only where `available` said yes.
        unsafe {
            let (even_low, odd_low) = (_mm512_unpacklo_epi64(r0, r1), _mm512_unpackhi_epi64(r0, r1));
            let (even_high, odd_high) = (_mm512_unpacklo_epi64(r2, r3), _mm512_unpackhi_epi64(r2, r3));
            [
                _mm512_shuffle_i64x2::<0x88>(even_low, even_high),
                _mm512_shuffle_i64x2::<0x88>(odd_low, odd_high),
                _mm512_shuffle_i64x2::<0xdd>(even_low, even_high),
                _mm512_shuffle_i64x2::<0xdd>(odd_low, odd_high),
            ]
        }
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
    fn scatter<R: Row>(rows: &mut [R], index: &[usize; 8], at: usize, words: [__m512i; 4]) {
        // SAFETY: no memory is touched, and this lane runs only where `available` said yes.
        let quads = unsafe {
            let (low, high) =
                (_mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15));
            let (even_0, odd_0) =
                (_mm512_unpacklo_epi64(words[0], words[1]), _mm512_unpackhi_epi64(words[0], words[1]));
            let (even_1, odd_1) =
                (_mm512_unpacklo_epi64(words[2], words[3]), _mm512_unpackhi_epi64(words[2], words[3]));
            [
                _mm512_permutex2var_epi64(even_0, low, even_1),
                _mm512_permutex2var_epi64(odd_0, low, odd_1),
                _mm512_permutex2var_epi64(even_0, high, even_1),
                _mm512_permutex2var_epi64(odd_0, high, odd_1),
            ]
        };
        unpair(rows, index[0], index[2], at, quads[0]);
        unpair(rows, index[1], index[3], at, quads[1]);
        unpair(rows, index[4], index[6], at, quads[2]);
        unpair(rows, index[5], index[7], at, quads[3]);
    }
}

/// Four words of row `a`, then four of row `b`.
#[inline(always)]
fn pair<R: Row>(rows: &[R], a: usize, b: usize, at: usize) -> __m512i {
    let (a, b) = (&rows[a].words()[at..at + 4], &rows[b].words()[at..at + 4]);
    // SAFETY: both slices are 32 readable bytes, and the loads need no alignment.
    unsafe {
        let a = _mm512_castsi256_si512(_mm256_loadu_si256(a.as_ptr().cast()));
        _mm512_inserti64x4::<1>(a, _mm256_loadu_si256(b.as_ptr().cast()))
    }
}

/// The inverse of [`pair`].
#[inline(always)]
fn unpair<R: Row>(rows: &mut [R], a: usize, b: usize, at: usize, words: __m512i) {
    let slot = &mut rows[a].words_mut()[at..at + 4];
    // SAFETY: the slice is 32 writable bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(slot.as_mut_ptr().cast(), _mm512_castsi512_si256(words)) };
    let slot = &mut rows[b].words_mut()[at..at + 4];
    // SAFETY: as above.
    unsafe { _mm256_storeu_si256(slot.as_mut_ptr().cast(), _mm512_extracti64x4_epi64::<1>(words)) };
}
