use super::*;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;

const LABEL: Label<'static> = Label { kind: "snapshot", owner: b"run 7" };

fn key() -> SealKey {
    SealKey::from_bytes([7; 32])
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 251) as u8).collect()
}

fn sealed(length: usize) -> Vec<u8> {
    seal_bytes(&key(), LABEL, &content(length)).unwrap()
}

fn open(bytes: &[u8]) -> Result<Vec<u8>, SealError> {
    open_bytes(&key(), LABEL, bytes).map(|content| content.to_vec())
}

#[test]
fn what_is_sealed_opens_at_every_size() {
    for length in [0, 1, 15, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 17] {
        let bytes = sealed(length);
        assert_eq!(open(&bytes).unwrap(), content(length));
        assert_eq!(bytes.len(), HEADER + length + TAG * length.div_ceil(SEGMENT).max(1));
    }
}

#[test]
fn any_place_can_be_read() {
    for length in [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 17] {
        let (bytes, content) = (sealed(length), content(length));
        let mut reader = SealedReader::new(io::Cursor::new(&bytes), &key(), LABEL).unwrap();
        let end = length as u64;
        for place in [end, 0, end / 2, end / 2 + 1, SEGMENT as u64, 5, end.saturating_sub(1), end + 9] {
            let place = place.min(end);
            assert_eq!(reader.seek(SeekFrom::Start(place)).unwrap(), place);
            assert_eq!(reader.stream_position().unwrap(), place);
            let mut read = Vec::new();
            (&mut reader).take(SEGMENT as u64 + 9).read_to_end(&mut read).unwrap();
            let expected = &content[place as usize..(place as usize + SEGMENT + 9).min(length)];
            assert!(read == expected, "{place} of {length}");
        }
        assert_eq!(reader.seek(SeekFrom::End(-(end.min(3) as i64))).unwrap(), end - end.min(3));
        assert_eq!(reader.seek(SeekFrom::Current(1)).unwrap(), (end - end.min(3) + 1).min(end));
        assert!(reader.seek(SeekFrom::End(-(end as i64) - 1)).is_err());
    }
}

#[test]
fn places_in_damaged_segments_are_refused() {
    let mut bytes = sealed(3 * SEGMENT);
    bytes[HEADER + SEGMENT + TAG + 5] ^= 1;
    let mut reader = SealedReader::new(io::Cursor::new(&bytes), &key(), LABEL).unwrap();
    assert!(reader.seek(SeekFrom::Start(2 * SEGMENT as u64)).is_ok());
    for _ in 0..2 {
        let error = reader.seek(SeekFrom::Start(SEGMENT as u64)).unwrap_err();
        assert_eq!(SealError::of(&error), Some(&SealError::Corrupted { segment: 1 }));
    }
    assert_eq!(reader.seek(SeekFrom::Start(1)).unwrap(), 1);
    let mut cut = io::Cursor::new(&bytes[..HEADER + SEGMENT + TAG]);
    let mut reader = SealedReader::new(&mut cut, &key(), LABEL).unwrap();
    let error = reader.seek(SeekFrom::End(0)).unwrap_err();
    assert_eq!(SealError::of(&error), Some(&SealError::Truncated { segment: 0 }));
}

#[test]
fn what_was_written_is_read_from_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = durable::create_private(&folder.path().join("copy")).unwrap();
    let mut writer = SealedWriter::new(file, &key(), LABEL).unwrap();
    writer.write_all(&content(SEGMENT + 5)).unwrap();
    let mut read = Vec::new();
    writer.into_reader(|file| file.sync_all()).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == content(SEGMENT + 5));
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = sealed(40);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_is_refused() {
    let bytes = sealed(40);
    assert!((0..bytes.len()).all(|length| open(&bytes[..length]).is_err()));
    let bytes = sealed(2 * SEGMENT);
    let cut = HEADER + SEGMENT + TAG;
    assert_eq!(open(&bytes[..cut]), Err(SealError::Truncated { segment: 0 }));
    assert_eq!(open(&bytes[..cut + 3]), Err(SealError::Truncated { segment: 1 }));
    assert_eq!(open(&bytes[..HEADER]), Err(SealError::Truncated { segment: 0 }));
    assert_eq!(open(&bytes[..HEADER - 1]), Err(SealError::NotSealed));
}

