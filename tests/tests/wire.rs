//! One test a way to break the protocol, over real mutual TLS: the honest side names it, with its place, leaves no result,
//! and runs the next exchange as if nothing had been.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use psi_core::{
    key::Role,
    mask::MaskedList,
    message::{ChainHead, Commit, Evaluated, Hello, Masked, Message, PROTOCOL_VERSION},
    plan::MAX_CHUNK,
};
use psi_node::{
    budget::Budget,
    fault::{Code, Fault},
    link::{Frame, grpc},
    node::SOFTWARE,
    report::Silent,
    run,
    tls::endpoint::Endpoint,
};
use psi_tests::{
    nodes::{Ahead, Homes, JOB, Pair, numbered},
    pair::set_of,
    rogue::{Alter, End, Rogue, honest},
};
use tokio::net::TcpListener;

const ITEMS: u32 = 150;

async fn pair() -> Pair {
    Homes::with_lists(&numbered("agent", 0..200), &numbered("agent", 100..300)).serve().await
}

/// A rogue in the place of `a`, calling, or of `b`, answering.
fn rogue(pair: &Pair, role: Role) -> Rogue {
    let (node, peer) = match role {
        Role::Initiator => (&pair.a, &pair.b),
        Role::Responder => (&pair.b, &pair.a),
    };
    let set = set_of(numbered("agent", 50..50 + ITEMS));
    let hello = Hello {
        versions: vec![PROTOCOL_VERSION],
        suites: Hello::known_suites(),
        role,
        key: node.identity().public_key(),
        peer_key: peer.identity().public_key(),
        job: JOB.to_owned(),
        agreement: "AGR-1".to_owned(),
        terms: node.config().job(JOB).unwrap().terms(),
        items: vec![set.len() as u64],
        nonce: [0x55; 32],
        started: node.now(),
        software: SOFTWARE.to_owned(),
        operator: node.config().node.name.clone(),
        chain: ChainHead::default(),
    };
    let (identity, more) = (node.identity().clone(), Vec::new());
    Rogue { hello, set, more, identity, spoil: Box::new(|_| {}), alter: honest() }
}

/// What the honest side noticed.
struct Noticed {
    code: Code,
    place: String,
}

/// The rogue calls; the honest responder's refusal tells what it noticed.
async fn calling(pair: &Pair, rogue: Rogue) -> Noticed {
    let endpoint: Endpoint = format!("https://{}", pair.address).parse().unwrap();
    let target = grpc::Target { endpoint, key: pair.b.identity().public_key(), proxy: None };
    let (link, _traffic) = grpc::connect(&target, pair.a.tls(), pair.a.settings()).await.unwrap();
    match rogue.run(link, pair.a.now()).await {
        End::Refused(refusal) => {
            let row = psi_node::fault::TABLE.iter().find(|row| row.number == refusal.code).unwrap();
            Noticed { code: row.code, place: refusal.detail }
        }
        other => panic!("the responder did not refuse: {other:?}"),
    }
}

/// The rogue answers a real call; the caller's fault tells what it noticed.
async fn answering(pair: &Pair, rogue: Rogue) -> Fault {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = std::fs::read_to_string(pair.a.home().config()).unwrap();
    std::fs::write(pair.a.home().config(), config.replace(&pair.address.to_string(), &address.to_string()))
        .unwrap();
    pair.a.reload().unwrap();
    let _ended = rogue.serve(pair.b.clone(), listener, pair.b.now());
    let fault = run::call(&pair.a, JOB, Arc::new(Silent)).await.expect_err("the rogue goes unnoticed");
    std::fs::write(pair.a.home().config(), config).unwrap();
    pair.a.reload().unwrap();
    fault
}

/// No result anywhere, no record of a finished run, and the next honest run works.
async fn nothing_lost(pair: &Pair) {
    assert!(!pair.homes.a.output().exists() && !pair.homes.b.output().exists());
    pair.run().await.expect("the next run works");
    assert_eq!(pair.homes.b.result(), numbered("agent", 100..200));
    pair.clear_results();
}

