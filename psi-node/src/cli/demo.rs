//! `psi demo`: a whole exchange on one machine, by the very commands that two institutions would give.
//!
//! Two nodes with keys and folders of their own, paired as usual; one serves and one runs, each in a process of its own,
//! over mutual TLS on loopback. Then the results are compared with the plaintext intersection, which only a demonstration
//! can do, and the record is verified.

mod lists;

use std::{
    env,
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use clap::Parser;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use psi_node::{
    durable,
    fault::{Code, Fault},
    home::Home,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use self::lists::Lists;
use super::{Cli, peer, print, process};

const JOB: &str = "sample";
/// Far longer than a node takes to start or stop; only so that the demonstration ends if one hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Exchange two made-up lists of N numbers each, half of them shared, instead of the samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=lists::MAX_ITEMS))]
    items: Option<u64>,
    /// Keep everything in this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Args {
    pub(super) fn execute(&self) -> Result<(), Fault> {
        process::block_on(process::unless_signalled(self.demonstrate()))
    }

    async fn demonstrate(&self) -> Result<(), Fault> {
        let (folder, temporary) = self.folder()?;
        // From within, the commands that are shown are short.
        env::set_current_dir(&folder).map_err(|error| storage(&folder, &error))?;
        print::err(&format!("In {}:\n", folder.display()));
        let lists = self.items.map_or_else(Lists::samples, Lists::made_up);
        let [a, b] = Side::pair()?;
        a.write_list(|file| lists.write_a(file))?;
        b.write_list(|file| lists.write_b(file))?;
        set_up(&a, &b)?;
        let status = exchange(&a, &b).await?;
        self.explain(status)?;
        compare(&a, &b).await?;
        verify(&a)?;
        print::err(&match temporary {
            Some(_) => "\nThe folder of the demonstration is removed now; --keep DIR keeps it.\n".to_owned(),
            None => format!("\nEverything is in {}.\n", folder.display()),
        });
        Ok(())
    }

    fn folder(&self) -> Result<(PathBuf, Option<tempfile::TempDir>), Fault> {
        let Some(folder) = &self.keep else {
            let temporary = tempfile::Builder::new()
                .prefix("psi-demo-")
                .tempdir()
                .map_err(|error| storage(&env::temp_dir(), &error))?;
            return Ok((temporary.path().to_owned(), Some(temporary)));
        };
        durable::create_folder(folder).map_err(|error| storage(folder, &error))?;
        let folder = fs::canonicalize(folder).map_err(|error| storage(folder, &error))?;
        match fs::read_dir(&folder).map_err(|error| storage(&folder, &error))?.next() {
            None => Ok((folder, None)),
            Some(_) => {
                Err(Fault::new(Code::Exists, format!("{}: expected a new or empty folder", folder.display())))
            }
        }
    }

    /// Exit status 3 is part of the demonstration where the samples have a bad row.
    fn explain(&self, status: ExitStatus) -> Result<(), Fault> {
        match (status.code(), self.items) {
            (Some(0), _) => Ok(()),
            (Some(3), None) => {
                print::err(
                    "\nEach sample has one bad row on purpose. It was left out and reported, which is why `psi run` ended \
                     with exit status 3.\n",
                );
                Ok(())
            }
            _ => Err(Fault::new(Code::Unexpected, format!("`psi run` ended with {status}"))),
        }
    }
}

/// One of the two institutions.
struct Side {
    name: &'static str,
    folder: PathBuf,
    listen: SocketAddr,
}

impl Side {
    /// Both, with free ports; they are taken together, so that they differ.
    fn pair() -> Result<[Self; 2], Fault> {
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|socket| Ok((socket.local_addr()?, socket)));
        let ports = free().and_then(|a| Ok([a, free()?]));
        let ports = ports.map_err(|error| Fault::new(Code::Unexpected, format!("loopback: {error}")))?;
        let [(a, _a), (b, _b)] = ports;
        let side = |name: &'static str, listen| Self { name, folder: name.into(), listen };
        let sides = [side("bank-a", a), side("bank-b", b)];
        for side in &sides {
            durable::create_folder(&side.folder).map_err(|error| storage(&side.folder, &error))?;
        }
        Ok(sides)
    }

    fn home(&self) -> Home {
        Home::at(self.home_folder())
    }

    fn home_folder(&self) -> PathBuf {
        self.folder.join("home")
    }

    fn list(&self) -> PathBuf {
        self.folder.join("list.csv")
    }

    fn result(&self) -> PathBuf {
        self.folder.join("result.csv")
    }

    fn introduction(&self) -> PathBuf {
        self.folder.join(format!("{}.psi-peer", self.name))
    }

    fn write_list(&self, write: impl FnOnce(File) -> io::Result<()>) -> Result<(), Fault> {
        File::create_new(self.list()).and_then(write).map_err(|error| storage(&self.list(), &error))
    }

    /// The arguments of a command for this node.
    fn line<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let home = ["--home".to_owned(), text(&self.home_folder())];
        home.into_iter().chain(arguments.into_iter().map(str::to_owned)).collect()
    }
}

