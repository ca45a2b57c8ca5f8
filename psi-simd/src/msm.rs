//! Sums of public 128-bit multiples: Pippenger's buckets, one a lane (docs/SIMD.md, "Sums").
//!
//! Coefficients are cut into signed windows. In each window the points with the same digit, up to sign, fall into one bucket.
//! Buckets are sorted by size, and as many equally full ones as there are lanes are summed at a time, so that lanes never meet
//! in a bucket and hardly ever idle. Two lists with the same coefficients share the schedule. Not constant time.

mod schedule;

use crate::edwards::{Addend, Completed, Split};
use crate::field::{Fe, HALF_D_INVERSE};
use crate::lane::{Kernel, Lane, Mask, Row};
use crate::path::{Job, Path};
use crate::points::{Affine, Points, Record, Store, read};
use crate::portable;
use crate::ristretto::DoubleEncode;
use schedule::{Digits, Schedule, Windows};

impl Path {
    /// The encoding of 2 (d_0 P_0 + d_1 P_1 + ..): doubled, which saves a square root.
    ///
    /// Takes a time that depends on the coefficients and the points: for public data only.
    ///
    /// # Panics
    /// If there are not as many coefficients as points.
    pub fn combine(self, points: &Points, coefficients: &[i128]) -> [u8; 32] {
        let [sum] = self.combine_all([points], coefficients);
        sum
    }

    /// [`Path::combine`] of two lists with the same coefficients, faster than one after the other.
    ///
    /// # Panics
    /// If there are not as many coefficients as points in each list.
    pub fn combine2(self, first: &Points, second: &Points, coefficients: &[i128]) -> [[u8; 32]; 2] {
        self.combine_all([first, second], coefficients)
    }

    fn combine_all<const K: usize>(self, points: [&Points; K], coefficients: &[i128]) -> [[u8; 32]; K] {
        for points in points {
            assert_eq!(points.len(), coefficients.len(), "one coefficient a point");
        }
        let converted = points.map(|points| points.converted(self));
        let points = std::array::from_fn(|k| &*converted[k]);
        self.dispatch(Combine { points, coefficients })
    }
}

pub(crate) struct Combine<'a, const K: usize> {
    pub(crate) points: [&'a Points; K],
    pub(crate) coefficients: &'a [i128],
}

impl<const K: usize> Job for Combine<'_, K> {
    type Output = [[u8; 32]; K];

    fn on_lanes<L: Lane>(self) -> [[u8; 32]; K] {
        let tables = self.points.map(|points| match &points.store {
            Store::Records(records) => &records[..],
            Store::Portable(_) => unreachable!("converted for this path"),
        });
        let windows = Windows::new(self.coefficients);
        // Four lanes have no registers left for a second chain.
        let groups = if K == 1 && L::LANES == 8 { 2 } else { 1 };
        let (mut digits, mut schedule) = (Vec::new(), Schedule::default());
        let mut buckets = [(); K].map(|()| vec![Bucket::IDENTITY; windows.buckets()]);
        let mut parts = [(); K].map(|()| Parts::new::<L>(&windows));
        for window in 0..windows.count() {
            L::call(Digits { windows: &windows, window, digits: &mut digits });
            schedule.fill(&digits, windows.buckets(), groups * L::LANES);
            if groups == 2 {
                L::call(Accumulate::<K, 2> { tables, schedule: &schedule, buckets: &mut buckets });
            } else {
                L::call(Accumulate::<K, 1> { tables, schedule: &schedule, buckets: &mut buckets });
            }
            for (buckets, parts) in buckets.iter().zip(&mut parts) {
                L::call(SumSegments { buckets, parts: parts.of::<L>(window) });
            }
        }
        let mut out = [[0; 32]; K];
        L::call(Finish { windows: &windows, parts: &parts, out: &mut out });
        out
    }

    fn portable(self) -> [[u8; 32]; K] {
        self.points.map(|points| match &points.store {
            Store::Portable(points) => portable::combine(points, self.coefficients),
            Store::Records(_) => unreachable!("converted for this path"),
        })
    }
}

/// The sum of a bucket as an [`Addend`]: four times five limbs.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Bucket([u64; 20]);

