//! What would keep a node from working, looked for before it does: nothing is changed, and nothing of a list is sent.
//!
//! [`here`](self) looks at this machine, `there` asks a partner: whether it answers, who it is, its clock, and by a Hello with
//! empty lists whether it has agreed to the same.

mod here;
mod there;

use serde::Serialize;

use crate::{
    config::Config,
    fault::{Fault, Retry},
    home::Home,
    node::Node,
};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but not for long, or not well.
    Warning,
    /// It does not work.
    Problem,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// How it came out.
    pub verdict: Verdict,
    /// What was looked at.
    pub what: String,
    /// What was seen.
    pub message: String,
    /// Code of the error that a command would end with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    #[serde(skip)]
    fault: Option<Fault>,
}

/// All checks, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Findings(pub Vec<Check>);

impl Findings {
    fn ok(&mut self, what: impl Into<String>, message: impl Into<String>) {
        self.add(Verdict::Ok, what, message, None);
    }

    fn warning(&mut self, what: impl Into<String>, message: impl Into<String>, remedy: &str) {
        self.add(Verdict::Warning, what, message, Some(remedy.to_owned()));
    }

    /// An error of the table, with its own remedy.
    fn problem(&mut self, what: impl Into<String>, fault: Fault) {
        self.add(Verdict::Problem, what, &fault.message, Some(fault.code.row().remedy.to_owned()));
        if let Some(check) = self.0.last_mut() {
            check.code = Some(fault.code.to_string());
            check.fault = Some(fault);
        }
    }

    fn take(&mut self, what: impl Into<String>, result: Result<String, Fault>) {
        match result {
            Ok(message) => self.ok(what, message),
            Err(fault) => self.problem(what, fault),
        }
    }

    fn add(
        &mut self,
        verdict: Verdict,
        what: impl Into<String>,
        message: impl Into<String>,
        remedy: Option<String>,
    ) {
        let (what, message) = (what.into(), message.into());
        self.0.push(Check { verdict, what, message, code: None, remedy, fault: None });
    }

    /// The worst of all.
    pub fn verdict(&self) -> Verdict {
        self.0.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
    }

    /// The problem that decides the exit status: the first that does not go away by itself, else the first.
    pub fn worst(&self) -> Option<&Fault> {
        let faults = || self.0.iter().filter_map(|check| check.fault.as_ref());
        faults().find(|fault| fault.code.row().retry == Retry::Never).or_else(|| faults().next())
    }
}

/// Looks at everything on this machine; then asks that peer, or every one that can be called.
///
/// # Errors
/// [`Code::NoSuchName`](crate::fault::Code::NoSuchName) for a peer that is not in the configuration.
pub async fn examine(home: &Home, peer: Option<&str>) -> Result<Findings, Fault> {
    let mut findings = Findings::default();
    let config = match Config::load(home.config()) {
        Ok(config) => config,
        Err(fault) => {
            findings.problem("configuration", fault);
            return Ok(findings);
        }
    };
    if let Some(peer) = peer {
        config.peer(peer)?;
    }
    here::machine(home, &config, &mut findings);
    here::ports(&config, &mut findings).await;
    here::jobs(home, &config, &mut findings);
    // What keeps a node from being opened is among the findings already.
    let Ok(node) = Node::open(home) else { return Ok(findings) };
    let asked = config.peers.keys().filter(|name| peer.is_none_or(|peer| peer == name.as_str()));
    for name in asked {
        there::peer(&node, name, &mut findings).await;
    }
    Ok(findings)
}
