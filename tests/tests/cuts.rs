//! A session that is cut anywhere, and whose parties come back with what they kept: the same statement, the same
//! matches, every message that is sent again the same as the first time; and what was kept by somebody else, or changed, is
//! refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use psi_core::{
    error::{Error, Fault, Incompatible, Misbehaved, Place},
    key::Role,
    message::{Message, Resume},
    session::{Committed, Common, Exchange, KeptStep},
};
use psi_tests::{
    chance::Chance,
    cuts::{self, Kept, Loss, Survivor, Wire},
    pair::{self, Party, identity, set_of, terms},
};

fn numbered(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("agent {n}")).collect()
}

fn parties(proved: bool) -> [Party; 2] {
    [
        Party::new(Role::Initiator, terms(proved), set_of(numbered(0..150))),
        Party::new(Role::Responder, terms(proved), set_of(numbered(100..290))),
    ]
}

fn survivors(proved: bool) -> [Survivor; 2] {
    let [initiator, responder] = parties(proved);
    cuts::agreed(initiator, responder)
}

/// How much is done in an uninterrupted session of these parties: the Commits are handled, 5 steps of 3 messages each way
/// are sent and handled, both sign, and the Closes are handled unless they came early.
const ALL: usize = 2 + 2 * 2 * 5 * 3 + 2 + 2;

/// Losses of steps that are not durable, by chance; mostly none or few.
fn losses(chance: &mut Chance) -> [Loss; 2] {
    [(); 2].map(|()| Loss { steps: chance.of_these(&[0, 0, 1, 2, 9]) })
}

/// Cuts after so much was done, each time, until the session comes to its end.
fn survives(proved: bool, cuts_at: Vec<usize>, chance: &mut Chance) -> [Survivor; 2] {
    let mut parties = survivors(proved);
    let mut wire = Wire::default();
    cuts::start(&mut parties, &mut wire);
    let (mut connected, mut connections) = (true, 1);
    // After the last cut nothing ends a connection any more.
    for cut in cuts_at.into_iter().chain([usize::MAX]) {
        let limit = wire.done.saturating_add(cut);
        if !connected {
            let caller = chance.of_these(&[Role::Initiator, Role::Responder]);
            connected = cuts::reconnect(&mut parties, &mut wire, losses(chance), caller, limit).unwrap();
        }
        if connected && cuts::run(&mut parties, &mut wire, chance, limit).unwrap() {
            assert!(connections > 1, "the session was not cut");
            return parties;
        }
        connected = false;
        connections += 1;
    }
    panic!("the last connection was not cut, and did not end")
}

fn assert_as_uninterrupted(proved: bool, parties: &[Survivor; 2]) {
    let [initiator, responder] = self::parties(proved);
    let expected = pair::run(initiator, responder).unwrap();
    for (party, expected) in parties.iter().zip(expected) {
        assert_eq!(party.kept.signed.as_ref().unwrap(), &expected.signed.note());
        assert_eq!(party.kept.closing.as_ref().unwrap().0, expected.signed.transcript.encode());
        assert_eq!(party.matches(), expected.matches);
    }
}

#[test]
fn cut_anywhere() {
    let mut chance = Chance::of_test();
    let mut resent = 0;
    for proved in [true, false] {
        for cut in 0..ALL - 2 {
            let parties = survives(proved, vec![cut], &mut chance);
            assert_as_uninterrupted(proved, &parties);
            resent += parties.iter().map(|party| party.resent).sum::<usize>();
        }
    }
    assert!(resent > ALL, "hardly anything was sent again: {resent}");
}

#[test]
fn cut_again_and_again() {
    let mut chance = Chance::of_test();
    for _ in 0..40 {
        let cuts = (0..40).map(|_| 1 + chance.below(6) as usize).collect();
        assert_as_uninterrupted(true, &survives(true, cuts, &mut chance));
    }
}

/// Two parties in a situation that some order of their messages leads to.
fn met(situation: impl Fn(&[Survivor; 2]) -> bool) -> [Survivor; 2] {
    for seed in 0..1000 {
        let (mut parties, mut wire, mut chance) = (survivors(true), Wire::default(), Chance::of(seed));
        cuts::start(&mut parties, &mut wire);
        for limit in 1..ALL {
            if !cuts::run(&mut parties, &mut wire, &mut chance, limit).unwrap() && situation(&parties) {
                return parties;
            }
        }
    }
    panic!("no order of messages leads there");
}

