//! Constants of RFC 9496, section 4.1, and of the map between the curves, as limbs.

/// d = -121665/121666, of the curve -x^2 + y^2 = 1 + d x^2 y^2.
pub(crate) const D: [u64; 5] =
    [0x34dca135978a3, 0x1a8283b156ebd, 0x5e7a26001c029, 0x739c663a03cbb, 0x52036cee2b6ff];

/// 2d.
pub(crate) const D_TIMES_2: [u64; 5] =
    [0x69b9426b2f159, 0x35050762add7a, 0x3cf44c0038052, 0x6738cc7407977, 0x2406d9dc56dff];

/// 1/(2d).
pub(crate) const HALF_D_INVERSE: [u64; 5] =
    [0x793b66e4fc18, 0x184279542e25e, 0x3739ecc16bbad, 0x390cac5884533, 0x60483f690a6ae];

/// -d.
pub(crate) const MINUS_D: [u64; 5] =
    [0x4b235eca6874a, 0x657d7c4ea9142, 0x2185d9ffe3fd6, 0xc6399c5fc344, 0x2dfc9311d4900];

/// A square root of -1; RFC 9496 fixes which.
pub(crate) const SQRT_M1: [u64; 5] =
    [0x61b274a0ea0b0, 0xd5a5fc8f189d, 0x7ef5e9cbd0c60, 0x78595a6804c9e, 0x2b8324804fc1d];

/// 1 - d^2.
pub(crate) const ONE_MINUS_D_SQ: [u64; 5] =
    [0x409c1945fc176, 0x719abc6a1fc4f, 0x1c37f90b20684, 0x6bccca55eedf, 0x29072a8b2b3e];

/// (d - 1)^2.
pub(crate) const D_MINUS_ONE_SQ: [u64; 5] =
    [0x55aaa44ed4d20, 0x59603c3332635, 0x26d3baf4a7928, 0x120a66e6997a9, 0x5968b37af66c2];

/// A square root of -d - 1; RFC 9496 fixes which.
pub(crate) const SQRT_AD_MINUS_ONE: [u64; 5] =
    [0x7f6a0497b2e1b, 0x1836f0a97afd2, 0x7d747f6be7638, 0x456079e7e6498, 0x376931bf2b834];

/// A square root of 1/(-1 - d); RFC 9496 fixes which.
pub(crate) const INVSQRT_A_MINUS_D: [u64; 5] =
    [0xfdaa805d40ea, 0x2eb482e57d339, 0x7610274bc58, 0x6510b613dc8ff, 0x786c8905cfaff];

/// A square root of -486664: x of the Edwards curve is this times u/v of the Montgomery curve.
pub(crate) const MONTGOMERY_SCALE: [u64; 5] =
    [0x604aaff457e06, 0x2296fa350598d, 0x7f13dfb16874f, 0x35de93d846e01, 0xf26edf460a00];

/// A of the Montgomery curve v^2 = u^3 + A u^2 + u.
pub(crate) const MONTGOMERY_A: u64 = 486662;
