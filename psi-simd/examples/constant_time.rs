//! Does masking take a time that depends on the scalar? A statistical test, after Reparaz, Balasch and Verbauwhede, "Dude, is
//! my code constant time?", 2017.
//!
//! Times `Path::mask` for one fixed scalar and for random ones, in random order, and compares the two samples by Welch's t.
//! A t beyond 10 is a leak. As a control, a multiplication that skips the zero bits of the scalar goes through the same test and
//! must be found to leak; if it isn't, the machine was too noisy for a verdict.
//!
//! `cargo run --release -p psi-simd --example constant_time [ROUNDS]`. Exit code 1: a leak; 2: no verdict.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use psi_simd::Path;
use sha2::{Digest, Sha512};

/// |t| from which on the samples are said to differ.
const LEAK: f64 = 10.0;
const BATCH: usize = 16;

fn main() -> ExitCode {
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(20_000);
    let mut leaks = false;
    for &path in Path::available() {
        // The ladder walks over half of the scalar, so that the fixed one is twice a single bit.
        let t = compare(rounds, Scalar::from(2u64), |k, uniform| {
            path.mask(k.as_bytes(), uniform, &mut black_box([[0; 32]; BATCH]), None);
        });
        leaks |= report(path.name(), t);
    }
    let control = compare(rounds / 4, Scalar::from(2u64), |k, uniform| {
        black_box(skip_zero_bits(k, &RistrettoPoint::from_uniform_bytes(&uniform[0])));
    });
    let caught = report("leaky control", control);
    match (leaks, caught) {
        (true, _) => ExitCode::from(1),
        (false, false) => ExitCode::from(2),
        (false, true) => ExitCode::SUCCESS,
    }
}

fn report(name: &str, t: f64) -> bool {
    let leaks = t.abs() > LEAK;
    println!("{name:>14}  t = {t:8.2}  {}", if leaks { "LEAKS" } else { "no leak found" });
    leaks
}

/// Double and add, with a branch on each bit.
fn skip_zero_bits(k: &Scalar, point: &RistrettoPoint) -> RistrettoPoint {
    let mut multiple = RistrettoPoint::default();
    for bit in (0..253).rev() {
        multiple = multiple + multiple;
        if k.as_bytes()[bit / 8] >> (bit % 8) & 1 == 1 {
            multiple += point;
        }
    }
    multiple
}

/// Welch's t of the times with the fixed scalar and with random ones.
fn compare(rounds: u64, fixed: Scalar, mut run: impl FnMut(&Scalar, &[[u8; 64]; BATCH])) -> f64 {
    let uniform = std::array::from_fn(|index| wide(0, index as u64));
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let seed = wide(1, round);
        let class = usize::from(seed[63] & 1);
        // Both classes reduce a wide number, so that the caches don't tell them apart.
        let random = Scalar::from_bytes_mod_order_wide(&seed);
        let k = black_box([fixed, random][class]);
        let start = Instant::now();
        run(&k, &uniform);
        times[class].push(start.elapsed().as_nanos() as f64);
    }
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    // Interrupts make the slow tail; it says nothing about the code.
    let limit = all[all.len() * 8 / 10];
    let [fixed, random] =
        times.map(|times| Sample::of(times.into_iter().skip(100).filter(|&time| time <= limit)));
    (fixed.mean - random.mean) / (fixed.error + random.error).sqrt()
}

struct Sample {
    mean: f64,
    /// The variance of the mean.
    error: f64,
}

impl Sample {
    fn of(times: impl Iterator<Item = f64>) -> Self {
        let times: Vec<f64> = times.collect();
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { mean, error: variance / count }
    }
}

fn wide(seed: u64, index: u64) -> [u8; 64] {
    Sha512::new().chain_update(seed.to_le_bytes()).chain_update(index.to_le_bytes()).finalize().into()
}