/// Goes on over another connection after these losses, to the end.
fn assert_goes_on(parties: &mut [Survivor; 2], losses: [usize; 2]) {
    let mut wire = Wire::default();
    let losses = losses.map(|steps| Loss { steps });
    cuts::reconnect(parties, &mut wire, losses, Role::Initiator, usize::MAX).unwrap();
    assert!(cuts::run(parties, &mut wire, &mut Chance::of(1), usize::MAX).unwrap());
    assert_as_uninterrupted(true, parties);
}

#[test]
fn both_closes_are_lost() {
    let both = |party: &Survivor| party.kept.closing.is_some() && party.kept.signed.is_none();
    let mut parties = met(|parties| parties.iter().all(both));
    assert_goes_on(&mut parties, [0, 0]);
    assert!(parties.iter().all(|party| party.resumed == [Common { steps: 5, lacks_commit: false }]));
}

#[test]
fn one_close_is_lost() {
    let mut parties = met(|[a, b]| a.kept.signed.is_some() && b.kept.signed.is_none());
    assert_goes_on(&mut parties, [0, 0]);
    let mut parties = met(|[a, b]| a.kept.signed.is_none() && b.kept.signed.is_some());
    assert_goes_on(&mut parties, [0, 0]);
}

#[test]
fn a_party_that_has_signed_goes_back_for_one_that_is_behind() {
    let mut parties = met(|[a, b]| a.kept.closing.is_some() && b.kept.closing.is_none());
    assert_goes_on(&mut parties, [0, 3]);
    assert_eq!(parties[0].resumed[0].steps, parties[1].resumed[0].steps);
    assert!(parties[0].resumed[0].steps <= 2);
}

#[test]
fn a_commit_is_lost() {
    let mut parties = met(|[a, b]| a.kept.their_commit.is_some() && b.kept.their_commit.is_none());
    assert_goes_on(&mut parties, [0, 0]);
    assert_eq!(parties[0].resumed, [Common { steps: 0, lacks_commit: true }]);
    assert_eq!(parties[1].resumed, [Common { steps: 0, lacks_commit: false }]);
}

/// Two parties of which the first has kept `ours` steps and the second `theirs`.
fn apart(proved: bool, ours: usize, theirs: usize) -> [Survivor; 2] {
    let mut chance = Chance::of(1);
    let mut parties = survivors(proved);
    let mut wire = Wire::default();
    cuts::start(&mut parties, &mut wire);
    let most = ours.max(theirs);
    let lacks = |party: &Survivor| party.kept.their_commit.is_none() || party.kept.steps.len() < most;
    while parties.iter().any(lacks) {
        let limit = wire.done + 1;
        assert!(!cuts::run(&mut parties, &mut wire, &mut chance, limit).unwrap());
    }
    for (party, kept) in parties.iter_mut().zip([ours, theirs]) {
        party.kept.steps.truncate(kept);
    }
    parties
}

fn none() -> [Loss; 2] {
    [Loss { steps: 0 }; 2]
}

#[test]
fn both_go_back_to_the_step_that_both_have() {
    let mut parties = apart(true, 4, 2);
    let mut wire = Wire::default();
    cuts::reconnect(&mut parties, &mut wire, none(), Role::Responder, usize::MAX).unwrap();
    let common = Common { steps: 2, lacks_commit: false };
    assert_eq!((&parties[0].resumed, &parties[1].resumed), (&vec![common], &vec![common]));
    assert!(cuts::run(&mut parties, &mut wire, &mut Chance::of(2), usize::MAX).unwrap());
    assert_as_uninterrupted(true, &parties);
}

/// What the first party notices when the second one's messages are altered after the resumption.
fn noticed(
    parties: &mut [Survivor; 2],
    mut alter: impl FnMut(Message) -> Message + 'static,
) -> (Role, Error) {
    let mut wire = Wire::altering(move |from, message| match from {
        Role::Initiator => message,
        Role::Responder => alter(message),
    });
    cuts::reconnect(parties, &mut wire, none(), Role::Responder, usize::MAX)
        .and_then(|_| cuts::run(parties, &mut wire, &mut Chance::of(3), usize::MAX))
        .unwrap_err()
}

