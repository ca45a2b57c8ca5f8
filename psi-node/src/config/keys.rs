//! The keys of a list as they are written: `column` and `profile` for one, `keys` for several.

use std::path::PathBuf;

use psi_core::{identifier::Profile, terms::MAX_LISTS};
use serde::Deserialize;

use super::{Input, default_max_rejects, parsed, parsed_option, share};
use crate::input::{Delimiter, Encoding, Format, Key};

/// A list as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    path: PathBuf,
    #[serde(default, deserialize_with = "parsed_option")]
    format: Option<Format>,
    #[serde(default, deserialize_with = "parsed")]
    encoding: Encoding,
    #[serde(default, deserialize_with = "parsed_option")]
    delimiter: Option<Delimiter>,
    sheet: Option<String>,
    column: Option<String>,
    columns: Option<Vec<String>>,
    #[serde(default, deserialize_with = "parsed_option")]
    profile: Option<Profile>,
    keys: Option<Vec<WrittenKey>>,
    #[serde(default = "default_max_rejects", deserialize_with = "share")]
    max_rejects: f64,
    #[serde(default)]
    strict: bool,
}

/// A key as it is written, checked on the way.
#[derive(Deserialize)]
#[serde(try_from = "Columns")]
struct WrittenKey(Key);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    column: Option<String>,
    columns: Option<Vec<String>>,
    #[serde(deserialize_with = "parsed")]
    profile: Profile,
}

impl TryFrom<Written> for Input {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { path, format, encoding, delimiter, sheet, max_rejects, strict, .. } = written;
        let Written { column, columns, profile, keys, .. } = written;
        let short = column.is_some() || columns.is_some() || profile.is_some();
        let keys = match (keys, profile) {
            (Some(keys), None) if !short => several(keys)?,
            (None, Some(profile)) => vec![WrittenKey::try_from(Columns { column, columns, profile })?.0],
            _ => return Err("expected either `column` and `profile`, or `keys`".to_owned()),
        };
        Ok(Self { path, format, encoding, delimiter, sheet, keys, max_rejects, strict })
    }
}

impl TryFrom<Columns> for WrittenKey {
    type Error = String;

    fn try_from(written: Columns) -> Result<Self, String> {
        let columns = match (written.column, written.columns) {
            (Some(column), None) => vec![column],
            (None, Some(columns)) => columns,
            _ => return Err(format!("{}: expected either `column` or `columns`", written.profile)),
        };
        key(columns, written.profile).map(Self)
    }
}

/// A key whose profile takes that many columns.
///
/// # Errors
/// If it takes another number.
pub fn key(columns: Vec<String>, profile: Profile) -> Result<Key, String> {
    match (profile.parts().len(), columns.len()) {
        (expected, got) if expected == got => Ok(Key { columns, profile }),
        (1, got) => Err(format!("{profile} is over one column, got {got}")),
        (expected, got) => Err(format!("{profile} is over {expected} columns, got {got}")),
    }
}

fn several(keys: Vec<WrittenKey>) -> Result<Vec<Key>, String> {
    let keys: Vec<Key> = keys.into_iter().map(|WrittenKey(key)| key).collect();
    check(&keys).map(|()| keys)
}

/// Keys that one session can compare and one result can tell apart.
///
/// # Errors
/// With the first that don't fit together.
pub fn check(keys: &[Key]) -> Result<(), String> {
    if !(1..=MAX_LISTS).contains(&keys.len()) {
        return Err(format!("expected 1 to {MAX_LISTS} keys, got {}", keys.len()));
    }
    if let Some(key) = keys.iter().find(|key| keys.len() > 1 && key.label().contains(';')) {
        return Err(format!("column {:?}: the result names columns with ; between them", key.label()));
    }
    for (index, key) in keys.iter().enumerate() {
        if keys[..index].iter().any(|before| before.profile == key.profile) {
            return Err(format!("{} stands in two keys: a job has one list of each type", key.profile));
        }
        if keys[..index].iter().any(|before| before.label() == key.label()) {
            return Err(format!("two keys are over {:?}: the result could not tell them apart", key.label()));
        }
    }
    Ok(())
}
