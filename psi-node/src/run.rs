//! A run: the one place where list, link, session, join and records meet.
//!
//! ```text
//! call:   lease, output, policy -> list -> connect -> converse
//! answer: Hello -> job, lease, output, policy, terms -> list -> converse
//! converse: hellos -> chain -> mask -> attempt (durable) -> commits -> steps -> join -> result (hidden)
//!           -> our Close (durable) -> both Closes -> runs/ID -> result under its name
//! ```

mod exchange;
mod lease;
mod list;
mod matched;
pub mod probe;
mod record;
mod talk;

use std::{
    path::PathBuf,
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
    message::{ChainHead, Close, Hello, MAX_STATEMENTS, Message},
    session::{Agreed, ChainGap, Closing, Opening, Signed},
};
use rand::{TryRng, rngs::SysRng};
use zeroize::Zeroizing;

pub use self::lease::{Holder, holder};
use self::{
    exchange::{Evidence, Keys, Steps},
    lease::Lease,
    list::{Counts, List, ListCounts},
    matched::Matched,
    record::Record,
    talk::Talk,
};
use crate::{
    config::{Job, Peer},
    fault::{Code, Fault},
    input::Key,
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

/// Runs a job with its peer: calls, exchanges, and leaves the result and its record.
///
/// # Errors
/// Any row of the table of errors; whatever it is, no result is left without both signatures.
pub async fn call(node: &Node, job: &str, progress: Arc<dyn Progress>) -> Result<Summary, Fault> {
    node.config().job(job)?;
    let run = Run::prepare(node, job, Lease::to_call(node, job)?, progress)?;
    let target = run.target()?;
    let met = async {
        let list = run.load().await?;
        run.progress.phase(Phase::Connecting, 0);
        let connection = grpc::Connection::open(&target, node.tls(), node.settings()).await?;
        let talk = Talk::new(connection.session());
        Ok((list, connection, talk))
    };
    let (list, connection, talk) = lease::unless_claimed(node, job, met).await?;
    run.converse(talk, Role::Initiator, None, Some(list), connection.traffic()).await
}

/// Answers a peer that called.
///
/// # Errors
/// As [`call`]; the peer is told the code, and nothing of ours.
pub async fn answer(
    node: &Node,
    caller: &accept::Peer,
    link: Link,
    progress: Arc<dyn Progress>,
) -> Result<Summary, Fault> {
    let mut talk = Talk::new(link);
    let run = async {
        let hello = match talk.receive().await? {
            Message::Hello(hello) => hello,
            other => return Err(other.out_of_phase("hello").into()),
        };
        let job = job_with(node, caller, &hello.job)?;
        if probe::is_one(&hello) {
            return Err(probe::answer(node, &job, &hello));
        }
        let lease = Lease::to_answer(node, &hello.job, caller.key);
        let lease = talk.meanwhile(lease, &AtomicU64::new(0), 0).await?;
        let run = Run::prepare(node, &hello.job, lease, progress)?;
        run.check_terms(&hello)?;
        Ok((run, hello))
    };
    match run.await {
        Ok((run, hello)) => run.converse(talk, Role::Responder, Some(hello), None, &caller.traffic).await,
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

/// A run that may start: the job is ours, nobody else runs it, the result has a place, the policy allows it.
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
    fn prepare(node: &'a Node, name: &str, lease: Lease, progress: Arc<dyn Progress>) -> Result<Self, Fault> {
        let config = node.config();
        let job = config.job(name)?.clone();
        let peer = config.peer(&job.peer)?.clone();
        // With the lease in hand, whatever of this job looks unfinished belongs to a process that is gone.
        Attempts::of(node.home()).abandon(name)?;
        list::remove_unnamed(node.home(), name);
        let (job_name, started) = (name.to_owned(), node.clock().monotonic());
        let date = job.zone().date(node.now());
        let run = Self { node, job_name, job, peer, progress, started, date, lease: Mutex::new(lease) };
        // Where the name has the run's id in it, only the folder can be checked before there is one.
        output::check(&run.output("{run}"))?;
        run.allow(&Request::smallest(name, &run.job))?;
        Ok(run)
    }

    /// Where the result of a run of this id goes.
    fn output(&self, id: &str) -> PathBuf {
        output::path(&self.job.output, &self.job_name, &self.date, id)
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

    /// The whole conversation, from the hellos to its end; on failure the peer is told, and what may not stay is removed.
    async fn converse(
        self,
        mut talk: Talk,
        role: Role,
        theirs: Option<Hello>,
        list: Option<List>,
        traffic: &Traffic,
    ) -> Result<Summary, Fault> {
        let before = [traffic.sent(), traffic.received()];
        let deadline = self.node.settings().session_deadline;
        let session = self.session(&mut talk, role, theirs, list);
        let session = self.node.clock().within(deadline, session).await;
        let late =
            || Fault::new(Code::TimedOut, format!("the session took longer than {} s", deadline.as_secs()));
        match session.unwrap_or_else(|| Err(late())) {
            Ok(finished) => {
                // Both have signed and the result is released: what becomes of the connection changes nothing.
                if let Err(fault) = talk.end().await {
                    tracing::warn!(run = finished.run_id, %fault, "the connection did not end properly");
                }
                Ok(self.summary(finished, [traffic.sent() - before[0], traffic.received() - before[1]]))
            }
            Err(fault) => {
                talk.refuse(&fault).await;
                Err(fault)
            }
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
        self.exchange(talk, agreed, list, &runs).await
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

    /// From the agreement to both signatures. Before our signature, a failure removes everything but its record; after it,
    /// what is needed stays, so that the run can still be finished when the peer shows its signature.
    async fn exchange(
        &self,
        talk: &mut Talk,
        agreed: Agreed,
        list: List,
        runs: &Runs,
    ) -> Result<Finished, Fault> {
        let id = runs::run_id(agreed.hellos()[0].started, agreed.sid());
        tracing::Span::current().record("run", &id).record("job", &self.job_name);
        tracing::info!(run = id, job = self.job_name, peer = self.job.peer, "session agreed");
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).met(&id);
        let mut record = Record::new(self, &id, &agreed);
        record.write()?;
        let list = list.named(&id)?;
        let (folder, openable) = (list.folder().to_owned(), agreed.ours().terms.openable);
        let result = self.to_close(talk, agreed, list, runs, &mut record).await;
        match &result {
            Ok(_) => record.end(State::Complete, None)?,
            Err(fault) if record.attempt.state == State::Closing => {
                record.end(State::Closing, Some(fault))?
            }
            Err(fault) => {
                runs.discard(&id);
                Prepared::of(&record.attempt.output, &id)?.discard()?;
                list::remove(&folder);
                record.end(State::Failed, Some(fault))?;
                return result;
            }
        }
        list::settle(&folder, openable)?;
        result
    }

    async fn to_close(
        &self,
        talk: &mut Talk,
        agreed: Agreed,
        mut list: List,
        runs: &Runs,
        record: &mut Record,
    ) -> Result<Finished, Fault> {
        let items = [agreed.ours().items.clone(), agreed.theirs().items.clone()];
        let seed = SessionSeed::from_bytes(*random()?);
        list.store_session(self.node.seal_key(), &seed, agreed.hellos())?;
        let lists = Arc::new(self.mask(talk, &agreed, &mut list, &Arc::new(seed)).await?);
        let evidence = match agreed.ours().terms.evidence_days {
            0 => None,
            _ => Some(Evidence::create(&runs.closing_folder(&record.attempt.run_id)?.join(runs::EVIDENCE))?),
        };
        let theirs = agreed.theirs().items.clone();
        let (committed, commit) = agreed.commit(&lists, self.node.identity())?;
        list.store_commit(self.node.seal_key(), &commit)?;
        record.charge(self, &theirs)?;
        talk.send(commit).await?;
        let exchange = committed.accept(talk.receive().await?)?;
        self.progress.phase(Phase::Exchanging, items.iter().flatten().sum());
        let (progress, both) = (&*self.progress, items.each_ref().map(Vec::as_slice));
        let mut steps = Steps::new(exchange, lists.clone(), self.node.pool(), progress, evidence, both);
        if let Err(fault) = steps.run(talk).await {
            record.keep(steps.exchange.transcript())?;
            return Err(fault);
        }
        self.progress.phase(Phase::Closing, 0);
        let Steps { exchange, keys, close: early, .. } = steps;
        let counts = list.counts();
        let join = self.join(list, lists, keys, &record.attempt);
        let (prepared, matches) = talk.meanwhile(join, &AtomicU64::new(0), 0).await?;
        record.matched(&matches);
        let (closing, close) = exchange.close(&matches)?;
        let signed = self.close(talk, closing, close, early, runs, record).await?;
        let folder = runs.finish(&record.attempt.run_id, &signed)?;
        prepared.release().map_err(|error| waiting(error.into(), &prepared))?;
        let (run_id, output) = (record.attempt.run_id.clone(), record.attempt.output.clone());
        let lists = record.attempt.lists.clone();
        Ok(Finished { run_id, folder, output, lists, counts, rows_written: prepared.rows() })
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
        keys: Vec<Keys>,
        attempt: &Attempt,
    ) -> Result<(Prepared, Vec<u64>), Fault> {
        let (job, seal_key) = (self.job.clone(), self.node.seal_key().clone());
        let (output, id) = (attempt.output.clone(), attempt.run_id.clone());
        let work = self.node.pool().run(move || {
            let matched = Matched::join(&lists, keys, &job.input.keys);
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
                other => return Err(other.out_of_phase("close").into()),
            },
        };
        Ok(closing.accept(&theirs)?)
    }

    fn summary(&self, finished: Finished, bytes: [u64; 2]) -> Summary {
        let Finished { run_id, folder, output, lists, counts, rows_written } = finished;
        let keys = self.job.input.keys.iter().zip(&counts.lists);
        let lists: Vec<ListSummary> = lists
            .into_iter()
            .zip(keys)
            .map(|(list, (key, counts))| list_summary(list, key, counts))
            .collect();
        Summary {
            run_id,
            peer: self.job.peer.clone(),
            items_ours: lists.iter().map(|list| list.items_ours).sum(),
            items_theirs: lists.iter().map(|list| list.items_theirs).sum(),
            matches: lists.iter().map(|list| list.matches).sum(),
            proved: self.job.policy.proved,
            output,
            run_folder: folder,
            seconds: (self.node.clock().monotonic() - self.started).as_secs_f64(),
            bytes_sent: bytes[0],
            bytes_received: bytes[1],
            cpu_seconds: process::cpu_seconds(),
            peak_rss_bytes: process::peak_rss_bytes(),
            rows_read: counts.read,
            rows_rejected: counts.rejects.total,
            rows_duplicate: lists.iter().map(|list| list.rows_duplicate).sum(),
            rows_written,
            cells_rejected: counts.rejects.cells,
            lists,
            rejects: counts.rejects,
        }
    }
}

/// What a run came to.
struct Finished {
    run_id: String,
    folder: PathBuf,
    output: PathBuf,
    lists: Vec<AttemptList>,
    counts: Counts,
    rows_written: u64,
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
