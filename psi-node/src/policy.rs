//! What this node allows: pure, from a job's policy, what was disclosed before, and the time.
//!
//! A list of n items can test n identifiers of its owner's choice, whatever the mathematics, so limits on counts are what
//! keeps a partner from trying out everything that exists. The ledger charges an attempt from the moment that our Commit is
//! sent, whatever became of it. With fresh keys in every run only counts are known: it shows the worst case.
//!
//! Days are calendar days of the job's time zone, and a year is 365 of them, today included (docs/decisions/0020).

use psi_core::identifier::Profile;

use crate::{
    config::{Job, Policy},
    fault::{Code, Fault},
    zone::Zone,
};

/// Days in a year of the ledger.
pub const YEAR: u64 = 365;

/// One list of one attempt whose Commit was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The run.
    pub run_id: String,
    /// Its job.
    pub job: String,
    /// Identifier type of the list.
    pub profile: String,
    /// When our Commit was sent, in seconds since 1970.
    pub committed: u64,
    /// Items of the peer's list: as many identifiers could it test.
    pub tested: u64,
}

/// What was charged to one peer, over all jobs with it.
#[derive(Clone, Debug, Default)]
pub struct Ledger(pub Vec<Charge>);

impl Ledger {
    /// The moment before which nothing matters any more.
    pub fn since(zone: Zone, now: u64) -> u64 {
        zone.day_start(now, YEAR - 1)
    }

    /// Runs of that job on the day of `now`, failed ones included. What is dated later counts as well: a clock was set back.
    pub fn runs_today(&self, job: &str, zone: Zone, now: u64) -> u32 {
        let today = zone.day_start(now, 0);
        let runs = self.0.iter().filter(|charge| charge.job == job && charge.committed >= today);
        distinct(runs) as u32
    }

    /// Identifiers of that type that the peer could test within the year that ends today.
    pub fn tested(&self, profile: &str, zone: Zone, now: u64) -> u64 {
        self.of_year(profile, zone, now).map(|charge| charge.tested).sum()
    }

    /// Runs in which it could do so.
    pub fn runs(&self, profile: &str, zone: Zone, now: u64) -> u64 {
        distinct(self.of_year(profile, zone, now))
    }

    fn of_year<'a>(&'a self, profile: &'a str, zone: Zone, now: u64) -> impl Iterator<Item = &'a Charge> {
        let since = Self::since(zone, now);
        self.0.iter().filter(move |charge| charge.profile == profile && charge.committed >= since)
    }
}

fn distinct<'a>(charges: impl Iterator<Item = &'a Charge>) -> u64 {
    let mut runs: Vec<&str> = charges.map(|charge| charge.run_id.as_str()).collect();
    runs.sort_unstable();
    runs.dedup();
    runs.len() as u64
}

/// What one more run of a job would disclose to its peer: how many items of which type the peer brings, list by list.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The job's name.
    pub name: &'a str,
    /// The job.
    pub job: &'a Job,
    /// The peer's items, list by list.
    pub lists: Vec<(Profile, u64)>,
}

impl<'a> Request<'a> {
    /// A run with the peer's lists as Hello declares them.
    pub fn new(name: &'a str, job: &'a Job, items: &[u64]) -> Self {
        let profiles = job.terms().profiles;
        Self { name, job, lists: profiles.into_iter().zip(items.iter().copied()).collect() }
    }

    /// A run with the smallest lists that the terms allow: if this is refused, every run is.
    pub fn smallest(name: &'a str, job: &'a Job) -> Self {
        let lists = job.terms().profiles.into_iter().map(|profile| (profile, job.policy.min_items)).collect();
        Self { name, job, lists }
    }

