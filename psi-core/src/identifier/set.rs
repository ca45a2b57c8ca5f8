//! The canonical identifiers of a list: sorted, unique, packed into one arena.
//!
//! A million numbers of eleven bytes take 11 MB, and while they are sorted 12 MB more. Lists whose items are all
//! of one length (most profiles) need no offsets. While a set is built, the arena of the rows lies in chunks that
//! never move, so that growing neither doubles the memory nor leaves copies of identifiers behind. Where even that is
//! too much, the rows are sorted a part at a time ([`SetBuilder::sort`]), and the set is read a part at a time
//! ([`CanonicalSet::read_from`]).

use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::MAX_CANONICAL;

/// The place of an item in the set, for each row that was pushed, in the order of the pushes.
pub type Row = u32;

const CHUNK: usize = 1 << 20;
const DIGEST_LABEL: &[u8] = b"XPSI1-SET";

/// Sorted, unique canonical identifiers. As sensitive as the list itself: zeroized on drop, never printed.
#[derive(PartialEq, Eq)]
pub struct CanonicalSet {
    arena: Vec<u8>,
    bounds: Bounds,
}

/// Where items lie in an arena.
#[derive(PartialEq, Eq)]
enum Bounds {
    /// All of one length; how many.
    Uniform { width: usize, count: usize },
    /// The end of each item.
    Ends(Vec<u32>),
}

impl Bounds {
    fn len(&self) -> usize {
        match self {
            Self::Uniform { count, .. } => *count,
            Self::Ends(ends) => ends.len(),
        }
    }

    fn range(&self, index: usize) -> Range<usize> {
        match self {
            Self::Uniform { width, .. } => index * width..(index + 1) * width,
            Self::Ends(ends) => {
                let start = index.checked_sub(1).map_or(0, |before| ends[before] as usize);
                start..ends[index] as usize
            }
        }
    }
}

impl CanonicalSet {
    /// How many items.
    pub fn len(&self) -> usize {
        self.bounds.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes all items have together.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// The item at `index` in ascending byte order; panics if there is none, like a slice.
    pub fn get(&self, index: usize) -> &[u8] {
        &self.arena[self.bounds.range(index)]
    }

    /// All items in ascending byte order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// See [`SetDigest`].
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = SetDigest::default();
        self.iter().for_each(|item| digest.update(item));
        digest.finish()
    }

    /// Writes an item, for a sealed file: its length as `u16`, then itself.
    pub fn write_item(out: &mut impl Write, item: &[u8]) -> io::Result<()> {
        out.write_all(&(item.len() as u16).to_be_bytes())?;
        out.write_all(item)
    }

    /// Reads up to `most` items that [`write_item`](Self::write_item) wrote in ascending order; fewer where `input` ends.
    /// The items that are left have at most `bytes` bytes.
    ///
    /// # Errors
    /// What the reader says, `UnexpectedEof` within an item, `InvalidData` for what is no set.
    pub fn read_from(input: &mut impl Read, most: usize, bytes: usize) -> io::Result<Self> {
        let mut packed = Packed::with_room(bytes.min(most.saturating_mul(MAX_CANONICAL)));
        let mut item = Zeroizing::new([0; MAX_CANONICAL]);
        for _ in 0..most {
            let Some(length) = read_length(input)? else { break };
            let item = item.get_mut(..length).filter(|item| !item.is_empty()).ok_or_else(not_a_set)?;
            input.read_exact(item)?;
            if packed.arena.len() + length > bytes || packed.last_item().is_some_and(|last| last >= &*item) {
                return Err(not_a_set());
            }
            packed.push(item);
        }
        Ok(packed.finish())
    }
}

/// SHA-256 over `"XPSI1-SET"` and `u32 length ‖ bytes` of every item of a set in order. Never stored or sent.
pub struct SetDigest(Sha256);

impl Default for SetDigest {
    fn default() -> Self {
        Self(Sha256::new_with_prefix(DIGEST_LABEL))
    }
}

impl SetDigest {
    /// Takes the next item.
    pub fn update(&mut self, item: &[u8]) {
        self.0.update((item.len() as u32).to_be_bytes());
        self.0.update(item);
    }

    /// When all have been taken.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl fmt::Debug for CanonicalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CanonicalSet").field("items", &self.len()).finish_non_exhaustive()
    }
}

impl Drop for CanonicalSet {
    fn drop(&mut self) {
        self.arena.zeroize();
    }
}

