//! The figures of a node as Prometheus text.

use std::{collections::BTreeMap, fmt::Write};

use super::Watch;
use crate::{
    budget::Budget,
    config::Config,
    node::{Node, SOFTWARE},
    runs::{Attempt, Attempts, State},
};

/// All figures; what can't be read is missing, and logged.
pub(super) fn text(node: &Node) -> String {
    let mut text = Text::default();
    let (config, now) = (node.config(), node.now());
    text.family("psi_info", "gauge", "Software of the node.");
    text.value("psi_info", &[("software", SOFTWARE)], 1.0);
    text.family(
        "psi_certificate_expiry_timestamp_seconds",
        "gauge",
        "End of the certificate in use; it is reissued daily.",
    );
    text.value("psi_certificate_expiry_timestamp_seconds", &[], node.tls().credentials().expires() as f64);
    match Attempts::of(node.home()).all() {
        Ok(attempts) => text.runs(&config, &attempts),
        Err(fault) => tracing::error!(code = %fault.code, %fault, "the records of runs can't be read"),
    }
    text.budgets(node, &config, now);
    text.sessions(node.watch());
    text.0
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

    fn runs(&mut self, config: &Config, attempts: &[Attempt]) {
        let mut counts: BTreeMap<[&str; 3], u64> = BTreeMap::new();
        let mut last: BTreeMap<&str, &Attempt> = BTreeMap::new();
        for attempt in attempts {
            let Some(result) = result(attempt) else { continue };
            *counts.entry([&attempt.job, &attempt.peer, result]).or_default() += 1;
            let newest = last.get(attempt.job.as_str()).is_none_or(|last| last.committed < attempt.committed);
            if attempt.state == State::Complete && newest {
                last.insert(&attempt.job, attempt);
            }
        }
        self.family(
            "psi_runs_total",
            "counter",
            "Runs that ended, by result: complete, closing, abandoned or the error's code.",
        );
        for ([job, peer, result], count) in &counts {
            self.value("psi_runs_total", &[("job", job), ("peer", peer), ("result", result)], *count as f64);
        }
        self.family("psi_runs_under_way", "gauge", "Runs that have not ended.");
        self.value(
            "psi_runs_under_way",
            &[],
            attempts.iter().filter(|attempt| result(attempt).is_none()).count() as f64,
        );
        self.family(
            "psi_last_success_timestamp_seconds",
            "gauge",
            "When the last complete run of a job committed; 0 if there is none.",
        );
        for (name, job) in &config.jobs {
            let committed = last.get(name.as_str()).and_then(|attempt| attempt.committed).unwrap_or_default();
            self.value(
                "psi_last_success_timestamp_seconds",
                &[("job", name), ("peer", &job.peer)],
                committed as f64,
            );
        }
        self.last_items(&last);
    }

    fn last_items(&mut self, last: &BTreeMap<&str, &Attempt>) {
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
                let labels = [("job", *job), ("profile", &list.profile), ("of", of)];
                self.value("psi_last_items", &labels, count as f64);
            }
        }
    }

    fn budgets(&mut self, node: &Node, config: &Config, now: u64) {
        let budgets: Vec<Budget> = config
            .peers
            .keys()
            .filter_map(|peer| Budget::load(node.home(), config, peer, now).ok())
            .collect();
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

    fn sessions(&mut self, watch: &Watch) {
        let seen = watch.seen();
        self.family(
            "psi_sessions_total",
            "counter",
            "Sessions of this process that ended, those refused at once included.",
        );
        for (result, count) in &seen.sessions {
            self.value("psi_sessions_total", &[("result", result)], *count as f64);
        }
        self.family(
            "psi_phase_seconds_total",
            "counter",
            "Seconds that sessions of this process spent in each phase.",
        );
        for (phase, time) in &seen.phases {
            self.value("psi_phase_seconds_total", &[("phase", phase)], time.as_secs_f64());
        }
        self.family(
            "psi_bytes_total",
            "counter",
            "Bytes of complete sessions of this process, TLS included.",
        );
        for (direction, bytes) in ["sent", "received"].into_iter().zip(seen.bytes) {
            self.value("psi_bytes_total", &[("direction", direction)], bytes as f64);
        }
    }
}

/// How a run ended; `None` while it has not.
fn result(attempt: &Attempt) -> Option<&str> {
    match attempt.state {
        State::Complete => Some("complete"),
        State::Closing => Some("closing"),
        State::Failed => Some(code(attempt.error.as_deref().unwrap_or_default())),
        _ => None,
    }
}

/// The code before the text of an attempt's error.
fn code(error: &str) -> &str {
    match error.split_once(": ") {
        Some((code, _)) if code.starts_with("PSI-E") => code,
        _ => "abandoned",
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_codes_are_taken_from_errors() {
        assert_eq!(escaped("a\"b\\c\n"), "a\\\"b\\\\c\\n");
        assert_eq!(code("PSI-E042: the connection was cut: x"), "PSI-E042");
        assert_eq!(code("abandoned: the process ended before the run did"), "abandoned");
        assert_eq!(code(""), "abandoned");
    }
}
