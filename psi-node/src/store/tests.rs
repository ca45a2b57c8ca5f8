//! One suite over whatever keeps the index, and the index over a home.

use std::fs;

use super::*;
use crate::runs::{AttemptList, Spent};

const KEY: &str = "ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
const OTHER: &str = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn record(id: &str, job: &str, committed: Option<u64>, state: State) -> Attempt {
    Attempt {
        run_id: id.to_owned(),
        job: job.to_owned(),
        agreement: String::new(),
        peer: "bank-b".to_owned(),
        peer_key: KEY.to_owned(),
        role: "initiator".to_owned(),
        committed,
        lists: vec![AttemptList {
            profile: "cn.mobile/1".to_owned(),
            items_ours: 1,
            items_theirs: 20,
            matches: None,
        }],
        state,
        output: "/out".into(),
        rejects: None,
        only_new: false,
        rows: None,
        resumed: 0,
        spent: Spent::default(),
        error: None,
    }
}

fn ids(records: &[Attempt]) -> Vec<&str> {
    let mut ids: Vec<&str> = records.iter().map(|record| record.run_id.as_str()).collect();
    ids.sort_unstable();
    ids
}

/// What holds for everything that keeps the index.
fn suite(store: &mut dyn Store) {
    assert!(store.known().unwrap().is_empty());
    let foreign = Attempt { peer_key: OTHER.to_owned(), ..record("4", "agents", Some(100), State::Failed) };
    let records = [
        record("1", "agents", Some(99), State::Complete),
        record("2", "agents", Some(100), State::Committed),
        record("3", "others", None, State::Agreed),
        foreign,
        record("5", "others", Some(u64::MAX), State::Closing),
    ];
    store.apply(&records, &[]).unwrap();
    let open = |store: &dyn Store| {
        let known = store.known().unwrap();
        let mut open: Vec<String> = known.into_iter().filter(|(_, open)| *open).map(|(id, _)| id).collect();
        open.sort_unstable();
        open
    };
    assert_eq!(open(store), ["2", "3", "5"]);
    assert_eq!(store.known().unwrap().len(), 5);
    assert_eq!(ids(&store.charged(KEY, 100).unwrap()), ["2", "5"]);
    assert_eq!(ids(&store.charged(KEY, 0).unwrap()), ["1", "2", "5"]);
    assert_eq!(store.charged(OTHER, 0).unwrap(), records[3..4]);
    let newest = |store: &dyn Store, job, state, most| -> Vec<String> {
        let records = store.newest(Filter { job, state }, most).unwrap();
        records.into_iter().map(|record| record.run_id).collect()
    };
    assert_eq!(newest(store, None, None, 2), ["5", "4"]);
    assert_eq!(newest(store, Some("agents"), None, 9), ["4", "2", "1"]);
    assert_eq!(newest(store, Some("agents"), Some(State::Failed), 9), ["4"]);
    assert_eq!(newest(store, None, Some(State::Closing), 9), ["5"]);
    let total = |store: &dyn Store, job: &str, figure: &str, of: &str| -> u64 {
        let totals = store.totals().unwrap().into_iter();
        let wanted = totals.filter(|total| (&*total.job, &*total.figure, &*total.of) == (job, figure, of));
        wanted.map(|total| total.amount).sum()
    };
    assert_eq!(total(store, "agents", totals::RUNS, totals::UNDER_WAY), 1);
    assert_eq!(total(store, "agents", totals::RUNS, "complete"), 1);
    assert_eq!(total(store, "agents", totals::ITEMS, "theirs"), 60);
    assert_eq!(total(store, "others", totals::ITEMS, "theirs"), 20, "of what was committed");
    let ended = record("2", "agents", Some(100), State::Failed);
    store.apply(std::slice::from_ref(&ended), &["1".to_owned(), "none".to_owned()]).unwrap();
    assert_eq!(open(store), ["3", "5"]);
    assert_eq!(total(store, "agents", totals::RUNS, totals::UNDER_WAY), 0);
    assert_eq!(total(store, "agents", totals::RUNS, "complete"), 0, "it is gone");
    assert_eq!(total(store, "agents", totals::RUNS, "abandoned"), 2);
    assert_eq!(total(store, "agents", totals::ITEMS, "theirs"), 40);
    assert_eq!(store.charged(KEY, 100).unwrap().iter().find(|record| record.run_id == "2"), Some(&ended));
    assert_eq!(store.known().unwrap().len(), 4);
    chains_suite(store);
}

fn chains_suite(store: &mut dyn Store) {
    assert!(store.statements().unwrap().is_empty());
    let head = |height: u64| ChainHead { height, digest: [height as u8; 32] };
    let link = |id: &str, chain: &str, height: u64| Link {
        run_id: id.to_owned(),
        stamp: "1 2 3".to_owned(),
        chain: chain.to_owned(),
        previous: head(height - 1),
        head: head(height),
    };
    let [first, second, other] = [link("9", "x", 1), link("8", "x", 2), link("7", "y", 1)];
    store.link(&[second.clone(), other.clone(), first.clone()], &[]).unwrap();
    assert_eq!(store.chain("x").unwrap(), [first.clone(), second]);
    assert_eq!(store.chain("y").unwrap(), std::slice::from_ref(&other));
    assert!(store.chain("z").unwrap().is_empty());
    let touched = Link { stamp: "1 2 4".to_owned(), ..other };
    store.link(std::slice::from_ref(&touched), &["8".to_owned(), "none".to_owned()]).unwrap();
    assert_eq!(store.chain("x").unwrap(), [first]);
    let stamps = [("7", "1 2 4"), ("9", "1 2 3")].map(|(id, stamp)| (id.to_owned(), stamp.to_owned()));
    assert_eq!(store.statements().unwrap(), HashMap::from(stamps));
}

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    (folder, home)
}

