//! Which columns of a row go out, and in which order.

use super::{Extra, Shape};
use crate::input::{InputError, Source, find_column};

/// The columns that were chosen, with the cells of one row.
pub(super) struct Columns<'a> {
    /// Places in the source's rows.
    picked: Vec<usize>,
    extra: &'a [Extra<'a>],
    /// All cells of the row, one behind the other, and where each ends.
    text: String,
    ends: Vec<usize>,
}

impl<'a> Columns<'a> {
    /// Those that the shape names, each of which the source must have once.
    pub(super) fn of(all: &[String], shape: &Shape<'a>) -> Result<Self, InputError> {
        Ok(Self { picked: picked(all, shape)?, extra: shape.extra, text: String::new(), ends: Vec::new() })
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
        self.text.clear();
        self.ends.clear();
        source.cells(&mut |cell| {
            self.text.push_str(cell);
            self.ends.push(self.text.len());
        })?;
        let own = self.picked.iter().map(|place| self.cell(*place));
        Ok(own.chain(self.extra.iter().map(move |extra| (extra.cell)(ordinal))))
    }

    /// A cell; a row that ends early has empty ones behind its end.
    fn cell(&self, place: usize) -> &str {
        let end = self.ends.get(place).copied();
        let start =
            place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        end.map_or("", |end| &self.text[start..end])
    }
}

/// The places of the columns that the shape names.
pub(super) fn picked(all: &[String], shape: &Shape<'_>) -> Result<Vec<usize>, InputError> {
    match shape.columns {
        [] => Ok((0..all.len()).collect()),
        names => names.iter().map(|name| find_column(all, name, shape.list)).collect(),
    }
}
