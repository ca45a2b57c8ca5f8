//! The records of runs: finished ones, which may be handed out, and every attempt (docs/ARCHITECTURE.md, "Folders").
//!
//! `runs/ID` appears in one rename with everything in it. Until both have signed it is `runs/.closing-ID`, with our own
//! signature alone; should the peer show the full statement in a later hello, the run is finished from there.

mod results;
mod spent;

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use data_encoding::HEXLOWER;
use psi_core::{
    message::{ChainHead, Digest},
    session::{Closing, Signed},
    signature::PublicKey,
    statement::Statement,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::{results::Results, spent::Spent};
use crate::{
    durable,
    fault::{
        Code, Fault,
        disk::{damaged, storage},
    },
    home::Home,
    policy::Charge,
};

/// Name of the statement in a run's folder.
pub const STATEMENT: &str = "statement.note";
/// Name of the transcript in a run's folder.
pub const TRANSCRIPT: &str = "transcript";
/// Name of the evidence in a run's folder.
pub const EVIDENCE: &str = "evidence";

const CLOSING: &str = ".closing-";

/// The id of a run, the same on both sides: the initiator's start in UTC, and the first eight digits of the session id.
pub fn run_id(started: u64, sid: &Digest) -> String {
    let time = DateTime::<Utc>::from_timestamp(started.min(MAX_TIME) as i64, 0).unwrap_or_default();
    format!("{}-{}", time.format("%Y%m%dT%H%M%SZ"), &HEXLOWER.encode(sid)[..8])
}

/// What stands in for the id of a run of which nothing was sent, in the names of files: `TIME-unsent`.
pub fn unsent(now: u64) -> String {
    format!("{}-unsent", &run_id(now, &Digest::default())[..16])
}

/// The initiator's start as the id of a run has it, in seconds since 1970; 0 if it is no such id.
pub fn started(id: &str) -> u64 {
    let start = id.get(..16).and_then(|start| NaiveDateTime::parse_from_str(start, "%Y%m%dT%H%M%SZ").ok());
    start.map_or(0, |start| start.and_utc().timestamp().max(0) as u64)
}

/// The last second of the year 9999.
const MAX_TIME: u64 = 253_402_300_799;

/// A moment as people and programs read it: RFC 3339, UTC.
pub fn time(seconds: u64) -> String {
    let time = DateTime::<Utc>::from_timestamp(seconds.min(MAX_TIME) as i64, 0).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The folders of a node's runs.
#[derive(Clone, Debug)]
pub struct Runs {
    home: Home,
}

/// What a file's node, length and time of change say of it: another one after whoever touches it.
pub type Stamp = String;

/// A statement of a chain, with the note that carries both signatures.
#[derive(Clone, Debug)]
pub struct Link {
    /// What was signed.
    pub statement: Statement,
    /// With the signatures.
    pub note: Vec<u8>,
}

impl Runs {
    /// The runs of the node that lives there.
    pub fn of(home: &Home) -> Self {
        Self { home: home.clone() }
    }

    /// The folder of a finished run.
    pub fn folder(&self, id: &str) -> PathBuf {
        self.home.runs().join(id)
    }

    /// Transcript and statement of a finished run.
    ///
    /// # Errors
    /// [`Code::State`], with the file.
    pub fn read(&self, id: &str) -> Result<(Vec<u8>, Vec<u8>), Fault> {
        let path = self.folder(id).join(TRANSCRIPT);
        let transcript = fs::read(&path).map_err(|error| damaged(&path, &error))?;
        self.note(id).map(|note| (transcript, note))
    }

    /// The statement of a finished run, with both signatures.
    ///
    /// # Errors
    /// [`Code::State`], with the file.
    pub fn note(&self, id: &str) -> Result<Vec<u8>, Fault> {
        let path = self.folder(id).join(STATEMENT);
        fs::read(&path).map_err(|error| damaged(&path, &error))
    }

    /// The statement of a finished run; nobody verifies the signatures.
    ///
    /// # Errors
    /// [`Code::State`], with the file.
    pub fn statement(&self, id: &str) -> Result<Statement, Fault> {
        read_statement(&self.folder(id)).map(|link| link.statement)
    }

    /// Every finished run, and the stamp of its statement.
    ///
    /// # Errors
    /// [`Code::State`], with the file.
    pub fn stamps(&self) -> Result<Vec<(String, Stamp)>, Fault> {
        let stamp = |folder: PathBuf| {
            let path = folder.join(STATEMENT);
            let file = fs::metadata(&path).map_err(|error| damaged(&path, &error))?;
            let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (node, length, time) = (file.ino(), file.len(), [file.ctime(), file.ctime_nsec()]);
            Ok((id, format!("{node} {length} {}.{:09}", time[0], time[1])))
        };
        folders(&self.home.runs())?.into_iter().map(stamp).collect()
    }

    /// The chain of statements with that peer for that job, oldest first; gaps and doubles are damage.
    ///
    /// # Errors
    /// [`Code::State`], with the file.
    pub fn chain(&self, us: PublicKey, peer: PublicKey, job: &str) -> Result<Vec<Link>, Fault> {
        let mut chain = Vec::new();
        for folder in folders(&self.home.runs())? {
            let link = read_statement(&folder)?;
            if link.statement.job == job && is_pair(&link.statement, us, peer) {
                chain.push(link);
            }
        }
        chain.sort_by_key(|link| link.statement.previous.height);
        let mut head = ChainHead::default();
        for link in &chain {
            if link.statement.previous != head {
                let wrong = format!(
                    "the statements of job {job:?} do not form a chain at height {}",
                    head.height + 1
                );
                return Err(damaged(&self.home.runs(), &wrong));
            }
            head = link.statement.head();
        }
        Ok(chain)
    }

    /// Makes a run's record durable before our Close is sent: with our signature alone.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn store_closing(&self, id: &str, closing: &Closing) -> Result<(), Fault> {
        let folder = self.closing_folder(id)?;
        replace(&folder.join(TRANSCRIPT), &closing.transcript().encode())?;
        replace(&folder.join(STATEMENT), &closing.half_signed_note())
    }

    /// The folder of a run that is not finished, made if it isn't there; evidence is written here.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn closing_folder(&self, id: &str) -> Result<PathBuf, Fault> {
        let folder = self.home.runs().join(format!("{CLOSING}{id}"));
        durable::create_folder(&folder).map_err(|error| storage(&folder, &error))?;
        Ok(folder)
    }

    /// Removes the folder of a run that failed before we signed.
    pub fn discard(&self, id: &str) {
        // Nothing refers to it; what stays is litter that the next cleaning finds.
        let _ = fs::remove_dir_all(self.home.runs().join(format!("{CLOSING}{id}")));
    }

    /// Turns the record of a run into that of a finished one.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn finish(&self, id: &str, signed: &Signed) -> Result<PathBuf, Fault> {
        self.finish_with(id, &signed.note())
    }

    fn finish_with(&self, id: &str, note: &[u8]) -> Result<PathBuf, Fault> {
        let closing = self.closing_folder(id)?;
        replace(&closing.join(STATEMENT), note)?;
        let folder = self.folder(id);
        durable::rename_new(&closing, &folder).map_err(|error| storage(&folder, &error))?;
        Ok(folder)
    }

    /// Stores a statement that the peer showed us: finishes the run that waits for it, or records it alone.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn adopt(&self, statement: &Statement, note: &[u8]) -> Result<(), Fault> {
        let id = run_id(statement.parties[0].started, &statement.sid);
        if self.folder(&id).exists() {
            return Ok(());
        }
        let folder = self.finish_with(&id, note)?;
        tracing::info!(run = id, folder = %folder.display(), "adopted a statement that the peer had and we did not");
        let attempts = Attempts::of(&self.home);
        if let Some(attempt) = attempts.read(&id)?.filter(|attempt| attempt.state == State::Closing)
            && let Err(fault) = attempts.release(attempt)
        {
            // The statement is stored; that its result has no place must not stop the runs after it.
            tracing::error!(run = id, code = %fault.code, %fault, "the result of an adopted run was not released");
        }
        Ok(())
    }
}

