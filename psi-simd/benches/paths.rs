//! Every path of this CPU, and curve25519-dalek at its best, in one run: nanoseconds an element on one core.
//!
//! `.cargo/config.toml` compiles dalek's fastest backend in, which RUSTFLAGS in the environment would undo.

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use divan::{Bencher, black_box, counter::ItemsCount};
use psi_simd::{Path, Points};
use sha2::{Digest, Sha512};

fn main() {
    divan::main();
}

const SIZES: [usize; 2] = [256, 1024];

fn uniforms(count: usize) -> Vec<[u8; 64]> {
    (0..count as u64).map(|index| Sha512::digest(index.to_le_bytes()).into()).collect()
}

fn encodings(count: usize) -> Vec<[u8; 32]> {
    let points = uniforms(count).into_iter().map(|uniform| RistrettoPoint::from_uniform_bytes(&uniform));
    points.map(|point| point.compress().to_bytes()).collect()
}

fn scalar() -> Scalar {
    Scalar::from_bytes_mod_order_wide(&[7; 64])
}

/// Dalek with the halved scalar and the batched encoder.
fn dalek(points: impl Iterator<Item = RistrettoPoint>, half: &Scalar) -> Vec<CompressedRistretto> {
    RistrettoPoint::double_and_compress_batch(&points.map(|point| point * half).collect::<Vec<_>>())
}

const DST: &[u8] = b"HashToGroup-OPRFV1-\x01-ristretto255-SHA512";

fn identifiers(count: usize) -> Vec<String> {
    (0..count as u64).map(|index| format!("138{index:08}")).collect()
}

/// From a short message to the encoding: expand, map, multiply, encode.
#[divan::bench(args = paths(&SIZES))]
fn own(bencher: Bencher, (path, size): &(&str, usize)) {
    let (k, mut uniform, mut out) = (scalar(), vec![[0; 64]; *size], vec![[0; 32]; *size]);
    let identifiers = identifiers(*size);
    let messages: Vec<&[u8]> = identifiers.iter().map(|identifier| identifier.as_bytes()).collect();
    let path = Path::named(path);
    bencher.counter(ItemsCount::new(*size)).bench_local(|| {
        path.unwrap_or(Path::Portable).expand(DST, b"prefix", &messages, &mut uniform);
        match path {
            Some(path) => path.mask(k.as_bytes(), &uniform, &mut out, None),
            None => {
                black_box(dalek(uniform.iter().map(RistrettoPoint::from_uniform_bytes), &k));
            }
        }
    });
}

#[divan::bench(args = paths(&SIZES))]
fn expand(bencher: Bencher, (path, size): &(&str, usize)) {
    let mut uniform = vec![[0; 64]; *size];
    let identifiers = identifiers(*size);
    let messages: Vec<&[u8]> = identifiers.iter().map(|identifier| identifier.as_bytes()).collect();
    let path = Path::named(path).unwrap_or(Path::Portable);
    bencher
        .counter(ItemsCount::new(*size))
        .bench_local(|| path.expand(DST, b"prefix", &messages, &mut uniform));
}

#[divan::bench(args = paths(&SIZES))]
fn peer(bencher: Bencher, (path, size): &(&str, usize)) {
    let (k, encodings, mut out) = (scalar(), encodings(*size), vec![[0; 32]; *size]);
    let path = Path::named(path);
    bencher.counter(ItemsCount::new(*size)).bench_local(|| match path {
        Some(path) => path.evaluate(k.as_bytes(), &encodings, &mut out, None).expect("all are good"),
        None => {
            let points = encodings.iter().filter_map(|bytes| CompressedRistretto(*bytes).decompress());
            black_box(dalek(points, &k));
        }
    });
}

#[divan::bench(args = paths(&SIZES))]
fn decode(bencher: Bencher, (path, size): &(&str, usize)) {
    let encodings = encodings(*size);
    let path = Path::named(path);
    bencher.counter(ItemsCount::new(*size)).bench_local(|| match path {
        Some(path) => {
            let mut points = Points::new(path);
            path.decode(&encodings, &mut points).expect("all are good");
            black_box(points);
        }
        None => {
            let decode = |bytes: &[u8; 32]| CompressedRistretto(*bytes).decompress();
            black_box(encodings.iter().map(decode).collect::<Vec<_>>());
        }
    });
}

/// The paths of this CPU and `dalek`, each with each size.
fn paths(sizes: &[usize]) -> Vec<(&'static str, usize)> {
    let names = Path::available().iter().map(|path| path.name()).chain(["dalek"]);
    names.flat_map(|name| sizes.iter().map(move |&size| (name, size))).collect()
}

const SUMS: [usize; 3] = [1024, 4096, 16384];

fn coefficients(count: usize) -> Vec<i128> {
    let uniform = uniforms(count).into_iter();
    uniform.map(|bytes| i128::from_le_bytes(*bytes.first_chunk().expect("64 bytes have 16"))).collect()
}

/// A list and as many coefficients.
fn sum(path: Path, size: usize) -> (Points, Vec<i128>) {
    let mut points = Points::new(path);
    path.decode(&encodings(size), &mut points).expect("all are good");
    (points, coefficients(size))
}

/// One multi-scalar multiplication; an item is a point. `portable` is dalek.
#[divan::bench(args = SUMS, consts = [0, 1, 2])]
fn combine<const PATH: usize>(bencher: Bencher, size: usize) {
    let Some(&path) = Path::available().get(PATH) else { return };
    let (points, coefficients) = sum(path, size);
    bencher.counter(ItemsCount::new(size)).bench_local(|| path.combine(&points, &coefficients));
}

/// Two of them with the same coefficients; an item is a point of each.
#[divan::bench(args = SUMS, consts = [0, 1, 2])]
fn combine2<const PATH: usize>(bencher: Bencher, size: usize) {
    let Some(&path) = Path::available().get(PATH) else { return };
    let (points, coefficients) = sum(path, size);
    let second = points.clone();
    bencher.counter(ItemsCount::new(size)).bench_local(|| path.combine2(&points, &second, &coefficients));
}
