//! The conversations of this process, each of which can be asked to stop: by a signal, or because its peer has called anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::fault::Fault;

/// The conversations that are under way.
#[derive(Clone, Default)]
pub struct Conversations(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    next: u64,
    all: HashMap<u64, Entry>,
    /// Why none is to go on, or to begin.
    over: watch::Sender<Option<Fault>>,
}

struct Entry {
    run: String,
    asked: watch::Sender<Option<Fault>>,
}

impl Conversations {
    /// A conversation begins.
    pub(crate) fn begin(&self) -> Stop {
        let mut open = self.open();
        let (asked, receiver) = watch::channel(open.over.borrow().clone());
        let number = open.next;
        open.next += 1;
        open.all.insert(number, Entry { run: String::new(), asked });
        Stop { all: self.clone(), number, asked: receiver }
    }

    /// Asks every conversation to end with this fault, and what would begin another not to.
    pub fn stop(&self, fault: &Fault) {
        let open = self.open();
        open.over.send_replace(Some(fault.clone()));
        open.all.values().for_each(|entry| drop(entry.asked.send_replace(Some(fault.clone()))));
    }

    /// Waits until all are asked to stop. Safe to be dropped half-way.
    pub(crate) async fn stopped(&self) -> Fault {
        let over = self.open().over.subscribe();
        asked(over).await
    }

    /// Asks the conversation of a run to end; whether there is one.
    pub(crate) fn stop_run(&self, run: &str, fault: &Fault) -> bool {
        let open = self.open();
        let found = open.all.values().find(|entry| entry.run == run);
        found.is_some_and(|entry| {
            entry.asked.send_replace(Some(fault.clone()));
            true
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One conversation's end of it; the conversation is over when it is dropped.
pub(crate) struct Stop {
    all: Conversations,
    number: u64,
    asked: watch::Receiver<Option<Fault>>,
}

impl Stop {
    /// The conversation is about this run.
    pub(crate) fn name(&self, run: &str) {
        if let Some(entry) = self.all.open().all.get_mut(&self.number) {
            run.clone_into(&mut entry.run);
        }
    }

    /// Waits until the conversation is asked to stop. Safe to be dropped half-way.
    pub(crate) async fn asked(&self) -> Fault {
        asked(self.asked.clone()).await
    }

    /// What asks this one conversation to stop.
    pub(crate) fn asker(&self) -> Asker {
        Asker { all: self.all.clone(), number: self.number }
    }

    /// Whether it was asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.borrow().is_some()
    }
}

async fn asked(mut asked: watch::Receiver<Option<Fault>>) -> Fault {
    match asked.wait_for(Option::is_some).await.map(|fault| fault.clone()) {
        Ok(Some(fault)) => fault,
        _ => std::future::pending().await,
    }
}

/// Asks one conversation to stop.
pub(crate) struct Asker {
    all: Conversations,
    number: u64,
}

impl Asker {
    pub(crate) fn ask(&self, fault: &Fault) {
        if let Some(entry) = self.all.open().all.get(&self.number) {
            entry.asked.send_replace(Some(fault.clone()));
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.all.open().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Code;

    #[tokio::test]
    async fn the_named_one_is_asked_and_then_all() {
        let conversations = Conversations::default();
        let (first, second) = (conversations.begin(), conversations.begin());
        first.name("run 1");
        let cut = Fault::new(Code::Cut, "anew");
        assert!(!conversations.stop_run("run 2", &cut) && conversations.stop_run("run 1", &cut));
        assert_eq!(first.asked().await, cut);
        assert!(first.is_asked() && !second.is_asked());
        conversations.stop(&Fault::new(Code::Terminated, "over"));
        assert_eq!(second.asked().await.code, Code::Terminated);
    }

    #[tokio::test]
    async fn what_begins_after_all_were_stopped_is_stopped_too() {
        let conversations = Conversations::default();
        let over = Fault::new(Code::Terminated, "over");
        conversations.stop(&over);
        assert_eq!(conversations.begin().asked().await, over);
        assert_eq!(conversations.stopped().await, over);
    }
}
