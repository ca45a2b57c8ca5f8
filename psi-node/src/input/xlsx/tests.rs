use super::*;
use std::io::{Cursor, Write};
use std::path::Path;

use calamine::{Data, Reader as _};
use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const STRINGS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings";

fn spec() -> Spec {
    Spec::of("list.xlsx", vec!["phone".into()])
}

fn open(bytes: &[u8], spec: &Spec) -> Result<Xlsx, InputError> {
    Xlsx::new(Feed::of(Path::new("list.xlsx"), Cursor::new(bytes.to_vec())), spec)
}

/// The rows with their numbers, and the wanted cell or why there is none.
fn rows_by(bytes: &[u8], spec: &Spec) -> Result<Vec<(u64, Vec<String>, String)>, InputError> {
    let mut xlsx = open(bytes, spec)?;
    let mut rows = Vec::new();
    while let Some(row) = xlsx.row()? {
        let wanted = row.cells.and_then(|cells| if cells.is_empty() { Ok("".into()) } else { cells.get(0) });
        let (line, wanted) =
            (row.line, wanted.map_or_else(|fault| fault.reason().into(), |cell| cell.into_owned()));
        let mut cells = Vec::new();
        xlsx.cells(&mut |cell| cells.push(cell.to_owned())).unwrap();
        rows.push((line, cells, wanted));
    }
    Box::new(xlsx).finish()?;
    Ok(rows)
}

fn wanted_of(rows: &str) -> Vec<String> {
    let rows = rows_by(&sheet(rows), &spec()).unwrap();
    rows.into_iter().map(|(_, _, wanted)| wanted).collect()
}

fn fails(bytes: &[u8], expected: &str) {
    assert_eq!(rows_by(bytes, &spec()).unwrap_err().to_string(), format!("list.xlsx: {expected}"));
}

