//! Lists coming in: rows of a file become a canonical set, and every row's fate is known.
//!
//! ```text
//! file -> Feed (copies what is read, sealed) -> Source (rows) -> load: profile, set, rejects
//! sealed copy -> Source again -> output: the matching original rows
//! ```
//!
//! One file a format under `input/`, each a [`Source`]; one line in `over` below. Errors carry a place and never what
//! stands there.

mod csv;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use psi_core::identifier::{BuildError, CanonicalSet, Profile, Reject, SetBuilder, Warning};
use zeroize::Zeroizing;

use crate::join::Bitmap;
use crate::seal::{SealedReader, SealedWriter};

/// Rows of a list, read once from first to last, in memory that doesn't grow with rows or unused columns.
pub trait Source: Send {
    /// The names of the columns as the file has them.
    fn columns(&self) -> &[String];

    /// The next row, or none at the end. After an error the source is of no use.
    fn row(&mut self) -> Result<Option<Row<'_>>, InputError>;

    /// Every cell of the row that was returned last, in the order of the columns.
    fn cells(&self, visit: &mut dyn FnMut(&str));

    /// After the last row: the file didn't change meanwhile, and the sealed copy is complete and durable.
    fn finish(self: Box<Self>) -> Result<(), InputError>;
}

/// One row of a list.
pub struct Row<'a> {
    /// Counted from 0 without the heading; rejected rows count.
    pub ordinal: u32,
    /// Where the row starts, counted from 1 with the heading and blank lines.
    pub line: u64,
    /// The cells of the wanted columns, or why the row has none.
    pub cells: Result<Cells<'a>, RowFault>,
}

/// The cells of the wanted columns, in the order of [`Spec::columns`].
#[derive(Clone, Copy)]
pub struct Cells<'a> {
    text: &'a str,
    cells: &'a [Cell],
}

/// Where a cell stands in the text of its row, or why it can't be used.
enum Cell {
    /// As it is.
    Plain(Range<usize>),
    /// Between quotes, with quotes doubled inside.
    Doubled(Range<usize>),
}

impl<'a> Cells<'a> {
    /// How many columns are wanted.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The cell of the wanted column `index`; panics if there is no such column, like a slice.
    ///
    /// # Errors
    /// If this cell can't be used, although others of the row can.
    pub fn get(&self, index: usize) -> Result<Cow<'a, str>, RowFault> {
        match &self.cells[index] {
            Cell::Plain(range) => Ok(self.text[range.clone()].into()),
            Cell::Doubled(range) => Ok(self.text[range.clone()].replace("\"\"", "\"").into()),
        }
    }
}

impl fmt::Debug for Cells<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Why a row is left out. Rejected rows are counted and reported; too many stop the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowFault {
    /// More or fewer columns than the heading.
    #[error("ragged row: expected {expected} columns, got {got}")]
    Ragged {
        /// Columns in the row.
        got: usize,
        /// Columns in the heading.
        expected: usize,
    },
    /// The profile refused the cell.
    #[error(transparent)]
    Identifier(#[from] Reject),
    /// The profile warned, and warnings count as refusals here.
    #[error("{0}")]
    Strict(Warning),
}

impl RowFault {
    /// A stable name for counting.
    pub fn reason(self) -> &'static str {
        match self {
            RowFault::Ragged { .. } => "ragged",
            RowFault::Identifier(reject) => reject.reason(),
            RowFault::Strict(warning) => warning.reason(),
        }
    }
}

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Comma-separated values as in RFC 4180, in UTF-8, with a heading.
    Csv,
}

/// What to read and how.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The file; errors name it.
    pub path: PathBuf,
    /// How it is laid out.
    pub format: Format,
    /// The columns that are wanted, each once.
    pub columns: Vec<String>,
    /// The longest row, in bytes.
    pub max_row_bytes: usize,
}

