//! What a partner has tested and may still test, by identifier type: the ledger as people and monitors read it.

use serde::Serialize;

use crate::{
    config::{Config, Job},
    fault::Fault,
    home::Home,
    policy::{Ledger, YEAR},
    store::Index,
    zone::Zone,
};

/// Where one peer stands today.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Budget {
    /// Our name for the peer.
    pub peer: String,
    /// Its key: what the ledger goes by.
    pub key: String,
    /// Each identifier type that a job has or that was charged.
    pub profiles: Vec<Standing>,
    /// Each job with it.
    pub jobs: Vec<Today>,
}

/// One identifier type, within the 365 days that end today.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The type.
    pub profile: String,
    /// Identifiers that the peer could test.
    pub tested: u64,
    /// Runs in which it could, failed ones included.
    pub runs: u64,
    /// How many it may, by the job that allows least, whose runs are the first to be refused: none if no job has the type any
    /// more, any number if `null`.
    pub limit: Option<u64>,
    /// How many are left.
    pub left: Option<u64>,
    /// How many it can test in a year if every run is as large as it may be, by all jobs.
    pub reach: u64,
    /// How many there are at all, where that is known.
    pub space: Option<u64>,
}

/// One job today.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Today {
    /// The job.
    pub job: String,
    /// The date in its time zone.
    pub date: String,
    /// Its time zone.
    pub timezone: &'static str,
    /// Runs so far, failed ones included.
    pub runs: u32,
    /// Runs allowed.
    pub max_runs: u32,
}

impl Budget {
    /// Reads the ledger of a peer.
    ///
    /// # Errors
    /// [`Code::NoSuchName`](crate::fault::Code::NoSuchName), or a record that can't be read.
    pub fn load(home: &Home, config: &Config, peer: &str, now: u64) -> Result<Self, Fault> {
        Self::of(config, peer, &Index::open(home).ledger(config.peer(peer)?.key, since(now))?, now)
    }

    /// From what was charged to it within a year.
    ///
    /// # Errors
    /// [`Code::NoSuchName`](crate::fault::Code::NoSuchName).
    pub fn of(config: &Config, peer: &str, ledger: &Ledger, now: u64) -> Result<Self, Fault> {
        let key = config.peer(peer)?.key.to_string();
        let with_peer = config.jobs.iter().filter(|(_, job)| job.peer == peer);
        let jobs: Vec<(&str, &Job)> = with_peer.map(|(name, job)| (name.as_str(), job)).collect();
        Ok(Self {
            peer: peer.to_owned(),
            key,
            profiles: standings(&jobs, ledger, now),
            jobs: jobs.iter().map(|(name, job)| today(name, job, ledger, now)).collect(),
        })
    }
}

/// From when on charges may count: a day more than the year of any zone.
pub fn since(now: u64) -> u64 {
    Zone::UTC.day_start(now, YEAR + 1)
}

fn standings(jobs: &[(&str, &Job)], ledger: &Ledger, now: u64) -> Vec<Standing> {
    let of_jobs =
        jobs.iter().flat_map(|(_, job)| job.terms().profiles).map(|profile| profile.id().to_owned());
    let mut profiles: Vec<String> =
        of_jobs.chain(ledger.0.iter().map(|charge| charge.profile.clone())).collect();
    profiles.sort();
    profiles.dedup();
    profiles.into_iter().map(|profile| standing(profile, jobs, ledger, now)).collect()
}

