use super::*;
use crate::input::Source;
use crate::input::csv::Csv;
use encoding_rs::GB18030;
use proptest::prelude::*;
use std::io::{Cursor, Read};
use std::path::Path;

struct Drip(Cursor<Vec<u8>>, usize);

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

fn cells_by(bytes: &[u8], step: usize, encoding: Encoding) -> Result<Vec<String>, InputError> {
    let spec = Spec { encoding, ..Spec::csv("list.csv", "phone") };
    let mut csv = Csv::new(Feed::of(Path::new("list.csv"), Drip(Cursor::new(bytes.to_vec()), step)), &spec)?;
    let mut all = csv.columns().to_vec();
    while csv.row()?.is_some() {
        csv.cells(&mut |cell| all.push(cell.to_owned())).unwrap();
    }
    Ok(all)
}

/// The same whatever the reads bring.
fn cells(bytes: impl AsRef<[u8]>, encoding: Encoding) -> Result<Vec<String>, String> {
    let [whole, dripped] = [usize::MAX, 1].map(|step| cells_by(bytes.as_ref(), step, encoding));
    let [whole, dripped] = [whole, dripped].map(|cells| cells.map_err(|error| error.to_string()));
    assert_eq!(whole, dripped);
    whole
}

fn fails(bytes: impl AsRef<[u8]>, encoding: Encoding, expected: &str) {
    assert_eq!(cells(bytes, encoding).unwrap_err(), format!("list.csv{expected}"));
}

fn gb(text: &str) -> Vec<u8> {
    GB18030.encode(text).0.into_owned()
}