/// The set can't take the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// More than 4 GiB of identifiers, or 2^32 - 1 rows.
    #[error("list too large: at most 4 GiB of identifiers in 4294967295 rows")]
    Full,
    /// Not a canonical identifier: empty, or longer than [`MAX_CANONICAL`].
    #[error("canonical identifier of {0} bytes: expected 1 to 1024")]
    Length(usize),
}

/// Takes canonical identifiers row by row and makes a set of them.
#[derive(Default)]
pub struct SetBuilder {
    /// Filled one after the other; none grows beyond its first allocation, no row crosses from one to the next.
    chunks: Vec<Vec<u8>>,
    rows: Rows,
}

/// Where rows lie in the chunks, as `chunk * CHUNK + offset`.
enum Rows {
    Uniform { width: usize, count: usize },
    Starts(Vec<u32>),
}

impl Default for Rows {
    fn default() -> Self {
        Rows::Uniform { width: 0, count: 0 }
    }
}

/// First eight bytes as two big-endian words, then the row: sorts like the identifier, mostly without looking at it.
type Key = [u32; 3];

impl SetBuilder {
    /// A builder without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rows were pushed.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Uniform { count, .. } => *count,
            Rows::Starts(starts) => starts.len(),
        }
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a row and returns its ordinal, counted from 0.
    pub fn push(&mut self, canonical: &[u8]) -> Result<Row, BuildError> {
        if !(1..=MAX_CANONICAL).contains(&canonical.len()) {
            return Err(BuildError::Length(canonical.len()));
        }
        let ordinal = u32::try_from(self.len()).ok().filter(|row| *row < u32::MAX).ok_or(BuildError::Full)?;
        let start = self.append(canonical)?;
        self.note(start, canonical.len());
        Ok(ordinal)
    }

    /// How many bytes the rows take, once they are sorted too.
    pub fn memory(&self) -> usize {
        let starts = match &self.rows {
            Rows::Uniform { .. } => 0,
            Rows::Starts(_) => size_of::<u32>(),
        };
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        full + self.chunks.last().map_or(0, Vec::len) + self.len() * (size_of::<Key>() + starts)
    }

    /// Sorts the rows.
    pub fn sort(self) -> SortedRows {
        let mut keys: Vec<Key> =
            (0..self.len() as u32).into_par_iter().map(|row| key(self.row(row), row)).collect();
        keys.par_sort_unstable_by(|a, b| {
            a[..2].cmp(&b[..2]).then_with(|| self.row(a[2]).cmp(self.row(b[2]))).then_with(|| a[2].cmp(&b[2]))
        });
        SortedRows { rows: self, keys }
    }

    /// Sorts and folds duplicates. Returns the set, the item of every row, and how many rows repeated an earlier one.
    pub fn finish(self) -> (CanonicalSet, Vec<Row>, usize) {
        let sorted = self.sort();
        let bytes = sorted.firsts().map(<[u8]>::len).sum();
        let mut packed = Packed::with_room(bytes);
        let mut rows = vec![0; sorted.keys.len()];
        for (item, row) in sorted.iter() {
            if packed.last_item() != Some(item) {
                packed.push(item);
            }
            rows[row as usize] = packed.len() as u32 - 1;
        }
        let duplicates = rows.len() - packed.len();
        (packed.finish(), rows, duplicates)
    }

    fn append(&mut self, canonical: &[u8]) -> Result<u32, BuildError> {
        if self.chunks.last().is_none_or(|chunk| chunk.len() + canonical.len() > CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let index = self.chunks.len() - 1;
        let start = u32::try_from(index * CHUNK + self.chunks[index].len()).map_err(|_| BuildError::Full)?;
        self.chunks[index].extend_from_slice(canonical);
        Ok(start)
    }

    fn note(&mut self, start: u32, length: usize) {
        match &mut self.rows {
            Rows::Uniform { width, count } if *count == 0 || *width == length => {
                *width = length;
                *count += 1;
            }
            Rows::Uniform { width, count } => {
                let mut starts: Vec<u32> = (0..*count).map(|row| place(row, *width) as u32).collect();
                starts.push(start);
                self.rows = Rows::Starts(starts);
            }
            Rows::Starts(starts) => starts.push(start),
        }
    }

    fn row(&self, row: u32) -> &[u8] {
        let row = row as usize;
        let (start, length) = match &self.rows {
            Rows::Uniform { width, .. } => (place(row, *width), Some(*width)),
            Rows::Starts(starts) => (starts[row] as usize, self.length_to_next(starts, row)),
        };
        let rest = &self.chunks[start / CHUNK][start % CHUNK..];
        length.map_or(rest, |length| &rest[..length])
    }

    /// None for the last row of a chunk, which ends where the chunk's content does.
    fn length_to_next(&self, starts: &[u32], row: usize) -> Option<usize> {
        let (start, next) = (starts[row] as usize, *starts.get(row + 1)? as usize);
        (start / CHUNK == next / CHUNK).then_some(next - start)
    }

    fn wipe(&mut self) {
        self.chunks.iter_mut().for_each(Zeroize::zeroize);
    }
}

