//! The index in a file, `index.db`: SQLite, compiled in.
//!
//! Each row holds the record as its file has it; the other columns are what is asked for. The write-ahead log makes every
//! change whole or absent; that the last ones may be lost with the power is nothing, since they are read again.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use psi_core::message::ChainHead;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params, params_from_iter,
};

use super::{
    Filter, Store, StoreError,
    chains::Link,
    is_open,
    totals::{self, Total},
};
use crate::{
    durable,
    runs::{Attempt, Stamp, State},
};

/// `PSIX` in the file's header: whose database it is.
const APPLICATION: i32 = 0x5053_4958;
/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(5);
/// Each step from one version of the schema to the next; the header counts those that were taken.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE attempts (
        run_id TEXT PRIMARY KEY, job TEXT NOT NULL, peer_key TEXT NOT NULL, committed INTEGER, open INTEGER NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX charges ON attempts (peer_key, committed);
    CREATE INDEX jobs ON attempts (job, run_id);
",
    // Every record is read again: the folder has them all.
    "
    DROP TABLE attempts;
    CREATE TABLE attempts (
        run_id TEXT PRIMARY KEY, job TEXT NOT NULL, peer_key TEXT NOT NULL, committed INTEGER, open INTEGER NOT NULL,
        state TEXT NOT NULL, record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX charges ON attempts (peer_key, committed);
    CREATE INDEX jobs ON attempts (job, run_id);
    CREATE INDEX states ON attempts (job, state, run_id);
    CREATE TABLE totals (
        job TEXT, peer TEXT, figure TEXT, of TEXT, amount INTEGER NOT NULL, PRIMARY KEY (job, peer, figure, of)
    ) WITHOUT ROWID;
",
    "
    CREATE TABLE statements (
        run_id TEXT PRIMARY KEY, stamp TEXT NOT NULL, chain TEXT NOT NULL, height INTEGER NOT NULL,
        previous BLOB NOT NULL, digest BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX chains ON statements (chain, height);
",
];

/// The index in a file.
pub struct Sqlite(Connection);

impl Sqlite {
    /// Opens the file, or creates it, and brings its schema up to date.
    ///
    /// # Errors
    /// If it can't be opened, is no index, is damaged, or was written by a later version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match durable::create_private(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(path, &error)),
            _ => {}
        }
        let mut store = Self(Connection::open(path)?);
        store.prepare()?;
        Ok(store)
    }

    /// Removes what is there, and starts with an empty one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        for ending in ["", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            match fs::remove_file(PathBuf::from(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(path, &error)),
                _ => {}
            }
        }
        Self::open(path)
    }

    fn prepare(&mut self) -> Result<(), StoreError> {
        self.0.busy_timeout(BUSY)?;
        self.0.pragma_update(None, "journal_mode", "wal")?;
        self.0.pragma_update(None, "synchronous", "normal")?;
        let change = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let header = |name| change.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (application, version) = (header("application_id")?, header("user_version")?);
        if application != APPLICATION && (application, version) != (0, 0) {
            return Err(StoreError::Unusable("not an index of runs".to_owned()));
        }
        let steps =
            usize::try_from(version).ok().and_then(|taken| MIGRATIONS.get(taken..)).ok_or_else(|| {
                let known = MIGRATIONS.len();
                StoreError::Unusable(format!("its schema has version {version}, this program knows {known}"))
            })?;
        for step in steps {
            change.execute_batch(step)?;
        }
        if !steps.is_empty() {
            change.pragma_update(None, "application_id", APPLICATION)?;
            change.pragma_update(None, "user_version", MIGRATIONS.len() as i32)?;
        }
        Ok(change.commit()?)
    }

    fn records(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<Attempt>, StoreError> {
        let mut statement = self.0.prepare(sql)?;
        let texts = statement.query_map(parameters, |row: &Row<'_>| row.get::<_, String>(0))?;
        texts.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
    }
}

impl Store for Sqlite {
    fn known(&self) -> Result<HashMap<String, bool>, StoreError> {
        let mut statement = self.0.prepare("SELECT run_id, open FROM attempts")?;
        let known = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(known.collect::<Result<_, _>>()?)
    }

    fn apply(&mut self, records: &[Attempt], gone: &[String]) -> Result<(), StoreError> {
        let change = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for id in gone.iter().chain(records.iter().map(|record| &record.run_id)) {
            remove(&change, id)?;
        }
        for record in records {
            insert(&change, record)?;
        }
        Ok(change.commit()?)
    }

    fn charged(&self, peer_key: &str, since: u64) -> Result<Vec<Attempt>, StoreError> {
        let since = since.min(i64::MAX as u64) as i64;
        self.records(
            "SELECT record FROM attempts WHERE peer_key = ?1 AND committed >= ?2",
            params![peer_key, since],
        )
    }

    fn newest(&self, filter: Filter<'_>, most: usize) -> Result<Vec<Attempt>, StoreError> {
        let wanted = [("job", filter.job), ("state", filter.state.map(State::name))];
        let wanted: Vec<_> =
            wanted.into_iter().filter_map(|(column, value)| Some((column, value?))).collect();
        let conditions: String = wanted.iter().map(|(column, _)| format!(" AND {column} = ?")).collect();
        let sql =
            format!("SELECT record FROM attempts WHERE 1{conditions} ORDER BY run_id DESC LIMIT {most}");
        self.records(&sql, params_from_iter(wanted.iter().map(|(_, value)| value)))
    }

    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        let mut statement =
            self.0.prepare("SELECT job, peer, figure, of, amount FROM totals WHERE amount > 0")?;
        let totals = statement.query_map([], |row| {
            let (job, peer, figure, of) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Total { job, peer, figure, of, amount: row.get::<_, i64>(4)? as u64 })
        })?;
        Ok(totals.collect::<Result<_, _>>()?)
    }

    fn statements(&self) -> Result<HashMap<String, Stamp>, StoreError> {
        let mut statement = self.0.prepare("SELECT run_id, stamp FROM statements")?;
        let stamps = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(stamps.collect::<Result<_, _>>()?)
    }

    fn link(&mut self, links: &[Link], gone: &[String]) -> Result<(), StoreError> {
        let change = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for id in gone {
            change.execute("DELETE FROM statements WHERE run_id = ?1", [id])?;
        }
        for Link { run_id, stamp, chain, previous, head } in links {
            let (height, previous, digest) = (previous.height as i64, previous.digest, head.digest);
            change
                .prepare("INSERT OR REPLACE INTO statements VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![run_id, stamp, chain, height, previous, digest])?;
        }
        Ok(change.commit()?)
    }

    fn chain(&self, name: &str) -> Result<Vec<Link>, StoreError> {
        let mut statement = self.0.prepare(
            "SELECT run_id, stamp, height, previous, digest FROM statements WHERE chain = ?1 ORDER BY height",
        )?;
        let links = statement.query_map([name], |row| {
            let height = row.get::<_, i64>(2)? as u64;
            let previous = ChainHead { height, digest: row.get(3)? };
            let head = ChainHead { height: height.saturating_add(1), digest: row.get(4)? };
            Ok(Link { run_id: row.get(0)?, stamp: row.get(1)?, chain: name.to_owned(), previous, head })
        })?;
        Ok(links.collect::<Result<_, _>>()?)
    }
}

