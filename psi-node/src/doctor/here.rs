//! This machine: configuration, keys, disk, processor, ports, lists, outputs, records.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};

use nix::sys::statvfs::statvfs;
use psi_core::suite::SuiteId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Duration, timeout},
};

use super::Findings;
use crate::{
    budget::Budget,
    clock::System,
    config::{Config, Job},
    durable,
    fault::{Code, Fault},
    home::Home,
    identity, input, output,
    runs::{Attempts, Runs},
    seal::SealKey,
};

const MIB: u64 = 1 << 20;
/// A run of ten million items keeps about so much.
const ROOMY: u64 = 2048 * MIB;
/// Below this not even records fit for long.
const TIGHT: u64 = 64 * MIB;

pub(super) fn machine(home: &Home, config: &Config, findings: &mut Findings) {
    let (peers, jobs) = (config.peers.len(), config.jobs.len());
    findings.ok("configuration", format!("{}: peers {peers}, jobs {jobs}", home.config().display()));
    let key = identity::load(&home.identity_key()).map_err(Fault::from);
    findings.take("identity key", key.map(|key| key.public_key().fingerprint().to_string()));
    let seal = SealKey::load(&home.seal_key()).map_err(Fault::from);
    findings.take("sealing key", seal.map(|_| "private".to_owned()));
    exposed(home, findings);
    room("disk", home.state(), findings);
    path(findings);
}

fn exposed(home: &Home, findings: &mut Findings) {
    for folder in [home.state().to_owned(), home.private(), home.runs()] {
        let Ok(metadata) = fs::metadata(&folder) else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let message = format!("{} is open to others: mode {mode:04o}", folder.display());
            findings.warning("folders", message, "`chmod 700` it");
        }
    }
}

fn room(what: &str, folder: &Path, findings: &mut Findings) {
    let place = folder.display();
    let Ok(disk) = statvfs(folder) else {
        return findings.problem(what, Fault::new(Code::Storage, format!("{place}: can't be looked at")));
    };
    let left = disk.blocks_available() * disk.fragment_size();
    let shown = format!("{place}: {} MiB left", left / MIB);
    match left {
        ..TIGHT => findings.problem(what, Fault::new(Code::Storage, shown)),
        TIGHT..ROOMY => findings.warning(what, shown, "make room: large runs keep about 100 bytes an item"),
        _ => findings.ok(what, shown),
    }
    if let Err(error) = tempfile::Builder::new().prefix(".psi-probe-").tempfile_in(folder) {
        findings.problem(what, Fault::new(Code::Storage, format!("{place}: {error}")));
    }
}

fn path(findings: &mut Findings) {
    let name = SuiteId::Ristretto255Sha512.suites().first().map_or("none", |(name, _)| *name);
    match name {
        "portable" => findings.warning(
            "processor",
            "the portable path: several times slower than AVX2 or AVX-512",
            "run on a machine with AVX2 or AVX-512 IFMA, or plan for the time that `psi bench` shows",
        ),
        _ => findings.ok("processor", format!("the {name} path")),
    }
}

pub(super) async fn ports(config: &Config, findings: &mut Findings) {
    if let Some(address) = config.node.listen {
        let what = "listening port";
        match TcpListener::bind(address).await {
            Ok(_) => findings.ok(what, format!("{address} is free: no `psi serve` runs here")),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                findings.ok(what, format!("{address} is taken, as by a `psi serve` that runs"))
            }
            Err(error) => {
                findings.problem(what, Fault::new(Code::Config, format!("node.listen: {address}: {error}")))
            }
        }
    }
    if let Some(address) = config.node.metrics {
        let seen = match TcpListener::bind(address).await {
            Ok(_) => Ok(format!("{address} is free: no `psi serve` runs here")),
            Err(_) if healthy(address).await => Ok(format!("{address} answers")),
            Err(error) => {
                Err(Fault::new(Code::Config, format!("node.metrics: {address}: {error}, and not by a node")))
            }
        };
        findings.take("metrics port", seen);
    }
}

/// Whether a node answers there.
async fn healthy(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: psi\r\n\r\n").await?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer).await.map(|_| answer)
    };
    matches!(timeout(Duration::from_secs(2), asked).await, Ok(Ok(answer)) if answer.ends_with("\r\n\r\nok\n"))
}

pub(super) fn jobs(home: &Home, config: &Config, findings: &mut Findings) {
    let attempts = Attempts::of(home).all();
    findings.take("records", attempts.map(|attempts| counted(attempts.len(), "attempt")));
    for (name, job) in &config.jobs {
        findings.take(format!("job {name}: list"), list(job));
        let date = job.zone().date(System::shared().now());
        let target = output::path(&job.output, name, &date, "{run}");
        let place = output::check(&target).map(|()| target.display().to_string());
        findings.take(format!("job {name}: output"), place.map_err(Fault::from));
        if let Some(rejects) = &job.rejects {
            let target = output::path(rejects, name, &date, "{run}");
            let place = output::check(&target).map(|()| target.display().to_string());
            findings.take(format!("job {name}: rejects"), place.map_err(Fault::from));
        }
        let folder = durable::parent(&target);
        if folder.is_dir() {
            room(&format!("job {name}: output's disk"), folder, findings);
        }
        findings.take(format!("job {name}: chain"), chain(home, config, name, job));
    }
    for peer in config.peers.keys() {
        spent(home, config, peer, findings);
    }
}

/// The list can be opened, and its heading has the columns.
fn list(job: &Job) -> Result<String, Fault> {
    let spec = job.input.spec();
    if spec.is_standard_input() {
        return Ok("standard input".to_owned());
    }
    input::open(&spec, None)?;
    Ok(spec.path.display().to_string())
}

fn chain(home: &Home, config: &Config, name: &str, job: &Job) -> Result<String, Fault> {
    let us = identity::load(&home.identity_key())?.public_key();
    let chain = Runs::of(home).chain(us, config.peer(&job.peer)?.key, name)?;
    Ok(counted(chain.len(), "statement"))
}

fn counted(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

fn spent(home: &Home, config: &Config, peer: &str, findings: &mut Findings) {
    let Ok(budget) = Budget::load(home, config, peer, System::shared().now()) else { return };
    for today in budget.jobs.iter().filter(|today| today.runs >= today.max_runs) {
        let message = format!("{} of {} runs are used up on {}", today.runs, today.max_runs, today.date);
        let remedy = "wait until tomorrow, or agree with the partner on more";
        findings.warning(format!("job {}: policy", today.job), message, remedy);
    }
    for standing in budget.profiles.iter().filter(|standing| standing.left == Some(0)) {
        let message = format!("nothing of {} is left within the year for {peer}", standing.profile);
        findings.warning(format!("peer {peer}: budget"), message, "see `psi budget show`");
    }
}
