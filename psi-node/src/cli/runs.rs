//! `psi runs`: what was run, from the records of attempts.

use psi_node::{
    fault::{Code, Fault},
    home::Home,
    node::Node,
    run,
    runs::{Attempt, Attempts, time},
    store::Index,
};

use super::print;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the newest attempts, newest first
    List {
        /// Only those of this job
        job: Option<String>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        most: usize,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show what is recorded of an attempt, as JSON
    Show {
        /// Its run id
        id: String,
    },
    /// Give up an unfinished run: its record and what was charged stay, its keys go
    Cancel {
        /// Its run id
        id: String,
    },
    /// Make the index over the records anew; the records stay as they are
    Rebuild,
}

impl Command {
    pub(super) fn execute(&self, home: &Home) -> Result<(), Fault> {
        match self {
            Self::List { job, most, json } => {
                let attempts = Index::open(home).newest(job.as_deref(), *most)?;
                if *json { attempts.iter().try_for_each(print::json) } else { print::out(&listed(&attempts)) }
            }
            Self::Show { id } => match Attempts::of(home).read(id)? {
                Some(attempt) => print::json(&attempt),
                None => Err(Fault::new(Code::NoSuchName, format!("no run {id:?}"))),
            },
            Self::Cancel { id } => run::cancel(&Node::open(home)?, id),
            Self::Rebuild => {
                let records = Index::rebuild(home)?;
                print::err(&format!("{} in the index\n", print::count(records as u64, "record", "records")));
                Ok(())
            }
        }
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
