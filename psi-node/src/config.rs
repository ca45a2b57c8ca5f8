//! The configuration, `config.toml`: parsed once, unknown keys refused with the nearest name.

pub mod edit;
pub mod keys;
mod overrides;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use psi_core::{
    message::is_operator_name,
    plan::MAX_ITEMS,
    signature::PublicKey,
    suite::SuiteId,
    terms::{Output, Terms},
    wire::MAX_TEXT,
};
use serde::{Deserialize, Deserializer, de::Error as _};

pub use self::overrides::Overrides;
use crate::{
    fault::{Code, Fault},
    input::{self, Delimiter, Encoding, Format, InputError, Judge, Key, Limits, Source, Spec},
    output::{self, Extra, OutputError, Shape},
    schedule::Schedule,
    scratch::MEMORY_MB,
    tls::{endpoint::Endpoint, proxy::Proxy},
    zone::Zone,
};

/// A node's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node.
    pub node: Node,
    /// The institutions that it knows, by our name for them.
    #[serde(default)]
    pub peers: BTreeMap<String, Peer>,
    /// What it exchanges with them, by name; both sides use the same name.
    #[serde(default)]
    pub jobs: BTreeMap<String, Job>,
}

/// This node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Name of the institution, as it stands in statements: no white space, no `+`.
    #[serde(deserialize_with = "operator_name")]
    pub name: String,
    /// Address and port to listen on; without it the node can only call.
    pub listen: Option<SocketAddr>,
    /// `https://host:port` under which partners reach this node; goes into the file for them.
    #[serde(default, deserialize_with = "parsed_option")]
    pub endpoint: Option<Endpoint>,
    /// `http://[user:password@]host:port` of the proxy through which this node calls its partners.
    #[serde(default, deserialize_with = "parsed_option")]
    pub proxy: Option<Proxy>,
    /// Address and port of loopback at which `psi serve` answers monitors; nowhere if absent.
    #[serde(default, deserialize_with = "loopback")]
    pub metrics: Option<SocketAddr>,
    /// Threads that compute; one for each processor if absent.
    pub threads: Option<usize>,
    /// The most memory that a run may take, in megabytes (10^6 bytes), the program included; what is more goes through scratch
    /// files. No limit if absent.
    pub memory_mb: Option<u32>,
    /// The most runs at a time, called and answered; more are told that the node is busy.
    #[serde(default = "default_max_runs")]
    pub max_runs: u32,
}

/// An institution that this node knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Where it listens; without it, it can only call us.
    #[serde(default, deserialize_with = "parsed_option")]
    pub endpoint: Option<Endpoint>,
    /// Its identity key, `ed25519:BASE64`, compared over the phone by its fingerprint.
    #[serde(deserialize_with = "parsed")]
    pub key: PublicKey,
}

/// One thing that is exchanged with one peer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Our name for the peer.
    pub peer: String,
    /// The agreement under which it happens; part of the terms and the statement.
    #[serde(default)]
    pub agreement: String,
    /// What it is for; stays here.
    #[serde(default)]
    pub purpose: String,
    /// Our list.
    pub input: Input,
    /// The file for the matching rows, in the format that its ending says: `.csv`, `.xlsx` or `.jsonl`. `{job}`, `{date}` and
    /// `{run}` are replaced.
    pub output: PathBuf,
    /// Whose days and dates the job has; this machine's if absent.
    pub timezone: Option<Zone>,
    /// When a serving node calls the peer: minute, hour, day of the month, month, day of the week.
    #[serde(default, deserialize_with = "parsed_option")]
    pub schedule: Option<Schedule>,
    /// Up to how many minutes later it starts.
    #[serde(default)]
    pub jitter_minutes: u32,
    /// Program and arguments, run after two scheduled runs in a row have failed.
    #[serde(default)]
    pub on_failure: Vec<String>,
    /// The columns of the list that the output keeps, in this order; all if absent.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Whether a CSV output starts with a byte order mark, by which Excel knows UTF-8.
    #[serde(default)]
    pub bom: bool,
    /// Whether the output leaves out rows that matched in the job's last finished run.
    #[serde(default)]
    pub only_new: bool,
    /// The file for what was left out of the list, named like the output; none if absent.
    pub rejects: Option<PathBuf>,
    /// For how many minutes a run whose connection was lost tries to go on by itself; 0 for not at all.
    #[serde(default = "default_retry_minutes")]
    pub retry_minutes: u32,
    /// For how many hours an unfinished run is kept, so that it can go on.
    #[serde(default = "default_resume_within_hours")]
    pub resume_within_hours: u32,
    /// What is allowed; nothing else is.
    pub policy: Policy,
    /// This table as text, for a run that has to go on as it began.
    #[serde(skip)]
    pub text: String,
}

