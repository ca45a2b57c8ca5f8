//! What of the steps is durable: join keys, and the record of every finished step, in the run's journal, synced every few
//! seconds while the steps go on.
//!
//! A step's keys stand before its record, so that whoever reads a record has the keys too.

use std::time::Duration;

use psi_core::{
    plan::Chunk,
    session::{Exchange, JoinKeys, KeptStep},
};
use tokio::task::JoinHandle;

use super::{evidence::Evidence, list::Files};
use crate::{
    fault::{Code, Fault},
    journal::{Finished, Journal, Record},
    seal::SealKey,
};

/// How long what was done may stay undurable.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// The journal in the making.
pub(super) struct Checkpoints {
    journal: Journal,
    /// Steps whose records are in it.
    steps: u32,
    /// When the last sync began, by the monotonic clock.
    began: Duration,
    syncing: Option<JoinHandle<Result<(), Fault>>>,
}

impl Checkpoints {
    pub(super) fn create(files: &Files, seal_key: &SealKey, now: Duration) -> Result<Self, Fault> {
        let journal = Journal::create(&files.journal(), seal_key, files.run_id())?;
        Ok(Self { journal, steps: 0, began: now, syncing: None })
    }

    /// Goes on with a journal; one that was never begun is empty. The keys of the steps that are returned are in it, and
    /// perhaps some of later ones.
    pub(super) fn open(
        files: &Files,
        seal_key: &SealKey,
        now: Duration,
    ) -> Result<(Self, Vec<KeptStep>), Fault> {
        if !files.journal().exists() {
            return Ok((Self::create(files, seal_key, now)?, Vec::new()));
        }
        let journal = Journal::open(&files.journal(), seal_key, files.run_id())?;
        let mut steps = Vec::new();
        for record in journal.records() {
            match record? {
                Record::Keys(_) => {}
                Record::Note(note) => steps.push(KeptStep::decode(&note).map_err(|malformed| {
                    Fault::new(Code::State, format!("journal of run {}: {malformed}", files.run_id()))
                })?),
            }
        }
        let kept = steps.len() as u32;
        Ok((Self { journal, steps: kept, began: now, syncing: None }, steps))
    }

    /// Whether the keys of this chunk are in it, and the step's record after them.
    pub(super) fn has(&self, chunk: &Chunk) -> bool {
        chunk.step < self.steps
    }

    pub(super) fn keys(&mut self, keys: &JoinKeys) -> Result<(), Fault> {
        Ok(self.journal.append_join_keys(keys)?)
    }

    /// Takes down the steps that have ended, and makes them durable in the background if it is time.
    pub(super) async fn note(
        &mut self,
        exchange: &Exchange,
        evidence: Option<&mut Evidence>,
        now: Duration,
    ) -> Result<(), Fault> {
        self.steps(exchange)?;
        if now.saturating_sub(self.began) < INTERVAL {
            return Ok(());
        }
        match &self.syncing {
            Some(syncing) if !syncing.is_finished() => return Ok(()),
            _ => self.synced().await?,
        }
        self.began = now;
        let evidence = evidence.map(Evidence::written).transpose()?;
        let Some(part) = self.journal.cut()? else { return Ok(()) };
        self.syncing = Some(tokio::task::spawn_blocking(move || {
            evidence.map_or(Ok(()), |evidence| evidence.sync())?;
            Ok(part.sync()?)
        }));
        Ok(())
    }

    /// Makes everything durable.
    pub(super) async fn sync(
        &mut self,
        exchange: &Exchange,
        evidence: Option<&mut Evidence>,
    ) -> Result<(), Fault> {
        self.synced().await?;
        self.steps(exchange)?;
        evidence.map(Evidence::written).transpose()?.map_or(Ok(()), |evidence| evidence.sync())?;
        Ok(self.journal.sync()?)
    }

    /// The journal with the keys of all chunks, to be read. It is durable: whoever signs has kept every step, and must be able
    /// to go back to any of them for a peer that is behind.
    pub(super) async fn finish(mut self) -> Result<Finished, Fault> {
        self.synced().await?;
        self.journal.sync()?;
        Ok(self.journal.finish()?)
    }

    fn steps(&mut self, exchange: &Exchange) -> Result<(), Fault> {
        while let Some(step) = exchange.kept_step(self.steps) {
            self.journal.append(&Record::Note(step.encode()))?;
            self.steps += 1;
        }
        Ok(())
    }

    /// Waits for the sync that is under way.
    async fn synced(&mut self) -> Result<(), Fault> {
        match self.syncing.take() {
            None => Ok(()),
            Some(syncing) => {
                syncing.await.map_err(|error| Fault::new(Code::Unexpected, error.to_string()))?
            }
        }
    }
}
