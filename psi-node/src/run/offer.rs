//! The end of a run that is complete here while the peer may lack our signature: it is shown, until the peer has it.

use psi_core::{error::Error, message::Message, session::Closing};

use super::{Run, pauses::Pauses};
use crate::{
    fault::Fault,
    report::Summary,
    runs::{Attempt, Attempts, Runs, State},
};

impl Run<'_> {
    /// A finished run whose peer may lack our signature shows it.
    pub(super) async fn offered(&self, result: Result<Summary, Fault>) -> Result<Summary, Fault> {
        let summary = result?;
        let attempt = Attempts::of(self.node.home()).read(&summary.run_id)?;
        if attempt.is_some_and(|attempt| attempt.state == State::Unconfirmed) {
            tokio::select! {
                () = self.offer(&summary.run_id) => {}
                // The result is there, and the peer is shown the statement with the next call.
                _ = self.node.conversations().stopped() => {}
            }
        }
        Ok(summary)
    }

    /// Shows the peer the statement of a run that is finished here, until it has it.
    async fn offer(&self, id: &str) {
        for pause in Pauses::within(self.patience(), self.node.settings().retry_pause) {
            match self.offer_once(id).await {
                Ok(()) => return,
                Err(fault) if !matches!(fault.exit(), 6 | 11) => return not_confirmed(id, &fault),
                Err(fault) => not_confirmed(id, &fault),
            }
            self.node.clock().sleep(pause).await;
        }
    }

    async fn offer_once(&self, id: &str) -> Result<(), Fault> {
        let (transcript, note) = Runs::of(self.node.home()).read(id)?;
        let (closing, _) = Closing::restore(&transcript, &note, self.node.identity()).map_err(Error::from)?;
        let (mut talk, _connection) = self.connect(&self.target()?).await?;
        talk.send(closing.resume()).await?;
        match talk.receive().await? {
            Message::Statements(notes) if notes == [note.clone()] => {}
            theirs => {
                closing.rejoin(theirs)?;
                talk.send(Message::Statements(vec![note])).await?;
            }
        }
        talk.end().await?;
        self.confirmed(id)
    }

    /// The peer has taken our signature.
    pub(super) fn confirmed(&self, id: &str) -> Result<(), Fault> {
        let attempts = Attempts::of(self.node.home());
        match attempts.read(id)? {
            Some(attempt) => attempts.write(&Attempt { state: State::Complete, ..attempt }),
            None => Ok(()),
        }
    }
}

fn not_confirmed(run: &str, fault: &Fault) {
    tracing::warn!(run, code = %fault.code, %fault, "complete, peer unconfirmed: it may lack our signature");
}
