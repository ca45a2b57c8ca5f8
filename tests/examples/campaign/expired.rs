//! A certificate that expires while a run is on its way: the connection lives on; once it is cut, nobody lets the other in
//! until both have been started again, and then the same session goes on. Both nodes are in this process, by one mock clock.

use std::{sync::Arc, time::Duration};

use psi_node::{clock::Mock, fault::Code};
use psi_tests::{
    chance::Chance,
    chaos::{Chaos, Fault, Line},
    nodes::{Homes, numbered},
    oracle::Oracle,
};
use tokio::time::sleep;

use crate::{figures::Figures, stage};

const ITEMS: u32 = 3000;
const SHARED: u32 = 1000;
const START: u64 = 1_790_000_000;
/// How long a node's certificate holds.
const VALIDITY: u64 = 90 * 24 * 3600;

pub(crate) async fn case(mut chance: Chance) -> Result<Figures, String> {
    let clock = Mock::at(START);
    let lists = [0..ITEMS, ITEMS - SHARED..2 * ITEMS].map(|range| numbered("agent", range));
    let mut homes = Homes::with_lists(&lists[0], &lists[1]);
    for place in [&mut homes.a, &mut homes.b] {
        place.clock = Arc::new(clock.clone());
        place.output_name = "out-{run}.csv".to_owned();
    }
    let oracle = Oracle::new(&homes);
    let way = async |_: &Homes, to| {
        let chaos = Chaos::start(to, <[Line; 2]>::default()).await.unwrap();
        (chaos.address(), chaos)
    };
    let (pair, chaos) = homes.serve_behind(way).await;
    clock.set(START + VALIDITY - 60);
    pair.run().await.map_err(|fault| format!("before: {fault}"))?;
    let bytes = chaos.tally().total();
    let cut = bytes * 2 / 10 + chance.below(bytes * 7 / 10);
    let expires = bytes / 10 + chance.below(cut - bytes / 10);
    let fault = chance.of_these(&[Fault::Fin, Fault::Rst]).at(cut);
    chaos.plan(fault);
    let expire = async {
        while chaos.tally().total() < bytes + expires {
            sleep(Duration::from_micros(200)).await;
        }
        clock.set(START + VALIDITY + 60);
    };
    let (ended, ()) = tokio::join!(pair.run(), expire);
    let when = format!("expired at byte {expires} of {bytes}, {fault}");
    let ended = ended.err().ok_or_else(|| format!("{when}: the run did not end"))?;
    if !ended.resumable || chaos.tally().struck != 1 {
        return Err(format!("{when}: {ended}"));
    }
    let refused =
        pair.run().await.err().ok_or_else(|| format!("{when}: an expired certificate was let in"))?;
    if refused.code != Code::Certificate || !refused.resumable {
        return Err(format!("{when}: {refused}"));
    }
    let pair = pair.stop().await.serve().await;
    let summary = pair.run().await.map_err(|fault| format!("{when}, started again: {fault}"))?;
    if (summary.matches, summary.resumed) != (u64::from(SHARED), 1) {
        return Err(format!("{when}: {} matches, resumed {}", summary.matches, summary.resumed));
    }
    let homes = pair.stop().await;
    let mut figures = Figures::default();
    figures.count("certificates expired", 2);
    figures.count("sessions resumed", 1);
    figures.count("results", stage::check(&oracle, &homes, None)?.results);
    Ok(figures)
}
