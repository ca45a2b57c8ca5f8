//! `psi job`: what is exchanged with whom. Adding a job is the consent.

use std::path::{Path, PathBuf, absolute};

use psi_core::identifier::Profile;
use psi_node::{
    config::{Config, Input, Job, OutputMode, Policy, RESUME_WITHIN_HOURS, RETRY_MINUTES, edit::Edit, keys},
    fault::{Code, Fault},
    home::Home,
    input::{Delimiter, Encoding, Format, Key},
    known, policy,
    schedule::Schedule,
    zone::Zone,
};

use super::print;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Add a job, and with it consent to its exchanges
    Add(Box<Add>),
    /// List the jobs
    List,
    /// Show one job and what it allows
    Show {
        /// The job
        name: String,
    },
    /// Remove a job: nothing is exchanged under it any more
    Remove {
        /// The job
        name: String,
    },
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("identifiers").required(true).args(["column", "key"])))]
pub(crate) struct Add {
    /// Its name, the same on both sides
    pub(super) name: String,
    /// Our name for the peer
    #[arg(long)]
    pub(super) peer: String,
    /// Our list; - is standard input, for `psi run` only
    #[arg(long, value_name = "FILE")]
    pub(super) input: PathBuf,
    #[command(flatten)]
    pub(super) layout: Layout,
    /// The column with the identifiers
    #[arg(long, requires = "profile")]
    pub(super) column: Option<String>,
    /// The type of the identifiers, such as cn.mobile/1
    #[arg(long, requires = "column")]
    pub(super) profile: Option<Profile>,
    /// Columns and type of one of several identifiers, such as phone=cn.mobile/1 or name,phone=cn.name/1+cn.mobile/1;
    /// a row matches if any of them does
    #[arg(long, value_name = "COLUMN,..=PROFILE", conflicts_with = "profile", value_parser = parse_key)]
    pub(super) key: Vec<Key>,
    /// Reject identifiers whose check digit is wrong also where the profile only warns
    #[arg(long)]
    pub(super) strict: bool,
    /// The file for the matching rows, in .csv, .xlsx or .jsonl; {job}, {date} and {run} are replaced
    #[arg(long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The time zone of its days and dates, such as Asia/Shanghai; this machine's by default
    #[arg(long, value_name = "ZONE")]
    pub(super) timezone: Option<Zone>,
    /// When `psi serve` calls the peer, in that time zone: minute, hour, day, month, weekday, such as "30 2 * * *"
    #[arg(long, value_name = "CRON")]
    pub(super) schedule: Option<Schedule>,
    /// Start up to so many minutes later than due
    #[arg(long, value_name = "N", default_value_t = 0, requires = "schedule")]
    pub(super) jitter_minutes: u32,
    /// Program and arguments to run after two scheduled runs in a row have failed; the last flag, or ended by `;`
    #[arg(
        long,
        value_name = "CMD",
        num_args = 1..,
        allow_hyphen_values = true,
        value_terminator = ";",
        requires = "schedule"
    )]
    pub(super) on_failure: Vec<String>,
    /// The columns of the list that the output keeps, in this order; all if not given
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub(super) columns: Vec<String>,
    /// Start a CSV output with a byte order mark, so that Excel reads it as UTF-8
    #[arg(long)]
    pub(super) bom: bool,
    /// Leave out of the output what matched in the last finished run
    #[arg(long)]
    pub(super) only_new: bool,
    /// A file for what is left out of the list, with line and reason; named like the output
    #[arg(long, value_name = "FILE")]
    pub(super) rejects: Option<PathBuf>,
    /// Answers without proofs: fewer bytes and less work, and wrong answers stay unnoticed
    #[arg(long)]
    pub(super) unproved: bool,
    /// The fewest items that either list may have
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) min_items: u64,
    /// The most items that either list may have
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    pub(super) max_items: u64,
    /// The agreement under which it happens; goes into the statement
    #[arg(long, default_value = "")]
    pub(super) agreement: String,
    /// What it is for; stays here
    #[arg(long, default_value = "")]
    pub(super) purpose: String,
    /// The share of rows that may be rejected; above it nothing is sent
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub(super) max_rejects: f64,
    /// Days that masked and evaluated bytes are kept beside the transcript
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub(super) evidence_days: u32,
    /// Give up the possibility to open the lists to an auditor later
    #[arg(long)]
    pub(super) not_openable: bool,
    /// The most runs on a day of the time zone, failed ones included
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) max_runs_per_day: u32,
    /// The most identifiers of one type that the peer may test within 365 days, by all jobs with it; stays here
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(super) max_tested_per_year: Option<u64>,
}

