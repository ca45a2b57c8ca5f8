//! A conversation with the peer to its end, and what becomes of the run's files then.

use std::sync::{Arc, atomic::AtomicU64};

use psi_core::{
    error::Incompatible,
    key::Role,
    message::{Hello, MAX_STATEMENTS, Message},
    session::{Agreed, ChainGap, Opening},
};

use super::{
    Run, Start,
    list::{self, Files, List},
    phases::Finished,
    record::Record,
    talk::Talk,
};
use crate::{
    fault::{Code, Fault},
    policy::Request,
    report::Summary,
    runs::{self, Attempts, Results, Runs, State},
    tls::stream::Traffic,
};

/// Bytes that were sent and received before a conversation.
type Before = [u64; 2];

impl Run<'_> {
    /// The whole conversation of a run that called, to its end; on failure the peer is told, and what may not stay is removed.
    pub(super) async fn converse(
        &self,
        mut talk: Talk,
        start: Start,
        traffic: &Arc<Traffic>,
    ) -> Result<Summary, Fault> {
        match self.conduct(&mut talk, start, traffic).await {
            Ok((finished, before)) => self.part(talk, finished, before, traffic).await,
            Err(fault) => {
                talk.refuse(&fault).await;
                Err(fault)
            }
        }
    }

    /// The same for a run that was called. The peer may call again as soon as it hears why this one failed: the job is free
    /// by then.
    pub(super) async fn answered(
        self,
        mut talk: Talk,
        start: Start,
        traffic: &Arc<Traffic>,
    ) -> Result<Summary, Fault> {
        match self.conduct(&mut talk, start, traffic).await {
            Ok((finished, before)) => self.part(talk, finished, before, traffic).await,
            Err(fault) => {
                drop(self);
                talk.refuse(&fault).await;
                Err(fault)
            }
        }
    }

    /// To both signatures; what goes over the connection from here on is the run's.
    async fn conduct(
        &self,
        talk: &mut Talk,
        start: Start,
        traffic: &Arc<Traffic>,
    ) -> Result<(Finished, Before), Fault> {
        self.progress.connected(traffic);
        let before = [traffic.sent(), traffic.received()];
        Ok((self.within_deadline(talk, start).await?, before))
    }

    /// Both have signed and the result is released: of the connection only its end can still be learned.
    async fn part(
        &self,
        talk: Talk,
        finished: Finished,
        before: Before,
        traffic: &Traffic,
    ) -> Result<Summary, Fault> {
        match talk.end().await {
            Ok(()) => self.confirmed(&finished.attempt.run_id)?,
            Err(fault) => {
                tracing::warn!(run = finished.attempt.run_id, %fault, "complete; the peer may lack our signature");
            }
        }
        Ok(self.summary(finished, [traffic.sent() - before[0], traffic.received() - before[1]]))
    }

    async fn within_deadline(&self, talk: &mut Talk, start: Start) -> Result<Finished, Fault> {
        let (asker, deadline) = (talk.asker(), self.node.settings().session_deadline);
        let mut late = self.node.clock().sleep(deadline);
        // On the heap: the future of a whole session is too large for the stacks of threads.
        let mut session = Box::pin(async {
            match start {
                Start::Fresh { role, theirs, list } => {
                    self.session(talk, role, theirs.map(|hello| *hello), list.map(|list| *list)).await
                }
                Start::Resumed { kept, theirs } => self.resumed(talk, *kept, theirs).await,
            }
        });
        tokio::select! {
            biased;
            () = &mut late => {
                let message = format!("the session took longer than {} s", deadline.as_secs());
                asker.ask(&Fault::new(Code::TimedOut, message));
                session.await
            }
            finished = &mut session => finished,
        }
    }

    async fn session(
        &self,
        talk: &mut Talk,
        role: Role,
        theirs: Option<Hello>,
        list: Option<List>,
    ) -> Result<Finished, Fault> {
        let list = match list {
            Some(list) => list,
            None => talk.meanwhile(self.load(), &AtomicU64::new(0), 0).await?,
        };
        let (opening, hello) = Opening::new(self.hello(role, list.items().to_vec(), self.head()?)?);
        talk.send(hello).await?;
        let theirs = match theirs {
            Some(hello) => Message::Hello(hello),
            None => talk.receive().await?,
        };
        let mut agreed = opening.accept(theirs, self.node.now())?;
        self.allow(&Request::new(&self.job_name, &self.job, &agreed.theirs().items))?;
        self.catch_up(talk, &mut agreed).await?;
        Attempts::of(self.node.home()).confirm(&self.job_name, self.peer.key)?;
        self.exchange(talk, agreed, list).await
    }

    /// Sends the statements that the peer lacks, or takes those that we lack.
    async fn catch_up(&self, talk: &mut Talk, agreed: &mut Agreed) -> Result<(), Fault> {
        let runs = Runs::of(self.node.home());
        if let ChainGap::TheyLack(height) = agreed.gap() {
            let chain = runs.chain(self.node.identity().public_key(), self.peer.key, &self.job_name)?;
            let (known, missing) = chain.split_at((height as usize).min(chain.len()));
            if known.last().map(|link| link.statement.head()).unwrap_or_default() != agreed.theirs().chain {
                return Err(Incompatible::Forked { height }.into());
            }
            for part in missing.chunks(MAX_STATEMENTS) {
                talk.send(Message::Statements(part.iter().map(|link| link.note.clone()).collect())).await?;
            }
        }
        while matches!(agreed.gap(), ChainGap::WeLack(_)) {
            let message = talk.receive().await?;
            let notes = match &message {
                Message::Statements(notes) => notes.clone(),
                _ => Vec::new(),
            };
            for (statement, note) in agreed.adopt(message)?.iter().zip(&notes) {
                Record::remember(self, statement)?;
                runs.adopt(statement, note)?;
            }
        }
        Ok(())
    }

    /// From the agreement to both signatures.
    async fn exchange(&self, talk: &mut Talk, agreed: Agreed, list: List) -> Result<Finished, Fault> {
        let id = runs::run_id(agreed.hellos()[0].started, agreed.sid());
        tracing::Span::current().record("run", &id).record("job", &self.job_name);
        tracing::info!(run = id, job = self.job_name, peer = self.job.peer, "session agreed");
        self.met(&id);
        talk.name(&id);
        let mut record = Record::new(self, &id, &agreed, !list.counts().rejects.is_empty());
        record.write()?;
        let list = list.named(&id)?;
        let (files, openable) = (list.files(), agreed.ours().terms.openable);
        let result = self.to_close(talk, agreed, list, &mut record).await;
        self.conclude(result, &files, openable, &mut record)
    }

    /// What becomes of the run's files. One that can go on keeps them all; one that ended before our signature keeps its
    /// record only; after it, what is needed to finish it stays, if the peer shows its signature later.
    pub(super) fn conclude(
        &self,
        result: Result<Finished, Fault>,
        files: &Files,
        openable: bool,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let id = &record.attempt.run_id.clone();
        let fault = match result {
            Ok(finished) => {
                list::settle(files.folder(), openable)?;
                record.end(State::Unconfirmed, None)?;
                return Ok(finished);
            }
            // Nothing was disclosed, and what is kept is what fills the disk.
            Err(fault) if record.attempt.state == State::Agreed && fault.code == Code::Storage => fault,
            Err(fault) if record.kept => fault.of_kept_run(),
            Err(fault) => fault,
        };
        let state = record.attempt.state;
        match state {
            _ if fault.resumable => record.end(state, Some(&fault))?,
            State::Closing => {
                record.end(state, Some(&fault))?;
                list::settle(files.folder(), openable)?;
            }
            // Both have signed, and the results can't get their names any more.
            State::Unconfirmed => {
                record.end(state, Some(&fault))?;
                list::settle(files.folder(), openable)?;
            }
            _ => {
                Runs::of(self.node.home()).discard(id);
                Results::of(self.node.home(), &record.attempt)?.discard()?;
                list::remove(files.folder());
                record.end(State::Failed, Some(&fault))?;
            }
        }
        Err(fault)
    }
}
