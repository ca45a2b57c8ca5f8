use super::*;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::seal::{Label, SealKey, SealedReader, SealedWriter};
use parquet::basic::{Encoding, Type};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

/// Written by pyarrow, by `tests/parquet/make.py`.
macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parquet/", $name, ".parquet")).as_slice()
    };
}

/// The number of the row, all cells, and the wanted one or why there is none.
type Read = (u64, Vec<String>, String);

fn spec() -> Spec {
    Spec::of("list.parquet", vec!["phone".into()])
}

fn open(bytes: &[u8], spec: &Spec) -> Result<Parquet, InputError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Parquet::new(Feed::of_file(Path::new("list.parquet"), file), spec)
}

fn rows_by(bytes: &[u8], spec: &Spec) -> Result<Vec<Read>, InputError> {
    let mut list = open(bytes, spec)?;
    let mut rows = Vec::new();
    while let Some(row) = list.row()? {
        let (line, wanted) =
            (row.line, row.cells.and_then(|cells| cells.get(0).map(|cell| cell.into_owned())));
        let wanted = wanted.unwrap_or_else(|fault| fault.reason().into());
        let mut cells = Vec::new();
        list.cells(&mut |cell| cells.push(cell.to_owned()))?;
        rows.push((line, cells, wanted));
    }
    Box::new(list).finish()?;
    Ok(rows)
}

fn fails(bytes: &[u8], expected: &str) {
    assert_eq!(rows_by(bytes, &spec()).unwrap_err().to_string(), format!("list.parquet: {expected}"));
}

/// The rows that `make.py` puts into most files.
fn expected() -> Vec<Read> {
    let row = |i: u64| {
        let phone = format!("139{:08}", i * 7919 % 100_000_000);
        let name = if i % 7 == 3 { String::new() } else { format!("张三{}", i % 40) };
        let city = ["上海", "北京", "广州"][i as usize % 3].to_owned();
        let count = if i.is_multiple_of(5) { String::new() } else { (i * i).to_string() };
        (i + 1, vec![i.to_string(), name, phone.clone(), city, count], phone)
    };
    (0..120).map(row).collect()
}

#[test]
fn every_compression_page_and_encoding_gives_the_same_rows() {
    let files = [
        ("none", fixture!("none")),
        ("snappy", fixture!("snappy")),
        ("zstd", fixture!("zstd")),
        ("gzip", fixture!("gzip")),
        ("lz4", fixture!("lz4")),
        ("pages-v2", fixture!("pages-v2")),
        ("delta", fixture!("delta")),
    ];
    for (name, bytes) in files {
        assert!(rows_by(bytes, &spec()).unwrap() == expected(), "{name}");
    }
}

#[test]
fn columns_that_are_asked_for_now_and_then_keep_up() {
    for bytes in [fixture!("pages-v2"), fixture!("delta"), fixture!("snappy")] {
        let mut list = open(bytes, &spec()).unwrap();
        for (row, expected) in expected().into_iter().enumerate() {
            let line = list.row().unwrap().unwrap().line;
            if row % 11 == 0 || row == 70 {
                // Asking again gives the same.
                for _ in 0..2 {
                    let mut cells = Vec::new();
                    list.cells(&mut |cell| cells.push(cell.to_owned())).unwrap();
                    assert_eq!((line, &cells), (expected.0, &expected.1));
                }
            }
        }
        assert!(list.row().unwrap().is_none());
        Box::new(list).finish().unwrap();
    }
}

#[test]
fn several_columns_come_in_the_order_they_are_wanted_in() {
    let spec = Spec::of("list.parquet", vec!["count".into(), "phone".into(), "name".into()]);
    let mut list = open(fixture!("zstd"), &spec).unwrap();
    list.row().unwrap();
    let row = list.row().unwrap().unwrap();
    let cells = row.cells.unwrap();
    let all = [0, 1, 2].map(|place| cells.get(place).unwrap().into_owned());
    assert_eq!(all, ["1", "13900007919", "张三1"]);
    let text = psi_core::identifier::Rule::find("text/1").unwrap();
    assert_eq!(cells.identifier(0, text).unwrap_err(), crate::input::RowFault::Number);
    assert!(cells.identifier(1, text).is_ok());
}