/// How a list is laid out.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Layout {
    /// csv, tsv, xlsx, jsonl or parquet; else by the file's ending
    #[arg(long)]
    pub(super) format: Option<Format>,
    /// utf-8, gb18030, gbk or utf-16
    #[arg(long, default_value_t)]
    pub(super) encoding: Encoding,
    /// What stands between the cells of a CSV file, such as ; or tab; else by its heading
    #[arg(long, value_name = "MARK")]
    pub(super) delimiter: Option<Delimiter>,
    /// The sheet of a workbook with several
    #[arg(long, value_name = "NAME")]
    pub(super) sheet: Option<String>,
}

impl Command {
    pub(super) fn execute(&self, home: &Home) -> Result<(), Fault> {
        match self {
            Self::Add(add) => {
                let config = add.store(home)?;
                print::err(&described(&add.name, config.job(&add.name)?));
                Ok(())
            }
            Self::List => list(&Config::load(home.config())?),
            Self::Show { name } => print::out(&described(name, Config::load(home.config())?.job(name)?)),
            Self::Remove { name } => remove(home, name),
        }
    }
}

impl Add {
    /// Writes the job, with a policy that says everything, into the configuration.
    pub(super) fn store(&self, home: &Home) -> Result<Config, Fault> {
        let mut edit = Edit::open(home.config())?;
        edit.add_job(&self.name, &self.job()?)?;
        edit.save()
    }

    fn keys(&self) -> Result<Vec<Key>, Fault> {
        let keys = match (&self.column, &self.profile) {
            (Some(column), Some(profile)) => vec![keys::key(vec![column.clone()], profile.clone())],
            _ => self.key.iter().cloned().map(Ok).collect(),
        };
        let keys = keys.into_iter().collect::<Result<Vec<_>, _>>();
        let keys = keys.and_then(|keys| keys::check(&keys).map(|()| keys));
        keys.map_err(|reason| Fault::new(Code::Usage, reason))
    }

    fn job(&self) -> Result<Job, Fault> {
        Ok(Job {
            peer: self.peer.clone(),
            agreement: self.agreement.clone(),
            purpose: self.purpose.clone(),
            input: Input {
                path: if self.input == Path::new("-") { self.input.clone() } else { full(&self.input)? },
                format: self.layout.format,
                encoding: self.layout.encoding,
                delimiter: self.layout.delimiter,
                sheet: self.layout.sheet.clone(),
                keys: self.keys()?,
                max_rejects: self.max_rejects,
                strict: self.strict,
            },
            output: full(&self.output)?,
            timezone: self.timezone.or_else(|| self.schedule.as_ref().map(|_| Zone::machine())),
            schedule: self.schedule.clone(),
            jitter_minutes: self.jitter_minutes,
            on_failure: self.on_failure.clone(),
            columns: self.columns.clone(),
            bom: self.bom,
            only_new: self.only_new,
            rejects: self.rejects.as_deref().map(full).transpose()?,
            policy: Policy {
                output: OutputMode::Mutual,
                proved: !self.unproved,
                min_items: self.min_items,
                max_items: self.max_items,
                max_runs_per_day: self.max_runs_per_day,
                max_tested_per_year: self.max_tested_per_year,
                evidence_days: self.evidence_days,
                openable: !self.not_openable,
            },
            retry_minutes: RETRY_MINUTES,
            resume_within_hours: RESUME_WITHIN_HOURS,
            text: String::new(),
        })
    }
}

/// `COLUMN=PROFILE`, or as many columns as the profile takes. A profile has no `=` in its name, a column may have.
fn parse_key(text: &str) -> Result<Key, String> {
    let (columns, profile) = text.rsplit_once('=').ok_or("expected COLUMN=PROFILE")?;
    let profile = profile.parse::<Profile>().map_err(|error| error.to_string())?;
    keys::key(columns.split(',').map(str::to_owned).collect(), profile)
}

