//! Two nodes as real processes, with everything between and around them in the campaign's hands.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use psi_tests::{
    chance::Chance,
    chaos::{Chaos, Line},
    nodes::{Homes, JOB, Place, Ports, numbered},
    oracle::{Findings, Oracle},
    tap::Tap,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Longer than anything takes here; only so that a campaign ends if a process hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a caller may try again by itself.
const RETRY: [i32; 3] = [6, 11, 12];
/// How often somebody looks who waits for another process.
const LOOK: Duration = Duration::from_micros(500);

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

/// What the jobs are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// Items of each side's list; a third of them are shared.
    pub(crate) items: u32,
    /// Whether two types of identifiers are compared.
    pub(crate) two_lists: bool,
    /// For how long the caller tries to go on by itself.
    pub(crate) retry_minutes: u32,
}

impl Scene {
    /// One list, and a caller that leaves going on to the next run.
    pub(crate) fn of(items: u32) -> Self {
        Self { items, two_lists: false, retry_minutes: 0 }
    }

    /// Any scene with as many items as one of these.
    pub(crate) fn by(chance: &mut Chance, items: &[u32]) -> Self {
        let items = chance.of_these(items);
        Self { items, two_lists: chance.below(3) == 0, retry_minutes: chance.below(2) as u32 }
    }

    fn homes(self) -> Homes {
        let Self { items, two_lists, retry_minutes } = self;
        let mut homes = Homes::new();
        let theirs = items - items / 3;
        for (place, start) in [(&mut homes.a, 0), (&mut homes.b, theirs)] {
            let range = start..start + items;
            match two_lists {
                true => place.write_two_lists(range),
                false => place.write_list(numbered("agent", range)),
            }
            place.output_name = "out-{run}.csv".to_owned();
            place.policy("max_runs_per_day", 1_000_000);
            place.retry_minutes = retry_minutes;
        }
        homes
    }
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) status: i32,
    /// When both sides went on with a session, if they did.
    pub(crate) resumed: Option<Instant>,
}

/// How the nodes came to the result.
pub(crate) struct Recovered {
    pub(crate) runs: usize,
    /// Seconds from the start of the run that went on until both sides did.
    pub(crate) resumed: Option<f64>,
}

impl Stage {
    /// Two nodes for that scene; `b` serves already.
    pub(crate) async fn new(psi: PathBuf, scene: Scene) -> Result<Self, String> {
        let homes = scene.homes();
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

    pub(crate) fn place(&self, who: Who) -> &Place {
        match who {
            Who::Caller => &self.homes.a,
            Who::Server => &self.homes.b,
        }
    }

    /// Starts `b`, unless it runs.
    pub(crate) async fn serve(&mut self) -> Result<(), String> {
        if self.server.is_none() {
            self.server = Some(serve(command(&self.psi, &self.homes.b, &["serve"])).await?);
        }
        Ok(())
    }

    /// Ends `b` with SIGKILL, if it runs.
    pub(crate) async fn stop_serving(&mut self) -> Result<(), String> {
        match self.server.take() {
            Some(mut server) => server.kill().await.map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    /// Starts a run of `a`.
    pub(crate) fn run(&self) -> Result<Child, String> {
        let mut run = command(&self.psi, &self.homes.a, &["run", JOB, "--json"]);
        run.spawn().map_err(|error| error.to_string())
    }

    /// The program, so that something else can start it.
    pub(crate) fn psi(&self) -> &Path {
        &self.psi
    }

    /// The exit status of a run that goes on until it ends by itself.
    pub(crate) async fn status(mut run: Child) -> Result<i32, String> {
        let ended = timeout(PATIENCE, run.wait()).await.map_err(|_| "the run hangs")?;
        let status = ended.map_err(|error| error.to_string())?;
        status.code().ok_or_else(|| format!("the run ended with {status}"))
    }

    /// The same, with an eye on whether both sides go on with a session.
    pub(crate) async fn watched(&self, run: Child) -> Result<Ended, String> {
        let before = self.tap.heard().resumed;
        let mut resumed = None;
        let watching = async {
            while self.tap.heard().resumed == before {
                sleep(LOOK).await;
            }
            resumed = Some(Instant::now());
            std::future::pending().await
        };
        let status = tokio::select! {
            status = Self::status(run) => status?,
            () = watching => 1,
        };
        Ok(Ended { status, resumed })
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
        match who {
            Who::Caller => run.kill().await.map_err(|error| error.to_string()),
            Who::Server => self.stop_serving().await,
        }
    }

    /// Runs until there is a result: of every session that had begun on both sides, and of no other instead.
    pub(crate) async fn run_to_the_end(&mut self) -> Result<Recovered, String> {
        let mut resumed = None;
        for runs in 1..=100 {
            self.serve().await?;
            let begun = Instant::now();
            let ended = self.watched(self.run()?).await?;
            resumed = resumed.or(ended.resumed.map(|moment| (moment - begun).as_secs_f64()));
            match ended.status {
                0 => return self.came_to_results().map(|()| Recovered { runs, resumed }),
                status if RETRY.contains(&status) => sleep(Duration::from_millis(100)).await,
                status => return Err(format!("run {runs} after the fault ended with {status}")),
            }
        }
        Err("a hundred runs, and no result".to_owned())
    }

    /// A session that both sides have paid for has come to its result.
    fn came_to_results(&self) -> Result<(), String> {
        let unfinished = self.check()?.unfinished;
        match unfinished.is_empty() {
            true => Ok(()),
            false => Err(format!("a second disclosure: no result came of {unfinished:?}")),
        }
    }

    /// The oracle's findings; what is broken is an error.
    pub(crate) fn check(&self) -> Result<Findings, String> {
        check(&self.oracle, &self.homes, Some(&self.tap))
    }

    /// Leaves the folders of a case that failed, and says where.
    pub(crate) fn failed(self, reason: &str) -> String {
        format!("{reason}\nfolders: {}", self.homes.keep().display())
    }
}

/// The oracle's findings; what is broken is an error.
pub(crate) fn check(oracle: &Oracle, homes: &Homes, tap: Option<&Tap>) -> Result<Findings, String> {
    let findings = oracle.check(homes, tap);
    if findings.broken.is_empty() { Ok(findings) } else { Err(findings.broken.join("\n")) }
}

/// A command of that node's, which logs beside the node's folder.
pub(crate) fn command(psi: &Path, place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(psi);
    command.args(global(place)).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log(place)).kill_on_drop(true);
    command
}

/// What every command of that node's begins with.
pub(crate) fn global(place: &Place) -> [String; 4] {
    ["--home".to_owned(), place.home().state().display().to_string(), "--log".to_owned(), "info".to_owned()]
}

/// Where a node logs: not in its own folder, whose disk may be full.
pub(crate) fn log(place: &Place) -> File {
    let path = place.home().state().with_extension("log");
    File::options().create(true).append(true).open(path).unwrap()
}

/// Starts a node that serves.
pub(crate) async fn serve(mut command: Command) -> Result<Child, String> {
    let mut server = command.stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    listening(server.stdout.take().ok_or("no stdout")?).await?;
    Ok(server)
}

/// Waits until a node that serves says so.
pub(crate) async fn listening(stdout: impl tokio::io::AsyncRead + Unpin) -> Result<(), String> {
    let mut line = String::new();
    let read = timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line)).await;
    read.map_err(|_| "the server did not start")?.map_err(|error| error.to_string())?;
    match line.starts_with("listening on ") {
        true => Ok(()),
        false => Err(format!("the server said {line:?}")),
    }
}

pub(crate) fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