#[test]
fn long_texts_are_read_up_to_the_bound_of_a_row() {
    let rows = rows_by(fixture!("long"), &spec()).unwrap();
    assert_eq!(rows.iter().map(|row| row.1[1].len()).collect::<Vec<_>>(), [27_000, 70_000, 1]);
    assert_eq!(rows[2].2, "");
    let tight = Spec { max_row_bytes: 30_000, ..spec() };
    let error = rows_by(fixture!("long"), &tight).unwrap_err().to_string();
    assert_eq!(error, "list.parquet:2:1: row is too long: at most 30000 bytes");
}

/// What each type gives in the two rows of a file: the cell, and whether it may be an identifier.
#[test]
fn types_become_cells() {
    let types = [
        ("phone", "13900000001", "13900000002"),
        ("int8", "-1", ""),
        ("uint64", "18446744073709551615", "7"),
        ("card", "622202000000000001", "-5"),
        ("amount", "12.50", "-0.05"),
        ("double", "13912345678", "rounded-number"),
        ("float", "0.5", "rounded-number"),
        ("yes", "not-text", "not-text"),
        ("day", "not-text", "not-text"),
        ("time", "not-text", ""),
        ("at", "not-text", ""),
        ("bytes", "abc", "not-text"),
        ("fixed", "not-text", "ok"),
        ("empty", "", ""),
        ("last", "y", "z"),
    ];
    let bytes = fixture!("types");
    for (column, first, second) in types {
        let rows = rows_by(bytes, &Spec::of("list.parquet", vec![column.into()])).unwrap();
        assert_eq!([rows[0].2.as_str(), rows[1].2.as_str()], [first, second], "{column}");
    }
    let shown = [
        ["13900000001", "13900000002"],
        ["-1", ""],
        ["18446744073709551615", "7"],
        ["622202000000000001", "-5"],
        ["12.50", "-0.05"],
        ["13912345678", "110105194912310000"],
        ["0.5", "13912346000"],
        ["true", "false"],
        ["2024-02-29", "1969-12-31"],
        ["23:59:59.001", ""],
        ["2024-02-29T08:30:00", ""],
        ["abc", "d5c5"],
        ["00ff", "ok"],
        ["", ""],
        ["y", "z"],
    ];
    let rows = rows_by(bytes, &spec()).unwrap();
    for (row, (_, cells, _)) in rows.iter().enumerate() {
        assert_eq!(cells, &shown.map(|column| column[row].to_owned()));
    }
    let old = rows_by(fixture!("int96"), &spec()).unwrap();
    assert_eq!(old, [(1, vec!["1".to_owned(), "2024-02-29T08:30:00".to_owned()], "1".to_owned())]);
}

#[test]
fn nested_columns_are_left_out_and_refused_by_name() {
    let list = open(fixture!("types"), &spec()).unwrap();
    assert!(!list.columns().iter().any(|column| column == "tags" || column == "who"));
    for column in ["tags", "who"] {
        let error = rows_by(fixture!("types"), &Spec::of("list.parquet", vec![column.into()])).unwrap_err();
        let expected =
            format!("list.parquet: column {column:?} is nested or repeated: only plain ones are read");
        assert_eq!(error.to_string(), expected);
    }
    let missing = rows_by(fixture!("types"), &Spec::of("list.parquet", vec!["fone".into()])).unwrap_err();
    assert_eq!(missing.to_string(), "list.parquet: no column \"fone\"; did you mean \"phone\"?");
}

