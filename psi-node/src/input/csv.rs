//! Comma-separated values: RFC 4180, UTF-8 with or without a byte order mark, LF or CRLF, a heading.
//!
//! Rows are found first and looked into second: the scanner knows only quotes and line ends, so that a quote that
//! never closes, a lone carriage return or a row of a gigabyte is seen where it stands. What RFC 4180 leaves open: a
//! quote inside an unquoted cell is content; blank lines are skipped.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use memchr::{memchr, memchr2};
use zeroize::Zeroizing;

use super::{Cell, Cells, Feed, InputError, Place, Row, RowFault, Source, Spec};

const BLOCK: usize = 256 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A CSV file.
pub(super) struct Csv {
    feed: Feed,
    max_row_bytes: usize,
    /// Bytes `unread` of it are still to be scanned.
    buffer: Zeroizing<Vec<u8>>,
    unread: Range<usize>,
    at_end: bool,
    /// The row returned last.
    current: Range<usize>,
    /// Where the next row starts.
    line: u64,
    ordinal: u32,
    columns: Vec<String>,
    /// Each wanted column with its place in `cells`, from left to right.
    wanted: Vec<Wanted>,
    /// The wanted cells of the row returned last.
    cells: Vec<Cell>,
}

struct Wanted {
    column: usize,
    place: usize,
}

impl Csv {
    /// Reads up to the heading.
    pub(super) fn new(feed: Feed, spec: &Spec) -> Result<Self, InputError> {
        let mut csv = Self {
            feed,
            max_row_bytes: spec.max_row_bytes,
            buffer: Zeroizing::new(vec![0; BLOCK]),
            unread: 0..0,
            at_end: false,
            current: 0..0,
            line: 1,
            ordinal: 0,
            columns: Vec::new(),
            wanted: Vec::new(),
            cells: spec.columns.iter().map(|_| Cell::Plain(0..0)).collect(),
        };
        csv.skip_preamble()?;
        if csv.next_row()?.is_none() {
            return Err(InputError::Empty { path: spec.path.clone() });
        }
        csv.columns = Split::of(csv.current()).map(|cell| unquoted(cell).into_owned()).collect();
        csv.wanted = wanted(&csv.columns, spec)?;
        Ok(csv)
    }

    fn skip_preamble(&mut self) -> Result<(), InputError> {
        while self.unread.len() < 64 && !self.at_end {
            self.refill()?;
        }
        let start = &self.buffer[..self.unread.end.min(64)];
        if is_utf16(start) {
            return Err(InputError::Utf16 { path: self.feed.path.clone() });
        }
        if start.starts_with(BYTE_ORDER_MARK) {
            self.unread.start = BYTE_ORDER_MARK.len();
        }
        Ok(())
    }

    /// Makes the next row that isn't blank the current one and returns its line.
    fn next_row(&mut self) -> Result<Option<u64>, InputError> {
        loop {
            let window = &self.buffer[self.unread.clone()];
            match scan(window, self.at_end) {
                Scan::Row { content, taken, lines } => {
                    let line = self.line;
                    self.current = self.unread.start..self.unread.start + content;
                    self.check()?;
                    self.unread.start += taken;
                    self.line += lines;
                    if content > 0 {
                        return Ok(Some(line));
                    }
                }
                Scan::Fault { offset, fault } => return Err(fault.at(self.place(window, offset))),
                Scan::Partial { open } if window.len() > self.max_row_bytes => {
                    return Err(self.too_long(open));
                }
                Scan::Partial { .. } => self.refill()?,
                Scan::End => return Ok(None),
            }
        }
    }

    /// The current row is UTF-8 without zero bytes and within the limit.
    fn check(&self) -> Result<(), InputError> {
        let row = &self.buffer[self.current.clone()];
        if row.len() > self.max_row_bytes {
            return Err(InputError::RowTooLong { at: self.place(row, 0), limit: self.max_row_bytes });
        }
        if let Some(offset) = memchr(0, row) {
            return Err(InputError::Nul { at: self.place(row, offset) });
        }
        match std::str::from_utf8(row) {
            Ok(_) => Ok(()),
            Err(error) => Err(InputError::NotUtf8 { at: self.place(row, error.valid_up_to()) }),
        }
    }

    fn too_long(&self, open: Option<usize>) -> InputError {
        let window = &self.buffer[self.unread.clone()];
        match (open, memchr(b'\r', window)) {
            (Some(offset), _) => InputError::UnclosedQuote { at: self.place(window, offset) },
            (None, Some(offset)) => InputError::LoneCarriageReturn { at: self.place(window, offset) },
            (None, None) => InputError::RowTooLong { at: self.place(window, 0), limit: self.max_row_bytes },
        }
    }

