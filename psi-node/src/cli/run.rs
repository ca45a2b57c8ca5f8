//! `psi run`: one exchange, and what came of it.

use std::sync::Arc;

use psi_node::{
    budget::Budget,
    config::Job,
    fault::{Code, Fault},
    home::Home,
    input::{self, Limits, Loaded, Rejects},
    node::Node,
    output,
    policy::{Ledger, Request},
    report::Summary,
    run,
    runs::Attempts,
};

use super::{job, print, process, progress::Bar};

/// Rejected rows that are named one by one.
const SHOWN_REJECTS: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// Print the summary as one JSON object
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
    /// Read the list and show what would be disclosed; nothing is sent
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(super) fn execute(&self, home: &Home, psi: &str) -> Result<(), Fault> {
        let node = Node::open(home)?;
        node.config().job(&self.job)?;
        if self.dry_run { self.dry(&node) } else { self.exchange(&node, psi) }
    }

    fn exchange(&self, node: &Node, psi: &str) -> Result<(), Fault> {
        let bar = Arc::new(Bar::new());
        let called = process::block_on(process::unless_signalled(run::call(node, &self.job, bar.clone())));
        bar.clear();
        let summary = called?;
        if self.json {
            print::json(&summary)?
        } else {
            print::out(&summed_up(&self.job, &summary, psi))?
        }
        rejected(&summary.rejects, summary.rows_read)
    }

    fn dry(&self, node: &Node) -> Result<(), Fault> {
        let config = node.config();
        let job = config.job(&self.job)?;
        check_output(job)?;
        let loaded = load(job)?;
        let (now, key) = (node.now(), config.peer(&job.peer)?.key);
        let ledger = Attempts::of(node.home()).ledger(key, Ledger::since(job.zone(), now))?;
        let budget = Budget::of(&config, &job.peer, &ledger, now)?;
        let policy = policed(&self.job, job, &budget);
        print::out(&disclosed(job, &loaded, &policy))?;
        let (items, policy) = (loaded.set.len() as u64, &job.policy);
        if !(policy.min_items..=policy.max_items).contains(&items) {
            let allowed = format!("{} to {}", policy.min_items, policy.max_items);
            return Err(Fault::new(
                Code::Items,
                format!("our list has {items} items, the terms allow {allowed}"),
            ));
        }
        Request::smallest(&self.job, job).allow(&ledger, now)?;
        rejected(&loaded.rejects, loaded.rows_read)
    }
}

/// A name with `{run}` or `{date}` in it is not known before the run.
fn check_output(job: &Job) -> Result<(), Fault> {
    if job.output.to_string_lossy().contains('{') {
        return Ok(());
    }
    output::check(&job.output).map_err(Fault::from)
}

fn load(job: &Job) -> Result<Loaded, Fault> {
    let spec = job.input.spec();
    let limits = Limits { max_rejects: job.input.max_rejects, ..Limits::default() };
    Ok(input::load(input::open(&spec, None)?, &spec, &job.input.profile, &limits)?)
}

fn disclosed(job: &Job, loaded: &Loaded, policy: &str) -> String {
    let peer = print::printable(&job.peer);
    let rows = print::table(&[
        ("rows read", print::grouped(loaded.rows_read.into())),
        ("rejected", print::grouped(loaded.rejects.total.into())),
        ("duplicates", print::grouped(loaded.duplicates.into())),
        ("items to send", print::grouped(loaded.set.len() as u128)),
    ]);
    format!(
        "{rows}\n{peer} would learn that our list has {}, and which of them it has as well.\nThe terms:\n{}The policy:\n{policy}Nothing was sent.\n",
        print::count(loaded.set.len() as u64, "item", "items"),
        job::allowed(job, &peer),
    )
}

/// What the policy leaves of today and of the year. How many items the peer has is known only in the run.
fn policed(name: &str, job: &Job, budget: &Budget) -> String {
    let runs = budget.jobs.iter().find(|today| today.job == name).map_or(0, |today| today.runs);
    let mut lines = format!(
        "  - {} of {} today, failed ones included.\n",
        print::grouped(runs.into()),
        print::count(job.policy.max_runs_per_day.into(), "run", "runs"),
    );
    for profile in job.terms().profiles {
        let Some(most) = job.policy.max_tested_per_year else { continue };
        let tested = budget.profiles.iter().find(|of| of.profile == profile.id()).map_or(0, |of| of.tested);
        lines += &format!(
            "  - {} may test {} more identifiers of {profile}; a larger list of its ends the run.\n",
            print::printable(&job.peer),
            print::grouped(most.saturating_sub(tested).into()),
        );
    }
    lines
}