impl Drop for SetBuilder {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl fmt::Debug for SetBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetBuilder").field("rows", &self.len()).finish_non_exhaustive()
    }
}

/// The rows of a [`SetBuilder`] in the order of their identifiers.
pub struct SortedRows {
    rows: SetBuilder,
    keys: Vec<Key>,
}

impl SortedRows {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The identifier and the ordinal of every row: identifiers ascend, and ordinals where identifiers are the same.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Row)> {
        self.keys.iter().map(|&[.., row]| (self.rows.row(row), row))
    }

    /// Every identifier once.
    fn firsts(&self) -> impl Iterator<Item = &[u8]> {
        let mut last: Option<&[u8]> = None;
        self.iter().map(|(item, _)| item).filter(move |item| last.replace(*item) != Some(*item))
    }
}

impl Drop for SortedRows {
    fn drop(&mut self) {
        self.keys.as_flattened_mut().zeroize();
    }
}

impl fmt::Debug for SortedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SortedRows").field("rows", &self.keys.len()).finish_non_exhaustive()
    }
}

/// A set while it is filled in ascending order; its arena is allocated once.
struct Packed {
    arena: Vec<u8>,
    bounds: Bounds,
}

impl Packed {
    /// For items of so many bytes in all.
    fn with_room(bytes: usize) -> Self {
        Self { arena: Vec::with_capacity(bytes), bounds: Bounds::Uniform { width: 0, count: 0 } }
    }

    fn push(&mut self, item: &[u8]) {
        self.arena.extend_from_slice(item);
        let end = self.arena.len() as u32;
        match &mut self.bounds {
            Bounds::Uniform { width, count } if *count == 0 || *width == item.len() => {
                *width = item.len();
                *count += 1;
            }
            Bounds::Uniform { width, count } => {
                let mut ends: Vec<u32> = (1..=*count).map(|before| (before * *width) as u32).collect();
                ends.push(end);
                self.bounds = Bounds::Ends(ends);
            }
            Bounds::Ends(ends) => ends.push(end),
        }
    }

    fn len(&self) -> usize {
        self.bounds.len()
    }

    fn last_item(&self) -> Option<&[u8]> {
        let last = self.len().checked_sub(1)?;
        Some(&self.arena[self.bounds.range(last)])
    }

    fn finish(mut self) -> CanonicalSet {
        // Wiping touches all that is reserved, used or not.
        self.arena.shrink_to_fit();
        CanonicalSet { arena: self.arena, bounds: self.bounds }
    }
}

/// The place of a row among rows of one width: they fill each chunk to the last whole row.
fn place(row: usize, width: usize) -> usize {
    let each = CHUNK / width;
    row / each * CHUNK + row % each * width
}

fn key(item: &[u8], row: u32) -> Key {
    let mut prefix = [0; 8];
    let length = item.len().min(8);
    prefix[..length].copy_from_slice(&item[..length]);
    let prefix = u64::from_be_bytes(prefix);
    [(prefix >> 32) as u32, prefix as u32, row]
}

/// The length of the next item, or none where the input ends.
fn read_length(input: &mut impl Read) -> io::Result<Option<usize>> {
    let mut length = [0; 2];
    if input.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut length[1..])?;
    Ok(Some(u16::from_be_bytes(length).into()))
}

