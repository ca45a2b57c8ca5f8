//! Two nodes as real processes, with everything between and around them in the campaign's hands.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use psi_tests::{
    chaos::{Chaos, Line},
    nodes::{Homes, JOB, Place, Ports, numbered},
    oracle::{Findings, Oracle},
    tap::Tap,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Longer than anything takes here; only so that a campaign ends if a process hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a caller may try again by itself.
const RETRY: [i32; 3] = [6, 11, 12];

/// Both homes, the way between them, and the called side's process.
pub(crate) struct Stage {
    pub(crate) homes: Homes,
    pub(crate) oracle: Oracle,
    pub(crate) chaos: Chaos,
    pub(crate) tap: Tap,
    psi: PathBuf,
    server: Option<Child>,
}

/// Either node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Caller,
    Server,
}

impl Stage {
    /// Lists of so many items, a third of them shared; `b` serves already.
    pub(crate) async fn new(psi: PathBuf, items: u32) -> Result<Self, String> {
        let shared = items / 3;
        let ours = numbered("agent", 0..items);
        let theirs = numbered("agent", items - shared..2 * items - shared);
        let mut homes = Homes::with_lists(&ours, &theirs);
        for place in [&mut homes.a, &mut homes.b] {
            place.output_name = "out-{run}.csv".to_owned();
            place.policy("max_runs_per_day", 1_000_000);
        }
        let listens = free_port().map_err(|error| error.to_string())?;
        let tap = Tap::start(&homes.a, &homes.b, listens, Default::default()).await;
        let chaos =
            Chaos::start(tap.address(), <[Line; 2]>::default()).await.map_err(|error| error.to_string())?;
        homes.configure([
            Ports { listens: None, calls: Some(chaos.address()) },
            Ports { listens: Some(listens), calls: None },
        ]);
        let oracle = Oracle::new(&homes);
        let mut stage = Self { homes, oracle, chaos, tap, psi, server: None };
        stage.serve().await?;
        Ok(stage)
    }

    fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        let log = File::options().create(true).append(true).open(place.list().with_file_name("log")).unwrap();
        let mut command = Command::new(&self.psi);
        command.arg("--home").arg(place.home().state()).args(["--log", "info"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        command
    }

    /// Starts `b`, unless it runs.
    pub(crate) async fn serve(&mut self) -> Result<(), String> {
        if self.server.is_some() {
            return Ok(());
        }
        let mut command = self.command(&self.homes.b, &["serve"]);
        let mut server = command.stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let stdout = server.stdout.take().ok_or("no stdout")?;
        let mut line = String::new();
        let read = timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line)).await;
        read.map_err(|_| "the server did not start")?.map_err(|error| error.to_string())?;
        if !line.starts_with("listening on ") {
            return Err(format!("the server said {line:?}"));
        }
        self.server = Some(server);
        Ok(())
    }

    /// Starts a run of `a`.
    pub(crate) fn run(&self) -> Result<Child, String> {
        self.command(&self.homes.a, &["run", JOB, "--json"]).spawn().map_err(|error| error.to_string())
    }

    /// The exit status of a run that goes on until it ends by itself.
    pub(crate) async fn status(mut run: Child) -> Result<i32, String> {
        let ended = timeout(PATIENCE, run.wait()).await.map_err(|_| "the run hangs")?;
        let status = ended.map_err(|error| error.to_string())?;
        status.code().ok_or_else(|| format!("the run ended with {status}"))
    }

    /// Sends a signal to either process.
    pub(crate) fn signal(&self, who: Who, run: &Child, signal: Signal) -> Result<(), String> {
        let child = match who {
            Who::Caller => Some(run),
            Who::Server => self.server.as_ref(),
        };
        let id = child.and_then(Child::id).ok_or("there is no process to signal")?;
        kill(Pid::from_raw(id as i32), signal).map_err(|error| error.to_string())
    }

    /// Kills either process, and waits until it is gone.
    pub(crate) async fn kill(&mut self, who: Who, run: &mut Child) -> Result<(), String> {
        let killed = match who {
            Who::Caller => run.kill().await,
            Who::Server => match self.server.take() {
                Some(mut server) => server.kill().await,
                None => Ok(()),
            },
        };
        killed.map_err(|error| error.to_string())
    }

    /// Runs until there is a result; how many runs it took.
    pub(crate) async fn run_to_the_end(&mut self) -> Result<usize, String> {
        for runs in 1..=100 {
            self.serve().await?;
            match Self::status(self.run()?).await? {
                0 => return Ok(runs),
                status if RETRY.contains(&status) => tokio::time::sleep(Duration::from_millis(100)).await,
                status => return Err(format!("run {runs} after the fault ended with {status}")),
            }
        }
        Err("a hundred runs, and no result".to_owned())
    }

    /// The oracle's findings; what is broken is an error.
    pub(crate) fn check(&self) -> Result<Findings, String> {
        let findings = self.oracle.check(&self.homes, Some(&self.tap));
        if findings.broken.is_empty() { Ok(findings) } else { Err(findings.broken.join("\n")) }
    }

    /// Leaves the folders of a case that failed, and says where.
    pub(crate) fn failed(self, reason: &str) -> String {
        format!("{reason}\nfolders: {}", self.homes.keep().display())
    }
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
