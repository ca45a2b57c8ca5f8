//! Which columns of a row go out, and in which order.

use super::{Extra, Shape, cells::Cells};
use crate::input::{InputError, Source, find_column};

/// The columns that were chosen, with the cells of one row.
pub(super) struct Columns<'a> {
    /// Places in the source's rows.
    picked: Vec<usize>,
    extra: &'a [Extra<'a>],
    cells: Cells,
}

impl<'a> Columns<'a> {
    /// Those that the shape names, each of which the source must have once.
    pub(super) fn of(all: &[String], shape: &Shape<'a>) -> Result<Self, InputError> {
        Ok(Self { picked: picked(all, shape)?, extra: shape.extra, cells: Cells::default() })
    }

    /// What stands above them.
    pub(super) fn names(&self, all: &[String]) -> Vec<String> {
        let own = self.picked.iter().map(|place| all[*place].clone());
        own.chain(self.extra.iter().map(|extra| extra.name.to_owned())).collect()
    }

    /// Their cells in the row that the source returned last, which has that ordinal.
    pub(super) fn cells<'b>(
        &'b mut self,
        source: &mut dyn Source,
        ordinal: u32,
    ) -> Result<impl Iterator<Item = &'b str>, InputError> {
        self.cells.take(source)?;
        let own = self.picked.iter().map(|place| self.cells.get(*place));
        Ok(own.chain(self.extra.iter().map(move |extra| (extra.cell)(ordinal))))
    }
}

/// The places of the columns that the shape names.
pub(super) fn picked(all: &[String], shape: &Shape<'_>) -> Result<Vec<usize>, InputError> {
    match shape.columns {
        [] => Ok((0..all.len()).collect()),
        names => names.iter().map(|name| find_column(all, name, shape.list)).collect(),
    }
}
