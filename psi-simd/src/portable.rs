//! The same calls through curve25519-dalek, one element at a time.

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul;

pub(crate) fn hash(uniform: &[[u8; 64]]) -> Vec<RistrettoPoint> {
    uniform.iter().map(RistrettoPoint::from_uniform_bytes).collect()
}

/// The points, or the index of the first encoding that is not one.
pub(crate) fn decode(encodings: &[[u8; 32]]) -> Result<Vec<RistrettoPoint>, usize> {
    let decode = |bytes: &[u8; 32]| CompressedRistretto(*bytes).decompress();
    encodings.iter().enumerate().map(|(index, bytes)| decode(bytes).ok_or(index)).collect()
}

pub(crate) fn encode(points: &[RistrettoPoint]) -> Vec<[u8; 32]> {
    points.iter().map(|point| point.compress().to_bytes()).collect()
}

/// The encodings of twice `half` times the points.
pub(crate) fn multiply(half: &Scalar, points: &[RistrettoPoint], out: &mut [[u8; 32]]) {
    let halves: Vec<RistrettoPoint> = points.iter().map(|point| point * half).collect();
    for (out, encoding) in out.iter_mut().zip(RistrettoPoint::double_and_compress_batch(&halves)) {
        *out = encoding.to_bytes();
    }
}

/// The encoding of twice the sum. The magnitudes are the scalars, so that half of the digits of each are zero.
pub(crate) fn combine(points: &[RistrettoPoint], coefficients: &[i128]) -> [u8; 32] {
    let magnitudes = coefficients.iter().map(|coefficient| Scalar::from(coefficient.unsigned_abs()));
    let signed = coefficients.iter().zip(points);
    let signed = signed.map(|(coefficient, point)| if *coefficient < 0 { -point } else { *point });
    let sum = RistrettoPoint::vartime_multiscalar_mul(magnitudes, signed);
    (sum + sum).compress().to_bytes()
}