fn at(place: Place, fault: Fault) -> (Role, Error) {
    (Role::Initiator, Error::PeerMisbehaved(Misbehaved { place, fault }))
}

#[test]
fn an_answer_that_changes_is_noticed_although_nothing_else_would_show_it() {
    let mut parties = apart(false, 4, 2);
    let found = noticed(&mut parties, |message| match message {
        Message::Evaluated(mut evaluated) if evaluated.index == 3 => {
            let mut bytes = evaluated.answers.to_vec();
            bytes[0] ^= 1;
            evaluated.answers = bytes.into();
            Message::Evaluated(evaluated)
        }
        message => message,
    });
    let place = Place::Evaluated { list: 0, index: 3, element: None };
    assert_eq!(found, at(place, Fault::Changed { what: "answer" }));
}

#[test]
fn a_chunk_that_changes_is_not_the_one_committed_to() {
    let mut parties = apart(true, 4, 2);
    let found = noticed(&mut parties, |message| match message {
        Message::Masked(mut masked) if masked.index == 2 => {
            let mut bytes = masked.elements.to_vec();
            bytes[0] ^= 1;
            masked.elements = bytes.into();
            Message::Masked(masked)
        }
        message => message,
    });
    assert_eq!(found, at(Place::Masked { list: 0, index: 2, element: None }, Fault::NotCommitted));
}

#[test]
fn a_second_commit_is_out_of_phase() {
    let mut parties = apart(true, 0, 0);
    let found = noticed(&mut parties, |message| match message {
        Message::Resume(resume) => {
            let Resume { sid, role, .. } = resume;
            Message::Resume(Resume::new(sid, role, 0, None, &identity(Role::Responder)))
        }
        message => message,
    });
    // The responder claims to lack our Commit, gets it although it has it, and that is against the order.
    assert_eq!(found.0, Role::Responder);
    let mut parties = apart(true, 0, 0);
    let commit = psi_core::message::Commit::decode(&parties[1].kept.commit).unwrap();
    let mut commit = Some(Message::Commit(commit));
    let found = noticed(&mut parties, move |message| match message {
        Message::Masked(masked) => commit.take().unwrap_or(Message::Masked(masked)),
        message => message,
    });
    let fault = Fault::OutOfPhase { expected: "masked, evaluated or step end", got: "commit" };
    assert_eq!(found, at(Place::Commit { list: None }, fault));
}

/// What the first party, with two kept steps, says to this Resume.
fn answer(spoil: impl Fn(Resume) -> Resume + 'static) -> (Role, Error) {
    let mut parties = apart(true, 2, 2);
    noticed(&mut parties, move |message| match message {
        Message::Resume(resume) => Message::Resume(spoil(resume)),
        message => message,
    })
}

fn signed(resume: Resume) -> Resume {
    let signature = identity(Role::Responder).sign(&resume.signed_bytes());
    Resume { signature, ..resume }
}

#[test]
fn a_resume_that_is_not_the_peers_or_can_not_be() {
    let contradiction = |what| at(Place::Resume, Fault::Contradiction { what });
    assert_eq!(answer(|r| signed(Resume { sid: [9; 32], ..r })), contradiction("session"));
    assert_eq!(answer(|r| signed(Resume { role: Role::Initiator, ..r })), contradiction("role"));
    assert_eq!(answer(|r| Resume { steps: 1, ..r }), at(Place::Resume, Fault::Signature));
    let stranger = |r: Resume| Resume { signature: identity(Role::Initiator).sign(&r.signed_bytes()), ..r };
    assert_eq!(answer(stranger), at(Place::Resume, Fault::Signature));
    assert_eq!(answer(|r| signed(Resume { steps: 6, ..r })), contradiction("number of steps"));
    let without = contradiction("progress without our commit");
    assert_eq!(answer(|r| signed(Resume { committed: false, ..r })), without);
    assert_eq!(answer(|r| signed(Resume { committed: false, steps: 0, ..r })), without);
    let diverged = (Role::Initiator, Error::Incompatible(Incompatible::Diverged { steps: 2 }));
    assert_eq!(answer(|r| signed(Resume { running: [9; 32], ..r })), diverged);
    let diverged = (Role::Initiator, Error::Incompatible(Incompatible::Diverged { steps: 1 }));
    assert_eq!(answer(|r| signed(Resume { steps: 1, ..r })), diverged);
    assert_eq!(
        answer(|r| signed(Resume { steps: 0, ..r })).1,
        Error::Incompatible(Incompatible::Diverged { steps: 0 })
    );
}

