//! What one run does otherwise than its job says.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Job;
use crate::output::Format;

/// What `psi run` was told for this run alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Another file for the matching rows.
    pub output: Option<PathBuf>,
    /// Other columns for it; those of the job if none.
    pub columns: Vec<String>,
    /// Only what is new, whatever the job says.
    pub only_new: bool,
    /// Another file for what is left out.
    pub rejects: Option<PathBuf>,
}

impl Job {
    /// The job as this run has it, in its text as well: so a run that goes on does what it was told when it began. A file
    /// named for one run is taken as it is named; those of a job with a schedule get the run's id.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn overridden(&self, with: &Overrides) -> Result<Self, String> {
        if *with == Overrides::default() {
            return Ok(self.clone());
        }
        let mut job: Table = match self.text.parse() {
            Ok(Value::Table(job)) => job,
            _ => return Err("expected a table".to_owned()),
        };
        job.remove("schedule");
        job.insert("output".to_owned(), text(with.output.as_deref().unwrap_or(&self.output_name())));
        if let Some(rejects) = with.rejects.clone().or_else(|| self.rejects_name()) {
            job.insert("rejects".to_owned(), text(&rejects));
        }
        if !with.columns.is_empty() {
            job.insert("columns".to_owned(), with.columns.clone().into());
        }
        // Nobody can take the mark back for this run, and other formats have none.
        if with.output.as_deref().is_some_and(|output| !matches!(Format::of(output), Ok(Format::Csv))) {
            job.remove("bom");
        }
        if with.only_new {
            job.insert("only_new".to_owned(), true.into());
        }
        let job = Self::parse(&Value::Table(job).to_string())?;
        job.check_output().map(|()| job)
    }
}

fn text(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn job(lines: &str) -> Job {
        let text = format!(
            "[node]\nname = \"a\"\n[peers.b]\nendpoint = \"https://b:1\"\n\
             key = \"ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\"\n\
             [jobs.j]\npeer = \"b\"\noutput = \"/out/o.csv\"\n{lines}\n\
             input = {{ path = \"i.csv\", column = \"c\", profile = \"cn.mobile/1\" }}\n[jobs.j.policy]\n\
             output = \"mutual\"\nproved = true\nmin_items = 1\nmax_items = 10\nmax_runs_per_day = 2\nopenable = true\n"
        );
        Config::parse(&text).unwrap().jobs["j"].clone()
    }

    #[test]
    fn what_is_not_named_stays_and_the_text_says_the_same() {
        let job = job("rejects = \"/out/r.csv\"\ncolumns = [\"c\"]\nbom = true");
        let with =
            Overrides { output: Some("/tmp/x-{run}.jsonl".into()), only_new: true, ..Overrides::default() };
        let overridden = job.overridden(&with).unwrap();
        for job in [&overridden, &Job::parse(&overridden.text).unwrap()] {
            assert_eq!(job.output, Path::new("/tmp/x-{run}.jsonl"));
            assert_eq!((job.columns.as_slice(), job.only_new), (&["c".to_owned()][..], true));
            assert_eq!(job.rejects.as_deref(), Some(Path::new("/out/r.csv")));
        }
        assert!(!overridden.bom && overridden.terms() == job.terms());
        assert_eq!(job.overridden(&Overrides::default()).unwrap().text, job.text);
    }

    #[test]
    fn names_for_one_run_are_taken_as_they_are_and_those_of_a_schedule_get_the_id() {
        let job = job("rejects = \"/out/r.csv\"\nschedule = \"30 2 * * *\"");
        assert_eq!(job.output_name(), Path::new("/out/o-{run}.csv"));
        let with = Overrides { output: Some("/tmp/x.csv".into()), ..Overrides::default() };
        let overridden = job.overridden(&with).unwrap();
        assert_eq!(overridden.output_name(), Path::new("/tmp/x.csv"));
        assert_eq!(overridden.rejects_name().unwrap(), Path::new("/out/r-{run}.csv"));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let refused = |with: Overrides| job("bom = true").overridden(&with).unwrap_err();
        let output = |path: &str| Overrides { output: Some(path.into()), ..Overrides::default() };
        assert_eq!(
            refused(output("/tmp/x.xls")),
            "output: /tmp/x.xls: output must end in .csv, .xlsx or .jsonl"
        );
        assert!(refused(output("/tmp/{when}.csv")).contains("{when}"));
        let rejects = Overrides { rejects: Some("/out/o.csv".into()), ..Overrides::default() };
        assert_eq!(refused(rejects), "rejects: the same file as the output");
        let columns = Overrides { columns: vec!["c".into(), "c".into()], ..Overrides::default() };
        assert!(refused(columns).starts_with("columns: "));
    }
}
