//! A run: the one place where list, link, session, join and records meet.
//!
//! ```text
//! call:   lease -> is there an unfinished run? then it goes on (resume.rs) -> output, policy -> list -> connect -> converse
//! answer: Hello -> job, lease, output, policy, terms -> list -> converse;  Resume -> the run, its lease -> converse
//! converse: hellos -> chain -> mask -> attempt (durable) -> commits (durable) -> steps -> join -> result (hidden)
//!           -> our Close (durable) -> both Closes -> runs/ID -> result under its name
//! ```

mod checkpoint;
mod conversation;
mod evidence;
mod exchange;
mod kept;
mod lease;
mod list;
mod mask;
mod matched;
mod meter;
mod offer;
mod pauses;
mod phases;
pub mod probe;
mod record;
mod resume;
mod summary;
mod talk;
mod unfinished;
mod written;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use psi_core::{
    key::Role,
    message::{ChainHead, Hello, Message, Resume},
    session::Opening,
};
use rand::{TryRng, rngs::SysRng};
use zeroize::Zeroizing;

use self::{kept::Kept, lease::Lease, list::List, meter::Meter, talk::Talk};
pub use self::{
    lease::{Holder, holder},
    unfinished::{cancel, expire, give_up, resume},
};
use crate::{
    config::{Job, Overrides, Peer},
    fault::{Code, Fault},
    link::{Link, grpc},
    node::Node,
    output,
    policy::{Ledger, Request},
    report::{Phase, Progress, Summary},
    runs::{self, Attempts, State},
    store::Index,
    tls::accept,
};

/// Runs a job with its peer: goes on with an unfinished run of it, or calls, exchanges, and leaves the result and its record.
///
/// A connection that is lost is tried again, for as long as the job says; only to go on, never to begin another session.
///
/// # Errors
/// Any row of the table of errors; whatever it is, no result is left without both signatures.
pub async fn call(node: &Node, job: &str, progress: Arc<dyn Progress>) -> Result<Summary, Fault> {
    // On the heap: who calls keeps a place on its stack for each call that it makes.
    Box::pin(call_with(node, job, &Overrides::default(), progress)).await
}

/// The same, with something that a new session does otherwise than the job says. An unfinished run goes on as it began.
///
/// # Errors
/// As [`call`]; [`Code::Usage`] if it does not fit together.
pub async fn call_with(
    node: &Node,
    job: &str,
    with: &Overrides,
    progress: Arc<dyn Progress>,
) -> Result<Summary, Fault> {
    node.config().job(job)?;
    let run = Run::claim(node, job, Lease::to_call(node, job)?, progress)?;
    run.overridden(with)?.carry_out(with).await
}

/// A moment at which a job was due, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub due: u64,
    /// What began earlier belongs to an earlier moment.
    pub since: u64,
    /// When it is due again.
    pub next: u64,
}

/// Runs a job that was due: as [`call`], but an unfinished run of an earlier moment is given up, and tries end when the job is
/// due again.
///
/// # Errors
/// As [`call`].
pub async fn call_due(
    node: &Node,
    job: &str,
    moment: Moment,
    progress: Arc<dyn Progress>,
) -> Result<Summary, Fault> {
    node.config().job(job)?;
    let run = Run::claim(node, job, Lease::to_call(node, job)?, progress)?;
    Run { moment: Some(moment), ..run }.carry_out(&Overrides::default()).await
}

/// Answers a peer that called; `None` if it only wanted to see the statement of a run that is finished here.
///
/// # Errors
/// As [`call`]; the peer is told the code, and nothing of ours.
pub async fn answer(
    node: &Node,
    caller: &accept::Peer,
    link: Link,
    progress: Arc<dyn Progress>,
) -> Result<Option<Summary>, Fault> {
    let mut talk = Talk::new(link, node.conversations().begin());
    let run = async {
        match talk.receive().await? {
            Message::Hello(hello) => {
                let job = job_with(node, caller, &hello.job)?;
                if probe::is_one(&hello) {
                    return Err(probe::answer(node, &job, &hello));
                }
                let lease = Lease::to_answer(node, &hello.job, caller.key);
                let lease = talk.meanwhile(lease, &AtomicU64::new(0), 0).await?;
                let run = Run::claim(node, &hello.job, lease, progress)?;
                run.begin_with(&hello)?;
                let start = Start::Fresh { role: Role::Responder, theirs: Some(Box::new(hello)), list: None };
                Ok(Some((run, start)))
            }
            Message::Resume(resume) => resume::answer(node, caller, &mut talk, resume, progress).await,
            other => Err(other.out_of_phase("hello or resume").into()),
        }
    };
    match run.await {
        Ok(Some((run, start))) => run.answered(talk, start, &caller.traffic).await.map(Some),
        Ok(None) => talk.end().await.map(|()| None),
        Err(fault) => {
            talk.refuse(&fault).await;
            Err(fault)
        }
    }
}

