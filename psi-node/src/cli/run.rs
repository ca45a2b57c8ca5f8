//! `psi run`: one exchange, and what came of it.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use psi_node::{
    budget::Budget,
    config::{Job, Overrides},
    durable,
    fault::{Code, Fault},
    home::Home,
    input::{self, Loaded, Rejects},
    node::Node,
    output,
    policy::{Ledger, Request},
    report::{ListSummary, Progress, Summary},
    run,
    store::Index,
};

use tracing::{Instrument, field::Empty};

use super::{job, memory::Memory, print, process, progress::Bar};

/// Rejected rows that are named one by one.
const SHOWN_REJECTS: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    job: String,
    /// Print the summary as one JSON object
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
    /// Read the list and show what would be disclosed; nothing is sent, and no file is written
    #[arg(long)]
    dry_run: bool,
    /// Another file for the matching rows, for this run; {job}, {date} and {run} are replaced
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Other columns for it, for this run
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    columns: Vec<String>,
    /// Leave out rows that matched in the last finished run of the job
    #[arg(long)]
    only_new: bool,
    /// Another file for what is left out of the list, for this run
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    #[command(flatten)]
    memory: Memory,
}

impl Args {
    pub(super) fn execute(&self, home: &Home, psi: &str) -> Result<(), Fault> {
        let node = self.memory.limit(Node::open(home)?);
        node.config().job(&self.job)?;
        let with = self.overrides()?;
        if self.dry_run {
            return self.dry(&node, &with);
        }
        exchange(&node, &self.job, self.json, psi, async |progress| {
            run::call_with(&node, &self.job, &with, progress).await
        })
    }

    fn overrides(&self) -> Result<Overrides, Fault> {
        let full = |path: &Option<PathBuf>| path.as_deref().map(job::full).transpose();
        let (output, rejects) = (full(&self.output)?, full(&self.rejects)?);
        Ok(Overrides { output, columns: self.columns.clone(), only_new: self.only_new, rejects })
    }

    fn dry(&self, node: &Node, with: &Overrides) -> Result<(), Fault> {
        let config = node.config();
        let job = config.job(&self.job)?.overridden(with);
        let job = &job.map_err(|reason| Fault::new(Code::Usage, reason))?;
        check_output(job)?;
        let listed = Listed::of(node, job)?;
        let (now, key) = (node.now(), config.peer(&job.peer)?.key);
        let ledger = Index::open(node.home()).ledger(key, Ledger::since(job.zone(), now))?;
        let budget = Budget::of(&config, &job.peer, &ledger, now)?;
        let policy = policed(&self.job, job, &budget);
        print::out(&disclosed(job, &listed, &policy))?;
        let items: Vec<u64> = listed.lists.iter().map(|list| list.items).collect();
        job.terms().allow("our", &items)?;
        Request::smallest(&self.job, job).allow(&ledger, now)?;
        rejected(&listed.rejects, listed.rows_read)
    }
}

/// What a run would work on.
struct Listed {
    rows_read: u64,
    rejects: Rejects,
    lists: Vec<OneListed>,
}

/// The identifiers of one key.
struct OneListed {
    items: u64,
    duplicates: u64,
    warnings: BTreeMap<&'static str, u64>,
}

impl Listed {
    fn of(node: &Node, job: &Job) -> Result<Self, Fault> {
        let (spec, folder) = (job.input.spec(), node.home().private());
        let failed = |error: io::Error| Fault::new(Code::Storage, format!("{}: {error}", folder.display()));
        durable::create_folder(&folder).map_err(failed)?;
        let source = job.fitting(input::open(&spec, None)?)?;
        let scratch = node.room().at(&folder);
        let Loaded { lists, rows_read, rejects } =
            input::load(source, &spec, &job.input.keys, &job.input.limits(), Some(&scratch))?;
        let counted = lists.into_iter().map(|list| {
            let (items, duplicates) = list.rows.count().map_err(failed)?;
            Ok(OneListed { items, duplicates, warnings: list.warnings })
        });
        Ok(Self { rows_read, rejects, lists: counted.collect::<Result<_, Fault>>()? })
    }
}

/// Does a run of that job, with a bar where somebody looks, and shows what came of it.
pub(super) fn exchange(
    node: &Node,
    job: &str,
    json: bool,
    psi: &str,
    run: impl AsyncFnOnce(Arc<dyn Progress>) -> Result<Summary, Fault>,
) -> Result<(), Fault> {
    let bar = Arc::new(Bar::new());
    let peer = &node.config().job(job)?.peer.clone();
    let span = tracing::info_span!("session", peer, job, run = Empty);
    let run = run(bar.clone()).instrument(span);
    let stop = |fault: &Fault| node.conversations().stop(fault);
    let done = process::block_on(process::until_signalled(run, stop));
    bar.clear();
    let summary = done.map_err(|fault| kept(fault, job, psi))?;
    if json {
        print::json(&summary)?
    } else {
        print::out(&summed_up(job, &summary, psi))?
    }
    rejected(&summary.rejects, summary.rows_read)
}

