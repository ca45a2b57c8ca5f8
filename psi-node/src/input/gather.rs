//! The identifiers of one type as rows bring them; then sorted: the canonical set, and which rows hold its items.
//!
//! While rows come, their identifiers are in memory. Where that is bounded, sorted runs of them go into scratch files, to be
//! merged at the end. The set and the rows then wait in scratch files, whatever their size: no memory is taken by what is not
//! needed yet.
//!
//! ```text
//! set     its items in ascending order, as CanonicalSet::write_item
//! rows    of each row that has an identifier, in the order of the items: 1 if its item is the next one, 0 if it is the last
//!         one again | its ordinal among those rows, u32 big-endian
//! ```

use std::{
    fmt,
    io::{self, Read, Seek, SeekFrom, Write},
    mem,
};

use psi_core::{
    identifier::{BuildError, CanonicalSet, Row, SetBuilder, SetDigest},
    message::Digest,
};
use zeroize::Zeroizing;

use crate::{
    join::Bitmap,
    scratch::{self, Scratch, ScratchReader, SortedRun},
};

/// The identifiers of one type, in the order of the rows.
pub struct Gathered {
    builder: SetBuilder,
    /// None if all stay in memory.
    scratch: Option<Scratch>,
    runs: Vec<SortedRun>,
    /// Rows in the runs.
    spilled: Row,
    /// Which rows of the list have one.
    present: Bitmap,
}

/// Why an identifier can't be taken.
pub(crate) enum NotGathered {
    Full(BuildError),
    Scratch(io::Error),
}

impl Gathered {
    pub(crate) fn new(scratch: Option<Scratch>) -> Self {
        Self { builder: SetBuilder::new(), scratch, runs: Vec::new(), spilled: 0, present: Bitmap::new(0) }
    }

    /// Takes the identifier of the next row.
    pub(crate) fn push(&mut self, canonical: &[u8]) -> Result<(), NotGathered> {
        let most = self.scratch.as_ref().map_or(u64::MAX, Scratch::memory);
        if !self.builder.is_empty() && self.builder.memory() as u64 >= most {
            self.spill().map_err(NotGathered::Scratch)?;
        }
        if self.len() >= u64::from(Row::MAX) {
            return Err(NotGathered::Full(BuildError::Full));
        }
        self.builder.push(canonical).map_err(NotGathered::Full)?;
        self.present.push(true);
        Ok(())
    }

    /// The next row has none.
    pub(super) fn skip(&mut self) {
        self.present.push(false);
    }