#[test]
fn a_party_that_was_set_back_before_the_peers_commit_learns_it() {
    let mut parties = apart(true, 2, 2);
    parties[0].kept.their_commit = None;
    let found = noticed(&mut parties, |message| message);
    assert_eq!(found, (Role::Initiator, Error::Incompatible(Incompatible::RolledBack { what: "a step" })));
}

/// The first party's record after three steps, and the peer's Commit.
fn kept(proved: bool) -> (Kept, Vec<u8>) {
    let [party, other] = apart(proved, 3, 3);
    (party.kept, other.kept.commit)
}

/// What is wrong with this record of the first party, if anything.
fn damage((kept, theirs): &(Kept, Vec<u8>), spoil: impl Fn(&mut Kept)) -> Option<String> {
    let mut kept = kept.clone();
    spoil(&mut kept);
    let steps: Result<Vec<_>, _> = kept.steps.iter().map(|step| KeptStep::decode(step)).collect();
    let Ok(steps) = steps else { return Some("malformed".to_owned()) };
    let commits = [kept.commit, theirs.clone()];
    let restored = Exchange::restore(kept.hellos, commits, steps, &identity(Role::Initiator));
    restored.err().map(|damaged| damaged.what)
}

#[test]
fn what_was_kept_is_checked_before_it_is_used() {
    let whole = kept(true);
    let damage = |spoil: &dyn Fn(&mut Kept)| damage(&whole, spoil);
    assert_eq!(damage(&|_| {}), None);
    assert!(damage(&|kept| kept.steps.swap(0, 1)).unwrap().contains("the record is of step 1"));
    assert!(damage(&|kept| drop(kept.steps.remove(0))).unwrap().contains("the record is of step 1"));
    let again = |kept: &mut Kept| kept.steps.extend(vec![kept.steps[2].clone(); 4]);
    assert!(damage(&again).unwrap().contains("more steps"));
    let (foreign, _) = self::kept(false);
    assert!(damage(&|kept| kept.steps[1] = foreign.steps[1].clone()).unwrap().contains("step 1"));
    let other = party_of_another_session();
    assert!(damage(&|kept| kept.hellos = other.kept.hellos.clone()).is_some());
    assert!(damage(&|kept| kept.commit = other.kept.commit.clone()).unwrap().contains("commit"));
    assert!(damage(&|kept| kept.hellos.swap(0, 1)).unwrap().contains("another role"));
}

fn party_of_another_session() -> Survivor {
    let [mut initiator, responder] = parties(true);
    initiator.hello.nonce = [0x77; 32];
    let [party, _] = cuts::agreed(initiator, responder);
    party
}

#[test]
fn every_flipped_byte_of_a_kept_step_is_damage() {
    let whole = kept(true);
    // The last element has no signature over it: only the seal of the file protects it.
    for at in 0..whole.0.steps[1].len() - 32 {
        assert!(damage(&whole, |kept| kept.steps[1][at] ^= 1).is_some(), "byte {at}");
    }
}

#[test]
fn a_commit_or_list_that_is_not_ours_is_damage() {
    let [party, other] = survivors(true);
    let hellos = party.kept.hellos.each_ref().map(Vec::as_slice);
    let restore = |commit: &[u8]| Committed::restore(hellos, commit, &identity(Role::Initiator));
    for at in 0..party.kept.commit.len() {
        let mut commit = party.kept.commit.clone();
        commit[at] ^= 1;
        assert!(restore(&commit).is_err(), "byte {at}");
    }
    assert!(restore(&other.kept.commit).is_err());
    assert!(Committed::restore(hellos, &party.kept.commit, &identity(Role::Responder)).is_err());
    let committed = restore(&party.kept.commit).unwrap();
    assert!(committed.check_lists(&party.lists).is_ok());
    assert!(committed.check_lists(&other.lists).is_err());
    assert!(committed.check_lists(&party.lists[..0]).is_err());
}
