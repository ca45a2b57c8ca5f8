//! `psi verify`: whether a finished run's record is what both parties signed.

use std::{fs, path::PathBuf, str::FromStr};

use psi_core::{
    statement::Statement,
    verify::{Outcome, Report, Verdict},
};
use psi_node::{
    audit,
    config::Config,
    fault::{Code, Fault},
    home::Home,
    identity::{self, PublicKey},
};
use serde_json::{Value, json};

use super::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder with statement.note and transcript
    folder: PathBuf,
    /// The key of one of the two institutions, NAME=ed25519:...; give both. Otherwise the node's own and its peers'
    #[arg(long, value_name = "NAME=KEY")]
    key: Vec<NamedKey>,
    /// Don't compare the signers' keys with anything
    #[arg(long, conflicts_with = "key")]
    no_identity: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A key with the name that a person gave it.
#[derive(Clone, Debug)]
struct NamedKey {
    name: String,
    key: PublicKey,
}

impl FromStr for NamedKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, key) = text.split_once('=').ok_or("expected NAME=ed25519:...")?;
        Ok(Self { name: name.to_owned(), key: key.parse().map_err(|error| format!("{error}"))? })
    }
}

impl Args {
    pub(super) fn execute(&self, home: &Home) -> Result<(), Fault> {
        if !self.folder.is_dir() {
            return Err(Fault::new(Code::Verification, format!("{}: no such folder", self.folder.display())));
        }
        let pinned = self.pinned(home)?;
        let keys = pinned.as_ref().map(|pinned| pinned.each_ref().map(|pinned| pinned.key));
        let report = audit::verify(&self.folder, keys)?;
        if self.json {
            print::json(&object(&report))?
        } else {
            print::out(&text(&report, pinned.as_ref()))?
        }
        self.judge(&report)
    }

    fn judge(&self, report: &Report) -> Result<(), Fault> {
        match report.verdict() {
            Verdict::Verified => Ok(()),
            Verdict::IdentitiesNotChecked if self.no_identity => Ok(()),
            Verdict::IdentitiesNotChecked => Err(Fault::new(
                Code::Unpinned,
                "consistent, but no keys were given to compare the signers' with",
            )),
            Verdict::Failed => {
                let failed = report.failures().map(|check| match &check.outcome {
                    Outcome::Failed(reason) => format!("failed: {}: {reason}", check.name),
                    _ => check.name.to_owned(),
                });
                Err(Fault::new(Code::Verification, failed.collect::<Vec<_>>().join("; ")))
            }
        }
    }

    /// The keys that the two signers should have, if anybody says.
    fn pinned(&self, home: &Home) -> Result<Option<[NamedKey; 2]>, Fault> {
        if self.no_identity {
            return Ok(None);
        }
        match <[NamedKey; 2]>::try_from(self.key.clone()) {
            Ok(keys) => Ok(Some(keys)),
            Err(none) if none.is_empty() => self.of_home(home),
            Err(keys) => Err(Fault::new(
                Code::Usage,
                format!("expected --key twice, once for each side, got {}", keys.len()),
            )),
        }
    }

    /// Our own key, and that of the peer that the statement names.
    fn of_home(&self, home: &Home) -> Result<Option<[NamedKey; 2]>, Fault> {
        let config = match Config::load(home.config()) {
            Err(fault) if fault.code == Code::NoHome => return Ok(None),
            config => config?,
        };
        let own = NamedKey {
            name: config.node.name.clone(),
            key: identity::load(&home.identity_key())?.public_key(),
        };
        let signers = self.signers();
        let peer = config.peers.iter().find(|(_, peer)| signers.contains(&peer.key));
        // With a peer that we don't know, our own key alone can't account for both signers, and the check fails.
        let peer = peer.map_or(own.clone(), |(name, peer)| NamedKey { name: name.clone(), key: peer.key });
        Ok(Some([own, peer]))
    }

    /// The keys that the statement names; nothing is believed of it yet.
    fn signers(&self) -> Vec<PublicKey> {
        let note = fs::read_to_string(self.folder.join("statement.note")).unwrap_or_default();
        let text = note.split("\n\n").next().unwrap_or_default();
        let statement = Statement::parse(&format!("{text}\n")).ok();
        statement.map_or_else(Vec::new, |statement| statement.parties.map(|party| party.key).to_vec())
    }
}

fn text(report: &Report, pinned: Option<&[NamedKey; 2]>) -> String {
    let statement = report.statement.as_ref().map(|statement| said(statement, pinned)).unwrap_or_default();
    let checks: String = report
        .checks
        .iter()
        .map(|check| match &check.outcome {
            Outcome::Passed => format!("passed        {}\n", check.name),
            Outcome::Failed(reason) => {
                format!("FAILED        {}: {}\n", check.name, print::printable(reason))
            }
            Outcome::NotPossible(reason) => format!("not possible  {}: {reason}\n", check.name),
        })
        .collect();
    format!("{statement}{checks}\nverdict: {}\n", verdict(report.verdict()))
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Verified => "verified",
        Verdict::IdentitiesNotChecked => "consistent; identities NOT checked",
        Verdict::Failed => "FAILED",
    }
}

