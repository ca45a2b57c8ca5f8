//! An index over the records of attempts and over the statements, so that years of them need not be read for one run:
//! `trait Store`.
//!
//! The folders are the truth. Before it is asked, the index is compared with the names in `attempts/`: records that it
//! doesn't know and those that may still change are read, and nothing else; `chains` does the same with `runs/`. So it is
//! right after a crash, a restored backup and a run of an older version, and whoever writes a record need not know of it
//! (docs/decisions/0022). An index that can't be used is made anew; where that fails, memory takes its place for as long as
//! the process lives.

pub mod chains;
pub mod memory;
pub mod sqlite;
#[cfg(test)]
mod tests;
pub mod totals;

use std::collections::HashMap;

use psi_core::{message::ChainHead, signature::PublicKey};

use self::{chains::Link, memory::Memory, sqlite::Sqlite, totals::Total};
use crate::{
    fault::{Code, Fault},
    home::Home,
    policy::Ledger,
    runs::{Attempt, Attempts, Runs, Stamp, State},
};

/// Why an index can't be used, in the words of what keeps it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it for too long; it is not damaged.
    #[error("{0}")]
    Busy(String),
    /// It is damaged, or can't be read or written.
    #[error("{0}")]
    Unusable(String),
}

/// What keeps the index.
pub trait Store: Send {
    /// The ids of the records that it has, and whether they may still change.
    fn known(&self) -> Result<HashMap<String, bool>, StoreError>;

    /// When it returns, those records are as given and these ids are gone; on an error nothing has changed.
    fn apply(&mut self, records: &[Attempt], gone: &[String]) -> Result<(), StoreError>;

    /// The records with that key whose Commit was sent at `since` or later, in seconds since 1970, in any order.
    fn charged(&self, peer_key: &str, since: u64) -> Result<Vec<Attempt>, StoreError>;

    /// The newest records that pass, newest first.
    fn newest(&self, filter: Filter<'_>, most: usize) -> Result<Vec<Attempt>, StoreError>;

    /// What the records sum up to, in any order; sums of nothing may be missing.
    fn totals(&self) -> Result<Vec<Total>, StoreError>;

    /// The stamps of the statements that it has, by run id.
    fn statements(&self) -> Result<HashMap<String, Stamp>, StoreError>;

    /// When it returns, those statements are as given and those of these ids are gone; on an error nothing has changed.
    fn link(&mut self, links: &[Link], gone: &[String]) -> Result<(), StoreError>;

    /// The statements of the chain of that name, by height.
    fn chain(&self, name: &str) -> Result<Vec<Link>, StoreError>;
}

/// Which records are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Of this job only.
    pub job: Option<&'a str>,
    /// In this state only.
    pub state: Option<State>,
}

impl<'a> Filter<'a> {
    /// Those of a job.
    pub fn of(job: &'a str) -> Self {
        Self { job: Some(job), state: None }
    }
}

/// Whether a record may still change.
fn is_open(attempt: &Attempt) -> bool {
    !matches!(attempt.state, State::Complete | State::Failed | State::Abandoned)
}

/// The index of a home.
pub struct Index {
    home: Home,
    store: Box<dyn Store>,
}

impl Index {
    /// Opens the index of that home, as far as it can be opened.
    pub fn open(home: &Home) -> Self {
        let opened = Sqlite::open(&home.index()).or_else(|error| {
            if matches!(error, StoreError::Busy(_)) {
                return Err(error);
            }
            tracing::warn!(%error, "the index of runs can't be used and is made anew");
            Sqlite::create(&home.index())
        });
        let store: Box<dyn Store> = match opened {
            Ok(store) => Box::new(store),
            Err(error) => {
                tracing::warn!(%error, "there is no index of runs: the records are read instead");
                Box::new(Memory::default())
            }
        };
        Self { home: home.clone(), store }
    }

