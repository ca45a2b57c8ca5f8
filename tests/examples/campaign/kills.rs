//! SIGKILL of either side at random points.
//!
//! A point is a byte of the traffic between the two and a few milliseconds after it, so that the seed repeats it as well as
//! anything can that a scheduler has a say in. Runs are killed again and again; now and then one may come to its end.

use std::{path::PathBuf, time::Duration};

use psi_tests::chance::Chance;
use tokio::time::{Instant, sleep};

use crate::{
    figures::Figures,
    stage::{Scene, Stage, Who},
};

const KILLS: usize = 20;
const ITEMS: [u32; 3] = [150, 600, 3000];
/// Of the killed side, until both go on.
const RESUMED: &str = "from restart to resumed";

pub(crate) async fn case(psi: PathBuf, mut chance: Chance) -> Result<Figures, String> {
    let mut stage = Stage::new(psi, Scene::by(&mut chance, &ITEMS)).await?;
    let mut figures = Figures::default();
    match kills(&mut stage, &mut chance, &mut figures).await {
        Ok(()) => Ok(figures),
        Err(reason) => Err(stage.failed(&reason)),
    }
}

async fn kills(stage: &mut Stage, chance: &mut Chance, figures: &mut Figures) -> Result<(), String> {
    let bytes = clean_run(stage).await?;
    let mut kills = 0;
    while kills < KILLS {
        if !kill(stage, chance, bytes, figures).await? {
            // The run was over before its point came.
            continue;
        }
        kills += 1;
        stage.check()?;
        if chance.below(3) > 0 {
            let begun = Instant::now();
            let recovered = stage.run_to_the_end().await?;
            figures.took("from restart to result", begun.elapsed().as_secs_f64());
            figures.count("runs to recover", recovered.runs);
            recovered.resumed.into_iter().for_each(|seconds| figures.took(RESUMED, seconds));
        }
    }
    stage.run_to_the_end().await?;
    let findings = stage.check()?;
    figures.count("results", findings.results);
    figures.count("charged", findings.charged);
    figures.count("lists opened", findings.opened);
    figures.count("sessions resumed", stage.tap.heard().resumed as usize);
    Ok(())
}

/// The bytes that a run takes.
async fn clean_run(stage: &mut Stage) -> Result<u64, String> {
    stage.run_to_the_end().await?;
    Ok(stage.chaos.tally().total())
}

async fn kill(
    stage: &mut Stage,
    chance: &mut Chance,
    bytes: u64,
    figures: &mut Figures,
) -> Result<bool, String> {
    let who = chance.of_these(&[Who::Caller, Who::Server]);
    let (byte, after) = (chance.below(bytes), Duration::from_micros(chance.below(8000)));
    stage.serve().await?;
    let before = stage.chaos.tally().total();
    let mut run = stage.run()?;
    while stage.chaos.tally().total() < before + byte {
        if run.try_wait().map_err(|error| error.to_string())?.is_some() {
            return Ok(false);
        }
        sleep(Duration::from_micros(200)).await;
    }
    sleep(after).await;
    if run.try_wait().map_err(|error| error.to_string())?.is_some() {
        return Ok(false);
    }
    stage.kill(who, &mut run).await?;
    figures.count("kills", 1);
    if who == Who::Caller {
        figures.count("of the caller", 1);
        return Ok(true);
    }
    let begun = Instant::now();
    stage.serve().await?;
    // The caller names the dead server, or goes on by itself.
    let ended = stage.watched(run).await?;
    match ended.resumed {
        Some(moment) => figures.took(RESUMED, (moment - begun).as_secs_f64()),
        None => figures.took("a dead server named in", begun.elapsed().as_secs_f64()),
    }
    match ended.status {
        0 | 6 | 11 => Ok(true),
        status => Err(format!("the server was killed, and the caller ended with {status}")),
    }
}
