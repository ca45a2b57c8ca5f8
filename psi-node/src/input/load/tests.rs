//! Lists with several keys: what counts, what is absent and what is a reject.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::input::{columns_of, gather::Plain, open};

fn key(columns: &[&str], profile: &str) -> Key {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    Key { columns, profile: profile.parse().unwrap() }
}

fn phone_or_card_or_both_names() -> [Key; 3] {
    [
        key(&["phone"], "cn.mobile/1"),
        key(&["card"], "bankcard/1"),
        key(&["name", "phone"], "cn.name/1+cn.mobile/1"),
    ]
}

fn read(text: &str, keys: &[Key], limits: &Limits) -> Result<Loaded, InputError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.csv");
    std::fs::write(&path, text).unwrap();
    let spec = Spec { columns: columns_of(keys), ..Spec::csv(path, "") };
    load(open(&spec, None)?, &spec, keys, limits, None)
}

fn plain(loaded: Loaded) -> Vec<Plain> {
    loaded.lists.into_iter().map(|list| list.rows.into()).collect()
}

fn lenient() -> Limits {
    Limits { max_rejects: 0.9, ..Limits::default() }
}

fn rejects(loaded: &Loaded) -> Vec<String> {
    loaded.rejects.first.iter().map(Rejected::to_string).collect()
}

const ROWS: &str = "name,phone,card\n\
    张三,13900000001,4111111111111111\n\
    李四,13900000002,\n\
    王五,,4111 1111 1111 1111\n\
    赵六,1390,5500000000000004\n\
    钱七,,\n\
    孙八,12,x\n\
    ,13900000001,\n\
    周九\n";

