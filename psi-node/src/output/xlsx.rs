//! Office Open XML workbooks (ECMA-376), as far as a table of text needs them.
//!
//! Every cell is an inline string in the number format "text": 18 digits and leading zeros stay what they are, and nothing is
//! a formula, not even after somebody has edited the cell. Rows go straight into the compressed file, so memory stays flat
//! however many there are; a sheet that is full is followed by another one with the same heading. Nothing in the file depends
//! on the time or the machine: the same rows give the same bytes.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufWriter, Write},
};

use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use super::Sink;

/// The most columns that a sheet has.
pub(super) const MAX_COLUMNS: usize = 16_384;
/// The most UTF-16 units that a cell holds.
pub(super) const MAX_CELL: usize = 32_767;

/// The most rows that a sheet has, with the heading.
const MAX_ROWS: u32 = 1_048_576;
/// Bytes of XML after which a sheet counts as full: entries of 4 GiB need extensions that Excel complains of.
const MAX_BYTES: u64 = 3 << 30;

const XML: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const TYPES: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";

/// Style 1 is text, style 2 is bold text.
const STYLES: &str = r#"<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders><cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/><xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="49" fontId="1" fillId="0" borderId="0" xfId="0" applyNumberFormat="1" applyFont="1"/></cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>"#;
const TEXT: u8 = 1;
const BOLD: u8 = 2;

/// A workbook in the making.
pub(super) struct Xlsx {
    zip: ZipWriter<BufWriter<File>>,
    /// Of the sheets.
    title: &'static str,
    names: Vec<String>,
    /// A, B, .., one a column.
    letters: Vec<String>,
    limits: Limits,
    sheets: u32,
    /// Of the sheet that is being written.
    rows: u32,
    bytes: u64,
    xml: String,
}

/// When a sheet is full.
#[derive(Clone, Copy)]
struct Limits {
    rows: u32,
    bytes: u64,
}

impl Xlsx {
    pub(super) fn new(file: File, names: &[String], title: &'static str) -> io::Result<Self> {
        Self::with_limits(file, names, title, Limits { rows: MAX_ROWS, bytes: MAX_BYTES })
    }