/// What the statement says, for people.
fn said(statement: &Statement, pinned: Option<&[NamedKey; 2]>) -> String {
    let mut rows = vec![("job", print::printable(&statement.job))];
    if !statement.agreement.is_empty() {
        rows.push(("agreement", print::printable(&statement.agreement)));
    }
    for (role, party) in ["initiator", "responder"].into_iter().zip(&statement.parties) {
        let known = pinned.and_then(|pinned| pinned.iter().find(|pinned| pinned.key == party.key));
        let known =
            known.map_or_else(|| "not a known key".to_owned(), |known| format!("pinned as {}", known.name));
        rows.push((role, print::printable(&format!("{} ({known}), {}", party.operator, party.software))));
        rows.push(("  key", party.key.to_string()));
        rows.push(("  started", time(party.started)));
    }
    for (profile, ([initiator, responder], matches)) in statement.terms.profiles.iter().zip(&statement.lists)
    {
        let [initiator, responder] = [initiator, responder].map(|side| print::grouped(side.items.into()));
        let matches = print::count(*matches, "match", "matches");
        rows.push(("list", format!("{profile}: {initiator} and {responder} items, {matches}")));
    }
    rows.push(("proved", if statement.terms.proved { "every answer" } else { "no" }.to_owned()));
    rows.push(("statement", format!("number {} of these two for this job", statement.head().height)));
    format!("{}\n", print::table(&rows))
}

/// Seconds since 1970 as a date and time in UTC.
fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
    time.map_or_else(
        || format!("{seconds} s after 1970"),
        |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

fn object(report: &Report) -> Value {
    let checks = report.checks.iter().map(|check| match &check.outcome {
        Outcome::Passed => json!({ "name": check.name, "outcome": "passed" }),
        Outcome::Failed(reason) => json!({ "name": check.name, "outcome": "failed", "reason": reason }),
        Outcome::NotPossible(reason) => {
            json!({ "name": check.name, "outcome": "not possible", "reason": reason })
        }
    });
    let verdict = match report.verdict() {
        Verdict::Verified => "verified",
        Verdict::IdentitiesNotChecked => "identities-not-checked",
        Verdict::Failed => "failed",
    };
    json!({
        "verdict": verdict,
        "statement": report.statement.as_ref().map(said_as_object),
        "checks": checks.collect::<Vec<_>>(),
    })
}

fn said_as_object(statement: &Statement) -> Value {
    let parties = statement.parties.iter().map(|party| {
        json!({
            "operator": party.operator,
            "key": party.key.to_string(),
            "software": party.software,
            "started": time(party.started),
        })
    });
    let lists = statement.terms.profiles.iter().zip(&statement.lists).map(|(profile, (sides, matches))| {
        json!({ "profile": profile.id(), "items": sides.each_ref().map(|side| side.items), "matches": matches })
    });
    json!({
        "job": statement.job,
        "agreement": statement.agreement,
        "parties": parties.collect::<Vec<_>>(),
        "lists": lists.collect::<Vec<_>>(),
        "proved": statement.terms.proved,
        "height": statement.head().height,
    })
}

#[cfg(test)]
mod tests {
    use psi_core::verify::Check;

    use super::*;

    fn report(outcome: Outcome) -> Report {
        let identities = "both signers are the pinned institutions";
        Report {
            statement: None,
            checks: vec![Check { name: "a", outcome: Outcome::Passed }, Check { name: identities, outcome }],
        }
    }

    fn exit(outcome: Outcome, no_identity: bool) -> u8 {
        let args = Args { folder: PathBuf::new(), key: Vec::new(), no_identity, json: false };
        args.judge(&report(outcome)).map_or_else(|fault| fault.exit(), |()| 0)
    }

    #[test]
    fn unchecked_identities_fail_unless_that_is_wanted() {
        let unchecked = Outcome::NotPossible("no keys to compare with were given");
        assert_eq!(exit(Outcome::Passed, false), 0);
        assert_eq!((exit(unchecked.clone(), false), exit(unchecked, true)), (10, 0));
        assert_eq!(exit(Outcome::Failed("x".into()), true), 10);
    }

    #[test]
    fn every_check_is_shown_with_its_reason() {
        let shown = text(&report(Outcome::Failed("other\nkey".into())), None);
        assert_eq!(
            shown,
            "passed        a\nFAILED        both signers are the pinned institutions: other\\nkey\n\nverdict: FAILED\n"
        );
        assert_eq!(object(&report(Outcome::Passed))["checks"][0]["outcome"], "passed");
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(time(1_795_348_800), "2026-11-22 12:00:00 UTC");
        assert_eq!(time(u64::MAX), "18446744073709551615 s after 1970");
    }
}
