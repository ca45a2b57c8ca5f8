//! Reading a list to its end: the cells of every row become identifiers, one canonical set a key.
//!
//! A row counts if one of its keys is usable. Where a job has several keys, an empty cell only says that the row has no
//! identifier of that type; where it has one, the row is rejected. What else a profile refuses is a reject: of the row
//! if nothing of it is usable, and otherwise of the cell alone.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use psi_core::identifier::{BadCell, CanonicalSet, MAX_PARTS, Profile, Reject, Remark, SetBuilder};
use zeroize::Zeroizing;

use super::{Cells, InputError, Row, RowFault, RowMap, Source, Spec};

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

/// Bounds of [`load`].
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The share of rows, and of the filled cells of each key, that may be rejected: 0 to 1.
    pub max_rejects: f64,
    /// How many rejects are kept with line and reason.
    pub shown_rejects: usize,
    /// Whether a warning of the profile rejects the cell.
    pub strict: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_rejects: 0.01, shown_rejects: 100, strict: false }
    }
}

/// What was read, ready to be exchanged.
#[derive(Debug)]
pub struct Loaded {
    /// One list a key, in their order.
    pub lists: Vec<LoadedList>,
    /// Rows without the heading and blank lines; rejected ones count.
    pub rows_read: u64,
    /// What was left out.
    pub rejects: Rejects,
}

/// The identifiers of one type.
#[derive(Debug)]
pub struct LoadedList {
    /// Themselves.
    pub set: CanonicalSet,
    /// Which item each row holds.
    pub rows: RowMap,
    /// Rows that hold an identifier of an earlier row.
    pub duplicates: u64,
    /// Rows that were accepted with a remark, by reason.
    pub warnings: BTreeMap<&'static str, u64>,
}

/// Rows and cells that were left out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rejects {
    /// Rows of which nothing is usable.
    pub total: u64,
    /// Cells of rows that have something else that is usable.
    pub cells: u64,
    /// How many, by [`RowFault::reason`].
    pub by_reason: BTreeMap<&'static str, u64>,
    /// The first of them.
    pub first: Vec<Rejected>,
}

impl Rejects {
    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.total == 0 && self.cells == 0
    }

    fn note(&mut self, rejected: Rejected, shown: usize) {
        *self.by_reason.entry(rejected.fault.reason()).or_default() += 1;
        if self.first.len() < shown.max(1) {
            self.first.push(rejected);
        }
    }
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

/// Reads a source to its end. The spec wants the columns of every key.
pub fn load(
    mut source: Box<dyn Source>,
    spec: &Spec,
    keys: &[Key],
    limits: &Limits,
) -> Result<Loaded, InputError> {
    let mut loading = Loading::new(spec, keys, limits);
    while let Some(row) = source.row()? {
        loading.take(&row)?;
    }
    source.finish()?;
    loading.finish()
}

/// A cell, or a whole row, that says nothing.
const NOTHING: RowFault = RowFault::Identifier(Reject::Empty);

/// A list while its rows come in.
struct Loading<'a> {
    spec: &'a Spec,
    limits: &'a Limits,
    keys: Vec<Filling<'a>>,
    rows_read: u64,
    rejects: Rejects,
    /// Of the row at hand: the place of the cell among the wanted ones, and what is wrong with it.
    refused: Vec<(usize, RowFault)>,
    canonical: Zeroizing<Vec<u8>>,
}

impl<'a> Loading<'a> {
    fn new(spec: &'a Spec, keys: &'a [Key], limits: &'a Limits) -> Self {
        Self {
            spec,
            limits,
            keys: keys.iter().map(|key| Filling::new(spec, key)).collect(),
            rows_read: 0,
            rejects: Rejects::default(),
            refused: Vec::new(),
            canonical: Zeroizing::new(Vec::with_capacity(64)),
        }
    }

    fn take(&mut self, row: &Row<'_>) -> Result<(), InputError> {
        self.rows_read += 1;
        match &row.cells {
            Ok(cells) => self.take_cells(row, *cells),
            Err(fault) => {
                self.keys.iter_mut().for_each(|key| key.without.push(row.ordinal));
                self.reject_row(row.line, *fault);
                Ok(())
            }
        }
    }

