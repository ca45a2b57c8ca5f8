//! The phases of a run, from the agreement to both signatures. A run that goes on enters at the one where it was left.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use psi_core::{
    key::SessionSeed,
    message::{Close, Message},
    session::{Agreed, Closing, Committed, Exchange, Signed},
};

use super::{
    Run,
    checkpoint::Checkpoints,
    evidence::Evidence,
    exchange::Steps,
    list::{Counts, List},
    matched::Matched,
    random,
    record::Record,
    talk::Talk,
    written::Writer,
};
use crate::{
    fault::Fault,
    join::Sizes,
    journal,
    masked::StoredList,
    report::{Phase, Progress},
    runs::{self, Attempt, AttemptList, AttemptRows, Results, Runs, State},
};

impl Run<'_> {
    pub(super) async fn to_close(
        &self,
        talk: &mut Talk,
        agreed: Agreed,
        list: List,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let seed = SessionSeed::from_bytes(*random()?);
        list.store_session(self.node.seal_key(), &seed, agreed.hellos())?;
        list.files().store_job(self.node.seal_key(), &self.job.text)?;
        record.kept = true;
        self.after_agreement(talk, agreed, list, seed, record).await
    }

    pub(super) async fn after_agreement(
        &self,
        talk: &mut Talk,
        agreed: Agreed,
        mut list: List,
        seed: SessionSeed,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let lists = Arc::new(self.mask(talk, &agreed, &mut list, &Arc::new(seed)).await?);
        let theirs = agreed.theirs().items.clone();
        let (own, identity) = (lists.clone(), self.node.identity().clone());
        let committed = self.node.pool().run(move || agreed.commit(&own, &identity));
        let (committed, commit) = talk.meanwhile(async { committed.await? }, &AtomicU64::new(0), 0).await?;
        list.store_commit(self.node.seal_key(), &commit)?;
        record.charge(self, &theirs)?;
        talk.send(commit).await?;
        self.after_commit(talk, committed, list, lists, record).await
    }

    /// Takes the peer's Commit, which is durable before anything is sent after it.
    pub(super) async fn after_commit(
        &self,
        talk: &mut Talk,
        committed: Committed,
        list: List,
        lists: Arc<Vec<StoredList>>,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let message = talk.receive().await?;
        let encoded = match &message {
            Message::Commit(commit) => commit.encode(),
            _ => Vec::new(),
        };
        let exchange = committed.accept(message)?;
        let files = list.files();
        files.store_peer_commit(self.node.seal_key(), &encoded)?;
        let evidence = self.evidence(&exchange, &record.attempt.run_id)?;
        let now = self.node.clock().monotonic();
        let checkpoints = Checkpoints::create(&files, self.node.seal_key(), now)?;
        let ready = Ready { exchange, list, lists, evidence, checkpoints, matches: None };
        self.after_commits(talk, ready, record).await
    }

    /// The evidence file, where the terms want one; what belongs to no finished step is not in it.
    fn evidence(&self, exchange: &Exchange, id: &str) -> Result<Option<Evidence>, Fault> {
        if exchange.agreed().ours().terms.evidence_days == 0 {
            return Ok(None);
        }
        let path = Runs::of(self.node.home()).closing_folder(id)?.join(runs::EVIDENCE);
        Evidence::open(&path, exchange.transcript()).map(Some)
    }

    pub(super) async fn after_commits(
        &self,
        talk: &mut Talk,
        ready: Ready,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let Ready { exchange, list, lists, evidence, checkpoints, matches } = ready;
        let agreed = exchange.agreed();
        let items = agreed.ours().items.iter().chain(&agreed.theirs().items).sum();
        self.progress.phase(Phase::Exchanging, items);
        let mut steps = Steps {
            exchange,
            lists,
            pool: self.node.pool(),
            progress: &*self.progress,
            evidence,
            close: None,
            checkpoints,
            clock: self.node.clock(),
            items_done: 0,
        };
        if let Err(fault) = steps.run(talk).await {
            record.keep(steps.exchange.transcript())?;
            return Err(fault);
        }
        self.progress.phase(Phase::Closing, 0);
        let Steps { exchange, checkpoints, close: early, lists, .. } = steps;
        let journal = checkpoints.finish().await?;
        let counts = list.counts();
        let matches = match matches {
            // The lists were joined before we signed, and the rows wait.
            Some(matches) => matches,
            None => {
                let join = self.join(list, lists, journal, &record.attempt);
                let (rows, matches) = talk.meanwhile(join, &AtomicU64::new(0), 0).await?;
                record.joined(&matches, rows);
                matches
            }
        };
        let (closing, close) = exchange.close(&matches)?;
        let signature = Signature { closing, close, early, counts };
        self.after_join(talk, signature, record).await
    }

    pub(super) async fn after_join(
        &self,
        talk: &mut Talk,
        signature: Signature,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let Signature { closing, close, early, counts } = signature;
        let runs = Runs::of(self.node.home());
        let signed = self.close(talk, closing, close, early, &runs, record).await?;
        self.release(&signed, counts, record)
    }

    /// Both have signed: the record gets its name, then the results get theirs.
    pub(super) fn release(
        &self,
        signed: &Signed,
        counts: Counts,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let folder = Runs::of(self.node.home()).finish(&record.attempt.run_id, signed)?;
        Results::of(self.node.home(), &record.attempt)?.release()?;
        Ok(Finished { folder, attempt: record.attempt.clone(), counts })
    }

    /// Masks every list; the peer hears how many items of all of them are done.
    async fn mask(
        &self,
        talk: &mut Talk,
        agreed: &Agreed,
        list: &mut List,
        seed: &Arc<SessionSeed>,
    ) -> Result<Vec<StoredList>, Fault> {
        let of = agreed.ours().items.iter().sum();
        self.progress.phase(Phase::Masking, of);
        let (done, mut before, mut lists) = (Arc::new(AtomicU64::new(0)), 0, Vec::new());
        for (number, items) in agreed.ours().items.iter().enumerate() {
            let masking = agreed.masking(number as u16);
            let set = list.take_set(number)?;
            let (counted, progress, seed) = (done.clone(), self.progress.clone(), seed.clone());
            let (files, seal_key) = (list.files(), self.node.seal_key().clone());
            let scratch = self.node.room().at(files.folder());
            let work = self.node.pool().run(move || {
                files.mask(&seal_key, &masking, &seed, set, &scratch, &|items| {
                    counted.store(before + items, Ordering::Relaxed);
                    progress.done(before + items);
                })
            });
            lists.push(talk.meanwhile(async { work.await? }, &done, of).await?);
            before += items;
        }
        Ok(lists)
    }

    /// Finds the matches of each list, and writes what the run leaves: what became of the rows, and how many matches.
    async fn join(
        &self,
        mut list: List,
        mut lists: Arc<Vec<StoredList>>,
        journal: journal::Finished,
        attempt: &Attempt,
    ) -> Result<(AttemptRows, Vec<u64>), Fault> {
        let (home, seal_key) = (self.node.home().clone(), self.node.seal_key().clone());
        let writer = Writer { home, seal_key, peer: self.peer.key, attempt: attempt.clone() };
        let of_list = |list: &AttemptList| Sizes { ours: list.items_ours, theirs: list.items_theirs };
        let sizes: Vec<_> = attempt.lists.iter().map(of_list).collect();
        // The allocator still holds what the steps had under way.
        let memory = self.node.room().memory / 2;
        let work = self.node.pool().run(move || {
            // The steps are done with them: what the join looks up is in their files.
            Arc::get_mut(&mut lists).into_iter().flatten().for_each(StoredList::evict);
            let keys = list.job().input.keys.clone();
            let matched = Matched::join(&lists, &journal, &sizes, &keys, memory, |number, items| {
                list.rows_with(number, items)
            })?;
            let rows = writer.write(&list, &matched)?;
            Ok((rows, matched.counts().to_vec()))
        });
        work.await?
    }

    /// Exchanges the Closes; ours is durable before it is sent.
    async fn close(
        &self,
        talk: &mut Talk,
        closing: Closing,
        close: Message,
        early: Option<Close>,
        runs: &Runs,
        record: &mut Record,
    ) -> Result<Signed, Fault> {
        runs.store_closing(&record.attempt.run_id, &closing)?;
        record.attempt.state = State::Closing;
        record.write()?;
        talk.send(close).await?;
        let theirs = match early {
            Some(close) => close,
            None => match talk.receive().await.map_err(withheld)? {
                Message::Close(close) => close,
                Message::Statements(notes) if notes.len() == 1 => return Ok(closing.accept_note(&notes[0])?),
                other => return Err(other.out_of_phase("close").into()),
            },
        };
        Ok(closing.accept(&theirs)?)
    }
}

/// Where a run stands when elements may flow.
pub(super) struct Ready {
    pub(super) exchange: Exchange,
    pub(super) list: List,
    pub(super) lists: Arc<Vec<StoredList>>,
    pub(super) evidence: Option<Evidence>,
    pub(super) checkpoints: Checkpoints,
    /// Of a run that we have signed, and that goes back for a peer that is behind.
    pub(super) matches: Option<Vec<u64>>,
}

/// Where a run stands when our Close may be sent.
pub(super) struct Signature {
    pub(super) closing: Closing,
    pub(super) close: Message,
    /// The peer's Close, if it came before.
    pub(super) early: Option<Close>,
    pub(super) counts: Counts,
}

/// What a run came to.
pub(super) struct Finished {
    pub(super) folder: PathBuf,
    pub(super) attempt: Attempt,
    pub(super) counts: Counts,
}

/// The peer may have counted the matches, and we release none: the operator has to know.
fn withheld(fault: Fault) -> Fault {
    let message = format!(
        "{}; we had signed, and the peer did not: it may know the matches, we release none until it shows its signature",
        fault.message
    );
    Fault { message, ..fault }
}