/// The same rogue in both places: both honest sides notice the same at the same place.
async fn noticed(make: impl Fn(&mut Rogue), code: Code, place: &str) {
    let pair = pair().await;
    let mut caller = rogue(&pair, Role::Initiator);
    make(&mut caller);
    let seen = calling(&pair, caller).await;
    assert_eq!((seen.code, seen.place.as_str()), (code, place), "by the responder");
    nothing_lost(&pair).await;
    let mut answerer = rogue(&pair, Role::Responder);
    // The honest run has made a chain; a rogue that knew it would go on from there.
    answerer.hello.chain = head(&pair);
    make(&mut answerer);
    let fault = answering(&pair, answerer).await;
    assert_eq!((fault.code, fault.place.as_str()), (code, place), "by the initiator: {fault}");
    assert_eq!(fault.exit(), code.row().exit);
    nothing_lost(&pair).await;
}

fn head(pair: &Pair) -> ChainHead {
    let runs = psi_node::runs::Runs::of(pair.b.home());
    let chain = runs.chain(pair.b.identity().public_key(), pair.a.identity().public_key(), JOB).unwrap();
    chain.last().map(|link| link.statement.head()).unwrap_or_default()
}

fn spoiled(spoil: fn(&mut MaskedList)) -> impl Fn(&mut Rogue) {
    move |rogue| rogue.spoil = Box::new(spoil)
}

/// Changes one chunk of the masked list on its way.
fn chunk(index: u32, change: fn(Vec<u8>) -> Vec<u8>) -> impl Fn(&mut Rogue) {
    altered(move || {
        Box::new(move |message| match message {
            Message::Masked(masked) if masked.index == index => {
                let elements = Bytes::from(change(masked.elements.to_vec()));
                vec![Message::Masked(Masked { elements, ..masked }).into()]
            }
            message => vec![message.into()],
        })
    })
}

/// Changes one answer on its way.
fn answer(index: u32, change: fn(&mut Evaluated)) -> impl Fn(&mut Rogue) {
    altered(move || {
        Box::new(move |message| match message {
            Message::Evaluated(mut evaluated) if evaluated.index == index => {
                change(&mut evaluated);
                vec![Message::Evaluated(evaluated).into()]
            }
            message => vec![message.into()],
        })
    })
}

