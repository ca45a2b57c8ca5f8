//! The steps: the session says what to send and what to compute; here it meets the link and the threads.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::Path,
    sync::Arc,
};

use psi_core::{
    evidence::{self, EvidenceChunk},
    key::Role,
    merkle,
    message::{Close, Message},
    session::{Answer, Exchange, JoinKeys, Outgoing, Received, Verified},
    transcript::{Answered, Transcript},
};
use tokio::task::JoinSet;

use super::{checkpoint::Checkpoints, resume::shown_too_early, talk::Talk};
use crate::{
    clock::Clock,
    durable::{self, NewFile},
    fault::{Code, Fault},
    masked::StoredList,
    pool::Pool,
    report::Progress,
    runs::storage,
};

const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];

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

/// The evidence file in the making.
pub(super) struct Evidence {
    file: BufWriter<File>,
    path: std::path::PathBuf,
}

impl Evidence {
    fn create(path: &Path) -> Result<Self, Fault> {
        let file = durable::create_private(path).map_err(|error| storage(path, &error))?;
        let mut evidence = Self { file: BufWriter::with_capacity(1 << 20, file), path: path.into() };
        evidence.write(evidence::TITLE)?;
        Ok(evidence)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file.write_all(bytes).map_err(|error| storage(&self.path, &error))
    }

    /// What was written, to be made durable while more is written.
    pub(super) fn written(&mut self) -> Result<Written, Fault> {
        let file = self.file.flush().and_then(|()| self.file.get_ref().try_clone());
        let file = file.map_err(|error| storage(&self.path, &error))?;
        Ok(Written { file, path: self.path.clone() })
    }

    fn finish(self) -> Result<(), Fault> {
        let Self { file, path } = self;
        let synced =
            file.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|error| storage(&path, &error))
    }
}

/// Evidence that is in the file, but perhaps not durable.
pub(super) struct Written {
    file: File,
    path: std::path::PathBuf,
}

impl Written {
    pub(super) fn sync(&self) -> Result<(), Fault> {
        self.file.sync_data().map_err(|error| storage(&self.path, &error))
    }
}

impl Evidence {
    /// Begins the file, or goes on with one that a process left: what belongs to no step of this transcript will come again.
    pub(super) fn open(path: &Path, transcript: &Transcript) -> Result<Self, Fault> {
        match path.exists() {
            true => Self::reopen(path, transcript),
            false => Self::create(path),
        }
    }

    fn reopen(path: &Path, transcript: &Transcript) -> Result<Self, Fault> {
        let failed = |error: std::io::Error| storage(path, &error);
        let sides = transcript.steps.iter().flat_map(|step| ROLES.into_iter().zip(&step.record.sides));
        let mut due: HashMap<(u8, u16, u32), &Answered> = sides
            .flat_map(|(role, side)| side.iter().map(move |a| ((role.code(), a.list, a.index), a)))
            .collect();
        let mut input = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
        let mut output = BufWriter::with_capacity(1 << 20, NewFile::create(path).map_err(failed)?);
        output.write_all(evidence::TITLE).map_err(failed)?;
        // The file may end anywhere after what was made durable with the last step, also in its title.
        let titled = input.read_exact(&mut vec![0; evidence::TITLE.len()]).is_ok();
        while titled && let Ok(Some(chunk)) = EvidenceChunk::read_from(&mut input) {
            let key = (chunk.role.code(), chunk.list, chunk.index);
            let same = |answered: &&Answered| {
                merkle::leaf_hash(&chunk.masked) == answered.masked
                    && merkle::leaf_hash(&chunk.answers) == answered.answers
            };
            if due.get(&key).is_some_and(same) {
                due.remove(&key);
                output.write_all(&chunk.encode()).map_err(failed)?;
            }
        }
        if let Some((_, list, index)) = due.keys().next() {
            let message = format!("{}: list {list}, chunk {index} is missing or changed", path.display());
            return Err(Fault::new(Code::State, message));
        }
        output.into_inner().map_err(|error| failed(error.into_error()))?.commit_over().map_err(failed)?;
        let file = File::options().append(true).open(path).map_err(failed)?;
        Ok(Self { file: BufWriter::with_capacity(1 << 20, file), path: path.into() })
    }
}
