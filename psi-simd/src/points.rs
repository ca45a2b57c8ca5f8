//! Decoded elements that are kept for a multi-scalar multiplication.

use std::borrow::Cow;

use curve25519_dalek::ristretto::RistrettoPoint;

use crate::Path;
use crate::edwards::Point;
use crate::field::{D_TIMES_2, Fe, HALF_D_INVERSE, invert};
use crate::lane::{Kernel, Lane, Row};
use crate::path::Job;
use crate::{portable, ristretto};

/// Elements in internal form, in the order in which they were added: 128 bytes each, 160 on the portable path.
///
/// Parts that were filled on several threads are joined with [`Points::append`].
#[derive(Clone)]
pub struct Points {
    path: Path,
    pub(crate) store: Store,
}

#[derive(Clone)]
pub(crate) enum Store {
    /// For every lane of every width. The first record is the identity, for lanes with nothing to add; then come the elements.
    Records(Vec<Record>),
    Portable(Vec<RistrettoPoint>),
}

/// One point: the limbs of y - x, y + x and 2dxy, and a word of padding.
#[derive(Clone, Copy)]
#[repr(align(128))]
pub(crate) struct Record([u64; 16]);

impl Points {
    /// An empty list for use with `path`.
    pub fn new(path: Path) -> Self {
        Self::with_capacity(path, 0)
    }

    /// An empty list for use with `path`, with room for that many elements.
    pub fn with_capacity(path: Path, elements: usize) -> Self {
        let store = match path {
            Path::Portable => Store::Portable(Vec::with_capacity(elements)),
            _ => {
                let mut records = Vec::with_capacity(1 + elements);
                records.push(Record::IDENTITY);
                Store::Records(records)
            }
        };
        Self { path, store }
    }

    pub(crate) fn with(path: Path, store: Store) -> Self {
        Self { path, store }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match &self.store {
            Store::Records(records) => records.len() - 1,
            Store::Portable(points) => points.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all elements and keeps the memory.
    pub fn clear(&mut self) {
        match &mut self.store {
            Store::Records(records) => records.truncate(1),
            Store::Portable(points) => points.clear(),
        }
    }

    /// Adds the elements of `other` behind its own. Cheap, unless one of them is portable and the other is not: then each
    /// element goes through its encoding.
    pub fn append(&mut self, other: &Self) {
        match (&mut self.store, &other.converted(self.path).store) {
            (Store::Records(records), Store::Records(more)) => records.extend_from_slice(&more[1..]),
            (Store::Portable(points), Store::Portable(more)) => points.extend_from_slice(more),
            _ => unreachable!("converted to the same store"),
        }
    }

    /// The canonical encodings, in order.
    pub fn encode(&self) -> Vec<[u8; 32]> {
        self.path.dispatch(Encode(self))
    }

    /// Whether `path` can read them as they are.
    fn suits(&self, path: Path) -> bool {
        matches!(self.store, Store::Portable(_)) == (path == Path::Portable)
    }

    /// The same elements in the form that `path` reads.
    pub(crate) fn converted(&self, path: Path) -> Cow<'_, Self> {
        if self.suits(path) {
            return Cow::Borrowed(self);
        }
        let mut converted = Self::new(path);
        path.decode_any(&self.encode(), &mut converted).expect("what was encoded here decodes");
        Cow::Owned(converted)
    }
}

impl std::fmt::Debug for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Points").field("path", &self.path).field("len", &self.len()).finish_non_exhaustive()
    }
}

struct Encode<'a>(&'a Points);

impl Job for Encode<'_> {
    type Output = Vec<[u8; 32]>;

    fn on_lanes<L: Lane>(self) -> Vec<[u8; 32]> {
        let Store::Records(records) = &self.0.store else { return self.portable() };
        let mut out = vec![[0; 32]; self.0.len()];
        L::call(EncodeRecords { records: &records[1..], out: &mut out });
        out
    }

    fn portable(self) -> Vec<[u8; 32]> {
        match &self.0.store {
            Store::Portable(points) => portable::encode(points),
            Store::Records(_) => unreachable!("the portable path fills no records"),
        }
    }
}

pub(crate) struct EncodeRecords<'a> {
    pub(crate) records: &'a [Record],
    pub(crate) out: &'a mut [[u8; 32]],
}

impl<L: Lane> Kernel<L> for EncodeRecords<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (records, out) in self.records.chunks(L::LANES).zip(self.out.chunks_mut(L::LANES)) {
            let last = records.len() - 1;
            let rows = std::array::from_fn(|lane| lane.min(last));
            ristretto::encode(&read::<L>(records, &rows).point(), out.iter_mut());
        }
    }
}

