//! Where a row of separated values ends: only quotes and line ends are known here.

use memchr::{memchr, memchr2};

use crate::input::{InputError, Place};

/// What stands at the start of the unread bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
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
pub(super) enum Fault {
    LoneCarriageReturn,
    UnclosedQuote,
    StrayQuote,
}

impl Fault {
    pub(super) fn at(self, at: Place) -> InputError {
        match self {
            Fault::LoneCarriageReturn => InputError::LoneCarriageReturn { at },
            Fault::UnclosedQuote => InputError::UnclosedQuote { at },
            Fault::StrayQuote => InputError::StrayQuote { at },
        }
    }
}

/// Looks for the row at the start of `window`.
pub(super) fn scan(window: &[u8], at_end: bool, delimiter: u8) -> Scan {
    match memchr2(b'\n', b'"', window) {
        Some(end) if window[end] == b'\n' => plain(window, end, end + 1),
        Some(_) => quoted(window, at_end, delimiter),
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
fn quoted(window: &[u8], at_end: bool, delimiter: u8) -> Scan {
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
            (_, byte) if *byte == delimiter => At::CellStart,
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