fn read_statement(folder: &Path) -> Result<Link, Fault> {
    let path = folder.join(STATEMENT);
    let note = fs::read(&path).map_err(|error| damaged(&path, &error))?;
    let (statement, _) = Statement::read_note(&note).map_err(|error| damaged(&path, &error))?;
    Ok(Link { statement, note })
}

fn is_pair(statement: &Statement, us: PublicKey, peer: PublicKey) -> bool {
    let keys = statement.parties.each_ref().map(|party| party.key);
    keys == [us, peer] || keys == [peer, us]
}

/// The folders of finished runs.
fn folders(runs: &Path) -> Result<Vec<PathBuf>, Fault> {
    let entries = match fs::read_dir(runs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| damaged(runs, &error))?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| damaged(runs, &error))?;
        let finished = !entry.file_name().to_string_lossy().starts_with('.');
        if finished && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The parties agreed; nothing is disclosed but the sizes.
    Agreed,
    /// Our Commit is on its way.
    Committed,
    /// We signed; the peer has not, as far as we know.
    Closing,
    /// Both signed, and the result is released; whether the peer has our signature is not known.
    Unconfirmed,
    /// Both signed, and the result is released.
    Complete,
    /// It ended before we signed.
    Failed,
    /// It was given up before we signed.
    Abandoned,
}

