//! `psi schedule`: when jobs are due, and the units with which systemd runs them.

mod systemd;

use psi_node::{clock::System, config::Config, fault::Fault, home::Home, identity, schedule::jitter};
use serde::Serialize;

use super::print;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show when each job is due next
    Next {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print what another program needs to run the node
    #[command(subcommand)]
    Export(Export),
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Export {
    /// Units of systemd: the service, which runs what is due itself
    Systemd(systemd::Args),
}

impl Command {
    pub(super) fn execute(&self, home: &Home) -> Result<(), Fault> {
        let config = Config::load(home.config())?;
        match self {
            Self::Next { json } => next(home, &config, *json),
            Self::Export(Export::Systemd(args)) => print::out(&args.units(home, &config)?),
        }
    }
}

/// When a job is due, and when it starts.
#[derive(Debug, Serialize)]
struct Due<'a> {
    job: &'a str,
    schedule: String,
    timezone: &'static str,
    due: String,
    starts: String,
}

fn next(home: &Home, config: &Config, json: bool) -> Result<(), Fault> {
    let now = System::shared().now();
    let seed = identity::load(&home.identity_key())?.public_key();
    let due = config.jobs.iter().filter_map(|(name, job)| {
        let (schedule, zone) = (job.schedule.as_ref()?, job.zone());
        let due = schedule.next(zone, now)?;
        let starts = due + jitter(seed.as_bytes(), name, due, job.jitter_minutes);
        let [due, starts] = [due, starts].map(|moment| zone.time(moment));
        Some(Due { job: name, schedule: schedule.to_string(), timezone: zone.name(), due, starts })
    });
    let due: Vec<Due<'_>> = due.collect();
    if json {
        return due.iter().try_for_each(print::json);
    }
    let row = |due: &Due<'_>| {
        let later = if due.starts == due.due { String::new() } else { format!(", starts {}", due.starts) };
        (print::printable(due.job), format!("{} ({} {}){later}", due.due, due.schedule, due.timezone))
    };
    let rows: Vec<_> = due.iter().map(row).collect();
    print::out(&print::table(
        &rows.iter().map(|(name, text)| (name.as_str(), text.clone())).collect::<Vec<_>>(),
    ))
}