/// Our list. One key is written as `column` and `profile`, several as `keys` with `column` or `columns` and `profile`
/// each.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "keys::Written")]
pub struct Input {
    /// The file: CSV, TSV, XLSX or JSON Lines; `-` for standard input.
    pub path: PathBuf,
    /// How it is laid out, if its ending doesn't tell.
    pub format: Option<Format>,
    /// How a text file encodes characters: `utf-8`, `gb18030`, `gbk` or `utf-16`.
    pub encoding: Encoding,
    /// What stands between the cells of a CSV file; looked for in its heading if absent.
    pub delimiter: Option<Delimiter>,
    /// The sheet of a workbook with several.
    pub sheet: Option<String>,
    /// The types of its identifiers, such as `cn.mobile/1`, each with its columns: a row matches if one of them does.
    pub keys: Vec<Key>,
    /// The share of rows that may be rejected, 0 to 1; above it nothing is sent. With several keys also the share of each
    /// one's filled cells.
    pub max_rejects: f64,
    /// Whether wrong check digits that a profile only remarks on are rejects.
    pub strict: bool,
}

impl Input {
    /// How to read it.
    pub fn spec(&self) -> Spec {
        let spec = Spec::of(&self.path, input::columns_of(&self.keys));
        let (encoding, delimiter, sheet) = (self.encoding, self.delimiter, self.sheet.clone());
        Spec { format: self.format.unwrap_or(spec.format), encoding, delimiter, sheet, ..spec }
    }

    /// The result's column that names the keys by which a row matches, where there are several: their columns, joined by `;`.
    pub fn matched_column(&self) -> Option<&'static str> {
        (self.keys.len() > 1).then_some("psi_matched")
    }

    /// Makes sure, before anything is sent, that the list leaves that name to the result.
    ///
    /// # Errors
    /// [`InputError::ReservedColumn`].
    pub fn check_columns(&self, columns: &[String]) -> Result<(), InputError> {
        match self.matched_column().filter(|reserved| columns.iter().any(|name| name == reserved)) {
            Some(column) => Err(InputError::ReservedColumn { path: self.path.clone(), column }),
            None => Ok(()),
        }
    }

    /// Judges its rows; `spec` is how it is read.
    pub fn judge<'a>(&'a self, spec: &'a Spec) -> Judge<'a> {
        Judge::new(spec, &self.keys, self.strict)
    }

    /// What of it is usable.
    pub fn limits(&self) -> Limits {
        Limits { max_rejects: self.max_rejects, strict: self.strict, ..Limits::default() }
    }
}

/// What a job allows: both sides must have the same, and it is checked on both.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Who learns the intersection: `mutual`.
    pub output: OutputMode,
    /// Whether every answer carries a proof.
    pub proved: bool,
    /// The fewest items that either list may have.
    pub min_items: u64,
    /// The most items that either list may have.
    pub max_items: u64,
    /// The most runs on a day of the job's time zone, failed ones included.
    pub max_runs_per_day: u32,
    /// The most identifiers of one type that the peer may have tested, by all jobs with it, within 365 days when a run of
    /// this job starts; no limit if absent. Stays here.
    pub max_tested_per_year: Option<u64>,
    /// Days that masked and evaluated bytes are kept beside the transcript; 0 for not at all.
    #[serde(default)]
    pub evidence_days: u32,
    /// Whether the lists can be opened to an auditor later.
    pub openable: bool,
}

/// Who learns the intersection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// Both.
    Mutual,
}

impl Job {
    /// The output's name; a plain one gets the run's id if the job has a schedule, since nothing is written over a file.
    pub fn output_name(&self) -> PathBuf {
        self.name(&self.output)
    }

    /// The name of the file for what is left out, in the same way.
    pub fn rejects_name(&self) -> Option<PathBuf> {
        self.rejects.as_deref().map(|rejects| self.name(rejects))
    }

    fn name(&self, path: &Path) -> PathBuf {
        if self.schedule.is_none() || path.to_string_lossy().contains("{run}") {
            return path.into();
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let ending =
            path.extension().map_or_else(String::new, |ending| format!(".{}", ending.to_string_lossy()));
        path.with_file_name(format!("{stem}-{{run}}{ending}"))
    }

    /// Its time zone.
    pub fn zone(&self) -> Zone {
        self.timezone.unwrap_or_else(Zone::machine)
    }

    /// What of the matching rows goes into the output.
    pub fn shape(&self) -> Shape<'_> {
        Shape { list: &self.input.path, columns: &self.columns, byte_order_mark: self.bom, extra: &[] }
    }

