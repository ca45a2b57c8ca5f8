//! One conversation with a peer: messages out by a task of their own, messages in, signs of life while we compute.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use psi_core::message::{Message, Working};
use tokio::{sync::mpsc, task::JoinHandle, time};

use crate::{
    conversations::{Asker, Stop},
    fault::{Code, Fault},
    link::{Frame, Link, LinkError, LinkReceiver},
};

/// How often a party that computes says that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How long to wait for the other side to take note of a refusal.
const FAREWELL: Duration = Duration::from_secs(2);
/// Messages that wait for the link.
const QUEUE: usize = 2;

/// A conversation; to be ended by [`Talk::end`] or [`Talk::refuse`]. One that is dropped, with its process or by a signal, is
/// cut: without an end mark the peer knows that more was to come.
pub(super) struct Talk {
    out: mpsc::Sender<Frame>,
    /// Whether an end mark is to follow the last message.
    ends: Arc<AtomicBool>,
    sending: JoinHandle<Result<(), LinkError>>,
    receiver: LinkReceiver,
    /// A message that came while we computed.
    early: Option<Message>,
    /// Ends everything that waits here.
    stop: Stop,
}

impl Talk {
    pub(super) fn new(link: Link, stop: Stop) -> Self {
        let (out, mut frames) = mpsc::channel::<Frame>(QUEUE);
        let (mut sender, ends) = (link.sender, Arc::new(AtomicBool::new(false)));
        let properly = ends.clone();
        let sending = tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                sender.send(frame).await?;
            }
            if properly.load(Ordering::SeqCst) { sender.end().await } else { Ok(()) }
        });
        Self { out, ends, sending, receiver: link.receiver, early: None, stop }
    }

    /// Whoever has it can end everything that waits here.
    pub(super) fn asker(&self) -> Asker {
        self.stop.asker()
    }

    /// The conversation is about this run.
    pub(super) fn name(&self, run: &str) {
        self.stop.name(run);
    }

    /// Queues a message; waits while the queue is full.
    pub(super) async fn send(&mut self, message: Message) -> Result<(), Fault> {
        let sent = tokio::select! {
            sent = self.out.send(message.into()) => sent,
            fault = self.stop.asked() => return Err(fault),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(_) => Err(self.cause().await),
        }
    }

    /// The queue itself, for a caller that has several things to wait for.
    pub(super) fn out(&self) -> mpsc::Sender<Frame> {
        self.out.clone()
    }

    /// The next message; signs of life are passed over, and a refusal is an error. Safe to be dropped half-way.
    pub(super) async fn receive(&mut self) -> Result<Message, Fault> {
        if let Some(message) = self.early.take() {
            return Ok(message);
        }
        loop {
            let frame = tokio::select! {
                frame = self.receiver.receive() => frame?,
                fault = self.stop.asked() => return Err(fault),
            };
            match Message::try_from(frame)? {
                Message::Working(_) => {}
                Message::Refusal(refusal) => return Err(Fault::refused_by_peer(&refusal)),
                message => return Ok(message),
            }
        }
    }

    /// Waits for `work`, tells the peer every few seconds that we are alive, and notices if the peer is not.
    pub(super) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = Result<T, Fault>>,
        done: &AtomicU64,
        of: u64,
    ) -> Result<T, Fault> {
        let mut work = pin!(work);
        let mut tick = time::interval_at(time::Instant::now() + SIGN_OF_LIFE, SIGN_OF_LIFE);
        loop {
            tokio::select! {
                result = &mut work => return result,
                _ = tick.tick() => {
                    let working = Working { done: done.load(Ordering::Relaxed), of };
                    // A full queue says as much as a sign of life.
                    let _ = self.out.try_send(Message::Working(working).into());
                }
                message = self.news() => self.early = Some(message?),
            }
        }
    }

    /// The next message; while one waits that was not taken yet, only what ends the conversation.
    async fn news(&mut self) -> Result<Message, Fault> {
        match self.early {
            None => self.receive().await,
            Some(_) => Err(self.stop.asked().await),
        }
    }

    /// Why nobody takes our messages any more.
    pub(super) async fn cause(&mut self) -> Fault {
        loop {
            if let Err(fault) = self.receive().await {
                return fault;
            }
        }
    }

    /// Ends the conversation properly.
    pub(super) async fn end(self) -> Result<(), Fault> {
        let Self { out, ends, sending, receiver, stop, .. } = self;
        ends.store(true, Ordering::SeqCst);
        drop(out);
        let ended = async {
            match sending.await {
                Ok(sent) => sent?,
                Err(error) => return Err(Fault::new(Code::Unexpected, error.to_string())),
            }
            Ok(receiver.end().await?)
        };
        tokio::select! {
            ended = ended => ended,
            fault = stop.asked() => Err(fault),
        }
    }

    /// Tells the peer why we end the conversation; whether it hears is not for us to wait long for.
    pub(super) async fn refuse(mut self, fault: &Fault) {
        // A peer that has called anew hears it there.
        if self.stop.is_asked() && fault.code == Code::Cut {
            return;
        }
        let farewell = async {
            if self.out.send(Message::Refusal(fault.refusal()).into()).await.is_ok() {
                self.ends.store(true, Ordering::SeqCst);
                drop(self.out);
                let _ = self.sending.await;
                // What the peer still says has no reader any more; its end shows that it has our refusal.
                while self.receiver.receive().await.is_ok() {}
            }
        };
        let _ = time::timeout(FAREWELL, farewell).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conversations::Conversations,
        link::{Settings, memory},
    };

    #[tokio::test]
    async fn one_that_is_dropped_is_cut_and_one_that_ends_is_not() {
        for (ends, code) in [(true, Code::OutOfPhase), (false, Code::Cut)] {
            let (ours, theirs) = memory::pair(&Settings::default());
            let [mut ours, mut theirs] =
                [ours, theirs].map(|link| Talk::new(link, Conversations::default().begin()));
            ours.send(Message::Statements(vec![b"a note".to_vec()])).await.unwrap();
            if ends {
                // Where a message is expected, a proper end is out of place.
                tokio::spawn(ours.end());
            } else {
                drop(ours);
            }
            theirs.receive().await.unwrap();
            assert_eq!(theirs.receive().await.unwrap_err().code, code);
        }
    }
}