/// (y - x, y + x, 2dxy), one point a lane.
#[derive(Clone, Copy)]
pub(crate) struct Affine<L: Lane> {
    pub(crate) minus: Fe<L>,
    pub(crate) plus: Fe<L>,
    pub(crate) t2d: Fe<L>,
}

impl<L: Lane> Affine<L> {
    /// The point with z = 1.
    #[inline(always)]
    pub(crate) fn new(x: Fe<L>, y: Fe<L>, t: Fe<L>) -> Self {
        Self { minus: y.sub(x), plus: y.add(x), t2d: t.mul(Fe::constant(D_TIMES_2)) }
    }

    #[inline(always)]
    pub(crate) fn point(&self) -> Point<L> {
        Point {
            x: self.plus.sub(self.minus),
            y: self.plus.add(self.minus),
            z: Fe::small(2),
            t: self.t2d.mul(Fe::constant(HALF_D_INVERSE)).double(),
        }
    }
}

/// Writes one point a lane to the rows.
#[inline(always)]
pub(crate) fn write<L: Lane>(records: &mut [Record], rows: &[usize; 8], point: &Affine<L>) {
    let (m, p, t) = (point.minus.0, point.plus.0, point.t2d.0);
    L::scatter(records, rows, 0, [m[0], m[1], m[2], m[3]]);
    L::scatter(records, rows, 4, [m[4], p[0], p[1], p[2]]);
    L::scatter(records, rows, 8, [p[3], p[4], t[0], t[1]]);
    L::scatter(records, rows, 12, [t[2], t[3], t[4], L::splat(0)]);
}

/// The inverse of [`write`].
#[inline(always)]
pub(crate) fn read<L: Lane>(records: &[Record], rows: &[usize; 8]) -> Affine<L> {
    let [m0, m1, m2, m3] = L::gather(records, rows, 0);
    let [m4, p0, p1, p2] = L::gather(records, rows, 4);
    let [p3, p4, t0, t1] = L::gather(records, rows, 8);
    let [t2, t3, t4, _] = L::gather(records, rows, 12);
    Affine { minus: Fe([m0, m1, m2, m3, m4]), plus: Fe([p0, p1, p2, p3, p4]), t2d: Fe([t0, t1, t2, t3, t4]) }
}

impl Record {
    pub(crate) const IDENTITY: Self = Self([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

impl Row for Record {
    #[inline(always)]
    fn words(&self) -> &[u64] {
        &self.0
    }

    #[inline(always)]
    fn words_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}

/// Appends `count` of the points, which have z = 1 if `affine`.
pub(crate) struct Keep<'a, L: Lane> {
    pub(crate) points: &'a [Point<L>],
    pub(crate) affine: bool,
    pub(crate) count: usize,
    pub(crate) records: &'a mut Vec<Record>,
}

impl<L: Lane> Kernel<L> for Keep<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let start = self.records.len();
        self.records.resize(start + self.points.len() * L::LANES, Record::IDENTITY);
        let new = &mut self.records[start..];
        if self.affine {
            keep_affine(self.points, new)
        } else {
            keep_projective(self.points, new)
        }
        self.records.truncate(start + self.count);
    }
}

#[inline(always)]
fn keep_affine<L: Lane>(points: &[Point<L>], records: &mut [Record]) {
    for (point, records) in points.iter().zip(records.chunks_mut(L::LANES)) {
        write(records, &each_lane::<L>(), &Affine::new(point.x, point.y, point.t));
    }
}

/// One inversion for all.
#[inline(always)]
fn keep_projective<L: Lane>(points: &[Point<L>], records: &mut [Record]) {
    let mut before = vec![Fe::one(); points.len()];
    let mut product = Fe::<L>::one();
    for (before, point) in before.iter_mut().zip(points) {
        *before = product;
        product = product.mul(point.z);
    }
    let mut inverse = invert(product);
    for ((point, before), records) in points.iter().zip(before).zip(records.chunks_mut(L::LANES)).rev() {
        let z_inverse = inverse.mul(before);
        inverse = inverse.mul(point.z);
        let (x, y) = (point.x.mul(z_inverse), point.y.mul(z_inverse));
        write(records, &each_lane::<L>(), &Affine::new(x, y, x.mul(y)));
    }
}

/// Row i for lane i.
#[inline(always)]
fn each_lane<L: Lane>() -> [usize; 8] {
    let mut rows = [0; 8];
    for (lane, row) in rows.iter_mut().enumerate().take(L::LANES) {
        *row = lane;
    }
    rows
}
