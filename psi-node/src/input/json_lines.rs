//! JSON Lines: one object (RFC 8259) a line; its keys are the columns.
//!
//! Text and numbers become cells as they are written, null and a missing key an empty one. Other values are no
//! identifiers; in a result they stand as JSON.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::columns::wanted;
use super::feed::Feed;
use super::text::{Text, valid};
use super::{Cell, Cells, InputError, Place, Row, RowFault, Source, Spec};

/// A file of JSON Lines.
pub(super) struct JsonLines {
    text: Text,
    /// The keys in the order of their first appearance; those of the first object, or all.
    columns: Vec<String>,
    /// For each column the place of its cell among the wanted ones.
    places: Vec<Option<usize>>,
    /// The line of the first object while its row is still to be returned.
    first: Option<u64>,
    ordinal: u32,
    /// The wanted cells of the row returned last, and their text.
    cells: Vec<Cell>,
    scratch: Zeroizing<String>,
}

impl JsonLines {
    /// Reads the first object, which must have every wanted key.
    pub(super) fn new(feed: Feed, spec: &Spec) -> Result<Self, InputError> {
        let mut lines = Self {
            text: Text::new(feed, spec)?,
            columns: Vec::new(),
            places: Vec::new(),
            first: None,
            ordinal: 0,
            cells: Vec::new(),
            scratch: Zeroizing::default(),
        };
        lines.first = lines.next_line()?;
        let Some(line) = lines.first else { return Err(InputError::Empty { path: spec.path.clone() }) };
        lines.note_keys(line)?;
        lines.places = vec![None; lines.columns.len()];
        for found in wanted(&lines.columns, &spec.columns, &spec.path)? {
            lines.places[found.column] = Some(found.place);
        }
        lines.cells = spec.columns.iter().map(|_| Cell::Plain(0..0)).collect();
        Ok(lines)
    }

    /// Reads everything once for its keys, so that a result has a column for each, and starts again.
    pub(super) fn with_every_key(feed: Feed, spec: &Spec) -> Result<Self, InputError> {
        let mut lines = Self::new(feed, spec)?;
        while let Some(line) = lines.next_line()? {
            lines.note_keys(line)?;
        }
        let columns = std::mem::take(&mut lines.columns);
        let mut again = Self::new(lines.text.into_feed().rewound()?, spec)?;
        again.places.resize(columns.len(), None);
        again.columns = columns;
        Ok(again)
    }

    /// Takes the next line that isn't blank.
    fn next_line(&mut self) -> Result<Option<u64>, InputError> {
        loop {
            let window = self.text.window();
            let (content, taken) = match memchr(b'\n', window) {
                Some(end) => (end, end + 1),
                None if self.text.at_end() && window.is_empty() => return Ok(None),
                None if self.text.at_end() => (window.len(), window.len()),
                None if self.text.is_too_long() => return Err(self.text.too_long()),
                None => {
                    self.text.refill()?;
                    continue;
                }
            };
            let blank = window[..content].trim_ascii().is_empty();
            let line = self.text.take(content, taken, 1)?;
            if !blank {
                return Ok(Some(line));
            }
        }
    }

    fn note_keys(&mut self, line: u64) -> Result<(), InputError> {
        let Self { text, columns, .. } = self;
        let read = each_field(valid(text.row()), |key, _| {
            if !columns.iter().any(|column| column == key) {
                columns.push(key.to_owned());
            }
        });
        read.map_err(|error| self.not_json(line, &error))
    }

