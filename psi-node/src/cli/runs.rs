//! `psi runs`: what was run, from the records of attempts, and what is to become of runs that are unfinished.

use std::fmt::Write;

use psi_node::{
    fault::Fault,
    home::Home,
    node::Node,
    report::Phase,
    run::{cancel, holder, resume},
    runs::{Attempt, AttemptList, AttemptRows, Attempts, Runs, Spent, State, started, time},
    store::{Filter, Index},
};

use serde::{Deserialize, de::IntoDeserializer};

use super::{print, run};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the newest attempts, newest first
    List {
        /// Only those of this job
        #[arg(long, value_name = "JOB")]
        job: Option<String>,
        /// Only those in this state: agreed, committed, closing, unconfirmed, complete, failed or abandoned
        #[arg(long, value_name = "STATE", value_parser = state_named)]
        state: Option<State>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        most: usize,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show what is recorded of an attempt
    Show {
        /// Its run id
        id: String,
        /// Print the record as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Go on with an unfinished run, and with no other
    Resume {
        /// Its run id
        id: String,
        /// Print the summary as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Give up an unfinished run: its record and what was charged stay, its keys go
    Cancel {
        /// Its run id
        id: String,
        /// Print the record as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make the index over the records anew; the records stay as they are
    Rebuild,
}

impl Command {
    pub(super) fn execute(&self, home: &Home, psi: &str) -> Result<(), Fault> {
        match self {
            Self::List { job, state, most, json } => {
                let filter = Filter { job: job.as_deref(), state: *state };
                let attempts = Index::open(home).newest(filter, *most)?;
                if *json { attempts.iter().try_for_each(print::json) } else { print::out(&listed(&attempts)) }
            }
            Self::Show { id, json } => show(home, &Attempts::of(home).named(id)?, *json, psi),
            Self::Resume { id, json } => {
                let node = Node::open(home)?;
                let job = Attempts::of(home).named(id)?.job;
                run::exchange(&node, &job, *json, psi, async |progress| resume(&node, id, progress).await)
            }
            Self::Cancel { id, json } => show(home, &cancel(&Node::open(home)?, id)?, *json, psi),
            Self::Rebuild => {
                let records = Index::rebuild(home)?;
                print::err(&format!("{} in the index\n", print::count(records as u64, "record", "records")));
                Ok(())
            }
        }
    }
}

/// A state by the word that records and `--json` have for it.
fn state_named(word: &str) -> Result<State, serde::de::value::Error> {
    State::deserialize(word.into_deserializer())
}

fn show(home: &Home, attempt: &Attempt, json: bool, psi: &str) -> Result<(), Fault> {
    if json { print::json(attempt) } else { print::out(&shown(home, attempt, psi)) }
}

/// The record for people: who, how far, what was disclosed, what went wrong, and where things are.
fn shown(home: &Home, attempt: &Attempt, psi: &str) -> String {
    let mut facts = vec![
        ("run", attempt.run_id.clone()),
        ("job", format!("{} with {}, as {}", attempt.job, attempt.peer, attempt.role)),
        ("state", state(home, attempt)),
        ("began", time(started(&attempt.run_id))),
        ("committed", attempt.committed.map_or_else(|| "no: only sizes were disclosed".to_owned(), time)),
    ];
    if !attempt.agreement.is_empty() {
        facts.insert(2, ("agreement", attempt.agreement.clone()));
    }
    if attempt.resumed > 0 {
        facts.push(("resumed", print::count(attempt.resumed.into(), "time", "times")));
    }
    facts.extend(attempt.lists.iter().map(|list| (list.profile.as_str(), sizes(list))));
    facts.extend(attempt.rows.iter().map(|rows| ("rows", counted(rows))));
    facts.extend(spent(&attempt.spent));
    facts.extend(attempt.error.iter().map(|error| ("error", error.clone())));
    facts.push(("result", result(attempt)));
    facts.extend(attempt.rejects.iter().map(|path| ("rejects", path.display().to_string())));
    let folder = Runs::of(home).folder(&attempt.run_id);
    if folder.exists() {
        facts.push(("record", folder.display().to_string()));
    }
    let facts: Vec<_> = facts.into_iter().map(|(name, fact)| (name, print::printable(&fact))).collect();
    let next = match attempt.state {
        _ if folder.exists() => format!("\nverify it: {psi} verify {}\n", print::quoted(&folder)),
        state if state.is_open() => format!(
            "\ngo on with it: {psi} runs resume {0}\ngive it up:    {psi} runs cancel {0}\n",
            attempt.run_id
        ),
        _ => String::new(),
    };
    print::table(&facts) + &next
}

fn state(home: &Home, attempt: &Attempt) -> String {
    let mut state = attempt.state.name().to_owned();
    if attempt.state.is_open() {
        let running =
            holder(home, &attempt.job).filter(|holder| holder.run.as_ref() == Some(&attempt.run_id));
        let _ = match running {
            Some(holder) => write!(state, ", under way in process {}", holder.pid),
            None => write!(state, ", unfinished"),
        };
    }
    state
}

fn sizes(list: &AttemptList) -> String {
    let [ours, theirs] = [list.items_ours, list.items_theirs].map(|items| print::grouped(items.into()));
    let matches = list
        .matches
        .map_or_else(String::new, |matches| format!(", {}", print::count(matches, "match", "matches")));
    format!("{ours} items of ours, {theirs} of theirs{matches}")
}

fn counted(rows: &AttemptRows) -> String {
    let [read, rejected, written] =
        [rows.read, rows.rejected, rows.written].map(|rows| print::grouped(rows.into()));
    let duplicates = print::grouped(rows.duplicates.iter().map(|of| u128::from(*of)).sum());
    format!("{read} read, {rejected} left out, {duplicates} duplicates, {written} in the result")
}

/// What it took, if that is known.
fn spent(spent: &Spent) -> Vec<(&'static str, String)> {
    if spent.is_empty() {
        return Vec::new();
    }
    let phase = |phase: Phase| {
        let span = print::span(*spent.phases_ms.get(phase.name())? as f64 / 1e3);
        Some(format!("{} {span}", phase.name()))
    };
    let phases: Vec<String> = Phase::ALL.into_iter().filter_map(phase).collect();
    let [sent, received] = [spent.bytes_sent, spent.bytes_received].map(print::bytes);
    vec![("took", phases.join(", ")), ("bytes", format!("{sent} sent, {received} received"))]
}

/// Where the result is, or would be.
fn result(attempt: &Attempt) -> String {
    let path = attempt.output.display();
    match attempt.state {
        State::Complete if attempt.output.as_os_str().is_empty() => "lost".to_owned(),
        State::Complete | State::Unconfirmed => path.to_string(),
        state if state.is_open() => format!("none yet; to be {path}"),
        _ => "none".to_owned(),
    }
}

fn listed(attempts: &[Attempt]) -> String {
    let rows = attempts.iter().map(|attempt| (attempt.run_id.as_str(), print::printable(&line(attempt))));
    print::table(&rows.collect::<Vec<_>>())
}

fn line(attempt: &Attempt) -> String {
    let items = attempt.lists.iter().map(|list| format!("{} x {}", list.items_ours, list.items_theirs));
    let committed = attempt.committed.map_or_else(|| "nothing sent".to_owned(), time);
    let error = attempt.error.as_deref().map_or_else(String::new, |error| format!(", {error}"));
    format!(
        "{} with {}, {} items, {committed}, {}{error}",
        attempt.job,
        attempt.peer,
        items.collect::<Vec<_>>().join(" and "),
        attempt.state.name(),
    )
}
