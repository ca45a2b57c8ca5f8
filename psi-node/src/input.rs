//! Lists coming in: rows of a file become a canonical set, and every row's fate is known.
//!
//! ```text
//! file -> Feed (copies what is read, sealed) -> Source (rows) -> load: profiles, one set a key, rejects
//! sealed copy -> Source again -> output: the matching original rows
//! ```
//!
//! One file a format under `input/`, each a [`Source`]; one line in `over` below. Errors carry a place and never what
//! stands there.

mod columns;
mod csv;
mod error;
mod feed;
mod gather;
mod json_lines;
mod judge;
mod layout;
mod load;
#[cfg(feature = "parquet")]
mod parquet;
mod text;
mod xlsx;

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;

use psi_core::identifier::{Reject, Rule, Warning};

pub(crate) use columns::find as find_column;
pub use error::{InputError, Place};
use feed::Feed;
pub use feed::Reread;
pub use gather::{Gathered, RowMap, StoredSet};
pub use judge::{Judge, Judgement, Key, Rejected, columns_of};
pub use layout::{Delimiter, Encoding, Format};
pub use load::{Limits, Loaded, LoadedList, Rejects, load};

use crate::seal::{SealedReader, SealedWriter};

/// Rows of a list, read once from first to last, in memory that doesn't grow with rows or unused columns.
pub trait Source: Send {
    /// The names of the columns as the file has them.
    fn columns(&self) -> &[String];

    /// The next row, or none at the end. After an error the source is of no use.
    fn row(&mut self) -> Result<Option<Row<'_>>, InputError>;

    /// Every cell of the row that was returned last, in the order of the columns.
    fn cells(&mut self, visit: &mut dyn FnMut(&str)) -> Result<(), InputError>;

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
    /// UTF-8, cut at ASCII characters.
    text: &'a [u8],
    cells: &'a [Cell],
}

/// Where a cell stands in the text of its row, or why it can't be used.
enum Cell {
    /// As it is.
    Plain(Range<usize>),
    /// Between quotes, with quotes doubled inside.
    Doubled(Range<usize>),
    /// As it is, and a number in the file.
    Number(Range<usize>),
    /// Not there as text.
    Fault(RowFault),
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
            Cell::Plain(range) | Cell::Number(range) => Ok(text::valid(&self.text[range.clone()]).into()),
            Cell::Doubled(range) => Ok(text::valid(&self.text[range.clone()]).replace("\"\"", "\"").into()),
            Cell::Fault(fault) => Err(*fault),
        }
    }

    /// The same for a rule: where zeros at the start matter, a number of the file won't do.
    pub fn identifier(&self, index: usize, rule: Rule) -> Result<Cow<'a, str>, RowFault> {
        if rule.keeps_zeros() && matches!(self.cells[index], Cell::Number(_)) {
            return Err(RowFault::Number);
        }
        self.get(index)
    }
}

impl fmt::Debug for Cells<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Why a row or one of its cells is left out. Rejects are counted and reported; too many stop the run.
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
    /// A JSON value that is no text.
    #[error("expected text or a number, got {got}")]
    NotText {
        /// What stands there.
        got: &'static str,
    },
    /// A JSON object with a wanted key twice.
    #[error("the object has a key twice")]
    DoubledKey,
    /// A number of a workbook with more digits than a spreadsheet keeps.
    #[error(
        "a number of more than 15 digits, rounded by a spreadsheet: make the column text before the numbers are put in"
    )]
    Rounded,
    /// A floating-point number with more digits than it keeps.
    #[error(
        "a floating-point number of more digits than it keeps: write the column as text or as whole numbers"
    )]
    Float,
    /// A number where zeros at the start belong to the identifier.
    #[error("stored as a number, which loses zeros at the start: make the column text")]
    Number,
    /// A date of a workbook.
    #[error("a date, made by a spreadsheet: make the column text before the identifiers are put in")]
    Date,
    /// `#N/A` and its like.
    #[error("an error of a spreadsheet's formula")]
    CellError,
    /// A formula that no spreadsheet has calculated.
    #[error("a formula without its value: open the workbook in a spreadsheet and save it")]
    NoValue,
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
            RowFault::NotText { .. } => "not-text",
            RowFault::DoubledKey => "doubled-key",
            RowFault::Rounded | RowFault::Float => "rounded-number",
            RowFault::Number => "number",
            RowFault::Date => "date",
            RowFault::CellError => "cell-error",
            RowFault::NoValue => "no-value",
            RowFault::Identifier(reject) => reject.reason(),
            RowFault::Strict(warning) => warning.reason(),
        }
    }
}

