use std::io::Read;

use super::*;

const LIMITS: Limits = Limits { rows: MAX_ROWS, bytes: MAX_BYTES };

fn written(names: &[&str], rows: &[&[&str]], limits: Limits) -> zip::ZipArchive<File> {
    let file = tempfile::tempfile().unwrap();
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut workbook = Xlsx::with_limits(file, &names, "matches", limits).unwrap();
    rows.iter().for_each(|row| workbook.row(&mut row.iter().copied()).unwrap());
    zip::ZipArchive::new(Box::new(workbook).finish().unwrap()).unwrap()
}

fn part(workbook: &mut zip::ZipArchive<File>, name: &str) -> String {
    let mut text = String::new();
    workbook.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// What stands between `<sheetData>` and its end.
fn rows(workbook: &mut zip::ZipArchive<File>, sheet: u32) -> String {
    let xml = part(workbook, &format!("xl/worksheets/sheet{sheet}.xml"));
    xml.split_once("<sheetData>").unwrap().1.split_once("</sheetData>").unwrap().0.to_owned()
}

fn cell(at: &str, style: u8, text: &str) -> String {
    format!(r#"<c r="{at}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>"#)
}

#[test]
fn cells_are_text_whatever_they_look_like_and_empty_ones_are_left_out() {
    let mut workbook = written(&["手机", "x"], &[&["110105194912310021", "=1+1"], &["", " 007"]], LIMITS);
    let expected = [
        r#"<row r="1">"#,
        &cell("A1", BOLD, "手机"),
        &cell("B1", BOLD, "x"),
        r#"</row><row r="2">"#,
        &cell("A2", TEXT, "110105194912310021"),
        &cell("B2", TEXT, "=1+1"),
        r#"</row><row r="3">"#,
        &cell("B3", TEXT, " 007"),
        "</row>",
    ];
    assert_eq!(rows(&mut workbook, 1), expected.concat());
    assert!(part(&mut workbook, "xl/styles.xml").matches(r#"numFmtId="49""#).count() == 2);
}

#[test]
fn what_xml_would_change_is_written_as_an_escape() {
    let mut xml = String::new();
    push_text(&mut xml, "a<b>&\r\n\t\u{0}\u{1}\u{85}\u{ffff}_x0041_ _x41_ _x00zz_ __x0041_");
    assert_eq!(
        xml,
        "a&lt;b&gt;&amp;_x000D_\n\t_x0000__x0001__x0085__xFFFF__x005F_x0041_ _x41_ _x00zz_ __x005F_x0041_"
    );
}

#[test]
fn another_reader_finds_the_same_text() {
    use calamine::{Data, Reader, Xlsx as Book};
    let file = tempfile::NamedTempFile::new().unwrap();
    let names = ["手机".to_owned(), "x".to_owned()];
    let mut workbook = Xlsx::new(file.reopen().unwrap(), &names, "matches").unwrap();
    let cells = ["110105194912310021", "=1+1", " a\tb\n<&>\"'", "007", "\u{feff}﷽ 1.0 "];
    cells.iter().for_each(|cell| workbook.row(&mut [*cell, ""].into_iter()).unwrap());
    Box::new(workbook).finish().unwrap();
    let mut book: Book<_> = calamine::open_workbook(file.path()).unwrap();
    let sheet = book.worksheet_range("matches").unwrap();
    let read: Vec<&Data> = sheet.rows().skip(1).map(|row| &row[0]).collect();
    assert!(read.iter().zip(cells).all(|(read, cell)| **read == Data::String(cell.to_owned())), "{read:?}");
    assert_eq!(sheet.height(), cells.len() + 1);
}

#[test]
fn a_full_sheet_is_followed_by_another_with_the_same_heading() {
    let limits = [Limits { rows: 3, ..LIMITS }, Limits { bytes: 200, ..LIMITS }];
    for limits in limits {
        let mut workbook = written(&["n"], &[&["1"], &["2"], &["3"]], limits);
        assert_eq!(rows(&mut workbook, 1).matches("<row ").count(), 3);
        let second = [
            r#"<row r="1">"#,
            &cell("A1", BOLD, "n"),
            r#"</row><row r="2">"#,
            &cell("A2", TEXT, "3"),
            "</row>",
        ];
        assert_eq!(rows(&mut workbook, 2), second.concat());
        let book = part(&mut workbook, "xl/workbook.xml");
        assert!(book.contains(r#"name="matches""#) && book.contains(r#"name="matches 2""#), "{book}");
        for (name, count) in [("[Content_Types].xml", 2), ("xl/_rels/workbook.xml.rels", 2)] {
            assert_eq!(part(&mut workbook, name).matches("worksheets/sheet").count(), count);
        }
        assert!(workbook.by_name("xl/worksheets/sheet3.xml").is_err());
    }
}

#[test]
fn columns_are_lettered() {
    let cases = [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA"), (MAX_COLUMNS - 1, "XFD")];
    for (index, expected) in cases {
        assert_eq!(letters(index), expected);
    }
}

#[test]
fn no_part_has_a_time() {
    let mut workbook = written(&["n"], &[], LIMITS);
    for index in 0..workbook.len() {
        assert_eq!(workbook.by_index(index).unwrap().last_modified(), Some(DateTime::default()));
    }
}