impl State {
    /// Whether something may come of it yet.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Agreed | Self::Committed | Self::Closing)
    }
}

impl State {
    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Committed => "committed",
            Self::Closing => "closing",
            Self::Unconfirmed => "complete, peer unconfirmed",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// The record of an attempt: what was disclosed to whom, and how it ended. Counts and names, no identifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Run id.
    pub run_id: String,
    /// Name of the job.
    pub job: String,
    /// The agreement.
    pub agreement: String,
    /// Our name for the peer.
    pub peer: String,
    /// Its key.
    pub peer_key: String,
    /// `initiator` or `responder`.
    pub role: String,
    /// When our Commit was sent, in seconds since 1970: from then on something is disclosed, and the attempt counts.
    pub committed: Option<u64>,
    /// What was compared, a list each type of identifier.
    pub lists: Vec<AttemptList>,
    /// How far it came.
    pub state: State,
    /// Where the result goes.
    pub output: PathBuf,
    /// Where what was left out of the list goes, if that is wanted and anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejects: Option<PathBuf>,
    /// Whether the result keeps to what is new since the last finished run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub only_new: bool,
    /// What became of our rows, once the lists were joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<AttemptRows>,
    /// How often it went on over another connection.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed: u32,
    /// What it took.
    #[serde(default, skip_serializing_if = "Spent::is_empty")]
    pub spent: Spent,
    /// Code and text of the error that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One list of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptList {
    /// The type of its identifiers.
    pub profile: String,
    /// Items of our list.
    pub items_ours: u64,
    /// Items of the peer's list: as many identifiers could it test.
    pub items_theirs: u64,
    /// Identifiers that both have, once the lists were joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<u64>,
}

impl Attempt {
    /// What it is charged for once our Commit was sent, list by list.
    pub fn charges(&self) -> impl Iterator<Item = Charge> {
        let of = move |committed, list: &AttemptList| Charge {
            run_id: self.run_id.clone(),
            job: self.job.clone(),
            profile: list.profile.clone(),
            committed,
            tested: list.items_theirs,
        };
        self.committed
            .into_iter()
            .flat_map(move |committed| self.lists.iter().map(move |list| of(committed, list)))
    }
}

/// What became of the rows of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptRows {
    /// Rows of the list.
    pub read: u64,
    /// Rows that were left out.
    pub rejected: u64,
    /// Cells that were left out of rows that have another usable identifier.
    pub cells_rejected: u64,
    /// Rows that repeat an identifier, list by list.
    pub duplicates: Vec<u64>,
    /// Rows in the result.
    pub written: u64,
    /// Matching rows that are not in it, since they matched in the run before.
    #[serde(default, skip_serializing_if = "is_none_left")]
    pub known: u64,
    /// That run, if there was one to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_none_left(rows: &u64) -> bool {
    *rows == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The records of attempts of a node.
#[derive(Clone, Debug)]
pub struct Attempts {
    home: Home,
    folder: PathBuf,
}

impl Attempts {
    /// The attempts of the node that lives there.
    pub fn of(home: &Home) -> Self {
        Self { home: home.clone(), folder: home.attempts() }
    }