/// What to read and how.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The file; errors name it.
    pub path: PathBuf,
    /// How it is laid out.
    pub format: Format,
    /// How a text file encodes characters.
    pub encoding: Encoding,
    /// What stands between cells; looked for in the heading if absent.
    pub delimiter: Option<Delimiter>,
    /// The sheet of a workbook; needed only where it has several.
    pub sheet: Option<String>,
    /// The columns that are wanted, each once.
    pub columns: Vec<String>,
    /// The longest row, in bytes.
    pub max_row_bytes: usize,
}

impl Spec {
    /// A file of the format that its ending names, in UTF-8, with rows of at most 1 MiB.
    pub fn of(path: impl Into<PathBuf>, columns: Vec<String>) -> Self {
        let path = path.into();
        let format = Format::of(&path);
        let encoding = Encoding::Utf8;
        Self { path, format, encoding, delimiter: None, sheet: None, columns, max_row_bytes: 1 << 20 }
    }

    /// A CSV file with one wanted column.
    pub fn csv(path: impl Into<PathBuf>, column: impl Into<String>) -> Self {
        Self { format: Format::Csv, ..Self::of(path, vec![column.into()]) }
    }

    /// Whether it is standard input, which can be read only once and only where `psi` was started.
    pub fn is_standard_input(&self) -> bool {
        self.path.as_os_str() == feed::STANDARD_INPUT
    }

    /// What is said of the file that has no meaning for its format.
    pub fn misfit(&self) -> Option<&'static str> {
        let (text, csv) = (self.format.is_text(), self.format == Format::Csv);
        match self {
            Self { encoding, .. } if *encoding != Encoding::Utf8 && !text => {
                Some("encoding is for csv, tsv and jsonl")
            }
            Self { delimiter: Some(_), .. } if !csv => Some("delimiter is for csv"),
            Self { sheet: Some(_), format, .. } if *format != Format::Xlsx => Some("sheet is for xlsx"),
            _ => None,
        }
    }
}

/// Opens a list; what is read from it goes into `copy` as well.
///
/// Only regular files and standard input: a FIFO would block, a device would never end.
pub fn open(spec: &Spec, copy: Option<SealedWriter<File>>) -> Result<Box<dyn Source>, InputError> {
    over(spec, Feed::open(&spec.path, copy)?)
}

/// Opens a list of which a copy is kept for a second reading, whatever it is read from.
pub fn open_twice(spec: &Spec) -> Result<(Box<dyn Source>, Reread), InputError> {
    let (writer, copy) = Reread::new(&spec.path)?;
    Ok((open(spec, Some(writer))?, copy))
}

/// Opens the sealed copy of a list.
pub fn reopen(spec: &Spec, copy: SealedReader<File>) -> Result<Box<dyn Source>, InputError> {
    let feed = Feed::sealed(&spec.path, copy);
    match spec.format {
        Format::JsonLines => Ok(Box::new(json_lines::JsonLines::with_every_key(feed, spec)?)),
        _ => over(spec, feed),
    }
}

fn over(spec: &Spec, feed: Feed) -> Result<Box<dyn Source>, InputError> {
    match spec.format {
        Format::Csv | Format::Tsv => Ok(Box::new(csv::Csv::new(feed, spec)?)),
        Format::JsonLines => Ok(Box::new(json_lines::JsonLines::new(feed, spec)?)),
        Format::Xlsx => Ok(Box::new(xlsx::Xlsx::new(feed, spec)?)),
        #[cfg(feature = "parquet")]
        Format::Parquet => Ok(Box::new(parquet::Parquet::new(feed, spec)?)),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => Err(InputError::NotBuiltIn { path: spec.path.clone(), format: spec.format }),
    }
}

#[cfg(test)]
mod tests;
