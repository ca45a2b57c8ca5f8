//! Scratch: what does not fit into memory while it is sorted. Sorted runs go into sealed files, and come back merged.
//!
//! A scratch file has no name and is sealed with a key that nobody keeps: when its process ends, however it does, nothing of
//! it is left, and until then nobody else can read it.
//!
//! In a run, each record is a key and a value, both behind their lengths (`u16`, big-endian); keys ascend.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, binary_heap::PeekMut},
    io::{self, Read, Seek, Write},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use crate::seal::{Label, SealKey, SealedReader, SealedWriter};

/// Which limits on the memory of a run there may be, in megabytes: with less than the least, lists would have next to none.
pub const MEMORY_MB: RangeInclusive<u32> = 80..=1_000_000;

/// What a process takes besides its lists: itself, TLS, what is under way on the wire, and what chunks and proofs need. It was
/// 61 to 70 MB with a million items and two threads.
const BESIDES: u64 = 68_000_000;

/// A file without a name, removed when it is closed.
pub trait Nameless: Read + Write + Seek + Send + Sync {}

impl<T: Read + Write + Seek + Send + Sync> Nameless for T {}

/// Where scratch files come from.
pub trait Disk: Send + Sync {
    /// A new file on the file system of `folder`, of which nothing is left once it is closed.
    fn file(&self, folder: &Path) -> io::Result<Box<dyn Nameless>>;
}

/// The disk that the folder is on.
pub struct System;

impl Disk for System {
    fn file(&self, folder: &Path) -> io::Result<Box<dyn Nameless>> {
        Ok(Box::new(tempfile::tempfile_in(folder)?))
    }
}

/// A scratch file that is being written.
pub type ScratchWriter = SealedWriter<Box<dyn Nameless>>;

/// A scratch file that is read.
pub type ScratchReader = SealedReader<Box<dyn Nameless>>;

/// How much room a run has: in memory, and beyond that on a disk.
#[derive(Clone)]
pub struct Room {
    /// Bytes of memory.
    pub memory: u64,
    /// Where scratch files come from.
    pub disk: Arc<dyn Disk>,
}

impl Room {
    /// All that there is.
    pub fn unlimited() -> Self {
        Self { memory: u64::MAX, disk: Arc::new(System) }
    }

    /// For a process that is to take so many megabytes (10^6 bytes) in all, if it is to be limited.
    pub fn of(memory_mb: Option<u32>) -> Self {
        let lists = |mb: u32| (u64::from(mb) * 1_000_000).saturating_sub(BESIDES);
        Self { memory: memory_mb.map_or(u64::MAX, lists), ..Self::unlimited() }
    }

    /// With scratch files on the file system of `folder`.
    pub fn at(&self, folder: &Path) -> Scratch {
        Scratch { folder: folder.into(), room: self.clone() }
    }
}

/// Room with a place for scratch files.
#[derive(Clone)]
pub struct Scratch {
    folder: PathBuf,
    room: Room,
}

impl Scratch {
    /// How many bytes of memory to use before something goes into scratch files.
    pub fn memory(&self) -> u64 {
        self.room.memory
    }

    /// The same for each of so many users at a time.
    pub fn shared(&self, users: usize) -> Self {
        let memory = self.room.memory / users.max(1) as u64;
        Self { folder: self.folder.clone(), room: Room { memory, ..self.room.clone() } }
    }

    /// A new scratch file.
    pub fn create(&self) -> io::Result<ScratchWriter> {
        let file = self.room.disk.file(&self.folder)?;
        SealedWriter::new(file, &SealKey::generate()?, Label { kind: "scratch", owner: b"" })
    }

    /// A new run.
    pub fn sorted_run(&self) -> io::Result<SortedRunWriter> {
        Ok(SortedRunWriter(self.create()?))
    }
}

/// A run that is being written.
pub struct SortedRunWriter(ScratchWriter);

impl SortedRunWriter {
    /// Adds a record; keys come in ascending order. Both parts have less than 64 KiB.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        for part in [key, value] {
            let length = u16::try_from(part.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            self.0.write_all(&length.to_be_bytes())?;
            self.0.write_all(part)?;
        }
        Ok(())
    }

    /// The run, to be merged.
    pub fn finish(self) -> io::Result<SortedRun> {
        Ok(SortedRun {
            reader: self.0.into_reader(|_| Ok(()))?,
            key: Zeroizing::default(),
            value: Zeroizing::default(),
        })
    }
}