fn standing(profile: String, jobs: &[(&str, &Job)], ledger: &Ledger, now: u64) -> Standing {
    let has = |job: &Job| job.terms().profiles.iter().find(|known| known.id() == profile).cloned();
    let with: Vec<&Job> = jobs.iter().map(|(_, job)| *job).filter(|job| has(job).is_some()).collect();
    let allowed = |job: &&Job| job.policy.max_tested_per_year.unwrap_or(u64::MAX);
    let tightest = with.iter().copied().min_by_key(allowed);
    let zone = tightest.map_or(Zone::UTC, |job| job.zone());
    let limit = tightest.map_or(Some(0), |job| job.policy.max_tested_per_year);
    let tested = ledger.tested(&profile, zone, now);
    let possible = with.iter().fold(0u64, |sum, job| sum.saturating_add(job.policy.reach()));
    Standing {
        tested,
        runs: ledger.runs(&profile, zone, now),
        limit,
        left: limit.map(|limit| limit.saturating_sub(tested)),
        reach: with.iter().map(allowed).max().map_or(0, |widest| widest.min(possible)),
        space: with.first().and_then(|job| has(job)).and_then(|profile| profile.space()),
        profile,
    }
}

fn today(name: &str, job: &Job, ledger: &Ledger, now: u64) -> Today {
    let zone = job.zone();
    Today {
        job: name.to_owned(),
        date: zone.date(now),
        timezone: zone.name(),
        runs: ledger.runs_today(name, zone, now),
        max_runs: job.policy.max_runs_per_day,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Charge;

    const NOW: u64 = 1_795_521_600;

    fn config() -> Config {
        let job = |name: &str, profile: &str, limit: &str| {
            format!(
                "[jobs.{name}]\npeer = \"b\"\noutput = \"o.csv\"\ntimezone = \"Asia/Shanghai\"\n\
                 input = {{ path = \"i\", column = \"c\", profile = \"{profile}\" }}\n[jobs.{name}.policy]\n\
                 output = \"mutual\"\nproved = true\nmin_items = 1\nmax_items = 10\nmax_runs_per_day = 2\nopenable = true\n\
                 {limit}\n"
            )
        };
        let text = format!(
            "[node]\nname = \"a\"\n[peers.b]\nkey = \"ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\"\n{}{}{}",
            job("j", "cn.mobile/1", "max_tested_per_year = 9000"),
            job("k", "cn.mobile/1", "max_tested_per_year = 8000"),
            job("t", "text/1", ""),
        );
        Config::parse(&text).unwrap()
    }

    fn charge(run: &str, job: &str, profile: &str, tested: u64) -> Charge {
        let [run_id, job, profile] = [run, job, profile].map(str::to_owned);
        Charge { run_id, job, profile, committed: NOW, tested }
    }

    #[test]
    fn jobs_add_up_and_the_tightest_limit_is_shown() {
        let config = config();
        let jobs: Vec<_> = config.jobs.iter().map(|(name, job)| (name.as_str(), job)).collect();
        let ledger = Ledger(vec![
            charge("1", "j", "cn.mobile/1", 10),
            charge("2", "k", "cn.mobile/1", 8000),
            charge("3", "old", "qq/1", 5),
        ]);
        let found = standings(&jobs, &ledger, NOW);
        let shown: Vec<_> = found
            .iter()
            .map(|of| (of.profile.as_str(), of.tested, of.runs, of.limit, of.left, of.reach, of.space))
            .collect();
        assert_eq!(
            shown,
            [
                ("cn.mobile/1", 8010, 2, Some(8000), Some(0), 9000, Some(7_000_000_000)),
                ("qq/1", 5, 1, Some(0), Some(0), 0, None),
                ("text/1", 0, 0, None, None, 7300, None),
            ]
        );
        let today = today("j", &config.jobs["j"], &ledger, NOW);
        assert_eq!((today.runs, today.max_runs, today.date.as_str()), (1, 2, "2026-11-24"));
    }

    #[test]
    fn a_peer_that_nothing_was_exchanged_with_has_everything_left() {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::load(&Home::at(home.path()), &config(), "b", NOW).unwrap();
        assert!(
            budget.profiles.iter().all(|standing| standing.left == standing.limit && standing.tested == 0)
        );
        assert!(Budget::load(&Home::at(home.path()), &config(), "c", NOW).is_err());
    }
}
