//! Looking at a list before anything is agreed: what it holds, what would be left out, and which type fits which column.
//!
//! Nothing is sent, and nothing is written but the rejects for whom they belong to, where that is asked for. Canonical forms
//! leave this module masked only.

mod fit;
mod mask;

use std::{collections::BTreeMap, path::Path};

use psi_core::identifier::CanonicalSet;
use serde::Serialize;

pub use self::fit::{Fit, Sure, fits, guess};
pub use self::mask::masked;
use crate::{
    input::{self, InputError, Judge, Key, Limits, Loaded, Rejects, Spec},
    output::{self, OutputError},
};

/// Rejects that are kept with their line: enough to show some of each reason.
const KEPT: usize = 10_000;
/// Lines that are shown of each reason.
const LINES: usize = 5;
/// Canonical forms that are shown.
const PREVIEW: usize = 5;

/// What a list holds of one type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// Without the heading and blank lines.
    pub rows: u64,
    /// Rows that are left out.
    pub rejected: u64,
    /// Why, the most frequent reason first.
    pub reasons: Vec<Reason>,
    /// Rows that repeat an identifier.
    pub duplicates: u64,
    /// Different identifiers: what an exchange would work on.
    pub items: u64,
    /// Rows that are accepted with a remark, by remark.
    pub remarks: BTreeMap<&'static str, u64>,
    /// Some of the canonical forms, masked.
    pub preview: Vec<String>,
}

/// Why rows are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Its stable name.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
    /// What it says of the first.
    pub first: String,
    /// Where the first ones are.
    pub lines: Vec<u64>,
}

/// Reads the list to its end, as a run would, however many rows are rejected. What is left out goes into the file
/// `rejects`, if there is anything.
///
/// # Errors
/// As [`input::open`] and [`input::load`]; a list of which every row is rejected has nothing to look at. Of the file, as
/// [`output::check`] and [`output::rejects`].
pub fn check(spec: &Spec, key: &Key, strict: bool, rejects: Option<&Path>) -> Result<Checked, OutputError> {
    let limits = Limits { max_rejects: 1.0, shown_rejects: KEPT, strict };
    let keys = std::slice::from_ref(key);
    let Some(target) = rejects else {
        return checked(spec, input::load(input::open(spec, None)?, spec, keys, &limits, None)?);
    };
    output::check(target)?;
    let (source, copy) = input::open_twice(spec)?;
    output::rejects_fit(target, source.columns())?;
    let loaded = input::load(source, spec, keys, &limits, None);
    if loaded.as_ref().map_or_else(InputError::is_too_many_rejects, |loaded| !loaded.rejects.is_empty()) {
        let rows = input::reopen(spec, copy.read()?)?;
        output::rejects(target, "check", rows, Judge::new(spec, keys, strict), false)?.release()?;
    }
    checked(spec, loaded?)
}

fn checked(spec: &Spec, loaded: Loaded) -> Result<Checked, OutputError> {
    let Loaded { mut lists, rows_read, rejects } = loaded;
    let list = lists.pop().ok_or_else(|| InputError::NoRows { path: spec.path.clone() })?;
    let filled = list.rows.len();
    let set =
        list.rows.into_set().map_err(|source| InputError::Scratch { path: spec.path.clone(), source })?;
    Ok(Checked {
        rows: rows_read,
        rejected: rejects.total,
        reasons: reasons(&rejects),
        duplicates: filled - set.len() as u64,
        items: set.len() as u64,
        remarks: list.warnings,
        preview: preview(&set),
    })
}

fn reasons(rejects: &Rejects) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = rejects
        .by_reason
        .iter()
        .map(|(reason, count)| {
            let mut of_it =
                rejects.first.iter().filter(|rejected| rejected.fault.reason() == *reason).peekable();
            let first = of_it.peek().map(|rejected| rejected.fault.to_string()).unwrap_or_default();
            let lines = of_it.take(LINES).map(|rejected| rejected.line).collect();
            Reason { reason, count: *count, first, lines }
        })
        .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    reasons
}

/// Forms from all over the set, so that neighbours don't tell more than one of them would.
fn preview(set: &CanonicalSet) -> Vec<String> {
    let shown = set.len().min(PREVIEW);
    (0..shown).map(|index| masked(&String::from_utf8_lossy(set.get(index * set.len() / shown)))).collect()
}

#[cfg(test)]
mod tests;
