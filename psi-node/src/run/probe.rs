//! A question about the terms: a Hello with empty lists, which no terms allow (docs/PROTOCOL.md, "Asking for the terms").
//!
//! Whoever is asked compares everything that stands before the counts, and refuses in any case: with what differs, or with the
//! sizes of the lists if nothing does. It takes no lease, reads no list, writes no record and says nothing of its own lists.

use psi_core::{
    key::Role,
    message::{ChainHead, Hello, Message, PROTOCOL_VERSION},
    session::Opening,
};

use super::{random, talk::Talk};
use crate::{
    config::Job,
    fault::{Code, Fault},
    link::grpc::Connection,
    node::{Node, SOFTWARE},
};

/// Asks the peer of a job whether it has the job, and whether it agreed to the same.
///
/// # Errors
/// What differs, as the peer names it, or how the conversation failed.
pub async fn ask(node: &Node, name: &str, connection: &Connection) -> Result<(), Fault> {
    let config = node.config();
    let job = config.job(name)?;
    let mut talk = Talk::new(connection.session(), node.conversations().begin());
    let question = hello(node, name, job, Role::Initiator, empty(job), ChainHead::default())?;
    let answer = match talk.send(Message::Hello(question)).await {
        Ok(()) => talk.receive().await,
        Err(fault) => Err(fault),
    };
    let answer = match answer {
        Ok(other) => Err(other.out_of_phase("refusal").into()),
        Err(fault) if fault.code == Code::Items => Ok(()),
        Err(fault) => Err(fault),
    };
    talk.refuse(&Fault::new(Code::Refused, "that was all we wanted to know")).await;
    answer
}

/// Whether a caller only asks.
pub(super) fn is_one(theirs: &Hello) -> bool {
    theirs.items.iter().all(|items| *items == 0)
}

/// The answer to a caller whose job that is: always a refusal.
pub(super) fn answer(node: &Node, job: &Job, theirs: &Hello) -> Fault {
    let compared = hello(node, &theirs.job, job, theirs.role.opposite(), smallest(job), theirs.chain)
        .and_then(|ours| {
            let (opening, _) = Opening::new(ours);
            Ok(opening.accept(Message::Hello(theirs.clone()), node.now()).map(drop)?)
        });
    let same = "the peer asked whether our terms are the same: they are".to_owned();
    match compared {
        Err(fault) if fault.code == Code::Items => Fault { message: same, ..fault },
        Err(fault) => fault,
        Ok(()) => Fault::new(Code::Items, same),
    }
}

fn empty(job: &Job) -> Vec<u64> {
    vec![0; job.input.keys.len()]
}

/// Lists of ours that the terms would allow, for whoever only wants to compare the rest.
pub(super) fn smallest(job: &Job) -> Vec<u64> {
    vec![job.policy.min_items; job.input.keys.len()]
}

/// Our Hello, for lists of so many items.
pub(super) fn hello(
    node: &Node,
    name: &str,
    job: &Job,
    role: Role,
    items: Vec<u64>,
    chain: ChainHead,
) -> Result<Hello, Fault> {
    let (nonce, config) = (*random()?, node.config());
    Ok(Hello {
        versions: vec![PROTOCOL_VERSION],
        suites: Hello::known_suites(),
        role,
        key: node.identity().public_key(),
        peer_key: config.peer(&job.peer)?.key,
        job: name.to_owned(),
        agreement: job.agreement.clone(),
        terms: job.terms(),
        items,
        nonce,
        started: node.now(),
        software: SOFTWARE.to_owned(),
        operator: config.node.name.clone(),
        chain,
    })
}
