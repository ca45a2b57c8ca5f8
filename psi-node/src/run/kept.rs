//! An unfinished run as it was kept, read back: how far it came, and everything that it needs to go on.

use std::{fs, time::Duration};

use psi_core::{
    key::{Role, SessionSeed},
    message::{ChainHead, Message},
    session::{Agreed, Closing, Committed, Common, Exchange},
    signature::Identity,
};

use super::{
    checkpoint::Checkpoints,
    evidence::Evidence,
    list::{Files, List, MASKED},
};
use crate::{
    config::Job,
    fault::{Code, Fault},
    home::Home,
    masked::StoredList,
    node::Node,
    runs::{Attempt, EVIDENCE, Runs, STATEMENT, State, TRANSCRIPT},
    scratch::Room,
    seal::SealKey,
};

/// Where and with which keys runs are kept.
#[derive(Clone)]
pub(super) struct Shelf {
    home: Home,
    seal_key: SealKey,
    identity: Identity,
    /// By the monotonic clock.
    now: Duration,
}

impl Shelf {
    pub(super) fn of(node: &Node) -> Self {
        let (home, seal_key) = (node.home().clone(), node.seal_key().clone());
        Self { home, seal_key, identity: node.identity().clone(), now: node.clock().monotonic() }
    }
}

/// An unfinished run.
pub(super) struct Kept {
    shelf: Shelf,
    pub(super) attempt: Attempt,
    pub(super) standing: Standing,
    /// What is sealed; gone if we had signed and gave up waiting for a peer that is behind.
    pub(super) private: Option<Private>,
}

/// The sealed files of the run, and its secret.
pub(super) struct Private {
    pub(super) files: Files,
    pub(super) seed: SessionSeed,
    hellos: [Vec<u8>; 2],
    job: Job,
}

/// How far a run came.
pub(super) enum Standing {
    /// Our Commit was not sent.
    Agreed(Agreed),
    /// The peer's has not arrived.
    Committed(Committed),
    /// Elements flow.
    Exchange(Box<Steps>),
    /// We have signed.
    Closing(Box<Closing>, Message),
}

/// The steps as they were kept.
pub(super) struct Steps {
    pub(super) exchange: Exchange,
    pub(super) checkpoints: Checkpoints,
    pub(super) evidence: Option<Evidence>,
}

impl Kept {
    /// Reads a run back, and checks that what is there fits together.
    ///
    /// # Errors
    /// [`Code::State`] with what is damaged.
    pub(super) fn read(shelf: Shelf, attempt: Attempt) -> Result<Self, Fault> {
        let files = Files::of(&shelf.home, &attempt.run_id);
        let private = files.are_kept().then(|| Private::read(&shelf, &attempt.run_id)).transpose()?;
        let standing = match (attempt.state, &private) {
            (State::Closing, _) => closing(&shelf, &attempt.run_id)?,
            (State::Agreed, Some(private)) => Standing::Agreed(private.agreed(&shelf)?),
            (_, Some(private)) => private.standing(&shelf)?,
            (_, None) => {
                let folder = files.folder().display();
                return Err(Fault::new(
                    Code::State,
                    format!("{folder}: what the run needs to go on is missing"),
                ));
            }
        };
        Ok(Self { shelf, attempt, standing, private })
    }

    /// Our Resume.
    pub(super) fn resume(&self) -> Message {
        match &self.standing {
            Standing::Agreed(agreed) => agreed.resume(&self.shelf.identity),
            Standing::Committed(committed) => committed.resume(),
            Standing::Exchange(steps) => steps.exchange.resume(),
            Standing::Closing(closing, _) => closing.resume(),
        }
    }

    /// Takes the peer's Resume. A run that we have signed goes back to its steps if the peer is behind.
    pub(super) fn rejoin(&mut self, theirs: Message) -> Result<Common, Fault> {
        let common = match &mut self.standing {
            Standing::Agreed(agreed) => agreed.rejoin(theirs.clone())?,
            Standing::Committed(committed) => committed.rejoin(theirs.clone())?,
            Standing::Exchange(steps) => return Ok(steps.exchange.rejoin(theirs)?),
            Standing::Closing(closing, _) => closing.rejoin(theirs.clone())?,
        };
        let Standing::Closing(closing, _) = &self.standing else { return Ok(common) };
        if common.steps == closing.statement().steps && !common.lacks_commit {
            return Ok(common);
        }
        let Some(private) = &self.private else {
            return Err(Fault::new(Code::SessionOver, "the peer is behind, and our keys are gone"));
        };
        let mut steps = private.steps(&self.shelf)?;
        let common = steps.exchange.rejoin(theirs)?;
        self.standing = Standing::Exchange(Box::new(steps));
        Ok(common)
    }

    /// Whether the lists can be opened to an auditor later.
    pub(super) fn openable(&self) -> bool {
        match &self.standing {
            Standing::Closing(closing, _) => closing.statement().terms.openable,
            _ => self.agreed().is_some_and(|agreed| agreed.ours().terms.openable),
        }
    }

