//! What one node left on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use psi_core::{signature::PublicKey, statement::Statement, transcript::Transcript, verify::Verdict};
use psi_node::{audit, runs};
use serde_json::Value;

use super::sent::Sent;
use crate::nodes::Place;

pub(super) struct Side<'a> {
    pub(super) place: &'a Place,
    pub(super) key: PublicKey,
    /// Every result that an attempt names and that is there, with the run's id.
    pub(super) results: Vec<(String, Written)>,
    /// Everything under a result's name. Listed before the attempts: the node may just be releasing a result.
    there: Vec<PathBuf>,
    /// Id and folder of every finished run.
    pub(super) runs: BTreeMap<String, PathBuf>,
    /// Ids of the attempts that count.
    pub(super) charged: BTreeSet<String>,
}

/// A result under its name.
pub(super) struct Written {
    pub(super) path: PathBuf,
    /// How many lists were compared for it.
    pub(super) lists: usize,
}

impl<'a> Side<'a> {
    pub(super) fn read(place: &'a Place) -> Self {
        let (home, there) = (place.home(), place.results());
        let attempts = with_extension(&home.attempts(), "json");
        let attempts: Vec<Value> =
            attempts.map(|path| serde_json::from_slice(&read(&path)).unwrap()).collect();
        let results = attempts
            .iter()
            .map(|attempt| (text(attempt, "run_id"), Written::of(attempt)))
            .filter(|(_, result)| result.path.exists());
        let charged = attempts.iter().filter(|attempt| attempt["committed"].is_u64());
        let finished = entries(&home.runs()).filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            (!name.starts_with('.')).then_some((name, path))
        });
        Self {
            place,
            key: place.identity().public_key(),
            results: results.collect(),
            there,
            runs: finished.collect(),
            charged: charged.map(|attempt| text(attempt, "run_id")).collect(),
        }
    }

    /// I2.
    pub(super) fn signed_by_both(&self, keys: [PublicKey; 2], broken: &mut Vec<String>) {
        let name = &self.place.name;
        for (run, folder) in self.runs.iter().filter(|(_, folder)| !is_signed(folder, keys)) {
            broken.push(format!("I2 {name}: {run}: {} is not signed by both", folder.display()));
        }
        for (run, result) in self.results.iter().filter(|(run, _)| !self.runs.contains_key(run)) {
            broken.push(format!("I2 {name}: {} is there, the record of {run} is not", result.path.display()));
        }
        let known: BTreeSet<&Path> = self.results.iter().map(|(_, result)| result.path.as_path()).collect();
        for path in self.there.iter().filter(|path| !known.contains(path.as_path())) {
            broken.push(format!("I2 {name}: {} belongs to no attempt", path.display()));
        }
    }

    /// I4.
    pub(super) fn counts_every(&self, sent: &Sent, broken: &mut Vec<String>) {
        for run in sent.runs_of(self.key).filter(|run| !self.charged.contains(*run)) {
            broken.push(format!("I4 {}: the commit of {run} was sent and does not count", self.place.name));
        }
    }

    /// Every transcript, of finished runs and of others as far as they came; an error is damage.
    pub(super) fn transcripts(&self) -> Vec<Result<Transcript, String>> {
        let home = self.place.home();
        let of_runs =
            entries(&home.runs()).map(|folder| folder.join(runs::TRANSCRIPT)).filter(|path| path.exists());
        let paths = of_runs.chain(with_extension(&home.attempts(), "transcript"));
        paths
            .map(|path| {
                Transcript::decode(&read(&path)).map_err(|error| format!("{}: {error}", path.display()))
            })
            .collect()
    }
}

impl Written {
    fn of(attempt: &Value) -> Self {
        let lists = attempt["lists"].as_array().unwrap().len();
        Self { path: PathBuf::from(text(attempt, "output")), lists }
    }
}

fn text(attempt: &Value, field: &str) -> String {
    attempt[field].as_str().unwrap().to_owned()
}

fn is_signed(folder: &Path, keys: [PublicKey; 2]) -> bool {
    let note = fs::read(folder.join(runs::STATEMENT)).unwrap_or_default();
    let Ok((statement, _)) = Statement::from_note(&note) else { return false };
    let mut parties = statement.parties.map(|party| party.key);
    let mut keys = keys;
    parties.sort();
    keys.sort();
    // Of a run whose record was lost only the statement comes back.
    let verified = !folder.join(runs::TRANSCRIPT).exists()
        || audit::verify(folder, Some(keys)).is_ok_and(|report| report.verdict() == Verdict::Verified);
    parties == keys && verified
}

fn with_extension(folder: &Path, extension: &'static str) -> impl Iterator<Item = PathBuf> + use<> {
    entries(folder).filter(move |path| {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|found| found == extension)
    })
}

/// What is in a folder, in order; a folder that is not there is empty.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
