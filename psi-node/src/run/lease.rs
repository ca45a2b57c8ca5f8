//! Who may go on: one run of a job at a time, so many runs of a node, and one at a time that charges the ledger.
//!
//! A lease is a lock on a file (`flock`) in `leases/`: it holds across the processes of a home, and ends with its process,
//! however that ends. What stands in the file only tells who holds it (docs/decisions/0021).
//!
//! Both partners may start at the same moment. Then each one's caller holds its own lease, and each one's call meets the
//! other's. The call of the smaller key goes on: the node that it calls claims the job, its own caller lets go, and the
//! session begins with the lease that became free. The other call is refused at once.

use std::{
    fs::{self, File, TryLockError},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::Duration,
};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use psi_core::signature::PublicKey;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::{
    durable,
    fault::{Code, Fault, disk::storage},
    home::{Home, file_name},
    node::Node,
    runs::time,
};

/// How long a call waits for our own caller to let go; a little less than people wait who started both.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often somebody looks who waits: locks tell nobody that they are free.
const LOOK: Duration = Duration::from_millis(20);

/// The right to run a job, as long as it isn't dropped.
#[derive(Debug)]
pub(super) struct Lease {
    file: File,
    holder: Holder,
    /// One of the node's places.
    _place: File,
}

/// Who runs a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// Whether it calls and has not met the peer yet.
    pub calling: bool,
    /// Its run, once there is one.
    pub run: Option<String>,
}

impl Lease {
    /// For a run of ours that will call the peer.
    ///
    /// # Errors
    /// [`Code::Busy`] if somebody runs the job, or as many run as the node may.
    pub(super) fn to_call(node: &Node, job: &str) -> Result<Self, Fault> {
        let (file, path) = open(node.home(), &file_name(job))?;
        match file.try_lock() {
            Ok(()) => Self::held(node, file, true),
            Err(TryLockError::WouldBlock) => Err(busy(node.home(), job)),
            Err(TryLockError::Error(error)) => Err(storage(&path, &error)),
        }
    }

    /// For the call of a peer. If our own run calls at the same moment and the caller's key is the smaller one, ours is
    /// asked to let go.
    ///
    /// # Errors
    /// As [`to_call`](Self::to_call).
    pub(super) async fn to_answer(node: &Node, job: &str, caller: PublicKey) -> Result<Self, Fault> {
        let (file, path) = open(node.home(), &file_name(job))?;
        let yields = caller.as_bytes() < node.identity().public_key().as_bytes();
        let deadline = Instant::now() + PATIENCE;
        let mut claim = None;
        loop {
            match file.try_lock() {
                Ok(()) => return Self::held(node, file, false),
                Err(TryLockError::Error(error)) => return Err(storage(&path, &error)),
                Err(TryLockError::WouldBlock) => {}
            }
            // Who has just begun may not have said so yet.
            let meets_ours = holder(node.home(), job).is_none_or(|holder| holder.calling);
            if !yields || !meets_ours || Instant::now() >= deadline {
                return Err(busy(node.home(), job));
            }
            if claim.is_none() {
                claim = claim_of(node.home(), job)?;
            }
            sleep(LOOK).await;
        }
    }

    fn held(node: &Node, file: File, calling: bool) -> Result<Self, Fault> {
        let place = place(node)?;
        let holder = Holder { pid: std::process::id(), since: node.now(), calling, run: None };
        let lease = Self { file, holder, _place: place };
        lease.tell();
        Ok(lease)
    }

    /// The peer is met: the run has an id, and nobody else's call goes before it any more.
    pub(super) fn met(&mut self, run: &str) {
        self.holder.calling = false;
        self.holder.run = Some(run.to_owned());
        self.tell();
    }

    /// The peer was lost, and is to be called again.
    pub(super) fn calls(&mut self) {
        self.holder.calling = true;
        self.tell();
    }

    /// Only for others to read: a run does not depend on it.
    fn tell(&self) {
        let text = serde_json::to_vec(&self.holder).unwrap_or_default();
        let mut file = &self.file;
        let told =
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(&text));
        if let Err(error) = told {
            tracing::debug!(%error, "the lease doesn't say who holds it");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The next holder is not to be taken for this one.
        let _ = self.file.set_len(0);
    }
}

/// Does what comes before the peer is met, unless the peer's own call is to go first, or all are asked to stop.
///
/// # Errors
/// [`Code::Busy`] for the peer's call.
pub(super) async fn unless_claimed<T>(
    node: &Node,
    job: &str,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let claimed = async {
        while !is_claimed(node.home(), job) {
            sleep(LOOK).await;
        }
        Fault::new(
            Code::Busy,
            format!("job {job:?}: the peer calls for it at this moment, and its call goes first"),
        )
    };
    tokio::select! {
        done = work => done,
        fault = claimed => Err(fault),
        fault = node.conversations().stopped() => Err(fault),
    }
}

/// Who runs that job now, if somebody does and has said so. Trying the lock would keep others from it for a moment.
pub fn holder(home: &Home, job: &str) -> Option<Holder> {
    let text = fs::read(path(home, &file_name(job))).ok()?;
    let holder: Holder = serde_json::from_slice(&text).ok()?;
    let process = Pid::from_raw(i32::try_from(holder.pid).ok()?);
    // A process that was killed had no time to take its name away.
    (kill(process, None) != Err(Errno::ESRCH)).then_some(holder)
}

fn busy(home: &Home, job: &str) -> Fault {
    let who = holder(home, job).map_or_else(String::new, |holder| {
        format!(" by process {} since {}", holder.pid, time(holder.since))
    });
    Fault::new(Code::Busy, format!("job {job:?} is running already{who}"))
}

/// Asks the local caller to let go, as long as the file is open; `None` if another call asks already.
fn claim_of(home: &Home, job: &str) -> Result<Option<File>, Fault> {
    let (file, _) = open(home, &claim_name(job))?;
    Ok(file.try_lock().is_ok().then_some(file))
}

fn is_claimed(home: &Home, job: &str) -> bool {
    open(home, &claim_name(job))
        .is_ok_and(|(file, _)| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn claim_name(job: &str) -> String {
    format!("{}.claim", file_name(job))
}

/// One of the places for runs of this node.
fn place(node: &Node) -> Result<File, Fault> {
    let most = node.config().node.max_runs;
    for number in 0..most {
        let (file, _) = open(node.home(), &format!("place-{number}"))?;
        if file.try_lock().is_ok() {
            return Ok(file);
        }
    }
    Err(Fault::new(Code::Busy, format!("{most} runs are under way, which is all that node.max_runs allows")))
}

/// The right to charge the ledger, as long as the file is open; others have it for milliseconds.
pub(super) fn ledger(node: &Node) -> Result<File, Fault> {
    let (file, path) = open(node.home(), "ledger")?;
    file.lock().map_err(|error| storage(&path, &error))?;
    Ok(file)
}

fn path(home: &Home, name: &str) -> PathBuf {
    home.leases().join(format!("{name}.lock"))
}

fn open(home: &Home, name: &str) -> Result<(File, PathBuf), Fault> {
    let (folder, path) = (home.leases(), path(home, name));
    durable::create_folder(&folder).map_err(|error| storage(&folder, &error))?;
    let file = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
    Ok((file.map_err(|error| storage(&path, &error))?, path))
}
