//! What a peer that breaks the protocol can do all the same, and what then shows: docs/SECURITY_MODEL.md is held to this.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::{cell::RefCell, collections::BTreeMap};

use psi_core::{
    dleq,
    element::ElementFault,
    error::{Error, Fault, Place},
    key::{Role, SessionSeed},
    mask::Masking,
    message::Message,
    suite::{SuiteId, message_prefix},
    verify::{Verdict, verify},
};
use psi_tests::pair::{Noticed, Party, pins, run, run_altered, set_of, terms};

fn masking(role: Role) -> Masking {
    let terms = terms(true);
    let (suite, profile) = (terms.suite.suite(), terms.profiles[0].clone());
    Masking { suite, sid: [0; 32], role, list: 0, profile, openable: false }
}

fn names(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("agent {n:03}")).collect()
}

/// The attack of docs/PROTOCOL.md: mask some of the list with another key, learn those matches, hide them from the peer.
#[test]
fn masking_with_another_key_hides_matches_and_only_opening_the_list_shows_it() {
    let ours = names(0..20);
    let theirs = names(10..30);
    let hidden = "agent 015";
    let other_seed = SessionSeed::from_bytes([0x99; 32]);
    let other = masking(Role::Responder).run(&set_of(&theirs), &other_seed, &|_| {});
    let item = theirs.iter().position(|name| name == hidden).unwrap() as u32;
    let forged = other.items.iter().find(|masked| masked.item == item).unwrap().element;
    let other_key = other.key;

    let mut rogue = Party::new(Role::Responder, terms(true), set_of(&theirs));
    rogue.spoil = Box::new(move |list| {
        let at = list.items.iter().position(|masked| masked.item == item).unwrap();
        list.items[at].element = forged;
        list.items.sort_by_key(|masked| masked.element);
    });

    // What the rogue sees: the honest side's masked list, and its answer to the forged element.
    let (masked, sent, answers) =
        (RefCell::new(Vec::new()), RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let finished =
        run_altered(Party::new(Role::Initiator, terms(true), set_of(&ours)), rogue, &mut |from, message| {
            match (&message, from) {
                (Message::Masked(m), Role::Initiator) => {
                    masked.borrow_mut().extend(m.elements.as_chunks::<32>().0.to_vec())
                }
                (Message::Masked(m), Role::Responder) => {
                    sent.borrow_mut().extend(m.elements.as_chunks::<32>().0.to_vec())
                }
                (Message::Evaluated(m), Role::Initiator) => {
                    answers.borrow_mut().extend(m.answers.as_chunks::<32>().0.to_vec())
                }
                _ => {}
            }
            vec![message]
        })
        .expect("no proof shows it");

    // The honest side misses the match, and so does the statement that both sign.
    assert_eq!(finished[0].matches.len(), 9);
    assert!(!finished[0].matches.contains(&hidden.as_bytes().to_vec()));
    let signed = &finished[0].signed;
    assert_eq!(signed.statement.lists[0].1, 9);
    let report = verify(&signed.note(), &signed.transcript.encode(), Some(pins()), None);
    assert_eq!(report.verdict(), Verdict::Verified, "the offline check can't show it either");
    assert!(report.checks.iter().any(|check| {
        check.name == "each masked list was made with the committed key"
            && matches!(check.outcome, psi_core::verify::Outcome::NotPossible(_))
    }));

    // The rogue learns it: a·(k'·H(x)) = k'·(a·H(x)) for one of the honest side's elements.
    let suite = SuiteId::Ristretto255Sha512.suite();
    let masked = masked.into_inner();
    let mut by_other_key = vec![[0; 32]; masked.len()];
    suite.evaluate(other_key.scalar(), &masked, &mut by_other_key, None).unwrap();
    let at = sent.borrow().iter().position(|element| *element == forged).unwrap();
    assert!(
        by_other_key.contains(&answers.borrow()[at]),
        "the rogue knows that the hidden identifier matches"
    );

    // Opening the list shows it: the mask proof does not hold for what was committed.
    let seed = SessionSeed::from_bytes([0x20 + Role::Responder.code(); 32]);
    let set = set_of(&theirs);
    let honest = Masking { openable: true, sid: signed.statement.sid, ..masking(Role::Responder) }.run(
        &set,
        &seed,
        &|_| {},
    );
    let messages: Vec<&[u8]> = set.iter().collect();
    let by_item: BTreeMap<u32, [u8; 32]> =
        honest.items.iter().map(|masked| (masked.item, masked.element)).collect();
    let opened = |elements: Vec<[u8; 32]>| {
        let statement =
            dleq::Statement { sid: &signed.statement.sid, role: Role::Responder, list: 0, index: 0 };
        let proof = honest.opening.as_ref().unwrap().mask_proof.first_chunk().unwrap();
        let proof = dleq::Proof::from_bytes(suite, proof).unwrap();
        let prefix = message_prefix("text/1");
        dleq::verify_mask(suite, &statement, honest.key.public(), &prefix, &messages, &elements, &proof)
    };
    assert_eq!(opened(by_item.values().copied().collect()), Ok(()));
    let with_forged =
        by_item.iter().map(|(of, element)| if *of == item { forged } else { *element }).collect();
    assert_eq!(opened(with_forged), Err(dleq::Invalid::WrongProof));
}

/// An element of the honest side in the rogue's list: possible only for a peer that knew our key before it committed.
#[test]
fn an_element_of_ours_in_the_peers_list_is_refused() {
    let shared = names(0..40);
    let honest_seed = SessionSeed::from_bytes([0x20 + Role::Responder.code(); 32]);
    let honest = masking(Role::Responder).run(&set_of(&shared), &honest_seed, &|_| {});
    let ours = honest.items[7].element;
    let mut rogue = Party::new(Role::Initiator, terms(true), set_of(&shared));
    rogue.spoil = Box::new(move |list| {
        list.items[0].element = ours;
        list.items.sort_by_key(|masked| masked.element);
    });
    let noticed = run(rogue, Party::new(Role::Responder, terms(true), set_of(&shared))).unwrap_err();
    assert_eq!(noticed.by, Role::Responder);
    let Error::PeerMisbehaved(misbehaved) = noticed.error else { panic!("{}", noticed.error) };
    assert_eq!(misbehaved.fault, Fault::Element(ElementFault::Reflected));
    assert!(matches!(misbehaved.place, Place::Masked { element: Some(_), .. }), "{}", misbehaved.place);
}

/// A peer that commits to the very same key or chunks as we do.
#[test]
fn a_reflected_commit_is_refused() {
    let reflect = |what: fn(&mut psi_core::message::Commit, &psi_core::message::Commit)| {
        let ours = RefCell::new(None);
        let (a, b) = (names(0..40), names(20..60));
        run_altered(
            Party::new(Role::Initiator, terms(true), set_of(a)),
            Party::new(Role::Responder, terms(true), set_of(b)),
            &mut |from, message| match (from, message) {
                (Role::Initiator, Message::Commit(commit)) => {
                    *ours.borrow_mut() = Some(commit.clone());
                    vec![Message::Commit(commit)]
                }
                (Role::Responder, Message::Commit(mut commit)) => {
                    what(&mut commit, ours.borrow().as_ref().unwrap());
                    // The rogue signs what it changed; the session id is in no message, but both parties know it.
                    vec![Message::Commit(commit)]
                }
                (_, message) => vec![message],
            },
        )
        .unwrap_err()
    };
    // Without the rogue's signing key in this place, its signature is what is noticed: it covers every byte of a commit.
    let noticed = reflect(|theirs, ours| theirs.lists[0].public = ours.lists[0].public);
    assert_eq!(fault(&noticed), Fault::Signature);
    // A rogue that has the same seed and the same list makes the same key and the same chunks, and signs them.
    let mut twin = Party::new(Role::Responder, terms(true), set_of(names(0..40)));
    twin.seed = [0x20 + Role::Initiator.code(); 32];
    let noticed = run(Party::new(Role::Initiator, terms(true), set_of(names(0..40))), twin).unwrap_err();
    assert_eq!(fault(&noticed), Fault::Reflected { what: "public key" });
    // And one that masks with its own key but repeats a chunk of ours.
    let shared = names(0..32);
    let honest_seed = SessionSeed::from_bytes([0x20 + Role::Initiator.code(); 32]);
    let honest = masking(Role::Initiator).run(&set_of(&shared), &honest_seed, &|_| {});
    let mut copier = Party::new(Role::Responder, terms(true), set_of(&shared));
    copier.spoil = Box::new(move |list| list.items = honest.items);
    let noticed = run(Party::new(Role::Initiator, terms(true), set_of(&shared)), copier).unwrap_err();
    assert_eq!(fault(&noticed), Fault::Reflected { what: "chunk" });
}

fn fault(noticed: &Noticed) -> Fault {
    match &noticed.error {
        Error::PeerMisbehaved(misbehaved) => misbehaved.fault.clone(),
        other => panic!("{other}"),
    }
}

/// Unproved, a peer can answer what it likes; the counts and the result of the honest side follow it.
#[test]
fn without_proofs_an_answer_can_be_swapped_between_items_unnoticed_until_the_step_is_signed() {
    let (a, b) = (names(0..40), names(20..60));
    let noticed = run_altered(
        Party::new(Role::Initiator, terms(false), set_of(a)),
        Party::new(Role::Responder, terms(false), set_of(b)),
        &mut |from, message| match (from, message) {
            (Role::Responder, Message::Evaluated(mut evaluated)) => {
                let mut bytes = evaluated.answers.to_vec();
                bytes.reverse();
                evaluated.answers = bytes.into();
                vec![Message::Evaluated(evaluated)]
            }
            (_, message) => vec![message],
        },
    )
    .unwrap_err();
    // On the way it shows, since both sign what was sent; a peer that does it itself signs what it sent.
    assert_eq!(fault(&noticed), Fault::Signature);
}
