use super::*;
use proptest::prelude::*;
use std::io::{Cursor, Read};

/// Hands out a few bytes at a time, so that rows straddle reads.
struct Drip(Cursor<Vec<u8>>, usize);

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

fn spec() -> Spec {
    Spec { max_row_bytes: 1 << 16, ..Spec::csv("list.csv", "phone") }
}

fn csv_by(bytes: &[u8], step: usize, spec: &Spec) -> Result<Csv, InputError> {
    let inner = Drip(Cursor::new(bytes.to_vec()), step);
    Csv::new(Feed::of(&spec.path, inner), spec)
}

fn read_by(bytes: &[u8], step: usize) -> Result<Vec<(u64, Vec<String>)>, InputError> {
    let mut csv = csv_by(bytes, step, &spec())?;
    let mut rows = Vec::new();
    while let Some(line) = csv.row()?.map(|row| row.line) {
        let mut cells = Vec::new();
        csv.cells(&mut |cell| cells.push(cell.to_owned())).unwrap();
        rows.push((line, cells));
    }
    Ok(rows)
}

/// The same whatever the reads bring.
fn read(bytes: impl AsRef<[u8]>) -> Result<Vec<(u64, Vec<String>)>, String> {
    let bytes = bytes.as_ref();
    let whole = read_by(bytes, usize::MAX).map_err(|error| error.to_string());
    let dripped = read_by(bytes, 1).map_err(|error| error.to_string());
    assert_eq!(whole, dripped);
    whole
}

fn fails(bytes: impl AsRef<[u8]>, expected: &str) {
    assert_eq!(read(bytes).unwrap_err(), expected);
}

fn wanted_by(text: &str, spec: &Spec) -> Vec<String> {
    let mut csv = csv_by(text.as_bytes(), 3, spec).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = csv.row().unwrap() {
        rows.push(row.cells.map_or_else(
            |fault| fault.to_string(),
            |cells| (0..cells.len()).map(|index| cells.get(index).unwrap()).collect::<Vec<_>>().join("|"),
        ));
    }
    rows
}

fn identifiers(text: &str) -> Vec<String> {
    wanted_by(text, &spec())
}

#[test]
fn the_named_column_is_read() {
    assert_eq!(identifiers("a,phone,b\n1,2,3\n,,\n"), ["2", ""]);
    assert_eq!(identifiers("\u{feff}phone,b\r\n1,2\r\n\"3 \"\"x\"\"\",4"), ["1", "3 \"x\""]);
    assert_eq!(identifiers("\"a\n,\", phone \nx,1\n"), ["1"]);
    assert_eq!(identifiers("phone\n1,2\n3\n"), ["ragged row: expected 1 columns, got 2", "3"]);
    assert_eq!(identifiers("phone,b\n1,\"2\n3\",4\n5,6\n"), ["ragged row: expected 2 columns, got 3", "5"]);
}

#[test]
fn several_columns_come_in_the_order_of_the_spec() {
    let text = "a,phone,b\n1,2,\"3 \"\"x\"\"\"\n\"4\",,5\n6,7\n";
    let asked =
        |columns: &[&str]| Spec { columns: columns.iter().map(ToString::to_string).collect(), ..spec() };
    let ragged = "ragged row: expected 3 columns, got 2";
    assert_eq!(wanted_by(text, &asked(&["b", "a"])), ["3 \"x\"|1", "5|4", ragged]);
    assert_eq!(wanted_by(text, &asked(&["phone", "b", "a"])), ["2|3 \"x\"|1", "|5|4", ragged]);
    assert_eq!(wanted_by(text, &asked(&["a", "a"])), ["1|1", "4|4", ragged]);
    assert_eq!(wanted_by(text, &asked(&[])), ["", "", ragged]);
    let missing = csv_by(text.as_bytes(), 3, &asked(&["a", "bb"])).map(drop).unwrap_err();
    assert_eq!(missing.to_string(), "list.csv: no column \"bb\"; did you mean \"b\"?");
}

#[test]
fn lines_are_those_of_an_editor() {
    let rows = read("a,phone\n\n\"x\ny\",1\r\n\r\nz,2").unwrap();
    assert_eq!(rows.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 6]);
    assert_eq!(rows[0].1, ["x\ny", "1"]);
}

#[test]
fn quotes_in_bare_cells_are_content() {
    assert_eq!(read("a,phone\n5\" pipe,a\"b\"\n").unwrap()[0].1, ["5\" pipe", "a\"b\""]);
}

#[test]
fn a_quote_that_never_closes_is_named_where_it_opened() {
    fails("a,phone\n1,2\n3,\"4\n5,6\n7,8\n", "list.csv:3:3: quote opened here is never closed");
    fails("a,phone\n\"x\ny\",\"4\n5,6\n", "list.csv:3:4: quote opened here is never closed");
    fails("\"a,phone\n", "list.csv:1:1: quote opened here is never closed");
    let long = format!("a,phone\n1,\"{}", "2\n".repeat(1 << 17));
    fails(long, "list.csv:2:3: quote opened here is never closed");
}

#[test]
fn what_follows_a_closing_quote_is_named() {
    fails(
        "a,phone\n\"1\"x,2\n",
        "list.csv:2:4: expected a delimiter or the end of the line after the closing quote",
    );
}

