//! Long campaigns: two nodes as real processes, faults by the hundred, and an oracle after each.
//!
//! ```sh
//! cargo build --bin psi
//! cargo run -p psi-tests --example campaign -- kills --cases 50
//! cargo run -p psi-tests --example campaign -- kills --seed 42 --case 17       # one of them again
//! ```
//!
//! A campaign is made of cases, each with two fresh nodes and choices of its own by seed and number. A case fails if an
//! invariant is broken, if a fault did not strike, or if the nodes did not come to the result afterwards; its folders stay for
//! a look, and the line to play it again is printed. The last line on stdout sums up what was done and seen.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the case")]

mod cuts;
mod expired;
mod figures;
mod flips;
mod frozen;
mod full;
mod kills;
mod restored;
mod stage;
mod together;
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod writes;

use std::{env, future::Future, path::PathBuf, pin::Pin, process::ExitCode, time::Instant};

use clap::{Parser, ValueEnum};
use psi_tests::chance::Chance;
use tokio::task::JoinSet;

use self::{cuts::Lists, figures::Figures};

/// Faults by the hundred on two real nodes
#[derive(Clone, Parser)]
struct Args {
    /// What goes wrong
    campaign: Campaign,
    /// Where the choices come from; a fresh one by default
    #[arg(long)]
    seed: Option<u64>,
    /// How many cases
    #[arg(long)]
    cases: Option<u64>,
    /// Only the case of this number
    #[arg(long, conflicts_with = "cases")]
    case: Option<u64>,
    /// Cases at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// The program; by default beside this one
    #[arg(long)]
    psi: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Campaign {
    /// SIGKILL of either side at random points: 20 a case
    Kills,
    /// A connection that is cut at a random byte, by FIN, RST or a black hole: one a case
    Cuts,
    /// Lists that are exported anew between a cut and the run that goes on: one cut a case
    Edited,
    /// Certificates that expire in the middle of a run, which is cut afterwards: one run a case
    Expired,
    /// A peer that is stopped (SIGSTOP) in the middle
    Frozen,
    /// Every bit flip and truncation of what a small run left, or keeps to go on
    Flips,
    /// A state folder that is yesterday's again, on either side: one a case
    Restored,
    /// Both partners starting at the same moment: 20 rounds a case
    Together,
    /// A disk with room for so many pages, from none to as many as a run takes, on either side
    DiskFull,
    /// Every change to a file failing in four ways, on either side: every tenth change a case
    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    Writes,
}

type Case = Pin<Box<dyn Future<Output = Result<Figures, String>> + Send>>;

impl Campaign {
    fn cases(self) -> u64 {
        match self {
            Self::Kills => 50,
            Self::Cuts => 600,
            Self::Edited | Self::Expired | Self::Restored => 100,
            Self::Frozen => 4,
            Self::Flips => 1,
            Self::Together => 5,
            Self::DiskFull => 2,
            #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
            Self::Writes => writes::STRIDE,
        }
    }

    #[allow(unused_variables, reason = "only some count their cases")]
    fn case(self, psi: PathBuf, chance: Chance, number: u64) -> Case {
        match self {
            Self::Kills => Box::pin(kills::case(psi, chance)),
            Self::Cuts => Box::pin(cuts::case(psi, chance, Lists::Same)),
            Self::Edited => Box::pin(cuts::case(psi, chance, Lists::Edited)),
            Self::Expired => Box::pin(expired::case(chance)),
            Self::Frozen => Box::pin(frozen::case(psi, chance)),
            Self::Flips => Box::pin(flips::case(psi, chance)),
            Self::Restored => Box::pin(restored::case(psi, chance)),
            Self::Together => Box::pin(together::case(psi, chance)),
            Self::DiskFull => Box::pin(full::case(psi, chance)),
            #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
            Self::Writes => Box::pin(writes::case(psi, chance, number)),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().expect("no variant is hidden").get_name().to_owned()
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(rand::random);
    let psi = args.psi.clone().unwrap_or_else(beside);
    if !psi.is_file() {
        eprintln!("{}: not there; `cargo build --bin psi` makes it, --psi names another", psi.display());
        return ExitCode::from(2);
    }
    eprintln!("{}: seed {seed}, {}", args.campaign.name(), psi.display());
    let begun = Instant::now();
    let numbers = args.case.map_or(0..args.cases.unwrap_or(args.campaign.cases()), |case| case..case + 1);
    let mut figures = Figures::default();
    let mut running = JoinSet::new();
    for number in numbers {
        if running.len() >= args.jobs {
            take(&args, seed, running.join_next().await, &mut figures);
        }
        let case = args.campaign.case(psi.clone(), Chance::of_case(seed, number), number);
        running.spawn(async move { (number, tokio::spawn(case).await) });
    }
    while let ended @ Some(_) = running.join_next().await {
        take(&args, seed, ended, &mut figures);
    }
    println!("{}: seed {seed}, {figures}; {:.0} s", args.campaign.name(), begun.elapsed().as_secs_f64());
    ExitCode::from(u8::from(figures.failed > 0))
}

/// How a case ended: a case that panicked has failed too.
type Ended =
    Option<Result<(u64, Result<Result<Figures, String>, tokio::task::JoinError>), tokio::task::JoinError>>;

fn take(args: &Args, seed: u64, ended: Ended, figures: &mut Figures) {
    let Some(Ok((number, ended))) = ended else { return };
    figures.cases += 1;
    match ended.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(case) => figures.add(case),
        Err(reason) => {
            figures.failed += 1;
            let name = args.campaign.name();
            eprintln!("case {number} FAILED: {reason}\nagain: campaign {name} --seed {seed} --case {number}");
        }
    }
    eprint!("\r{} cases, {} failed ", figures.cases, figures.failed);
}

/// The program that was built with this one: `target/PROFILE/psi` for `target/PROFILE/examples/campaign`.
fn beside() -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    own.ancestors().nth(2).map(|folder| folder.join("psi")).unwrap_or_default()
}