impl Bucket {
    const IDENTITY: Self = Self([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

impl Row for Bucket {
    #[inline(always)]
    fn words(&self) -> &[u64] {
        &self.0
    }

    #[inline(always)]
    fn words_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}

#[inline(always)]
fn load<L: Lane>(buckets: &[Bucket], rows: &[usize; 8]) -> Addend<L> {
    let [m0, m1, m2, m3] = L::gather(buckets, rows, 0);
    let [m4, p0, p1, p2] = L::gather(buckets, rows, 4);
    let [p3, p4, z0, z1] = L::gather(buckets, rows, 8);
    let [z2, z3, z4, t0] = L::gather(buckets, rows, 12);
    let [t1, t2, t3, t4] = L::gather(buckets, rows, 16);
    Addend {
        minus: Fe([m0, m1, m2, m3, m4]),
        plus: Fe([p0, p1, p2, p3, p4]),
        z2: Fe([z0, z1, z2, z3, z4]),
        t2d: Fe([t0, t1, t2, t3, t4]),
    }
}

#[inline(always)]
fn store<L: Lane>(buckets: &mut [Bucket], rows: &[usize; 8], addend: &Addend<L>) {
    let (m, p, z, t) = (addend.minus.0, addend.plus.0, addend.z2.0, addend.t2d.0);
    L::scatter(buckets, rows, 0, [m[0], m[1], m[2], m[3]]);
    L::scatter(buckets, rows, 4, [m[4], p[0], p[1], p[2]]);
    L::scatter(buckets, rows, 8, [p[3], p[4], z[0], z[1]]);
    L::scatter(buckets, rows, 12, [z[2], z[3], z[4], t[0]]);
    L::scatter(buckets, rows, 16, [t[1], t[2], t[3], t[4]]);
}

/// Row `first + lane * stride` for each lane.
#[inline(always)]
fn every(first: usize, stride: usize, lanes: usize) -> [usize; 8] {
    let mut rows = [first; 8];
    for (lane, row) in rows.iter_mut().enumerate().take(lanes) {
        *row += lane * stride;
    }
    rows
}

/// The sums of all buckets of a window, for `K` lists and `G` groups of buckets at a time. Two chains of additions, of two lists
/// or of two groups, hide each other's latency.
struct Accumulate<'a, const K: usize, const G: usize> {
    tables: [&'a [Record]; K],
    schedule: &'a Schedule,
    buckets: &'a mut [Vec<Bucket>; K],
}

impl<L: Lane, const K: usize, const G: usize> Kernel<L> for Accumulate<'_, K, G> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let groups = self.schedule.order.chunks_exact(G * L::LANES);
        let mut entries = &self.schedule.entries[..];
        for (groups, &steps) in groups.zip(&self.schedule.steps) {
            let mut sums = [[Split::<L>::identity(); K]; G];
            for step in 0..steps {
                let mut g = 0;
                while g < G {
                    advance(&self.tables, &mut sums[g], entries, G, step == 0);
                    entries = &entries[L::LANES..];
                    g += 1;
                }
            }
            let mut g = 0;
            while g < G {
                finish(self.buckets, &groups[g * L::LANES..], &sums[g]);
                g += 1;
            }
        }
    }
}

/// One step of a group: adds a record of each list in each lane, and asks for those two steps on.
#[inline(always)]
fn advance<L: Lane, const K: usize>(
    tables: &[&[Record]; K],
    sums: &mut [Split<L>; K],
    entries: &[u32],
    groups: usize,
    first: bool,
) {
    let (rows, negative) = entry::<L>(entries);
    let (ahead, _) = entry::<L>(&entries[2 * groups * L::LANES..]);
    let mut k = 0;
    while k < K {
        prefetch::<L>(tables[k], &ahead);
        let record = read::<L>(tables[k], &rows);
        sums[k] = if first { begin(&record, negative) } else { add(&sums[k], &record, negative) };
        k += 1;
    }
}

/// Stores the sums of a group.
#[inline(always)]
fn finish<L: Lane, const K: usize>(buckets: &mut [Vec<Bucket>; K], group: &[usize], sums: &[Split<L>; K]) {
    let mut rows = [0; 8];
    rows[..L::LANES].copy_from_slice(&group[..L::LANES]);
    let mut k = 0;
    while k < K {
        store(&mut buckets[k], &rows, &sums[k].addend());
        k += 1;
    }
}

/// The rows of a step, and the lanes in which they are subtracted.
#[inline(always)]
fn entry<L: Lane>(entries: &[u32]) -> ([usize; 8], Mask) {
    let (mut rows, mut negative) = ([0; 8], 0);
    let entries = &entries[..L::LANES];
    for lane in 0..L::LANES {
        rows[lane] = (entries[lane] >> 1) as usize;
        negative |= ((entries[lane] & 1) as Mask) << lane;
    }
    (rows, negative)
}

#[inline(always)]
fn prefetch<L: Lane>(table: &[Record], rows: &[usize; 8]) {
    for &row in &rows[..L::LANES] {
        L::prefetch(&table[row]);
    }
}

/// The record itself.
#[inline(always)]
fn begin<L: Lane>(record: &Affine<L>, negative: Mask) -> Split<L> {
    Split {
        minus: Fe::select(negative, record.plus, record.minus),
        plus: Fe::select(negative, record.minus, record.plus),
        z: Fe::one(),
        t: record.t2d.mul(Fe::constant(HALF_D_INVERSE)).negate_if(negative),
    }
}

/// [`Split::add`] with z = 1. Negating the record exchanges its first two parts, and f and g.
#[inline(always)]
fn add<L: Lane>(sum: &Split<L>, record: &Affine<L>, negative: Mask) -> Split<L> {
    let minus = Fe::select(negative, record.plus, record.minus);
    let plus = Fe::select(negative, record.minus, record.plus);
    let (a, b) = (sum.minus.mul_wide(minus), sum.plus.mul_wide(plus));
    let (e, h) = (b.sub(a).carry(), b.add(a).carry());
    let (c, d) = (sum.t.mul_wide(record.t2d), sum.z.wide().double());
    let (f, g) = (d.sub(c).carry(), d.add(c).carry());
    Completed { e, f: Fe::select(negative, g, f), g: Fe::select(negative, f, g), h }.split()
}

/// For each window and lane the plain and the weighted sum of a segment of the buckets.
struct Parts(Vec<Bucket>);

impl Parts {
    fn new<L: Lane>(windows: &Windows) -> Self {
        Self(vec![Bucket::IDENTITY; windows.count().next_multiple_of(L::LANES) * 2 * L::LANES])
    }

