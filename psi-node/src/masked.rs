//! Our masked list as it is stored: `masked` in `private/ID/`, sealed, 36 bytes an item in masked order.
//!
//! ```text
//! element, 32 bytes | index of its item in the canonical set, u32 big-endian
//! ```
//!
//! A session needs the elements of a chunk twice, when it is sent and when its answer is verified, and the surroundings of
//! what the peer sends once: all of it roughly in ascending order. So the file serves where memory is short. Where it is
//! not, the list stays in memory until the steps are done.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use psi_core::{
    element::{ELEMENT_BYTES, Element},
    key::MaskKey,
    mask::{FirstCommon, MaskedItem, OwnList},
    message::OpeningCommitment,
};

use crate::{
    durable::NewFile,
    fault::{
        Code, Fault,
        disk::{storage, unreadable},
    },
    join::Bitmap,
    seal::{Label, SealKey, SealedReader, SealedWriter},
};

const RECORD: usize = ELEMENT_BYTES + 4;
/// Items of whose first element a copy is kept in memory.
const PAGE: usize = 2048;

/// Where a sealed file is, and what it takes to read it.
#[derive(Clone)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// What it is sealed with.
    pub seal_key: SealKey,
    /// Its kind.
    pub kind: &'static str,
    /// Its owner.
    pub owner: Vec<u8>,
}

/// A masked list while it is written.
pub struct ListWriter {
    out: SealedWriter<NewFile>,
    place: Place,
    items: u64,
    firsts: Vec<Element>,
}

impl ListWriter {
    /// Starts a new file, which has no name before it is whole: the threads of a conversation that was cut may be at it too.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn create(place: Place) -> Result<Self, Fault> {
        Ok(Self { out: place.create()?, place, items: 0, firsts: Vec::new() })
    }

    /// Adds the next items in masked order.
    ///
    /// # Errors
    /// What the disk says.
    pub fn push(&mut self, items: &[MaskedItem]) -> io::Result<()> {
        for item in items {
            if self.items.is_multiple_of(PAGE as u64) {
                self.firsts.push(item.element);
            }
            self.items += 1;
            self.out.write_all(&item.element)?;
            self.out.write_all(&item.item.to_be_bytes())?;
        }
        Ok(())
    }

    /// Makes the file durable, and opens it as the list of this key.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn finish(self, key: MaskKey, opening: Option<OpeningCommitment>) -> Result<StoredList, Fault> {
        let Self { out, place, items, firsts } = self;
        let synced = out.finish().and_then(NewFile::commit_over);
        synced.map_err(|error| storage(&place.path, &error))?;
        Ok(StoredList { key, opening, items, firsts, place, resident: None })
    }
}

/// A masked list of ours that is stored.
pub struct StoredList {
    key: MaskKey,
    opening: Option<OpeningCommitment>,
    items: u64,
    /// The first element of every page.
    firsts: Vec<Element>,
    place: Place,
    /// All of it, while it is in memory.
    resident: Option<Vec<MaskedItem>>,
}

impl StoredList {
    /// The list of a run that goes on: all of it is there, sealed as it was written.
    ///
    /// # Errors
    /// [`Code::State`] if it is not, [`Code::Storage`] if it can't be read.
    pub fn open(place: Place, items: u64, key: MaskKey) -> Result<Self, Fault> {
        let mut firsts = Vec::new();
        let mut reader = place.reader()?;
        for start in (0..items as usize).step_by(PAGE) {
            let records = reader.next(PAGE.min(items as usize - start))?;
            firsts.extend(elements_of(&records[..RECORD]));
        }
        reader.end()?;
        Ok(Self { key, opening: None, items, firsts, place, resident: None })
    }

    /// Keeps in memory what is in the file too.
    pub fn resident(self, items: Vec<MaskedItem>) -> Self {
        debug_assert_eq!(items.len() as u64, self.items, "what is in the file");
        Self { resident: Some(items), ..self }
    }

    /// Whether it is in memory too.
    #[cfg(test)]
    pub fn is_resident(&self) -> bool {
        self.resident.is_some()
    }

    /// From now on the file alone serves.
    pub fn evict(&mut self) {
        self.resident = None;
    }