fn wide(text: &str, big: bool) -> Vec<u8> {
    let units = text.encode_utf16();
    units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

const TEXT: &str = "姓名,phone\r\n张三丰,1\r\n\"欧阳\n娜娜\",2\n㐀𠀀é€,3\n";
const CELLS: [&str; 8] = ["姓名", "phone", "张三丰", "1", "欧阳\n娜娜", "2", "㐀𠀀é€", "3"];

#[test]
fn the_same_text_in_every_encoding() {
    let expected: Vec<String> = CELLS.map(String::from).into();
    let marked = format!("\u{feff}{TEXT}");
    for (bytes, encoding) in [
        (TEXT.as_bytes().to_vec(), Encoding::Utf8),
        (marked.as_bytes().to_vec(), Encoding::Utf8),
        (gb(TEXT), Encoding::Gb18030),
        (gb(TEXT), Encoding::Gbk),
        (gb(&marked), Encoding::Gb18030),
        (wide(TEXT, false), Encoding::Utf16),
        (wide(TEXT, true), Encoding::Utf16),
        (wide(&marked, false), Encoding::Utf16),
        (wide(&marked, true), Encoding::Utf16),
    ] {
        assert_eq!(cells(&bytes, encoding).as_ref(), Ok(&expected), "{encoding} {:x?}", &bytes[..8]);
    }
}

#[test]
fn gb18030_without_its_name_is_recognised() {
    let advice = "not utf-8, but it reads as GB18030 or GBK; if that is right, say so: encoding gb18030";
    fails(gb(TEXT), Encoding::Utf8, &format!(":1:1: {advice}"));
    fails(gb("a,phone\n1,2\n张三,3\n"), Encoding::Utf8, &format!(":3:1: {advice}"));
    fails(b"a,phone\n1,2\nJos\xe9,3\n", Encoding::Utf8, ":3:4: not utf-8");
    fails(b"a,phone\n\"x\ny\xff\",3\n", Encoding::Utf8, ":3:2: not utf-8");
    fails(b"a,phone\n1,2\n\xe5\xbc", Encoding::Utf8, ":3:1: not utf-8");
}

#[test]
fn two_encodings_in_one_file_are_named() {
    let mixed = ["姓名,phone\n张三,1\n".as_bytes(), &gb("李四,2\n")].concat();
    let expected = ":3:1: utf-8 up to here, but this reads as GB18030 or GBK: two encodings in one file";
    fails(mixed, Encoding::Utf8, expected);
    let rows = "某人,1\n".repeat(20_000);
    let mixed = [&gb(&format!("姓名,phone\n{rows}")), "张三丰,1\n".as_bytes()].concat();
    let error = cells_by(&mixed, usize::MAX, Encoding::Gb18030).map(drop).unwrap_err().to_string();
    assert_eq!(error, "list.csv:20002:13: not gb18030");
}

#[test]
fn nothing_is_replaced() {
    fails(b"a,phone\n1,2\n\xd5\xc5\xff,3\n", Encoding::Gb18030, ":3:4: not gb18030");
    fails(b"a,phone\n1,2\n\xd5", Encoding::Gbk, ":3:1: not gbk");
    let lone = [wide("a,phone\n1,2\n", false), vec![0x00, 0xd8], wide(",3\n", false)].concat();
    fails(lone, Encoding::Utf16, ":3:1: not utf-16");
    fails([wide("a,phone\n1,2\n", true), vec![0]].concat(), Encoding::Utf16, ":3:1: not utf-16");
    let kept = ["姓名,phone\n".as_bytes(), "\u{fffd},1\n".as_bytes()].concat();
    assert_eq!(cells(kept, Encoding::Utf8).unwrap()[2], "\u{fffd}");
}

#[test]
fn an_encoding_that_is_plainly_another_is_named() {
    fails(TEXT, Encoding::Gb18030, ": encoded in UTF-8, not in gb18030");
    fails("\u{feff}a,phone\n", Encoding::Gbk, ": encoded in UTF-8, not in gbk");
    fails("\u{feff}a,phone\n", Encoding::Utf16, ": encoded in UTF-8, not in utf-16");
    let expected = ": encoded in UTF-16; if that is right, say so: encoding utf-16";
    fails(wide("\u{feff}phone\n1\n", false), Encoding::Utf8, expected);
    fails(wide("phone\n1\n", false), Encoding::Utf8, expected);
    fails(wide("\u{feff}phone\n1\n", true), Encoding::Gb18030, expected);
    let expected = ": no byte order mark, and the first characters don't tell whether it is utf-16";
    fails("姓名,phone\n张三,1\n", Encoding::Utf16, expected);
}

#[test]
fn other_formats_are_named() {
    for (start, got) in [
        (&b"PK\x03\x04..."[..], "a ZIP archive, such as an Excel workbook (format xlsx)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an Excel workbook of before 2007, or one with a password"),
        (b"PAR1....", "Apache Parquet (format parquet)"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"\xef\xbb\xbf\r\n<HTML><table>", "HTML: save it as CSV or as a workbook"),
        (b"<?xml version", "XML: save it as CSV or as a workbook"),
        (b"{\"phone\": \"1\"}", "JSON (format jsonl)"),
    ] {
        fails(start, Encoding::Utf8, &format!(": expected csv, got {got}"));
    }
}

#[test]
fn nothing_is_nothing_in_every_encoding() {
    for encoding in [Encoding::Utf8, Encoding::Gb18030, Encoding::Utf16] {
        fails("", encoding, ": empty file");
    }
}

proptest! {
    #[test]
    fn encodings_agree(names in prop::collection::vec("[a-zé张三丰㐀𠀀€ ]{0,8}", 1..20), step in 1usize..30) {
        let rows: String = names.iter().enumerate().map(|(index, name)| format!("{name},{index}\n")).collect();
        let text = format!("name,phone\n{rows}");
        let plain = cells_by(text.as_bytes(), step, Encoding::Utf8).unwrap();
        // What is ASCII only up to its first ideographs is valid in both.
        prop_assert_eq!(&cells_by(&gb(&text), step, Encoding::Gb18030).unwrap(), &plain);
        prop_assert_eq!(&cells_by(&wide(&text, false), step, Encoding::Utf16).unwrap(), &plain);
        prop_assert_eq!(&cells_by(&wide(&text, true), step, Encoding::Utf16).unwrap(), &plain);
    }

    #[test]
    fn any_bytes_are_judged_alike_whatever_the_reads_bring(
        bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b','), Just(b'a'), any::<u8>()], 0..60),
        step in 1usize..9,
        encoding in prop::sample::select(vec![Encoding::Utf8, Encoding::Gb18030, Encoding::Utf16]),
    ) {
        let bytes = [b"phone\n", bytes.as_slice()].concat();
        let whole = cells_by(&bytes, usize::MAX, encoding).map_err(|error| error.to_string());
        let dripped = cells_by(&bytes, step, encoding).map_err(|error| error.to_string());
        prop_assert_eq!(whole, dripped);
    }
}
