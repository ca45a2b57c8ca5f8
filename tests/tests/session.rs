//! Two sessions against each other, without a network: what an honest pair gets, and what an altered message comes to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use psi_core::{
    error::{Error, Fault, Incompatible, Misbehaved, Place},
    identifier::Profile,
    key::Role,
    message::Message,
    terms::Terms,
    verify::{Verdict, verify},
};
use psi_tests::pair::{Finished, NOW, Party, SKEW, pins, run, run_altered, set_of, terms};

fn parties(proved: bool, ours: &[&str], theirs: &[&str]) -> [Party; 2] {
    [
        Party::new(Role::Initiator, terms(proved), set_of(ours)),
        Party::new(Role::Responder, terms(proved), set_of(theirs)),
    ]
}

fn numbered(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("agent {n}")).collect()
}

fn of(range: std::ops::Range<u32>, role: Role, proved: bool) -> Party {
    Party::new(role, terms(proved), set_of(numbered(range)))
}

fn assert_intersection(finished: &[Finished; 2], ours: &BTreeSet<String>, theirs: &BTreeSet<String>) {
    let expected: Vec<Vec<u8>> = ours.intersection(theirs).map(|item| item.as_bytes().to_vec()).collect();
    for party in finished {
        assert_eq!(party.matches, expected);
    }
    assert_eq!(finished[0].signed, finished[1].signed);
    let signed = &finished[0].signed;
    let report = verify(&signed.note(), &signed.transcript.encode(), Some(pins()), None);
    assert_eq!(report.verdict(), Verdict::Verified, "{report:?}");
}

#[test]
fn both_learn_the_intersection_and_sign_it() {
    for proved in [true, false] {
        let [a, b] = parties(proved, &["x", "y", "z"], &["y", "z", "w", "v"]);
        let finished = run(a, b).unwrap();
        assert_eq!(finished[0].matches, [b"y", b"z"]);
        assert_eq!(finished[1].matches, [b"y", b"z"]);
        assert_eq!(finished[0].signed.statement.lists[0].1, 2);
        assert_eq!(finished[0].signed, finished[1].signed);
    }
}

/// The session at the end of docs/PROTOCOL.md, which a separate program reproduced from the text, is this code's.
#[test]
fn the_example_in_the_protocol_is_this_session() {
    let party = |role: Role, operator: &str, items: &[&str]| {
        let terms = Terms {
            profiles: vec![Profile::parse("cn.mobile/1").unwrap()],
            min_items: 3,
            max_items: 200_000,
            ..terms(true)
        };
        let mut party = Party::new(role, terms, set_of(items));
        party.hello.agreement = "AGR-2026-017".to_owned();
        party.hello.software = "psi/0.1.0".to_owned();
        party.hello.operator = operator.to_owned();
        party
    };
    let a = party(Role::Initiator, "bank-a", &["13000008764", "13000008835", "13100004856"]);
    let b = party(Role::Responder, "bank-b", &["13000008835", "13100004856", "13100009017", "13300003735"]);
    let [finished, _] = run(a, b).unwrap();
    let (note, transcript) = (finished.signed.note(), HEXLOWER.encode(&finished.signed.transcript.encode()));
    let (note, head) = (String::from_utf8(note).unwrap(), finished.signed.statement.head());
    let document = include_str!("../../docs/PROTOCOL.md");
    let (_, example) = document.split_once("\n## Example\n").unwrap();
    let mut blocks: Vec<&str> =
        example.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.pop(), Some(&*note));
    assert!(blocks[4].contains(&HEXLOWER.encode(&head.digest)), "{head:?}");
    blocks.remove(4);
    assert_eq!(blocks.len(), 5, "Hellos, Commits, the step");
    for block in blocks {
        let hex = block.replace('\n', "");
        assert!(transcript.contains(&hex), "{hex}\nis not in\n{transcript}");
    }
}

#[test]
fn several_steps_and_chunks() {
    let finished =
        run(of(0..20_000, Role::Initiator, false), of(19_000..19_900, Role::Responder, false)).unwrap();
    assert_eq!(finished[0].matches.len(), 900);
    assert_eq!(finished[0].signed.statement.steps, 29);
}

#[test]
fn the_same_session_gives_the_same_bytes() {
    let once = || run(of(0..300, Role::Initiator, true), of(100..400, Role::Responder, true)).unwrap();
    assert_eq!(once()[0].signed.transcript.encode(), once()[0].signed.transcript.encode());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn equals_the_plaintext_intersection(
        a in 0u32..1_500, shared in 0u32..400, b in 0u32..1_500, proved: bool,
    ) {
        let ours: BTreeSet<String> = numbered(0..a + shared).into_iter().collect();
        let theirs: BTreeSet<String> = numbered(a..a + shared + b).into_iter().collect();
        let finished = run(
            Party::new(Role::Initiator, terms(proved), set_of(&ours)),
            Party::new(Role::Responder, terms(proved), set_of(&theirs)),
        ).unwrap();
        assert_intersection(&finished, &ours, &theirs);
    }
}

