//! A connection that is cut at a random byte, by FIN, RST or a black hole; now and then the lists are others afterwards.

use std::path::PathBuf;

use psi_tests::{
    chance::Chance,
    chaos::{Fault, Planned},
    nodes::numbered,
};
use tokio::time::Instant;

use crate::{
    figures::Figures,
    stage::{Scene, Stage, Who},
};

const ITEMS: [u32; 2] = [150, 600];

/// Whether somebody exports the lists anew after the cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    Same,
    Edited,
}

pub(crate) async fn case(psi: PathBuf, mut chance: Chance, lists: Lists) -> Result<Figures, String> {
    let scene = match lists {
        Lists::Same => Scene::by(&mut chance, &ITEMS),
        // Whoever edits a list does so between two runs.
        Lists::Edited => Scene::of(chance.of_these(&ITEMS)),
    };
    let mut stage = Stage::new(psi, scene).await?;
    let mut figures = Figures::default();
    match cut(&mut stage, &mut chance, lists, &mut figures).await {
        Ok(()) => Ok(figures),
        Err(reason) => Err(stage.failed(&reason)),
    }
}

async fn cut(
    stage: &mut Stage,
    chance: &mut Chance,
    lists: Lists,
    figures: &mut Figures,
) -> Result<(), String> {
    stage.run_to_the_end().await?;
    // What comes last is only the farewell.
    let bytes = stage.chaos.tally().total() * 98 / 100;
    let fault = match lists {
        Lists::Same => chance.of_these(&[Fault::Fin, Fault::Rst, Fault::BlackHole]),
        Lists::Edited => chance.of_these(&[Fault::Fin, Fault::Rst]),
    };
    let planned: Planned = fault.at(chance.below(bytes));
    stage.chaos.plan(planned);
    let begun = Instant::now();
    let ended = stage.watched(stage.run()?).await?;
    if ![0, 6].contains(&ended.status) {
        return Err(format!("{planned}: the run ended with {}", ended.status));
    }
    if stage.chaos.tally().struck != 1 {
        return Err(format!("{planned}: it did not strike"));
    }
    figures.count(name(fault), 1);
    figures.count("sessions resumed at once", usize::from(ended.resumed.is_some()));
    let named = ended.resumed.unwrap_or_else(Instant::now) - begun;
    figures.took(named_in(fault), named.as_secs_f64());
    let cut_short = stage.check()?.unfinished.len();
    if lists == Lists::Edited {
        edit(stage, chance, figures);
    }
    let begun = Instant::now();
    stage.run_to_the_end().await?;
    figures.took("to recover", begun.elapsed().as_secs_f64());
    figures.count("sessions finished by the next run", cut_short);
    let findings = stage.check()?;
    figures.count("results", findings.results);
    figures.count("charged", findings.charged);
    Ok(())
}

/// Another list on either side, of which a session that goes on must know nothing.
fn edit(stage: &mut Stage, chance: &mut Chance, figures: &mut Figures) {
    let who = chance.of_these(&[Who::Caller, Who::Server]);
    let start = chance.below(300) as u32;
    stage.place(who).write_list(numbered("agent", start..start + 200));
    stage.oracle.learn(&stage.homes);
    figures.count("lists edited", 1);
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Fin => "cut by FIN",
        Fault::Rst => "cut by RST",
        _ => "black holes",
    }
}

fn named_in(fault: Fault) -> &'static str {
    if fault == Fault::BlackHole { "a black hole named or passed in" } else { "a cut named or passed in" }
}