    /// Moves what is unread to the front and reads more; the buffer doubles only for a row that fills it.
    fn refill(&mut self) -> Result<(), InputError> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        if self.unread.end == self.buffer.len() {
            let doubled = self.buffer.len() * 2;
            self.buffer.resize(doubled, 0);
        }
        let read = self.feed.read(&mut self.buffer[self.unread.end..])?;
        self.unread.end += read;
        self.at_end = read == 0;
        Ok(())
    }

    fn current(&self) -> &str {
        text(&self.buffer[self.current.clone()])
    }

    /// Notes where the wanted cells of the current row are, and counts all.
    fn find_wanted(&mut self) -> usize {
        let row = text(&self.buffer[self.current.clone()]);
        let (mut wanted, mut from, mut got) = (self.wanted.iter().peekable(), 0, 0);
        for cell in Split::of(row) {
            while let Some(found) = wanted.next_if(|wanted| wanted.column == got) {
                self.cells[found.place] = placed(cell, from);
            }
            from += cell.len() + 1;
            got += 1;
        }
        got
    }

    /// The place of a byte, given the bytes from the start of the row on. A byte order mark doesn't count.
    fn place(&self, row: &[u8], offset: usize) -> Place {
        let before = &row[..offset];
        let lines = memchr::memchr_iter(b'\n', before).count() as u64;
        let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        Place { path: self.feed.path.clone(), line: self.line + lines, column: (offset - start + 1) as u64 }
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
        let cells = Cells { text: self.current(), cells: &self.cells };
        let cells = if got == expected { Ok(cells) } else { Err(RowFault::Ragged { got, expected }) };
        Ok(Some(Row { ordinal, line, cells }))
    }

    fn cells(&self, visit: &mut dyn FnMut(&str)) {
        Split::of(self.current()).for_each(|cell| visit(&unquoted(cell)));
    }

    fn finish(self: Box<Self>) -> Result<(), InputError> {
        self.feed.finish()
    }
}

/// What stands at the start of the unread bytes.
#[derive(Debug, PartialEq, Eq)]
enum Scan {
    /// A row of `content` bytes; with its line end it takes `taken` bytes and `lines` lines.
    Row { content: usize, taken: usize, lines: u64 },
    /// The start of a row, with the place of a quote that is still open.
    Partial { open: Option<usize> },
    /// No row can start like this.
    Fault { offset: usize, fault: Fault },
    /// Nothing.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LoneCarriageReturn,
    UnclosedQuote,
    StrayQuote,
}

impl Fault {
    fn at(self, at: Place) -> InputError {
        match self {
            Fault::LoneCarriageReturn => InputError::LoneCarriageReturn { at },
            Fault::UnclosedQuote => InputError::UnclosedQuote { at },
            Fault::StrayQuote => InputError::StrayQuote { at },
        }
    }
}

fn scan(window: &[u8], at_end: bool) -> Scan {
    match memchr2(b'\n', b'"', window) {
        Some(end) if window[end] == b'\n' => plain(window, end, end + 1),
        Some(_) => quoted(window, at_end),
        None if !at_end => Scan::Partial { open: None },
        None if window.is_empty() => Scan::End,
        None => plain(window, window.len(), window.len()),
    }
}

/// A row without quotes that ends before `end`.
fn plain(window: &[u8], end: usize, taken: usize) -> Scan {
    let content = if taken > end { without_carriage_return(window, end) } else { end };
    match memchr(b'\r', &window[..content]) {
        Some(offset) => Scan::Fault { offset, fault: Fault::LoneCarriageReturn },
        None => Scan::Row { content, taken, lines: 1 },
    }
}

fn without_carriage_return(window: &[u8], end: usize) -> usize {
    if end > 0 && window[end - 1] == b'\r' { end - 1 } else { end }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    CellStart,
    Bare,
    Inside,
    AfterQuote,
}

