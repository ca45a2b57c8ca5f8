//! Masking, evaluating and decoding.

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use proptest::prelude::*;

use super::{edge_scalars, encode, hashed, paths, scalar, uniforms};
use crate::{Bad, Fault, Path, Points};

fn masked(path: Path, k: &Scalar, uniform: &[[u8; 64]]) -> Vec<[u8; 32]> {
    let mut out = vec![[0xaa; 32]; uniform.len()];
    path.mask(k.as_bytes(), uniform, &mut out, None);
    out
}

fn evaluated(path: Path, k: &Scalar, encodings: &[[u8; 32]]) -> Result<Vec<[u8; 32]>, Bad> {
    let mut out = vec![[0xaa; 32]; encodings.len()];
    path.evaluate(k.as_bytes(), encodings, &mut out, None).map(|()| out)
}

fn times(points: &[RistrettoPoint], k: &Scalar) -> Vec<[u8; 32]> {
    encode(&points.iter().map(|point| point * k).collect::<Vec<_>>())
}

#[test]
fn every_batch_size_equals_dalek() {
    let sizes = (0..=33).chain([255, 256, 257, 1000, 1025]);
    let (k, uniform, points) = (scalar(1), uniforms(2, 1025), hashed(2, 1025));
    let (own, encodings) = (times(&points, &k), encode(&points));
    for size in sizes {
        for path in paths() {
            if size > 40 && !Path::available().contains(&path) {
                continue;
            }
            assert_eq!(masked(path, &k, &uniform[..size]), own[..size], "mask {size} on {path:?}");
            assert_eq!(
                evaluated(path, &k, &encodings[..size]).as_deref(),
                Ok(&own[..size]),
                "{size} on {path:?}"
            );
        }
    }
}

#[test]
fn edge_scalars_equal_dalek() {
    let (uniform, points) = (uniforms(3, 9), hashed(3, 9));
    for k in edge_scalars() {
        for path in paths() {
            assert_eq!(masked(path, &k, &uniform), times(&points, &k), "{k:?} on {path:?}");
        }
    }
}

