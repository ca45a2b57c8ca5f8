//! Results going out: the matching original rows, written beside their final name and released in a second step.
//!
//! ```text
//! Source (rows) -> keep: by ordinal -> Columns: which, in which order -> Sink: one format a file under `output/`
//! ```
//!
//! [`check`] and [`fitting`] before anything is sent; [`prepare`] writes `.NAME.RUN.part` (0600) and makes it durable;
//! [`Prepared::release`] renames it once both signatures are stored. An existing file is never replaced. The same rows give
//! the same bytes, so that a result which a crash cut short can be made again.

mod cells;
mod columns;
mod csv;
mod fit;
mod formula;
mod jsonl;
mod rejects;
mod xlsx;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use self::columns::Columns;
pub use self::{
    fit::fitting,
    rejects::{rejects, rejects_fit},
};

use crate::durable;
use crate::input::{InputError, Source};

/// Why a result can't be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's fields are named after what its text says")]
pub enum OutputError {
    /// Results never replace anything.
    #[error("{}: output exists", path.display())]
    Exists { path: PathBuf },
    /// The path names no file, or its folder isn't there.
    #[error("{}: output folder doesn't exist", path.display())]
    NoFolder { path: PathBuf },
    /// The folder takes no files.
    #[error("{}: output can't be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The name's ending says no format.
    #[error("{}: output must end in .csv, .xlsx or .jsonl", path.display())]
    Ending { path: PathBuf },
    /// The format holds fewer columns.
    #[error("{}: {columns} columns, but a sheet of .xlsx holds at most {limit}", path.display())]
    TooManyColumns { path: PathBuf, columns: usize, limit: usize },
    /// Neither the prepared file nor a released one is there.
    #[error("{}: the prepared output is gone", path.display())]
    Gone { path: PathBuf },
    /// The rows can't be read again.
    #[error(transparent)]
    Source(#[from] InputError),
}

/// The file that a name with `{job}`, `{date}` and `{run}` in it stands for.
pub fn path(template: &Path, job: &str, date: &str, run: &str) -> PathBuf {
    let name = template.to_string_lossy();
    PathBuf::from(name.replace("{job}", job).replace("{date}", date).replace("{run}", run))
}

/// Makes sure, before anything is sent, that a result could be written there.
pub fn check(target: &Path) -> Result<(), OutputError> {
    let folder = durable::parent(target);
    if target.file_name().is_none() || !folder.is_dir() {
        return Err(OutputError::NoFolder { path: target.into() });
    }
    if target.symlink_metadata().is_ok() {
        return Err(OutputError::Exists { path: target.into() });
    }
    // Permission bits don't tell of full quotas and read-only mounts: try.
    let probe = tempfile::Builder::new().prefix(".psi-probe-").tempfile_in(folder);
    probe.map(drop).map_err(|source| OutputError::Write { path: target.into(), source })
}

/// How a result is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values.
    Csv,
    /// A workbook of Excel and its kin.
    Xlsx,
    /// One JSON object a line.
    JsonLines,
}

impl Format {
    /// The format that the ending of the name says.
    pub fn of(path: &Path) -> Result<Self, OutputError> {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        match ending.to_str() {
            Some("csv") => Ok(Self::Csv),
            Some("xlsx") => Ok(Self::Xlsx),
            Some("jsonl" | "ndjson") => Ok(Self::JsonLines),
            _ => Err(OutputError::Ending { path: path.into() }),
        }
    }

    /// Starts a file with these columns; the title is for sheets.
    fn sink(
        self,
        file: File,
        names: &[String],
        byte_order_mark: bool,
        title: &'static str,
    ) -> io::Result<Box<dyn Sink>> {
        Ok(match self {
            Self::Csv => Box::new(csv::Csv::new(file, names, byte_order_mark)?),
            Self::Xlsx => Box::new(xlsx::Xlsx::new(file, names, title)?),
            Self::JsonLines => Box::new(jsonl::JsonLines::new(file, names)?),
        })
    }
}

/// Rows on their way out, in memory that doesn't grow with them.
trait Sink {
    /// Writes a row: as many cells as there are columns.
    fn row(&mut self, cells: &mut dyn Iterator<Item = &str>) -> io::Result<()>;

    /// Writes what belongs behind the last row; then everything is in the file, though not yet durable.
    fn finish(self: Box<Self>) -> io::Result<File>;
}

