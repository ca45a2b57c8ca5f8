//! The rows of a sheet, one after the other.

use std::io::BufReader;
use std::ops::Range;

use quick_xml::events::{BytesStart, Event};
use zeroize::Zeroizing;

use super::package::{Part, Xml, attribute};
use super::strings::Strings;
use super::styles::{Shown, Styles};
use super::workbook::is_true;
use crate::input::columns::Wanted;
use crate::input::{InputError, RowFault, Spec};

/// Columns that a sheet can have.
const MAX_COLUMNS: usize = 16_384;
/// XML that a row may take, for each byte of content that it may have.
const MARKUP: u64 = 64;
/// Digits that a number of a spreadsheet keeps.
const KEPT_DIGITS: usize = 15;

/// A sheet that is read.
pub(super) struct Sheet {
    xml: Xml<BufReader<Part>>,
    name: String,
    strings: Strings,
    styles: Styles,
    max_row_bytes: usize,
    number: u32,
    /// The cells of the current row up to the last that isn't empty, and their text.
    pub(super) row: Vec<Held>,
    pub(super) text: Zeroizing<String>,
    /// What a cell holds, before it is known what it is.
    value: Zeroizing<String>,
    /// The row of the heading, and the columns where no cells may be merged below it.
    heading: u32,
    watched: Vec<usize>,
}

/// A cell.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// Its text.
    pub(super) range: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Number,
    Unusable(RowFault),
}

/// What a `<c>` element says of its cell.
struct Declared {
    column: usize,
    style: usize,
    holds: Holds,
}

/// The type of a cell (ISO/IEC 29500, `ST_CellType`).
#[derive(Clone, Copy)]
enum Holds {
    SharedText,
    Text,
    Boolean,
    Error,
    Date,
    Number,
}

impl Sheet {
    /// Reads up to the first row.
    pub(super) fn new(
        xml: Xml<BufReader<Part>>,
        name: String,
        strings: Strings,
        styles: Styles,
        spec: &Spec,
    ) -> Result<Self, InputError> {
        let mut sheet = Self {
            xml,
            name,
            strings,
            styles,
            max_row_bytes: spec.max_row_bytes,
            number: 0,
            row: Vec::new(),
            text: Zeroizing::default(),
            value: Zeroizing::default(),
            heading: 0,
            watched: Vec::new(),
        };
        sheet.allow();
        loop {
            match sheet.xml.next()? {
                Event::Start(element) if element.local_name().as_ref() == "sheetData" => return Ok(sheet),
                Event::Eof => return Err(sheet.xml.damaged()),
                _ => {}
            }
        }
    }

    fn allow(&mut self) {
        let bytes = self.max_row_bytes as u64 * MARKUP;
        self.xml.inner().get_mut().allow(bytes);
    }

    /// From now on merged cells in these columns are refused.
    pub(super) fn watch_merges(&mut self, heading: u32, wanted: &[Wanted]) {
        self.heading = heading;
        self.watched = wanted.iter().map(|wanted| wanted.column).collect();
    }

    pub(super) fn text_of(&self, held: &Held) -> &[u8] {
        &self.text.as_bytes()[held.range.clone()]
    }

    /// Makes the next row that isn't empty the current one and returns its number.
    pub(super) fn next_row(&mut self) -> Result<Option<u32>, InputError> {
        loop {
            let (number, hidden) = match self.xml.next()? {
                Event::Start(element) if element.local_name().as_ref() == "row" => {
                    let given = attribute(&element, "r").and_then(|number| number.parse().ok());
                    (given.unwrap_or(self.number.saturating_add(1)), is_true(attribute(&element, "hidden")))
                }
                Event::End(element) if element.local_name().as_ref() == "sheetData" => {
                    self.rest()?;
                    return Ok(None);
                }
                Event::Eof => return Err(self.xml.damaged()),
                _ => continue,
            };
            self.number = number;
            self.read_row()?;
            if !self.row.is_empty() {
                return if hidden { Err(self.hidden()) } else { Ok(Some(number)) };
            }
        }
    }

