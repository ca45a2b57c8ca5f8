//! Comma-separated values: RFC 4180 with LF, UTF-8, a byte order mark on request; formulas defused.
//!
//! A cell that a spreadsheet would run (`formula.rs`) gets an apostrophe in front, which makes it text there. Every other cell
//! goes out as it came in, in quotes only where CSV needs them. Who needs the very bytes takes JSON Lines.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use super::{Sink, formula};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A CSV file in the making.
pub(super) struct Csv {
    out: BufWriter<File>,
    line: Vec<u8>,
}

impl Csv {
    /// Starts the file with the heading; the mark is for Excel, which else takes UTF-8 for the code page of its country.
    pub(super) fn new(file: File, names: &[String], byte_order_mark: bool) -> io::Result<Self> {
        let mut csv = Self { out: BufWriter::with_capacity(256 * 1024, file), line: Vec::new() };
        if byte_order_mark {
            csv.out.write_all(BYTE_ORDER_MARK)?;
        }
        csv.row(&mut names.iter().map(String::as_str))?;
        Ok(csv)
    }
}

impl Sink for Csv {
    fn row(&mut self, cells: &mut dyn Iterator<Item = &str>) -> io::Result<()> {
        self.line.clear();
        cells.for_each(|cell| push(&mut self.line, cell));
        self.line.pop();
        if self.line.is_empty() {
            // A line with nothing on it would read as blank, not as one empty cell.
            self.line.extend_from_slice(b"\"\"");
        }
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    fn finish(self: Box<Self>) -> io::Result<File> {
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The cell with a comma behind it. The one place where cells become CSV.
fn push(line: &mut Vec<u8>, cell: &str) {
    let apostrophe = if formula::is_formula(cell) { "'" } else { "" };
    if cell.contains([',', '"', '\n', '\r']) {
        line.push(b'"');
        line.extend_from_slice(apostrophe.as_bytes());
        line.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
        line.push(b'"');
    } else {
        line.extend_from_slice(apostrophe.as_bytes());
        line.extend_from_slice(cell.as_bytes());
    }
    line.push(b',');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(names: &[&str], rows: &[&[&str]], byte_order_mark: bool) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut csv = Csv::new(file.reopen().unwrap(), &names, byte_order_mark).unwrap();
        rows.iter().for_each(|row| csv.row(&mut row.iter().copied()).unwrap());
        Box::new(csv).finish().unwrap();
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn cells_are_quoted_only_where_it_is_needed() {
        let rows: &[&[&str]] = &[&["1", " 138 ", ""], &["a, \"b\"", "x\ny", "z\r"]];
        let expected = "no,phone,note\n1, 138 ,\n\"a, \"\"b\"\"\",\"x\ny\",\"z\r\"\n";
        assert_eq!(written(&["no", "phone", "note"], rows, false), expected);
    }

    #[test]
    fn a_lone_empty_cell_stays_a_row() {
        assert_eq!(written(&["a"], &[&[""]], false), "a\n\"\"\n");
    }

    #[test]
    fn formulas_are_defused_also_in_the_heading_and_inside_quotes() {
        let rows: &[&[&str]] = &[&["=1+1", "+86 139-1234-5678"], &["@a,b", "=\"x\""]];
        let expected = "'=phone,note\n'=1+1,+86 139-1234-5678\n\"'@a,b\",\"'=\"\"x\"\"\"\n";
        assert_eq!(written(&["=phone", "note"], rows, false), expected);
    }

    #[test]
    fn a_byte_order_mark_is_there_when_asked_for() {
        assert_eq!(written(&["手机"], &[], true), "\u{feff}手机\n");
    }
}
