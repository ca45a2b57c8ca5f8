//! Finding the wanted columns among those that a file has.

use std::path::Path;

use super::InputError;

/// A wanted column: where the file has it, and its place among the wanted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) column: usize,
    pub(super) place: usize,
}

/// The wanted columns from left to right. White space around a name doesn't count.
pub(super) fn wanted(columns: &[String], asked: &[String], path: &Path) -> Result<Vec<Wanted>, InputError> {
    let found = asked
        .iter()
        .enumerate()
        .map(|(place, asked)| find(columns, asked, path).map(|column| Wanted { column, place }));
    let mut wanted = found.collect::<Result<Vec<_>, _>>()?;
    wanted.sort_by_key(|wanted| wanted.column);
    Ok(wanted)
}

/// The place of a column by its name, which the heading must have once.
pub(crate) fn find(columns: &[String], asked: &str, path: &Path) -> Result<usize, InputError> {
    let asked = asked.trim();
    let mut found =
        columns.iter().enumerate().filter(|(_, name)| name.trim() == asked).map(|(index, _)| index);
    let (path, column) = (path.to_owned(), asked.to_owned());
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (Some(first), Some(second)) => {
            Err(InputError::DoubledColumn { path, column, first: first + 1, second: second + 1 })
        }
        (None, _) => Err(InputError::MissingColumn { path, column, hint: hint(columns, asked) }),
    }
}

/// A name that was probably meant, or how many there are. No other name is shown: in a file without a heading the first
/// row stands in their place.
fn hint(columns: &[String], asked: &str) -> String {
    let near = |name: &&str| strsim::levenshtein(name, asked) <= asked.chars().count().div_ceil(3);
    let meant = columns
        .iter()
        .map(|name| name.trim())
        .filter(near)
        .min_by_key(|name| strsim::levenshtein(name, asked));
    match meant {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("the first line has {} columns, none of a similar name", columns.len()),
    }
}