/// A ZIP archive of these parts.
fn package(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

const WORKBOOK: &str =
    "<workbook><sheets><sheet name=\"List\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>";

fn relations() -> String {
    format!(
        "<Relationships><Relationship Id=\"rId1\" Type=\"http://x/worksheet\" Target=\"worksheets/sheet1.xml\"/>\
         <Relationship Id=\"rId2\" Type=\"{STRINGS}\" Target=\"/xl/sharedStrings.xml\"/>\
         <Relationship Id=\"rId3\" Type=\"http://x/styles\" Target=\"styles.xml\"/></Relationships>"
    )
}

/// A workbook with the heading `name, phone` in its one sheet, then these rows, then what follows them.
fn sheet_with(rows: &str, rest: &str) -> Vec<u8> {
    let heading = "<row r=\"1\"><c r=\"A1\" t=\"s\"><v>0</v></c><c r=\"B1\" t=\"s\"><v>1</v></c></row>";
    package(&[
        ("xl/workbook.xml", WORKBOOK),
        ("xl/_rels/workbook.xml.rels", &relations()),
        (
            "xl/sharedStrings.xml",
            "<sst><si><t>name</t></si><si><t>phone</t></si>\
             <si><r><t>张</t></r><r><t xml:space=\"preserve\"> 三</t></r><rPh sb=\"0\" eb=\"1\"><t>zhang</t></rPh></si>\
             <si><t>a&amp;b&#33;_x000D_&lt;_x0</t></si><si/></sst>",
        ),
        (
            "xl/styles.xml",
            "<styleSheet><numFmts><numFmt numFmtId=\"164\" formatCode=\"000000\"/>\
             <numFmt numFmtId=\"165\" formatCode=\"yyyy/m/d\"/></numFmts>\
             <cellStyleXfs><xf numFmtId=\"14\"/></cellStyleXfs>\
             <cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/><xf numFmtId=\"164\"/><xf numFmtId=\"165\"/></cellXfs></styleSheet>",
        ),
        (
            "xl/worksheets/sheet1.xml",
            &format!("<worksheet><sheetData>{heading}{rows}</sheetData>{rest}</worksheet>"),
        ),
    ])
}

fn sheet(rows: &str) -> Vec<u8> {
    sheet_with(rows, "")
}

#[test]
fn texts_of_every_kind_are_read() {
    let rows = "<row r=\"3\"><c r=\"A3\" t=\"s\"><v>2</v></c><c r=\"B3\" t=\"inlineStr\"><is><t>139</t></is></c></row>\
                <row><c t=\"str\"><f>B3</f><v>138</v></c><c t=\"s\"><v>3</v></c></row>\
                <row r=\"9\"><c r=\"B9\" t=\"s\"><v>4</v></c></row><row r=\"10\"/>\
                <row r=\"11\"><c r=\"B11\"><v>13912345678</v></c></row>";
    let read = rows_by(&sheet(rows), &spec()).unwrap();
    let row =
        |line, name: &str, phone: &str| (line, vec![name.to_owned(), phone.to_owned()], phone.to_owned());
    let expected = [row(3, "张 三", "139"), row(4, "138", "a&b!\r<_x0"), row(11, "", "13912345678")];
    assert_eq!(read, expected);
}

fn number(raw: &str, style: u8) -> String {
    wanted_of(&format!("<row r=\"2\"><c r=\"B2\" s=\"{style}\"><v>{raw}</v></c></row>")).remove(0)
}

#[test]
fn numbers_that_are_whole_stay_whole() {
    for (raw, cell) in [
        ("13912345678", "13912345678"),
        ("1.3912345678E10", "13912345678"),
        ("1.3912345678E+10", "13912345678"),
        ("13912345678.0", "13912345678"),
        ("999999999999999", "999999999999999"),
        ("-5", "-5"),
        ("1.5", "1.5"),
        ("0.1", "0.1"),
    ] {
        assert_eq!(number(raw, 0), cell, "{raw}");
    }
}

#[test]
fn numbers_of_more_than_fifteen_digits_are_damage() {
    for raw in [
        "1.1010519491231E+17",
        "110105194912310000",
        "6222020000000000000",
        "1000000000000000",
        "1e300",
        "inf",
    ] {
        assert_eq!(number(raw, 0), "rounded-number", "{raw}");
    }
}

#[test]
fn zeros_that_the_format_shows_are_kept() {
    assert_eq!([number("42", 2), number("1234567", 2), number("1.5", 2)], ["000042", "1234567", "1.5"]);
    let mut xlsx = open(
        &sheet("<row><c r=\"B2\" s=\"2\"><v>42</v></c></row><row><c r=\"B3\"><v>42</v></c></row>"),
        &spec(),
    )
    .unwrap();
    let text = psi_core::identifier::Rule::find("text/1").unwrap();
    let mut is_number = || xlsx.row().unwrap().unwrap().cells.unwrap().identifier(0, text).is_err();
    assert_eq!([is_number(), is_number()], [false, true]);
}

#[test]
fn what_is_no_identifier_is_named() {
    assert_eq!([number("45292", 1), number("45292", 3)], ["date", "date"]);
    let cell = |cell: &str| {
        rows_by(&sheet(&format!("<row r=\"2\"><c r=\"B2\" {cell}</c></row>")), &spec()).unwrap().remove(0)
    };
    let (_, shown, wanted) = cell("s=\"1\"><v>45292</v>");
    assert_eq!((shown[1].as_str(), wanted.as_str()), ("2024-01-01", "date"));
    let (_, shown, wanted) = cell("t=\"e\"><v>#N/A</v>");
    assert_eq!((shown[1].as_str(), wanted.as_str()), ("#N/A", "cell-error"));
    let (_, shown, wanted) = cell("t=\"b\"><v>1</v>");
    assert_eq!((shown[1].as_str(), wanted.as_str()), ("TRUE", "not-text"));
    assert_eq!(cell("t=\"d\"><v>2024-01-01</v>").2, "date");
    assert_eq!(cell("><f>A2&amp;\"1\"</f>").2, "no-value");
}

#[test]
fn rows_that_are_too_wide_are_ragged() {
    let wide = "<row r=\"2\"><c r=\"B2\"><v>1</v></c><c r=\"D2\"><v>2</v></c></row><row r=\"3\"><c r=\"B3\"><v>3</v></c><c r=\"C3\" s=\"1\"/></row>";
    assert_eq!(wanted_of(wide), ["ragged", "3"]);
}

#[test]
fn hidden_rows_are_refused_by_their_number() {
    let rows =
        "<row r=\"2\"><c r=\"B2\"><v>1</v></c></row><row r=\"3\" hidden=\"1\"><c r=\"B3\"><v>2</v></c></row>";
    fails(&sheet(rows), "row 3 of sheet \"List\" is hidden, by a filter for example");
    assert_eq!(
        wanted_of(
            "<row r=\"2\" hidden=\"1\"><c r=\"B2\" s=\"1\"/></row><row r=\"3\"><c r=\"B3\"><v>1</v></c></row>"
        ),
        ["1"]
    );
}

#[test]
fn merged_cells_are_refused_where_identifiers_are() {
    let rows = "<row r=\"2\"><c r=\"B2\"><v>1</v></c></row>";
    let merged = |range: &str| {
        sheet_with(rows, &format!("<mergeCells count=\"1\"><mergeCell ref=\"{range}\"/></mergeCells>"))
    };
    for range in ["B2:B5", "A2:B2", "A1:C3"] {
        fails(
            &merged(range),
            &format!("merged cells {range} of sheet \"List\" are in a column that is used"),
        );
    }
    for range in ["A2:A5", "B1:C1", "C1:D9"] {
        assert_eq!(rows_by(&merged(range), &spec()).unwrap().len(), 1, "{range}");
    }
}

#[test]
fn sheets_are_chosen_by_name_or_by_being_the_only_one() {
    let workbook = |states: [&str; 2]| {
        let sheet = |phone: &str| {
            format!(
                "<worksheet><sheetData><row><c t=\"str\"><v>phone</v></c></row><row><c><v>{phone}</v></c></row></sheetData></worksheet>"
            )
        };
        package(&[
            (
                "xl/workbook.xml",
                &format!(
                    "<workbook><sheets><sheet name=\"A\" r:id=\"a\" {}/><sheet name=\"名单\" r:id=\"b\" {}/></sheets></workbook>",
                    states[0], states[1]
                ),
            ),
            (
                "xl/_rels/workbook.xml.rels",
                "<Relationships><Relationship Id=\"a\" Type=\"x/worksheet\" Target=\"a.xml\"/>\
                 <Relationship Id=\"b\" Type=\"x/worksheet\" Target=\"B.xml\"/></Relationships>",
            ),
            ("xl/a.xml", &sheet("1")),
            ("xl/b.xml", &sheet("2")),
        ])
    };
    let named = |name: &str| Spec { sheet: Some(name.into()), ..spec() };
    let both = workbook(["", "state=\"visible\""]);
    assert_eq!(rows_by(&both, &named("名单")).unwrap()[0].2, "2");
    fails(&both, "several sheets, say which one: \"A\", \"名单\"");
    assert_eq!(rows_by(&workbook(["state=\"hidden\"", ""]), &spec()).unwrap()[0].2, "2");
    let missing = rows_by(&both, &named("B")).unwrap_err();
    assert_eq!(missing.to_string(), "list.xlsx: no sheet \"B\"; there are \"A\", \"名单\"");
    fails(&workbook(["state=\"hidden\"", "state=\"veryHidden\""]), "empty file");
}

#[test]
fn files_that_are_no_workbook_are_named() {
    fails(b"", "empty file");
    fails(b"phone\n13912345678\n", "expected xlsx, got no workbook");
    fails(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "expected xlsx, got an Excel workbook of before 2007, or one with a password",
    );
    fails(&package(&[("word/document.xml", "")]), "the part \"xl/workbook.xml\" is missing");
    let binary = "<Relationships><Relationship Id=\"r\" Type=\"x/officeDocument\" Target=\"xl/workbook.bin\"/></Relationships>";
    fails(
        &package(&[("_rels/.rels", binary)]),
        "expected xlsx, got a binary workbook (xlsb): save it as xlsx",
    );
    fails(
        &sheet("<row r=\"2\"><c r=\"B2\"><v>1</v></row>"),
        "the part \"xl/worksheets/sheet1.xml\" is damaged near byte 124",
    );
    fails(
        &sheet("<row r=\"2\"><c r=\"B2\" t=\"s\"><v>99</v></c></row>"),
        "the part \"xl/worksheets/sheet1.xml\" is damaged near byte 135",
    );
    fails(
        &sheet("<row r=\"2\"><c r=\"B2\" t=\"str\"><v>&secret;</v></c></row>"),
        "the part \"xl/worksheets/sheet1.xml\" is damaged near byte 135",
    );
    let missing = rows_by(&sheet(""), &Spec::of("list.xlsx", vec!["fone".into()])).unwrap_err();
    assert_eq!(missing.to_string(), "list.xlsx: no column \"fone\"; did you mean \"phone\"?");
}

/// Cut anywhere or with any byte changed, a workbook is refused or gives the same rows.
#[test]
fn damage_never_changes_a_row() {
    let rows: String =
        (2..40).map(|row| format!("<row r=\"{row}\"><c r=\"B{row}\"><v>139{row:08}</v></c></row>")).collect();
    let whole = sheet(&rows);
    let expected = rows_by(&whole, &spec()).unwrap();
    for cut in 0..whole.len() {
        assert!(rows_by(&whole[..cut], &spec()).is_err(), "cut at {cut}");
    }
    for place in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[place] ^= 4;
        assert!(rows_by(&flipped, &spec()).map_or(true, |rows| rows == expected), "byte {place}");
    }
}