/// Jobs also run from elsewhere. The file is text, and so is a path in it.
pub(super) fn full(path: &Path) -> Result<PathBuf, Fault> {
    let failed = |reason: String| Fault::new(Code::Usage, format!("{}: {reason}", path.display()));
    let path = absolute(path).map_err(|error| failed(error.to_string()))?;
    if path.to_str().is_some() { Ok(path) } else { Err(failed("expected a path in UTF-8".to_owned())) }
}

fn list(config: &Config) -> Result<(), Fault> {
    let row = |job: &Job| {
        let profiles: Vec<&str> = job.input.keys.iter().map(|key| key.profile.id()).collect();
        format!("with {}, {} from {}", job.peer, profiles.join(", "), job.input.path.display())
    };
    let rows = config.jobs.iter().map(|(name, job)| (name.as_str(), print::printable(&row(job))));
    print::out(&print::table(&rows.collect::<Vec<_>>()))
}

fn remove(home: &Home, name: &str) -> Result<(), Fault> {
    let mut edit = Edit::open(home.config())?;
    edit.remove_job(name)?;
    edit.save()?;
    known::forget(home, name)?;
    print::err(&format!("{} is removed; a serving node sees it within seconds\n", print::printable(name)));
    Ok(())
}

/// A job in plain words.
fn described(name: &str, job: &Job) -> String {
    let or_none = |text: &str| if text.is_empty() { "none named".to_owned() } else { print::printable(text) };
    let mut facts = vec![
        ("job", print::printable(name)),
        ("peer", print::printable(&job.peer)),
        ("agreement", or_none(&job.agreement)),
        ("purpose", or_none(&job.purpose)),
    ];
    facts.extend(input(&job.input));
    facts.push(("output", print::printable(&output(job))));
    facts.extend(job.rejects.iter().map(|path| ("rejects", print::printable(&path.display().to_string()))));
    facts.push((
        "time zone",
        job.timezone.map_or_else(|| "this machine's".to_owned(), |zone| zone.to_string()),
    ));
    if let Some(schedule) = &job.schedule {
        facts.push(("schedule", scheduled(schedule, job)));
        if !job.on_failure.is_empty() {
            facts.push(("on failure", job.on_failure.join(" ")));
        }
    }
    let peer = print::printable(&job.peer);
    format!("{}\nWhat it allows, and nothing else:\n{}", print::table(&facts), allowed(job, &peer))
}

/// The list, and what is read of it.
fn input(input: &Input) -> Vec<(&'static str, String)> {
    let path = input.path.display();
    let mut facts = match input.keys.as_slice() {
        [key] => vec![("input", format!("{path}, {}", columns(key))), ("profile", key.profile.to_string())],
        keys => {
            let each = keys.iter().map(|key| ("key", format!("{}: {}", columns(key), key.profile)));
            std::iter::once(("input", path.to_string())).chain(each).collect()
        }
    };
    if input.strict {
        facts.push(("strict", "wrong check digits are rejected".to_owned()));
    }
    facts.iter_mut().for_each(|(_, text)| *text = print::printable(text));
    facts
}

fn columns(key: &Key) -> String {
    match key.columns.as_slice() {
        [column] => format!("column {column}"),
        columns => format!("columns {}", columns.join(", ")),
    }
}

/// The output's name, and what of the list goes into it.
fn output(job: &Job) -> String {
    let columns = match job.columns.as_slice() {
        [] => String::new(),
        columns => format!(", columns {}", columns.join(", ")),
    };
    let bom = if job.bom { ", with a byte order mark" } else { "" };
    let new = if job.only_new { ", only what is new since the last run" } else { "" };
    format!("{}{columns}{bom}{new}", job.output.display())
}

fn scheduled(schedule: &Schedule, job: &Job) -> String {
    match job.jitter_minutes {
        0 => schedule.to_string(),
        minutes => format!("{schedule}, up to {} later", print::count(minutes.into(), "minute", "minutes")),
    }
}

