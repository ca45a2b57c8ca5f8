//! A few elements through every kernel, in plain Rust: for Miri (`cargo +nightly miri test -p psi-simd small`).

use curve25519_dalek::constants;

use super::{encode, hashed, scalar, uniforms};
use crate::{Bad, Fault, Path, Points};

fn three_elements(path: Path) {
    let (k, points) = (scalar(50), hashed(51, 3));
    let mut encodings = encode(&points);
    let own = encode(&points.iter().map(|point| point * k).collect::<Vec<_>>());

    let (mut out, mut kept) = ([[0; 32]; 3], Points::new(path));
    path.mask(k.as_bytes(), &uniforms(51, 3), &mut out, Some(&mut kept));
    assert_eq!(out.to_vec(), own);
    path.decode(&encodings, &mut kept).unwrap();
    assert_eq!(kept.encode(), [&encodings[..], &encodings[..]].concat());

    encodings[2] = [0; 32];
    let refused = path.evaluate(k.as_bytes(), &encodings, &mut out, None);
    assert_eq!(refused, Err(Bad { index: 2, fault: Fault::Identity }));
}

/// Decoding and keeping, without a multiplication: the quickest.
fn two_elements(path: Path) {
    let encodings = [constants::RISTRETTO_BASEPOINT_COMPRESSED.to_bytes(); 2];
    let mut decoded = Points::new(path);
    path.decode(&encodings, &mut decoded).unwrap();
    assert_eq!(decoded.len(), 2);
    let refused = path.decode(&[encodings[0], [1; 32]], &mut decoded);
    assert_eq!(refused, Err(Bad { index: 1, fault: Fault::NotCanonical }));
}

#[test]
fn two_elements_with_the_formulas_of_ifma() {
    two_elements(Path::EmulatedIfma);
}

#[test]
fn two_elements_with_the_formulas_of_avx2() {
    two_elements(Path::EmulatedAvx2);
}

fn a_sum(path: Path) {
    let points = hashed(52, 2);
    let mut decoded = Points::new(path);
    path.decode(&encode(&points), &mut decoded).unwrap();
    let twice = points[0] + points[0] - points[1] - points[1] - points[1] - points[1];
    assert_eq!(path.combine(&decoded, &[1, -2]), twice.compress().to_bytes());
}

#[test]
fn three_elements_with_the_formulas_of_ifma() {
    three_elements(Path::EmulatedIfma);
}

#[test]
fn three_elements_with_the_formulas_of_avx2() {
    three_elements(Path::EmulatedAvx2);
}

#[test]
fn a_sum_with_the_formulas_of_ifma() {
    a_sum(Path::EmulatedIfma);
}

#[test]
fn a_sum_with_the_formulas_of_avx2() {
    a_sum(Path::EmulatedAvx2);
}

/// Miri knows the instructions of AVX2: with `-C target-feature=+avx2,+fma` these run the unsafe code itself.
#[test]
fn two_elements_on_this_cpu() {
    Path::available().iter().for_each(|&path| two_elements(path));
}

#[test]
fn three_elements_on_this_cpu() {
    Path::available().iter().for_each(|&path| three_elements(path));
}

#[test]
fn a_sum_on_this_cpu() {
    Path::available().iter().for_each(|&path| a_sum(path));
}
