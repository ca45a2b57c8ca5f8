use super::*;
use proptest::prelude::*;
use std::io::Cursor;
use std::path::Path;

fn spec() -> Spec {
    Spec { columns: vec!["phone".into()], ..Spec::of("list.jsonl", Vec::new()) }
}

fn open(text: impl Into<Vec<u8>>, spec: &Spec) -> Result<JsonLines, InputError> {
    JsonLines::new(Feed::of(Path::new("list.jsonl"), Cursor::new(text.into())), spec)
}

/// Line and wanted cells of each row, or why there are none.
fn wanted_by(text: &str, columns: &[&str]) -> Result<Vec<(u64, String)>, String> {
    let spec = Spec { columns: columns.iter().map(ToString::to_string).collect(), ..spec() };
    let mut lines = open(text, &spec).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    while let Some(row) = lines.row().map_err(|error| error.to_string())? {
        let cells = row.cells.map(|cells| {
            let cell = |index| cells.get(index).map_or_else(|fault| fault.to_string(), Cow::into_owned);
            (0..cells.len()).map(cell).collect::<Vec<_>>().join("|")
        });
        rows.push((row.line, cells.unwrap_or_else(|fault| fault.to_string())));
    }
    Ok(rows)
}

fn fails(text: &str, expected: &str) {
    assert_eq!(wanted_by(text, &["phone"]).unwrap_err(), format!("list.jsonl{expected}"));
}

#[test]
fn wanted_keys_are_read_wherever_they_stand() {
    let text = "\u{feff}{\"a\": 1, \"phone\": \"139\", \"b\": [1]}\r\n\n {\"phone\":138,\"b\":{},\"new\":\"x\"}\n{\"b\":null,\"phone\":null}";
    let rows = wanted_by(text, &["phone", "a"]).unwrap();
    assert_eq!(rows, [(1, "139|1".into()), (3, "138|".into()), (4, "|".into())]);
}

#[test]
fn text_is_unescaped_and_numbers_stay_as_they_are_written() {
    let text = "{\"phone\":\"1\\u0033\\\"9\"}\n{\"ph\\u006fne\":13912345678901234567}\n{\"phone\":1.39E+10}\n{\"phone\":139.0}";
    let rows: Vec<_> = wanted_by(text, &["phone"]).unwrap().into_iter().map(|(_, cell)| cell).collect();
    assert_eq!(rows, ["13\"9", "13912345678901234567", "1.39E+10", "139.0"]);
    let lines = &mut open("{\"phone\":139}\n{\"phone\":\"139\"}", &spec()).unwrap();
    let text = psi_core::identifier::Rule::find("text/1").unwrap();
    let mut number = || lines.row().unwrap().unwrap().cells.unwrap().identifier(0, text).is_err();
    assert_eq!([number(), number()], [true, false]);
}

#[test]
fn values_that_are_no_text_are_named() {
    let cell = |value: &str| wanted_by(&format!("{{\"phone\":{value}}}"), &["phone"]).unwrap()[0].1.clone();
    assert_eq!(cell("[\"139\"]"), "expected text or a number, got an array");
    assert_eq!(cell("{\"n\":139}"), "expected text or a number, got an object");
    assert_eq!(cell("true"), "expected text or a number, got true or false");
    let doubled = wanted_by("{\"phone\":1,\"phone\":2}\n{\"phone\":3,\"a\":1,\"a\":2}", &["phone"]).unwrap();
    assert_eq!(doubled, [(1, "the object has a key twice".into()), (2, "3".into())]);
}

#[test]
fn what_is_no_object_is_named_where_it_stands() {
    let first = "{\"phone\":1}\n";
    fails(&format!("{first}{{\"phone\":1\n"), ":2:10: cut short, expected one JSON object a line");
    fails(&format!("{first}\n{{\"phone\" 1}}\n"), ":3:10: not JSON, expected one JSON object a line");
    fails(&format!("{first}{{\"phone\":1}} {{}}\n"), ":2:13: not JSON, expected one JSON object a line");
    fails("[{\"phone\":1}]\n", ":1:1: an array, expected one JSON object a line");
    fails("phone\n1\n", ":1:1: no object, expected one JSON object a line");
    fails("\"13912345678\"\n", ":1:13: no object, expected one JSON object a line");
    fails(&format!("{first}{{\"phone\":\"\0\"}}\n"), ":2:11: zero byte");
    fails("", ": empty file");
    fails("\n \r\n", ": empty file");
    fails("{\"fone\":1}", ": no column \"phone\"; did you mean \"fone\"?");
    fails(
        &format!("{first}{{\"phone\":\"{}\"}}", "1".repeat(2 << 20)),
        ":2:1: row is too long: at most 1048576 bytes",
    );
}

#[test]
fn errors_hold_nothing_of_the_file() {
    for text in ["\"13912345678\"\n", "{\"phone\":13912345678\n", "{\"phone\":\"x\"}\n{13912345678:1}\n"] {
        assert!(!wanted_by(text, &["phone"]).unwrap_err().contains("139"));
    }
}

#[test]
fn other_encodings_are_named_or_read() {
    let bytes = [b"{\"phone\":1,\"n\":\"", &b"\xd5\xc5\xc8\xfd"[..], b"\"}\n"].concat();
    let error = open(bytes.clone(), &spec()).map(drop).unwrap_err();
    assert!(matches!(error, InputError::Gb18030 { .. }), "{error}");
    let gb = Spec { encoding: crate::input::Encoding::Gb18030, ..spec() };
    let mut lines = open(bytes, &gb).unwrap();
    lines.row().unwrap();
    let mut cells = Vec::new();
    lines.cells(&mut |cell| cells.push(cell.to_owned())).unwrap();
    assert_eq!(cells, ["1", "张三"]);
}

#[test]
fn a_result_has_a_column_for_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.jsonl");
    std::fs::write(&path, "{\"phone\":1}\n{\"b\":[1, 2],\"phone\":2}\n{\"c\":\"x\\\"\",\"a\":null}\n")
        .unwrap();
    let mut lines = JsonLines::with_every_key(Feed::open(&path, None).unwrap(), &spec()).unwrap();
    assert_eq!(lines.columns(), ["phone", "b", "c", "a"]);
    let mut rows = Vec::new();
    while lines.row().unwrap().is_some() {
        let mut cells = Vec::new();
        lines.cells(&mut |cell| cells.push(cell.to_owned())).unwrap();
        rows.push(cells);
    }
    assert_eq!(rows, [["1", "", "", ""], ["2", "[1, 2]", "", ""], ["", "", "x\"", ""]]);
}

proptest! {
    #[test]
    fn what_was_written_is_read(cells in prop::collection::vec(".{0,12}", 1..10), pretty in any::<bool>()) {
        let line = |cell: &String| {
            let object = serde_json::json!({ "a": [cell], "phone": cell, "b": 1 });
            format!("{}{object}{}", if pretty { "  " } else { "" }, if pretty { " \r\n" } else { "\n" })
        };
        prop_assume!(!cells.iter().any(|cell| cell.contains('\0')));
        let text: String = cells.iter().map(line).collect();
        let read: Vec<_> = wanted_by(&text, &["phone"]).unwrap().into_iter().map(|(_, cell)| cell).collect();
        prop_assert_eq!(read, cells);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(text in "[{}\\[\\]:,\"a1\n \\\\]{0,40}") {
        let _ = wanted_by(&format!("{{\"phone\":1}}\n{text}"), &["phone"]);
    }
}
