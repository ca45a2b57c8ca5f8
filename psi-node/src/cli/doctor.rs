//! `psi doctor`: what would keep this node from working, and what to do about it.

use psi_node::{
    doctor::{self, Check, Findings, Verdict},
    fault::Fault,
    home::Home,
};
use serde::Serialize;

use super::{print, process};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ask only this peer; by default every one that can be called
    peer: Option<String>,
    /// Print the checks as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    verdict: Verdict,
    checks: &'a [Check],
}

impl Args {
    pub(super) fn execute(&self, home: &Home) -> Result<(), Fault> {
        let examined = doctor::examine(home, self.peer.as_deref());
        let findings = process::block_on(process::unless_signalled(examined))?;
        if self.json {
            print::json(&Report { verdict: findings.verdict(), checks: &findings.0 })?;
        } else {
            print::out(&shown(&findings))?;
        }
        findings.worst().map_or(Ok(()), |fault| Err(fault.clone()))
    }
}

fn shown(findings: &Findings) -> String {
    let width = findings.0.iter().map(|check| check.what.chars().count()).max().unwrap_or_default();
    findings.0.iter().map(|check| line(check, width)).collect()
}

fn line(check: &Check, width: usize) -> String {
    let verdict = match check.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Problem => "problem",
    };
    let code = check.code.as_ref().map_or_else(String::new, |code| format!("{code} "));
    let (what, message) = (print::printable(&check.what), print::printable(&check.message));
    let remedy = check.remedy.as_ref();
    let remedy = remedy.map_or_else(String::new, |remedy| format!("{:9}{:width$}  -> {remedy}\n", "", ""));
    format!("{verdict:7}  {what:width$}  {code}{message}\n{remedy}")
}