    /// Makes the index of that home anew from the records and the statements; how many records there are.
    ///
    /// # Errors
    /// [`Code::Storage`] if it can't be written,
    /// [`Code::State`] if a record or a statement can't be read.
    pub fn rebuild(home: &Home) -> Result<usize, Fault> {
        let unusable =
            |error: StoreError| Fault::new(Code::Storage, format!("{}: {error}", home.index().display()));
        let mut store = Sqlite::create(&home.index()).map_err(unusable)?;
        let records = Attempts::of(home).all()?;
        store.apply(&records, &[]).map_err(unusable)?;
        chains::refresh(&mut store, &Runs::of(home))?.map_err(unusable)?;
        Ok(records.len())
    }

    /// What was charged to that key from `since` on, in seconds since 1970.
    ///
    /// # Errors
    /// [`Code::State`] if a record can't be read.
    pub fn ledger(&mut self, peer_key: PublicKey, since: u64) -> Result<Ledger, Fault> {
        let key = peer_key.to_string();
        let charged = self.ask(|store| store.charged(&key, since))?;
        Ok(Ledger(charged.iter().flat_map(Attempt::charges).collect()))
    }

    /// The newest attempts that pass, newest first.
    ///
    /// # Errors
    /// [`Code::State`] if a record can't be read.
    pub fn newest(&mut self, filter: Filter<'_>, most: usize) -> Result<Vec<Attempt>, Fault> {
        self.ask(|store| store.newest(filter, most))
    }

    /// Where the chain of statements with that peer for that job ends. Where the index has no chain that ends as the folders
    /// do, they are read.
    ///
    /// # Errors
    /// [`Code::State`] if a statement can't be read or is missing.
    pub fn head(&mut self, us: PublicKey, peer: PublicKey, job: &str) -> Result<ChainHead, Fault> {
        let runs = Runs::of(&self.home);
        let (store, name) = (self.store.as_mut(), chains::name(us, peer, job));
        match chains::refresh(store, &runs)?.and_then(|()| store.chain(&name)) {
            Ok(links) => {
                if let Some(head) = chains::end(&links, &runs) {
                    return Ok(head);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the index of runs does not answer: the statements are read instead");
            }
        }
        let chain = runs.chain(us, peer, job)?;
        Ok(chain.last().map(|link| link.statement.head()).unwrap_or_default())
    }

    /// Asks what keeps the index, or memory if that fails, as of one moment.
    ///
    /// # Errors
    /// [`Code::State`] if a record can't be read.
    pub fn ask<T>(&mut self, ask: impl Fn(&dyn Store) -> Result<T, StoreError>) -> Result<T, Fault> {
        let attempts = Attempts::of(&self.home);
        match refresh(self.store.as_mut(), &attempts)?.and_then(|()| ask(self.store.as_ref())) {
            Ok(found) => Ok(found),
            Err(error) => {
                tracing::warn!(%error, "the index of runs does not answer: the records are read instead");
                let mut memory = Memory::default();
                let asked = refresh(&mut memory, &attempts)?.and_then(|()| ask(&memory));
                self.store = Box::new(memory);
                asked.map_err(|error| Fault::new(Code::Unexpected, error.to_string()))
            }
        }
    }
}

/// Reads what the store lacks and what may have changed. The outer error is a record's, the inner one the store's.
fn refresh(store: &mut dyn Store, attempts: &Attempts) -> Result<Result<(), StoreError>, Fault> {
    let mut known = match store.known() {
        Ok(known) => known,
        Err(error) => return Ok(Err(error)),
    };
    let mut records = Vec::new();
    for id in attempts.ids()? {
        if known.remove(&id).is_none_or(|open| open) {
            records.extend(attempts.read(&id)?);
        }
    }
    let gone: Vec<String> = known.into_keys().collect();
    if records.is_empty() && gone.is_empty() { Ok(Ok(())) } else { Ok(store.apply(&records, &gone)) }
}