#[test]
fn a_scalar_is_taken_modulo_the_order() {
    let uniform = uniforms(4, 3);
    for path in paths() {
        let mut out = [[0; 32]; 3];
        path.mask(&[0xff; 32], &uniform, &mut out, None);
        assert_eq!(out.to_vec(), times(&hashed(4, 3), &Scalar::from_bytes_mod_order([0xff; 32])));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_batch_equals_dalek(k: [u8; 32], uniform in prop::collection::vec(any::<[u8; 32]>(), 1..20), wide: [u8; 32]) {
        let k = Scalar::from_bytes_mod_order(k);
        let uniform: Vec<[u8; 64]> = uniform.iter().map(|half| {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(half);
            bytes[32..].copy_from_slice(&wide);
            bytes
        }).collect();
        let points: Vec<RistrettoPoint> = uniform.iter().map(RistrettoPoint::from_uniform_bytes).collect();
        for path in paths() {
            prop_assert_eq!(masked(path, &k, &uniform), times(&points, &k));
            prop_assert_eq!(evaluated(path, &k, &encode(&points)), Ok(times(&points, &k)));
        }
    }

    #[test]
    fn any_string_decodes_or_not_as_in_dalek(mut bytes: [u8; 32], plausible: bool) {
        if plausible {
            bytes[0] &= 0xfe;
            bytes[31] &= 0x7f;
        }
        let dalek = curve25519_dalek::ristretto::CompressedRistretto(bytes).decompress();
        for path in paths() {
            let mut points = Points::new(path);
            let decoded = path.decode(&[bytes], &mut points);
            prop_assert_eq!(decoded.is_ok(), dalek.is_some());
            prop_assert_eq!(points.encode(), dalek.iter().map(|_| bytes).collect::<Vec<_>>());
        }
    }
}

/// The bad encodings of RFC 9496, appendix A.3.
fn bad_encodings() -> Vec<[u8; 32]> {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors/rfc9496-ristretto255.json")).unwrap();
    let lists = vectors["bad_encodings"].as_object().unwrap().values();
    lists.flat_map(|list| list.as_array().unwrap()).map(|hex| bytes(hex.as_str().unwrap())).collect()
}

fn bytes(hex: &str) -> [u8; 32] {
    std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
}

#[test]
fn every_bad_encoding_is_refused_in_every_lane() {
    let good = encode(&hashed(5, 19));
    let bad = bad_encodings();
    assert_eq!(bad.len(), 29);
    for bad in bad.into_iter().chain([[0; 32]]) {
        let fault = if bad == [0; 32] { Fault::Identity } else { Fault::NotCanonical };
        for path in paths() {
            for index in 0..good.len() {
                let mut batch = good.clone();
                batch[index] = bad;
                let mut points = Points::new(path);
                assert_eq!(path.decode(&batch, &mut points), Err(Bad { index, fault }), "{path:?}");
                assert!(points.is_empty());
            }
        }
    }
}

#[test]
fn a_bad_element_leaves_the_results_alone() {
    let mut batch = encode(&hashed(6, 40));
    batch[33] = [0; 32];
    batch[35] = [0xff; 32];
    for path in paths() {
        let (mut out, mut points) = (vec![[7; 32]; 40], Points::new(path));
        let refused = path.evaluate(scalar(1).as_bytes(), &batch, &mut out, Some(&mut points));
        assert_eq!(refused, Err(Bad { index: 33, fault: Fault::Identity }));
        assert_eq!((out, points.len()), (vec![[7; 32]; 40], 0));
    }
}

#[test]
fn the_first_of_several_bad_elements_is_named() {
    let mut batch = encode(&hashed(6, 40));
    batch[20] = [0xff; 32];
    batch[22] = [0; 32];
    for path in paths() {
        let refused = path.decode(&batch, &mut Points::new(path));
        assert_eq!(refused, Err(Bad { index: 20, fault: Fault::NotCanonical }), "{path:?}");
    }
}

#[test]
fn kept_points_are_those_before_the_multiplication() {
    let (k, uniform, points) = (scalar(7), uniforms(8, 37), hashed(8, 37));
    let encodings = encode(&points);
    for path in paths() {
        let (mut out, mut kept) = (vec![[0; 32]; 37], Points::new(path));
        path.mask(k.as_bytes(), &uniform, &mut out, Some(&mut kept));
        path.evaluate(k.as_bytes(), &encodings, &mut out, Some(&mut kept)).unwrap();
        path.decode(&encodings[..5], &mut kept).unwrap();
        assert_eq!(kept.len(), 79);
        assert_eq!(kept.encode(), [&encodings[..], &encodings, &encodings[..5]].concat(), "{path:?}");
    }
}

#[test]
fn points_of_one_path_join_those_of_another() {
    let encodings = encode(&hashed(9, 11));
    for from in paths() {
        for to in paths() {
            let (mut first, mut second) = (Points::new(from), Points::new(to));
            from.decode(&encodings[..3], &mut first).unwrap();
            to.decode(&encodings[3..9], &mut second).unwrap();
            from.decode(&encodings[9..], &mut second).unwrap();
            first.append(&second);
            assert_eq!(first.encode(), encodings, "{from:?} {to:?}");
        }
    }
}

/// RFC 9496, appendix A.2: the one-way map.
#[test]
fn the_map_equals_the_standard() {
    use sha2::{Digest, Sha512};
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors/rfc9496-ristretto255.json")).unwrap();
    let vectors = vectors["one_way_map_of_sha512"].as_array().unwrap();
    let input = |vector: &serde_json::Value| Sha512::digest(vector["input"].as_str().unwrap()).into();
    let uniform: Vec<[u8; 64]> = vectors.iter().map(input).collect();
    let want: Vec<[u8; 32]> =
        vectors.iter().map(|vector| bytes(vector["element"].as_str().unwrap())).collect();
    for path in paths() {
        assert_eq!(masked(path, &Scalar::ONE, &uniform), want, "{path:?}");
    }
}