/// What of the matching rows goes out.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    /// The list that the rows are from; errors name it.
    pub list: &'a Path,
    /// The columns to keep, in this order; all as they stand if there is none.
    pub columns: &'a [String],
    /// Whether CSV starts with a byte order mark.
    pub byte_order_mark: bool,
    /// Columns that the list doesn't have, behind its own.
    pub extra: &'a [Extra<'a>],
}

/// A column that the list doesn't have.
#[derive(Clone, Copy)]
pub struct Extra<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its cell in the row of that ordinal.
    pub cell: &'a (dyn Fn(u32) -> &'a str + Sync),
}

/// Writes the heading and the rows that `keep` names by ordinal, in the order of the source.
///
/// A part file that an interrupted attempt of the same run left behind is written anew.
pub fn prepare(
    target: &Path,
    run: &str,
    source: Box<dyn Source>,
    shape: &Shape<'_>,
    keep: impl FnMut(u32) -> bool,
) -> Result<Prepared, OutputError> {
    prepared(target, run, source, |file, source| write_rows(target, file, source, shape, keep))
}

/// Writes a file, of so many rows, that waits under a hidden name.
fn prepared(
    target: &Path,
    run: &str,
    mut source: Box<dyn Source>,
    write: impl FnOnce(File, &mut dyn Source) -> Result<u64, OutputError>,
) -> Result<Prepared, OutputError> {
    let prepared = Prepared::of(target, run)?;
    let failed = |source| OutputError::Write { path: target.into(), source };
    durable::remove(&prepared.part).map_err(failed)?;
    let file = durable::create_private(&prepared.part).map_err(failed)?;
    let written = write(file, source.as_mut());
    let finished = written.and_then(|rows| Ok(source.finish().map(|()| rows)?));
    match finished {
        Ok(rows) => Ok(Prepared { rows, ..prepared }),
        Err(error) => {
            prepared.discard()?;
            Err(error)
        }
    }
}

fn write_rows(
    target: &Path,
    file: File,
    source: &mut dyn Source,
    shape: &Shape<'_>,
    mut keep: impl FnMut(u32) -> bool,
) -> Result<u64, OutputError> {
    let failed = |source| OutputError::Write { path: target.into(), source };
    let mut columns = Columns::of(source.columns(), shape)?;
    let names = columns.names(source.columns());
    let mut sink =
        Format::of(target)?.sink(file, &names, shape.byte_order_mark, "matches").map_err(failed)?;
    let mut rows = 0;
    while let Some(ordinal) = source.row()?.map(|row| row.ordinal) {
        if keep(ordinal) {
            sink.row(&mut columns.cells(source, ordinal)?).map_err(failed)?;
            rows += 1;
        }
    }
    sink.finish().and_then(|file| file.sync_all()).map_err(failed)?;
    Ok(rows)
}

/// A result that is complete and durable, but not yet under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    part: PathBuf,
    target: PathBuf,
    rows: u64,
}

/// Which call put the result under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// This one.
    Now,
    /// An earlier one, cut off before it could be recorded: the part file is gone and the result is there.
    Before,
}

impl Prepared {
    /// The result that [`prepare`] made for this run, after a restart. Doesn't look whether it is there.
    pub fn of(target: &Path, run: &str) -> Result<Self, OutputError> {
        let name = target.file_name().ok_or_else(|| OutputError::NoFolder { path: target.into() })?;
        let part = durable::parent(target).join(format!(".{}.{run}.part", name.to_string_lossy()));
        Ok(Self { part, target: target.into(), rows: 0 })
    }

    /// How many rows it holds, without the heading.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Where it waits.
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Puts it under its name, durably, unless something is there by now; then it stays where it waits.
    pub fn release(&self) -> Result<Released, OutputError> {
        let there = self.target.symlink_metadata().is_ok();
        match durable::rename_new(&self.part, &self.target) {
            Ok(()) => Ok(Released::Now),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(OutputError::Exists { path: self.target.clone() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && there => Ok(Released::Before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(OutputError::Gone { path: self.target.clone() })
            }
            Err(source) => Err(OutputError::Write { path: self.target.clone(), source }),
        }
    }

    /// Removes it.
    pub fn discard(&self) -> Result<(), OutputError> {
        durable::remove(&self.part).map_err(|source| OutputError::Write { path: self.target.clone(), source })
    }
}

#[cfg(test)]
mod tests;
