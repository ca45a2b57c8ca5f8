//! Separated values: RFC 4180 with any delimiter, LF or CRLF, a heading.
//!
//! Rows are found first and looked into second: the scanner knows only quotes and line ends, so that a quote that
//! never closes, a lone carriage return or a row of a gigabyte is seen where it stands. What RFC 4180 leaves open: a
//! quote inside an unquoted cell is content; blank lines are skipped.

mod scan;
mod sniff;

use std::borrow::Cow;

use memchr::memchr;

use super::columns::{Wanted, wanted};
use super::feed::Feed;
use super::text::{Text, valid};
use super::{Cell, Cells, Delimiter, Format, InputError, Row, RowFault, Source, Spec};
use scan::{Scan, scan};

/// A CSV file.
pub(super) struct Csv {
    text: Text,
    delimiter: u8,
    ordinal: u32,
    columns: Vec<String>,
    /// From left to right.
    wanted: Vec<Wanted>,
    /// The wanted cells of the row returned last.
    cells: Vec<Cell>,
}

impl Csv {
    /// Reads up to the heading.
    pub(super) fn new(feed: Feed, spec: &Spec) -> Result<Self, InputError> {
        let mut text = Text::new(feed, spec)?;
        let delimiter = match (spec.delimiter, spec.format) {
            (Some(given), _) => given,
            (None, Format::Tsv) => Delimiter::TAB,
            (None, _) => sniff::delimiter(&mut text, &spec.columns)?,
        };
        let (delimiter, cells) = (delimiter.byte(), spec.columns.iter().map(|_| Cell::Plain(0..0)).collect());
        let mut csv = Self { text, delimiter, ordinal: 0, columns: Vec::new(), wanted: Vec::new(), cells };
        if csv.next_row()?.is_none() {
            return Err(InputError::Empty { path: spec.path.clone() });
        }
        csv.columns = csv.split().map(|cell| unquoted(cell).into_owned()).collect();
        csv.wanted = wanted(&csv.columns, &spec.columns, &spec.path)?;
        Ok(csv)
    }

    /// Takes the next row that isn't blank and returns its line.
    fn next_row(&mut self) -> Result<Option<u64>, InputError> {
        loop {
            match scan(self.text.window(), self.text.at_end(), self.delimiter) {
                Scan::Row { content, taken, lines } => {
                    let line = self.text.take(content, taken, lines)?;
                    if content > 0 {
                        return Ok(Some(line));
                    }
                }
                Scan::Fault { offset, fault } => return Err(fault.at(self.text.place(offset))),
                Scan::Partial { open } if self.text.is_too_long() => return Err(self.too_long(open)),
                Scan::Partial { .. } => self.text.refill()?,
                Scan::End => return Ok(None),
            }
        }
    }

    fn too_long(&self, open: Option<usize>) -> InputError {
        match (open, memchr(b'\r', self.text.window())) {
            (Some(offset), _) => InputError::UnclosedQuote { at: self.text.place(offset) },
            (None, Some(offset)) => InputError::LoneCarriageReturn { at: self.text.place(offset) },
            (None, None) => self.text.too_long(),
        }
    }

    fn split(&self) -> Split<'_> {
        Split { rest: Some(self.text.row()), delimiter: self.delimiter }
    }

    /// Notes where the wanted cells of the row are, and counts all.
    fn find_wanted(&mut self) -> usize {
        let split = Split { rest: Some(self.text.row()), delimiter: self.delimiter };
        let (mut wanted, mut from, mut got) = (self.wanted.iter().peekable(), 0, 0);
        for cell in split {
            while let Some(found) = wanted.next_if(|wanted| wanted.column == got) {
                self.cells[found.place] = placed(cell, from);
            }
            from += cell.len() + 1;
            got += 1;
        }
        got
    }
}

impl Source for Csv {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn row(&mut self) -> Result<Option<Row<'_>>, InputError> {
        let Some(line) = self.next_row()? else { return Ok(None) };
        let ordinal = self.ordinal;
        self.ordinal = ordinal.saturating_add(1);
        let (got, expected) = (self.find_wanted(), self.columns.len());
        let cells = Cells { text: self.text.row(), cells: &self.cells };
        let cells = if got == expected { Ok(cells) } else { Err(RowFault::Ragged { got, expected }) };
        Ok(Some(Row { ordinal, line, cells }))
    }

    fn cells(&mut self, visit: &mut dyn FnMut(&str)) -> Result<(), InputError> {
        self.split().for_each(|cell| visit(&unquoted(cell)));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), InputError> {
        self.text.finish()
    }
}

/// The cells of a row that was scanned, with their quotes.
struct Split<'a> {
    rest: Option<&'a [u8]>,
    delimiter: u8,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let quoted = if rest.starts_with(b"\"") { closing_quote(rest) } else { 0 };
        let Some(end) = memchr(self.delimiter, &rest[quoted..]) else { return Some(rest) };
        let (cell, after) = rest.split_at(quoted + end);
        self.rest = Some(&after[1..]);
        Some(cell)
    }
}

/// The end of a quoted cell: behind the first quote that no other follows.
fn closing_quote(cell: &[u8]) -> usize {
    let mut from = 1;
    while let Some(quote) = memchr(b'"', &cell[from..]) {
        from += quote + 1;
        if cell.get(from) != Some(&b'"') {
            return from;
        }
        from += 1;
    }
    cell.len()
}

fn between_quotes(cell: &[u8]) -> Option<&[u8]> {
    cell.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""))
}

/// Where the content of a cell is that starts at `from`.
fn placed(cell: &[u8], from: usize) -> Cell {
    let whole = from..from + cell.len();
    match between_quotes(cell) {
        Some(inner) if inner.contains(&b'"') => Cell::Doubled(whole.start + 1..whole.end - 1),
        Some(_) => Cell::Plain(whole.start + 1..whole.end - 1),
        None => Cell::Plain(whole),
    }
}

/// The content of a cell.
fn unquoted(cell: &[u8]) -> Cow<'_, str> {
    match between_quotes(cell) {
        Some(inner) if inner.contains(&b'"') => valid(inner).replace("\"\"", "\"").into(),
        Some(inner) => valid(inner).into(),
        None => valid(cell).into(),
    }
}

#[cfg(test)]
mod tests;