    /// Whether it is allowed after all that.
    ///
    /// # Errors
    /// [`Code::Policy`], with the rule; the peer learns only that it was the policy.
    pub fn allow(&self, ledger: &Ledger, now: u64) -> Result<(), Fault> {
        let (policy, zone) = (&self.job.policy, self.job.zone());
        let runs = ledger.runs_today(self.name, zone, now);
        if runs >= policy.max_runs_per_day {
            return Err(refused(format!(
                "max_runs_per_day = {}: runs of job {:?} on {} ({zone}), failed ones included: {runs}",
                policy.max_runs_per_day,
                self.name,
                zone.date(now),
            )));
        }
        for (profile, items) in self.by_profile() {
            let tested = ledger.tested(profile.id(), zone, now);
            if let Some(most) = policy.max_tested_per_year.filter(|most| tested.saturating_add(items) > *most)
            {
                return Err(refused(format!(
                    "max_tested_per_year = {most}: {:?} has tested {tested} identifiers of {profile} within {YEAR} days, and \
                     would test {items} more",
                    self.job.peer,
                )));
            }
        }
        Ok(())
    }

    /// Each type once: lists of one type add up.
    fn by_profile(&self) -> Vec<(Profile, u64)> {
        let mut sums: Vec<(Profile, u64)> = Vec::new();
        for (profile, items) in &self.lists {
            match sums.iter_mut().find(|(known, _)| known == profile) {
                Some((_, sum)) => *sum = sum.saturating_add(*items),
                None => sums.push((profile.clone(), *items)),
            }
        }
        sums
    }
}

fn refused(rule: String) -> Fault {
    Fault::new(Code::Policy, rule)
}