/// The summary for people.
fn summed_up(job: &str, summary: &Summary, psi: &str) -> String {
    let grouped = |number: u64| print::grouped(number.into());
    let facts = print::table(&[
        ("rows read", grouped(summary.rows_read)),
        ("rejected", grouped(summary.rows_rejected)),
        ("duplicates", grouped(summary.rows_duplicate)),
        ("items sent", grouped(summary.items_ours)),
        ("items theirs", grouped(summary.items_theirs)),
        ("matches", grouped(summary.matches)),
        ("proved", if summary.proved { "every answer" } else { "no: the terms have no proofs" }.to_owned()),
        ("took", taken(summary)),
    ]);
    format!(
        "{} with {}: {}\n\n{facts}\n{} in {}\nstatement and transcript in {}\nverify them: {psi} verify {}\n",
        print::printable(job),
        print::printable(&summary.peer),
        print::count(summary.matches, "match", "matches"),
        print::count(summary.rows_written, "matching row", "matching rows"),
        summary.output.display(),
        summary.run_folder.display(),
        print::quoted(&summary.run_folder),
    )
}

fn taken(summary: &Summary) -> String {
    let [sent, received, memory] =
        [summary.bytes_sent, summary.bytes_received, summary.peak_rss_bytes].map(print::bytes);
    format!(
        "{:.1} s, {:.1} s of CPU, {sent} sent, {received} received, {memory} of memory",
        summary.seconds, summary.cpu_seconds
    )
}

/// Names the rows that were left out; they make the exit status 3.
fn rejected(rejects: &Rejects, rows_read: u64) -> Result<(), Fault> {
    if rejects.total == 0 {
        return Ok(());
    }
    let shown = rejects.first.iter().take(SHOWN_REJECTS);
    let mut lines: String = shown.map(|(line, fault)| format!("line {line}: {fault}\n")).collect();
    if rejects.total > SHOWN_REJECTS as u64 {
        let reasons = rejects.by_reason.iter().map(|(reason, count)| format!("{reason} {count}"));
        lines += &format!("and so on; by reason: {}\n", reasons.collect::<Vec<_>>().join(", "));
    }
    print::err(&lines);
    let of = print::count(rows_read, "row", "rows");
    Err(Fault::new(Code::RowsRejected, format!("{} of {of} left out", print::grouped(rejects.total.into()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            run_id: "20261122T120000Z-0011223344556677".into(),
            peer: "bank-b".into(),
            items_ours: 138,
            items_theirs: 150,
            matches: 24,
            proved: true,
            output: "/out/a.csv".into(),
            run_folder: "/home of a/runs/1".into(),
            seconds: 1.25,
            bytes_sent: 23_456,
            bytes_received: 999,
            cpu_seconds: 0.5,
            peak_rss_bytes: 12_345_678,
            rows_read: 140,
            rows_rejected: 1,
            rows_duplicate: 1,
            rows_written: 25,
            rejects: Rejects::default(),
        }
    }

    #[test]
    fn people_get_the_funnel_and_the_next_command() {
        let text = summed_up("agents", &summary(), "psi --home A");
        assert_eq!(
            text,
            "agents with bank-b: 24 matches\n\n\
             rows read     140\nrejected      1\nduplicates    1\nitems sent    138\nitems theirs  150\nmatches       24\n\
             proved        every answer\n\
             took          1.2 s, 0.5 s of CPU, 23.5 kB sent, 999 bytes received, 12.3 MB of memory\n\n\
             25 matching rows in /out/a.csv\nstatement and transcript in /home of a/runs/1\n\
             verify them: psi --home A verify '/home of a/runs/1'\n"
        );
    }

    #[test]
    fn json_has_the_fields_that_scripts_rely_on_first_and_in_order() {
        let text = serde_json::to_string(&summary()).unwrap();
        let fields = [
            "run_id",
            "peer",
            "items_ours",
            "items_theirs",
            "matches",
            "proved",
            "output",
            "run_folder",
            "seconds",
            "bytes_sent",
            "bytes_received",
            "cpu_seconds",
            "peak_rss_bytes",
        ];
        let places: Vec<_> =
            fields.iter().map(|field| text.find(&format!("\"{field}\":")).unwrap()).collect();
        assert!(places.is_sorted() && places[0] == 1, "{text}");
        assert!(!text.contains("rejects\""));
    }
}
