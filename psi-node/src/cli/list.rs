//! `psi list`: a list looked at on its own, before anything is agreed or sent.

use std::path::PathBuf;

use psi_core::{identifier::Profile, plan::MAX_ITEMS};
use psi_node::{
    bench::{self, Estimate, Exchange},
    check::{self, Checked, Fit, Reason, Sure},
    fault::{Code, Fault},
    input::{Format, Key, Spec},
};
use serde::Serialize;

use super::{job::Layout, print};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show what a list holds, what would be left out, and how long an exchange would take; nothing is sent
    Check(Check),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The list; - is standard input, for which column and profile must be named
    #[arg(value_name = "LIST")]
    path: PathBuf,
    /// The column with the identifiers; else it is guessed
    #[arg(long)]
    column: Option<String>,
    /// The type of the identifiers, such as cn.mobile/1; else it is guessed
    #[arg(long)]
    profile: Option<Profile>,
    #[command(flatten)]
    layout: Layout,
    /// The share of rows that may be rejected
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    max_rejects: f64,
    /// Reject identifiers whose check digit is wrong also where the profile only warns
    #[arg(long)]
    strict: bool,
    /// Items of the peer's list, for the estimate; as many as ours if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_ITEMS))]
    peer_items: Option<u64>,
    /// A file for what is left out, with line and reason, in .csv, .xlsx or .jsonl
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found out.
#[derive(Serialize)]
struct Report {
    column: String,
    profile: String,
    /// How sure column and profile are, if one of them was guessed.
    #[serde(skip_serializing_if = "Option::is_none")]
    guessed: Option<Sure>,
    #[serde(flatten)]
    checked: Checked,
    fits: Vec<Fit>,
    estimate: Estimate,
}

impl Command {
    pub(super) fn execute(&self) -> Result<(), Fault> {
        match self {
            Self::Check(check) => check.execute(),
        }
    }
}

impl Check {
    fn execute(&self) -> Result<(), Fault> {
        let report = self.report()?;
        if self.json {
            print::json(&report)?;
        } else {
            print::out(&self.text(&report))?;
        }
        self.judge(&report.checked)
    }

    fn report(&self) -> Result<Report, Fault> {
        let spec = self.spec()?;
        let fits = if spec.is_standard_input() { Vec::new() } else { check::fits(&spec)? };
        let (key, guessed) = self.key(&spec, &fits)?;
        let column = key.columns[0].clone();
        let spec = Spec { columns: key.columns.clone(), ..spec };
        let checked = check::check(&spec, &key, self.strict, self.rejects.as_deref());
        let checked = checked.map_err(Fault::from).map_err(|fault| match fault.code {
            // Of a list without a usable row, too.
            Code::TooManyRejects => Fault { message: fault.message + &self.where_they_are(), ..fault },
            _ => fault,
        })?;
        let items = checked.items.max(1);
        let exchange = Exchange::of(items, self.peer_items.unwrap_or(items));
        let estimate = exchange.estimate(&bench::measure_quick()?);
        Ok(Report { column, profile: key.profile.to_string(), guessed, checked, fits, estimate })
    }

    fn spec(&self) -> Result<Spec, Fault> {
        let of_path = Spec::of(&self.path, self.column.iter().cloned().collect());
        let spec = Spec {
            format: self.layout.format.unwrap_or(of_path.format),
            encoding: self.layout.encoding,
            delimiter: self.layout.delimiter,
            sheet: self.layout.sheet.clone(),
            ..of_path
        };
        let usage = |message: &str| Err(Fault::new(Code::Usage, message));
        match (spec.misfit(), &self.column) {
            (Some(misfit), _) => usage(misfit),
            (None, None) if spec.is_standard_input() => {
                usage("standard input is read only once: name --column and --profile")
            }
            (None, Some(_)) if spec.is_standard_input() && self.profile.is_none() => {
                usage("standard input is read only once: name --profile as well")
            }
            (None, None) if spec.format == Format::JsonLines => {
                usage("the objects of JSON Lines have no fixed columns: name --column")
            }
            _ => Ok(spec),
        }
    }