    /// How many rows have one.
    pub fn len(&self) -> u64 {
        u64::from(self.spilled) + self.builder.len() as u64
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Different identifiers, and rows that repeat one.
    ///
    /// # Errors
    /// Of scratch files.
    pub fn count(self) -> io::Result<(u64, u64)> {
        let (rows, mut items) = (self.len(), 0);
        self.each(|_, _, is_new| {
            items += u64::from(is_new);
            Ok(())
        })?;
        Ok((items, rows - items))
    }

    /// The set, in memory.
    ///
    /// # Errors
    /// Of scratch files.
    pub fn into_set(self) -> io::Result<CanonicalSet> {
        let mut builder = SetBuilder::new();
        self.each(|item, _, is_new| match is_new {
            true => builder.push(item).map(drop).map_err(io::Error::other),
            false => Ok(()),
        })?;
        Ok(builder.finish().0)
    }

    /// Sorts them into files of `scratch`.
    ///
    /// # Errors
    /// Of scratch files.
    pub fn sort(mut self, scratch: &Scratch) -> io::Result<(StoredSet, RowMap)> {
        let (mut set, mut rows) = (scratch.create()?, scratch.create()?);
        let (count, present) = (self.len(), mem::replace(&mut self.present, Bitmap::new(0)));
        let (mut items, mut bytes, mut digest) = (0, 0, SetDigest::default());
        self.each(|item, row, is_new| {
            if is_new {
                CanonicalSet::write_item(&mut set, item)?;
                digest.update(item);
                items += 1;
                bytes += item.len();
            }
            rows.write_all(&[is_new.into()])?;
            rows.write_all(&row.to_be_bytes())
        })?;
        let (set, rows) = (set.into_reader(|_| Ok(()))?, rows.into_reader(|_| Ok(()))?);
        let set = StoredSet { items: set, len: items, bytes, digest: digest.finish() };
        Ok((set, RowMap { rows, count, present }))
    }

    /// Shows every identifier with its row's ordinal among those that have one, and whether it is the first of its item:
    /// items ascend, and the rows of one item.
    fn each(mut self, mut visit: impl FnMut(&[u8], Row, bool) -> io::Result<()>) -> io::Result<()> {
        let mut last = Zeroizing::new(Vec::new());
        let mut visit = |item: &[u8], row| {
            let is_new = *last != item;
            if is_new {
                last.clear();
                last.extend_from_slice(item);
            }
            visit(item, row, is_new)
        };
        if self.runs.is_empty() {
            return self.builder.sort().iter().try_for_each(|(item, row)| visit(item, row));
        }
        self.spill()?;
        scratch::merge(self.runs, |item, row| {
            let row = row.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
            visit(item, Row::from_be_bytes(row))
        })
    }

    fn spill(&mut self) -> io::Result<()> {
        let Some(scratch) = &self.scratch else { return Ok(()) };
        let (sorted, mut run) = (mem::take(&mut self.builder).sort(), scratch.sorted_run()?);
        for (item, row) in sorted.iter() {
            run.push(item, &(self.spilled + row).to_be_bytes())?;
        }
        self.runs.push(run.finish()?);
        self.spilled += sorted.len() as Row;
        Ok(())
    }
}

impl fmt::Debug for Gathered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathered").field("rows", &self.len()).finish_non_exhaustive()
    }
}

/// A canonical set in a scratch file, read once from its first item to its last.
pub struct StoredSet {
    items: ScratchReader,
    len: u64,
    /// Of the items that are left.
    bytes: usize,
    digest: Digest,
}

impl StoredSet {
    /// How many items the whole set has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of an item, on average.
    pub fn width(&self) -> usize {
        self.bytes.div_ceil(self.len.max(1) as usize)
    }

    /// [`SetDigest`] of the whole set.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The next items, at most so many; none where the set ends.
    ///
    /// # Errors
    /// Of scratch files.
    pub fn part(&mut self, most: usize) -> io::Result<CanonicalSet> {
        let part = CanonicalSet::read_from(&mut self.items, most, self.bytes)?;
        self.bytes -= part.bytes();
        Ok(part)
    }
}

impl fmt::Debug for StoredSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSet").field("items", &self.len).finish_non_exhaustive()
    }
}

/// Which rows of a list hold which item of its set, in a scratch file.
pub struct RowMap {
    rows: ScratchReader,
    /// Rows that hold one.
    count: u64,
    /// Which of all rows they are.
    present: Bitmap,
}

impl RowMap {
    /// The rows that hold one of these items.
    ///
    /// # Errors
    /// Of scratch files.
    pub fn matching(&mut self, items: &Bitmap) -> io::Result<Bitmap> {
        self.rows.seek(SeekFrom::Start(0))?;
        let (mut chosen, mut seen) = (Bitmap::new(self.count as usize), 0_usize);
        for _ in 0..self.count {
            let mut record = [0; 5];
            self.rows.read_exact(&mut record)?;
            let [is_new, row @ ..] = record;
            seen += usize::from(is_new);
            if seen.checked_sub(1).is_some_and(|item| items.contains(item)) {
                chosen.insert(Row::from_be_bytes(row) as usize);
            }
        }
        Ok(self.among_all(&chosen))
    }

    /// Rows that are counted among those that hold an item, counted among all.
    fn among_all(&self, chosen: &Bitmap) -> Bitmap {
        let mut rows = Bitmap::new(self.present.len());
        let present = self.present.iter().enumerate();
        present.filter(|(ordinal, _)| chosen.contains(*ordinal)).for_each(|(_, row)| rows.insert(row));
        rows
    }
}

