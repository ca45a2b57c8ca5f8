//! The index in memory: the double for tests, and what takes the place of a database that can't be used.

use std::collections::{BTreeMap, HashMap};

use super::{
    Filter, Store, StoreError,
    chains::Link,
    is_open,
    totals::{self, Total},
};
use crate::runs::{Attempt, Stamp};

/// Records and statements by id.
#[derive(Debug, Default)]
pub struct Memory {
    records: BTreeMap<String, Attempt>,
    links: BTreeMap<String, Link>,
}

impl Store for Memory {
    fn known(&self) -> Result<HashMap<String, bool>, StoreError> {
        Ok(self.records.iter().map(|(id, record)| (id.clone(), is_open(record))).collect())
    }

    fn apply(&mut self, records: &[Attempt], gone: &[String]) -> Result<(), StoreError> {
        self.records.extend(records.iter().map(|record| (record.run_id.clone(), record.clone())));
        self.records.retain(|id, _| !gone.contains(id));
        Ok(())
    }

    fn charged(&self, peer_key: &str, since: u64) -> Result<Vec<Attempt>, StoreError> {
        let charged =
            |record: &&Attempt| record.peer_key == peer_key && record.committed.is_some_and(|at| at >= since);
        Ok(self.records.values().filter(charged).cloned().collect())
    }

    fn newest(&self, filter: Filter<'_>, most: usize) -> Result<Vec<Attempt>, StoreError> {
        let passes = |record: &&Attempt| {
            filter.job.is_none_or(|job| record.job == job)
                && filter.state.is_none_or(|state| record.state == state)
        };
        Ok(self.records.values().rev().filter(passes).take(most).cloned().collect())
    }

    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        let mut sums: BTreeMap<[&str; 4], u64> = BTreeMap::new();
        for record in self.records.values() {
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

    fn statements(&self) -> Result<HashMap<String, Stamp>, StoreError> {
        Ok(self.links.iter().map(|(id, link)| (id.clone(), link.stamp.clone())).collect())
    }

    fn link(&mut self, links: &[Link], gone: &[String]) -> Result<(), StoreError> {
        self.links.extend(links.iter().map(|link| (link.run_id.clone(), link.clone())));
        self.links.retain(|id, _| !gone.contains(id));
        Ok(())
    }

    fn chain(&self, name: &str) -> Result<Vec<Link>, StoreError> {
        let mut chain: Vec<Link> = self.links.values().filter(|link| link.chain == name).cloned().collect();
        chain.sort_by_key(|link| link.head.height);
        Ok(chain)
    }
}
