//! A sheet of a workbook (Office Open XML, ISO/IEC 29500): its first row that isn't empty is the heading.
//!
//! The sheet is read row by row; the texts that its cells share are held, each once. Cells are judged by what the file
//! has, not by how a spreadsheet would show it: a number of more than 15 digits was rounded and is refused, a date is
//! no identifier, and rows that nobody sees on the screen are nobody's consent to send them.

mod package;
mod sheet;
mod strings;
mod styles;
mod workbook;

use super::columns::{Wanted, wanted};
use super::feed::Feed;
use super::text::valid;
use super::{Cell, Cells, InputError, Row, RowFault, Source, Spec};
use package::Package;
use sheet::{Held, Kind, Sheet};

/// A sheet of a workbook.
pub(super) struct Xlsx {
    sheet: Sheet,
    columns: Vec<String>,
    /// From left to right.
    wanted: Vec<Wanted>,
    /// The wanted cells of the row returned last.
    cells: Vec<Cell>,
    ordinal: u32,
}

impl Xlsx {
    /// Reads up to the heading of the sheet.
    pub(super) fn new(feed: Feed, spec: &Spec) -> Result<Self, InputError> {
        let mut package = Package::open(feed.whole()?)?;
        let workbook = workbook::Workbook::read(&mut package)?;
        let chosen = workbook.choose(spec)?;
        let strings = strings::read(&mut package, workbook.strings.as_deref())?;
        let styles = styles::read(&mut package, workbook.styles.as_deref(), workbook.from_1904)?;
        let part = package.stream(&chosen.part)?;
        let mut sheet = Sheet::new(part, chosen.name.clone(), strings, styles, spec)?;
        let Some(heading) = sheet.next_row()? else {
            return Err(InputError::Empty { path: spec.path.clone() });
        };
        let columns: Vec<_> = sheet.row.iter().map(|held| valid(sheet.text_of(held)).to_owned()).collect();
        let wanted = wanted(&columns, &spec.columns, &spec.path)?;
        sheet.watch_merges(heading, &wanted);
        let cells = spec.columns.iter().map(|_| Cell::Plain(0..0)).collect();
        Ok(Self { sheet, columns, wanted, cells, ordinal: 0 })
    }
}

impl Source for Xlsx {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn row(&mut self) -> Result<Option<Row<'_>>, InputError> {
        let Some(line) = self.sheet.next_row()? else { return Ok(None) };
        let ordinal = self.ordinal;
        self.ordinal = ordinal.saturating_add(1);
        for wanted in &self.wanted {
            self.cells[wanted.place] = self.sheet.row.get(wanted.column).map_or(Cell::Plain(0..0), placed);
        }
        let (got, expected) = (self.sheet.row.len(), self.columns.len());
        let cells = Cells { text: self.sheet.text.as_bytes(), cells: &self.cells };
        let cells = if got <= expected { Ok(cells) } else { Err(RowFault::Ragged { got, expected }) };
        Ok(Some(Row { ordinal, line: line.into(), cells }))
    }

    fn cells(&mut self, visit: &mut dyn FnMut(&str)) -> Result<(), InputError> {
        let row = &self.sheet.row;
        row.iter().for_each(|held| visit(valid(self.sheet.text_of(held))));
        (row.len()..self.columns.len()).for_each(|_| visit(""));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), InputError> {
        self.sheet.finish()
    }
}

fn placed(held: &Held) -> Cell {
    match held.kind {
        Kind::Text => Cell::Plain(held.range.clone()),
        Kind::Number => Cell::Number(held.range.clone()),
        Kind::Unusable(fault) => Cell::Fault(fault),
    }
}

#[cfg(test)]
mod tests;
