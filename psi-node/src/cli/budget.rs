//! `psi budget`: what a partner has tested, and what it may still test.

use psi_core::identifier::Profile;
use psi_node::{
    budget::{Budget, Standing, Today},
    clock::System,
    config::Config,
    fault::Fault,
    home::Home,
    policy,
};

use super::{job, print};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show what a peer has tested and may still test, over all jobs with it
    Show {
        /// Our name for the peer
        peer: String,
        /// Print it as one JSON object
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) fn execute(&self, home: &Home) -> Result<(), Fault> {
        let Self::Show { peer, json } = self;
        let budget = Budget::load(home, &Config::load(home.config())?, peer, System::shared().now())?;
        if *json { print::json(&budget) } else { print::out(&shown(&budget)) }
    }
}

fn shown(budget: &Budget) -> String {
    let peer = print::printable(&budget.peer);
    if budget.profiles.is_empty() {
        return format!(
            "There is no job with {peer}, and nothing was exchanged within {} days.\n",
            policy::YEAR
        );
    }
    let tested = |of: &Standing| (of.profile.clone(), spent(of));
    let today = |of: &Today| {
        let runs = format!("{} of {} on {} ({})", of.runs, of.max_runs, of.date, of.timezone);
        (print::printable(&of.job), runs)
    };
    let jobs = match budget.jobs.as_slice() {
        [] => String::new(),
        jobs => format!("\nRuns today:\n{}", table(jobs.iter().map(today))),
    };
    let reached: String =
        budget.profiles.iter().filter(|of| of.reach > 0).map(|of| reach(&peer, of)).collect();
    format!(
        "{peer} could test within {} days, failed runs included:\n{}{jobs}{reached}",
        policy::YEAR,
        table(budget.profiles.iter().map(tested)),
    )
}

fn spent(of: &Standing) -> String {
    let identifiers = print::count(of.tested, "identifier", "identifiers");
    let runs = print::count(of.runs, "run", "runs");
    match of.limit.zip(of.left) {
        None => format!("{identifiers} in {runs}; no limit but on lists and runs"),
        Some((0, _)) => format!("{identifiers} in {runs}; no job has the type any more"),
        Some((limit, left)) => {
            let [left, limit] = [left, limit].map(|number| print::grouped(number.into()));
            format!("{identifiers} in {runs}; {left} of {limit} left")
        }
    }
}

/// A type that this version doesn't know has no space to compare with.
fn reach(peer: &str, of: &Standing) -> String {
    let Ok(profile) = of.profile.parse::<Profile>() else { return String::new() };
    match profile.space() {
        Some(_) => format!("\n{}\n", job::testable(peer, &[profile], of.reach)),
        // Without a share nothing else would say which type it is about.
        None => format!(
            "\nAt these limits {peer} can test {} identifiers of {profile} of its choice a year.\n",
            print::grouped(of.reach.into())
        ),
    }
}

fn table(rows: impl Iterator<Item = (String, String)>) -> String {
    let rows: Vec<_> = rows.collect();
    print::table(&rows.iter().map(|(name, value)| (name.as_str(), value.clone())).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_is_left_and_what_a_year_comes_to() {
        let standing = |profile: &str, tested, runs, limit: Option<u64>| Standing {
            profile: profile.to_owned(),
            tested,
            runs,
            limit,
            left: limit.map(|limit| limit.saturating_sub(tested)),
            reach: limit.unwrap_or(365),
            space: None,
        };
        let budget = Budget {
            peer: "bank-b".to_owned(),
            key: String::new(),
            profiles: vec![
                standing("cn.mobile/1", 1234, 1, Some(70_000_000)),
                standing("qq/1", 1, 2, Some(0)),
                standing("text/1", 3, 2, None),
            ],
            jobs: vec![Today {
                job: "agents".to_owned(),
                date: "2026-11-24".to_owned(),
                timezone: "Asia/Shanghai",
                runs: 1,
                max_runs: 3,
            }],
        };
        assert_eq!(
            shown(&budget),
            "bank-b could test within 365 days, failed runs included:\n\
             cn.mobile/1  1,234 identifiers in 1 run; 69,998,766 of 70,000,000 left\n\
             qq/1         1 identifier in 2 runs; no job has the type any more\n\
             text/1       3 identifiers in 2 runs; no limit but on lists and runs\n\n\
             Runs today:\nagents  1 of 3 on 2026-11-24 (Asia/Shanghai)\n\n\
             At these limits bank-b can test 70,000,000 identifiers of its choice a year, 1 % of what cn.mobile/1 admits.\n\n\
             At these limits bank-b can test 365 identifiers of text/1 of its choice a year.\n"
        );
    }
}
