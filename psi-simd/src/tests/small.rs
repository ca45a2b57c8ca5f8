//! A few elements through every kernel, in plain Rust: for Miri (`cargo +nightly miri test -p psi-simd small`).

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

fn a_sum(path: Path) {
    let points = hashed(52, 2);
    let mut decoded = Points::new(path);
    path.decode(&encode(&points), &mut decoded).unwrap();
    let twice = points[0] + points[0] - points[1] - points[1] - points[1] - points[1];
    assert_eq!(path.combine2(&decoded, &decoded, &[1, -2]), [twice.compress().to_bytes(); 2]);
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
