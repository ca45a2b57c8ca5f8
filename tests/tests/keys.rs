//! Several types of identifiers in one job: one list each, one session, one result that names which keys matched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::fs;

use psi_core::verify::Verdict;
use psi_node::{audit, fault::Code, runs::Attempts};
use psi_tests::nodes::{Homes, Place};

/// Phone, resident ID, and name with phone; the columns of the two sides are named and ordered differently.
const KEYS_A: &str = r#"keys = [
    { column = "phone", profile = "cn.mobile/1" },
    { column = "id_no", profile = "cn.rid/1" },
    { columns = ["name", "phone"], profile = "cn.name/1+cn.mobile/1" }]"#;
const KEYS_B: &str = r#"keys = [
    { column = "手机", profile = "cn.mobile/1" },
    { column = "证件", profile = "cn.rid/1" },
    { columns = ["姓名", "手机"], profile = "cn.name/1+cn.mobile/1" }]"#;

const LIST_A: &str = "\
name,phone,id_no,note
张三,13900000001,11010519491231002X,phone and id and name
李四,13900000002,,phone under another name
王五,,440524188001010014,id only
赵六,+86 139-0000-0004,,name and phone
钱七,13900000005,,nobody
,13900000006,,no name
孙八,13900000001,,the first one's phone
";

const LIST_B: &str = "\
证件,手机,姓名
110105491231002,１３９００００００01,张 三
,13900000002,李思
440524188001010014,13800000000,王五
,13900000004,赵六
,13900000006,周九
";

fn homes() -> Homes {
    let mut homes = Homes::new();
    (homes.a.keys, homes.b.keys) = (KEYS_A.to_owned(), KEYS_B.to_owned());
    fs::write(homes.a.list(), LIST_A).unwrap();
    fs::write(homes.b.list(), LIST_B).unwrap();
    homes
}

fn result(place: &Place) -> String {
    fs::read_to_string(place.output()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_matches_if_one_of_its_keys_does_and_the_result_says_which() {
    let pair = homes().serve().await;
    let summary = pair.run().await.unwrap();
    let lists: Vec<_> = summary
        .lists
        .iter()
        .map(|list| (list.profile.as_str(), list.items_ours, list.items_theirs, list.matches))
        .collect();
    assert_eq!(lists, [("cn.mobile/1", 5, 5, 4), ("cn.rid/1", 2, 2, 2), ("cn.name/1+cn.mobile/1", 5, 5, 2)]);
    assert_eq!((summary.matches, summary.rows_written, summary.rows_duplicate), (8, 6, 1));
    let homes = pair.stop().await;
    assert_eq!(
        result(&homes.a),
        "name,phone,id_no,note,psi_matched\n\
         张三,13900000001,11010519491231002X,phone and id and name,phone;id_no;name+phone\n\
         李四,13900000002,,phone under another name,phone\n\
         王五,,440524188001010014,id only,id_no\n\
         赵六,+86 139-0000-0004,,name and phone,phone;name+phone\n\
         ,13900000006,,no name,phone\n\
         孙八,13900000001,,the first one's phone,phone\n"
    );
    assert_eq!(
        result(&homes.b),
        "证件,手机,姓名,psi_matched\n\
         110105491231002,１３９００００００01,张 三,手机;证件;姓名+手机\n\
         ,13900000002,李思,手机\n\
         440524188001010014,13800000000,王五,证件\n\
         ,13900000004,赵六,手机;姓名+手机\n\
         ,13900000006,周九,手机\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn records_name_every_list() {
    let pair = homes().serve().await;
    let summary = pair.run().await.unwrap();
    let homes = pair.stop().await;
    let pins = [homes.a.identity().public_key(), homes.b.identity().public_key()];
    let report = audit::verify(&summary.run_folder, Some(pins)).unwrap();
    assert_eq!(report.verdict(), Verdict::Verified, "{report:?}");
    let note = fs::read_to_string(summary.run_folder.join("statement.note")).unwrap();
    assert!(note.contains("\nprofiles cn.mobile/1 cn.rid/1 cn.name/1+cn.mobile/1\n"), "{note}");
    assert_eq!(note.matches("\nlist ").count(), 3);
    for place in [&homes.a, &homes.b] {
        let attempt = Attempts::of(&place.home()).read(&summary.run_id).unwrap().unwrap();
        let matches: Vec<_> =
            attempt.lists.iter().map(|list| (list.profile.as_str(), list.matches)).collect();
        let expected = [("cn.mobile/1", Some(4)), ("cn.rid/1", Some(2)), ("cn.name/1+cn.mobile/1", Some(2))];
        assert_eq!(matches, expected);
    }
    let private = homes.a.home().private().join(&summary.run_id);
    let mut files: Vec<_> = fs::read_dir(private)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let expected =
        ["list", "list-1", "list-2", "masked", "masked-1", "masked-2", "opening", "opening-1", "opening-2"];
    assert_eq!(files, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn unproved_gives_the_same_result() {
    let mut homes = homes();
    homes.a.policy("proved", false);
    homes.b.policy("proved", false);
    let pair = homes.serve().await;
    assert_eq!(pair.run().await.unwrap().matches, 8);
    assert_eq!(result(&pair.stop().await.b).lines().count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_keys_or_another_order_are_other_terms() {
    let mut homes = homes();
    homes.b.keys = r#"keys = [
        { column = "证件", profile = "cn.rid/1" }, { column = "手机", profile = "cn.mobile/1" },
        { columns = ["姓名", "手机"], profile = "cn.name/1+cn.mobile/1" }]"#
        .to_owned();
    let pair = homes.serve().await;
    let fault = pair.run().await.unwrap_err();
    assert!(fault.code == Code::Terms && fault.message.contains("profiles"), "{fault}");
    assert!(!pair.homes.a.output().exists() && !pair.homes.b.output().exists());
}

/// Nothing of the other lists is sent either: how many of its identifiers we have would tell of a list that isn't there.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_no_row_fills_ends_the_run_before_anything_is_sent() {
    let homes = homes();
    fs::write(homes.a.list(), "name,phone,id_no\n张三,13900000001,\n李四,13900000002,\n").unwrap();
    let pair = homes.serve().await;
    let fault = pair.run().await.unwrap_err();
    assert_eq!(fault.code, Code::Items);
    assert_eq!(fault.message, "our list of cn.rid/1 has 0 items, the terms allow 1 to 1000000");
    assert!(!pair.homes.a.home().attempts().exists() && !pair.homes.b.home().attempts().exists());

    fs::write(pair.homes.a.list(), LIST_A).unwrap();
    fs::write(pair.homes.b.list(), "证件,手机,姓名\n,13900000001,张三\n").unwrap();
    assert_eq!(pair.run().await.unwrap_err().code, Code::Items);
    assert!(!pair.homes.a.home().attempts().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_the_results_own_column_is_refused() {
    let homes = homes();
    fs::write(homes.a.list(), LIST_A.replace("note", "psi_matched")).unwrap();
    let pair = homes.serve().await;
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::Column, 5));
}