/// A caller's job: one with its key, and one that a call can start.
fn job_with(node: &Node, caller: &accept::Peer, name: &str) -> Result<Job, Fault> {
    let config = node.config();
    let with_caller = |job: &&Job| config.peers.get(&job.peer).is_some_and(|peer| peer.key == caller.key);
    let Some(job) = config.jobs.get(name).filter(with_caller) else {
        let message = format!("the peer asks for a job {name:?} that it has not with us");
        return Err(Fault::new(Code::UnknownJob, message).with_place("job"));
    };
    if job.input.spec().is_standard_input() {
        let message = format!("job {name:?} reads standard input: only `psi run` here can start it");
        return Err(Fault::new(Code::Pipe, message));
    }
    Ok(job.clone())
}

/// How a conversation starts.
enum Start {
    /// With hellos.
    Fresh { role: Role, theirs: Option<Box<Hello>>, list: Option<Box<List>> },
    /// Where a run was left; `theirs` is the Resume of a peer that called.
    Resumed { kept: Box<Kept>, theirs: Option<Resume> },
}

/// A run of a job that is ours and that nobody else runs meanwhile.
struct Run<'a> {
    node: &'a Node,
    job_name: String,
    job: Job,
    peer: Peer,
    progress: Arc<Meter>,
    /// When it started, by the monotonic clock.
    started: Duration,
    /// The date then, in the job's time zone.
    date: String,
    /// When it was due, if its schedule started it.
    moment: Option<Moment>,
    lease: Mutex<Lease>,
}

impl<'a> Run<'a> {
    fn claim(node: &'a Node, name: &str, lease: Lease, progress: Arc<dyn Progress>) -> Result<Self, Fault> {
        let config = node.config();
        let job = config.job(name)?.clone();
        let peer = config.peer(&job.peer)?.clone();
        // With the lease in hand, a list that no run has a name for belongs to a process that is gone.
        list::remove_unnamed(node.home(), name);
        let (job_name, started) = (name.to_owned(), node.clock().monotonic());
        let date = job.zone().date(node.now());
        let lease = Mutex::new(lease);
        let progress = Arc::new(Meter::new(progress, node.tls().clock().clone()));
        Ok(Self { node, job_name, job, peer, progress, started, date, moment: None, lease })
    }

    /// Goes on with the unfinished run of the job, or begins a new one.
    async fn carry_out(&self, with: &Overrides) -> Result<Summary, Fault> {
        if let Some(finished) = self.finish_signed()?
            && !self.is_earlier(&finished.attempt)
        {
            return self.offered(Ok(self.summary(finished, [0, 0]))).await;
        }
        if let Some(id) = self.unfinished()? {
            if *with != Overrides::default() {
                tracing::warn!(run = id, "the unfinished run goes on as it began, whatever is asked for now");
            }
            match self.go_on(&id).await {
                // Where a folder was set back, somebody has to look before anything more is disclosed.
                Err(fault) if fault.code == Code::SessionOver && self.unfinished()?.is_none() => {
                    tracing::warn!(run = id, %fault, "the unfinished run can't go on: a new session begins");
                }
                result => return self.offered(result).await,
            }
        }
        self.may_begin()?;
        let result = match self.begin().await {
            Err(fault) if fault.resumable => match self.unfinished()? {
                Some(id) => self.persist(&id, fault).await,
                None => Err(fault),
            },
            result => result,
        };
        self.offered(result).await
    }

    /// For how long a peer that is lost is called again.
    fn patience(&self) -> Duration {
        let minutes = Duration::from_secs(u64::from(self.job.retry_minutes) * 60);
        self.moment.map_or(minutes, |moment| {
            minutes.min(Duration::from_secs(moment.next.saturating_sub(self.node.now())))
        })
    }

    fn overridden(self, with: &Overrides) -> Result<Self, Fault> {
        let job = self.job.overridden(with).map_err(|reason| Fault::new(Code::Usage, reason))?;
        Ok(Self { job, ..self })
    }

    /// Whether a new session may begin: what it leaves has a place, and the policy allows it.
    fn may_begin(&self) -> Result<(), Fault> {
        // Where the name has the run's id in it, only the folder can be checked before there is one.
        output::check(&self.output("{run}"))?;
        self.rejects("{run}").map_or(Ok(()), |rejects| output::check(&rejects))?;
        self.allow(&Request::smallest(&self.job_name, &self.job))
    }