impl Spec {
    /// A CSV file with one wanted column and rows of at most 1 MiB.
    pub fn csv(path: impl Into<PathBuf>, column: impl Into<String>) -> Self {
        Self { path: path.into(), format: Format::Csv, columns: vec![column.into()], max_row_bytes: 1 << 20 }
    }
}

/// Opens a list; what is read from it goes into `copy` as well.
///
/// Only regular files: a FIFO would block, a device would never end.
pub fn open(spec: &Spec, copy: Option<SealedWriter<File>>) -> Result<Box<dyn Source>, InputError> {
    let failed = |source| InputError::Open { path: spec.path.clone(), source };
    let no_wait = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(no_wait).open(&spec.path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if let Some(kind) = not_a_file(&meta) {
        return Err(InputError::NotAFile { path: spec.path.clone(), kind });
    }
    let watched = Some((file.try_clone().map_err(failed)?, stamp(&meta)));
    over(spec, Feed { inner: Box::new(file), watched, copy, path: spec.path.clone() })
}

/// Opens the sealed copy of a list.
pub fn reopen(spec: &Spec, copy: SealedReader<File>) -> Result<Box<dyn Source>, InputError> {
    over(spec, Feed { inner: Box::new(copy), watched: None, copy: None, path: spec.path.clone() })
}

fn over(spec: &Spec, feed: Feed) -> Result<Box<dyn Source>, InputError> {
    match spec.format {
        Format::Csv => Ok(Box::new(csv::Csv::new(feed, spec)?)),
    }
}

/// Bounds of [`load`].
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The share of rows that may be rejected, 0 to 1.
    pub max_rejects: f64,
    /// How many rejects are kept with line and reason.
    pub shown_rejects: usize,
    /// Whether a warning of the profile rejects the row.
    pub strict: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_rejects: 0.01, shown_rejects: 100, strict: false }
    }
}

/// A list, ready to be exchanged.
#[derive(Debug)]
pub struct Loaded {
    /// Its identifiers.
    pub set: CanonicalSet,
    /// Which item each row holds.
    pub rows: RowMap,
    /// Rows without the heading and blank lines; rejected ones count.
    pub rows_read: u64,
    /// Rows that hold an identifier of an earlier row.
    pub duplicates: u64,
    /// Rows that were left out.
    pub rejects: Rejects,
    /// Rows that were accepted with a remark, by reason.
    pub warnings: BTreeMap<&'static str, u64>,
}

/// Rows that were left out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rejects {
    /// How many.
    pub total: u64,
    /// How many, by [`RowFault::reason`].
    pub by_reason: BTreeMap<&'static str, u64>,
    /// Line and reason of the first of them.
    pub first: Vec<(u64, RowFault)>,
}

impl Rejects {
    fn note(&mut self, line: u64, fault: RowFault, shown: usize) {
        self.total += 1;
        *self.by_reason.entry(fault.reason()).or_default() += 1;
        if self.first.len() < shown.max(1) {
            self.first.push((line, fault));
        }
    }
}

/// Reads a source to its end; the first wanted column has the identifiers.
pub fn load(
    mut source: Box<dyn Source>,
    spec: &Spec,
    profile: &Profile,
    limits: &Limits,
) -> Result<Loaded, InputError> {
    let mut canonical = Zeroizing::new(Vec::with_capacity(64));
    let (mut builder, mut rejected, mut rows_read) = (SetBuilder::new(), Vec::new(), 0);
    let (mut rejects, mut warnings) = (Rejects::default(), BTreeMap::new());
    while let Some(row) = source.row()? {
        rows_read += 1;
        match judge(&row, profile, limits.strict, &mut canonical) {
            Ok(warning) => {
                builder
                    .push(&canonical)
                    .map_err(|source| InputError::Full { path: spec.path.clone(), source })?;
                warning.into_iter().for_each(|warning| *warnings.entry(warning.reason()).or_default() += 1);
            }
            Err(fault) => {
                rejected.push(row.ordinal);
                rejects.note(row.line, fault, limits.shown_rejects);
            }
        }
    }
    source.finish()?;
    enough(&spec.path, rows_read, &rejects, limits.max_rejects)?;
    let (set, items, duplicates) = builder.finish();
    let rows = RowMap::new(items, rejected);
    Ok(Loaded { set, rows, rows_read, duplicates: duplicates as u64, rejects, warnings })
}

