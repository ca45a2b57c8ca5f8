//! Two sessions against each other, without a network: what an honest pair gets, and what an altered message comes to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use psi_core::{
    error::{Error, Fault, Incompatible, Misbehaved, Place},
    key::Role,
    message::Message,
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
fn altered(proved: bool, mut alter: impl FnMut(Message) -> Vec<Message>) -> Misbehaved {
    let (a, b) = (of(0..200, Role::Initiator, proved), of(100..300, Role::Responder, proved));
    let noticed = run_altered(a, b, &mut |from, message| match from {
        Role::Initiator => alter(message),
        Role::Responder => vec![message],
    })
    .expect_err("the alteration goes unnoticed");
    assert_eq!(noticed.by, Role::Responder);
    match noticed.error {
        Error::PeerMisbehaved(misbehaved) => misbehaved,
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
    let misbehaved = altered(false, |message| match message {
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

#[test]
fn hellos_that_do_not_agree() {
    let differing: [(fn(&mut Party), fn(&Error) -> bool); 6] = [
        (|p| p.hello.terms.proved = false, |e| is_terms(e, "proved")),
        (|p| p.hello.terms.max_items = 7, |e| is_terms(e, "max-items")),
        (|p| p.hello.job = "other".into(), |e| is_terms(e, "job")),
        (|p| p.hello.agreement = "AGR-2".into(), |e| is_terms(e, "agreement")),
        (
            |p| p.hello.started = NOW + SKEW + 300,
            |e| matches!(e, Error::Incompatible(Incompatible::Clock { seconds: 600, most: 300 })),
        ),
        (
            |p| p.hello.versions = vec![2],
            |e| matches!(e, Error::Incompatible(Incompatible::Nothing("protocol version"))),
        ),
    ];
    for (spoil, expected) in differing {
        let [mut a, b] = parties(true, &["x"], &["y"]);
        spoil(&mut a);
        // The initiator may notice first where both compare; the responder's view is the one under test.
        let noticed = run(b_first(&b), a_as_responder(a)).unwrap_err();
        assert!(expected(&noticed.error), "{}", noticed.error);
    }
}

/// The same honest party, calling.
fn b_first(b: &Party) -> Party {
    Party::new(Role::Initiator, terms(true), set_of(b.set.iter()))
}

/// A party's Hello, answering instead of calling.
fn a_as_responder(a: Party) -> Party {
    let mut answering = Party::new(Role::Responder, a.hello.terms.clone(), a.set);
    answering.hello.job = a.hello.job;
    answering.hello.agreement = a.hello.agreement;
    answering.hello.started = a.hello.started;
    answering.hello.versions = a.hello.versions;
    answering
}

fn is_terms(error: &Error, name: &str) -> bool {
    matches!(error, Error::Incompatible(Incompatible::Terms { field, .. }) if *field == name)
}
