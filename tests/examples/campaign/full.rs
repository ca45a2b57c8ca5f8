//! A disk that is full: a run on a file system that has only so many pages left, from none to as many as a run takes.
//!
//! Needs a small file system of its own, which only root can mount.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{sys::statvfs::statvfs, unistd::geteuid};
use psi_node::runs::{Attempts, State};
use psi_tests::{chance::Chance, nodes::Place};

use crate::{
    figures::Figures,
    stage::{Scene, Stage, Who},
};

const ITEMS: u32 = 600;
const PAGE: u64 = 4096;
/// Enough for all the runs of a case.
const LARGE: u64 = 64 << 20;
/// More than a run takes.
const MOST_PAGES: u64 = 400;

pub(crate) async fn case(psi: PathBuf, mut chance: Chance) -> Result<Figures, String> {
    let mut figures = Figures::default();
    if !geteuid().is_root() {
        eprintln!("disk-full: NOT RUN: only root can mount a small file system");
        figures.count("cases NOT RUN without root", 1);
        return Ok(figures);
    }
    let scene = Scene { items: ITEMS, two_lists: chance.below(2) == 0, retry_minutes: 0 };
    for who in [Who::Caller, Who::Server] {
        let mut stage = Stage::new(psi.clone(), scene).await?;
        let disk = Disk::under(stage.place(who))?;
        // What was open before is on the file system beneath.
        stage.stop_serving().await?;
        if let Err(reason) = fill(&mut stage, who, &disk, &mut chance, &mut figures).await {
            return Err(stage.failed(&reason));
        }
        stage.stop_serving().await?;
    }
    Ok(figures)
}

async fn fill(
    stage: &mut Stage,
    who: Who,
    disk: &Disk,
    chance: &mut Chance,
    figures: &mut Figures,
) -> Result<(), String> {
    stage.run_to_the_end().await?;
    let mut pages = 0;
    while !with_pages(stage, who, disk, pages, figures).await? {
        pages += 1 + chance.below(2);
        if pages > MOST_PAGES {
            return Err("the disk was never large enough".to_owned());
        }
    }
    let findings = stage.check()?;
    figures.count("results", findings.results);
    figures.count("charged", findings.charged);
    Ok(())
}

/// A run with so many free pages, and one with enough of them; whether the first one had enough already.
async fn with_pages(
    stage: &mut Stage,
    who: Who,
    disk: &Disk,
    pages: u64,
    figures: &mut Figures,
) -> Result<bool, String> {
    stage.serve().await?;
    disk.leave(pages)?;
    let status = Stage::status(stage.run()?).await?;
    if status == 0 {
        disk.leave(LARGE / PAGE)?;
        stage.run_to_the_end().await?;
        return Ok(true);
    }
    let expected: &[i32] = match who {
        Who::Caller => &[12],
        // A peer learns only that the run has ended, and may go on.
        Who::Server => &[6],
    };
    if !expected.contains(&status) {
        return Err(format!("{pages} pages free at the {who:?}: the run ended with {status}"));
    }
    figures.count("full disks", 1);
    stage.check()?;
    if let Some(litter) = litter(stage.place(who))? {
        return Err(format!("{pages} pages free at the {who:?}: {} was left behind", litter.display()));
    }
    disk.leave(LARGE / PAGE)?;
    stage.run_to_the_end().await?;
    Ok(false)
}

/// Something that no finished run and no run that can go on needs.
fn litter(place: &Place) -> Result<Option<PathBuf>, String> {
    let home = place.home();
    let attempts = Attempts::of(&home).all().map_err(|fault| fault.to_string())?;
    let keeps = |name: &str, states: &[State]| {
        attempts.iter().any(|attempt| name.contains(&attempt.run_id) && states.contains(&attempt.state))
    };
    let open = [State::Agreed, State::Committed, State::Closing];
    let private = [State::Unconfirmed, State::Complete].into_iter().chain(open).collect::<Vec<_>>();
    let is_litter = |folder: &Path, name: &str| match folder.ends_with("private") {
        true => !keeps(name, &private),
        false => name.starts_with('.') && !keeps(name, &open),
    };
    let folders = [home.state().to_owned(), home.private(), home.runs(), home.attempts()];
    for folder in folders {
        for entry in fs::read_dir(&folder).map_err(|error| error.to_string())?.flatten() {
            if is_litter(&folder, &entry.file_name().to_string_lossy()) {
                return Ok(Some(entry.path()));
            }
        }
    }
    Ok(None)
}

/// A small file system in the place of a node's folder.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    fn under(place: &Place) -> Result<Self, String> {
        let folder = place.home().state().to_owned();
        let beneath = folder.with_extension("beneath");
        run("cp", &["-a", &text(&folder), &text(&beneath)])?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={LARGE}"), "tmpfs", &text(&folder)])?;
        let disk = Self { folder: folder.clone() };
        run("cp", &["-a", &format!("{}/.", text(&beneath)), &text(&folder)])?;
        Ok(disk)
    }

    /// Leaves so many pages free.
    fn leave(&self, pages: u64) -> Result<(), String> {
        let disk = statvfs(&self.folder).map_err(|error| error.to_string())?;
        let used = (disk.blocks() - disk.blocks_free()) * disk.fragment_size();
        let size = format!("remount,size={}", used + pages * PAGE);
        run("mount", &["-o", &size, &text(&self.folder)])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, so that a server that still runs does not keep it.
        let _ = run("umount", &["-l", &text(&self.folder)]);
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let ended =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr))),
    }
}