    /// Writes a record durably, in place of an earlier one of the same run.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn write(&self, attempt: &Attempt) -> Result<(), Fault> {
        durable::create_folder(&self.folder).map_err(|error| storage(&self.folder, &error))?;
        let mut json = serde_json::to_vec_pretty(attempt).expect("names and numbers always have a JSON form");
        json.push(b'\n');
        replace(&self.path(&attempt.run_id), &json)
    }

    /// Keeps the transcript of a run that failed, as far as it came: its step signatures show a third party how far.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn keep_transcript(&self, run_id: &str, transcript: &[u8]) -> Result<(), Fault> {
        replace(&self.folder.join(format!("{run_id}.transcript")), transcript)
    }

    /// The record of a run; `None` if there is none.
    ///
    /// # Errors
    /// [`Code::State`] if it can't be read.
    pub fn read(&self, run_id: &str) -> Result<Option<Attempt>, Fault> {
        let path = self.path(run_id);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(damaged(&path, &error)),
            Ok(json) => parse(&json).map(Some).map_err(|error| damaged(&path, &error)),
        }
    }

    /// The record of the run that somebody named.
    ///
    /// # Errors
    /// [`Code::NoSuchRun`] if there is none, [`Code::State`] if it can't be read.
    pub fn named(&self, run_id: &str) -> Result<Attempt, Fault> {
        let named = !run_id.contains('/');
        let attempt = if named { self.read(run_id)? } else { None };
        attempt.ok_or_else(|| Fault::new(Code::NoSuchRun, format!("no run {run_id:?}")))
    }

    /// The attempts of a job that something may come of yet, oldest first.
    ///
    /// # Errors
    /// [`Code::State`] if a record can't be read.
    pub fn open(&self, job: &str) -> Result<Vec<Attempt>, Fault> {
        let mut open = self.all()?;
        open.retain(|attempt| attempt.job == job && attempt.state.is_open());
        Ok(open)
    }

    /// The attempts with that key whose session ids begin like this one.
    ///
    /// # Errors
    /// [`Code::State`] if a record can't be read.
    pub fn of_session(&self, sid: &Digest, peer_key: PublicKey) -> Result<Vec<Attempt>, Fault> {
        let (key, end) = (peer_key.to_string(), run_id(0, sid)[16..].to_owned());
        let mut attempts = self.all()?;
        attempts.retain(|attempt| attempt.peer_key == key && attempt.run_id.ends_with(&end));
        Ok(attempts)
    }

    /// Every record, by run id.
    ///
    /// # Errors
    /// [`Code::State`] if one can't be read.
    pub fn all(&self) -> Result<Vec<Attempt>, Fault> {
        let mut attempts = Vec::new();
        for id in self.ids()? {
            attempts.extend(self.read(&id)?);
        }
        Ok(attempts)
    }

    /// The ids of all records.
    ///
    /// # Errors
    /// [`Code::State`] if the folder can't be read.
    pub fn ids(&self) -> Result<Vec<String>, Fault> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| damaged(&self.folder, &error))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| damaged(&self.folder, &error))?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.filter(|id| !id.starts_with('.')).map(str::to_owned));
        }
        ids.sort();
        Ok(ids)
    }

    /// The peer has shown that it has our signatures.
    ///
    /// # Errors
    /// [`Code::State`] if a record can't be read, [`Code::Storage`].
    pub fn confirm(&self, job: &str, peer_key: PublicKey) -> Result<(), Fault> {
        let key = peer_key.to_string();
        let unconfirmed = |attempt: &Attempt| {
            (&attempt.job[..], &attempt.peer_key, attempt.state) == (job, &key, State::Unconfirmed)
        };
        for attempt in self.all()?.into_iter().filter(unconfirmed) {
            self.write(&Attempt { state: State::Complete, ..attempt })?;
        }
        Ok(())
    }

    /// Gives up an attempt that something might have come of. The record and its charge stay; the key's seed goes, and the
    /// prepared result unless we have signed: the peer may yet show its signature.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn abandon(&self, attempt: Attempt, reason: &str) -> Result<(), Fault> {
        tracing::warn!(run = attempt.run_id, reason, "the run is given up");
        self.remove_private(&attempt.run_id)?;
        let error = Some(format!("abandoned: {reason}"));
        if attempt.state == State::Closing {
            return self.write(&Attempt { error, ..attempt });
        }
        Runs::of(&self.home).discard(&attempt.run_id);
        Results::of(&self.home, &attempt)?.discard()?;
        self.write(&Attempt { state: State::Abandoned, error, ..attempt })
    }

    /// Removes a run's sealed files. Threads of a conversation that was cut may still be writing: without the folder's name they
    /// come to nothing.
    fn remove_private(&self, run_id: &str) -> Result<(), Fault> {
        let folder = self.home.private().join(run_id);
        let gone = self.home.private().join(format!(".gone-{run_id}"));
        match fs::rename(&folder, &gone).and_then(|()| fs::remove_dir_all(&gone)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(storage(&folder, &error)),
            _ => Ok(()),
        }
    }

    /// Releases what a run has prepared whose statement has both signatures now.
    fn release(&self, attempt: Attempt) -> Result<(), Fault> {
        Results::of(&self.home, &attempt)?.release()?;
        tracing::info!(run = attempt.run_id, output = %attempt.output.display(), "released the result");
        self.write(&Attempt { state: State::Complete, error: None, ..attempt })
    }

    fn path(&self, run_id: &str) -> PathBuf {
        self.folder.join(format!("{run_id}.json"))
    }
}