/// What a job allows, a sentence a line.
pub(super) fn allowed(job: &Job, peer: &str) -> String {
    let Policy { proved, min_items, max_items, max_runs_per_day, max_tested_per_year, .. } = job.policy;
    let Policy { evidence_days, openable, .. } = job.policy;
    let [fewest, most] = [min_items, max_items].map(|items| print::grouped(items.into()));
    let (of_each_type, cells) = match job.input.keys.len() {
        1 => ("", ""),
        _ => (" of each type", ", and of the filled cells of each key,"),
    };
    let lines = [
        format!(
            "Both sides learn which identifiers{of_each_type} they share, and how many the other has; {peer} learns nothing else."
        ),
        format!(
            "Lists of {fewest} to {most} items{of_each_type} on either side, at most {} a day.",
            print::count(max_runs_per_day.into(), "run", "runs")
        ),
        testable(peer, &job.terms().profiles, job.policy.reach()),
        max_tested_per_year.map(|most| held(peer, most)).unwrap_or_default(),
        if proved {
            "Every answer is proved: a wrong one ends the run.".to_owned()
        } else {
            "Answers carry no proof: wrong ones stay unnoticed.".to_owned()
        },
        format!(
            "At most {} % of our rows{cells} may be rejected; above that nothing is sent.",
            percent(job.input.max_rejects)
        ),
        match evidence_days {
            0 => "Masked and evaluated bytes are not kept.".to_owned(),
            days => format!(
                "Masked and evaluated bytes are kept for {}.",
                print::count(days.into(), "day", "days")
            ),
        },
        if openable {
            "Our list can be opened to an auditor later, by us alone.".to_owned()
        } else {
            "No list can be opened to an auditor later.".to_owned()
        },
        format!("{peer} needs a job of the same name with the same terms."),
    ];
    lines.iter().filter(|line| !line.is_empty()).map(|line| format!("  - {line}\n")).collect()
}

fn held(peer: &str, most: u64) -> String {
    let most = print::grouped(most.into());
    format!(
        "All jobs with {peer} together are held to {most} identifiers of one type within {} days.",
        policy::YEAR
    )
}

/// How much of everything that exists the peer could try out in a year, of each type.
pub(super) fn testable(peer: &str, profiles: &[Profile], a_year: u64) -> String {
    let share = |profile: &Profile| {
        Some(match profile.space()? {
            space if a_year >= space => format!("all that {profile} admits"),
            space => format!("{} % of what {profile} admits", percent(a_year as f64 / space as f64)),
        })
    };
    let shares: Vec<String> = profiles.iter().filter_map(share).collect();
    let shares = match shares.first() {
        None => String::new(),
        Some(first) if first.starts_with("all") => format!(", which is {}", shares.join(", ")),
        Some(_) => format!(", {}", shares.join(", ")),
    };
    let (number, each) =
        (print::grouped(a_year.into()), if profiles.len() > 1 { ", of each type" } else { "" });
    format!("At these limits {peer} can test {number} identifiers of its choice a year{each}{shares}.")
}

/// A share as a percentage with at most three digits behind the point; what is not nothing never looks like it.
fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.000_01 {
        return "less than 0.001".to_owned();
    }
    let text = format!("{:.3}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_year_is_compared_with_the_profile() {
        let shown = |a_year, profile: &str| testable("b", &[profile.parse().unwrap()], a_year);
        let some = shown(73_000_000, "cn.mobile/1");
        assert_eq!(
            some,
            "At these limits b can test 73,000,000 identifiers of its choice a year, 1.043 % of what cn.mobile/1 admits."
        );
        assert!(shown(365_000_000_000, "cn.mobile/1").ends_with(
            "365,000,000,000 identifiers of its choice a year, which is all that cn.mobile/1 admits."
        ));
        assert!(shown(365, "text/1").ends_with("365 identifiers of its choice a year."));
    }

    #[test]
    fn shares_are_percentages() {
        let cases = [
            (0.01, "1"),
            (0.0, "0"),
            (1.0, "100"),
            (0.000_12, "0.012"),
            (0.1, "10"),
            (1e-9, "less than 0.001"),
        ];
        for (share, text) in cases {
            assert_eq!(percent(share), text);
        }
    }
}