/// Runs a session in which the initiator's messages are altered, and returns what the responder says.
fn altered(proved: bool, alter: impl FnMut(Message) -> Vec<Message>) -> Misbehaved {
    let (by, misbehaved) = noticed(proved, alter);
    assert_eq!(by, Role::Responder);
    misbehaved
}

/// The same where either may be the first to say something.
fn noticed(proved: bool, mut alter: impl FnMut(Message) -> Vec<Message>) -> (Role, Misbehaved) {
    let (a, b) = (of(0..200, Role::Initiator, proved), of(100..300, Role::Responder, proved));
    let noticed = run_altered(a, b, &mut |from, message| match from {
        Role::Initiator => alter(message),
        Role::Responder => vec![message],
    })
    .expect_err("the alteration goes unnoticed");
    match noticed.error {
        Error::PeerMisbehaved(misbehaved) => (noticed.by, misbehaved),
        other => panic!("{other}"),
    }
}

#[test]
fn any_flipped_byte_of_a_chunk_is_noticed() {
    for at in [0, 31, 1000] {
        let misbehaved = altered(true, |message| match message {
            Message::Masked(mut masked) if masked.index == 0 => {
                let mut bytes = masked.elements.to_vec();
                let at = at % bytes.len();
                bytes[at] ^= 1;
                masked.elements = bytes.into();
                vec![Message::Masked(masked)]
            }
            message => vec![message],
        });
        assert_eq!(misbehaved.fault, Fault::NotCommitted);
        assert_eq!(misbehaved.place, Place::Masked { list: 0, index: 0, element: None });
    }
}

#[test]
fn any_flipped_byte_of_an_answer_is_noticed() {
    let misbehaved = altered(true, |message| match message {
        Message::Evaluated(mut evaluated) if evaluated.index == 3 => {
            let mut bytes = evaluated.answers.to_vec();
            bytes.rotate_left(32);
            evaluated.answers = bytes.into();
            vec![Message::Evaluated(evaluated)]
        }
        message => vec![message],
    });
    assert_eq!(misbehaved.fault, Fault::ProofWrong { what: "proof" });
    assert_eq!(misbehaved.place, Place::Evaluated { list: 0, index: 3, element: None });
}

#[test]
fn an_altered_tag_shows_when_the_step_is_signed() {
    // The running hashes of both are different from here on: whoever meets the other's signature first says so.
    let (_, misbehaved) = noticed(false, |message| match message {
        Message::Evaluated(mut evaluated) if evaluated.index == 3 => {
            let mut bytes = evaluated.answers.to_vec();
            bytes[0] ^= 1;
            evaluated.answers = bytes.into();
            vec![Message::Evaluated(evaluated)]
        }
        message => vec![message],
    });
    assert_eq!(misbehaved.fault, Fault::Signature);
    assert_eq!(misbehaved.place, Place::StepEnd { step: 3 });
}

/// What the initiator says to a responder with a spoiled Hello.
fn refused(spoil: fn(&mut Party)) -> Incompatible {
    let [a, mut b] = parties(true, &["x"], &["y"]);
    spoil(&mut b);
    match run(a, b).expect_err("the hello is accepted").error {
        Error::Incompatible(incompatible) => incompatible,
        other => panic!("{other}"),
    }
}

fn differing(spoil: fn(&mut Party)) -> &'static str {
    match refused(spoil) {
        Incompatible::Terms { field, .. } => field,
        other => panic!("{other}"),
    }
}

#[test]
fn hellos_that_differ_in_a_field_name_it() {
    assert_eq!(differing(|b| b.hello.terms.proved = false), "proved");
    assert_eq!(differing(|b| b.hello.terms.max_items = 7), "max-items");
    assert_eq!(differing(|b| b.hello.terms.openable = false), "openable");
    assert_eq!(differing(|b| b.hello.job = "other".into()), "job");
    assert_eq!(differing(|b| b.hello.agreement = "AGR-2".into()), "agreement");
    assert_eq!(differing(|b| b.hello.operator = "bank-0".into()), "operator (must differ)");
}

#[test]
fn hellos_that_can_not_go_together() {
    let clock = Incompatible::Clock { seconds: 600, most: 300 };
    assert_eq!(refused(|b| b.hello.started = NOW + SKEW + 300), clock);
    assert_eq!(refused(|b| b.hello.versions = vec![2]), Incompatible::Nothing("protocol version"));
    assert_eq!(refused(|b| b.hello.suites = vec![]), Incompatible::Nothing("suite"));
    assert_eq!(refused(|b| b.hello.key = b.hello.peer_key), Incompatible::Identity("its own"));
    assert_eq!(refused(|b| b.hello.peer_key = b.hello.key), Incompatible::Identity("ours"));
    let items = Incompatible::Items {
        side: "the peer's",
        profile: "text/1".into(),
        items: 1 << 40,
        min: 0,
        max: 1 << 20,
    };
    assert_eq!(refused(|b| b.hello.items = vec![1 << 40]), items);
}