#[test]
fn what_is_not_read_is_named() {
    fails(b"", "empty file");
    fails(b"phone\n13912345678\n", "expected parquet, got no Parquet file");
    fails(b"PARE....PARE", "expected parquet, got an encrypted Parquet file");
    fails(b"PAR1....", "it is cut short: its last bytes are those of no footer");
    fails(b"PAR1\0\0\0\0PAR1", "the footer is damaged");
    fails(b"PAR1\x01\0\0\0PAR1", "the footer is damaged or too large");
    fails(
        fixture!("brotli"),
        "column \"phone\", row 1: compressed by Brotli, which is not read: write it with snappy, zstd or gzip",
    );
    assert!(rows_by(fixture!("no-rows"), &spec()).unwrap().is_empty());
}

/// Cut anywhere or with a bit changed anywhere, a file is refused or gives the same identifiers. The pages of this file have
/// checksums; its footer has none, as no footer has: what it says beside the identifiers may become something else.
#[test]
fn damage_never_changes_an_identifier() {
    let identifiers = |bytes: &[u8]| -> Result<Vec<String>, InputError> {
        Ok(rows_by(bytes, &spec())?.into_iter().map(|(_, _, phone)| phone).collect())
    };
    let whole = fixture!("zstd");
    let expected = identifiers(whole).unwrap();
    for cut in 0..whole.len() {
        assert!(identifiers(&whole[..cut]).is_err(), "cut at {cut}");
    }
    for place in 0..whole.len() {
        let flipped = flipped(whole, place);
        assert!(identifiers(&flipped).map_or(true, |rows| rows == expected), "byte {place}");
    }
}

/// One bit of a byte is changed, another one of the next.
fn flipped(whole: &[u8], place: usize) -> Vec<u8> {
    let mut flipped = whole.to_vec();
    flipped[place] ^= 1 << (place % 8);
    flipped
}

/// Without checksums as well, and whatever the encoding, damage is an error or other rows, but nothing worse.
#[test]
fn damage_never_stops_the_program() {
    for whole in [fixture!("delta"), fixture!("pages-v2"), fixture!("types"), fixture!("long")] {
        for place in 0..whole.len() {
            // A number of rows that became astronomical ends with the values.
            if let Ok(rows) = rows_by(&flipped(whole, place), &spec()) {
                assert!(rows.len() <= 120);
            }
        }
    }
}

#[test]
fn a_column_that_nobody_wants_is_looked_through_before_anything_is_sent() {
    let whole = fixture!("none");
    let name = "张三39".as_bytes();
    let place = whole.windows(name.len()).position(|bytes| bytes == name).unwrap();
    let mut damaged = whole.to_vec();
    damaged[place] ^= 1;
    let mut list = open(&damaged, &spec()).unwrap();
    let mut rows = 0;
    while list.row().unwrap().is_some() {
        rows += 1;
    }
    assert_eq!(rows, 120, "the wanted column is whole");
    let error = Box::new(list).finish().unwrap_err().to_string();
    assert_eq!(error, "list.parquet: column \"name\", row 1: the checksum of a page is wrong");
}

/// How the other library is to write.
#[derive(Debug, Clone)]
struct Layout {
    version: WriterVersion,
    dictionary: bool,
    encoding: Encoding,
    page_rows: usize,
    group_rows: usize,
}

fn layout() -> impl Strategy<Value = Layout> {
    let encoding = prop_oneof![
        Just(Encoding::PLAIN),
        Just(Encoding::DELTA_BYTE_ARRAY),
        Just(Encoding::DELTA_LENGTH_BYTE_ARRAY)
    ];
    (any::<(bool, bool)>(), encoding, 1..20_usize, 1..60_usize).prop_map(
        |((new, dictionary), encoding, page_rows, group_rows)| {
            let version = if new { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 };
            Layout { version, dictionary, encoding, page_rows, group_rows }
        },
    )
}

/// Texts and integers, either of which may be missing.
type Rows = Vec<(Option<String>, Option<i64>)>;