    fn with_limits(file: File, names: &[String], title: &'static str, limits: Limits) -> io::Result<Self> {
        let mut workbook = Self {
            zip: ZipWriter::new(BufWriter::with_capacity(256 * 1024, file)),
            title,
            names: names.to_vec(),
            letters: (0..names.len()).map(letters).collect(),
            limits,
            sheets: 0,
            rows: 0,
            bytes: 0,
            xml: String::new(),
        };
        // Programs that look at a file's start know a workbook by these names.
        workbook.part("_rels/.rels", &relationships([("officeDocument", "xl/workbook.xml".to_owned())]))?;
        workbook
            .part("xl/styles.xml", &format!(r#"{XML}<styleSheet xmlns="{MAIN}">{STYLES}</styleSheet>"#))?;
        workbook.open_sheet()?;
        Ok(workbook)
    }

    fn part(&mut self, name: &str, content: &str) -> io::Result<()> {
        // The default is a fixed date; named here, it stays one if the library learns of clocks.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            // A fifth larger than the default, in a third of the time.
            .compression_level(Some(2))
            .last_modified_time(DateTime::default());
        self.zip.start_file(name, options)?;
        self.zip.write_all(content.as_bytes())
    }

    fn open_sheet(&mut self) -> io::Result<()> {
        (self.sheets, self.rows, self.bytes) = (self.sheets + 1, 0, 0);
        let columns = match self.names.len() {
            0 => String::new(),
            count => format!(
                r#"<cols><col min="1" max="{count}" width="18" style="{TEXT}" customWidth="1"/></cols>"#
            ),
        };
        let head = format!(
            r#"{XML}<worksheet xmlns="{MAIN}"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetFormatPr defaultRowHeight="15"/>{columns}<sheetData>"#
        );
        self.part(&format!("xl/worksheets/sheet{}.xml", self.sheets), &head)?;
        let names = std::mem::take(&mut self.names);
        let heading = self.write(&mut names.iter().map(String::as_str), BOLD);
        self.names = names;
        heading
    }

    /// Ends the sheet; digits that are text get no warning sign in Excel.
    fn close_sheet(&mut self) -> io::Result<()> {
        let all = format!("A1:{}{}", self.letters.last().map_or("A", String::as_str), self.rows);
        let ignored =
            format!(r#"<ignoredErrors><ignoredError sqref="{all}" numberStoredAsText="1"/></ignoredErrors>"#);
        self.zip.write_all(format!("</sheetData>{ignored}</worksheet>").as_bytes())
    }

    fn write(&mut self, cells: &mut dyn Iterator<Item = &str>, style: u8) -> io::Result<()> {
        self.rows += 1;
        self.xml.clear();
        let number = self.rows;
        // Writing to a string can't fail.
        let _ = write!(self.xml, r#"<row r="{number}">"#);
        for (letters, cell) in self.letters.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
            if is_too_long(cell) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a cell is too long for a sheet"));
            }
            let _ = write!(self.xml, r#"<c r="{letters}{number}" s="{style}" t="inlineStr">"#);
            self.xml.push_str(r#"<is><t xml:space="preserve">"#);
            push_text(&mut self.xml, cell);
            self.xml.push_str("</t></is></c>");
        }
        self.xml.push_str("</row>");
        self.bytes += self.xml.len() as u64;
        self.zip.write_all(self.xml.as_bytes())
    }

    fn is_full(&self) -> bool {
        self.rows >= self.limits.rows || self.bytes >= self.limits.bytes
    }

    fn title(&self, number: u32) -> String {
        if number == 1 { self.title.to_owned() } else { format!("{} {number}", self.title) }
    }

    /// What names the sheets, once it is known how many there are.
    fn close_workbook(&mut self) -> io::Result<()> {
        let sheets = |entry: &dyn Fn(u32) -> String| (1..=self.sheets).map(entry).collect::<String>();
        let listed = sheets(&|number| {
            format!(r#"<sheet name="{}" sheetId="{number}" r:id="rId{number}"/>"#, self.title(number))
        });
        let typed = sheets(&|number| {
            format!(
                r#"<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{TYPES}.worksheet+xml"/>"#
            )
        });
        let related = (1..=self.sheets).map(|number| ("worksheet", format!("worksheets/sheet{number}.xml")));
        let related = relationships(related.chain([("styles", "styles.xml".to_owned())]));
        self.part(
            "xl/workbook.xml",
            &format!(
                r#"{XML}<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>{listed}</sheets></workbook>"#
            ),
        )?;
        self.part("xl/_rels/workbook.xml.rels", &related)?;
        self.part(
            "[Content_Types].xml",
            &format!(
                r#"{XML}<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="{TYPES}.sheet.main+xml"/><Override PartName="/xl/styles.xml" ContentType="{TYPES}.styles+xml"/>{typed}</Types>"#
            ),
        )
    }
}

impl Sink for Xlsx {
    fn row(&mut self, cells: &mut dyn Iterator<Item = &str>) -> io::Result<()> {
        if self.is_full() {
            self.close_sheet()?;
            self.open_sheet()?;
        }
        self.write(cells, TEXT)
    }

    fn finish(mut self: Box<Self>) -> io::Result<File> {
        self.close_sheet()?;
        self.close_workbook()?;
        self.zip.finish()?.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The relationships of a part, `rId1` and so on.
fn relationships(targets: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let entries: String = targets
        .into_iter()
        .zip(1..)
        .map(|((kind, target), number)| {
            format!(r#"<Relationship Id="rId{number}" Type="{RELATIONS}/{kind}" Target="{target}"/>"#)
        })
        .collect();
    format!(r#"{XML}<Relationships xmlns="{PACKAGE}/relationships">{entries}</Relationships>"#)
}

/// Whether a sheet has no room for the cell.
pub(super) fn is_too_long(cell: &str) -> bool {
    cell.len() > MAX_CELL && cell.encode_utf16().count() > MAX_CELL
}

/// As much of a cell that is too long as a sheet has room for.
pub(super) fn cut(cell: &str) -> String {
    let mut units = 1;
    let fits = |c: &char| {
        units += c.len_utf16();
        units <= MAX_CELL
    };
    cell.chars().take_while(fits).chain(['…']).collect()
}

/// A to Z, then AA.
fn letters(index: usize) -> String {
    let letter = char::from(b'A' + (index % 26) as u8);
    match index / 26 {
        0 => letter.into(),
        before => format!("{}{letter}", letters(before - 1)),
    }
}

/// Text as XML holds it. What XML or its readers would change is written `_xHHHH_` (ECMA-376 part 1, 22.9.2.19), and so is
/// the start of what looks like that already.
fn push_text(xml: &mut String, text: &str) {
    for (at, c) in text.char_indices() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '\n' | '\t' => xml.push(c),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(xml, "_x{:04X}_", u32::from(c));
            }
            '_' if is_escape(&text.as_bytes()[at..]) => xml.push_str("_x005F_"),
            _ => xml.push(c),
        }
    }
}

fn is_escape(text: &[u8]) -> bool {
    matches!(text, [b'_', b'x', digits @ .., ] if digits.len() > 4 && digits[..4].iter().all(u8::is_ascii_hexdigit) && digits[4] == b'_')
}

#[cfg(test)]
mod tests;