    /// The same for a peer that called with this Hello.
    fn begin_with(&self, theirs: &Hello) -> Result<(), Fault> {
        self.finish_signed()?;
        // The peer begins anew: of what was left unfinished with it nothing can come any more.
        for attempt in Attempts::of(self.node.home()).open(&self.job_name)? {
            if attempt.state != State::Closing {
                give_up(self.node, attempt, "the peer began a new session")?;
            }
        }
        self.may_begin()?;
        self.check_terms(theirs)
    }

    /// Calls the peer for a new session.
    async fn begin(&self) -> Result<Summary, Fault> {
        let target = self.target()?;
        let met = async {
            let list = self.load().await?;
            Ok((list, self.connect(&target).await?))
        };
        let (list, (talk, connection)) = lease::unless_claimed(self.node, &self.job_name, met).await?;
        let start = Start::Fresh { role: Role::Initiator, theirs: None, list: Some(Box::new(list)) };
        self.converse(talk, start, connection.traffic()).await
    }

    async fn connect(&self, target: &grpc::Target) -> Result<(Talk, grpc::Connection), Fault> {
        self.progress.phase(Phase::Connecting, 0);
        let connection = grpc::Connection::open(target, self.node.tls(), self.node.settings()).await?;
        let talk = Talk::new(connection.session(), self.node.conversations().begin());
        Ok((talk, connection))
    }

    /// The peer is met, and nobody else's call goes before this run any more.
    fn met(&self, id: &str) {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).met(id);
    }

    /// The peer is lost, and is called again.
    fn calls(&self) {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).calls();
    }

    /// Where the result of a run of this id goes.
    fn output(&self, id: &str) -> PathBuf {
        output::path(&self.job.output_name(), &self.job_name, &self.date, id)
    }

    /// Where what it leaves out goes, if that is wanted.
    fn rejects(&self, id: &str) -> Option<PathBuf> {
        self.job.rejects_name().map(|rejects| output::path(&rejects, &self.job_name, &self.date, id))
    }

    /// Whether the policy allows that, after what was charged so far.
    fn allow(&self, request: &Request<'_>) -> Result<(), Fault> {
        let now = self.node.now();
        let since = Ledger::since(self.job.zone(), now);
        request.allow(&Index::open(self.node.home()).ledger(self.peer.key, since)?, now)
    }

    fn target(&self) -> Result<grpc::Target, Fault> {
        let endpoint = self.peer.endpoint.clone().ok_or_else(|| {
            let message = format!("peer {:?} has no endpoint: it can only call us", self.job.peer);
            Fault::new(Code::Config, message)
        })?;
        Ok(grpc::Target { endpoint, key: self.peer.key, proxy: self.node.config().node.proxy.clone() })
    }

    async fn load(&self) -> Result<List, Fault> {
        self.progress.phase(Phase::Reading, 0);
        let (home, seal_key) = (self.node.home().clone(), self.node.seal_key().clone());
        let (name, job, room) = (self.job_name.clone(), self.job.clone(), self.node.room().clone());
        let unsent = self.rejects(&runs::unsent(self.node.now()));
        let load = move || List::load(&home, &name, &seal_key, &job, &room, unsent.as_deref());
        let list = self.node.pool().run(load).await??;
        self.job.terms().allow("our", list.items())?;
        Ok(list)
    }

    /// Our Hello, for lists of so many items.
    fn hello(&self, role: Role, items: Vec<u64>, chain: ChainHead) -> Result<Hello, Fault> {
        probe::hello(self.node, &self.job_name, &self.job, role, items, chain)
    }

    /// Compares a caller's Hello before any work is done for it: with lists of ours that the terms would allow.
    fn check_terms(&self, theirs: &Hello) -> Result<(), Fault> {
        let provisional = self.hello(theirs.role.opposite(), probe::smallest(&self.job), theirs.chain)?;
        let (opening, _) = Opening::new(provisional);
        let agreed = opening.accept(Message::Hello(theirs.clone()), self.node.now())?;
        self.allow(&Request::new(&self.job_name, &self.job, &agreed.theirs().items))
    }
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Fault> {
    let mut bytes = Zeroizing::new([0; N]);
    let filled = SysRng.try_fill_bytes(bytes.as_mut());
    filled
        .map(|()| bytes)
        .map_err(|error| Fault::new(Code::Unexpected, format!("no random numbers: {error}")))
}
