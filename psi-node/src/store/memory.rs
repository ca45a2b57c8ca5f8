//! The index in memory: the double for tests, and what takes the place of a database that can't be used.

use std::collections::{BTreeMap, HashMap};

use super::{
    Filter, Store, StoreError, is_open,
    totals::{self, Total},
};
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

    fn newest(&self, filter: Filter<'_>, most: usize) -> Result<Vec<Attempt>, StoreError> {
        let passes = |record: &&Attempt| {
            filter.job.is_none_or(|job| record.job == job)
                && filter.state.is_none_or(|state| record.state == state)
        };
        Ok(self.0.values().rev().filter(passes).take(most).cloned().collect())
    }

    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        let mut sums: BTreeMap<[&str; 4], u64> = BTreeMap::new();
        for record in self.0.values() {
            for (figure, of, amount) in totals::of(record) {
                *sums.entry([&record.job, &record.peer, figure, of]).or_default() += amount;
            }
        }
        let total = |([job, peer, figure, of], amount): ([&str; 4], u64)| Total {
            job: job.to_owned(),
            peer: peer.to_owned(),
            figure: figure.to_owned(),
            of: of.to_owned(),
            amount,
        };
        Ok(sums.into_iter().map(total).collect())
    }
}