    /// Where the chain of statements ended when the session was agreed.
    pub(super) fn previous(&self) -> ChainHead {
        match &self.standing {
            Standing::Agreed(agreed) => agreed.previous(),
            Standing::Committed(committed) => committed.agreed().previous(),
            Standing::Exchange(steps) => steps.exchange.agreed().previous(),
            Standing::Closing(closing, _) => closing.statement().previous,
        }
    }

    /// What both sides agreed on, unless we have signed: then nothing of it matters any more.
    pub(super) fn agreed(&self) -> Option<&Agreed> {
        match &self.standing {
            Standing::Agreed(agreed) => Some(agreed),
            Standing::Committed(committed) => Some(committed.agreed()),
            Standing::Exchange(steps) => Some(steps.exchange.agreed()),
            Standing::Closing(..) => None,
        }
    }

    /// The encoded transcript so far, if elements have flowed.
    pub(super) fn transcript(&self) -> Option<Vec<u8>> {
        match &self.standing {
            Standing::Exchange(steps) => Some(steps.exchange.transcript().encode()),
            _ => None,
        }
    }
}

impl Private {
    fn read(shelf: &Shelf, id: &str) -> Result<Self, Fault> {
        let (files, seed, hellos) = Files::restore(&shelf.home, id, &shelf.seal_key)?;
        let job = Job::parse(&files.job(&shelf.seal_key)?);
        let job = job.map_err(|error| Fault::new(Code::State, format!("job of run {id}: {error}")))?;
        Ok(Self { files, seed, hellos, job })
    }

    fn agreed(&self, shelf: &Shelf) -> Result<Agreed, Fault> {
        let [initiator, responder] = &self.hellos;
        Ok(Agreed::restore([initiator, responder], &shelf.identity)?)
    }

    fn standing(&self, shelf: &Shelf) -> Result<Standing, Fault> {
        if self.files.peer_commit(&shelf.seal_key)?.is_some() {
            return Ok(Standing::Exchange(Box::new(self.steps(shelf)?)));
        }
        let commit = self.files.commit(&shelf.seal_key)?;
        let [initiator, responder] = &self.hellos;
        Ok(Standing::Committed(Committed::restore([initiator, responder], &commit, &shelf.identity)?))
    }

    fn steps(&self, shelf: &Shelf) -> Result<Steps, Fault> {
        let seal_key = &shelf.seal_key;
        let agreed = self.agreed(shelf)?;
        let (checkpoints, steps) = Checkpoints::open(&self.files, seal_key, shelf.now)?;
        let ours = self.files.commit(seal_key)?.to_vec();
        let theirs = self.files.peer_commit(seal_key)?.map(|commit| commit.to_vec()).unwrap_or_default();
        let commits = match agreed.ours().role {
            Role::Initiator => [ours, theirs],
            Role::Responder => [theirs, ours],
        };
        let exchange = Exchange::restore(self.hellos.clone(), commits, steps, &shelf.identity)?;
        let evidence = match agreed.ours().terms.evidence_days {
            0 => None,
            _ => {
                let folder = Runs::of(&shelf.home).closing_folder(self.files.run_id())?;
                Some(Evidence::open(&folder.join(EVIDENCE), exchange.transcript())?)
            }
        };
        Ok(Steps { exchange, checkpoints, evidence })
    }
}

impl Standing {
    /// Our Commit, if there is one.
    pub(super) fn commit(&self) -> Option<Message> {
        match self {
            Self::Committed(committed) => Some(committed.commit()),
            Self::Exchange(steps) => Some(steps.exchange.commit()),
            Self::Agreed(_) | Self::Closing(..) => None,
        }
    }

    /// Reads the list again as it was when the run began, and its masked form, which has to be the one that we committed to.
    pub(super) fn with_lists(
        self,
        private: Private,
        seal_key: &SealKey,
        room: &Room,
    ) -> Result<(Self, SessionSeed, List, Vec<StoredList>), Fault> {
        let Private { files, seed, job, .. } = private;
        let mut list = List::restore(files.clone(), seal_key, &job, room)?;
        let agreed = match &self {
            Self::Committed(committed) => committed.agreed(),
            Self::Exchange(steps) => steps.exchange.agreed(),
            Self::Agreed(_) | Self::Closing(..) => return Ok((self, seed, list, Vec::new())),
        };
        let masked = |number: usize| {
            let (set, masking) = (list.take_set(number)?, agreed.masking(number as u16));
            let key = masking.key(&seed, set.digest());
            StoredList::open(files.place(seal_key, MASKED, masking.list), set.len(), key)
        };
        let lists = (0..agreed.ours().items.len()).map(masked).collect::<Result<Vec<_>, _>>()?;
        match &self {
            Self::Committed(committed) => committed.check_lists(&lists)?,
            Self::Exchange(steps) => steps.exchange.check_lists(&lists)?,
            Self::Agreed(_) | Self::Closing(..) => {}
        }
        Ok((self, seed, list, lists))
    }
}

fn closing(shelf: &Shelf, id: &str) -> Result<Standing, Fault> {
    let folder = Runs::of(&shelf.home).closing_folder(id)?;
    let read = |name| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| Fault::new(Code::State, format!("{}: {error}", path.display())))
    };
    let (closing, close) = Closing::restore(&read(TRANSCRIPT)?, &read(STATEMENT)?, &shelf.identity)?;
    Ok(Standing::Closing(Box::new(closing), close))
}