/// A row with quotes in it, byte by byte.
fn quoted(window: &[u8], at_end: bool) -> Scan {
    let (mut at, mut open, mut lines) = (At::CellStart, 0, 1);
    for (offset, byte) in window.iter().enumerate() {
        at = match (at, byte) {
            (At::Inside, b'"') => At::AfterQuote,
            (At::Inside, b'\n') => {
                lines += 1;
                At::Inside
            }
            (At::Inside, _) | (At::AfterQuote, b'"') => At::Inside,
            (At::CellStart, b'"') => {
                open = offset;
                At::Inside
            }
            (_, b',') => At::CellStart,
            (_, b'\n') => {
                return Scan::Row {
                    content: without_carriage_return(window, offset),
                    taken: offset + 1,
                    lines,
                };
            }
            (_, b'\r') if window.get(offset + 1) == Some(&b'\n') => at,
            (_, b'\r') if offset + 1 == window.len() && !at_end => return Scan::Partial { open: None },
            (_, b'\r') => return Scan::Fault { offset, fault: Fault::LoneCarriageReturn },
            (At::AfterQuote, _) => return Scan::Fault { offset, fault: Fault::StrayQuote },
            (At::CellStart | At::Bare, _) => At::Bare,
        };
    }
    match (at_end, at) {
        (false, at) => Scan::Partial { open: (at == At::Inside).then_some(open) },
        (true, At::Inside) => Scan::Fault { offset: open, fault: Fault::UnclosedQuote },
        (true, _) => Scan::Row { content: window.len(), taken: window.len(), lines },
    }
}

/// A row that was checked when it became the current one.
fn text(row: &[u8]) -> &str {
    std::str::from_utf8(row).expect("a row is checked when it becomes current")
}

/// The cells of a row that was scanned, with their quotes.
struct Split<'a> {
    rest: Option<&'a str>,
}

impl<'a> Split<'a> {
    fn of(row: &'a str) -> Self {
        Self { rest: Some(row) }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.take()?;
        let quoted = if rest.starts_with('"') { closing_quote(rest) } else { 0 };
        let Some(comma) = memchr(b',', &rest.as_bytes()[quoted..]) else { return Some(rest) };
        let (cell, after) = rest.split_at(quoted + comma);
        self.rest = Some(&after[1..]);
        Some(cell)
    }
}

/// The end of a quoted cell: behind the first quote that no other follows.
fn closing_quote(cell: &str) -> usize {
    let bytes = cell.as_bytes();
    let mut from = 1;
    while let Some(quote) = memchr(b'"', &bytes[from..]) {
        from += quote + 1;
        if bytes.get(from) != Some(&b'"') {
            return from;
        }
        from += 1;
    }
    bytes.len()
}

/// Where the content of a cell is that starts at `from`.
fn placed(cell: &str, from: usize) -> Cell {
    let whole = from..from + cell.len();
    match cell.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        Some(inner) if inner.contains('"') => Cell::Doubled(whole.start + 1..whole.end - 1),
        Some(_) => Cell::Plain(whole.start + 1..whole.end - 1),
        None => Cell::Plain(whole),
    }
}

/// The content of a cell.
fn unquoted(cell: &str) -> Cow<'_, str> {
    match cell.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        Some(inner) if inner.contains('"') => inner.replace("\"\"", "\"").into(),
        Some(inner) => inner.into(),
        None => cell.into(),
    }
}

/// By its byte order mark, or by zeros in at least every fourth byte.
fn is_utf16(start: &[u8]) -> bool {
    let marked = start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff");
    marked || start.len() >= 4 && start.iter().filter(|byte| **byte == 0).count() * 4 >= start.len()
}

/// The columns that the spec asks for, from left to right.
fn wanted(columns: &[String], spec: &Spec) -> Result<Vec<Wanted>, InputError> {
    let found =
        spec.columns.iter().enumerate().map(|(place, asked)| {
            find(columns, asked.trim(), &spec.path).map(|column| Wanted { column, place })
        });
    let mut wanted = found.collect::<Result<Vec<_>, _>>()?;
    wanted.sort_by_key(|wanted| wanted.column);
    Ok(wanted)
}

/// The index of a column.
fn find(columns: &[String], asked: &str, path: &Path) -> Result<usize, InputError> {
    let mut found =
        columns.iter().enumerate().filter(|(_, name)| name.trim() == asked).map(|(index, _)| index);
    let (path, column) = (path.to_owned(), asked.to_owned());
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (Some(first), Some(second)) => {
            Err(InputError::DoubledColumn { path, column, first: first + 1, second: second + 1 })
        }
        (None, _) => Err(InputError::MissingColumn { path, column, hint: hint(columns, asked) }),
    }
}

/// A name that was probably meant, or how many there are. No other name is shown: in a file without a heading the first
/// row stands in their place.
fn hint(columns: &[String], asked: &str) -> String {
    let near = |name: &&str| strsim::levenshtein(name, asked) <= asked.chars().count().div_ceil(3);
    let meant = columns
        .iter()
        .map(|name| name.trim())
        .filter(near)
        .min_by_key(|name| strsim::levenshtein(name, asked));
    match meant {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("the first line has {} columns, none of a similar name", columns.len()),
    }
}

#[cfg(test)]
mod tests;