    fn hidden(&self) -> InputError {
        InputError::HiddenRow { path: self.xml.path().into(), sheet: self.name.clone(), row: self.number }
    }

    fn read_row(&mut self) -> Result<(), InputError> {
        self.allow();
        self.row.clear();
        self.text.clear();
        let mut column = 0;
        loop {
            let cell = match self.xml.next()? {
                Event::Start(element) if element.local_name().as_ref() == "c" => declared(&element, column),
                Event::End(element) if element.local_name().as_ref() == "row" => break,
                Event::Eof => return Err(self.xml.damaged()),
                _ => continue,
            };
            let Some(cell) = cell else { return Err(self.xml.damaged()) };
            column = cell.column + 1;
            self.read_cell(&cell)?;
            if self.text.len() > self.max_row_bytes {
                return Err(self.too_long());
            }
        }
        while self.row.pop_if(|held| held.range.is_empty() && matches!(held.kind, Kind::Text)).is_some() {}
        Ok(())
    }

    fn too_long(&self) -> InputError {
        let at = crate::input::Place { path: self.xml.path().into(), line: self.number.into(), column: 1 };
        InputError::RowTooLong { at, limit: self.max_row_bytes }
    }

    fn read_cell(&mut self, cell: &Declared) -> Result<(), InputError> {
        let (mut valued, mut formula) = (false, false);
        self.value.clear();
        loop {
            enum Seen {
                Value,
                Inline,
                Formula,
                Other,
            }
            let seen = match self.xml.next()? {
                Event::Start(element) => match element.local_name().as_ref() {
                    "v" => Seen::Value,
                    "is" => Seen::Inline,
                    "f" => Seen::Formula,
                    _ => Seen::Other,
                },
                Event::End(element) if element.local_name().as_ref() == "c" => break,
                Event::Eof => return Err(self.xml.damaged()),
                _ => continue,
            };
            match seen {
                Seen::Value => self.xml.text(&mut self.value)?,
                Seen::Inline => self.xml.rich_text(&mut self.value)?,
                Seen::Formula => self.xml.text(&mut String::new())?,
                Seen::Other => self.xml.text(&mut String::new())?,
            }
            valued |= matches!(seen, Seen::Value | Seen::Inline);
            formula |= matches!(seen, Seen::Formula);
        }
        if valued || formula {
            self.hold(cell, valued)?;
        }
        Ok(())
    }

    /// Puts what a cell has into the row.
    fn hold(&mut self, cell: &Declared, valued: bool) -> Result<(), InputError> {
        let start = self.text.len();
        let kind = match cell.holds {
            _ if !valued => Kind::Unusable(RowFault::NoValue),
            Holds::SharedText => {
                let shared = self.value.trim().parse().ok().and_then(|index| self.strings.get(index));
                self.text.push_str(shared.ok_or_else(|| self.xml.damaged())?);
                Kind::Text
            }
            Holds::Text => self.push_value(Kind::Text),
            Holds::Boolean => {
                self.text.push_str(if self.value.trim() == "1" { "TRUE" } else { "FALSE" });
                Kind::Unusable(RowFault::NotText { got: "true or false" })
            }
            Holds::Error => self.push_value(Kind::Unusable(RowFault::CellError)),
            Holds::Date => self.push_value(Kind::Unusable(RowFault::Date)),
            Holds::Number => self.push_number(self.styles.shown(cell.style)),
        };
        if self.row.len() <= cell.column {
            self.row.resize(cell.column + 1, Held { range: 0..0, kind: Kind::Text });
        }
        self.row[cell.column] = Held { range: start..self.text.len(), kind };
        Ok(())
    }

    fn push_value(&mut self, kind: Kind) -> Kind {
        self.text.push_str(&self.value);
        kind
    }