    /// The same items by their index in the canonical set, given some by their index in this list.
    ///
    /// # Errors
    /// [`Code::State`] if the file is not as it was written, [`Code::Storage`] if it can't be read.
    pub fn set_items(&self, chosen: &Bitmap) -> Result<Bitmap, Fault> {
        let mut items = Bitmap::new(chosen.len());
        let (mut reader, mut page) = (self.place.reader()?, (0..0, Vec::new()));
        for index in chosen.iter() {
            if !page.0.contains(&index) {
                let start = index / PAGE * PAGE;
                let range = start..(start + PAGE).min(chosen.len());
                page = (range.clone(), reader.records(range)?);
            }
            let at = (index - page.0.start) * RECORD;
            items.insert(split(&page.1[at..at + RECORD]).1 as usize);
        }
        Ok(items)
    }

    /// As [`OwnList::first_common`], page by page from the file.
    fn search(&self, elements: &[Element]) -> Result<Option<usize>, Fault> {
        let (Some(first), Some(last)) = (elements.first(), elements.last()) else { return Ok(None) };
        let from = self.firsts.partition_point(|page| page <= first).saturating_sub(1);
        let to = self.firsts.partition_point(|page| page <= last);
        let (mut reader, mut common) = (self.place.reader()?, FirstCommon::of(elements));
        for page in from..to {
            let end = ((page + 1) * PAGE).min(self.items as usize);
            let ours = elements_of(&reader.records(page * PAGE..end)?);
            if let Some(index) = common.search(&ours) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

impl OwnList for StoredList {
    type Error = Fault;

    fn key(&self) -> &MaskKey {
        &self.key
    }

    fn items(&self) -> u64 {
        self.items
    }

    fn opening(&self) -> Option<OpeningCommitment> {
        self.opening
    }

    fn elements(&self, range: Range<usize>) -> Result<Vec<Element>, Fault> {
        match &self.resident {
            Some(items) => Ok(items[range].iter().map(|item| item.element).collect()),
            None => Ok(elements_of(&self.place.reader()?.records(range)?)),
        }
    }

    fn first_common(&self, elements: &[Element]) -> Result<Option<usize>, Fault> {
        let (Some(items), Some(first)) = (&self.resident, elements.first()) else {
            return self.search(elements);
        };
        let start = items.partition_point(|item| item.element < *first);
        Ok(FirstCommon::of(elements).search(items[start..].iter().map(|item| &item.element)))
    }
}

impl Place {
    /// A new file, which gets its name when it is committed.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn create(&self) -> Result<SealedWriter<NewFile>, Fault> {
        let file = NewFile::create(&self.path);
        let out = file.and_then(|file| SealedWriter::new(file, &self.seal_key, self.label()));
        out.map_err(|error| storage(&self.path, &error))
    }

    /// How the file is sealed.
    pub fn label(&self) -> Label<'_> {
        Label { kind: self.kind, owner: &self.owner }
    }

    /// A reader of its own for each caller, since several threads read at once.
    fn reader(&self) -> Result<RecordReader<'_>, Fault> {
        let opened =
            File::open(&self.path).and_then(|file| SealedReader::new(file, &self.seal_key, self.label()));
        Ok(RecordReader { reader: opened.map_err(|error| unreadable(&self.path, &error))?, path: &self.path })
    }
}

struct RecordReader<'a> {
    reader: SealedReader<File>,
    path: &'a Path,
}

impl RecordReader<'_> {
    fn records(&mut self, range: Range<usize>) -> Result<Vec<u8>, Fault> {
        let sought = self.reader.seek(SeekFrom::Start((range.start * RECORD) as u64));
        sought.map_err(|error| unreadable(self.path, &error))?;
        self.next(range.len())
    }

    fn next(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        let mut records = vec![0; count * RECORD];
        let read = self.reader.read_exact(&mut records);
        read.map(|()| records).map_err(|error| unreadable(self.path, &error))
    }

    /// Nothing follows, and the seal of the last segment holds.
    fn end(&mut self) -> Result<(), Fault> {
        match self.reader.read(&mut [0]).map_err(|error| unreadable(self.path, &error))? {
            0 => Ok(()),
            _ => {
                let message = format!("{}: it has more items than the list", self.path.display());
                Err(Fault::new(Code::State, message))
            }
        }
    }
}

fn elements_of(records: &[u8]) -> Vec<Element> {
    records.chunks_exact(RECORD).map(|record| split(record).0).collect()
}