    /// The list's rows, of which each fits into the output; what the output adds must have room beside them.
    pub fn fitting(&self, source: Box<dyn Source>) -> Result<Box<dyn Source>, OutputError> {
        self.input.check_columns(source.columns())?;
        self.rejects.as_deref().map_or(Ok(()), |rejects| output::rejects_fit(rejects, source.columns()))?;
        let matched = self.input.matched_column().map(|name| Extra { name, cell: &|_| "" });
        output::fitting(source, &self.output, &Shape { extra: matched.as_slice(), ..self.shape() })
    }

    /// The names of output and rejects say formats, and the options suit them.
    fn check_output(&self) -> Result<(), String> {
        let formats = [
            Some(format("output", &self.output)?),
            self.rejects.as_deref().map(|rejects| format("rejects", rejects)).transpose()?,
        ];
        if self.bom && !formats.contains(&Some(output::Format::Csv)) {
            return Err("bom: only an output in .csv can start with a byte order mark".to_owned());
        }
        if self.rejects.as_ref() == Some(&self.output) {
            return Err("rejects: the same file as the output".to_owned());
        }
        let doubled = |(place, name): (usize, &String)| self.columns[..place].contains(name);
        match self.columns.iter().enumerate().find(|column| doubled(*column)) {
            Some((_, name)) => Err(format!("columns: {name:?} stands there twice")),
            None => Ok(()),
        }
    }

    /// Reads [`text`](Self::text) again.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let job: toml::Value = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let job: Self = job.try_into().map_err(|error: toml::de::Error| error.to_string())?;
        Ok(Self { text: text.to_owned(), ..job })
    }

    /// What both sides must have agreed to.
    pub fn terms(&self) -> Terms {
        Terms {
            suite: SuiteId::Ristretto255Sha512,
            output: match self.policy.output {
                OutputMode::Mutual => Output::Mutual,
            },
            proved: self.policy.proved,
            profiles: self.input.keys.iter().map(|key| key.profile.clone()).collect(),
            min_items: self.policy.min_items,
            max_items: self.policy.max_items,
            max_runs_per_day: self.policy.max_runs_per_day,
            evidence_days: self.policy.evidence_days,
            openable: self.policy.openable,
        }
    }
}

impl Config {
    /// Reads the configuration file.
    ///
    /// # Errors
    /// [`Code::NoHome`] if there is none, [`Code::Config`] with file, line and column otherwise.
    pub fn load(path: &Path) -> Result<Self, Fault> {
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Fault::new(Code::NoHome, format!("{}: there is no node here", path.display()))
            }
            _ => Fault::new(Code::Config, format!("{}: {error}", path.display())),
        })?;
        Self::parse(&text).map_err(|reason| Fault::new(Code::Config, format!("{}:{reason}", path.display())))
    }

    /// Parses a configuration; the error is `line:column: reason`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|error| located(text, &error))?;
        let table: toml::Table = toml::from_str(text).map_err(|error| located(text, &error))?;
        for (name, job) in &mut config.jobs {
            job.text = table
                .get("jobs")
                .and_then(|jobs| jobs.get(name))
                .map(toml::Value::to_string)
                .unwrap_or_default();
        }
        config.check().map(|()| config).map_err(|reason| format!(" {reason}"))
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=1000).contains(&self.node.max_runs) {
            return Err("node.max_runs: expected 1 to 1000".to_owned());
        }
        if self.node.memory_mb.is_some_and(|mb| !MEMORY_MB.contains(&mb)) {
            return Err(format!("node.memory_mb: expected {} to {}", MEMORY_MB.start(), MEMORY_MB.end()));
        }
        if let Some(name) = self.peers.keys().find(|name| !is_operator_name(name)) {
            return Err(format!("peers: {name:?}: expected a name without white space and `+`"));
        }
        for (name, job) in &self.jobs {
            if !is_job_name(name) {
                return Err(format!("jobs: {name:?}: expected a name without white space, `+` and `/`"));
            }
            if !is_line(name) || !is_line(&job.agreement) {
                return Err(format!(
                    "jobs.{name}: expected name and agreement on one line, at most {MAX_TEXT} bytes"
                ));
            }
            job.check_output().map_err(|reason| format!("jobs.{name}.{reason}"))?;
            let Some(peer) = self.peers.get(&job.peer) else {
                return Err(format!("jobs.{name}.peer: no peer {:?}", job.peer));
            };
            if job.schedule.is_some() && peer.endpoint.is_none() {
                return Err(format!(
                    "jobs.{name}.schedule: peers.{} has no endpoint: it can only call us",
                    job.peer
                ));
            }
            if job.jitter_minutes > 24 * 60 {
                return Err(format!("jobs.{name}.jitter_minutes: expected at most {}", 24 * 60));
            }
            if let Some(misfit) = job.input.spec().misfit() {
                return Err(format!("jobs.{name}.input: {misfit}"));
            }
            if job.policy.min_items > job.policy.max_items {
                return Err(format!("jobs.{name}.policy: min_items is above max_items"));
            }
            if job.policy.min_items == 0 {
                return Err(format!("jobs.{name}.policy.min_items: expected at least 1"));
            }
            if job.policy.max_tested_per_year.is_some_and(|most| most < job.policy.min_items) {
                return Err(format!("jobs.{name}.policy: max_tested_per_year is below min_items"));
            }
            if job.policy.max_items > MAX_ITEMS {
                return Err(format!("jobs.{name}.policy.max_items: expected at most {MAX_ITEMS}"));
            }
        }
        Ok(())
    }

    /// The job of that name.
    ///
    /// # Errors
    /// [`Code::NoSuchName`].
    pub fn job(&self, name: &str) -> Result<&Job, Fault> {
        self.jobs.get(name).ok_or_else(|| no_such("job", name, self.jobs.keys()))
    }

    /// The peer of that name.
    ///
    /// # Errors
    /// [`Code::NoSuchName`].
    pub fn peer(&self, name: &str) -> Result<&Peer, Fault> {
        self.peers.get(name).ok_or_else(|| no_such("peer", name, self.peers.keys()))
    }
}

