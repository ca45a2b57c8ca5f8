//! The steps: the session says what to send and what to compute; here it meets the link and the threads.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
};

use psi_core::{
    error::Error,
    evidence,
    mask::MaskedList,
    message::{Close, Message},
    session::{Answer, Exchange, JoinKey, JoinKeys, Outgoing, Received, Side, Verified},
};
use tokio::task::JoinSet;

use super::talk::Talk;
use crate::{
    durable,
    fault::{Code, Fault},
    pool::Pool,
    report::Progress,
    runs::storage,
};

/// Both sides' join keys of one list.
pub(super) struct Keys {
    /// Ours, by index in our masked list.
    pub(super) ours: Vec<JoinKey>,
    /// The peer's.
    pub(super) theirs: Vec<JoinKey>,
}

impl Keys {
    /// For lists of so many items, none of them known yet.
    fn new(ours: u64, theirs: u64) -> Self {
        let none = |items| vec![JoinKey::default(); items as usize];
        Self { ours: none(ours), theirs: none(theirs) }
    }
}

/// The result of a task.
enum Done {
    Answer(Answer),
    Verified(Verified),
}

type Task = Result<Result<(Done, JoinKeys), Error>, Fault>;

/// The steps of one session on this node's link and threads.
pub(super) struct Steps<'a> {
    pub(super) exchange: Exchange,
    pub(super) lists: Arc<Vec<MaskedList>>,
    pub(super) pool: &'a Pool,
    pub(super) progress: &'a dyn Progress,
    pub(super) evidence: Option<Evidence>,
    /// Of each list.
    pub(super) keys: Vec<Keys>,
    pub(super) close: Option<Close>,
    items_done: u64,
}

impl<'a> Steps<'a> {
    pub(super) fn new(
        exchange: Exchange,
        lists: Arc<Vec<MaskedList>>,
        pool: &'a Pool,
        progress: &'a dyn Progress,
        evidence: Option<Evidence>,
        items: [&[u64]; 2],
    ) -> Self {
        let keys = items[0].iter().zip(items[1]).map(|(ours, theirs)| Keys::new(*ours, *theirs)).collect();
        Self { exchange, lists, pool, progress, evidence, keys, close: None, items_done: 0 }
    }

    /// Runs until every step is signed by both.
    pub(super) async fn run(&mut self, talk: &mut Talk) -> Result<(), Fault> {
        let mut tasks: JoinSet<Task> = JoinSet::new();
        let mut next: Option<Message> = None;
        let out = talk.out();
        loop {
            if next.is_none() {
                next = self.next_message()?;
            }
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
        let lists = self.lists.clone();
        match self.exchange.receive(message)? {
            Received::Noted => {}
            Received::Close(close) => self.close = Some(close),
            Received::Evaluate(task) => {
                let done = self.pool.run(move || task.run(&lists));
                tasks.spawn(async { Ok(done.await?.map(|(answer, keys)| (Done::Answer(answer), keys))) });
            }
            Received::Verify(task) => {
                let done = self.pool.run(move || task.run(&lists));
                tasks.spawn(async {
                    Ok(done.await?.map(|(verified, keys)| (Done::Verified(verified), keys)))
                });
            }
        }
        Ok(())
    }

    fn take(&mut self, task: Result<Task, tokio::task::JoinError>) -> Result<(), Fault> {
        let task = task.map_err(|error| Fault::new(Code::Unexpected, error.to_string()))?;
        let (done, keys) = task??;
        let of_list = &mut self.keys[usize::from(keys.chunk.list)];
        let side = match keys.side {
            Side::Ours => &mut of_list.ours,
            Side::Theirs => &mut of_list.theirs,
        };
        side[keys.chunk.range()].copy_from_slice(&keys.keys);
        self.items_done += keys.keys.len() as u64;
        self.progress.done(self.items_done);
        if let (Some(evidence), Some(chunk)) = (&mut self.evidence, &keys.evidence) {
            evidence.write(&chunk.encode())?;
        }
        match done {
            Done::Answer(answer) => self.exchange.answered(answer),
            Done::Verified(verified) => self.exchange.verified(verified)?,
        }
        Ok(())
    }
}

/// The evidence file in the making.
pub(super) struct Evidence {
    file: BufWriter<File>,
    path: std::path::PathBuf,
}

impl Evidence {
    pub(super) fn create(path: &Path) -> Result<Self, Fault> {
        let file = durable::create_private(path).map_err(|error| storage(path, &error))?;
        let mut evidence = Self { file: BufWriter::with_capacity(1 << 20, file), path: path.into() };
        evidence.write(evidence::TITLE)?;
        Ok(evidence)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file.write_all(bytes).map_err(|error| storage(&self.path, &error))
    }

    fn finish(self) -> Result<(), Fault> {
        let Self { file, path } = self;
        let synced =
            file.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|error| storage(&path, &error))
    }
}
