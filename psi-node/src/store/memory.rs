//! The index in memory: the double for tests, and what takes the place of a database that can't be used.

use std::collections::{BTreeMap, HashMap};

use super::{Store, StoreError, is_open};
use crate::runs::Attempt;

/// Records by id.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<String, Attempt>);

impl Store for Memory {
    fn known(&self) -> Result<HashMap<String, bool>, StoreError> {
        Ok(self.0.iter().map(|(id, record)| (id.clone(), is_open(record))).collect())
    }

    fn apply(&mut self, records: &[Attempt], gone: &[String]) -> Result<(), StoreError> {
        self.0.extend(records.iter().map(|record| (record.run_id.clone(), record.clone())));
        self.0.retain(|id, _| !gone.contains(id));
        Ok(())
    }

    fn charged(&self, peer_key: &str, since: u64) -> Result<Vec<Attempt>, StoreError> {
        let charged =
            |record: &&Attempt| record.peer_key == peer_key && record.committed.is_some_and(|at| at >= since);
        Ok(self.0.values().filter(charged).cloned().collect())
    }

    fn newest(&self, job: Option<&str>, most: usize) -> Result<Vec<Attempt>, StoreError> {
        let of_job = |record: &&Attempt| job.is_none_or(|job| record.job == job);
        Ok(self.0.values().rev().filter(of_job).take(most).cloned().collect())
    }
}
