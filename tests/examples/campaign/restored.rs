//! A node whose folder is yesterday's again. What it finished since then, the peer shows it; a session that it has forgotten is
//! given up by the peer, with an error that names it. The chain of statements goes on from where it really is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use psi_tests::{
    chance::Chance,
    chaos::{Fault, Planned},
};

use crate::{
    figures::Figures,
    stage::{Scene, Stage, Who},
};

const ITEMS: u32 = 300;
/// `PSI-E123` names the restored folder.
const SET_BACK: i32 = 13;

pub(crate) async fn case(psi: PathBuf, mut chance: Chance) -> Result<Figures, String> {
    let mut stage = Stage::new(psi, Scene::of(ITEMS)).await?;
    let mut figures = Figures::default();
    match restored(&mut stage, &mut chance, &mut figures).await {
        Ok(()) => Ok(figures),
        Err(reason) => Err(stage.failed(&reason)),
    }
}

async fn restored(stage: &mut Stage, chance: &mut Chance, figures: &mut Figures) -> Result<(), String> {
    let who = chance.of_these(&[Who::Caller, Who::Server]);
    stage.run_to_the_end().await?;
    let bytes = stage.chaos.tally().total() * 98 / 100;
    let backup = tempfile::tempdir().map_err(|error| error.to_string())?;
    stage.stop_serving().await?;
    copy(stage.place(who).home().state(), backup.path());
    let forgotten = chance.below(4) as usize;
    for _ in 0..forgotten {
        stage.run_to_the_end().await?;
    }
    let cut_short = match forgotten == 0 || chance.below(2) == 0 {
        true => cut(stage, chance.of_these(&[Fault::Fin, Fault::Rst]).at(chance.below(bytes))).await?,
        false => BTreeSet::new(),
    };
    stage.stop_serving().await?;
    restore(stage.place(who).home().state(), backup.path());
    figures.count("folders restored", 1);
    figures.count("finished runs forgotten", forgotten);
    figures.count("unfinished runs forgotten", cut_short.len());
    recover(stage, figures).await?;
    // What both never signed can't come back: that alone stays uncounted.
    let findings = stage.oracle.check(&stage.homes, Some(&stage.tap));
    let signed: Vec<String> =
        [&stage.homes.a, &stage.homes.b].iter().flat_map(|place| place.runs()).map(name).collect();
    let lost = |broken: &String| broken.starts_with("I4") && !signed.iter().any(|run| broken.contains(run));
    let broken: Vec<_> = findings.broken.into_iter().filter(|broken| !lost(broken)).collect();
    if !broken.is_empty() {
        return Err(broken.join("\n"));
    }
    let chains = [&stage.homes.a, &stage.homes.b].map(|place| place.runs().len());
    if chains[0] != chains[1] || chains[0] < forgotten + 2 {
        return Err(format!("the chains are {chains:?} long after {forgotten} forgotten runs"));
    }
    figures.count("results", findings.results);
    Ok(())
}

/// A run that is cut; the sessions that have begun on both sides, and come to nothing now.
async fn cut(stage: &mut Stage, planned: Planned) -> Result<BTreeSet<String>, String> {
    stage.serve().await?;
    stage.chaos.plan(planned);
    let status = Stage::status(stage.run()?).await?;
    if ![0, 6].contains(&status) || stage.chaos.tally().struck != 1 {
        return Err(format!("{planned}: the run ended with {status}"));
    }
    Ok(stage.check()?.unfinished)
}

/// A result within three runs, one of which may say that a folder was set back.
async fn recover(stage: &mut Stage, figures: &mut Figures) -> Result<(), String> {
    let mut statuses = Vec::new();
    while statuses.len() < 3 {
        stage.serve().await?;
        statuses.push(Stage::status(stage.run()?).await?);
        match statuses.last() {
            Some(0) => return Ok(()),
            Some(&SET_BACK) => figures.count("runs that named it", 1),
            _ => {}
        }
    }
    Err(format!("no result; the runs ended with {statuses:?}"))
}

fn name(path: PathBuf) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// All but the list and the results.
fn belongs(path: &Path) -> bool {
    let name = name(path.to_owned());
    name != "list.csv" && !name.starts_with("out")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for from in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).filter(|path| belongs(path)) {
        let to = to.join(from.file_name().unwrap());
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(from, to).unwrap()),
        }
    }
}

/// Yesterday's folder, in which today's results are not.
fn restore(state: &Path, backup: &Path) {
    let kept = |path: &PathBuf| path.file_name().is_some_and(|name| name == "list.csv");
    for path in fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path()).filter(|path| !kept(path)) {
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
    copy(backup, state);
}