    /// What is to be read of the list, and how sure that is if it was guessed.
    fn key(&self, spec: &Spec, fits: &[Fit]) -> Result<(Key, Option<Sure>), Fault> {
        if let (Some(column), Some(profile)) = (&self.column, &self.profile) {
            return Ok((key(column.clone(), profile.clone())?, None));
        }
        let asked =
            |fit: &&Fit| self.profile.as_ref().is_none_or(|profile| profile.to_string() == fit.profile);
        let fits: Vec<Fit> = fits.iter().filter(asked).cloned().collect();
        let named = self.column.is_some() || self.profile.is_some();
        // Where nothing is named, what other things look like as well is no reason to take it.
        let least = if named { Sure::Possible } else { Sure::Likely };
        let guessed = check::guess(&fits, least).ok_or_else(|| {
            let message = "no column looks like identifiers of one type: name --column and --profile";
            Fault::new(Code::Column, format!("{}: {message}", spec.path.display()))
        })?;
        let profile = guessed.profile.parse().map_err(|error| Fault::new(Code::Usage, format!("{error}")))?;
        Ok((key(guessed.column.clone(), profile)?, Some(guessed.sure)))
    }

    fn judge(&self, checked: &Checked) -> Result<(), Fault> {
        let Checked { rows, rejected, .. } = *checked;
        let message =
            format!("{} of {} rejected", print::grouped(rejected.into()), print::count(rows, "row", "rows"));
        match rejected {
            0 => Ok(()),
            _ if rejected as f64 > self.max_rejects * rows as f64 => {
                let limit = self.max_rejects * 100.0;
                Err(Fault::new(
                    Code::TooManyRejects,
                    format!("{message}, at most {limit} % allowed{}", self.where_they_are()),
                ))
            }
            _ => Err(Fault::new(Code::RowsRejected, message + &self.where_they_are())),
        }
    }

    fn where_they_are(&self) -> String {
        self.rejects.as_ref().map_or_else(String::new, |path| format!("; they are in {}", path.display()))
    }

    fn text(&self, report: &Report) -> String {
        let Report { column, profile, guessed, checked, fits, estimate } = report;
        let guess = |given: bool| match guessed {
            Some(sure) if !given => format!(" (guessed: {})", word(*sure)),
            _ => String::new(),
        };
        let number = |number: u64| print::grouped(number.into());
        let mut facts = vec![
            ("column", print::printable(column) + &guess(self.column.is_some())),
            ("profile", format!("{profile}{}", guess(self.profile.is_some()))),
            ("rows", number(checked.rows)),
            ("rejected", number(checked.rejected)),
            ("duplicates", number(checked.duplicates)),
            ("items", number(checked.items)),
        ];
        facts.extend(
            checked
                .remarks
                .iter()
                .map(|(remark, count)| ("accepted", format!("{} with {remark}", number(*count)))),
        );
        facts.push(("such as", print::printable(&checked.preview.join(", "))));
        let reasons: String = checked.reasons.iter().map(reason).collect();
        let fits: String = fits.chunk_by(|a, b| a.column == b.column).map(|best| fit(&best[0])).collect();
        let section =
            |title: &str, lines: String| if lines.is_empty() { lines } else { format!("\n{title}\n{lines}") };
        [
            print::table(&facts),
            section("Left out:", reasons),
            section("What the columns look like, by the first rows:", fits),
            format!("\n{}Nothing was sent.\n", takes(estimate)),
        ]
        .concat()
    }
}

fn key(column: String, profile: Profile) -> Result<Key, Fault> {
    match profile.parts().len() {
        1 => Ok(Key { columns: vec![column], profile }),
        _ => {
            Err(Fault::new(Code::Usage, format!("{profile} is over several columns; check them one by one")))
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 1".to_owned())
}

fn word(sure: Sure) -> &'static str {
    match sure {
        Sure::Certain => "certain",
        Sure::Likely => "likely",
        Sure::Possible => "possible",
    }
}

fn reason(reason: &Reason) -> String {
    let lines = reason.lines.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let more = if reason.count > reason.lines.len() as u64 { ", .." } else { "" };
    let count = print::grouped(reason.count.into());
    format!("  {count} {}: {} (line {lines}{more})\n", reason.reason, print::printable(&reason.first))
}

fn fit(fit: &Fit) -> String {
    let Fit { column, profile, filled, accepted, sure } = fit;
    format!("  {}: {profile}, {accepted} of {filled}, {}\n", print::printable(column), word(*sure))
}

fn takes(estimate: &Estimate) -> String {
    let span = match estimate.seconds {
        ..0.1 => "less than 0.1 s".to_owned(),
        seconds => format!("about {}", print::span(seconds)),
    };
    format!(
        "An exchange with a list of {} takes {span} on machines like this one, and {} each way.\n",
        print::count(estimate.peer_items, "item", "items"),
        print::bytes(estimate.bytes_sent.max(estimate.bytes_received)),
    )
}