fn altered(make: impl Fn() -> Alter) -> impl Fn(&mut Rogue) {
    move |rogue| rogue.alter = make()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_encoding() {
    let spoil = spoiled(|list| list.items.last_mut().unwrap().element = [0xff; 32]);
    noticed(spoil, Code::NotCanonical, "masked, list 0, chunk 4, element 29").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_element() {
    let spoil = spoiled(|list| list.items[0].element = [0; 32]);
    noticed(spoil, Code::IdentityElement, "masked, list 0, chunk 0, element 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsorted() {
    noticed(spoiled(|list| list.items.swap(3, 4)), Code::Unsorted, "masked, list 0, chunk 0, element 4")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsorted_across_chunks() {
    // 150 items in 5 steps: chunk 1 begins with item 30.
    noticed(spoiled(|list| list.items.swap(29, 30)), Code::Unsorted, "masked, list 0, chunk 1, element 0")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doubled() {
    let spoil = spoiled(|list| list.items[4].element = list.items[3].element);
    noticed(spoil, Code::Doubled, "masked, list 0, chunk 0, element 4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many() {
    let change = chunk(0, |mut bytes| {
        bytes.extend_from_slice(&[7; 32]);
        bytes
    });
    noticed(change, Code::TooMany, "masked, list 0, chunk 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few() {
    let change = chunk(1, |mut bytes| {
        bytes.truncate(bytes.len() - 32);
        bytes
    });
    noticed(change, Code::TooFew, "masked, list 0, chunk 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_the_committed_chunk() {
    let change = chunk(2, |mut bytes| {
        bytes[5] ^= 1;
        bytes
    });
    noticed(change, Code::NotCommitted, "masked, list 0, chunk 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_length() {
    let change = chunk(0, |mut bytes| {
        bytes.push(0);
        bytes
    });
    noticed(change, Code::Length, "masked, list 0, chunk 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty() {
    noticed(chunk(0, |_| Vec::new()), Code::EmptyChunk, "masked, list 0, chunk 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized() {
    let change = chunk(0, |_| vec![1; (MAX_CHUNK + 1) * 32]);
    noticed(change, Code::Oversized, "masked, list 0, chunk 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_chunk_too_many() {
    let change = altered(|| {
        Box::new(|message| match message {
            Message::Masked(masked) if masked.index == 4 => {
                let more = Masked { index: 5, ..masked.clone() };
                vec![Message::Masked(masked).into(), Message::Masked(more).into()]
            }
            message => vec![message.into()],
        })
    });
    noticed(change, Code::TooMany, "masked, list 0, chunk 5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_again() {
    let change = altered(|| {
        Box::new(|message| match message {
            Message::Masked(masked) if masked.index == 1 => {
                vec![Message::Masked(masked.clone()).into(), Message::Masked(masked).into()]
            }
            message => vec![message.into()],
        })
    });
    noticed(change, Code::OutOfPhase, "masked, list 0, chunk 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answer() {
    let change = answer(1, |evaluated| {
        let mut bytes = evaluated.answers.to_vec();
        bytes.copy_within(32..64, 0);
        evaluated.answers = bytes.into();
    });
    noticed(change, Code::ProofWrong, "evaluated, list 0, chunk 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_proof() {
    let change = answer(2, |evaluated| {
        let mut bytes = evaluated.proof.to_vec();
        bytes[40] ^= 1;
        evaluated.proof = bytes.into();
    });
    noticed(change, Code::ProofWrong, "evaluated, list 0, chunk 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_proof() {
    let change = answer(0, |evaluated| evaluated.proof = Bytes::new());
    noticed(change, Code::ProofMissing, "evaluated, list 0, chunk 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_of_another_message() {
    let change = altered(|| {
        let first = Mutex::new(Bytes::new());
        Box::new(move |message| match message {
            Message::Evaluated(evaluated) if evaluated.index == 0 => {
                *first.lock().unwrap() = evaluated.proof.clone();
                vec![Message::Evaluated(evaluated).into()]
            }
            Message::Evaluated(evaluated) if evaluated.index == 1 => {
                vec![
                    Message::Evaluated(Evaluated { proof: first.lock().unwrap().clone(), ..evaluated })
                        .into(),
                ]
            }
            message => vec![message.into()],
        })
    });
    noticed(change, Code::ProofWrong, "evaluated, list 0, chunk 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reordered_answers() {
    let change = answer(3, |evaluated| {
        let mut bytes = evaluated.answers.to_vec();
        bytes.rotate_left(32);
        evaluated.answers = bytes.into();
    });
    noticed(change, Code::ProofWrong, "evaluated, list 0, chunk 3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn short_answer() {
    let change = answer(3, |evaluated| evaluated.answers.truncate(evaluated.answers.len() - 32));
    noticed(change, Code::TooFew, "evaluated, list 0, chunk 3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_out_of_phase() {
    let change = altered(|| {
        Box::new(|message| match message {
            Message::Commit(commit) => {
                vec![Message::Commit(commit.clone()).into(), Message::Commit(commit).into()]
            }
            message => vec![message.into()],
        })
    });
    noticed(change, Code::OutOfPhase, "commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_commit() {
    let change = altered(|| {
        Box::new(|message| match message {
            Message::Commit(_) => {
                vec![
                    Message::Masked(Masked { list: 0, index: 0, elements: Bytes::from_static(&[1; 32]) })
                        .into(),
                ]
            }
            message => vec![message.into()],
        })
    });
    noticed(change, Code::OutOfPhase, "masked, list 0, chunk 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_of_somebody_else() {
    let change = altered(|| {
        Box::new(|message| match message {
            Message::Commit(mut commit) => {
                commit.signature[3] ^= 1;
                vec![Message::Commit(commit).into()]
            }
            message => vec![message.into()],
        })
    });
    noticed(change, Code::Signature, "commit").await;
}

/// Re-signs a commit after a change, as only its own party can.
fn recommitted(pair: &Pair, role: Role, change: fn(&mut Commit)) -> Alter {
    let node = match role {
        Role::Initiator => pair.a.clone(),
        Role::Responder => pair.b.clone(),
    };
    Box::new(move |message| match message {
        Message::Commit(mut commit) => {
            change(&mut commit);
            // The session's id is not known here: the signature is wrong too, and what is checked first shows.
            commit.signature = node.identity().sign(b"");
            vec![Message::Commit(commit).into()]
        }
        message => vec![message.into()],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_over_something_else() {
    let pair = pair().await;
    let mut caller = rogue(&pair, Role::Initiator);
    caller.alter = recommitted(&pair, Role::Initiator, |commit| commit.lists[0].items += 1);
    assert_eq!(calling(&pair, caller).await.code, Code::Signature);
    nothing_lost(&pair).await;
}

/// Sends this frame in place of every message of that kind.
fn garbage(which: fn(&Message) -> bool, frame: Frame) -> impl Fn(&mut Rogue) {
    altered(move || {
        let frame = frame.clone();
        Box::new(move |message| if which(&message) { vec![frame.clone()] } else { vec![message.into()] })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_hello() {
    let change = garbage(|m| matches!(m, Message::Hello(_)), Frame::Hello(Bytes::from_static(b"hello?")));
    noticed(change, Code::Malformed, "hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_commit() {
    let change = garbage(|m| matches!(m, Message::Commit(_)), Frame::Commit(Bytes::from_static(b"commit?")));
    noticed(change, Code::Malformed, "commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_end_of_a_step() {
    let change = garbage(|m| matches!(m, Message::StepEnd(_)), Frame::StepEnd(Bytes::from_static(b"end?")));
    noticed(change, Code::Malformed, "frame").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_close() {
    let pair = pair().await;
    let mut caller = rogue(&pair, Role::Initiator);
    garbage(|m| matches!(m, Message::Close(_)), Frame::Close(Bytes::from_static(b"close?")))(&mut caller);
    let seen = calling(&pair, caller).await;
    assert_eq!((seen.code, seen.place.as_str()), (Code::Malformed, "close"));
    nothing_lost(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_that_differ_are_named_on_both_sides() {
    let mut homes = Homes::with_lists(&numbered("agent", 0..40), &numbered("agent", 0..40));
    homes.a.policy("max_items", 77);
    let pair = homes.serve().await;
    let fault = pair.run().await.unwrap_err();
    assert_eq!(fault.code, Code::Terms);
    assert!(fault.message.contains("max-items"), "{fault}");
    let caller = rogue(&pair, Role::Initiator);
    let seen = calling(&pair, caller).await;
    assert_eq!((seen.code, seen.place.as_str()), (Code::Terms, "max-items"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_job() {
    let pair = pair().await;
    let mut caller = rogue(&pair, Role::Initiator);
    caller.hello.job = "other".to_owned();
    assert_eq!(calling(&pair, caller).await.code, Code::UnknownJob);
    nothing_lost(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_ten_minutes_off() {
    let mut homes = Homes::with_lists(&numbered("agent", 0..40), &numbered("agent", 0..40));
    homes.a.clock = Arc::new(Ahead(600));
    let pair = homes.serve().await;
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::Clock, 8));
    assert!(!pair.homes.a.output().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn forked_chain() {
    let pair = pair().await;
    pair.run().await.unwrap();
    pair.clear_results();
    let mut caller = rogue(&pair, Role::Initiator);
    caller.hello.chain = ChainHead { height: 1, digest: [9; 32] };
    let seen = calling(&pair, caller).await;
    assert_eq!((seen.code, seen.code.row().exit), (Code::Forked, 13));
    nothing_lost(&pair).await;
}

/// The caller that was refused stays on the line; whoever calls next does not have to wait for it to hang up.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_caller_leaves_the_job_free() {
    let pair = pair().await;
    pair.run().await.unwrap();
    pair.clear_results();
    let mut hello = rogue(&pair, Role::Initiator).hello;
    hello.chain = ChainHead { height: 1, digest: [9; 32] };
    let endpoint: Endpoint = format!("https://{}", pair.address).parse().unwrap();
    let target = grpc::Target { endpoint, key: pair.b.identity().public_key(), proxy: None };
    let (mut link, _) = grpc::connect(&target, pair.a.tls(), pair.a.settings()).await.unwrap();
    link.sender.send(Message::Hello(hello).into()).await.unwrap();
    while !matches!(link.receiver.receive().await.unwrap(), Frame::Refusal(_)) {}
    nothing_lost(&pair).await;
    drop(link);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_prove_nothing() {
    let pair = pair().await;
    let mut caller = rogue(&pair, Role::Initiator);
    caller.hello.chain = ChainHead { height: 1, digest: [9; 32] };
    caller.alter = Box::new(|message| match message {
        Message::Commit(_) => vec![Message::Statements(vec![b"not a note".to_vec()]).into()],
        message => vec![message.into()],
    });
    assert_eq!(calling(&pair, caller).await.code, Code::Signature);
    nothing_lost(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_count_beyond_the_terms_is_refused_before_any_work() {
    let pair = pair().await;
    let mut caller = rogue(&pair, Role::Initiator);
    caller.hello.items = vec![1_000_000_000];
    assert_eq!(calling(&pair, caller).await.code, Code::Items);
    assert!(!pair.b.home().attempts().exists(), "nothing was disclosed, so nothing is charged");
    nothing_lost(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_with_other_keys() {
    let pair = pair().await;
    let mut caller = rogue(&pair, Role::Initiator);
    caller.hello.peer_key = caller.hello.key;
    let seen = calling(&pair, caller).await;
    assert_eq!((seen.code, seen.code.row().exit), (Code::HelloKey, 7));
    nothing_lost(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_version_and_suite() {
    let pair = pair().await;
    let mut caller = rogue(&pair, Role::Initiator);
    caller.hello.versions = vec![PROTOCOL_VERSION + 1];
    assert_eq!(calling(&pair, caller).await.code, Code::Version);
    let mut caller = rogue(&pair, Role::Initiator);
    caller.hello.suites = vec![0x7777];
    assert_eq!(calling(&pair, caller).await.code, Code::Version);
    nothing_lost(&pair).await;
}

/// The rogue's messages end after so many, and its stream with them.
async fn cut_after(messages: usize) {
    let pair = pair().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut answerer = rogue(&pair, Role::Responder);
    let mut left = messages;
    answerer.alter = Box::new(move |message| {
        // A rogue that sends nothing more and waits would be idle; one that panics drops its link, as a crash does.
        assert!(left > 0, "the rogue crashes here");
        left -= 1;
        vec![message.into()]
    });
    let address = listener.local_addr().unwrap();
    let config = std::fs::read_to_string(pair.a.home().config()).unwrap();
    std::fs::write(pair.a.home().config(), config.replace(&pair.address.to_string(), &address.to_string()))
        .unwrap();
    pair.a.reload().unwrap();
    let _ended = answerer.serve(pair.b.clone(), listener, pair.b.now());
    let fault = run::call(&pair.a, JOB, Arc::new(Silent)).await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::Cut, 6), "after {messages} messages: {fault}");
    assert!(!pair.homes.a.output().exists());
    std::fs::write(pair.a.home().config(), config).unwrap();
    pair.a.reload().unwrap();
    if messages >= 2 {
        // The rogue's Commit had come, and the honest peer knows nothing of the session.
        assert_eq!(pair.run().await.unwrap_err().code, Code::SetBack, "after {messages} messages");
    }
    nothing_lost(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_just_ends() {
    for messages in [0, 1, 2, 5] {
        cut_after(messages).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_sign() {
    let pair = pair().await;
    let mut caller = rogue(&pair, Role::Initiator);
    caller.alter = Box::new(|message| match message {
        Message::Close(mut close) => {
            close.signature[0] ^= 1;
            vec![Message::Close(close).into()]
        }
        message => vec![message.into()],
    });
    assert_eq!(calling(&pair, caller).await.code, Code::Signature);
    assert!(!pair.homes.b.output().exists(), "no result without both signatures");
    assert!(
        pair.homes.b.runs().iter().all(|run| run.file_name().unwrap().to_string_lossy().starts_with('.'))
    );
    nothing_lost(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_count_of_matches() {
    let pair = pair().await;
    let mut caller = rogue(&pair, Role::Initiator);
    caller.alter = Box::new(|message| match message {
        Message::Close(mut close) => {
            close.matches[0] += 1;
            vec![Message::Close(close).into()]
        }
        message => vec![message.into()],
    });
    assert_eq!(calling(&pair, caller).await.code, Code::Matches);
    nothing_lost(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_pinned() {
    let pair = pair().await;
    let stranger = Homes::with_lists(&numbered("agent", 0..10), &numbered("agent", 0..10)).serve().await;
    let config = std::fs::read_to_string(stranger.a.home().config()).unwrap();
    // The stranger expects the right key of `b`, but `b` does not know the stranger.
    let own = config.replace(&stranger.address.to_string(), &pair.address.to_string()).replace(
        &stranger.b.identity().public_key().to_string(),
        &pair.b.identity().public_key().to_string(),
    );
    std::fs::write(stranger.a.home().config(), own).unwrap();
    stranger.a.reload().unwrap();
    let fault = stranger.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::OurKeyRefused, 7));
    // And `a` calls an address where somebody else answers.
    let config = std::fs::read_to_string(pair.a.home().config()).unwrap();
    std::fs::write(
        pair.a.home().config(),
        config.replace(&pair.address.to_string(), &stranger.address.to_string()),
    )
    .unwrap();
    pair.a.reload().unwrap();
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::WrongKey, 7));
    std::fs::write(pair.a.home().config(), config).unwrap();
    pair.a.reload().unwrap();
    nothing_lost(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate() {
    let mut homes = Homes::with_lists(&numbered("agent", 0..10), &numbered("agent", 0..10));
    homes.a.clock = Arc::new(Ahead(-91 * 24 * 3600));
    let pair = homes.serve().await;
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::Certificate, 6), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_at_the_endpoint() {
    let pair = pair().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let config = std::fs::read_to_string(pair.a.home().config()).unwrap();
    std::fs::write(pair.a.home().config(), config.replace(&pair.address.to_string(), &address.to_string()))
        .unwrap();
    pair.a.reload().unwrap();
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::Tls, 6), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_already() {
    let pair = pair().await;
    let (first, second) = tokio::join!(pair.run(), pair.run());
    let codes: Vec<Option<Code>> = [first, second].map(|run| run.err().map(|fault| fault.code)).to_vec();
    assert!(codes.contains(&None) && codes.contains(&Some(Code::Busy)), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_runs_than_the_policy_allows() {
    let mut homes = Homes::with_lists(&numbered("agent", 0..10), &numbered("agent", 0..10));
    homes.a.policy("max_runs_per_day", 1);
    homes.b.policy("max_runs_per_day", 1);
    let pair = homes.serve().await;
    pair.run().await.unwrap();
    pair.clear_results();
    let fault = pair.run().await.unwrap_err();
    assert_eq!((fault.code, fault.exit()), (Code::Policy, 8));
    let caller = rogue(&pair, Role::Initiator);
    let seen = calling(&pair, caller).await;
    assert_eq!((seen.code, seen.place.as_str()), (Code::Policy, ""), "the peer is told no more than that");
}

/// Whatever became of a run, what its peer could test is charged.
#[tokio::test(flavor = "multi_thread")]
async fn runs_that_failed_use_up_the_year() {
    let mut homes = Homes::with_lists(&numbered("agent", 0..200), &numbered("agent", 100..300));
    homes.b.policy("max_tested_per_year", 2 * ITEMS);
    let pair = homes.serve().await;
    let altered = chunk(0, |mut elements| {
        elements[0] ^= 1;
        elements
    });
    for codes in [Code::NotCommitted, Code::NotCommitted, Code::Policy] {
        let mut caller = rogue(&pair, Role::Initiator);
        altered(&mut caller);
        assert_eq!(calling(&pair, caller).await.code, codes);
    }
    let budget = Budget::load(pair.b.home(), &pair.b.config(), "bank-a", pair.b.now()).unwrap();
    let spent: Vec<_> = budget.profiles.iter().map(|of| (of.tested, of.runs, of.left)).collect();
    assert_eq!(spent, [(2 * u64::from(ITEMS), 2, Some(0))]);
}