/// A sorted run: one record at a time.
pub struct SortedRun {
    reader: ScratchReader,
    key: Zeroizing<Vec<u8>>,
    value: Zeroizing<Vec<u8>>,
}

impl SortedRun {
    /// Whether there was another record.
    fn advance(&mut self) -> io::Result<bool> {
        let mut length = [0; 2];
        if self.reader.read(&mut length[..1])? == 0 {
            return Ok(false);
        }
        self.reader.read_exact(&mut length[1..])?;
        read_part(&mut self.reader, length, &mut self.key)?;
        self.reader.read_exact(&mut length)?;
        read_part(&mut self.reader, length, &mut self.value)?;
        Ok(true)
    }
}

fn read_part(reader: &mut ScratchReader, length: [u8; 2], part: &mut Vec<u8>) -> io::Result<()> {
    part.resize(u16::from_be_bytes(length).into(), 0);
    reader.read_exact(part)
}

/// Shows all records of the runs in ascending order of their keys; where keys are the same, those of earlier runs first.
///
/// # Errors
/// The first of `each`, or that a run can't be read.
pub fn merge<E: From<io::Error>>(
    runs: Vec<SortedRun>,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut heads = BinaryHeap::with_capacity(runs.len());
    for (number, mut run) in runs.into_iter().enumerate() {
        if run.advance()? {
            heads.push(Reverse(Head { run, number }));
        }
    }
    while let Some(mut least) = heads.peek_mut() {
        let Reverse(Head { run, .. }) = &mut *least;
        each(&run.key, &run.value)?;
        if !run.advance()? {
            PeekMut::pop(least);
        }
    }
    Ok(())
}

/// A run at its next record.
struct Head {
    run: SortedRun,
    number: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.run.key.cmp(&other.run.key).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn scratch(folder: &Path) -> Scratch {
        Room::unlimited().at(folder)
    }

    fn run(scratch: &Scratch, records: &[(Vec<u8>, Vec<u8>)]) -> SortedRun {
        let mut run = scratch.sorted_run().unwrap();
        records.iter().for_each(|(key, value)| run.push(key, value).unwrap());
        run.finish().unwrap()
    }

    #[test]
    fn a_scratch_file_has_no_name_and_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = scratch(folder.path());
        let records = vec![(b"13912345678".to_vec(), vec![7; 40_000]); 3];
        let run = run(&scratch, &records);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(run);
    }

    #[test]
    fn what_a_record_can_not_hold_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = scratch(folder.path()).sorted_run().unwrap();
        run.push(&[1; 65_535], &[]).unwrap();
        assert_eq!(run.push(&[1; 65_536], &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_first_error_ends_a_merge() {
        let folder = tempfile::tempdir().unwrap();
        let runs = vec![run(&scratch(folder.path()), &[(vec![1], vec![]), (vec![2], vec![])])];
        let mut seen = 0;
        let merged = merge(runs, |_, _| {
            seen += 1;
            Err::<(), io::Error>(io::ErrorKind::StorageFull.into())
        });
        assert_eq!((merged.unwrap_err().kind(), seen), (io::ErrorKind::StorageFull, 1));
    }

    proptest! {
        #[test]
        fn a_merge_is_a_stable_sort(
            runs in prop::collection::vec(prop::collection::vec(prop::collection::vec(0u8..3, 0..4), 0..20), 0..6),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let scratch = scratch(folder.path());
            let mut expected = Vec::new();
            let runs = runs.into_iter().enumerate().map(|(number, mut keys)| {
                keys.sort();
                let records: Vec<_> = keys.into_iter().enumerate()
                    .map(|(place, key)| (key, vec![number as u8, place as u8])).collect();
                expected.extend(records.iter().cloned());
                run(&scratch, &records)
            }).collect();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            let mut merged = Vec::new();
            merge(runs, |key, value| {
                merged.push((key.to_vec(), value.to_vec()));
                Ok::<_, io::Error>(())
            }).unwrap();
            prop_assert_eq!(merged, expected);
        }
    }
}