fn written(rows: &Rows, layout: &Layout) -> Vec<u8> {
    let schema = "message list { optional binary phone (STRING); optional int64 count; }";
    let numbers =
        if layout.encoding == Encoding::PLAIN { Encoding::PLAIN } else { Encoding::DELTA_BINARY_PACKED };
    let properties = WriterProperties::builder()
        .set_writer_version(layout.version)
        .set_dictionary_enabled(layout.dictionary)
        .set_data_page_row_count_limit(layout.page_rows)
        .set_write_batch_size(1)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_encoding("phone".into(), layout.encoding)
        .set_column_encoding("count".into(), numbers)
        .build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(layout.group_rows) {
        let mut group = writer.next_row_group().unwrap();
        let texts: Vec<_> = rows.iter().filter_map(|row| row.0.as_deref().map(ByteArray::from)).collect();
        let levels: Vec<_> = rows.iter().map(|row| i16::from(row.0.is_some())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).unwrap();
        column.close().unwrap();
        let numbers: Vec<_> = rows.iter().filter_map(|row| row.1).collect();
        let levels: Vec<_> = rows.iter().map(|row| i16::from(row.1.is_some())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&numbers, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// Cells as the other library reads them.
fn by_parquet(bytes: &[u8]) -> Vec<Vec<String>> {
    let reader = SerializedFileReader::new(bytes::Bytes::copy_from_slice(bytes)).unwrap();
    let column = reader.metadata().file_metadata().schema_descr().column(0);
    assert_eq!(column.physical_type(), Type::BYTE_ARRAY);
    let text = |field: &Field| match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Long(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().get_column_iter().map(|(_, field)| text(field)).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn rows_equal_those_that_were_written_and_that_another_library_reads(
        rows in prop::collection::vec((prop::option::of("(139[0-9]{0,8}|张三é){0,2}"), any::<Option<i64>>()), 1..150),
        layout in layout(),
    ) {
        let bytes = written(&rows, &layout);
        let read: Vec<_> = rows_by(&bytes, &spec()).unwrap().into_iter().map(|(_, cells, _)| cells).collect();
        let cells = |row: &(Option<String>, Option<i64>)| {
            vec![row.0.clone().unwrap_or_default(), row.1.map(|number| number.to_string()).unwrap_or_default()]
        };
        prop_assert_eq!(&read, &rows.iter().map(cells).collect::<Vec<_>>());
        prop_assert_eq!(read, by_parquet(&bytes));
    }
}

#[test]
fn the_sealed_copy_and_a_pipe_give_the_same_rows() {
    let identifiers = |mut list: Box<dyn Source>| {
        let mut all = Vec::new();
        while let Some(row) = list.row().unwrap() {
            all.push(row.cells.unwrap().get(0).unwrap().into_owned());
        }
        list.finish().unwrap();
        all
    };
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("list.parquet"), folder.path().join("copy"));
    std::fs::write(&path, fixture!("snappy")).unwrap();
    let (spec, key) = (Spec::of(&path, vec!["phone".into()]), SealKey::generate().unwrap());
    let label = Label { kind: "snapshot", owner: b"run 7" };
    let writer = SealedWriter::new(crate::durable::create_private(&copy).unwrap(), &key, label).unwrap();
    let first = identifiers(crate::input::open(&spec, Some(writer)).unwrap());
    std::fs::write(&path, "changed").unwrap();
    let reader = SealedReader::new(std::fs::File::open(&copy).unwrap(), &key, label).unwrap();
    assert!(identifiers(crate::input::reopen(&spec, reader).unwrap()) == first);
    let pipe = Feed::of(Path::new("-"), std::io::Cursor::new(fixture!("snappy")));
    assert!(identifiers(Box::new(Parquet::new(pipe, &spec).unwrap())) == first);
    assert_eq!(first, expected().into_iter().map(|row| row.2).collect::<Vec<_>>());
}