impl Policy {
    /// What the peer can test in a year of each type by this job, if every run is as large as it may be.
    pub fn reach(&self) -> u64 {
        let possible = self.max_items.saturating_mul(self.max_runs_per_day.into()).saturating_mul(YEAR);
        self.max_tested_per_year.map_or(possible, |most| most.min(possible))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const DAY: u64 = 24 * 3600;
    /// 2026-11-24 20:00 in Shanghai, noon in UTC.
    const NOW: u64 = 1_795_521_600;

    fn job(policy: &str) -> Job {
        let text = format!(
            "[node]\nname = \"a\"\n[peers.b]\nkey = \"ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\"\n\
             [jobs.j]\npeer = \"b\"\noutput = \"o.csv\"\ntimezone = \"Asia/Shanghai\"\n\
             input = {{ path = \"i\", column = \"c\", profile = \"cn.mobile/1\" }}\n\
             [jobs.j.policy]\noutput = \"mutual\"\nproved = true\nmin_items = 10\nmax_items = 100\nopenable = true\n{policy}"
        );
        Config::parse(&text).unwrap().jobs["j"].clone()
    }

    fn charge(run: u32, job: &str, committed: u64, tested: u64) -> Charge {
        let profile = "cn.mobile/1".to_owned();
        Charge { run_id: format!("run-{run}"), job: job.to_owned(), profile, committed, tested }
    }

    fn refusal(job: &Job, ledger: &[Charge], items: u64) -> Option<String> {
        let refused = Request::new("j", job, &[items]).allow(&Ledger(ledger.to_vec()), NOW);
        refused.err().map(|fault| {
            assert_eq!(fault.code, Code::Policy);
            fault.message
        })
    }

    #[test]
    fn now_is_when_the_tests_think_it_is() {
        assert_eq!("Asia/Shanghai".parse::<Zone>().unwrap().time(NOW), "2026-11-24T20:00:00+08:00");
    }

    #[test]
    fn the_run_after_the_last_allowed_one_of_the_day_is_refused() {
        let job = job("max_runs_per_day = 2");
        let midnight = NOW - 20 * 3600;
        let ledger = [charge(1, "j", midnight, 50), charge(2, "j", NOW, 50)];
        assert_eq!(refusal(&job, &ledger[..1], 50), None);
        let rule = refusal(&job, &ledger, 50).unwrap();
        assert_eq!(
            rule,
            "max_runs_per_day = 2: runs of job \"j\" on 2026-11-24 (Asia/Shanghai), failed ones included: 2"
        );
        let yesterday = [charge(1, "j", midnight - 1, 50), charge(2, "j", NOW, 50)];
        assert_eq!(refusal(&job, &yesterday, 50), None, "the day is that of the zone");
        let other = [charge(1, "k", NOW, 50), charge(2, "j", NOW, 50)];
        assert_eq!(refusal(&job, &other, 50), None, "each job counts its own runs");
        let later = [charge(1, "j", NOW + 9 * DAY, 50), charge(2, "j", NOW, 50)];
        assert!(refusal(&job, &later, 50).is_some(), "a clock that was set back forgives nothing");
    }

    #[test]
    fn no_run_a_day_is_none() {
        assert!(refusal(&job("max_runs_per_day = 0\nmax_tested_per_year = 100"), &[], 50).is_some());
    }

    #[test]
    fn a_run_of_several_lists_is_one_run() {
        let job = job("max_runs_per_day = 2");
        let mut ledger = [charge(1, "j", NOW, 50), charge(1, "j", NOW, 50)];
        ledger[1].profile = "qq/1".to_owned();
        assert_eq!(refusal(&job, &ledger, 50), None);
    }

    #[test]
    fn the_year_is_full_when_one_identifier_more_would_be_too_many() {
        let job = job("max_runs_per_day = 9\nmax_tested_per_year = 200");
        let ledger = |tested| [charge(1, "k", NOW - 300 * DAY, tested)];
        assert_eq!(refusal(&job, &ledger(100), 100), None);
        let rule = refusal(&job, &ledger(101), 100).unwrap();
        assert_eq!(
            rule,
            "max_tested_per_year = 200: \"b\" has tested 101 identifiers of cn.mobile/1 within 365 days, and would test 100 more"
        );
        assert!(refusal(&job, &ledger(u64::MAX), 100).is_some());
    }

    #[test]
    fn what_is_365_days_old_is_forgotten_and_other_types_do_not_count() {
        let job = job("max_runs_per_day = 9\nmax_tested_per_year = 100");
        let midnight = NOW - 20 * 3600;
        assert!(refusal(&job, &[charge(1, "j", midnight - 364 * DAY, 100)], 10).is_some());
        assert_eq!(refusal(&job, &[charge(1, "j", midnight - 364 * DAY - 1, 100)], 10), None);
        let mut other = charge(1, "j", NOW, 100);
        other.profile = "qq/1".to_owned();
        assert_eq!(refusal(&job, &[other], 10), None);
    }

    #[test]
    fn two_lists_of_one_type_add_up() {
        let job = job("max_runs_per_day = 9\nmax_tested_per_year = 100");
        let list = ("cn.mobile/1".parse().unwrap(), 60);
        let request = Request { name: "j", job: &job, lists: vec![list.clone(), list] };
        assert_eq!(request.allow(&Ledger::default(), NOW).unwrap_err().code, Code::Policy);
    }

    #[test]
    fn a_year_reaches_as_far_as_the_tightest_limit() {
        let reach = |limits| job(limits).policy.reach();
        assert_eq!(reach("max_runs_per_day = 2"), 73_000);
        assert_eq!(reach("max_runs_per_day = 2\nmax_tested_per_year = 5000"), 5000);
        assert_eq!(reach("max_runs_per_day = 2\nmax_tested_per_year = 5_000_000"), 73_000);
    }

    #[test]
    fn without_a_limit_a_year_is_never_full() {
        let job = job("max_runs_per_day = 9");
        assert_eq!(refusal(&job, &[charge(1, "k", NOW - DAY, u64::MAX)], 100), None);
    }

    #[test]
    fn the_smallest_run_shows_whether_any_is_allowed() {
        let job = job("max_runs_per_day = 9\nmax_tested_per_year = 100");
        let allowed = |tested| {
            Request::smallest("j", &job).allow(&Ledger(vec![charge(1, "j", NOW - DAY, tested)]), NOW).is_ok()
        };
        assert!(allowed(90) && !allowed(91));
    }
}