#[test]
fn a_row_counts_if_one_of_its_keys_is_usable() {
    let lists = plain(read(ROWS, &phone_or_card_or_both_names(), &lenient()).unwrap());
    let (first, second) = (Some(0), Some(1));
    assert_eq!(lists[0].rows, [first, second, None, None, None, None, first, None]);
    assert_eq!(lists[1].rows, [first, None, first, second, None, None, None, None]);
    assert_eq!(lists[2].rows, [first, second, None, None, None, None, None, None]);
    assert_eq!(lists.iter().map(|list| list.duplicates).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(lists[2].set.get(0), b"\0\x06\xe5\xbc\xa0\xe4\xb8\x89\0\x0b13900000001");
}

#[test]
fn rejects_are_rows_or_cells_with_their_place() {
    let loaded = read(ROWS, &phone_or_card_or_both_names(), &lenient()).unwrap();
    assert_eq!((loaded.rows_read, loaded.rejects.total, loaded.rejects.cells), (8, 3, 1));
    let length = "wrong length: expected 11 digits, got";
    let expected = [
        format!("line 5, column \"phone\": {length} 4"),
        "line 6: empty".to_owned(),
        format!("line 7, column \"phone\": {length} 2"),
        "line 7, column \"card\": character 1 is not allowed".to_owned(),
        "line 9: ragged row: expected 3 columns, got 1".to_owned(),
    ];
    assert_eq!(rejects(&loaded), expected);
}

#[test]
fn an_empty_cell_beside_a_bad_one_is_an_absent_key() {
    let text = "name,phone,card\n,12,4111111111111111\n";
    let loaded =
        read(text, &phone_or_card_or_both_names(), &Limits { max_rejects: 1.0, ..lenient() }).unwrap();
    assert_eq!(rejects(&loaded), ["line 2, column \"phone\": wrong length: expected 11 digits, got 2"]);
}

#[test]
fn a_lone_composite_key_rejects_empty_cells_like_any_other() {
    let keys = [key(&["name", "phone"], "cn.name/1+cn.mobile/1")];
    let loaded = read("phone,name\n13900000001,张三\n13900000002,\nx,\n", &keys, &lenient()).unwrap();
    assert_eq!((loaded.rejects.total, loaded.rejects.cells), (2, 0));
    assert_eq!(rejects(&loaded), ["line 3, column \"name\": empty", "line 4, column \"name\": empty"]);
}

#[test]
fn strict_names_the_cell_whose_check_digit_is_wrong() {
    let text = "phone,card\n13900000001,4111111111111112\n13900000002,4111111111111111\n";
    let keys = [key(&["phone"], "cn.mobile/1"), key(&["phone", "card"], "cn.mobile/1+bankcard/1")];
    let warned = read(text, &keys, &lenient()).unwrap();
    assert_eq!(warned.lists[1].warnings["check-digit"], 1);
    assert!(warned.rejects.is_empty() && warned.lists[0].warnings.is_empty());
    let strict = read(text, &keys, &Limits { strict: true, ..lenient() }).unwrap();
    assert_eq!(rejects(&strict), ["line 2, column \"card\": wrong check digit"]);
    let (warned, strict) = (plain(warned), plain(strict));
    assert_eq!((warned[1].set.len(), strict[0].set.len(), strict[1].set.len()), (2, 2, 1));
    assert_eq!(strict[1].set.get(0), warned[1].set.get(1));
}

/// A column of something else must not go unnoticed because another one reads well.
#[test]
fn too_many_bad_cells_of_one_key_stop_the_run() {
    let rows = |bad: usize| {
        let row = |i: usize| match i {
            i if i < bad => format!("139{i:08},bad\n"),
            i if i < 100 => format!("139{i:08},{}\n", 10_000 + i),
            i => format!("139{i:08},\n"),
        };
        format!("phone,qq\n{}", (0..1000).map(row).collect::<String>())
    };
    let keys = [key(&["phone"], "cn.mobile/1"), key(&["qq"], "qq/1")];
    let loaded = read(&rows(1), &keys, &Limits::default()).unwrap();
    assert_eq!((loaded.rejects.total, loaded.rejects.cells, loaded.lists[1].rows.len()), (0, 1, 99));
    let error = read(&rows(2), &keys, &Limits::default()).unwrap_err().to_string();
    let expected = "column \"qq\": 2 of 100 filled cells rejected, at most 1 % allowed; the first in line 2: character 1 is not allowed";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn a_column_that_nobody_fills_is_an_empty_list() {
    let keys = [key(&["phone"], "cn.mobile/1"), key(&["qq"], "qq/1")];
    let loaded = read("phone,qq\n13900000001,\n13900000002, \n", &keys, &Limits::default()).unwrap();
    assert!(loaded.rejects.is_empty());
    let lists = plain(loaded);
    assert_eq!((lists[0].set.len(), lists[1].set.len()), (2, 0));
}

#[test]
fn nothing_shows_an_identifier() {
    let loaded = read(ROWS, &phone_or_card_or_both_names(), &lenient()).unwrap();
    let shown = format!("{loaded:?}");
    assert!(["139", "4111", "张"].iter().all(|part| !shown.contains(part)), "{shown}");
}

/// What a cell of the oracle holds: nothing, an identifier, or something else.
fn cell() -> impl Strategy<Value = Option<Result<u32, ()>>> {
    prop_oneof![
        2 => Just(None),
        5 => (0u32..6).prop_map(|n| Some(Ok(n))),
        1 => Just(Some(Err(()))),
    ]
}

fn written(cell: Option<Result<u32, ()>>, number: impl Fn(u32) -> String) -> String {
    cell.map_or_else(String::new, |cell| cell.map_or_else(|()| "?".to_owned(), number))
}

proptest! {
    /// The sets and maps of three keys against what each row says, taken by itself.
    #[test]
    fn lists_are_those_of_a_plain_reading(rows in prop::collection::vec((cell(), cell()), 1..40)) {
        let phone = |n: u32| format!("1390000000{n}");
        let qq = |n: u32| format!("1000{n}");
        let text: String =
            rows.iter().map(|(a, b)| format!("{},{}\n", written(*a, phone), written(*b, qq))).collect();
        let keys = [
            key(&["phone"], "cn.mobile/1"), key(&["qq"], "qq/1"), key(&["qq", "phone"], "qq/1+cn.mobile/1"),
        ];
        let usable: Vec<[Option<Vec<u8>>; 3]> = rows.iter().map(|(a, b)| {
            let [a, b] = [(a, phone as fn(u32) -> String), (b, qq as fn(u32) -> String)]
                .map(|(cell, number)| cell.and_then(Result::ok).map(|n| number(n).into_bytes()));
            let both = a.as_ref().zip(b.as_ref()).map(|(a, b)| [b"\0\x05", b.as_slice(), b"\0\x0b", a].concat());
            [a, b, both]
        }).collect();
        let unusable = usable.iter().filter(|row| row.iter().all(Option::is_none)).count();
        let all = Limits { max_rejects: 1.0, ..Limits::default() };
        let Ok(loaded) = read(&format!("phone,qq\n{text}"), &keys, &all) else {
            prop_assert_eq!(unusable, rows.len());
            return Ok(());
        };
        prop_assert_eq!(loaded.rejects.total as usize, unusable);
        for (list, loaded) in plain(loaded).iter().enumerate() {
            let expected: BTreeSet<&[u8]> = usable.iter().filter_map(|row| row[list].as_deref()).collect();
            prop_assert!(loaded.set.iter().eq(expected.iter().copied()));
            for (row, usable) in usable.iter().enumerate() {
                let item = loaded.rows[row].map(|item| loaded.set.get(item));
                prop_assert_eq!(item, usable[list].as_deref());
            }
        }
    }
}