    /// Puts the text of the wanted values of the line into the cells.
    fn find_wanted(&mut self, line: u64) -> Result<Result<(), RowFault>, InputError> {
        let Self { text, columns, places, cells, scratch, .. } = self;
        scratch.clear();
        cells.fill_with(|| Cell::Plain(0..0));
        let (mut next, mut seen, mut doubled) = (0, vec![false; cells.len()], false);
        let read = each_field(valid(text.row()), |key, value| {
            let Some(column) = position(columns, key, next) else { return };
            next = column + 1;
            let Some(place) = places[column] else { return };
            doubled |= std::mem::replace(&mut seen[place], true);
            cells[place] = placed(value, scratch);
        });
        read.map_err(|error| self.not_json(line, &error))?;
        Ok(if doubled { Err(RowFault::DoubledKey) } else { Ok(()) })
    }

    /// The parser's own text is not used: it repeats what it found.
    fn not_json(&self, line: u64, error: &serde_json::Error) -> InputError {
        let what = match self.text.row().trim_ascii_start().first() {
            Some(b'[') => "an array",
            Some(b'{') if error.is_eof() => "cut short",
            Some(b'{') => "not JSON",
            _ => "no object",
        };
        let at = Place { path: self.text.path().into(), line, column: error.column().max(1) as u64 };
        InputError::NotJson { at, what }
    }
}

impl Source for JsonLines {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn row(&mut self) -> Result<Option<Row<'_>>, InputError> {
        let line = match self.first.take() {
            Some(line) => Some(line),
            None => self.next_line()?,
        };
        let Some(line) = line else { return Ok(None) };
        let ordinal = self.ordinal;
        self.ordinal = ordinal.saturating_add(1);
        let found = self.find_wanted(line)?;
        let cells = found.map(|()| Cells { text: self.scratch.as_bytes(), cells: &self.cells });
        Ok(Some(Row { ordinal, line, cells }))
    }

    fn cells(&mut self, visit: &mut dyn FnMut(&str)) -> Result<(), InputError> {
        let mut values: Vec<Cow<'_, str>> = vec![Cow::default(); self.columns.len()];
        let read = each_field(valid(self.text.row()), |key, value| {
            if let Some(column) = position(&self.columns, key, 0) {
                values[column] = shown(value).into_owned().into();
            }
        });
        debug_assert!(read.is_ok(), "the row was read before");
        values.iter().for_each(|value| visit(value));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), InputError> {
        self.text.finish()
    }
}

/// The index of a key, which mostly is the one that follows the last.
fn position(columns: &[String], key: &str, next: usize) -> Option<usize> {
    match columns.get(next) {
        Some(column) if column == key => Some(next),
        _ => columns.iter().position(|column| column == key),
    }
}

/// Appends the text of a wanted value.
fn placed(value: &RawValue, scratch: &mut String) -> Cell {
    let start = scratch.len();
    match value.get().as_bytes()[0] {
        b'{' => Cell::Fault(RowFault::NotText { got: "an object" }),
        b'[' => Cell::Fault(RowFault::NotText { got: "an array" }),
        b't' | b'f' => Cell::Fault(RowFault::NotText { got: "true or false" }),
        first => {
            scratch.push_str(&shown(value));
            let range = start..scratch.len();
            if first == b'-' || first.is_ascii_digit() { Cell::Number(range) } else { Cell::Plain(range) }
        }
    }
}

/// A value as the cell of a result.
fn shown(value: &RawValue) -> Cow<'_, str> {
    let raw = value.get();
    match raw.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => inner.into(),
        Some(_) => serde_json::from_str::<String>(raw).unwrap_or_default().into(),
        None if raw == "null" => "".into(),
        None => raw.into(),
    }
}

/// Visits the keys and values of the one object in `line`.
fn each_field(line: &str, visit: impl FnMut(&str, &RawValue)) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(line);
    json.deserialize_map(Object(visit))?;
    json.end()
}

struct Object<F>(F);

impl<'de, F: FnMut(&str, &RawValue)> Visitor<'de> for Object<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            (self.0)(&key, map.next_value::<&'de RawValue>()?);
        }
        Ok(())
    }
}

/// A key, borrowed unless it has escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(key.into())
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(key.to_owned().into())
    }
}

#[cfg(test)]
mod tests;
