//! Reading a list to its end: the cells of every row become identifiers, one canonical set a key.

use std::collections::BTreeMap;

use psi_core::identifier::Remark;

use super::gather::NotGathered;
use super::{Gathered, InputError, Judge, Judgement, Key, Rejected, Row, RowFault, Source, Spec};
use crate::scratch::Scratch;

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
    /// Themselves, in the order of the rows.
    pub rows: Gathered,
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

    /// Takes what was left out of a row; at most `shown` are kept.
    fn note(&mut self, usable: bool, rejected: impl Iterator<Item = Rejected>, shown: usize) {
        let mut cells = 0;
        for rejected in rejected {
            cells += 1;
            *self.by_reason.entry(rejected.fault.reason()).or_default() += 1;
            if self.first.len() < shown.max(1) {
                self.first.push(rejected);
            }
        }
        if usable {
            self.cells += cells;
        } else {
            self.total += 1;
        }
    }
}

/// Reads a source to its end. The spec wants the columns of every key. Identifiers stay in memory, or go into `scratch`.
pub fn load(
    mut source: Box<dyn Source>,
    spec: &Spec,
    keys: &[Key],
    limits: &Limits,
    scratch: Option<&Scratch>,
) -> Result<Loaded, InputError> {
    let scratch = scratch.map(|scratch| scratch.shared(keys.len()));
    let mut loading = Loading::new(spec, keys, limits, scratch.as_ref());
    while let Some(row) = source.row()? {
        loading.take(&row)?;
    }
    source.finish()?;
    loading.finish()
}

/// A list while its rows come in.
struct Loading<'a> {
    spec: &'a Spec,
    limits: &'a Limits,
    judge: Judge<'a>,
    keys: Vec<Filling<'a>>,
    rows_read: u64,
    rejects: Rejects,
}

impl<'a> Loading<'a> {
    fn new(spec: &'a Spec, keys: &'a [Key], limits: &'a Limits, scratch: Option<&Scratch>) -> Self {
        Self {
            spec,
            limits,
            judge: Judge::new(spec, keys, limits.strict),
            keys: keys.iter().map(|key| Filling::new(key, scratch)).collect(),
            rows_read: 0,
            rejects: Rejects::default(),
        }
    }

    fn take(&mut self, row: &Row<'_>) -> Result<(), InputError> {
        self.rows_read += 1;
        let Self { keys, spec, .. } = self;
        let usable = self.judge.judge(row, |key, judgement| keys[key].take(row, judgement, spec))?;
        self.rejects.note(usable, self.judge.rejected(row.line), self.limits.shown_rejects);
        Ok(())
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
    rows: Gathered,
    refused: u64,
    first_refused: Option<(u64, RowFault)>,
    warnings: BTreeMap<&'static str, u64>,
}

impl<'a> Filling<'a> {
    fn new(key: &'a Key, scratch: Option<&Scratch>) -> Self {
        let (rows, warnings) = (Gathered::new(scratch.cloned()), BTreeMap::new());
        Self { key, rows, refused: 0, first_refused: None, warnings }
    }

    fn take(&mut self, row: &Row<'_>, judgement: Judgement<'_>, spec: &Spec) -> Result<(), InputError> {
        match judgement {
            Judgement::Item(canonical, remark) => {
                self.rows.push(canonical).map_err(|error| not_gathered(spec, error))?;
                if let Some(Remark { warning, .. }) = remark {
                    *self.warnings.entry(warning.reason()).or_default() += 1;
                }
                return Ok(());
            }
            Judgement::Absent => {}
            Judgement::Refused(fault) => {
                self.refused += 1;
                self.first_refused.get_or_insert((row.line, fault));
            }
        }
        self.rows.skip();
        Ok(())
    }

    /// A column of which too much is refused is the wrong one, however well the others read.
    fn enough_cells(&self, spec: &Spec, limits: &Limits) -> Result<(), InputError> {
        let cells = self.refused + self.rows.len();
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
        LoadedList { rows: self.rows, warnings: self.warnings }
    }
}

fn not_gathered(spec: &Spec, error: NotGathered) -> InputError {
    let path = spec.path.clone();
    match error {
        NotGathered::Full(source) => InputError::Full { path, source },
        NotGathered::Scratch(source) => InputError::Scratch { path, source },
    }
}

#[cfg(test)]
mod tests;
