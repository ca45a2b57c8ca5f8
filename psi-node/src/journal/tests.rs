use proptest::prelude::*;

use super::*;

const RUN: &str = "20261124T120000Z-00112233";

fn seal_key() -> SealKey {
    SealKey::from_bytes([7; 32])
}

fn keys(side: Side, index: u32, len: u32) -> Record {
    let chunk = Chunk { list: 1, index, step: index / 2, start: u64::from(index) * 16_384, len };
    let keys = (0..len).map(|key| [(index + key) as u8; 16]).collect();
    Record::Keys(Keys { side, chunk, keys })
}

fn note(text: &str) -> Record {
    Record::Note(text.into())
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn create(&self) -> Journal {
        Journal::create(&self.path(), &seal_key(), RUN).unwrap()
    }

    /// A journal of three parts, with something more in each.
    fn filled(&self) -> Vec<Record> {
        let records = [keys(Side::Ours, 0, 3), note("a"), keys(Side::Theirs, 0, 2), note("")];
        let mut journal = self.create();
        for (index, record) in records.iter().enumerate() {
            journal.append(record).unwrap();
            if index != 1 {
                journal.sync().unwrap();
            }
        }
        records.to_vec()
    }

    fn reopened(&self) -> Result<Vec<Record>, JournalError> {
        Journal::open(&self.path(), &seal_key(), RUN)?.records().collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn is_damaged(result: Result<Vec<Record>, JournalError>, part: &str) -> bool {
    matches!(result, Err(JournalError::Damaged { path, .. }) if path.ends_with(part))
}

#[test]
fn what_was_synced_is_there_after_a_crash_and_what_was_not_is_gone() {
    let folder = Folder::new();
    let mut synced = folder.filled();
    let mut journal = Journal::open(&folder.path(), &seal_key(), RUN).unwrap();
    journal.append(&note("lost")).unwrap();
    assert_eq!(folder.names().len(), 4);
    // A killed process drops nothing.
    std::mem::forget(journal);
    assert_eq!(folder.reopened().unwrap(), synced);
    assert_eq!(folder.names(), ["00000000", "00000001", "00000002"]);
    let mut journal = Journal::open(&folder.path(), &seal_key(), RUN).unwrap();
    synced.push(note("again"));
    journal.append(&note("again")).unwrap();
    journal.sync().unwrap();
    assert_eq!(folder.reopened().unwrap(), synced);
}

#[test]
fn a_cut_part_is_synced_while_others_append() {
    let folder = Folder::new();
    let mut journal = folder.create();
    journal.append(&note("a")).unwrap();
    let part = journal.cut().unwrap().unwrap();
    journal.append(&note("b")).unwrap();
    part.sync().unwrap();
    assert_eq!(journal.records().map(Result::unwrap).collect::<Vec<_>>(), [note("a")]);
    let finished = journal.finish().unwrap();
    assert_eq!(finished.records().map(Result::unwrap).collect::<Vec<_>>(), [note("a"), note("b")]);
}

#[test]
fn a_part_that_was_never_synced_is_missed() {
    let folder = Folder::new();
    let mut journal = folder.create();
    journal.append(&note("a")).unwrap();
    drop(journal.cut().unwrap());
    journal.append(&note("b")).unwrap();
    assert!(is_damaged(journal.finish().unwrap().records().collect(), "00000000"));
}

#[test]
fn a_finished_journal_is_read_as_often_as_needed_without_a_sync() {
    let folder = Folder::new();
    let mut journal = folder.create();
    let records = [keys(Side::Ours, 0, 5), keys(Side::Theirs, 1, 16_384), note("end")];
    journal.append(&records[0]).unwrap();
    journal.sync().unwrap();
    records[1..].iter().for_each(|record| journal.append(record).unwrap());
    let finished = journal.finish().unwrap();
    for _ in 0..2 {
        let read: Vec<_> = finished.records().map(Result::unwrap).collect();
        assert_eq!(read, records);
    }
    let keys: Vec<_> = finished.keys(1).map(|keys| Record::Keys(keys.unwrap())).collect();
    assert_eq!(keys, records[..2]);
    assert!(finished.keys(0).next().is_none());
    assert_eq!(folder.names().len(), 2);
    drop(finished);
    assert_eq!(folder.names(), ["00000000"]);
}

#[test]
fn an_empty_sync_makes_no_part() {
    let folder = Folder::new();
    let mut journal = folder.create();
    journal.sync().unwrap();
    assert!(folder.names().is_empty() && journal.records().next().is_none());
    assert!(journal.finish().unwrap().records().next().is_none());
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_part_is_damage() {
    let folder = Folder::new();
    folder.filled();
    for part in ["00000000", "00000001", "00000002"] {
        let path = folder.path().join(part);
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            assert!(is_damaged(folder.reopened(), part), "{part}, bit {bit}");
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(is_damaged(folder.reopened(), part), "{part}, cut to {length}");
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(folder.reopened().unwrap().len(), 4);
}

#[test]
fn parts_stay_where_they_are() {
    let folder = Folder::new();
    folder.filled();
    let [first, second] = ["00000000", "00000001"].map(|part| folder.path().join(part));
    let whole = fs::read(&first).unwrap();
    fs::copy(&second, &first).unwrap();
    assert!(is_damaged(folder.reopened(), "00000000"));
    fs::remove_file(&first).unwrap();
    assert!(is_damaged(folder.reopened(), "00000000"));
    fs::write(&first, whole).unwrap();
    let other = Journal::open(&folder.path(), &seal_key(), "20261124T120000Z-ffffffff").unwrap();
    assert!(is_damaged(other.records().collect(), "00000000"));
    assert!(matches!(Journal::create(&folder.path(), &seal_key(), RUN), Err(JournalError::Io { .. })));
}

#[test]
fn damage_is_told_from_a_failing_disk() {
    let damaged = JournalError::Damaged { path: "j".into(), reason: "r".into() };
    let failed = JournalError::Io { path: "j".into(), source: io::ErrorKind::StorageFull.into() };
    assert_eq!((Fault::from(damaged).exit(), Fault::from(failed).exit()), (13, 12));
}

proptest! {
    // Every sync waits for the disk.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_records_come_back_in_their_order(
        notes in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0u32..20, any::<bool>()), 0..20),
    ) {
        let folder = Folder::new();
        let (mut journal, mut expected) = (folder.create(), Vec::new());
        for (content, len, sync) in notes {
            for record in [Record::Note(content), keys(Side::Theirs, len, len)] {
                journal.append(&record).unwrap();
                expected.push(record);
            }
            if sync {
                journal.sync().unwrap();
            }
        }
        let finished = journal.finish().unwrap();
        prop_assert_eq!(finished.records().collect::<Result<Vec<_>, _>>().unwrap(), expected);
    }
}

proptest! {
    #[test]
    fn any_content_is_refused_without_a_panic(content in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Some(Record::Keys(keys)) = decode(&content) {
            prop_assert_eq!(keys.chunk.len as usize, keys.keys.len());
        }
        let _ = read_record(&mut content.as_slice());
    }
}