fn key() -> PublicKey {
    KEY.parse().unwrap()
}

#[test]
fn memory_keeps_the_index() {
    suite(&mut Memory::default());
}

#[test]
fn a_database_keeps_the_index_also_when_it_is_opened_again() {
    let (_folder, home) = home();
    suite(&mut Sqlite::open(&home.index()).unwrap());
    assert_eq!(Sqlite::open(&home.index()).unwrap().known().unwrap().len(), 4);
    let mode = durable_mode(&home);
    assert_eq!(mode, 0o600);
    assert!(Sqlite::create(&home.index()).unwrap().known().unwrap().is_empty());
}

fn durable_mode(home: &Home) -> u32 {
    crate::durable::mode(&fs::File::open(home.index()).unwrap()).unwrap()
}

#[test]
fn the_index_follows_the_records_whoever_writes_them() {
    let (_folder, home) = home();
    let attempts = Attempts::of(&home);
    let tested = || -> u64 {
        let ledger = Index::open(&home).ledger(key(), 0).unwrap();
        ledger.0.iter().map(|charge| charge.tested).sum()
    };
    assert_eq!(tested(), 0);
    attempts.write(&record("1", "agents", None, State::Agreed)).unwrap();
    assert_eq!(tested(), 0);
    attempts.write(&record("1", "agents", Some(5), State::Committed)).unwrap();
    attempts.write(&record("2", "agents", Some(6), State::Complete)).unwrap();
    assert_eq!(tested(), 40);
    attempts.write(&record("1", "agents", Some(5), State::Failed)).unwrap();
    assert_eq!(Index::open(&home).newest(Filter::default(), 9).unwrap()[1].state, State::Failed);
    fs::remove_file(home.attempts().join("2.json")).unwrap();
    assert_eq!(tested(), 20);
}

/// What is final is not read again: that is what the index is for.
#[test]
fn a_final_record_is_read_once() {
    let (_folder, home) = home();
    Attempts::of(&home).write(&record("1", "agents", Some(5), State::Complete)).unwrap();
    let ledger = || Index::open(&home).ledger(key(), 0).map(|ledger| ledger.0.len());
    assert_eq!(ledger().unwrap(), 1);
    fs::write(home.attempts().join("1.json"), "damaged").unwrap();
    assert_eq!(ledger().unwrap(), 1);
    assert_eq!(Index::rebuild(&home).unwrap_err().code, crate::fault::Code::State);
}

#[test]
fn an_index_that_is_none_is_made_anew() {
    let (_folder, home) = home();
    Attempts::of(&home).write(&record("1", "agents", Some(5), State::Complete)).unwrap();
    let foreign = || {
        let connection = rusqlite::Connection::open(home.index()).unwrap();
        connection.execute_batch("CREATE TABLE x (y); PRAGMA user_version = 7;").unwrap();
    };
    let later = || {
        Sqlite::open(&home.index()).unwrap();
        let connection = rusqlite::Connection::open(home.index()).unwrap();
        connection.execute_batch("PRAGMA user_version = 99;").unwrap();
    };
    let nonsense = || {
        fs::write(home.index(), "this is no database, and long enough to be taken for one".repeat(99))
            .unwrap()
    };
    let damages: [&dyn Fn(); 3] = [&nonsense, &foreign, &later];
    for damage in damages {
        let _ = fs::remove_file(home.index());
        damage();
        assert!(Sqlite::open(&home.index()).is_err());
        assert_eq!(Index::open(&home).ledger(key(), 0).unwrap().0.len(), 1);
        assert_eq!(Sqlite::open(&home.index()).unwrap().known().unwrap().len(), 1);
    }
}

#[test]
fn without_any_index_the_records_are_read() {
    let (_folder, home) = home();
    Attempts::of(&home).write(&record("1", "agents", Some(5), State::Complete)).unwrap();
    fs::create_dir_all(home.index().join("in the way")).unwrap();
    assert_eq!(Index::open(&home).ledger(key(), 0).unwrap().0.len(), 1);
    assert_eq!(Index::rebuild(&home).unwrap_err().code, crate::fault::Code::Storage);
}

#[test]
fn an_index_that_breaks_in_use_is_done_without() {
    let (_folder, home) = home();
    Attempts::of(&home).write(&record("1", "agents", Some(5), State::Complete)).unwrap();
    let mut index = Index::open(&home);
    rusqlite::Connection::open(home.index()).unwrap().execute_batch("DROP TABLE attempts").unwrap();
    assert_eq!(index.ledger(key(), 0).unwrap().0.len(), 1);
    assert_eq!(index.newest(Filter::of("agents"), 1).unwrap().len(), 1);
}

#[test]
fn several_processes_share_an_index() {
    let (_folder, home) = home();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let home = &home;
            scope.spawn(move || {
                let id = number.to_string();
                Attempts::of(home).write(&record(&id, "agents", Some(5), State::Complete)).unwrap();
                assert!(
                    ids(&Index::open(home).newest(Filter::default(), 99).unwrap()).contains(&id.as_str())
                );
            });
        }
    });
    assert_eq!(Index::rebuild(&home).unwrap(), 8);
    assert_eq!(Index::open(&home).ledger(key(), 0).unwrap().0.len(), 8);
}
