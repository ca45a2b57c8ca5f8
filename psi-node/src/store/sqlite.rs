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

use rusqlite::{Connection, ErrorCode, Row, TransactionBehavior, params};

use super::{Store, StoreError, is_open};
use crate::{durable, runs::Attempt};

/// `PSIX` in the file's header: whose database it is.
const APPLICATION: i32 = 0x5053_4958;
/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(5);
/// Each step from one version of the schema to the next; the header counts those that were taken.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE attempts (
        run_id TEXT PRIMARY KEY, job TEXT NOT NULL, peer_key TEXT NOT NULL, committed INTEGER, open INTEGER NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX charges ON attempts (peer_key, committed);
    CREATE INDEX jobs ON attempts (job, run_id);
"];

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
        for record in records {
            let text = serde_json::to_string(record)?;
            // The file's numbers have a sign.
            let committed = record.committed.map(|at| at.min(i64::MAX as u64) as i64);
            change.execute(
                "INSERT OR REPLACE INTO attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![record.run_id, record.job, record.peer_key, committed, is_open(record), text],
            )?;
        }
        for id in gone {
            change.execute("DELETE FROM attempts WHERE run_id = ?1", [id])?;
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

    fn newest(&self, job: Option<&str>, most: usize) -> Result<Vec<Attempt>, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        match job {
            Some(job) => self.records(
                "SELECT record FROM attempts WHERE job = ?1 ORDER BY run_id DESC LIMIT ?2",
                params![job, most],
            ),
            None => self.records("SELECT record FROM attempts ORDER BY run_id DESC LIMIT ?1", [most]),
        }
    }
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