#[test]
fn rows_are_bounded_inflated_as_well() {
    let cell = |text: &str| format!("<row r=\"2\"><c r=\"B2\" t=\"str\"><v>{text}</v></c></row>");
    let long = rows_by(&sheet(&cell(&"1".repeat(2 << 20))), &spec()).unwrap_err();
    assert_eq!(long.to_string(), "list.xlsx:2:1: row is too long: at most 1048576 bytes");
    let tight = Spec { max_row_bytes: 1 << 12, ..spec() };
    let bomb = rows_by(&sheet(&cell(&"1".repeat(1 << 20))), &tight).unwrap_err().to_string();
    assert!(bomb.contains("has a row that is too long, near byte"), "{bomb}");
}

/// Rows of a workbook as another library sees them.
fn by_calamine(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut workbook: calamine::Xlsx<_> =
        calamine::open_workbook_from_rs(Cursor::new(bytes.to_vec())).unwrap();
    let range = workbook.worksheet_range_at(0).unwrap().unwrap();
    let text = |cell: &Data| match cell {
        Data::Float(number) => number.to_string(),
        other => other.to_string(),
    };
    let rows = range.rows().skip(1).map(|row| row.iter().map(text).collect::<Vec<_>>());
    rows.filter(|row| row.iter().any(|cell| !cell.is_empty())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_equal_those_that_were_written_and_that_another_library_reads(
        rows in prop::collection::vec(("[a-z<&>\"' 张三é\n]{0,6}", 0u64..1_000_000_000_000_000), 1..20),
    ) {
        let mut workbook = rust_xlsxwriter::Workbook::new();
        let sheet = workbook.add_worksheet();
        sheet.write_row(0, 0, ["name", "phone"]).unwrap();
        for (index, (name, phone)) in rows.iter().enumerate() {
            sheet.write(index as u32 + 1, 0, name).unwrap();
            sheet.write(index as u32 + 1, 1, *phone as f64).unwrap();
        }
        let bytes = workbook.save_to_buffer().unwrap();
        let read: Vec<_> = rows_by(&bytes, &spec()).unwrap().into_iter().map(|(_, cells, _)| cells).collect();
        let written: Vec<_> = rows.iter().map(|(name, phone)| vec![name.clone(), phone.to_string()]).collect();
        prop_assert_eq!(&read, &written);
        prop_assert_eq!(read, by_calamine(&bytes));
    }
}