#[test]
fn odd_bytes_are_named() {
    fails("a,phone\n1,13\0\n", "list.csv:2:5: zero byte");
    fails("a,phone\r1,2\r3,4\r", "list.csv:1:8: carriage return without line feed");
    fails("a,phone\r\n1,2\r3,4\r\n", "list.csv:2:4: carriage return without line feed");
    fails("a,phone\r\n\"1\",2\r3,4\r\n", "list.csv:2:6: carriage return without line feed");
    fails("a,phone\r\n1,2\r", "list.csv:2:4: carriage return without line feed");
    assert_eq!(read("a,phone\n\"1\r2\",3\n").unwrap()[0].1, ["1\r2", "3"]);
}

#[test]
fn rows_are_bounded() {
    let row = |length: usize| format!("a,phone\n{},1\n", "x".repeat(length - 2));
    assert_eq!(read(row(1 << 16)).unwrap().len(), 1);
    fails(row((1 << 16) + 1), "list.csv:2:1: row is too long: at most 65536 bytes");
    fails(row(1 << 20), "list.csv:2:1: row is too long: at most 65536 bytes");
}

/// A line of a gigabyte is refused after its first megabyte or two.
#[test]
fn an_endless_line_is_refused_early() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += buffer.len() as u64;
            assert!(self.0 < 8 << 20, "reads on");
            buffer.fill(b'x');
            Ok(buffer.len())
        }
    }
    let spec = Spec::csv("list.csv", "phone");
    let feed = Feed::of(&spec.path, Endless(0));
    assert!(matches!(Csv::new(feed, &spec).map(drop), Err(InputError::RowTooLong { limit: 0x10_0000, .. })));
}

#[test]
fn empty_files_are_named() {
    for nothing in ["", "\u{feff}", "\n", "\r\n\n"] {
        fails(nothing, "list.csv: empty file");
    }
}

#[test]
fn columns_are_named() {
    fails("name,phones\n", "list.csv: no column \"phone\"; did you mean \"phones\"?");
    fails("phone,a,phone \n", "list.csv: column \"phone\" stands at 1 and at 3");
    let expected = "list.csv: no column \"phone\"; the first line has 2 columns, none of a similar name";
    fails("13912345678,张三\n", expected);
}

#[test]
fn the_delimiter_is_found_in_the_heading() {
    for mark in [",", ";", "\t", "|"] {
        let text = format!("a{mark}phone\n1{mark}2\n");
        assert_eq!(identifiers(&text), ["2"], "{mark:?}");
    }
    assert_eq!(identifiers("\n\r\na;phone;\"x,y,z\"\n1;2;3\n"), ["2"]);
    assert_eq!(identifiers("\"a\";\"phone\"\n\"1,5\";\"2\"\"\"\n"), ["2\""]);
    assert_eq!(identifiers("\"a,b\nc\"|phone\n1|2\n"), ["2"]);
    assert_eq!(identifiers("phone\n1,2\n"), ["ragged row: expected 1 columns, got 2"]);
    assert_eq!(identifiers("amount, net;amount, gross;phone\n1,5;2,5;3\n"), ["3"]);
    fails(
        "name;mail;x,y\n",
        "list.csv: no column \"phone\"; the first line has 3 columns, none of a similar name",
    );
    let none = Spec { columns: Vec::new(), ..spec() };
    assert_eq!(csv_by(b"a|b|c;d\n", 1, &none).unwrap().columns(), ["a", "b", "c;d"]);
}

#[test]
fn a_delimiter_that_is_given_is_the_one() {
    let by = |mark: &str| Spec { delimiter: Some(mark.parse().unwrap()), ..spec() };
    assert_eq!(wanted_by("a^phone\n1^2\n", &by("^")), ["2"]);
    let error = csv_by(b"a,phone\n", 1, &by(";")).map(drop).unwrap_err();
    assert!(matches!(error, InputError::MissingColumn { .. }));
    let tabs = Spec { format: Format::Tsv, ..spec() };
    assert_eq!(wanted_by("a,b\tphone\n1,5\t2\n", &tabs), ["2"]);
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z0-9]{0,6}", 1 => "[a,\"\n\r é张]{0,6}", 1 => Just("1".repeat(300))]
}

proptest! {
    #[test]
    fn rows_equal_those_of_another_reader(
        rows in prop::collection::vec(prop::collection::vec(cell(), 3), 0..12), crlf in any::<bool>(), step in 1usize..50,
    ) {
        let end = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().terminator(end).from_writer(Vec::new());
        writer.write_record(["a", "phone", "b"]).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let bytes = writer.into_inner().unwrap();
        let read = read_by(&bytes, step).unwrap();
        prop_assert!(read.iter().map(|(_, cells)| cells).eq(&rows));
        let mut other = csv::Reader::from_reader(bytes.as_slice());
        let other: Vec<Vec<String>> = other.deserialize().collect::<Result<_, _>>().unwrap();
        prop_assert!(read.iter().map(|(_, cells)| cells).eq(&other));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in "[a,\"\n\r\u{0}é]{0,40}", cut in 0usize..40, step in 1usize..9) {
        let bytes = [b"phone\n", &bytes.as_bytes()[..cut.min(bytes.len())]].concat();
        let whole = read_by(&bytes, usize::MAX).map_err(|error| error.to_string());
        let dripped = read_by(&bytes, step).map_err(|error| error.to_string());
        prop_assert_eq!(whole, dripped);
    }
}