#[test]
fn added_bytes_are_refused() {
    assert_eq!(open(&[sealed(40), vec![0]].concat()), Err(SealError::Corrupted { segment: 0 }));
    let full = [sealed(SEGMENT), vec![0]].concat();
    assert_eq!(open(&full), Err(SealError::Trailing { segment: 0 }));
    assert!(open(&[sealed(SEGMENT), sealed(SEGMENT)].concat()).is_err());
}

#[test]
fn segments_stay_in_order_and_in_their_file() {
    let bytes = sealed(3 * SEGMENT);
    let (first, second) =
        (HEADER..HEADER + SEGMENT + TAG, HEADER + SEGMENT + TAG..HEADER + 2 * (SEGMENT + TAG));
    let mut swapped = bytes.clone();
    swapped[first.clone()].copy_from_slice(&bytes[second.clone()]);
    swapped[second.clone()].copy_from_slice(&bytes[first.clone()]);
    assert_eq!(open(&swapped), Err(SealError::Corrupted { segment: 0 }));
    let mut spliced = bytes.clone();
    spliced[second.clone()].copy_from_slice(&sealed(3 * SEGMENT)[second]);
    assert_eq!(open(&spliced), Err(SealError::Corrupted { segment: 1 }));
}

#[test]
fn other_kinds_owners_and_keys_are_refused() {
    let bytes = sealed(40);
    let other = Label { kind: "checkpoint", ..LABEL };
    let error = open_bytes(&key(), other, &bytes).unwrap_err();
    assert_eq!(error, SealError::WrongKind { expected: "checkpoint", got: "snapshot".into() });
    let error = open_bytes(&key(), Label { owner: b"run 8", ..LABEL }, &bytes).unwrap_err();
    assert_eq!(error, SealError::Corrupted { segment: 0 });
    let error = open_bytes(&SealKey::from_bytes([8; 32]), LABEL, &bytes).unwrap_err();
    assert_eq!(error, SealError::Corrupted { segment: 0 });
}

#[test]
fn the_same_content_never_looks_the_same() {
    assert_ne!(sealed(40), sealed(40));
}

#[test]
fn an_unfinished_file_counts_as_truncated() {
    let mut bytes = Vec::new();
    let mut writer = SealedWriter::new(&mut bytes, &key(), LABEL).unwrap();
    writer.write_all(&content(SEGMENT + 1)).unwrap();
    drop(writer);
    assert_eq!(open(&bytes), Err(SealError::Truncated { segment: 0 }));
}

#[test]
fn keys_are_made_once_and_read_only_if_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seal.key");
    let first = SealKey::load_or_generate(&path).unwrap();
    assert_eq!(first.0, SealKey::load_or_generate(&path).unwrap().0);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(SealKey::load(&path), Err(SealKeyError::Exposed { mode: 0o640, .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, [0; 31]).unwrap();
    assert!(matches!(SealKey::load(&path), Err(SealKeyError::Size { got: 31, .. })));
    assert_eq!(format!("{first:?}"), "SealKey { .. }");
}

proptest! {
    #[test]
    fn pieces_don_t_matter(
        pieces in prop::collection::vec(0usize..40_000, 0..8), asked in 1usize..50_000,
    ) {
        let whole = content(pieces.iter().sum());
        let (mut writer, mut rest) = (SealedWriter::new(Vec::new(), &key(), LABEL).unwrap(), whole.as_slice());
        for piece in pieces {
            let (now, later) = rest.split_at(piece);
            writer.write_all(now).unwrap();
            rest = later;
        }
        let bytes = writer.finish().unwrap();
        let mut reader = SealedReader::new(bytes.as_slice(), &key(), LABEL).unwrap();
        let (mut read, mut buffer) = (Vec::new(), vec![0; asked]);
        loop {
            let got = reader.read(&mut buffer).unwrap();
            read.extend_from_slice(&buffer[..got]);
            if got == 0 { break; }
        }
        prop_assert!(read == whole);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open(&[MAGIC.as_slice(), &bytes].concat()).is_err());
    }
}