    fn push_number(&mut self, shown: Shown) -> Kind {
        let raw = self.value.trim();
        if raw.is_empty() {
            return Kind::Text;
        }
        let Ok(number) = raw.parse::<f64>() else { return self.push_value(Kind::Text) };
        if shown == Shown::Date {
            self.text.push_str(&self.styles.date(number).unwrap_or_else(|| raw.to_owned()));
            return Kind::Unusable(RowFault::Date);
        }
        if number.abs() >= 10f64.powi(KEPT_DIGITS as i32) {
            return self.push_value(Kind::Unusable(RowFault::Rounded));
        }
        match shown {
            // The shortest form that is the same number: without a point if it is a whole one.
            Shown::Filled(digits) if number >= 0.0 && number.fract() == 0.0 => {
                self.text.push_str(&format!("{number:0digits$}"));
                Kind::Text
            }
            _ => {
                self.text.push_str(&number.to_string());
                Kind::Number
            }
        }
    }

    /// What follows the rows, to the end of the part and its checksum.
    fn rest(&mut self) -> Result<(), InputError> {
        loop {
            self.allow();
            match self.xml.next()? {
                Event::Start(element) if element.local_name().as_ref() == "mergeCell" => {
                    let range = attribute(&element, "ref").unwrap_or_default();
                    if self.is_in_the_way(&range) {
                        let (path, sheet) = (self.xml.path().into(), self.name.clone());
                        return Err(InputError::MergedCells { path, sheet, range });
                    }
                }
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    }

    /// Whether merged cells cover a wanted column below the heading.
    fn is_in_the_way(&self, range: &str) -> bool {
        let mut corners = range.split(':').filter_map(place);
        let (Some((left, _)), Some((right, bottom))) = (corners.next(), corners.next()) else { return false };
        bottom > self.heading && self.watched.iter().any(|column| (left..=right).contains(column))
    }

    /// The file didn't change meanwhile.
    pub(super) fn finish(self) -> Result<(), InputError> {
        self.xml.into_inner().into_inner().into_whole().finish()
    }
}

impl Holds {
    fn of(name: &str) -> Self {
        match name {
            "s" => Self::SharedText,
            "inlineStr" | "str" => Self::Text,
            "b" => Self::Boolean,
            "e" => Self::Error,
            "d" => Self::Date,
            _ => Self::Number,
        }
    }
}

/// The attributes of a cell; `next` is its column if it doesn't say. None if they make no sense.
fn declared(element: &BytesStart<'_>, next: usize) -> Option<Declared> {
    let mut cell = Declared { column: next, style: 0, holds: Holds::Number };
    for attribute in element.attributes() {
        let attribute = attribute.ok()?;
        match attribute.key.as_ref() {
            "r" => cell.column = place(&attribute.value)?.0,
            "s" => cell.style = attribute.value.parse().ok()?,
            "t" => cell.holds = Holds::of(&attribute.value),
            _ => {}
        }
    }
    (cell.column < MAX_COLUMNS).then_some(cell)
}

/// Column, counted from 0, and row, from 1, of a place such as `B12`.
fn place(reference: &str) -> Option<(usize, u32)> {
    let reference = reference.strip_prefix('$').unwrap_or(reference);
    let letters = reference.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (letters, row) =
        reference.split_at_checked(letters).filter(|(letters, _)| (1..=3).contains(&letters.len()))?;
    let column =
        letters.bytes().fold(0, |sum, letter| sum * 26 + usize::from(letter.to_ascii_uppercase() - b'A') + 1);
    Some((column - 1, row.strip_prefix('$').unwrap_or(row).parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn places_are_letters_and_a_number() {
        assert_eq!(
            ["A1", "Z9", "AA10", "XFD1048576", "$B$2"].map(place),
            [Some((0, 1)), Some((25, 9)), Some((26, 10)), Some((16_383, 1_048_576)), Some((1, 2))]
        );
        assert_eq!(["", "1", "A", "ABCD1", "A1x", "é1"].map(place), [None; 6]);
    }
}
