//! The kernels that ship, on intervals of the widest inputs: no word overflows.

use crate::Path;
use crate::batch::{DecodeAll, Hash, Identity};
use crate::edwards::Point;
use crate::field::{Fe, LIMB};
use crate::ladder::{Multiply, Swaps};
use crate::lane::interval::{Interval, Span, WIDEST};
use crate::lane::{Kernel, Lane};
use crate::msm::Combine;
use crate::path::Job;
use crate::points::{EncodeRecords, Keep, Points, Store};
use crate::ristretto::DoubleEncode;

/// What [`Fe`] promises of its limbs.
const LONGEST: i128 = (1 << 51) + (1 << 18) - 1;

fn any<const CUT: u32>() -> Fe<Interval<CUT>> {
    Fe([Span(0, LONGEST); 5])
}

fn anywhere<const CUT: u32>() -> Point<Interval<CUT>> {
    Point { x: any(), y: any(), z: any(), t: any() }
}

fn within<const CUT: u32>(points: &[Point<Interval<CUT>>]) {
    for point in points {
        for Span(low, high) in [point.x, point.y, point.z, point.t].iter().flat_map(|fe| fe.0) {
            assert!(low >= 0 && high <= LONGEST, "{high:#x}");
        }
    }
}

/// Everything that a call does to points, one kernel after the other. The batches are long enough for chained products to
/// reach their widest.
fn kernels<const CUT: u32>()
where
    Interval<CUT>: Lane<Word = Span>,
{
    let mut points = vec![Point::identity(); 8];
    Hash { uniform: &[[0xff; 64]; 8], points: &mut points }.run();
    within::<CUT>(&points);

    // The lane can't tell valid from invalid, so that decoding ends with the first element.
    let mut decoded = vec![Point::identity(); 2];
    let ended = DecodeAll { encodings: &[[0xff; 32]; 2], identity: Identity::Refused, points: &mut decoded };
    assert!(Kernel::<Interval<CUT>>::run(ended).is_err());
    within(&decoded);

    let mut points = vec![anywhere(); 8];
    Multiply { swaps: &Swaps::new(&[0x55; 32]), points: &mut points }.run();
    within(&points);

    let points = vec![anywhere::<CUT>(); 8];
    DoubleEncode { points: &points, out: &mut [[0; 32]; 8] }.run();

    for affine in [false, true] {
        let mut kept = Points::new(Path::EmulatedIfma);
        let Store::Records(records) = &mut kept.store else { unreachable!() };
        Keep { points: &points, affine, count: 8, records }.run();
        let encode = EncodeRecords { records, out: &mut [[0; 32]; 9] };
        Kernel::<Interval<CUT>>::run(encode);
        sums::<CUT>(&kept);
    }
}

/// All in one bucket, and in many.
fn sums<const CUT: u32>(kept: &Points) {
    let mut points = kept.clone();
    while points.len() < 300 {
        points.append(kept);
    }
    let spread = |i: usize| (i as i128).wrapping_mul(0x1234_5678_9abc_def1_2345_6789_abcd_ef12);
    let many: Vec<i128> = (0..points.len()).map(spread).collect();
    for coefficients in [vec![-5; points.len()], many] {
        Combine { points: [&points], coefficients: &coefficients }.on_lanes::<Interval<CUT>>();
    }
}

#[test]
fn no_word_overflows_with_ifma() {
    kernels::<52>();
    widest();
}

#[test]
fn no_word_overflows_with_avx2() {
    kernels::<51>();
    widest();
}

/// The bounds of docs/SIMD.md.
fn widest() {
    let (word, factor) = WIDEST.get();
    println!("word 2^{:.2}, factor 2^51 + {}", (word as f64).log2(), factor - (1 << 51));
    assert!(word < 1 << 63 && factor <= LONGEST);
}

#[test]
#[should_panic(expected = "is no 52-bit factor")]
fn a_missing_carry_is_found() {
    let sum = Fe::<Interval<52>>([Span(0, 2 * i128::from(LIMB) + 2); 5]);
    sum.mul_wide(any());
}

#[test]
#[should_panic(expected = "is no 64-bit word")]
fn a_missing_bias_is_found() {
    let difference: [Span; 5] = any::<51>().0.map(|limb| Interval::<51>::sub(Span(0, 0), limb));
    Fe::<Interval<51>>(difference).wide().carry();
}
