//! Both partners start at the same moment, each with a node that serves: one session comes of it, with a result on both
//! sides, and whoever did not get to call says so soon.

use std::path::{Path, PathBuf};

use psi_tests::{
    chance::Chance,
    nodes::{Homes, JOB, Place, Ports, numbered},
    oracle::Oracle,
};
use tokio::{process::Child, time::Instant};

use crate::{
    figures::Figures,
    stage::{self, Stage, command, free_port, serve},
};

const ROUNDS: usize = 20;
const ITEMS: u32 = 2000;
/// Within this both processes have ended.
const ENDED_WITHIN: f64 = 10.0;

struct Both {
    homes: Homes,
    oracle: Oracle,
    psi: PathBuf,
    /// They end with this.
    _serving: [Child; 2],
}

pub(crate) async fn case(psi: PathBuf, mut chance: Chance) -> Result<Figures, String> {
    let both = Both::new(psi).await?;
    let mut figures = Figures::default();
    match rounds(&both, &mut chance, &mut figures).await {
        Ok(()) => Ok(figures),
        Err(reason) => Err(format!("{reason}\nfolders: {}", both.homes.keep().display())),
    }
}

async fn rounds(both: &Both, chance: &mut Chance, figures: &mut Figures) -> Result<(), String> {
    let mut rounds = 0;
    while rounds < ROUNDS {
        // A round in which one had ended before the other began shows nothing.
        rounds += usize::from(round(both, chance, figures).await?);
    }
    figures.count("rounds", rounds);
    figures.count("results", stage::check(&both.oracle, &both.homes, None)?.results);
    Ok(())
}

/// Whether they met.
async fn round(both: &Both, chance: &mut Chance, figures: &mut Figures) -> Result<bool, String> {
    let before = stage::check(&both.oracle, &both.homes, None)?;
    let begun = Instant::now();
    let mut places = [&both.homes.a, &both.homes.b];
    if chance.below(2) > 0 {
        places.reverse();
    }
    let [first, second] = [both.run(places[0])?, both.run(places[1])?];
    let (first, second) = tokio::join!(Stage::status(first), Stage::status(second));
    let statuses = [first?, second?];
    let seconds = begun.elapsed().as_secs_f64();
    let sessions = statuses.iter().filter(|status| **status == 0).count();
    let after = stage::check(&both.oracle, &both.homes, None)?;
    let gained = [after.results - before.results, after.charged - before.charged];
    let fair = statuses.iter().all(|status| [0, 11].contains(status));
    if !fair || sessions == 0 || gained != [2 * sessions; 2] || seconds > ENDED_WITHIN {
        return Err(format!(
            "they ended with {statuses:?} after {seconds:.1} s; results and charges: {gained:?}"
        ));
    }
    if sessions == 2 {
        figures.count("rounds in which they did not meet", 1);
        return Ok(false);
    }
    figures.took("both ended in", seconds);
    Ok(true)
}

impl Both {
    async fn new(psi: PathBuf) -> Result<Self, String> {
        let mut homes = Homes::with_lists(&numbered("agent", 0..ITEMS), &numbered("agent", 100..ITEMS));
        for place in [&mut homes.a, &mut homes.b] {
            place.output_name = "out-{run}.csv".to_owned();
        }
        let port = || free_port().map_err(|error| error.to_string());
        let (a, b) = (port()?, port()?);
        homes
            .configure([(a, b), (b, a)].map(|(own, other)| Ports { listens: Some(own), calls: Some(other) }));
        let start = async |place: &Place, psi: &Path| serve(command(psi, place, &["serve"])).await;
        let serving = [start(&homes.a, &psi).await?, start(&homes.b, &psi).await?];
        Ok(Self { oracle: Oracle::new(&homes), homes, psi, _serving: serving })
    }

    fn run(&self, place: &Place) -> Result<Child, String> {
        command(&self.psi, place, &["run", JOB]).spawn().map_err(|error| error.to_string())
    }
}
