//! Every path against curve25519-dalek, by one body of tests.

mod batches;
mod bounds;
mod cosets;
mod expansion;
mod fields;
mod small;
mod sums;

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha512};

use crate::Path;

/// What this CPU has, and the vector formulas in plain Rust.
fn paths() -> Vec<Path> {
    let emulated = [Path::EmulatedIfma, Path::EmulatedAvx2];
    Path::available().iter().copied().chain(emulated).collect()
}

/// 64 bytes that depend on `seed` and `index`.
fn uniform(seed: u64, index: u64) -> [u8; 64] {
    Sha512::new().chain_update(seed.to_le_bytes()).chain_update(index.to_le_bytes()).finalize().into()
}

fn uniforms(seed: u64, count: usize) -> Vec<[u8; 64]> {
    (0..count as u64).map(|index| uniform(seed, index)).collect()
}

fn scalar(seed: u64) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&uniform(seed, u64::MAX))
}

fn hashed(seed: u64, count: usize) -> Vec<RistrettoPoint> {
    uniforms(seed, count).iter().map(RistrettoPoint::from_uniform_bytes).collect()
}

fn encode(points: &[RistrettoPoint]) -> Vec<[u8; 32]> {
    points.iter().map(|point| point.compress().to_bytes()).collect()
}

/// Scalars at the edges of the range and of the ladder.
fn edge_scalars() -> Vec<Scalar> {
    let small = [0u64, 1, 2, 3, 4, 5, 8, 16, u64::MAX];
    let small = small.map(Scalar::from);
    let half = Scalar::from(2u64).invert();
    let powers = [251u32, 250, 252].map(|bit| (0..bit).fold(Scalar::ONE, |power, _| power + power));
    let low = small.iter().chain([&half]).chain(&powers);
    low.flat_map(|scalar| [*scalar, -scalar]).collect()
}
