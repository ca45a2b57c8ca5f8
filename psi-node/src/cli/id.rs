//! `psi id`: who this node is.

use psi_node::{config::Config, fault::Fault, home::Home, identity};
use serde_json::json;

use super::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn execute(&self, home: &Home) -> Result<(), Fault> {
        let node = Config::load(home.config())?.node;
        let key = identity::load(&home.identity_key())?.public_key();
        let endpoint = node.endpoint.map(|endpoint| endpoint.to_string());
        let (key, fingerprint) = (key.to_string(), key.fingerprint().to_string());
        if self.json {
            return print::json(&json!({
                "name": node.name, "endpoint": endpoint, "key": key, "fingerprint": fingerprint,
            }));
        }
        print::out(&print::table(&[
            ("name", print::printable(&node.name)),
            ("endpoint", endpoint.unwrap_or_else(|| "none: this node can only call".to_owned())),
            ("key", key),
            ("fingerprint", fingerprint),
        ]))
    }
}
