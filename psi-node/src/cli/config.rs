//! `psi config`: the configuration as it is.

use std::fs;

use psi_node::{
    config::Config,
    fault::{Code, Fault},
    home::Home,
};
use toml_edit::{DocumentMut, value};

use super::print;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the configuration, without the proxy's password
    Show,
    /// Check the configuration
    Validate,
}

impl Command {
    pub(super) fn execute(&self, home: &Home) -> Result<(), Fault> {
        let config = Config::load(home.config())?;
        let path = home.config().display();
        match self {
            Self::Show => {
                print::err(&format!("{path}\n"));
                print::out(&shown(home)?)
            }
            Self::Validate => {
                let peers = print::count(config.peers.len() as u64, "peer", "peers");
                let jobs = print::count(config.jobs.len() as u64, "job", "jobs");
                print::out(&format!("{path}: valid, {peers}, {jobs}\n"))
            }
        }
    }
}

fn shown(home: &Home) -> Result<String, Fault> {
    let failed = |reason: String| Fault::new(Code::Config, format!("{}: {reason}", home.config().display()));
    let text = fs::read_to_string(home.config()).map_err(|error| failed(error.to_string()))?;
    let mut text: DocumentMut = text.parse().map_err(|error| failed(format!("{error}")))?;
    let node = text.get_mut("node").and_then(|node| node.as_table_like_mut());
    if let Some(proxy) = node.and_then(|node| node.get_mut("proxy")) {
        let without = proxy.as_str().map(without_password).unwrap_or_default();
        *proxy = value(without);
    }
    Ok(text.to_string())
}

fn without_password(proxy: &str) -> String {
    match (proxy.split_once("://"), proxy.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://...@{host}"),
        _ => proxy.to_owned(),
    }
}