/// What a Hello can carry.
fn is_line(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

/// Whether a job may have this name, which both sides use and which becomes part of file names.
pub fn is_job_name(name: &str) -> bool {
    is_operator_name(name) && !name.contains(['/', '{', '}']) && !name.starts_with(['.', '-'])
}

/// The format that a file's name says, in which everything between braces is replaced some day.
fn format(field: &str, path: &Path) -> Result<output::Format, String> {
    if let Some(unknown) = unknown_placeholder(path) {
        return Err(format!("{field}: {unknown:?}: expected {{job}}, {{date}} or {{run}}"));
    }
    output::Format::of(path).map_err(|error| format!("{field}: {error}"))
}

/// The first `{...}` in an output's name that is never replaced.
fn unknown_placeholder(output: &Path) -> Option<String> {
    let name = output.to_string_lossy().into_owned();
    let mut opened = name.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let unknown = opened.find(|(placeholder, _)| !["job", "date", "run"].contains(placeholder));
    unknown.map(|(placeholder, _)| format!("{{{placeholder}}}"))
}

fn no_such<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Fault {
    let nearest = known.min_by_key(|known| strsim::levenshtein(known, name));
    let hint = nearest
        .map_or_else(|| format!("there is no {what} yet"), |nearest| format!("the nearest is {nearest:?}"));
    Fault::new(Code::NoSuchName, format!("no {what} {name:?}; {hint}"))
}

/// `line:column: reason`, with the nearest name for an unknown key.
pub(crate) fn located(text: &str, error: &toml::de::Error) -> String {
    let before = &text[..error.span().map_or(0, |span| span.start)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    let message = error.message();
    format!("{line}:{column}: {message}{}", nearest_key(message))
}

/// serde says "unknown field `x`, expected one of `a`, `b`"; people want the one they mistyped.
fn nearest_key(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = message.starts_with("unknown field").then(|| quoted.next()).flatten() else {
        return String::new();
    };
    let nearest = quoted.min_by_key(|known| strsim::levenshtein(known, unknown));
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

fn default_max_runs() -> u32 {
    4
}

/// For how many minutes a run tries to go on, where the job does not say.
pub const RETRY_MINUTES: u32 = 15;
/// For how many hours an unfinished run is kept, where the job does not say.
pub const RESUME_WITHIN_HOURS: u32 = 12;

fn default_retry_minutes() -> u32 {
    RETRY_MINUTES
}

fn default_resume_within_hours() -> u32 {
    RESUME_WITHIN_HOURS
}

fn default_max_rejects() -> f64 {
    crate::input::Limits::default().max_rejects
}

pub(crate) fn operator_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if is_operator_name(&name) {
        Ok(name)
    } else {
        Err(D::Error::custom("a name without white space and `+` is expected"))
    }
}

/// Names of partners and sizes of lists are for this machine's monitor only: there is no access control.
fn loopback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let address = SocketAddr::deserialize(deserializer)?;
    if address.ip().is_loopback() {
        Ok(Some(address))
    } else {
        Err(D::Error::custom("an address of loopback with a port is expected, such as \"127.0.0.1:9464\""))
    }
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err(D::Error::custom("a share from 0 to 1 is expected"))
    }
}

pub(crate) fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

pub(crate) fn parsed_option<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    parsed(deserializer).map(Some)
}
