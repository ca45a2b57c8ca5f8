//! A run: the one place where list, link, session, join and records meet.
//!
//! ```text
//! call:   lease -> is there an unfinished run? then it goes on (resume.rs) -> output, policy -> list -> connect -> converse
//! answer: Hello -> job, lease, output, policy, terms -> list -> converse;  Resume -> the run, its lease -> converse
//! converse: hellos -> chain -> mask -> attempt (durable) -> commits (durable) -> steps -> join -> result (hidden)
//!           -> our Close (durable) -> both Closes -> runs/ID -> result under its name
//! ```

mod checkpoint;
mod exchange;
mod kept;
mod lease;
mod list;
mod matched;
mod pauses;
pub mod probe;
mod record;
mod resume;
mod stop;
mod talk;

pub use self::{
    resume::{cancel, expire, give_up},
    stop::Conversations,
};

use std::{
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use psi_core::{
    error::Incompatible,
    key::{Role, SessionSeed},
    mask::MaskedList,
    message::{ChainHead, Close, Hello, MAX_STATEMENTS, Message, Resume},
    session::{Agreed, ChainGap, Closing, Committed, Exchange, Opening, Signed},
};
use rand::{TryRng, rngs::SysRng};
use zeroize::Zeroizing;

pub use self::lease::{Holder, holder};
use self::{
    checkpoint::Checkpoints,
    exchange::{Evidence, Steps},
    kept::Kept,
    lease::Lease,
    list::{Counts, Files, List, ListCounts},
    matched::Matched,
    record::Record,
    talk::Talk,
};
use crate::{
    config::{Job, Peer},
    fault::{Code, Fault},
    input::Key,
    join::Sizes,
    journal,
    link::{Link, grpc},
    node::Node,
    output::{self, Extra, Prepared, Shape},
    policy::{Ledger, Request},
    process,
    report::{ListSummary, Phase, Progress, Summary},
    runs::{self, Attempt, AttemptList, Attempts, Runs, State},
    store::Index,
    tls::{accept, stream::Traffic},
};

/// Runs a job with its peer: goes on with an unfinished run of it, or calls, exchanges, and leaves the result and its record.
///
/// A connection that is lost is tried again, for as long as the job says; only to go on, never to begin another session.
///
/// # Errors
/// Any row of the table of errors; whatever it is, no result is left without both signatures.
pub async fn call(node: &Node, job: &str, progress: Arc<dyn Progress>) -> Result<Summary, Fault> {
    node.config().job(job)?;
    let run = Run::claim(node, job, Lease::to_call(node, job)?, progress)?;
    if let Some(id) = run.unfinished()? {
        match run.go_on(&id).await {
            Err(fault)
                if run.unfinished()?.is_none() && matches!(fault.code, Code::SessionOver | Code::SetBack) =>
            {
                tracing::warn!(run = id, %fault, "the unfinished run can't go on: a new session begins");
            }
            result => return run.offered(result).await,
        }
    }
    run.may_begin()?;
    let result = match run.begin().await {
        Err(fault) if fault.resumable => match run.unfinished()? {
            Some(id) => run.persist(&id, fault).await,
            None => Err(fault),
        },
        result => result,
    };
    run.offered(result).await
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
        Ok(Some((run, start))) => run.converse(talk, start, &caller.traffic).await.map(Some),
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
    progress: Arc<dyn Progress>,
    /// When it started, by the monotonic clock.
    started: Duration,
    /// The date then, in the job's time zone.
    date: String,
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
        Ok(Self { node, job_name, job, peer, progress, started, date, lease: Mutex::new(lease) })
    }

    /// Whether a new session may begin: the result has a place, and the policy allows it.
    fn may_begin(&self) -> Result<(), Fault> {
        // Where the name has the run's id in it, only the folder can be checked before there is one.
        output::check(&self.output("{run}"))?;
        self.allow(&Request::smallest(&self.job_name, &self.job))
    }

    /// The same for a peer that called with this Hello.
    fn begin_with(&self, theirs: &Hello) -> Result<(), Fault> {
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
        let (name, job) = (self.job_name.clone(), self.job.clone());
        let list = self.node.pool().run(move || List::load(&home, &name, &seal_key, &job)).await??;
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

    /// The whole conversation to its end; on failure the peer is told, and what may not stay is removed.
    async fn converse(&self, mut talk: Talk, start: Start, traffic: &Traffic) -> Result<Summary, Fault> {
        let before = [traffic.sent(), traffic.received()];
        match self.within_deadline(&mut talk, start).await {
            Ok(finished) => {
                // Both have signed and the result is released: of the connection only this can still be learned.
                match talk.end().await {
                    Ok(()) => self.confirmed(&finished.attempt.run_id)?,
                    Err(fault) => {
                        tracing::warn!(run = finished.attempt.run_id, %fault, "complete; the peer may lack our signature");
                    }
                }
                Ok(self.summary(finished, [traffic.sent() - before[0], traffic.received() - before[1]]))
            }
            Err(fault) => {
                talk.refuse(&fault).await;
                Err(fault)
            }
        }
    }

    async fn within_deadline(&self, talk: &mut Talk, start: Start) -> Result<Finished, Fault> {
        let (asker, deadline) = (talk.asker(), self.node.settings().session_deadline);
        let mut late = self.node.clock().sleep(deadline);
        let session = async {
            match start {
                Start::Fresh { role, theirs, list } => {
                    self.session(talk, role, theirs.map(|hello| *hello), list.map(|list| *list)).await
                }
                Start::Resumed { kept, theirs } => self.resumed(talk, *kept, theirs).await,
            }
        };
        let mut session = pin!(session);
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
        let runs = Runs::of(self.node.home());
        let chain = runs.chain(self.node.identity().public_key(), self.peer.key, &self.job_name)?;
        let head = chain.last().map(|link| link.statement.head()).unwrap_or_default();
        let (opening, hello) = Opening::new(self.hello(role, list.items().to_vec(), head)?);
        talk.send(hello).await?;
        let theirs = match theirs {
            Some(hello) => Message::Hello(hello),
            None => talk.receive().await?,
        };
        let mut agreed = opening.accept(theirs, self.node.now())?;
        self.allow(&Request::new(&self.job_name, &self.job, &agreed.theirs().items))?;
        self.catch_up(talk, &mut agreed, &runs, &chain).await?;
        Attempts::of(self.node.home()).confirm(&self.job_name, self.peer.key)?;
        self.exchange(talk, agreed, list).await
    }

    /// Sends the statements that the peer lacks, or takes those that we lack.
    async fn catch_up(
        &self,
        talk: &mut Talk,
        agreed: &mut Agreed,
        runs: &Runs,
        chain: &[runs::Link],
    ) -> Result<(), Fault> {
        if let ChainGap::TheyLack(height) = agreed.gap() {
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
        let mut record = Record::new(self, &id, &agreed);
        record.write()?;
        let list = list.named(&id)?;
        let (files, openable) = (list.files(), agreed.ours().terms.openable);
        let result = self.to_close(talk, agreed, list, &mut record).await;
        self.conclude(result, &files, openable, &mut record)
    }

    /// What becomes of the run's files. One that can go on keeps them all; one that ended before our signature keeps its
    /// record only; after it, what is needed to finish it stays, if the peer shows its signature later.
    fn conclude(
        &self,
        result: Result<Finished, Fault>,
        files: &Files,
        openable: bool,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let id = &record.attempt.run_id.clone();
        let fault = match result {
            Ok(finished) => {
                record.end(State::Unconfirmed, None)?;
                list::settle(files.folder(), openable)?;
                return Ok(finished);
            }
            Err(fault) if record.kept && record.attempt.state != State::Unconfirmed => fault.of_kept_run(),
            Err(fault) => fault,
        };
        let state = record.attempt.state;
        match state {
            _ if fault.resumable => record.end(state, Some(&fault))?,
            State::Closing => {
                record.end(state, Some(&fault))?;
                list::settle(files.folder(), openable)?;
            }
            // Both have signed: only the result waits for its name.
            State::Unconfirmed => {
                record.end(state, Some(&fault))?;
                list::settle(files.folder(), openable)?;
            }
            _ => {
                Runs::of(self.node.home()).discard(id);
                Prepared::of(&record.attempt.output, id)?.discard()?;
                list::remove(files.folder());
                record.end(State::Failed, Some(&fault))?;
            }
        }
        Err(fault)
    }

    /// A finished run whose peer may lack our signature shows it.
    async fn offered(&self, result: Result<Summary, Fault>) -> Result<Summary, Fault> {
        let summary = result?;
        let attempt = Attempts::of(self.node.home()).read(&summary.run_id)?;
        if attempt.is_some_and(|attempt| attempt.state == State::Unconfirmed) {
            self.offer(&summary.run_id).await;
        }
        Ok(summary)
    }

    /// The peer has taken our signature.
    fn confirmed(&self, id: &str) -> Result<(), Fault> {
        let attempts = Attempts::of(self.node.home());
        match attempts.read(id)? {
            Some(attempt) => attempts.write(&Attempt { state: State::Complete, ..attempt }),
            None => Ok(()),
        }
    }

    async fn to_close(
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

    async fn after_agreement(
        &self,
        talk: &mut Talk,
        agreed: Agreed,
        mut list: List,
        seed: SessionSeed,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let lists = Arc::new(self.mask(talk, &agreed, &mut list, &Arc::new(seed)).await?);
        let theirs = agreed.theirs().items.clone();
        let (committed, commit) = agreed.commit(&lists, self.node.identity())?;
        list.store_commit(self.node.seal_key(), &commit)?;
        record.charge(self, &theirs)?;
        talk.send(commit).await?;
        self.after_commit(talk, committed, list, lists, record).await
    }

    /// Takes the peer's Commit, which is durable before anything is sent after it.
    async fn after_commit(
        &self,
        talk: &mut Talk,
        committed: Committed,
        list: List,
        lists: Arc<Vec<MaskedList>>,
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

    async fn after_commits(
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
            lists: lists.clone(),
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
        let Steps { exchange, checkpoints, close: early, .. } = steps;
        let journal = checkpoints.finish().await?;
        let counts = list.counts();
        let (prepared, matches) = match matches {
            // The lists were joined before we signed, and the rows wait.
            Some(matches) => (Prepared::of(&record.attempt.output, &record.attempt.run_id)?, matches),
            None => {
                let join = self.join(list, lists, journal, &record.attempt);
                let (prepared, matches) = talk.meanwhile(join, &AtomicU64::new(0), 0).await?;
                record.joined(&matches, counts.rows(prepared.rows()));
                (prepared, matches)
            }
        };
        let (closing, close) = exchange.close(&matches)?;
        let signature = Signature { closing, close, early, prepared, counts };
        self.after_join(talk, signature, record).await
    }

    async fn after_join(
        &self,
        talk: &mut Talk,
        signature: Signature,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let Signature { closing, close, early, prepared, counts } = signature;
        let runs = Runs::of(self.node.home());
        let signed = self.close(talk, closing, close, early, &runs, record).await?;
        self.release(&signed, &prepared, counts, record)
    }

    /// Both have signed: the record gets its name, then the result.
    fn release(
        &self,
        signed: &Signed,
        prepared: &Prepared,
        counts: Counts,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let folder = Runs::of(self.node.home()).finish(&record.attempt.run_id, signed)?;
        record.attempt.state = State::Unconfirmed;
        prepared.release().map_err(|error| waiting(error.into(), prepared))?;
        Ok(Finished { folder, attempt: record.attempt.clone(), counts })
    }

    /// Masks every list; the peer hears how many items of all of them are done.
    async fn mask(
        &self,
        talk: &mut Talk,
        agreed: &Agreed,
        list: &mut List,
        seed: &Arc<SessionSeed>,
    ) -> Result<Vec<MaskedList>, Fault> {
        let of = agreed.ours().items.iter().sum();
        self.progress.phase(Phase::Masking, of);
        let (done, mut before, mut lists) = (Arc::new(AtomicU64::new(0)), 0, Vec::new());
        for (number, items) in agreed.ours().items.iter().enumerate() {
            let masking = agreed.masking(number as u16);
            let set = list.take_set(number)?;
            let (counted, progress, seed) = (done.clone(), self.progress.clone(), seed.clone());
            let (files, seal_key) = (list.files(), self.node.seal_key().clone());
            let work = self.node.pool().run(move || {
                let masked = masking.run(&set, &seed, &|items| {
                    counted.store(before + items, Ordering::Relaxed);
                    progress.done(before + items);
                });
                files.store_masked(&seal_key, number, &set, &masked).map(|()| masked)
            });
            lists.push(talk.meanwhile(async { work.await? }, &done, of).await?);
            before += items;
        }
        Ok(lists)
    }

    /// Finds the matches of each list, and writes the rows that have any beside the result's name.
    async fn join(
        &self,
        list: List,
        lists: Arc<Vec<MaskedList>>,
        journal: journal::Finished,
        attempt: &Attempt,
    ) -> Result<(Prepared, Vec<u64>), Fault> {
        let (job, seal_key) = (list.job().clone(), self.node.seal_key().clone());
        let (output, id) = (attempt.output.clone(), attempt.run_id.clone());
        let of_list = |list: &AttemptList| Sizes { ours: list.items_ours, theirs: list.items_theirs };
        let sizes: Vec<_> = attempt.lists.iter().map(of_list).collect();
        let work = self.node.pool().run(move || {
            let matched = Matched::join(&lists, &journal, &sizes, &job.input.keys)?;
            let names = |row| matched.names(list.rows(), row);
            let extra = job.input.matched_column().map(|name| Extra { name, cell: &names });
            let rows = list.reopen(&job.input.spec(), &seal_key)?;
            let keep = |row| matched.has(list.rows(), row);
            let shape = Shape { extra: extra.as_slice(), ..job.shape() };
            let prepared = output::prepare(&output, &id, rows, &shape, keep)?;
            Ok((prepared, matched.counts()))
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

    fn summary(&self, finished: Finished, bytes: [u64; 2]) -> Summary {
        let Finished { folder, attempt, counts } = finished;
        let keys = self.job.input.keys.iter().zip(&counts.lists);
        let lists: Vec<ListSummary> = attempt
            .lists
            .into_iter()
            .zip(keys)
            .map(|(list, (key, counts))| list_summary(list, key, counts))
            .collect();
        Summary {
            run_id: attempt.run_id,
            peer: self.job.peer.clone(),
            items_ours: lists.iter().map(|list| list.items_ours).sum(),
            items_theirs: lists.iter().map(|list| list.items_theirs).sum(),
            matches: lists.iter().map(|list| list.matches).sum(),
            proved: self.job.policy.proved,
            output: attempt.output,
            run_folder: folder,
            seconds: (self.node.clock().monotonic() - self.started).as_secs_f64(),
            bytes_sent: bytes[0],
            bytes_received: bytes[1],
            cpu_seconds: process::cpu_seconds(),
            peak_rss_bytes: process::peak_rss_bytes(),
            rows_read: counts.read,
            rows_rejected: counts.rejects.total,
            rows_duplicate: lists.iter().map(|list| list.rows_duplicate).sum(),
            rows_written: attempt.rows.map_or(0, |rows| rows.written),
            cells_rejected: counts.rejects.cells,
            lists,
            resumed: attempt.resumed,
            rejects: counts.rejects,
        }
    }
}

/// Where a run stands when elements may flow.
struct Ready {
    exchange: Exchange,
    list: List,
    lists: Arc<Vec<MaskedList>>,
    evidence: Option<Evidence>,
    checkpoints: Checkpoints,
    /// Of a run that we have signed, and that goes back for a peer that is behind.
    matches: Option<Vec<u64>>,
}

/// Where a run stands when our Close may be sent.
struct Signature {
    closing: Closing,
    close: Message,
    /// The peer's Close, if it came before.
    early: Option<Close>,
    prepared: Prepared,
    counts: Counts,
}

/// What a run came to.
struct Finished {
    folder: PathBuf,
    attempt: Attempt,
    counts: Counts,
}

fn list_summary(list: AttemptList, key: &Key, counts: &ListCounts) -> ListSummary {
    ListSummary {
        profile: list.profile,
        columns: key.columns.clone(),
        items_ours: list.items_ours,
        items_theirs: list.items_theirs,
        matches: list.matches.unwrap_or_default(),
        rows_duplicate: counts.duplicates,
        rows_warned: counts.warnings.clone(),
    }
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Fault> {
    let mut bytes = Zeroizing::new([0; N]);
    let filled = SysRng.try_fill_bytes(bytes.as_mut());
    filled
        .map(|()| bytes)
        .map_err(|error| Fault::new(Code::Unexpected, format!("no random numbers: {error}")))
}

/// The record is complete; only the result could not get its name.
fn waiting(fault: Fault, prepared: &Prepared) -> Fault {
    let message =
        format!("{}; both have signed, and the result waits in {}", fault.message, prepared.part().display());
    Fault { message, ..fault }
}

/// The peer may have counted the matches, and we release none: the operator has to know.
fn withheld(fault: Fault) -> Fault {
    let message = format!(
        "{}; we had signed, and the peer did not: it may know the matches, we release none until it shows its signature",
        fault.message
    );
    Fault { message, ..fault }
}