    fn take_cells(&mut self, row: &Row<'_>, cells: Cells<'_>) -> Result<(), InputError> {
        let several = self.keys.len() > 1;
        let mut usable = false;
        for key in &mut self.keys {
            match key.judge(cells, self.limits.strict, &mut self.canonical) {
                Ok(remark) => {
                    key.add(&self.canonical, remark)
                        .map_err(|source| InputError::Full { path: self.spec.path.clone(), source })?;
                    usable = true;
                }
                Err((_, NOTHING)) if several => key.without.push(row.ordinal),
                Err((place, fault)) => {
                    key.without.push(row.ordinal);
                    key.refuse(row.line, fault);
                    // Another key over the same column has refused it already.
                    if !self.refused.contains(&(place, fault)) {
                        self.refused.push((place, fault));
                    }
                }
            }
        }
        self.settle(row.line, usable);
        Ok(())
    }

    /// Notes what was refused of the row that was just judged.
    fn settle(&mut self, line: u64, usable: bool) {
        if usable {
            self.rejects.cells += self.refused.len() as u64;
        } else if self.refused.is_empty() {
            return self.reject_row(line, NOTHING);
        } else {
            self.rejects.total += 1;
        }
        let named = self.spec.columns.len() > 1;
        for (place, fault) in self.refused.drain(..) {
            let column = named.then(|| self.spec.columns[place].clone());
            self.rejects.note(Rejected { line, column, fault }, self.limits.shown_rejects);
        }
    }

    fn reject_row(&mut self, line: u64, fault: RowFault) {
        self.rejects.total += 1;
        self.rejects.note(Rejected { line, column: None, fault }, self.limits.shown_rejects);
    }

    fn finish(self) -> Result<Loaded, InputError> {
        self.enough_rows()?;
        if self.keys.len() > 1 {
            self.keys.iter().try_for_each(|key| key.enough_cells(self.spec, self.limits))?;
        }
        let lists = self.keys.into_iter().map(Filling::finish).collect();
        Ok(Loaded { lists, rows_read: self.rows_read, rejects: self.rejects })
    }

    fn enough_rows(&self) -> Result<(), InputError> {
        let (rows, rejected, allowed) = (self.rows_read, self.rejects.total, self.limits.max_rejects);
        let path = || self.spec.path.clone();
        match self.rejects.first.first() {
            None if rows == 0 => Err(InputError::NoRows { path: path() }),
            Some(first) if rejected == rows || rejected as f64 > allowed * rows as f64 => {
                let (first, percent) = (first.clone().into(), allowed * 100.0);
                Err(InputError::TooManyRejects { path: path(), rejected, rows, percent, first })
            }
            _ => Ok(()),
        }
    }
}

/// The list of one key while its rows come in.
struct Filling<'a> {
    key: &'a Key,
    /// Where its columns stand among the wanted ones.
    places: Vec<usize>,
    builder: SetBuilder,
    /// Rows that have no item here.
    without: Vec<u32>,
    refused: u64,
    first_refused: Option<(u64, RowFault)>,
    warnings: BTreeMap<&'static str, u64>,
}

impl<'a> Filling<'a> {
    fn new(spec: &Spec, key: &'a Key) -> Self {
        let place = |column: &String| {
            let place = spec.columns.iter().position(|wanted| wanted == column);
            place.expect("the spec wants the columns of every key")
        };
        Self {
            key,
            places: key.columns.iter().map(place).collect(),
            builder: SetBuilder::new(),
            without: Vec::new(),
            refused: 0,
            first_refused: None,
            warnings: BTreeMap::new(),
        }
    }

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

    fn add(
        &mut self,
        canonical: &[u8],
        remark: Option<Remark>,
    ) -> Result<(), psi_core::identifier::BuildError> {
        self.builder.push(canonical)?;
        if let Some(Remark { warning, .. }) = remark {
            *self.warnings.entry(warning.reason()).or_default() += 1;
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, fault: RowFault) {
        self.refused += 1;
        self.first_refused.get_or_insert((line, fault));
    }

    /// A column of which too much is refused is the wrong one, however well the others read.
    fn enough_cells(&self, spec: &Spec, limits: &Limits) -> Result<(), InputError> {
        let cells = self.refused + self.builder.len() as u64;
        match self.first_refused {
            Some((line, fault)) if self.refused as f64 > limits.max_rejects * cells as f64 => {
                Err(InputError::TooManyBadCells {
                    path: spec.path.clone(),
                    column: self.key.label(),
                    rejected: self.refused,
                    cells,
                    percent: limits.max_rejects * 100.0,
                    first: Rejected { line, column: None, fault }.into(),
                })
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> LoadedList {
        let (set, items, duplicates) = self.builder.finish();
        let rows = RowMap::new(items, self.without);
        LoadedList { set, rows, duplicates: duplicates as u64, warnings: self.warnings }
    }
}

#[cfg(test)]
mod tests;