impl fmt::Debug for RowMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowMap").field("rows", &self.present.len()).finish_non_exhaustive()
    }
}

/// All of it in memory, for tests of what brings the rows.
#[cfg(test)]
pub(super) struct Plain {
    pub(super) set: CanonicalSet,
    /// The item of each row.
    pub(super) rows: Vec<Option<usize>>,
    pub(super) duplicates: u64,
}

#[cfg(test)]
impl From<Gathered> for Plain {
    fn from(gathered: Gathered) -> Self {
        let (mut set, mut items) = (Vec::new(), vec![0; gathered.len() as usize]);
        let present = gathered.present.clone();
        gathered
            .each(|item, row, is_new| {
                set.extend(is_new.then(|| item.to_vec()));
                items[row as usize] = set.len() - 1;
                Ok(())
            })
            .expect("nothing was spilled");
        let mut builder = SetBuilder::new();
        set.iter().for_each(|item| assert!(builder.push(item).is_ok()));
        let duplicates = (items.len() - set.len()) as u64;
        let mut items = items.into_iter();
        let rows = (0..present.len()).map(|row| present.contains(row).then(|| items.next()).flatten());
        Self { set: builder.finish().0, rows: rows.collect(), duplicates }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::scratch::Room;

    fn gathered(rows: &[Option<Vec<u8>>], scratch: Option<&Scratch>) -> Gathered {
        let mut gathered = Gathered::new(scratch.cloned());
        for row in rows {
            match row {
                Some(item) => assert!(gathered.push(item).is_ok()),
                None => gathered.skip(),
            }
        }
        gathered
    }

    /// The set, and the rows of each item.
    fn expected(rows: &[Option<Vec<u8>>]) -> BTreeMap<&[u8], Vec<usize>> {
        let mut items: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        let filled = rows.iter().enumerate().filter_map(|(row, item)| Some((row, item.as_deref()?)));
        filled.for_each(|(row, item)| items.entry(item).or_default().push(row));
        items
    }

    fn check(rows: &[Option<Vec<u8>>], memory: u64) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Room { memory, ..Room::unlimited() }.at(folder.path());
        let (expected, gathered_rows) = (expected(rows), gathered(rows, Some(&scratch)));
        let runs = gathered_rows.runs.len();
        let (mut set, mut map) = gathered_rows.sort(&scratch).unwrap();
        let whole = gathered(rows, None).into_set().unwrap();
        assert_eq!((set.len(), *set.digest()), (expected.len() as u64, whole.digest()));
        let mut items: Vec<Vec<u8>> = Vec::new();
        loop {
            let part = set.part(3).unwrap();
            items.extend(part.iter().map(<[u8]>::to_vec));
            if part.is_empty() {
                break;
            }
        }
        assert!(items.iter().eq(expected.keys()) && whole.iter().eq(expected.keys().copied()));
        for item in 0..items.len() {
            let mut chosen = Bitmap::new(items.len());
            chosen.insert(item);
            let rows: Vec<_> = map.matching(&chosen).unwrap().iter().collect();
            assert_eq!(rows, expected[items[item].as_slice()]);
        }
        let repeated = expected.values().map(|rows| rows.len() as u64 - 1).sum();
        assert_eq!(gathered(rows, Some(&scratch)).count().unwrap(), (expected.len() as u64, repeated));
        runs
    }

    #[test]
    fn a_limit_makes_runs_and_changes_nothing() {
        let rows: Vec<_> = (0..1000_u32)
            .map(|row| (row % 7 != 3).then(|| format!("{:08}", row * 7919 % 500).into_bytes()))
            .collect();
        assert_eq!(check(&rows, u64::MAX), 0);
        assert!((40..60).contains(&check(&rows, 400)));
        assert_eq!(check(&rows[..50], 0), 42);
        assert_eq!(check(&[], 0), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_rows_are_sorted_the_same_with_any_limit(
            rows in prop::collection::vec(
                prop::option::of(prop::collection::vec(0u8..3, 1..6)), 0..60),
            memory in 0u64..400,
        ) {
            check(&rows, memory);
        }
    }
}