fn set_up(a: &Side, b: &Side) -> Result<(), Fault> {
    heading("Each institution creates its node");
    for side in [a, b] {
        let (listen, endpoint) = (side.listen.to_string(), format!("https://{}", side.listen));
        give(&side.line(["init", "--name", side.name, "--listen", &listen, "--endpoint", &endpoint]))?;
    }
    heading("They swap introductions, and compare the digits over the phone");
    for side in [a, b] {
        export(side)?;
    }
    for (side, other) in [(a, b), (b, a)] {
        let digits = peer::introduction(&other.home())?.key.fingerprint().to_string();
        give(&side.line(["peer", "add", &text(&other.introduction()), "--confirm", &digits]))?;
    }
    heading("Both agree to the exchange, under one name");
    for (side, other) in [(a, b), (b, a)] {
        let (list, result) = (text(&side.list()), text(&side.result()));
        let what = ["job", "add", JOB, "--peer", other.name, "--input", &list, "--column", lists::COLUMN];
        let how = ["--profile", lists::PROFILE, "--output", &result];
        give(&side.line(what.into_iter().chain(how)))?;
    }
    Ok(())
}

/// Shows a command and carries it out.
fn give(arguments: &[String]) -> Result<(), Fault> {
    show(arguments, "");
    let line = ["psi".to_owned()].into_iter().chain(arguments.iter().cloned());
    let Cli { global, command } =
        Cli::try_parse_from(line).map_err(|error| Fault::new(Code::Usage, error.to_string()))?;
    command.execute(&global)
}

fn export(side: &Side) -> Result<(), Fault> {
    let path = side.introduction();
    show(&side.line(["peer", "export"]), &format!(" > {}", print::quoted(&path)));
    let introduction = peer::introduction(&side.home())?.to_text();
    fs::write(&path, introduction).map_err(|error| storage(&path, &error))
}

/// One node serves, the other runs. However this ends, no process stays behind.
async fn exchange(a: &Side, b: &Side) -> Result<ExitStatus, Fault> {
    heading("One node answers, the other calls it");
    let mut serving = serve(b).await?;
    let arguments = a.line(["run", JOB]);
    show(&arguments, "");
    let status = program(&arguments)?.status().await.map_err(|error| unexpected("psi run", &error))?;
    stop(&mut serving).await?;
    Ok(status)
}

async fn serve(side: &Side) -> Result<Child, Fault> {
    let arguments = side.line(["serve"]);
    show(&arguments, " &");
    let mut command = program(&arguments)?;
    if env::var_os("PSI_LOG").is_none() {
        command.env("PSI_LOG", "warn");
    }
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| unexpected("psi serve", &error))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let line = timeout(PATIENCE, BufReader::new(stdout).lines().next_line()).await;
    match line {
        Ok(Ok(Some(line))) if line.starts_with("listening on ") => {
            print::err(&format!("{line}\n"));
            Ok(child)
        }
        _ => Err(Fault::new(Code::Unexpected, "`psi serve` did not start to listen")),
    }
}

/// Asks it to stop, which lets it finish what it is at.
async fn stop(serving: &mut Child) -> Result<(), Fault> {
    if let Some(id) = serving.id().and_then(|id| i32::try_from(id).ok()) {
        kill(Pid::from_raw(id), Signal::SIGTERM).map_err(|error| unexpected("psi serve", &error.into()))?;
    }
    match timeout(PATIENCE, serving.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Fault::new(Code::Unexpected, format!("`psi serve` ended with {status}"))),
        Ok(Err(error)) => Err(unexpected("psi serve", &error)),
        Err(_) => Err(Fault::new(Code::Unexpected, "`psi serve` did not stop")),
    }
}

fn program(arguments: &[String]) -> Result<Command, Fault> {
    let mut command = Command::new(env::current_exe().map_err(|error| unexpected("psi", &error))?);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

async fn compare(a: &Side, b: &Side) -> Result<(), Fault> {
    heading("Since both lists are here, the results can be compared with them");
    let files = [a, b].map(|side| (side.list(), side.result()));
    let compared = tokio::task::spawn_blocking(move || lists::compare(&files)).await;
    let shared = compared.map_err(|error| Fault::new(Code::Unexpected, error.to_string()))??;
    print::err(&format!(
        "Both results hold exactly the rows of the {} that the two lists share.\n",
        print::count(shared, "number", "numbers")
    ));
    Ok(())
}

/// The record of the caller's run, the only one in its folder.
fn verify(side: &Side) -> Result<(), Fault> {
    heading("Anybody who has the record and both keys can check it, without the lists");
    let runs = side.home().runs();
    let run = fs::read_dir(&runs)
        .and_then(|mut runs| runs.next().transpose())
        .map_err(|error| storage(&runs, &error))?;
    let run = run.ok_or_else(|| Fault::new(Code::State, format!("{}: no run", runs.display())))?;
    give(&side.line(["verify", &text(&run.path())]))
}

fn heading(heading: &str) {
    print::err(&format!("\n# {heading}\n"));
}

fn show(arguments: &[String], rest: &str) {
    let arguments: Vec<_> = arguments.iter().map(|argument| print::quoted(Path::new(argument))).collect();
    print::err(&format!("$ psi {}{rest}\n", arguments.join(" ")));
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn storage(path: &Path, error: &io::Error) -> Fault {
    Fault::new(Code::Storage, format!("{}: {error}", path.display()))
}

fn unexpected(what: &str, error: &io::Error) -> Fault {
    Fault::new(Code::Unexpected, format!("{what}: {error}"))
}
