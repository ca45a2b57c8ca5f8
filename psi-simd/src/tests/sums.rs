//! Multi-scalar multiplication.

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use proptest::prelude::*;

use super::{encode, hashed, paths, uniform};
use crate::{Path, Points};

fn points(path: Path, elements: &[RistrettoPoint]) -> Points {
    let mut points = Points::new(path);
    path.decode_any(&encode(elements), &mut points).unwrap();
    points
}

fn signed(coefficient: i128) -> Scalar {
    let magnitude = Scalar::from(coefficient.unsigned_abs());
    if coefficient < 0 { -magnitude } else { magnitude }
}

/// One point after the other.
fn twice_the_sum(elements: &[RistrettoPoint], coefficients: &[i128]) -> [u8; 32] {
    let terms =
        elements.iter().zip(coefficients).map(|(element, &coefficient)| element * signed(coefficient));
    let sum: RistrettoPoint = terms.sum();
    (sum + sum).compress().to_bytes()
}

fn coefficients(seed: u64, count: usize) -> Vec<i128> {
    (0..count as u64).map(|index| i128::from_le_bytes(*uniform(seed, index).first_chunk().unwrap())).collect()
}

fn check(path: Path, first: &[RistrettoPoint], second: &[RistrettoPoint], coefficients: &[i128], what: &str) {
    let want = [twice_the_sum(first, coefficients), twice_the_sum(second, coefficients)];
    let (first, second) = (points(path, first), points(path, second));
    assert_eq!(path.combine(&first, coefficients), want[0], "{what} on {path:?}");
    assert_eq!(path.combine2(&first, &second, coefficients), want, "{what} on {path:?}");
}

#[test]
fn every_length_equals_dalek() {
    let (first, second, all) = (hashed(20, 2100), hashed(21, 2100), coefficients(22, 2100));
    for count in (0..=17).chain([127, 128, 129, 1000, 2047, 2048, 2100]) {
        for path in paths() {
            if count <= 129 || Path::available().contains(&path) {
                check(path, &first[..count], &second[..count], &all[..count], &format!("{count}"));
            }
        }
    }
}

#[test]
fn a_whole_message_equals_dalek() {
    let elements: Vec<RistrettoPoint> = hashed(23, 512).into_iter().cycle().take(16_384).collect();
    let coefficients = coefficients(24, 16_384);
    let mut sums = [0i128; 512].map(signed);
    for (index, &coefficient) in coefficients.iter().enumerate() {
        sums[index % 512] += signed(coefficient);
    }
    let sum: RistrettoPoint = elements.iter().zip(sums).map(|(element, sum)| element * sum).sum();
    let want = (sum + sum).compress().to_bytes();
    for &path in Path::available() {
        let points = points(path, &elements);
        assert_eq!(path.combine2(&points, &points, &coefficients), [want, want], "{path:?}");
    }
}

#[test]
fn extreme_coefficients_equal_dalek() {
    let half = |width: u32| {
        (0..128 / width).map(|window| 1i128 << (width * window + width - 1)).fold(0, |a, b| a ^ b)
    };
    let mut edges = vec![0, 1, -1, 2, -2, 16, -16, 128, -128, 129, i128::MAX, i128::MIN, i128::MIN + 1];
    edges.extend([5, 8, 10, 11].map(half));
    edges.extend([5, 8, 10, 11].map(|width| -half(width)));
    edges.extend((0..127).map(|bit| 1 << bit));
    edges.extend((0..127).map(|bit| -(1 << bit)));
    edges.extend((0..127).map(|bit| i128::MAX - (1 << bit)));
    let elements = hashed(25, edges.len());
    for path in paths() {
        for edges in [&edges[..], &edges[..100]] {
            check(path, &elements[..edges.len()], &elements[..edges.len()], edges, "edges");
        }
    }
}

#[test]
fn equal_opposite_and_identical_points_equal_dalek() {
    let mut elements = hashed(26, 140);
    for i in 0..60 {
        elements[2 * i] = elements[0];
        elements[2 * i + 1] = if i % 2 == 0 { -elements[0] } else { RistrettoPoint::default() };
    }
    for coefficients in [vec![5; 140], vec![0; 140], vec![-1; 140], coefficients(27, 140)] {
        for path in paths() {
            check(path, &elements, &elements, &coefficients, "duplicates");
        }
    }
}

#[test]
fn points_of_another_path_are_converted() {
    let (elements, coefficients) = (hashed(28, 20), coefficients(29, 20));
    let want = twice_the_sum(&elements, &coefficients);
    for from in paths() {
        for path in paths() {
            assert_eq!(path.combine(&points(from, &elements), &coefficients), want, "{from:?} {path:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_coefficients_equal_dalek(coefficients in prop::collection::vec(any::<i128>(), 1..60), seed: u64) {
        let elements = hashed(seed, coefficients.len());
        for path in paths() {
            prop_assert_eq!(path.combine(&points(path, &elements), &coefficients), twice_the_sum(&elements, &coefficients));
        }
    }
}
