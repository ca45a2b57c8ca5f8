//! A peer that is stopped in the middle of a run: its machine hangs, but its kernel still acknowledges.

use std::{path::PathBuf, time::Duration};

use nix::sys::signal::Signal;
use psi_tests::chance::Chance;
use tokio::time::{Instant, sleep};

use crate::{
    figures::Figures,
    stage::{Scene, Stage, Who},
};

const ITEMS: u32 = 3000;
/// Two keepalives of 20 s, and some time to notice.
const NAMED_WITHIN: f64 = 50.0;

pub(crate) async fn case(psi: PathBuf, mut chance: Chance) -> Result<Figures, String> {
    let mut stage = Stage::new(psi, Scene::of(ITEMS)).await?;
    let mut figures = Figures::default();
    match freeze(&mut stage, &mut chance, &mut figures).await {
        Ok(()) => Ok(figures),
        Err(reason) => Err(stage.failed(&reason)),
    }
}

async fn freeze(stage: &mut Stage, chance: &mut Chance, figures: &mut Figures) -> Result<(), String> {
    stage.run_to_the_end().await?;
    let bytes = stage.chaos.tally().total();
    let byte = bytes + chance.below(bytes * 8 / 10);
    let run = stage.run()?;
    while stage.chaos.tally().total() < byte {
        sleep(Duration::from_micros(200)).await;
    }
    stage.signal(Who::Server, &run, Signal::SIGSTOP)?;
    let begun = Instant::now();
    let status = Stage::status(run).await?;
    let seconds = begun.elapsed().as_secs_f64();
    if status != 6 || seconds > NAMED_WITHIN {
        return Err(format!("the run ended with {status} after {seconds:.1} s"));
    }
    figures.took("a frozen peer named in", seconds);
    stage.check()?;
    let run = stage.run()?;
    stage.signal(Who::Server, &run, Signal::SIGCONT)?;
    Stage::status(run).await?;
    stage.run_to_the_end().await?;
    figures.count("results", stage.check()?.results);
    Ok(())
}