fn insert(change: &Transaction<'_>, record: &Attempt) -> Result<(), StoreError> {
    // The file's numbers have a sign.
    let committed = record.committed.map(|at| at.min(i64::MAX as u64) as i64);
    let (open, state, text) = (is_open(record), record.state.name(), serde_json::to_string(record)?);
    change.prepare("INSERT INTO attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
        record.run_id,
        record.job,
        record.peer_key,
        committed,
        open,
        state,
        text
    ])?;
    sum_up(change, record, 1)
}

/// Takes a record away, and what it had added to the sums.
fn remove(change: &Transaction<'_>, id: &str) -> Result<(), StoreError> {
    let text: Option<String> = change
        .prepare("SELECT record FROM attempts WHERE run_id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let Some(text) = text else { return Ok(()) };
    sum_up(change, &serde_json::from_str(&text)?, -1)?;
    change.execute("DELETE FROM attempts WHERE run_id = ?1", [id])?;
    Ok(())
}

fn sum_up(change: &Transaction<'_>, record: &Attempt, sign: i64) -> Result<(), StoreError> {
    let mut add = change.prepare(
        "INSERT INTO totals VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (job, peer, figure, of) DO UPDATE SET amount = amount + excluded.amount",
    )?;
    for (figure, of, amount) in totals::of(record) {
        add.execute(params![record.job, record.peer, figure, of, sign * amount as i64])?;
    }
    Ok(())
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(error.to_string()),
            _ => Self::Unusable(error.to_string()),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}

fn unusable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unusable(format!("{}: {error}", path.display()))
}
