//! Why a list can't be used, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use psi_core::identifier::BuildError;

use super::{Encoding, Format, Rejected};

/// Where in a file: line and column, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// From 1, with the heading.
    pub line: u64,
    /// From 1, in bytes of the line as UTF-8.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// Why a list can't be used. Has a place, never content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's fields are named after what its text says")]
pub enum InputError {
    /// There is no such file, or no right to read it.
    #[error("{}: can't be opened: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    /// A folder, pipe, socket or device.
    #[error("{}: expected a regular file, got a {kind}", path.display())]
    NotAFile { path: PathBuf, kind: &'static str },
    /// Reading failed on the way, or the sealed copy is damaged.
    #[error("{}: can't be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The sealed copy can't be written.
    #[error("{}: the sealed copy can't be written: {source}", path.display())]
    Copy { path: PathBuf, source: io::Error },
    /// A scratch file can't be written or read.
    #[error("{}: scratch file: {source}", path.display())]
    Scratch { path: PathBuf, source: io::Error },
    /// Size or time of the file differ before and after reading.
    #[error("{}: changed while it was read", path.display())]
    Changed { path: PathBuf },
    /// Not a byte in it.
    #[error("{}: empty file", path.display())]
    Empty { path: PathBuf },
    /// A heading, but no row.
    #[error("{}: no rows after the heading", path.display())]
    NoRows { path: PathBuf },
    /// Another format than the one named.
    #[error("{}: expected {asked}, got {got}", path.display())]
    OtherFormat { path: PathBuf, asked: Format, got: &'static str },
    /// A format that this program was built without.
    #[error(
        "{}: this program was built without {format}; to have it: cargo build --release --features {format} --bin psi",
        path.display()
    )]
    NotBuiltIn { path: PathBuf, format: Format },
    /// UTF-16 although another encoding is named.
    #[error("{}: encoded in UTF-16; if that is right, say so: encoding utf-16", path.display())]
    Utf16 { path: PathBuf },
    /// UTF-16 of which neither a byte order mark nor the first characters tell the byte order.
    #[error("{}: no byte order mark, and the first characters don't tell whether it is utf-16", path.display())]
    NoByteOrder { path: PathBuf },
    /// UTF-8 although another encoding is named.
    #[error("{}: encoded in UTF-8, not in {asked}", path.display())]
    Utf8 { path: PathBuf, asked: Encoding },
    /// Another encoding, or damage.
    #[error("{at}: not {encoding}")]
    Malformed { at: Place, encoding: Encoding },
    /// Not UTF-8, but Chinese if it is read as GB 18030.
    #[error("{at}: not utf-8, but it reads as GB18030 or GBK; if that is right, say so: encoding gb18030")]
    Gb18030 { at: Place },
    /// UTF-8 before, GB 18030 from here on.
    #[error("{at}: utf-8 up to here, but this reads as GB18030 or GBK: two encodings in one file")]
    Mixed { at: Place },
    /// A zero byte.
    #[error("{at}: zero byte")]
    Nul { at: Place },
    /// A carriage return that no line feed follows, outside quotes.
    #[error("{at}: carriage return without line feed")]
    LoneCarriageReturn { at: Place },
    /// The file, or the longest allowed row, ends inside quotes.
    #[error("{at}: quote opened here is never closed")]
    UnclosedQuote { at: Place },
    /// Neither delimiter nor end of line after a closing quote.
    #[error("{at}: expected a delimiter or the end of the line after the closing quote")]
    StrayQuote { at: Place },
    /// A line that is no JSON object.
    #[error("{at}: {what}, expected one JSON object a line")]
    NotJson { at: Place, what: &'static str },
    /// A row beyond the limit.
    #[error("{at}: row is too long: at most {limit} bytes")]
    RowTooLong { at: Place, limit: usize },
    /// A part of a workbook is missing or damaged.
    #[error("{}: {what}", path.display())]
    Workbook { path: PathBuf, what: String },
    /// A Parquet file is damaged, or has what isn't read.
    #[error("{}: {what}", path.display())]
    Parquet { path: PathBuf, what: String },
    /// A column that holds several values a row, or others inside.
    #[error("{}: column {column:?} is nested or repeated: only plain ones are read", path.display())]
    NestedColumn { path: PathBuf, column: String },
    /// The workbook doesn't have the sheet.
    #[error("{}: no sheet {sheet:?}; there are {known}", path.display())]
    MissingSheet { path: PathBuf, sheet: String, known: String },
    /// Nobody said which sheet.
    #[error("{}: several sheets, say which one: {known}", path.display())]
    SeveralSheets { path: PathBuf, known: String },
    /// A row that a filter or somebody hides.
    #[error("{}: row {row} of sheet {sheet:?} is hidden, by a filter for example", path.display())]
    HiddenRow { path: PathBuf, sheet: String, row: u32 },
    /// Merged cells where identifiers stand: all but one of them are empty.
    #[error("{}: merged cells {range} of sheet {sheet:?} are in a column that is used", path.display())]
    MergedCells { path: PathBuf, sheet: String, range: String },
    /// The heading doesn't have the column.
    #[error("{}: no column {column:?}; {hint}", path.display())]
    MissingColumn { path: PathBuf, column: String, hint: String },
    /// The heading has it more than once.
    #[error("{}: column {column:?} stands at {first} and at {second}", path.display())]
    DoubledColumn { path: PathBuf, column: String, first: usize, second: usize },
    /// A cell that the result's format has no room for.
    #[error("{}: line {line}, column {column:?}: a sheet of .xlsx holds at most {limit} characters in a cell", path.display())]
    TooLongForSheet { path: PathBuf, line: u64, column: String, limit: usize },
    /// More rows were rejected than the limit allows.
    #[error("{}: {rejected} of {rows} rows rejected, at most {percent} % allowed; the first in {first}", path.display())]
    TooManyRejects { path: PathBuf, rejected: u64, rows: u64, percent: f64, first: Box<Rejected> },
    /// More cells of one key were rejected than the limit allows.
    #[error("{}: column {column:?}: {rejected} of {cells} filled cells rejected, at most {percent} % allowed; the first in {first}", path.display())]
    TooManyBadCells {
        path: PathBuf,
        column: String,
        rejected: u64,
        cells: u64,
        percent: f64,
        first: Box<Rejected>,
    },
    /// The result has a column of this name.
    #[error("{}: column {column:?}: the result needs the name for a column of its own", path.display())]
    ReservedColumn { path: PathBuf, column: &'static str },
    /// More than a set can hold.
    #[error("{}: {source}", path.display())]
    Full { path: PathBuf, source: BuildError },
}

impl InputError {
    /// Whether the list was read to its end, and is of no use for what was rejected of it.
    pub fn is_too_many_rejects(&self) -> bool {
        matches!(self, Self::TooManyRejects { .. } | Self::TooManyBadCells { .. })
    }
}
