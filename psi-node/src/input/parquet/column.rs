//! One column, read from its first row to its last, page by page.

use zeroize::Zeroizing;

use super::Wrong;
use super::bits::Hybrid;
use super::cell::{self, Good};
use super::footer::{Column, Group};
use super::pages::{Header, Page, Pages};
use super::values::{Dictionary, Values, prefixed};
use crate::input::feed::Whole;

/// A column that is read, in memory for one page and one dictionary.
pub(super) struct Reader {
    column: Column,
    /// Row groups that were begun.
    groups: usize,
    pages: Option<Pages>,
    dictionary: Option<Dictionary>,
    page: Zeroizing<Vec<u8>>,
    /// Which rows of the page have a value, if one may be missing.
    levels: Option<Hybrid>,
    values: Option<Values>,
    /// Rows that are left in the page, and in the row group behind it.
    in_page: u64,
    in_group: u64,
    /// Rows that were read or passed.
    rows: u64,
    /// The cell of the row that was read last.
    pub(super) text: Zeroizing<String>,
    pub(super) good: Good,
}

const DAMAGED: Wrong = Wrong::Damage("a page is damaged");

impl Reader {
    pub(super) fn new(column: Column) -> Self {
        Self {
            column,
            groups: 0,
            pages: None,
            dictionary: None,
            page: Zeroizing::default(),
            levels: None,
            values: None,
            in_page: 0,
            in_group: 0,
            rows: 0,
            text: Zeroizing::default(),
            good: Good::Text,
        }
    }

    /// Gives its memory back.
    pub(super) fn close(&mut self) {
        (self.pages, self.dictionary, self.values) = (None, None, None);
        (self.page, self.text) = (Zeroizing::default(), Zeroizing::default());
    }

    /// The row that is read next, or was being read when something was wrong.
    pub(super) fn row(&self) -> u64 {
        self.rows
    }

    /// Reads the cell of a row, which no earlier call has passed; that of the row read last stands already.
    pub(super) fn read(&mut self, row: u64, groups: &[Group], file: &mut Whole) -> Result<(), Wrong> {
        while self.rows <= row {
            if self.in_page == 0 {
                self.next_page(row - self.rows, groups, file)?;
            } else if self.rows < row {
                self.pass()?;
            } else {
                self.take()?;
            }
        }
        Ok(())
    }

    /// Opens the next page, or passes it if it ends before that many rows.
    fn next_page(&mut self, before: u64, groups: &[Group], file: &mut Whole) -> Result<(), Wrong> {
        if self.in_group == 0 {
            return self.next_group(groups);
        }
        let pages = self.pages.as_mut().ok_or(DAMAGED)?;
        let header = pages.header(file)?;
        match header.page {
            Page::Other => pages.pass(&header),
            Page::Dictionary { values, encoding: 0 | 2 } => {
                let mut page = Zeroizing::default();
                pages.body(file, &header, &mut page)?;
                let dictionary = Dictionary::new(page, values, self.column.physical);
                self.dictionary = Some(dictionary.ok_or(Wrong::Damage("a dictionary is damaged"))?);
                Ok(())
            }
            Page::Dictionary { .. } => Err(Wrong::Damage("a dictionary that is encoded in an unknown way")),
            Page::Data { values, .. } | Page::DataV2 { values, .. } => {
                self.in_group = self.in_group.checked_sub(values).ok_or(DAMAGED)?;
                if values <= before {
                    self.rows += values;
                    return pages.pass(&header);
                }
                pages.body(file, &header, &mut self.page)?;
                self.in_page = values;
                self.open_page(&header)
            }
        }
    }

    fn next_group(&mut self, groups: &[Group]) -> Result<(), Wrong> {
        let group =
            groups.get(self.groups).ok_or(Wrong::Damage("there are fewer rows than the footer says"))?;
        let chunk = group.chunks.get(self.column.leaf).ok_or(DAMAGED)?;
        if chunk.values != group.rows {
            return Err(Wrong::Damage("the footer contradicts itself about the number of values"));
        }
        self.groups += 1;
        (self.pages, self.dictionary, self.in_group) = (Some(Pages::of(chunk)?), None, group.rows);
        Ok(())
    }

    /// Finds levels and values in the page.
    fn open_page(&mut self, header: &Header) -> Result<(), Wrong> {
        const RUNS: i64 = 3;
        let optional = self.column.optional;
        let (encoding, start) = match header.page {
            Page::Data { encoding, .. } if !optional => (encoding, 0),
            Page::Data { encoding, levels: RUNS, .. } => {
                let levels = prefixed(&self.page, 0).ok_or(DAMAGED)?;
                let start = levels.end();
                self.levels = Some(levels);
                (encoding, start)
            }
            Page::DataV2 { encoding, levels, .. } => {
                self.levels = optional.then(|| Hybrid::new(0, levels, 1)).flatten();
                (encoding, levels)
            }
            _ => return Err(Wrong::Damage("missing values are marked in a way that is not read")),
        };
        self.values = Some(Values::new(encoding, self.column.physical, &self.page, start)?);
        Ok(())
    }

    /// Reads the next cell of the page.
    fn take(&mut self) -> Result<(), Wrong> {
        let Self { column, page, levels, values, dictionary, .. } = self;
        self.text.clear();
        self.good = match next(levels, values, page, dictionary.as_ref())? {
            Some(raw) => cell::write(raw, column, &mut self.text)?,
            None => Good::Text,
        };
        (self.in_page, self.rows) = (self.in_page - 1, self.rows + 1);
        Ok(())
    }

    fn pass(&mut self) -> Result<(), Wrong> {
        next(&mut self.levels, &mut self.values, &self.page, self.dictionary.as_ref())?;
        (self.in_page, self.rows) = (self.in_page - 1, self.rows + 1);
        Ok(())
    }
}

/// The next value of a page, if it isn't missing.
fn next<'a>(
    levels: &mut Option<Hybrid>,
    values: &'a mut Option<Values>,
    page: &'a [u8],
    dictionary: Option<&'a Dictionary>,
) -> Result<Option<&'a [u8]>, Wrong> {
    let there = match levels {
        Some(levels) => levels.next(page).ok_or(DAMAGED)? == 1,
        None => true,
    };
    let values = values.as_mut().ok_or(DAMAGED)?;
    if there { values.next(page, dictionary).map(Some).ok_or(DAMAGED) } else { Ok(None) }
}