fn judge(
    row: &Row<'_>,
    profile: &Profile,
    strict: bool,
    out: &mut Vec<u8>,
) -> Result<Option<Warning>, RowFault> {
    let cell = row.cells.as_ref().map_err(|fault| *fault)?.get(0)?;
    match profile.canonicalise(&[cell], out).map_err(|wrong| wrong.reject)? {
        Some(warning) if strict => Err(RowFault::Strict(warning)),
        warning => Ok(warning),
    }
}

fn enough(path: &Path, rows: u64, rejects: &Rejects, allowed: f64) -> Result<(), InputError> {
    match rejects.first.first() {
        None if rows == 0 => Err(InputError::NoRows { path: path.into() }),
        Some(&(line, fault)) if rejects.total == rows || rejects.total as f64 > allowed * rows as f64 => {
            let (path, rejected, percent) = (path.into(), rejects.total, allowed * 100.0);
            Err(InputError::TooManyRejects { path, rejected, rows, percent, line, fault })
        }
        _ => Ok(()),
    }
}

/// Which item of the set each row holds, by the row's ordinal.
#[derive(PartialEq, Eq)]
pub struct RowMap(Vec<u32>);

const REJECTED: u32 = u32::MAX;

impl RowMap {
    /// Puts the rejected rows back between the others.
    fn new(mut items: Vec<u32>, mut rejected: Vec<u32>) -> Self {
        let mut from = items.len();
        items.resize(from + rejected.len(), REJECTED);
        for to in (0..items.len()).rev() {
            if rejected.last().is_some_and(|row| *row as usize == to) {
                rejected.pop();
                items[to] = REJECTED;
            } else {
                from -= 1;
                items[to] = items[from];
            }
        }
        Self(items)
    }

    /// How many rows, rejected ones included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The item of a row; none if the row was rejected or doesn't exist.
    pub fn item(&self, row: u32) -> Option<u32> {
        self.0.get(row as usize).copied().filter(|item| *item != REJECTED)
    }

    /// The rows whose item is among the given ones, for the output.
    pub fn matching<'a>(&'a self, items: &'a Bitmap) -> impl Fn(u32) -> bool + 'a {
        |row| self.item(row).is_some_and(|item| items.contains(item as usize))
    }

    /// Writes the map, for a sealed file: the count as `u64`, then the items as `u32`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&(self.0.len() as u64).to_be_bytes())?;
        self.0.iter().try_for_each(|item| out.write_all(&item.to_be_bytes()))
    }

    /// Reads what [`write_to`](Self::write_to) wrote, up to the end.
    pub fn read_from(input: &mut impl Read) -> io::Result<Self> {
        let mut count = [0; 8];
        input.read_exact(&mut count)?;
        let count = u64::from_be_bytes(count);
        let mut items = Vec::with_capacity(count.min(1 << 20) as usize);
        for _ in 0..count {
            let mut item = [0; 4];
            input.read_exact(&mut item)?;
            items.push(u32::from_be_bytes(item));
        }
        match input.read(&mut [0])? {
            0 => Ok(Self(items)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "bytes left over after the row map")),
        }
    }
}

impl fmt::Debug for RowMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowMap").field("rows", &self.len()).finish_non_exhaustive()
    }
}