fn split(record: &[u8]) -> (Element, u32) {
    let (element, index) = record.split_at(ELEMENT_BYTES);
    let (element, index) = (element.try_into(), index.try_into());
    (element.expect("a record's start"), u32::from_be_bytes(index.expect("a record's end")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use psi_core::{key::SessionSeed, suite::SuiteId};

    use super::*;

    fn place(path: PathBuf) -> Place {
        Place { path, seal_key: SealKey::from_bytes([7; 32]), kind: "masked", owner: b"run 7".into() }
    }

    fn mask_key() -> MaskKey {
        let suite = SuiteId::Ristretto255Sha512.suite();
        SessionSeed::from_bytes([5; 32]).mask_key(suite, "text/1", &[0; 32])
    }

    fn element(number: u32) -> Element {
        let mut element = [7; ELEMENT_BYTES];
        element[..4].copy_from_slice(&number.to_be_bytes());
        element
    }

    /// The same list from its file and from memory.
    fn lists(numbers: impl IntoIterator<Item = u32>) -> (tempfile::TempDir, [StoredList; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let numbers = numbers.into_iter().enumerate();
        let items: Vec<_> = numbers
            .map(|(item, number)| MaskedItem { element: element(number), item: item as u32 ^ 1 })
            .collect();
        let lists = ["a", "b"].map(|name| {
            let mut writer = ListWriter::create(place(folder.path().join(name))).unwrap();
            items.chunks(1000).for_each(|items| writer.push(items).unwrap());
            writer.finish(mask_key(), None).unwrap()
        });
        let [file, memory] = lists;
        (folder, [file, memory.resident(items)])
    }

    #[test]
    fn chunks_and_indexes_are_the_same_from_file_and_memory() {
        let count = 3 * PAGE + 6;
        let (_folder, [file, mut memory]) = lists(0..count as u32);
        assert_eq!((file.items(), memory.items()), (count as u64, count as u64));
        for range in [0..0, 0..1, 0..count, PAGE - 1..PAGE + 1, 17..5000, count - 1..count] {
            let expected: Vec<_> = range.clone().map(|index| element(index as u32)).collect();
            assert_eq!(file.elements(range.clone()).unwrap(), expected);
            assert_eq!(memory.elements(range.clone()).unwrap(), expected);
        }
        let mut chosen = Bitmap::new(count);
        [0, 1, 6, PAGE, 3 * PAGE].into_iter().for_each(|index| chosen.insert(index));
        let items: Vec<_> = file.set_items(&chosen).unwrap().iter().collect();
        assert_eq!(items, [0, 1, 7, PAGE + 1, 3 * PAGE + 1]);
        memory.evict();
        assert_eq!(memory.elements(0..1).unwrap(), [element(0)]);
    }

    #[test]
    fn a_list_is_opened_again_only_whole() {
        let (folder, [file, _memory]) = lists(0..5000);
        let open = |items| StoredList::open(place(folder.path().join("a")), items, mask_key());
        let again = open(5000).unwrap();
        assert!(again.firsts == file.firsts && again.items() == 5000);
        assert_eq!(again.elements(4998..5000).unwrap(), [element(4998), element(4999)]);
        for wrong in [0, 4999, 5001, 9000] {
            assert_eq!(open(wrong).map(drop).unwrap_err().code, Code::State, "{wrong}");
        }
        std::fs::remove_file(folder.path().join("a")).unwrap();
        assert_eq!(open(5000).map(drop).unwrap_err().code, Code::State);
    }

    #[test]
    fn elements_in_any_order_are_looked_up_without_a_panic() {
        let (_folder, [file, memory]) = lists(0..5000);
        for list in [&file, &memory] {
            list.first_common(&[element(4000), element(3)]).unwrap();
            list.first_common(&[element(9000), element(3)]).unwrap();
            assert_eq!(list.first_common(&[]).unwrap(), None);
        }
    }

    #[test]
    fn a_damaged_file_is_named_when_it_is_read() {
        let (folder, [file, _memory]) = lists(0..5000);
        let path = folder.path().join("a");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[70_000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        file.elements(0..10).unwrap();
        let fault = file.elements(2000..2001).unwrap_err();
        assert!(fault.code == Code::State && fault.message.contains("segment 1"), "{fault}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_common_is_found_from_file_and_memory(
            step in 1u32..5, count in 0u32..7000, theirs in prop::collection::btree_set(0u32..30_000, 0..40),
        ) {
            let ours: BTreeSet<u32> = (0..count).map(|number| number * step + 2).collect();
            let expected = theirs.iter().position(|number| ours.contains(number));
            let (_folder, lists) = lists(ours);
            let theirs: Vec<_> = theirs.into_iter().map(element).collect();
            for list in &lists {
                prop_assert_eq!(list.first_common(&theirs).unwrap(), expected);
            }
        }
    }
}
