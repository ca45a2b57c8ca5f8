//! A file of Apache Parquet: columns with one value a row, row groups one after the other, page by page.
//!
//! ```text
//! footer -> which columns, which row groups -> for each wanted column: pages -> levels, values -> cells
//! ```
//!
//! Columns that nobody asks for stay closed until [`finish`](Source::finish), which looks through each of them once, so that
//! a result can't fail for a damaged page when everything was sent already; in the result's own reading they pass pages
//! without a matching row unopened. Everything is bounded by what the file really has, never by what it says. The format:
//! <https://parquet.apache.org/docs/file-format/>.

mod bits;
mod cell;
mod codec;
mod column;
mod footer;
mod pages;
mod thrift;
mod values;

use std::io;

use zeroize::Zeroizing;

use super::columns::wanted;
use super::feed::{Feed, Whole};
use super::{Cell, Cells, Format, InputError, Place, Row, Source, Spec};
use cell::Good;
use column::Reader;
use footer::Footer;

/// A Parquet file.
pub(super) struct Parquet {
    file: Whole,
    footer: Footer,
    columns: Vec<String>,
    /// One a column.
    readers: Vec<Reader>,
    /// The columns that are wanted, in their order.
    wanted: Vec<usize>,
    /// The wanted cells of the row returned last, and their text.
    cells: Vec<Cell>,
    text: Zeroizing<String>,
    /// Rows returned.
    rows: u64,
    max_row_bytes: usize,
    /// Whether the rows will be read again.
    first_time: bool,
}

impl Parquet {
    /// Reads the footer.
    pub(super) fn new(feed: Feed, spec: &Spec) -> Result<Self, InputError> {
        let first_time = !feed.is_sealed();
        let mut file = feed.whole()?;
        let footer = Footer::read(&mut file).map_err(|wrong| wrong.in_file(&file, None))?;
        let columns: Vec<_> = footer.columns.iter().map(|column| column.name.clone()).collect();
        let nested = |column: &&String| footer.nested.iter().any(|name| name.trim() == column.trim());
        if let Some(column) = spec.columns.iter().find(nested) {
            return Err(InputError::NestedColumn { path: spec.path.clone(), column: column.clone() });
        }
        let mut found = wanted(&columns, &spec.columns, &spec.path)?;
        found.sort_by_key(|wanted| wanted.place);
        Ok(Self {
            readers: footer.columns.iter().cloned().map(Reader::new).collect(),
            wanted: found.iter().map(|wanted| wanted.column).collect(),
            cells: spec.columns.iter().map(|_| Cell::Plain(0..0)).collect(),
            text: Zeroizing::default(),
            rows: 0,
            max_row_bytes: spec.max_row_bytes,
            file,
            footer,
            columns,
            first_time,
        })
    }

    /// Reads a column's cell of a row.
    fn read(&mut self, column: usize, row: u64) -> Result<(), InputError> {
        let (reader, groups) = (&mut self.readers[column], &self.footer.groups);
        let read = reader.read(row, groups, &mut self.file);
        read.map_err(|wrong| wrong.in_file(&self.file, Some((&self.columns[column], reader.row() + 1))))?;
        if reader.text.len() > self.max_row_bytes { Err(self.too_long(row)) } else { Ok(()) }
    }

    fn too_long(&self, row: u64) -> InputError {
        let at = Place { path: self.file.path().into(), line: row + 1, column: 1 };
        InputError::RowTooLong { at, limit: self.max_row_bytes }
    }

    /// Puts the wanted cells of a row one behind the other.
    fn find_wanted(&mut self, row: u64) -> Result<(), InputError> {
        self.text.clear();
        for place in 0..self.wanted.len() {
            self.read(self.wanted[place], row)?;
            let reader = &self.readers[self.wanted[place]];
            let start = self.text.len();
            self.text.push_str(&reader.text);
            let range = start..self.text.len();
            self.cells[place] = match reader.good {
                Good::Text => Cell::Plain(range),
                Good::Number => Cell::Number(range),
                Good::Nothing(fault) => Cell::Fault(fault),
            };
        }
        if self.text.len() > self.max_row_bytes { Err(self.too_long(row)) } else { Ok(()) }
    }

    /// Reads what is left of a column.
    fn look_through(&mut self, column: usize) -> Result<(), InputError> {
        (self.readers[column].row()..self.footer.rows).try_for_each(|row| self.read(column, row))
    }
}

impl Source for Parquet {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn row(&mut self) -> Result<Option<Row<'_>>, InputError> {
        if self.rows == self.footer.rows {
            return Ok(None);
        }
        let row = self.rows;
        self.find_wanted(row)?;
        self.rows += 1;
        let cells = Ok(Cells { text: self.text.as_bytes(), cells: &self.cells });
        Ok(Some(Row { ordinal: row.try_into().unwrap_or(u32::MAX), line: row + 1, cells }))
    }

    fn cells(&mut self, visit: &mut dyn FnMut(&str)) -> Result<(), InputError> {
        let Some(row) = self.rows.checked_sub(1) else { return Ok(()) };
        (0..self.columns.len()).try_for_each(|column| {
            self.read(column, row)?;
            visit(&self.readers[column].text);
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> Result<(), InputError> {
        for column in 0..self.columns.len() {
            if self.first_time {
                self.look_through(column)?;
            }
            self.readers[column].close();
        }
        self.file.finish()
    }
}

/// What is wrong with a file, before it is said where.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("empty file")]
    Empty,
    /// It is something else.
    #[error("{0}")]
    Other(&'static str),
    #[error("{0}")]
    Damage(&'static str),
    #[error(transparent)]
    Read(#[from] io::Error),
}

impl Wrong {
    /// Says where: in which file, and in which column and row of it.
    fn in_file(self, file: &Whole, place: Option<(&str, u64)>) -> InputError {
        let path = file.path().to_owned();
        match self {
            Self::Empty => InputError::Empty { path },
            Self::Other(got) => InputError::OtherFormat { path, asked: Format::Parquet, got },
            Self::Read(source) => InputError::Read { path, source },
            Self::Damage(what) => InputError::Parquet {
                path,
                what: match place {
                    Some((column, row)) => format!("column {column:?}, row {row}: {what}"),
                    None => what.into(),
                },
            },
        }
    }
}

#[cfg(test)]
mod tests;