/// Where in a file: line and byte column, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// From 1, with the heading.
    pub line: u64,
    /// From 1, in bytes.
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
    /// Size or time of the file differ before and after reading.
    #[error("{}: changed while it was read", path.display())]
    Changed { path: PathBuf },
    /// Not a byte in it.
    #[error("{}: empty file", path.display())]
    Empty { path: PathBuf },
    /// A heading, but no row.
    #[error("{}: no rows after the heading", path.display())]
    NoRows { path: PathBuf },
    /// UTF-16, with or without a byte order mark.
    #[error("{}: encoded in UTF-16, expected UTF-8", path.display())]
    Utf16 { path: PathBuf },
    /// Another encoding, or damage.
    #[error("{at}: not UTF-8")]
    NotUtf8 { at: Place },
    /// A zero byte.
    #[error("{at}: zero byte")]
    Nul { at: Place },
    /// A carriage return that no line feed follows, outside quotes.
    #[error("{at}: carriage return without line feed")]
    LoneCarriageReturn { at: Place },
    /// The file, or the longest allowed row, ends inside quotes.
    #[error("{at}: quote opened here is never closed")]
    UnclosedQuote { at: Place },
    /// Neither comma nor end of line after a closing quote.
    #[error("{at}: expected a comma or the end of the line after the closing quote")]
    StrayQuote { at: Place },
    /// A row beyond the limit.
    #[error("{at}: row is too long: at most {limit} bytes")]
    RowTooLong { at: Place, limit: usize },
    /// The heading doesn't have the column.
    #[error("{}: no column {column:?}; {hint}", path.display())]
    MissingColumn { path: PathBuf, column: String, hint: String },
    /// The heading has it more than once.
    #[error("{}: column {column:?} stands at {first} and at {second}", path.display())]
    DoubledColumn { path: PathBuf, column: String, first: usize, second: usize },
    /// More rows were rejected than the limit allows.
    #[error("{}: {rejected} of {rows} rows rejected, at most {percent} % allowed; the first in line {line}: {fault}", path.display())]
    TooManyRejects { path: PathBuf, rejected: u64, rows: u64, percent: f64, line: u64, fault: RowFault },
    /// More than a set can hold.
    #[error("{}: {source}", path.display())]
    Full { path: PathBuf, source: BuildError },
}

/// Bytes on their way in. What passes is copied, sealed, so that the very same rows can be read again.
struct Feed {
    inner: Box<dyn Read + Send>,
    watched: Option<(File, Stamp)>,
    copy: Option<SealedWriter<File>>,
    path: PathBuf,
}

/// Size, inode and time of the last change.
type Stamp = (u64, u64, i64, i64);

impl Feed {
    /// Reads some bytes; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, InputError> {
        let read = loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    break result.map_err(|source| InputError::Read { path: self.path.clone(), source })?;
                }
            }
        };
        if let Some(copy) = &mut self.copy {
            let copied = copy.write_all(&buffer[..read]);
            copied.map_err(|source| InputError::Copy { path: self.path.clone(), source })?;
        }
        Ok(read)
    }

    fn finish(self) -> Result<(), InputError> {
        let path = &self.path;
        if let Some((file, before)) = &self.watched {
            let meta = file.metadata().map_err(|source| InputError::Read { path: path.clone(), source })?;
            if stamp(&meta) != *before {
                return Err(InputError::Changed { path: path.clone() });
            }
        }
        let Some(copy) = self.copy else { return Ok(()) };
        let sealed = copy.finish().and_then(|file| file.sync_all());
        sealed.map_err(|source| InputError::Copy { path: path.clone(), source })
    }
}

fn stamp(meta: &Metadata) -> Stamp {
    (meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec())
}

fn not_a_file(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    let names = [
        (kind.is_dir(), "folder"),
        (kind.is_fifo(), "pipe"),
        (kind.is_socket(), "socket"),
        (kind.is_char_device() || kind.is_block_device(), "device"),
        (!kind.is_file(), "special file"),
    ];
    names.into_iter().find(|(applies, _)| *applies).map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
