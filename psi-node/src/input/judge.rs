//! What each key of a job makes of a row: an identifier, nothing, or a refusal.
//!
//! A row counts if one of its keys is usable. Where a job has several keys, an empty cell only says that the row has no
//! identifier of that type; where it has one, the row is rejected. What else a profile refuses is a reject: of the row
//! if nothing of it is usable, and otherwise of the cell alone.
//!
//! The same row is judged the same way whenever it is read again.

use std::borrow::Cow;
use std::fmt;

use psi_core::identifier::{BadCell, MAX_PARTS, Profile, Reject, Remark};
use zeroize::Zeroizing;

use super::{Cells, Row, RowFault, Spec};

/// One type of identifiers in a list, and where they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The columns, one a part of the profile.
    pub columns: Vec<String>,
    /// The type.
    pub profile: Profile,
}

impl Key {
    /// Its columns in one word: `phone`, `name+phone`.
    pub fn label(&self) -> String {
        self.columns.join("+")
    }
}

/// The columns of all keys, each once.
pub fn columns_of(keys: &[Key]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for column in keys.iter().flat_map(|key| &key.columns) {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    columns
}

/// Where something was left out, and why. Shows as `line 7: empty`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where the row starts, from 1.
    pub line: u64,
    /// The column, if the fault is in one cell and several columns are read.
    pub column: Option<String>,
    /// What is wrong.
    pub fault: RowFault,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            None => write!(f, "line {}: {}", self.line, self.fault),
            Some(column) => write!(f, "line {}, column {column:?}: {}", self.line, self.fault),
        }
    }
}

/// What a key makes of a row.
pub enum Judgement<'a> {
    /// This canonical identifier, with what its profile remarks on.
    Item(&'a [u8], Option<Remark>),
    /// The row has none of that type.
    Absent,
    /// What stands there is none.
    Refused(RowFault),
}

/// A cell, or a whole row, that says nothing.
const NOTHING: RowFault = RowFault::Identifier(Reject::Empty);

/// Judges rows, one after the other.
pub struct Judge<'a> {
    columns: &'a [String],
    keys: Vec<Placed<'a>>,
    strict: bool,
    /// Whether rejects name their columns: where one is read, people know which.
    named: bool,
    /// Of the row judged last: the place of the cell among the wanted ones, or none for the whole row, and what is wrong.
    refused: Vec<(Option<usize>, RowFault)>,
    canonical: Zeroizing<Vec<u8>>,
}

/// A key, and where its columns stand among the wanted ones.
struct Placed<'a> {
    key: &'a Key,
    places: Vec<usize>,
}

impl<'a> Judge<'a> {
    /// For rows of which the spec wants the columns of every key; `strict` makes refusals of remarks.
    pub fn new(spec: &'a Spec, keys: &'a [Key], strict: bool) -> Self {
        let place = |column: &String| {
            let place = spec.columns.iter().position(|wanted| wanted == column);
            place.expect("the spec wants the columns of every key")
        };
        let placed = |key: &'a Key| Placed { key, places: key.columns.iter().map(place).collect() };
        Self {
            columns: &spec.columns,
            keys: keys.iter().map(placed).collect(),
            strict,
            named: spec.columns.len() > 1,
            refused: Vec::new(),
            canonical: Zeroizing::new(Vec::with_capacity(64)),
        }
    }

    /// The same, with every reject of a cell naming its column.
    pub fn naming_columns(self) -> Self {
        Self { named: true, ..self }
    }

    /// Whether the row counts. `each` hears what every key makes of it, in their order, until it fails.
    pub fn judge<E>(
        &mut self,
        row: &Row<'_>,
        mut each: impl FnMut(usize, Judgement<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        self.refused.clear();
        match &row.cells {
            Ok(cells) => self.judge_cells(*cells, each),
            Err(fault) => {
                self.refused.push((None, *fault));
                (0..self.keys.len()).try_for_each(|key| each(key, Judgement::Absent))?;
                Ok(false)
            }
        }
    }

    /// What of the row judged last is left out; `line` is where it starts.
    pub fn rejected(&self, line: u64) -> impl Iterator<Item = Rejected> + use<'_, 'a> {
        self.refused.iter().map(move |(place, fault)| {
            let column = place.filter(|_| self.named).map(|place| self.columns[place].clone());
            Rejected { line, column, fault: *fault }
        })
    }

    fn judge_cells<E>(
        &mut self,
        cells: Cells<'_>,
        mut each: impl FnMut(usize, Judgement<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let several = self.keys.len() > 1;
        let mut usable = false;
        for (number, key) in self.keys.iter().enumerate() {
            let judgement = match key.judge(cells, self.strict, &mut self.canonical) {
                Ok(remark) => {
                    usable = true;
                    Judgement::Item(&self.canonical, remark)
                }
                Err((_, NOTHING)) if several => Judgement::Absent,
                Err((place, fault)) => {
                    // Another key over the same column may have refused it already.
                    if !self.refused.contains(&(Some(place), fault)) {
                        self.refused.push((Some(place), fault));
                    }
                    Judgement::Refused(fault)
                }
            };
            each(number, judgement)?;
        }
        if !usable && self.refused.is_empty() {
            self.refused.push((None, NOTHING));
        }
        Ok(usable)
    }
}

impl fmt::Debug for Judge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Placed<'_> {
    /// Puts the canonical identifier into `out`; or says which cell is refused, by its place among the wanted ones.
    fn judge(
        &self,
        cells: Cells<'_>,
        strict: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<Remark>, (usize, RowFault)> {
        let mut texts: [Cow<'_, str>; MAX_PARTS] = Default::default();
        let parts = self.key.profile.parts().iter().zip(&self.places);
        for (text, (rule, place)) in texts.iter_mut().zip(parts) {
            *text = cells.identifier(*place, *rule).map_err(|fault| (*place, fault))?;
        }
        let texts = &texts[..self.places.len()];
        match self.key.profile.canonicalise(texts, out) {
            Ok(Some(Remark { part, warning })) if strict => {
                Err((self.places[part], RowFault::Strict(warning)))
            }
            Ok(remark) => Ok(remark),
            Err(BadCell { part, reject }) => match self.empty(texts) {
                Some(part) => Err((self.places[part], NOTHING)),
                None => Err((self.places[part], reject.into())),
            },
        }
    }

    /// The part that says nothing: beside it, what is wrong with another one doesn't matter.
    fn empty(&self, texts: &[Cow<'_, str>]) -> Option<usize> {
        let mut scratch = Zeroizing::new(Vec::new());
        let mut cells = self.key.profile.parts().iter().zip(texts);
        cells.position(|(rule, text)| rule.canonicalise(text, &mut scratch) == Err(Reject::Empty))
    }
}
