//! What the index has of the statements of finished runs: where each chain ends, without reading all of them.
//!
//! A statement is known by its run and by its file's stamp. One that is new or was touched is read again, and one that is
//! gone is missed, as if all of them had been read.

use std::collections::HashMap;

use psi_core::{message::ChainHead, signature::PublicKey, statement::Statement};

use super::{Store, StoreError};
use crate::{
    fault::Fault,
    runs::{Runs, Stamp},
};

/// What the index has of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its run.
    pub run_id: String,
    /// Its file, as it was when it was read.
    pub stamp: Stamp,
    /// The name of its chain.
    pub chain: String,
    /// Where the chain ended before it.
    pub previous: ChainHead,
    /// Where the chain ends with it.
    pub head: ChainHead,
}

impl Link {
    fn of(run_id: String, stamp: Stamp, statement: &Statement) -> Self {
        let [initiator, responder] = statement.parties.each_ref().map(|party| party.key);
        let chain = name(initiator, responder, &statement.job);
        Self { run_id, stamp, chain, previous: statement.previous, head: statement.head() }
    }
}

/// The name of two parties' chain for a job, whoever calls.
pub fn name(one: PublicKey, other: PublicKey, job: &str) -> String {
    format!("{} {} {job}", one.min(other), one.max(other))
}

/// Reads what the store lacks and what was touched. The outer error is a statement's, the inner one the store's.
pub fn refresh(store: &mut dyn Store, runs: &Runs) -> Result<Result<(), StoreError>, Fault> {
    let mut known: HashMap<String, Stamp> = match store.statements() {
        Ok(known) => known,
        Err(error) => return Ok(Err(error)),
    };
    let mut links = Vec::new();
    for (id, stamp) in runs.stamps()? {
        if known.remove(&id).as_ref() != Some(&stamp) {
            let statement = runs.statement(&id)?;
            links.push(Link::of(id, stamp, &statement));
        }
    }
    let gone: Vec<String> = known.into_keys().collect();
    if links.is_empty() && gone.is_empty() { Ok(Ok(())) } else { Ok(store.link(&links, &gone)) }
}

/// Where these statements end, if they form a chain and the folder of the newest has what the index has.
pub fn end(links: &[Link], runs: &Runs) -> Option<ChainHead> {
    let mut head = ChainHead::default();
    for link in links {
        if link.previous != head {
            return None;
        }
        head = link.head;
    }
    let Some(Link { run_id, stamp, .. }) = links.last() else { return Some(head) };
    let newest = Link::of(run_id.clone(), stamp.clone(), &runs.statement(run_id).ok()?);
    (links.last() == Some(&newest)).then_some(head)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use psi_core::{
        identifier::Profile,
        statement::{ListRecord, Party},
        suite::SuiteId,
        terms::{Output, Terms},
    };

    use super::*;
    use crate::{
        fault::Code,
        home::Home,
        runs::STATEMENT,
        store::{Index, sqlite::Sqlite},
    };

    fn keys() -> [PublicKey; 2] {
        [1, 2].map(|seed| psi_core::signature::Identity::from_seed(&[seed; 32]).public_key())
    }

    fn statement(job: &str, previous: ChainHead) -> Statement {
        let party = |key| Party { operator: "bank".into(), key, software: "psi 0.1.0".into(), started: 7 };
        let list = ListRecord { items: 3, root: [5; 32], list_root: None };
        Statement {
            sid: [3; 32],
            protocol: 1,
            job: job.to_owned(),
            agreement: String::new(),
            terms: Terms {
                suite: SuiteId::Ristretto255Sha512,
                output: Output::Mutual,
                proved: true,
                profiles: vec![Profile::parse("cn.mobile/1").unwrap()],
                min_items: 1,
                max_items: 10,
                max_runs_per_day: 1,
                evidence_days: 0,
                openable: false,
            },
            parties: keys().map(party),
            lists: vec![([list; 2], 2)],
            steps: 1,
            transcript: [6; 32],
            previous,
        }
    }

    /// A home with four finished runs: three of one job and one of another, which comes last by name.
    fn home() -> (tempfile::TempDir, Home, ChainHead) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        let mut head = ChainHead::default();
        for id in ["3", "2", "1"] {
            let statement = statement("agents", head);
            store(&home, id, &statement);
            head = statement.head();
        }
        store(&home, "4", &statement("others", ChainHead::default()));
        (folder, home, head)
    }

    fn store(home: &Home, id: &str, statement: &Statement) {
        let folder = Runs::of(home).folder(id);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(STATEMENT), statement.to_note([Some(&[0; 64]), Some(&[0; 64])])).unwrap();
    }

    fn head(home: &Home) -> Result<ChainHead, Code> {
        let [us, peer] = keys();
        let heads = [(us, peer), (peer, us)].map(|(us, peer)| Index::open(home).head(us, peer, "agents"));
        let [head, again] = heads.map(|head| head.map_err(|fault| fault.code));
        assert_eq!(head, again);
        head
    }

    #[test]
    fn a_chain_ends_where_its_newest_statement_says() {
        let (_folder, home, end_of_three) = home();
        assert_eq!(end_of_three.height, 3);
        assert_eq!(head(&home), Ok(end_of_three));
        let links =
            Sqlite::open(&home.index()).unwrap().chain(&name(keys()[0], keys()[1], "agents")).unwrap();
        assert_eq!(end(&links, &Runs::of(&home)), Some(end_of_three), "the index answers alone");
        let fourth = statement("agents", end_of_three);
        store(&home, "5", &fourth);
        assert_eq!(head(&home), Ok(fourth.head()));
        let [us, peer] = keys();
        assert_eq!(Index::open(&home).head(us, peer, "others").unwrap().height, 1);
        assert_eq!(Index::open(&home).head(us, us, "agents").unwrap(), ChainHead::default());
    }

    #[test]
    fn a_statement_that_is_gone_doubled_or_touched_is_noticed() {
        let damages: [&dyn Fn(&Home); 4] = [
            &|home| fs::remove_dir_all(Runs::of(home).folder("2")).unwrap(),
            &|home| fs::remove_file(Runs::of(home).folder("2").join(STATEMENT)).unwrap(),
            &|home| fs::write(Runs::of(home).folder("2").join(STATEMENT), "damaged").unwrap(),
            &|home| store(home, "5", &statement("agents", ChainHead::default())),
        ];
        for (number, damage) in damages.into_iter().enumerate() {
            let (_folder, home, end) = home();
            assert_eq!(head(&home), Ok(end));
            damage(&home);
            assert_eq!(head(&home), Err(Code::State), "{number}");
        }
    }

    #[test]
    fn the_folders_are_right_where_the_index_is_wrong() {
        let wrongs = [
            "UPDATE statements SET digest = zeroblob(32) WHERE run_id = '1'",
            "UPDATE statements SET height = -1, digest = x'00' WHERE run_id = '2'",
            "DROP TABLE statements",
        ];
        for wrong in wrongs {
            let (_folder, home, end) = home();
            assert_eq!(head(&home), Ok(end));
            rusqlite::Connection::open(home.index()).unwrap().execute_batch(wrong).unwrap();
            assert_eq!(head(&home), Ok(end), "{wrong}");
            Index::rebuild(&home).unwrap();
            assert_eq!(head(&home), Ok(end), "{wrong}");
        }
    }
}