/// A record that has its one list's fields beside the others was written before there could be several.
fn parse(json: &[u8]) -> serde_json::Result<Attempt> {
    let mut record: Map<String, Value> = serde_json::from_slice(json)?;
    if record.contains_key("profile") {
        let fields = ["profile", "items_ours", "items_theirs"];
        let list: Map<_, _> = fields.iter().filter_map(|field| record.remove_entry(*field)).collect();
        record.insert("lists".to_owned(), Value::Array(vec![Value::Object(list)]));
    }
    serde_json::from_value(Value::Object(record))
}

pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Fault> {
    durable::replace(path, content).map_err(|error| storage(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{
  "run_id": "20261122T120000Z-00112233", "job": "agents", "agreement": "AGR-1", "peer": "bank-b",
  "peer_key": "ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=", "profile": "cn.mobile/1", "role": "initiator",
  "committed": 1800000000, "items_ours": 138, "items_theirs": 150, "state": "complete", "output": "/out/a.csv"
}"#;

    fn list(profile: &str, items: [u64; 2], matches: Option<u64>) -> AttemptList {
        AttemptList { profile: profile.into(), items_ours: items[0], items_theirs: items[1], matches }
    }

    fn attempts() -> (tempfile::TempDir, Attempts) {
        let folder = tempfile::tempdir().unwrap();
        let attempts = Attempts::of(&Home::at(folder.path()));
        (folder, attempts)
    }

    #[test]
    fn records_of_the_first_form_are_still_read() {
        let (_folder, attempts) = attempts();
        let first = parse(FIRST.as_bytes()).unwrap();
        assert_eq!(first.lists, [list("cn.mobile/1", [138, 150], None)]);
        fs::create_dir_all(&attempts.folder).unwrap();
        fs::write(attempts.path(&first.run_id), FIRST).unwrap();
        let key: PublicKey = first.peer_key.parse().unwrap();
        let mut index = crate::store::Index::open(&attempts.home);
        let charges = index.ledger(key, 1_800_000_000).unwrap().0;
        assert_eq!((charges.len(), charges[0].tested, charges[0].profile.as_str()), (1, 150, "cn.mobile/1"));
        assert!(index.ledger(key, 1_800_000_001).unwrap().0.is_empty());
    }

    #[test]
    fn a_record_holds_every_list() {
        let (_folder, attempts) = attempts();
        let lists = vec![list("cn.mobile/1", [3, 4], Some(2)), list("cn.rid/1", [5, 6], None)];
        let attempt = Attempt { lists, ..parse(FIRST.as_bytes()).unwrap() };
        attempts.write(&attempt).unwrap();
        assert_eq!(attempts.read(&attempt.run_id).unwrap(), Some(attempt));
    }

    #[test]
    fn what_is_no_record_is_named() {
        for (right, wrong) in
            [("\"profile\": \"cn.mobile/1\",", ""), ("\"job\"", "\"jobs\""), ("138", "-1"), ("}", "")]
        {
            assert!(parse(FIRST.replace(right, wrong).as_bytes()).is_err(), "{wrong}");
        }
    }
}
