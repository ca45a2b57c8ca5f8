//! The figures of a node as Prometheus text.

use std::{collections::BTreeMap, fmt::Write};

use crate::{
    budget::{self, Budget},
    config::Config,
    fault::Fault,
    node::{Node, SOFTWARE},
    policy::Ledger,
    runs::{Attempt, State},
    scheduler::{self, Memory},
    store::{
        Filter, Index,
        totals::{self, Total},
    },
    tally::Tally,
};

/// All figures; what can't be read is missing, and logged.
pub(super) fn text(node: &Node) -> String {
    let mut text = Text::default();
    let config = node.config();
    text.family("psi_info", "gauge", "Software of the node.");
    text.value("psi_info", &[("software", SOFTWARE)], 1.0);
    text.family(
        "psi_certificate_expiry_timestamp_seconds",
        "gauge",
        "End of the certificate in use; it is reissued daily.",
    );
    text.value("psi_certificate_expiry_timestamp_seconds", &[], node.tls().credentials().expires() as f64);
    match Figures::read(node, &config) {
        Ok(figures) => text.figures(&config, &figures),
        Err(fault) => tracing::error!(code = %fault.code, %fault, "the records of runs can't be read"),
    }
    text.schedules(&scheduler::memories(node.home(), &config));
    text.sessions(node.tally());
    text.0
}

/// What the index says, as of one moment.
struct Figures {
    totals: Vec<Total>,
    /// The last complete run of each job that has one.
    last: BTreeMap<String, Attempt>,
    budgets: Vec<Budget>,
}

impl Figures {
    fn read(node: &Node, config: &Config) -> Result<Self, Fault> {
        let now = node.now();
        let since = budget::since(now);
        let (totals, last, charged) = Index::open(node.home()).ask(|store| {
            let mut last = BTreeMap::new();
            for job in config.jobs.keys() {
                let complete = Filter { state: Some(State::Complete), ..Filter::of(job) };
                last.extend(store.newest(complete, 1)?.pop().map(|attempt| (job.clone(), attempt)));
            }
            let mut charged = Vec::new();
            for (name, peer) in &config.peers {
                let records = store.charged(&peer.key.to_string(), since)?;
                charged.push((name, Ledger(records.iter().flat_map(Attempt::charges).collect())));
            }
            Ok((store.totals()?, last, charged))
        })?;
        let budgets = charged.iter().map(|(peer, ledger)| Budget::of(config, peer, ledger, now));
        Ok(Self { totals, last, budgets: budgets.collect::<Result<_, _>>()? })
    }

    fn of<'a>(&'a self, figure: &'a str) -> impl Iterator<Item = &'a Total> {
        self.totals.iter().filter(move |total| total.figure == figure)
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn figures(&mut self, config: &Config, figures: &Figures) {
        let ended = figures.of(totals::RUNS).filter(|total| total.of != totals::UNDER_WAY);
        let help = "Runs that ended, by result: complete, closing, abandoned or the error's code.";
        self.totals("psi_runs_total", help, "result", ended, 1.0);
        self.family("psi_runs_under_way", "gauge", "Runs that have not ended.");
        let under_way = figures.of(totals::RUNS).filter(|total| total.of == totals::UNDER_WAY);
        self.value("psi_runs_under_way", &[], under_way.map(|total| total.amount).sum::<u64>() as f64);
        self.last_success(config, &figures.last);
        self.last_items(&figures.last);
        let help = "Seconds that runs spent in each phase on this side.";
        self.totals("psi_phase_seconds_total", help, "phase", figures.of(totals::PHASES), 1e3);
        let help = "Bytes of runs, TLS included.";
        self.totals("psi_bytes_total", help, "direction", figures.of(totals::BYTES), 1.0);
        let help = "Items of runs whose Commit was sent.";
        self.totals("psi_items_total", help, "of", figures.of(totals::ITEMS), 1.0);
        self.budgets(&figures.budgets);
    }

    /// One counter by job, peer and what it is of; so many units of the sums are one of the counter.
    fn totals<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        totals: impl Iterator<Item = &'a Total>,
        units: f64,
    ) {
        self.family(name, "counter", help);
        for Total { job, peer, of, amount, .. } in totals {
            self.value(name, &[("job", job), ("peer", peer), (label, of)], *amount as f64 / units);
        }
    }

    fn last_success(&mut self, config: &Config, last: &BTreeMap<String, Attempt>) {
        self.family(
            "psi_last_success_timestamp_seconds",
            "gauge",
            "When the last complete run of a job committed; 0 if there is none.",
        );
        for (name, job) in &config.jobs {
            let committed = last.get(name).and_then(|attempt| attempt.committed).unwrap_or_default();
            let labels = [("job", name.as_str()), ("peer", &job.peer)];
            self.value("psi_last_success_timestamp_seconds", &labels, committed as f64);
        }
    }

    fn last_items(&mut self, last: &BTreeMap<String, Attempt>) {
        self.family(
            "psi_last_items",
            "gauge",
            "Items of the last complete run of a job: ours, theirs and matches.",
        );
        for (job, list) in
            last.iter().flat_map(|(job, attempt)| attempt.lists.iter().map(move |list| (job, list)))
        {
            let counts = [
                ("ours", Some(list.items_ours)),
                ("theirs", Some(list.items_theirs)),
                ("matches", list.matches),
            ];
            for (of, count) in counts.into_iter().filter_map(|(of, count)| Some((of, count?))) {
                let labels = [("job", job.as_str()), ("profile", &list.profile), ("of", of)];
                self.value("psi_last_items", &labels, count as f64);
            }
        }
    }

    fn budgets(&mut self, budgets: &[Budget]) {
        self.family(
            "psi_budget_left",
            "gauge",
            "Identifiers that a peer may still test within the year, where there is a limit.",
        );
        for (peer, standing) in
            budgets.iter().flat_map(|of| of.profiles.iter().map(|standing| (&of.peer, standing)))
        {
            if let Some(left) = standing.left {
                self.value("psi_budget_left", &[("peer", peer), ("profile", &standing.profile)], left as f64);
            }
        }
        self.family("psi_runs_left_today", "gauge", "Runs that the policy of a job still allows today.");
        for (peer, today) in budgets.iter().flat_map(|of| of.jobs.iter().map(|today| (&of.peer, today))) {
            let left = today.max_runs.saturating_sub(today.runs);
            self.value("psi_runs_left_today", &[("job", &today.job), ("peer", peer)], left.into());
        }
    }

    fn sessions(&mut self, tally: &Tally) {
        self.family(
            "psi_sessions_total",
            "counter",
            "Sessions of this process that ended, those refused at once included.",
        );
        for (result, count) in tally.ends() {
            self.value("psi_sessions_total", &[("result", &result)], count as f64);
        }
    }

    fn schedules(&mut self, memories: &[Memory]) {
        let help = "Scheduled runs of a job that failed in a row.";
        self.family("psi_schedule_failures", "gauge", help);
        for memory in memories {
            self.value("psi_schedule_failures", &[("job", &memory.job)], memory.failures.into());
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\"b\\c\n"), "a\\\"b\\\\c\\n");
    }
}