    fn of<L: Lane>(&mut self, window: usize) -> &mut [Bucket] {
        &mut self.0[window * 2 * L::LANES..][..2 * L::LANES]
    }
}

/// Cuts the buckets into one segment a lane, and sums `S_j` and `(j + 1) S_j` over each, highest bucket first.
struct SumSegments<'a> {
    buckets: &'a [Bucket],
    parts: &'a mut [Bucket],
}

impl<L: Lane> Kernel<L> for SumSegments<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let length = self.buckets.len() / L::LANES;
        let (mut plain, mut weighted) = (Split::<L>::identity(), Split::identity());
        for j in (0..length).rev() {
            plain = plain.add(&load(self.buckets, &every(j, length, L::LANES))).split();
            weighted = weighted.add(&plain.addend()).split();
        }
        store(self.parts, &every(0, 1, L::LANES), &plain.addend());
        store(self.parts, &every(L::LANES, 1, L::LANES), &weighted.addend());
    }
}

/// Adds up the parts of each window, as many windows at a time as there are lanes, then the windows, one list a lane.
struct Finish<'a, const K: usize> {
    windows: &'a Windows,
    parts: &'a [Parts; K],
    out: &'a mut [[u8; 32]; K],
}

impl<L: Lane, const K: usize> Kernel<L> for Finish<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let padded = self.windows.count().next_multiple_of(L::LANES);
        // One row a list and window; the row behind them stays the identity, for lanes without a list.
        let mut totals = vec![Bucket::IDENTITY; K * padded + 1];
        for (k, parts) in self.parts.iter().enumerate() {
            for first in (0..padded).step_by(L::LANES) {
                let total = total::<L>(&parts.0[first * 2 * L::LANES..], self.windows);
                store(&mut totals, &every(k * padded + first, 1, L::LANES), &total.addend());
            }
        }
        let mut sum = Split::<L>::identity();
        for window in (0..self.windows.count()).rev() {
            let mut rows = [K * padded; 8];
            for (k, row) in rows.iter_mut().enumerate().take(K) {
                *row = k * padded + window;
            }
            sum = double(&sum, self.windows.width()).add(&load(&totals, &rows)).split();
        }
        DoubleEncode { points: &[sum.point()], out: &mut self.out[..] }.run();
    }
}

/// The sum over the lanes l of `W_l + l m R_l`, for weighted sums W, plain sums R and segments of m buckets; a window a lane.
#[inline(always)]
fn total<L: Lane>(parts: &[Bucket], windows: &Windows) -> Split<L> {
    let part = |index: usize| every(index, 2 * L::LANES, L::LANES);
    let (mut running, mut multiple) = (Split::<L>::identity(), Split::identity());
    for lane in (1..L::LANES).rev() {
        running = running.add(&load(parts, &part(lane))).split();
        multiple = multiple.add(&running.addend()).split();
    }
    let mut sum = double(&multiple, (windows.buckets() / L::LANES).ilog2() as usize);
    for lane in 0..L::LANES {
        sum = sum.add(&load(parts, &part(L::LANES + lane))).split();
    }
    sum
}

/// 2^times of a point.
#[inline(always)]
fn double<L: Lane>(point: &Split<L>, times: usize) -> Split<L> {
    let mut doubled = point.point();
    for _ in 0..times {
        doubled = doubled.double().point();
    }
    doubled.split()
}
