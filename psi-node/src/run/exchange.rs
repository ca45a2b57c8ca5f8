//! The steps: the session says what to send and what to compute; here it meets the link and the threads.

use std::sync::Arc;

use psi_core::{
    error::{Error, Fault as Breach, Incompatible, Place},
    message::{Close, Message},
    session::{Answer, Exchange, JoinKeys, Outgoing, Received, Verified},
    statement::Statement,
};
use tokio::task::JoinSet;

use super::{checkpoint::Checkpoints, evidence::Evidence, talk::Talk};
use crate::{
    clock::Clock,
    fault::{Code, Fault},
    masked::StoredList,
    pool::Pool,
    report::Progress,
};

/// The result of a task.
enum Done {
    Answer(Answer),
    Verified(Verified),
}

type Task = Result<(Done, JoinKeys), Fault>;

/// The steps of one session on this node's link and threads.
pub(super) struct Steps<'a> {
    pub(super) exchange: Exchange,
    pub(super) lists: Arc<Vec<StoredList>>,
    pub(super) pool: &'a Pool,
    pub(super) progress: &'a dyn Progress,
    pub(super) evidence: Option<Evidence>,
    pub(super) close: Option<Close>,
    pub(super) checkpoints: Checkpoints,
    pub(super) clock: &'a dyn Clock,
    pub(super) items_done: u64,
}

impl Steps<'_> {
    /// Runs until every step is signed by both. What had ended when it fails is durable.
    pub(super) async fn run(&mut self, talk: &mut Talk) -> Result<(), Fault> {
        let result = self.run_to_end(talk).await;
        if result.is_err()
            && let Err(fault) = self.checkpoints.sync(&self.exchange, self.evidence.as_mut()).await
        {
            tracing::warn!(%fault, "the last steps could not be made durable");
        }
        result
    }

    async fn run_to_end(&mut self, talk: &mut Talk) -> Result<(), Fault> {
        let mut tasks: JoinSet<Task> = JoinSet::new();
        let mut next: Option<Message> = None;
        let out = talk.out();
        loop {
            if next.is_none() {
                next = self.next_message()?;
            }
            let now = self.clock.monotonic();
            self.checkpoints.note(&self.exchange, self.evidence.as_mut(), now).await?;
            if next.is_none() && self.exchange.is_finished() {
                return self.evidence.take().map_or(Ok(()), Evidence::finish);
            }
            // The peer sends nothing after its Close, so that its end is not to be met here.
            let listen = self.close.is_none();
            let place = async {
                match next.is_some() {
                    true => out.reserve().await.ok(),
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                place = place => match (place, next.take()) {
                    (Some(place), Some(message)) => place.send(message.into()),
                    _ => return Err(talk.cause().await),
                },
                Some(task) = tasks.join_next() => self.take(task)?,
                message = talk.receive(), if listen => self.receive(message?, &mut tasks)?,
            }
        }
    }

    fn next_message(&mut self) -> Result<Option<Message>, Fault> {
        Ok(match self.exchange.next_outgoing() {
            None => None,
            Some(Outgoing::Message(message)) => Some(message),
            Some(Outgoing::Masked(chunk)) => Some(Exchange::masked_message(&chunk, &self.lists)?),
        })
    }

    fn receive(&mut self, message: Message, tasks: &mut JoinSet<Task>) -> Result<(), Fault> {
        if let Message::Statements(notes) = &message {
            return Err(shown_too_early(notes));
        }
        let lists = self.lists.clone();
        match self.exchange.receive(message)? {
            Received::Noted => {}
            Received::Close(close) => self.close = Some(close),
            Received::Evaluate(task) => {
                let done = self.pool.run(move || task.run(&lists));
                tasks.spawn(async { done.await?.map(|(answer, keys)| (Done::Answer(answer), keys)) });
            }
            Received::Verify(task) => {
                let done = self.pool.run(move || task.run(&lists));
                tasks.spawn(async { done.await?.map(|(verified, keys)| (Done::Verified(verified), keys)) });
            }
        }
        Ok(())
    }

    fn take(&mut self, task: Result<Task, tokio::task::JoinError>) -> Result<(), Fault> {
        let task = task.map_err(|error| Fault::new(Code::Unexpected, error.to_string()))?;
        let (done, keys) = task?;
        self.items_done += keys.keys.len() as u64;
        self.progress.done(self.items_done);
        if !self.checkpoints.has(&keys.chunk) {
            self.checkpoints.keys(&keys)?;
            if let (Some(evidence), Some(chunk)) = (&mut self.evidence, &keys.evidence) {
                evidence.write(&chunk.encode())?;
            }
        }
        match done {
            Done::Answer(answer) => self.exchange.answered(answer),
            Done::Verified(verified) => self.exchange.verified(verified)?,
        }
        Ok(())
    }
}

/// Our signature under a statement that we know nothing of.
pub(super) fn shown_too_early(notes: &[impl AsRef<[u8]>]) -> Fault {
    let statement = notes.first().map(|note| Statement::from_note(note.as_ref()));
    match statement {
        Some(Ok(_)) => Error::from(Incompatible::RolledBack { what: "the statement" }).into(),
        _ => Breach::Signature.at(Place::Statements).into(),
    }
}
