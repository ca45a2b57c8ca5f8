//! A connection that is cut at a random byte: by FIN, RST or a black hole.

use std::path::PathBuf;

use psi_tests::{
    chance::Chance,
    chaos::{Fault, Planned},
};
use tokio::time::Instant;

use crate::{figures::Figures, stage::Stage};

const ITEMS: u32 = 600;

pub(crate) async fn case(psi: PathBuf, mut chance: Chance) -> Result<Figures, String> {
    let mut stage = Stage::new(psi, ITEMS).await?;
    let mut figures = Figures::default();
    match cut(&mut stage, &mut chance, &mut figures).await {
        Ok(()) => Ok(figures),
        Err(reason) => Err(stage.failed(&reason)),
    }
}

async fn cut(stage: &mut Stage, chance: &mut Chance, figures: &mut Figures) -> Result<(), String> {
    stage.run_to_the_end().await?;
    // What comes last is only the farewell.
    let bytes = stage.chaos.tally().total() * 98 / 100;
    let fault = chance.of_these(&[Fault::Fin, Fault::Rst, Fault::BlackHole]);
    let planned: Planned = fault.at(chance.below(bytes));
    stage.chaos.plan(planned);
    let begun = Instant::now();
    let status = Stage::status(stage.run()?).await?;
    if ![0, 6].contains(&status) {
        return Err(format!("{planned}: the run ended with {status}"));
    }
    if stage.chaos.tally().struck != 1 {
        return Err(format!("{planned}: it did not strike"));
    }
    figures.count(name(fault), 1);
    figures.took(named(fault), begun.elapsed().as_secs_f64());
    stage.check()?;
    let begun = Instant::now();
    stage.run_to_the_end().await?;
    figures.took("to recover", begun.elapsed().as_secs_f64());
    let findings = stage.check()?;
    figures.count("results", findings.results);
    figures.count("charged", findings.charged);
    Ok(())
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Fin => "cut by FIN",
        Fault::Rst => "cut by RST",
        _ => "black holes",
    }
}

fn named(fault: Fault) -> &'static str {
    if fault == Fault::BlackHole { "a black hole named in" } else { "a cut named in" }
}
