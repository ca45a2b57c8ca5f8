//! The canonical identifiers of a list: sorted, unique, packed into one arena.
//!
//! A million numbers of eleven bytes take 11 MB, and 4 MB for the map from rows to items. Lists whose items are all
//! of one length (most profiles) need no offsets. While a set is built, the arena of the rows lies in chunks that
//! never move, so that growing neither doubles the memory nor leaves copies of identifiers behind.

use std::fmt;
use std::io::{self, Read, Write};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::MAX_CANONICAL;

/// The place of an item in the set, for each row that was pushed, in the order of the pushes.
pub type Row = u32;

const CHUNK: usize = 1 << 20;
const DIGEST_LABEL: &[u8] = b"XPSI1-SET";
const MAGIC: &[u8; 9] = b"XPSI-SET1";

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

impl CanonicalSet {
    /// How many items.
    pub fn len(&self) -> usize {
        match &self.bounds {
            Bounds::Uniform { count, .. } => *count,
            Bounds::Ends(ends) => ends.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at `index` in ascending byte order; panics if there is none, like a slice.
    pub fn get(&self, index: usize) -> &[u8] {
        match &self.bounds {
            Bounds::Uniform { width, .. } => &self.arena[index * width..(index + 1) * width],
            Bounds::Ends(ends) => {
                let start = index.checked_sub(1).map_or(0, |before| ends[before] as usize);
                &self.arena[start..ends[index] as usize]
            }
        }
    }

    /// All items in ascending byte order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// SHA-256 over `"XPSI1-SET" ‖ u64 count ‖ (u32 length ‖ bytes)` of every item in order. Never stored or sent.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(DIGEST_LABEL);
        hash.update((self.len() as u64).to_be_bytes());
        for item in self.iter() {
            hash.update((item.len() as u32).to_be_bytes());
            hash.update(item);
        }
        hash.finalize().into()
    }

    /// Writes the set, for a sealed file: `"XPSI-SET1"`, the count and the bytes of all items as `u64`, the length of
    /// each item as `u16`, the items.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(MAGIC)?;
        out.write_all(&(self.len() as u64).to_be_bytes())?;
        out.write_all(&(self.arena.len() as u64).to_be_bytes())?;
        for item in self.iter() {
            out.write_all(&(item.len() as u16).to_be_bytes())?;
        }
        out.write_all(&self.arena)
    }

