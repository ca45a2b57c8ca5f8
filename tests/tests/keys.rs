//! Several types of identifiers in one job: one list each, one session, one result that names which keys matched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{collections::BTreeSet, fmt::Write as _, fs};

use proptest::prelude::*;
use psi_core::{
    key::Role,
    message::{ChainHead, Hello, Message, PROTOCOL_VERSION},
    verify::Verdict,
};
use psi_node::{
    audit,
    fault::{Code, TABLE},
    link::{Frame, grpc},
    node::SOFTWARE,
    runs::Attempts,
};
use psi_tests::{
    nodes::{Homes, JOB, Pair, Place, numbered},
    pair::{self, Party, set_of},
    rogue::{Alter, End, Rogue},
};

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

/// A number for each step of a fixed sequence: the rows of the two lists below.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Empty one time in three, else one of a few hundred.
    fn cell(&mut self) -> Option<u64> {
        (self.below(3) > 0).then(|| self.below(400))
    }
}

/// Phone and QQ number of a row.
type Cells = [Option<u64>; 2];

fn rows(seed: u64) -> Vec<Cells> {
    let mut sequence = Sequence(seed);
    (0..300).map(|_| [sequence.cell(), sequence.cell()]).collect()
}

/// What a row says for each of three keys: phone, QQ number, both.
fn identifiers([phone, qq]: Cells) -> [Option<String>; 3] {
    let both = phone.zip(qq).map(|(phone, qq)| format!("{phone} and {qq}"));
    [phone.map(|n| n.to_string()), qq.map(|n| n.to_string()), both]
}

fn written(rows: &[Cells]) -> String {
    rows.iter().enumerate().fold("phone,qq,row\n".to_owned(), |mut text, (row, [phone, qq])| {
        let phone = phone.map_or_else(String::new, |n| format!("139{n:08}"));
        let qq = qq.map_or_else(String::new, |n| format!("{}", 10_000 + n));
        writeln!(text, "{phone},{qq},{row}").unwrap();
        text
    })
}