fn not_a_set() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "these are no canonical identifiers in ascending order")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn build(rows: &[Vec<u8>]) -> (CanonicalSet, Vec<Row>, usize) {
        let mut builder = SetBuilder::new();
        for (index, row) in rows.iter().enumerate() {
            assert_eq!(builder.push(row), Ok(index as u32));
        }
        builder.finish()
    }

    fn stored(set: &CanonicalSet) -> Vec<u8> {
        let mut bytes = Vec::new();
        set.iter().for_each(|item| CanonicalSet::write_item(&mut bytes, item).unwrap());
        bytes
    }

    fn check(rows: &[Vec<u8>]) {
        let (set, items, duplicates) = build(rows);
        let expected: BTreeSet<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        assert!(set.iter().eq(expected.iter().copied()));
        assert_eq!((set.len(), duplicates), (expected.len(), rows.len() - expected.len()));
        assert!(rows.iter().zip(&items).all(|(row, item)| set.get(*item as usize) == row));
        let (bytes, all) = (stored(&set), set.iter().map(<[u8]>::len).sum());
        let again = CanonicalSet::read_from(&mut bytes.as_slice(), usize::MAX, all).unwrap();
        assert!(again == set && again.digest() == set.digest());
        let (mut rest, mut parts) = (bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            parts.push(CanonicalSet::read_from(&mut rest, 1000, all).unwrap());
        }
        assert!(parts.iter().flat_map(CanonicalSet::iter).eq(set.iter()));
        assert!(parts.iter().rev().skip(1).all(|part| part.len() == 1000));
    }

    #[test]
    fn chunks_fill_and_change_shape_midway() {
        let number = |i: u32| format!("139{:08}", i.wrapping_mul(2_654_435_761) % 100_000_000).into_bytes();
        let mut rows: Vec<_> = (0..200_000).map(number).collect();
        check(&rows);
        rows.extend((0..3000).map(|i| vec![b'a' + (i % 26) as u8; 1 + i % 1024]));
        rows.extend_from_within(..1000);
        check(&rows);
    }

    #[test]
    fn the_empty_set_and_the_smallest() {
        check(&[]);
        check(&[b"a".to_vec()]);
        check(&[b"a".to_vec(), b"a".to_vec()]);
        check(&[b"a\0".to_vec(), b"a".to_vec(), b"a\0\0\0\0\0\0\0\0".to_vec()]);
    }

    #[test]
    fn what_is_not_canonical_is_not_taken() {
        assert_eq!(SetBuilder::new().push(b""), Err(BuildError::Length(0)));
        assert_eq!(SetBuilder::new().push(&[b'a'; 1025]), Err(BuildError::Length(1025)));
    }

    #[test]
    fn digests_tell_boundaries_apart() {
        let digest =
            |rows: &[&[u8]]| build(&rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>()).0.digest();
        assert_eq!(digest(&[b"b", b"a", b"b"]), digest(&[b"a", b"b"]));
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"ab"]), digest(&[b"a", b"b"]));
    }

    #[test]
    fn debug_shows_no_item() {
        let (set, ..) = build(&[b"13912345678".to_vec()]);
        assert_eq!(format!("{set:?}"), "CanonicalSet { items: 1, .. }");
    }

    #[test]
    fn stored_sets_are_read_strictly() {
        let bytes = stored(&build(&[b"ab".to_vec(), b"c".to_vec(), b"d".to_vec()]).0);
        let read = |bytes: &[u8]| CanonicalSet::read_from(&mut &*bytes, 9, 4).map_err(|error| error.kind());
        let (cut, other) = (io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData);
        assert_eq!(read(&bytes).unwrap().len(), 3);
        assert!([1, 2, 3, 5, 6, 8, 9].iter().all(|length| read(&bytes[..*length]).unwrap_err() == cut));
        let item = |item: &[u8]| [&(item.len() as u16).to_be_bytes(), item].concat();
        for last in [&b"c"[..], b"b", b"", b"ef", &[b'x'; 1025]] {
            let wrong = [&bytes[..7], &item(last)].concat();
            assert_eq!(read(&wrong).unwrap_err(), other, "{last:?}");
        }
    }

    #[test]
    fn memory_is_what_the_rows_and_their_keys_take() {
        let mut builder = SetBuilder::new();
        assert_eq!(builder.memory(), 0);
        builder.push(b"13912345678").unwrap();
        assert_eq!(builder.memory(), 11 + 12);
        builder.push(b"1").unwrap();
        assert_eq!(builder.memory(), 12 + 2 * 16);
        (0..200_000).for_each(|_| assert!(builder.push(b"13912345678").is_ok()));
        assert_eq!(builder.memory() / 1000, (200_002 * (11 + 16)) / 1000);
    }

    proptest! {
        #[test]
        fn sets_equal_those_of_the_standard_library(
            rows in prop::collection::vec(prop::collection::vec(0u8..4, 1..12), 0..80),
        ) {
            check(&rows);
        }

        #[test]
        fn uniform_sets_too(rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 11), 0..80)) {
            check(&rows);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), most in 0usize..5) {
            let _ = CanonicalSet::read_from(&mut bytes.as_slice(), most, 60);
        }
    }
}