/// A failure says so if the run can go on.
fn kept(fault: Fault, job: &str, psi: &str) -> Fault {
    if !fault.resumable {
        return fault;
    }
    let message = format!("{}; the run is kept, and `{psi} run {job}` goes on with it", fault.message);
    Fault { message, ..fault }
}

/// A name with `{run}` or `{date}` in it is not known before the run.
fn check_output(job: &Job) -> Result<(), Fault> {
    let mut known = [Some(job.output_name()), job.rejects_name()].into_iter().flatten();
    known.try_for_each(|path| match path.to_string_lossy().contains('{') {
        true => Ok(()),
        false => output::check(&path).map_err(Fault::from),
    })
}

fn disclosed(job: &Job, listed: &Listed, policy: &str) -> String {
    let peer = print::printable(&job.peer);
    let lists = || job.input.keys.iter().zip(&listed.lists);
    let mut facts = vec![fact("rows read", listed.rows_read)];
    facts.extend(left_out(&listed.rejects));
    facts.push(fact("duplicates", lists().map(|(_, list)| list.duplicates).sum()));
    facts.extend(warnings(lists().map(|(_, list)| &list.warnings)));
    let items = lists().map(|(key, list)| (key.profile.id(), list.items));
    let learned = match items.collect::<Vec<_>>().as_slice() {
        [(_, items)] => {
            facts.push(fact("items to send", *items));
            format!("our list has {}", print::count(*items, "item", "items"))
        }
        lists => {
            facts.extend(
                lists.iter().map(|(id, items)| (format!("{id} to send"), print::grouped((*items).into()))),
            );
            let each =
                lists.iter().map(|(id, items)| format!("{} of {id}", print::count(*items, "item", "items")));
            format!("our lists have {}", each.collect::<Vec<_>>().join(", "))
        }
    };
    format!(
        "{}\n{peer} would learn that {learned}, and which of them it has as well.\nThe terms:\n{}The policy:\n{policy}Nothing was sent.\n",
        print::table(&facts),
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

/// A line of a table.
type Fact = (String, String);

fn fact(name: &str, number: u64) -> Fact {
    (name.to_owned(), print::grouped(number.into()))
}

/// Rows that were left out, and cells of others, if there are any.
fn left_out(rejects: &Rejects) -> Vec<Fact> {
    let cells = (rejects.cells > 0).then(|| fact("cells rejected", rejects.cells));
    [fact("rejected", rejects.total)].into_iter().chain(cells).collect()
}

/// Cells that were accepted with a remark, by reason, if there are any.
fn warnings<'a>(lists: impl Iterator<Item = &'a BTreeMap<&'static str, u64>>) -> Option<Fact> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    lists.flatten().for_each(|(reason, count)| *sums.entry(reason).or_default() += count);
    let shown = sums.iter().map(|(reason, count)| format!("{reason} {}", print::grouped((*count).into())));
    let shown = shown.collect::<Vec<_>>().join(", ");
    (!shown.is_empty()).then(|| ("warnings".to_owned(), shown))
}

/// The summary for people.
fn summed_up(job: &str, summary: &Summary, psi: &str) -> String {
    let mut facts = vec![fact("rows read", summary.rows_read)];
    facts.extend(left_out(&summary.rejects));
    facts.push(fact("duplicates", summary.rows_duplicate));
    facts.extend(warnings(summary.lists.iter().map(|list| &list.rows_warned)));
    facts.extend(exchanged(&summary.lists));
    let proved = if summary.proved { "every answer" } else { "no: the terms have no proofs" };
    facts.push(("proved".to_owned(), proved.to_owned()));
    facts.push(("took".to_owned(), taken(summary)));
    format!(
        "{} with {}: {}\n\n{}\n{}statement and transcript in {}\nverify them: {psi} verify {}\n",
        print::printable(job),
        print::printable(&summary.peer),
        print::count(summary.matches, "match", "matches"),
        print::table(&facts),
        files(summary),
        summary.run_folder.display(),
        print::quoted(&summary.run_folder),
    )
}

/// The files with rows, a line each.
fn files(summary: &Summary) -> String {
    let kind = if summary.only_new {
        ["new matching row", "new matching rows"]
    } else {
        ["matching row", "matching rows"]
    };
    let mut lines =
        format!("{} in {}", print::count(summary.rows_written, kind[0], kind[1]), summary.output.display());
    lines += &match &summary.since {
        Some(run) => format!(
            "; {} left out, since they matched in {run}",
            print::count(summary.rows_known, "other", "others")
        ),
        None if summary.only_new => "; nothing is known of an earlier run, so all are new".to_owned(),
        None => String::new(),
    };
    if let Some(rejects) = &summary.rejects_file {
        lines += &format!("\nwhat was left out of the list in {}", rejects.display());
    }
    lines + "\n"
}

/// What went over and back: line by line for one list, a line each for several.
fn exchanged(lists: &[ListSummary]) -> Vec<Fact> {
    match lists {
        [list] => vec![
            fact("items sent", list.items_ours),
            fact("items theirs", list.items_theirs),
            fact("matches", list.matches),
        ],
        lists => lists.iter().map(in_a_line).collect(),
    }
}

fn in_a_line(list: &ListSummary) -> Fact {
    let [ours, theirs] = [list.items_ours, list.items_theirs].map(|items| print::grouped(items.into()));
    let matches = print::count(list.matches, "match", "matches");
    (list.profile.clone(), format!("{ours} items sent, {theirs} theirs, {matches}"))
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
    if rejects.is_empty() {
        return Ok(());
    }
    let shown = rejects.first.iter().take(SHOWN_REJECTS);
    let mut lines: String = shown.map(|rejected| print::printable(&rejected.to_string()) + "\n").collect();
    if rejects.by_reason.values().sum::<u64>() > SHOWN_REJECTS as u64 {
        let reasons = rejects.by_reason.iter().map(|(reason, count)| format!("{reason} {count}"));
        lines += &format!("and so on; by reason: {}\n", reasons.collect::<Vec<_>>().join(", "));
    }
    print::err(&lines);
    Err(Fault::new(Code::RowsRejected, counted(rejects, rows_read)))
}

fn counted(rejects: &Rejects, rows_read: u64) -> String {
    let of = print::count(rows_read, "row", "rows");
    let (rows, cells) = (print::grouped(rejects.total.into()), print::count(rejects.cells, "cell", "cells"));
    match (rejects.total, rejects.cells) {
        (_, 0) => format!("{rows} of {of} left out"),
        (0, _) => format!("{cells} left out, all {of} stay"),
        _ => format!("{rows} of {of} left out, and {cells} of others"),
    }
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
            cells_rejected: 0,
            lists: vec![list("cn.mobile/1", [138, 150], 24)],
            resumed: 0,
            rejects_file: None,
            only_new: false,
            rows_known: 0,
            since: None,
            rejects: Rejects { total: 1, ..Rejects::default() },
        }
    }

    fn list(profile: &str, items: [u64; 2], matches: u64) -> ListSummary {
        let rows_warned = BTreeMap::new();
        let (profile, columns) = (profile.into(), vec!["phone".into()]);
        let [items_ours, items_theirs] = items;
        ListSummary { profile, columns, items_ours, items_theirs, matches, rows_duplicate: 1, rows_warned }
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
    fn files_are_named_with_what_is_in_them() {
        let with = |only_new, since: Option<&str>, rows_known| {
            let since = since.map(str::to_owned);
            files(&Summary {
                only_new,
                since,
                rows_known,
                rejects_file: Some("/out/r.csv".into()),
                ..summary()
            })
        };
        let rejects = "\nwhat was left out of the list in /out/r.csv\n";
        assert_eq!(with(false, None, 0), format!("25 matching rows in /out/a.csv{rejects}"));
        assert_eq!(
            with(true, None, 0),
            format!(
                "25 new matching rows in /out/a.csv; nothing is known of an earlier run, so all are new{rejects}"
            )
        );
        assert_eq!(
            with(true, Some("20261121T120000Z-00112233"), 7),
            format!(
                "25 new matching rows in /out/a.csv; 7 others left out, since they matched in 20261121T120000Z-00112233{rejects}"
            )
        );
    }

    #[test]
    fn several_lists_have_a_line_each() {
        let mut summary = summary();
        summary.lists.push(list("bankcard/1", [1_000, 2], 1));
        summary.lists[1].rows_warned.insert("check-digit", 3);
        summary.rejects.cells = 2;
        let text = summed_up("agents", &summary, "psi");
        let lines = "rows read       140\nrejected        1\ncells rejected  2\nduplicates      1\nwarnings        check-digit 3\n\
                     cn.mobile/1     138 items sent, 150 theirs, 24 matches\n\
                     bankcard/1      1,000 items sent, 2 theirs, 1 match\n";
        assert!(text.contains(lines), "{text}");
    }

    #[test]
    fn rows_and_cells_that_were_left_out_are_counted_apart() {
        let counted = |total, cells| counted(&Rejects { total, cells, ..Rejects::default() }, 1_000);
        assert_eq!(counted(2, 0), "2 of 1,000 rows left out");
        assert_eq!(counted(0, 1), "1 cell left out, all 1,000 rows stay");
        assert_eq!(counted(2, 3), "2 of 1,000 rows left out, and 3 cells of others");
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
