//! The offline check: whatever is changed in a run's record, it shows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::sync::OnceLock;

use proptest::prelude::*;
use psi_core::{
    key::Role,
    session::Signed,
    signature::Identity,
    statement::Statement,
    transcript::Transcript,
    verify::{Report, Verdict, verify},
};
use psi_tests::pair::{Party, pins, run, set_of, terms};

/// One session of two steps, made once.
fn signed() -> &'static Signed {
    static SIGNED: OnceLock<Signed> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let list = |range: std::ops::Range<u32>| set_of(range.map(|n| format!("agent {n}")));
        let a = Party::new(Role::Initiator, terms(true), list(0..40));
        let b = Party::new(Role::Responder, terms(true), list(20..60));
        let [finished, _] = run(a, b).unwrap();
        finished.signed
    })
}

fn check(note: &[u8], transcript: &[u8]) -> Report {
    verify(note, transcript, Some(pins()), None)
}

fn assert_failed(report: &Report, what: &str) {
    assert_eq!(report.verdict(), Verdict::Failed, "{what}: {report:?}");
    let named = report.failures().all(|check| match &check.outcome {
        psi_core::verify::Outcome::Failed(reason) => !reason.is_empty(),
        _ => false,
    });
    assert!(named, "{what}: {report:?}");
}

#[test]
fn the_record_as_it_is_verifies() {
    let report = check(&signed().note(), &signed().transcript.encode());
    assert_eq!(report.verdict(), Verdict::Verified, "{report:?}");
    assert_eq!(report.statement.as_ref(), Some(&signed().statement));
}

#[test]
fn every_flipped_byte_shows() {
    let (note, transcript) = (signed().note(), signed().transcript.encode());
    for at in 0..note.len() {
        let mut flipped = note.clone();
        flipped[at] ^= 1 << (at % 8);
        assert_failed(&check(&flipped, &transcript), &format!("byte {at} of the statement"));
    }
    for at in 0..transcript.len() {
        let mut flipped = transcript.clone();
        flipped[at] ^= 1 << (at % 8);
        assert_failed(&check(&note, &flipped), &format!("byte {at} of the transcript"));
    }
}

#[test]
fn every_truncation_shows() {
    let (note, transcript) = (signed().note(), signed().transcript.encode());
    for length in 0..note.len() {
        assert_failed(&check(&note[..length], &transcript), &format!("{length} bytes of the statement"));
    }
    for length in 0..transcript.len() {
        assert_failed(&check(&note, &transcript[..length]), &format!("{length} bytes of the transcript"));
    }
}

#[test]
fn appended_and_spliced_records_show() {
    let (note, transcript) = (signed().note(), signed().transcript.encode());
    assert_failed(&check(&[&note[..], b"\n"].concat(), &transcript), "a line after the note");
    assert_failed(&check(&note, &[&transcript[..], &[0]].concat()), "a byte after the transcript");
    let mut swapped: Transcript = signed().transcript.clone();
    swapped.steps.swap(0, 1);
    assert_failed(&check(&note, &swapped.encode()), "swapped steps");
    let mut missing = signed().transcript.clone();
    missing.steps.pop();
    assert_failed(&check(&note, &missing.encode()), "a missing step");
    let mut unsigned = signed().transcript.clone();
    unsigned.steps[1].signatures[0] = None;
    assert_failed(&check(&note, &unsigned.encode()), "a missing signature under a step");
    let mut mixed = signed().transcript.clone();
    mixed.commits.swap(0, 1);
    assert_failed(&check(&note, &mixed.encode()), "swapped commits");
}

#[test]
fn other_pins_show() {
    let stranger = Identity::from_seed(&[0x44; 32]).public_key();
    let report = verify(&signed().note(), &signed().transcript.encode(), Some([pins()[0], stranger]), None);
    assert_failed(&report, "another key");
    let report = verify(&signed().note(), &signed().transcript.encode(), None, None);
    assert_eq!(report.verdict(), Verdict::IdentitiesNotChecked);
}

/// Parties that are not the pinned ones can make any record; it must not bring the verifier down.
#[test]
fn a_statement_of_other_matches_shows() {
    let mut statement: Statement = signed().statement.clone();
    statement.lists[0].1 += 1;
    let identities = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]));
    let signatures = identities.map(|identity| statement.sign(&identity));
    let note = statement.to_note([Some(&signatures[0]), Some(&signatures[1])]);
    // Both signed it, so it is what they say; only more matches than items would be against the transcript.
    assert_eq!(check(&note, &signed().transcript.encode()).verdict(), Verdict::Verified);
    statement.lists[0].1 = 41;
    let identities = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]));
    let signatures = identities.map(|identity| statement.sign(&identity));
    let note = statement.to_note([Some(&signatures[0]), Some(&signatures[1])]);
    assert_failed(&check(&note, &signed().transcript.encode()), "more matches than items");
}

proptest! {
    #[test]
    fn no_bytes_bring_the_verifier_down(note: Vec<u8>, transcript: Vec<u8>) {
        prop_assert_eq!(check(&note, &transcript).verdict(), Verdict::Failed);
    }

    #[test]
    fn no_change_of_a_transcript_brings_the_verifier_down(
        at in 0usize..4000, bytes in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut changed = signed().transcript.encode();
        let at = at % changed.len();
        let end = changed.len().min(at + bytes.len());
        changed[at..end].copy_from_slice(&bytes[..end - at]);
        let expected = if changed == signed().transcript.encode() { Verdict::Verified } else { Verdict::Failed };
        prop_assert_eq!(check(&signed().note(), &changed).verdict(), expected);
    }
}
