//! Every change that a node makes to its files, in a run of its own: it fails; it is done, but said to have failed; the disk
//! is full from there on; the process is killed before it. The program is the one that ships, the kernel tells it lies
//! (psi-tests' tracer).

use std::{path::PathBuf, process::Stdio};

use nix::errno::Errno;
use psi_tests::{
    chance::Chance,
    nodes::JOB,
    tracer::{self, Ended, Form, Planned, Traced},
};

use crate::{
    figures::Figures,
    stage::{self, Scene, Stage, Who},
};

const ITEMS: u32 = 60;
const FORMS: [Form; 4] = [Form::Failed, Form::Done, Form::Full, Form::Killed];
/// Changes that one case goes through: every case begins where the one before ended.
pub(crate) const STRIDE: u64 = 10;

/// Every form at every `STRIDE`th change of either side, from the number of the case on; other errors by another seed.
pub(crate) async fn case(psi: PathBuf, mut chance: Chance, number: u64) -> Result<Figures, String> {
    let mut figures = Figures::default();
    for who in [Who::Caller, Who::Server] {
        let two_lists = chance.below(2) == 0;
        let mut stage = Stage::new(psi.clone(), Scene { two_lists, ..Scene::of(ITEMS) }).await?;
        if let Err(reason) = changes(&mut stage, who, number % STRIDE, &mut chance, &mut figures).await {
            return Err(stage.failed(&format!("{who:?}: {reason}")));
        }
        stage.stop_serving().await?;
    }
    Ok(figures)
}

async fn changes(
    stage: &mut Stage,
    who: Who,
    first: u64,
    chance: &mut Chance,
    figures: &mut Figures,
) -> Result<(), String> {
    stage.run_to_the_end().await?;
    let mut changes = u64::MAX;
    for form in FORMS {
        let mut number = first;
        while number < changes {
            let errno = match form {
                Form::Full => Errno::ENOSPC,
                _ => chance.of_these(&[Errno::EIO, Errno::ENOSPC, Errno::EDQUOT]),
            };
            let planned = Planned { number, form, errno };
            let ended =
                strike(stage, who, planned).await.map_err(|reason| format!("{planned:?}: {reason}"))?;
            let Some(struck) = ended.struck else {
                // The run makes fewer changes than that.
                changes = number;
                break;
            };
            figures.count(name(form), 1);
            let recovered = async {
                stage.check()?;
                stage.run_to_the_end().await
            };
            recovered.await.map_err(|reason| format!("{planned:?}, {struck}: {reason}"))?;
            number += STRIDE;
        }
    }
    let findings = stage.check()?;
    figures.count("results", findings.results);
    figures.count("charged", findings.charged);
    Ok(())
}

/// A run in which one side's change of that number fails; the error has to be one of those that say so.
async fn strike(stage: &mut Stage, who: Who, planned: Planned) -> Result<Ended, String> {
    let (status, ended) = match who {
        Who::Caller => caller(stage, planned).await?,
        Who::Server => server(stage, planned).await?,
    };
    let expected: &[i32] = match (who, planned.form) {
        (Who::Caller, Form::Killed) => &[KILLED],
        (Who::Caller, _) => &[0, 5, 12],
        (Who::Server, _) => &[0, 6],
    };
    match ended.struck.is_none() || expected.contains(&status) {
        true => Ok(ended),
        false => Err(format!("{}: the run ended with {status}", ended.struck.unwrap_or_default())),
    }
}

const KILLED: i32 = -9;

async fn caller(stage: &mut Stage, planned: Planned) -> Result<(i32, Ended), String> {
    stage.serve().await?;
    let traced = start(stage, Who::Caller, &["run", JOB, "--json"], planned)?;
    let ended = wait(traced).await?;
    Ok((ended.status.unwrap_or_else(|signal| -(signal as i32)), ended))
}

/// The server is traced from its start, and is another one afterwards.
async fn server(stage: &mut Stage, planned: Planned) -> Result<(i32, Ended), String> {
    stage.stop_serving().await?;
    let mut traced = start(stage, Who::Server, &["serve"], planned)?;
    let stdout = traced.stdout.take().ok_or("no stdout")?;
    let stdout = tokio::process::ChildStdout::from_std(stdout).map_err(|error| error.to_string())?;
    // One that could not even start says so by its end.
    let status = match stage::listening(stdout).await {
        Ok(()) => Stage::status(stage.run()?).await?,
        Err(_) => 6,
    };
    traced.kill();
    Ok((status, wait(traced).await?))
}

fn start(stage: &Stage, who: Who, arguments: &[&str], planned: Planned) -> Result<Traced, String> {
    let place = stage.place(who);
    let mut command = tracer::command(stage.psi());
    command.args(stage::global(place)).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stage::log(place));
    Traced::start(command, place.home().state(), Some(planned)).map_err(|error| error.to_string())
}

async fn wait(traced: Traced) -> Result<Ended, String> {
    let ended =
        tokio::task::spawn_blocking(move || traced.wait()).await.map_err(|error| error.to_string())?;
    ended.map_err(|error| error.to_string())
}

fn name(form: Form) -> &'static str {
    match form {
        Form::Failed => "changes that failed",
        Form::Done => "changes done but said to have failed",
        Form::Full => "disks full from a change on",
        Form::Killed => "kills before a change",
    }
}