    /// Reads what [`write_to`](Self::write_to) wrote, up to the end of `input`.
    ///
    /// Refuses anything else: other counts, items out of order or doubled, bytes left over.
    pub fn read_from(input: &mut impl Read) -> Result<Self, SetError> {
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(SetError::Malformed("other magic"));
        }
        let (count, bytes) = (read_u64(input)?, read_u64(input)?);
        let bounds = read_bounds(input, count, bytes)?;
        let set = Self { arena: read_arena(input, bytes)?, bounds };
        if !(1..set.len()).all(|index| set.get(index - 1) < set.get(index)) {
            return Err(SetError::Malformed("items out of order"));
        }
        Ok(set)
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

/// A stored set can't be read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The bytes are not those of a set.
    #[error("stored set is malformed: {0}")]
    Malformed(&'static str),
    /// The bytes can't be read, or end too early.
    #[error("stored set can't be read")]
    Read(#[from] io::Error),
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

    /// Sorts and folds duplicates. Returns the set, the item of every row, and how many rows repeated an earlier one.
    pub fn finish(mut self) -> (CanonicalSet, Vec<Row>, usize) {
        let keys = self.sorted_keys();
        let (count, bytes) = self.unique(&keys);
        let mut packed = Packed::new(count, bytes, self.uniform_width());
        let mut rows = vec![0; keys.len()];
        for (index, &[.., row]) in keys.iter().enumerate() {
            if self.is_first(&keys, index) {
                packed.push(self.row(row));
            }
            rows[row as usize] = packed.last();
        }
        let duplicates = keys.len() - count;
        wipe_keys(keys);
        self.wipe();
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

    fn uniform_width(&self) -> Option<usize> {
        match &self.rows {
            Rows::Uniform { width, .. } => Some(*width),
            Rows::Starts(_) => None,
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

    fn sorted_keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> =
            (0..self.len() as u32).into_par_iter().map(|row| key(self.row(row), row)).collect();
        keys.par_sort_unstable_by(|a, b| {
            a[..2].cmp(&b[..2]).then_with(|| self.row(a[2]).cmp(self.row(b[2]))).then_with(|| a[2].cmp(&b[2]))
        });
        keys
    }

    /// Whether the key at `index` is the first of its identifier.
    fn is_first(&self, keys: &[Key], index: usize) -> bool {
        let Some(before) = index.checked_sub(1).map(|before| keys[before]) else { return true };
        let key = keys[index];
        before[..2] != key[..2] || self.row(before[2]) != self.row(key[2])
    }

    /// How many identifiers differ, and their bytes in all.
    fn unique(&self, keys: &[Key]) -> (usize, usize) {
        let firsts = (0..keys.len()).filter(|index| self.is_first(keys, *index));
        firsts.fold((0, 0), |(count, bytes), index| (count + 1, bytes + self.row(keys[index][2]).len()))
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

/// A set while it is filled in ascending order; allocated once.
struct Packed {
    arena: Vec<u8>,
    bounds: Bounds,
}

impl Packed {
    fn new(count: usize, bytes: usize, width: Option<usize>) -> Self {
        let bounds = match width {
            Some(width) => Bounds::Uniform { width, count: 0 },
            None => Bounds::Ends(Vec::with_capacity(count)),
        };
        Self { arena: Vec::with_capacity(bytes), bounds }
    }

    fn push(&mut self, item: &[u8]) {
        self.arena.extend_from_slice(item);
        match &mut self.bounds {
            Bounds::Uniform { count, .. } => *count += 1,
            Bounds::Ends(ends) => ends.push(self.arena.len() as u32),
        }
    }

    fn last(&self) -> u32 {
        match &self.bounds {
            Bounds::Uniform { count, .. } => *count as u32 - 1,
            Bounds::Ends(ends) => ends.len() as u32 - 1,
        }
    }

    fn finish(self) -> CanonicalSet {
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

fn wipe_keys(mut keys: Vec<Key>) {
    keys.as_flattened_mut().zeroize();
}

fn read_u64(input: &mut impl Read) -> Result<u64, SetError> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// The lengths, as the ends they add up to. A first length that all others share makes the set uniform.
fn read_bounds(input: &mut impl Read, count: u64, bytes: u64) -> Result<Bounds, SetError> {
    if bytes > u64::from(u32::MAX) || count > bytes {
        return Err(SetError::Malformed("impossible counts"));
    }
    let (mut ends, mut end, mut first) = (Vec::new(), 0_u64, None);
    let mut uniform = true;
    for index in 0..count {
        let mut length = [0; 2];
        input.read_exact(&mut length)?;
        let length = usize::from(u16::from_be_bytes(length));
        if !(1..=MAX_CANONICAL).contains(&length) {
            return Err(SetError::Malformed("impossible length"));
        }
        if uniform && length != *first.get_or_insert(length) {
            uniform = false;
            ends = (1..=index).map(|before| (before * end / index) as u32).collect();
        }
        end += length as u64;
        if end > bytes {
            return Err(SetError::Malformed("lengths beyond the content"));
        }
        if !uniform {
            ends.push(end as u32);
        }
    }
    match (end == bytes, uniform) {
        (false, _) => Err(SetError::Malformed("lengths short of the content")),
        (true, true) => Ok(Bounds::Uniform { width: first.unwrap_or(0), count: count as usize }),
        (true, false) => Ok(Bounds::Ends(ends)),
    }
}

fn read_arena(input: &mut impl Read, bytes: u64) -> Result<Vec<u8>, SetError> {
    let mut arena = Vec::new();
    arena.try_reserve_exact(bytes as usize).map_err(io::Error::other)?;
    let read = input.take(bytes).read_to_end(&mut arena)?;
    if (read as u64) < bytes {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    match input.read(&mut [0])? {
        0 => Ok(arena),
        _ => Err(SetError::Malformed("bytes left over")),
    }
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
        set.write_to(&mut bytes).unwrap();
        bytes
    }

    fn check(rows: &[Vec<u8>]) {
        let (set, items, duplicates) = build(rows);
        let expected: BTreeSet<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        assert!(set.iter().eq(expected.iter().copied()));
        assert_eq!((set.len(), duplicates), (expected.len(), rows.len() - expected.len()));
        assert!(rows.iter().zip(&items).all(|(row, item)| set.get(*item as usize) == row));
        let again = CanonicalSet::read_from(&mut stored(&set).as_slice()).unwrap();
        assert!(again == set && again.digest() == set.digest());
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
        let read = |bytes: &[u8]| CanonicalSet::read_from(&mut &*bytes);
        assert!(
            (0..bytes.len())
                .all(|cut| matches!(read(&bytes[..cut]), Err(SetError::Read(_) | SetError::Malformed(_))))
        );
        assert!(matches!(
            read(&[bytes.as_slice(), b"e"].concat()),
            Err(SetError::Malformed("bytes left over"))
        ));
        let swapped = [&bytes[..bytes.len() - 2], b"dc".as_slice()].concat();
        assert!(matches!(read(&swapped), Err(SetError::Malformed("items out of order"))));
        let doubled = [&bytes[..bytes.len() - 2], b"cc".as_slice()].concat();
        assert!(matches!(read(&doubled), Err(SetError::Malformed("items out of order"))));
        assert!(matches!(read(&[b"Y", &bytes[1..]].concat()), Err(SetError::Malformed("other magic"))));
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
        fn any_bytes_are_read_without_a_panic(tail in prop::collection::vec(any::<u8>(), 0..60), count in 0u8..5) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend([0, 0, 0, 0, 0, 0, 0, count]);
            bytes.extend([0, 0, 0, 0, 0, 0, 0, tail.len() as u8]);
            bytes.extend(tail);
            let _ = CanonicalSet::read_from(&mut bytes.as_slice());
        }
    }
}
