//! Whether a result of this format and shape can hold the list, found out while the list is read and before anything is sent.

use std::path::{Path, PathBuf};

use super::{Format, OutputError, Shape, columns, xlsx};
use crate::input::{InputError, Row, Source};

/// The same source, which also refuses what the result could not hold.
///
/// # Errors
/// If the list lacks a column that is to be kept, or has more than the format; on the way, at a cell that is too long for it.
pub fn fitting(
    source: Box<dyn Source>,
    target: &Path,
    shape: &Shape<'_>,
) -> Result<Box<dyn Source>, OutputError> {
    let picked = columns::picked(source.columns(), shape)?;
    if Format::of(target)? != Format::Xlsx {
        return Ok(source);
    }
    let (columns, limit) = (picked.len() + shape.extra.len(), xlsx::MAX_COLUMNS);
    if columns > limit {
        return Err(OutputError::TooManyColumns { path: target.into(), columns, limit });
    }
    Ok(Box::new(Fitting { source, picked, list: shape.list.into(), line: None }))
}

/// A source of which every cell that goes out fits into a sheet.
struct Fitting {
    source: Box<dyn Source>,
    picked: Vec<usize>,
    list: PathBuf,
    /// Of the row returned last, which is looked at before the next one is read.
    line: Option<u64>,
}

impl Fitting {
    fn check(&mut self, line: u64) -> Result<(), InputError> {
        let (mut place, mut too_long) = (0, None);
        let Self { source, picked, .. } = self;
        source.cells(&mut |cell| {
            if xlsx::is_too_long(cell) && picked.contains(&place) {
                too_long.get_or_insert(place);
            }
            place += 1;
        })?;
        match too_long.map(|place| self.source.columns()[place].clone()) {
            None => Ok(()),
            Some(column) => {
                let (path, limit) = (self.list.clone(), xlsx::MAX_CELL);
                Err(InputError::TooLongForSheet { path, line, column, limit })
            }
        }
    }
}

impl Source for Fitting {
    fn columns(&self) -> &[String] {
        self.source.columns()
    }

    fn row(&mut self) -> Result<Option<Row<'_>>, InputError> {
        self.line.map_or(Ok(()), |line| self.check(line))?;
        let row = self.source.row()?;
        self.line = row.as_ref().map(|row| row.line);
        Ok(row)
    }

    fn cells(&mut self, visit: &mut dyn FnMut(&str)) -> Result<(), InputError> {
        self.source.cells(visit)
    }

    fn finish(self: Box<Self>) -> Result<(), InputError> {
        self.source.finish()
    }
}