/// The rows of `ours` that `theirs` has by any key, with the keys, by comparing plain texts.
fn expected(ours: &[Cells], theirs: &[Cells]) -> Vec<(String, String)> {
    let theirs: Vec<[Option<String>; 3]> = theirs.iter().map(|row| identifiers(*row)).collect();
    let found = |row: Cells| -> String {
        let keys = identifiers(row).into_iter().zip(["phone", "qq", "phone+qq"]).enumerate();
        let shared =
            keys.filter(|(key, (text, _))| text.is_some() && theirs.iter().any(|row| row[*key] == *text));
        shared.map(|(_, (_, name))| name).collect::<Vec<_>>().join(";")
    };
    let rows = ours.iter().enumerate().map(|(number, row)| (number.to_string(), found(*row)));
    rows.filter(|(_, names)| !names.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_those_of_a_comparison_in_plain_text() {
    let mut homes = Homes::new();
    let (ours, theirs) = (rows(1), rows(2));
    for (place, rows) in [(&mut homes.a, &ours), (&mut homes.b, &theirs)] {
        place.keys = r#"keys = [
            { column = "phone", profile = "cn.mobile/1" }, { column = "qq", profile = "qq/1" },
            { columns = ["phone", "qq"], profile = "cn.mobile/1+qq/1" }]"#
            .to_owned();
        fs::write(place.list(), written(rows)).unwrap();
    }
    let pair = homes.serve().await;
    let summary = pair.run().await.unwrap();
    assert!(summary.lists.iter().all(|list| list.matches > 0), "{:?}", summary.lists);
    let homes = pair.stop().await;
    for (place, ours, theirs) in [(&homes.a, &ours, &theirs), (&homes.b, &theirs, &ours)] {
        let text = result(place);
        let lines =
            text.lines().skip(1).map(|line| line.rsplitn(3, ',').map(str::to_owned).collect::<Vec<_>>());
        let got: Vec<(String, String)> = lines.map(|cells| (cells[1].clone(), cells[0].clone())).collect();
        assert_eq!(got, expected(ours, theirs));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Lists of one session don't mix: the same items in another list are no match.
    #[test]
    fn each_list_is_joined_by_itself(
        ours in prop::array::uniform3(prop::collection::btree_set(0u32..80, 0..60)),
        theirs in prop::array::uniform3(prop::collection::btree_set(0u32..80, 0..60)),
        proved in any::<bool>(),
    ) {
        let mut terms = pair::terms(proved);
        terms.profiles = ["text/1", "qq/1", "text/1+qq/1"].map(|id| id.parse().unwrap()).to_vec();
        let party = |role, lists: &[BTreeSet<u32>; 3]| {
            let sets = lists.iter().map(|list| set_of(list.iter().map(|n| format!("{n:05}"))));
            Party::of_lists(role, terms.clone(), sets.collect())
        };
        let finished = pair::run(party(Role::Initiator, &ours), party(Role::Responder, &theirs)).unwrap();
        for party in finished {
            let matches = std::iter::once(party.matches).chain(party.more);
            for (list, matches) in matches.enumerate() {
                let shared: Vec<Vec<u8>> =
                    ours[list].intersection(&theirs[list]).map(|n| format!("{n:05}").into_bytes()).collect();
                prop_assert_eq!(party.signed.statement.lists[list].1, shared.len() as u64);
                prop_assert_eq!(matches, shared);
            }
        }
    }
}

/// A job over names and QQ numbers, and a rogue in the place of the caller.
async fn pair_of_two_keys() -> Pair {
    let mut homes = Homes::new();
    for place in [&mut homes.a, &mut homes.b] {
        place.keys = r#"keys = [
            { column = "id", profile = "text/1" }, { column = "qq", profile = "qq/1" }]"#
            .to_owned();
    }
    let rows = (0..100).fold("id,qq\n".to_owned(), |text, n| text + &format!("agent {n},{}\n", 10_000 + n));
    fs::write(homes.a.list(), &rows).unwrap();
    fs::write(homes.b.list(), rows).unwrap();
    homes.serve().await
}

fn rogue(pair: &Pair, alter: Alter) -> Rogue {
    let (set, more) =
        (set_of(numbered("agent", 50..150)), vec![set_of((50..150).map(|n| (10_000 + n).to_string()))]);
    let hello = Hello {
        versions: vec![PROTOCOL_VERSION],
        suites: Hello::known_suites(),
        role: Role::Initiator,
        key: pair.a.identity().public_key(),
        peer_key: pair.b.identity().public_key(),
        job: JOB.to_owned(),
        agreement: "AGR-1".to_owned(),
        terms: pair.a.config().job(JOB).unwrap().terms(),
        items: vec![set.len() as u64, more[0].len() as u64],
        nonce: [0x55; 32],
        started: pair.a.now(),
        software: SOFTWARE.to_owned(),
        operator: pair.a.config().node.name.clone(),
        chain: ChainHead::default(),
    };
    Rogue { hello, set, more, identity: pair.a.identity().clone(), spoil: Box::new(|_| {}), alter }
}

/// The honest responder names what the rogue did to the second list, and both lists end without a result.
async fn noticed(alter: impl FnMut(Message) -> Vec<Frame> + Send + 'static, code: Code, place: &str) {
    let pair = pair_of_two_keys().await;
    let endpoint = format!("https://{}", pair.address).parse().unwrap();
    let target = grpc::Target { endpoint, key: pair.b.identity().public_key(), proxy: None };
    let (link, _traffic) = grpc::connect(&target, pair.a.tls(), pair.a.settings()).await.unwrap();
    match rogue(&pair, Box::new(alter)).run(link, pair.a.now()).await {
        End::Refused(refusal) => {
            let row = TABLE.iter().find(|row| row.number == refusal.code).unwrap();
            assert_eq!((row.code, refusal.detail.as_str()), (code, place));
        }
        other => panic!("the responder did not refuse: {other:?}"),
    }
    assert!(!pair.homes.b.output().exists());
    assert_eq!(pair.run().await.unwrap().matches, 200, "the next run goes on as if nothing had been");
}

/// Changes the second list's messages of chunk 0; chunks are looked at side by side, so of several bad ones any may be named.
fn in_second_list(
    change: impl Fn(&mut Message) + Send + 'static,
) -> impl FnMut(Message) -> Vec<Frame> + Send {
    move |mut message| {
        let chunk = match &message {
            Message::Masked(masked) => (masked.list, masked.index),
            Message::Evaluated(evaluated) => (evaluated.list, evaluated.index),
            _ => (0, 0),
        };
        if chunk == (1, 0) {
            change(&mut message);
        }
        vec![message.into()]
    }
}

fn flipped(bytes: &bytes::Bytes, at: usize) -> bytes::Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_of_the_second_list_that_was_not_committed_to() {
    let change = in_second_list(|message| {
        if let Message::Masked(masked) = message {
            masked.elements = flipped(&masked.elements, 7);
        }
    });
    noticed(change, Code::NotCommitted, "masked, list 1, chunk 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_proof_in_the_second_list() {
    let change = in_second_list(|message| {
        if let Message::Evaluated(evaluated) = message {
            evaluated.proof = flipped(&evaluated.proof, 40);
        }
    });
    noticed(change, Code::ProofWrong, "evaluated, list 1, chunk 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_the_second_list_in_place_of_the_first() {
    let change = in_second_list(|message| {
        if let Message::Masked(masked) = message {
            masked.list = 0;
        }
    });
    noticed(change, Code::OutOfPhase, "masked, list 0, chunk 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_count_of_matches_in_the_second_list() {
    let change = |mut message: Message| {
        if let Message::Close(close) = &mut message {
            close.matches[1] += 1;
        }
        vec![message.into()]
    };
    noticed(change, Code::Matches, "close").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_with_one_count_for_two_lists() {
    let change = |mut message: Message| {
        if let Message::Hello(hello) = &mut message {
            hello.items.truncate(1);
        }
        vec![message.into()]
    };
    noticed(change, Code::Contradiction, "hello").await;
}
