//! `psi init`: keys and configuration of a new node.

use std::net::SocketAddr;

use psi_core::message::is_operator_name;
use psi_node::{
    config::edit::{self, NewNode},
    durable,
    fault::{Code, Fault},
    home::Home,
    identity::{self, Identity},
    seal::SealKey,
    tls::endpoint::Endpoint,
};

use super::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the institution, as it stands in statements
    #[arg(long, value_parser = name)]
    pub(crate) name: String,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: SocketAddr,
    /// Where partners reach this node; without it, it can only call
    #[arg(long, value_name = "https://HOST:PORT")]
    pub(crate) endpoint: Option<Endpoint>,
    /// The proxy through which it calls its partners
    #[arg(long, value_name = "http://[USER:PASSWORD@]HOST:PORT")]
    pub(crate) proxy: Option<String>,
}

impl Args {
    pub(super) fn execute(&self, home: &Home, psi: &str) -> Result<(), Fault> {
        let identity = self.create(home)?;
        let fingerprint = identity.public_key().fingerprint();
        print::err(&format!(
            "{} has a node now, configured in {}\nits fingerprint, to be read over the phone: {fingerprint}\n\
             next: `{psi} peer export > {}.psi-peer` for your partners, `{psi} peer add FILE` with theirs\n",
            print::printable(&self.name),
            home.config().display(),
            print::printable(&self.name),
        ));
        Ok(())
    }

    /// Keys first, the configuration last: a folder without one is no node yet, and the command can be repeated.
    pub(super) fn create(&self, home: &Home) -> Result<Identity, Fault> {
        if home.config().symlink_metadata().is_ok() {
            return Err(Fault::new(
                Code::Exists,
                format!("{}: there is a node already", home.config().display()),
            ));
        }
        for folder in [home.state(), durable::parent(home.config())] {
            let failed = |error| Fault::new(Code::Storage, format!("{}: {error}", folder.display()));
            durable::create_folder(folder).map_err(failed)?;
        }
        let path = home.identity_key();
        let identity = if path.exists() { identity::load(&path)? } else { identity::create(&path)? };
        SealKey::load_or_generate(&home.seal_key())?;
        let Self { name, listen, endpoint, proxy } = self;
        let node = NewNode { name, listen: *listen, endpoint: endpoint.as_ref(), proxy: proxy.as_deref() };
        edit::create(home.config(), &node)?;
        Ok(identity)
    }
}

fn name(text: &str) -> Result<String, &'static str> {
    if is_operator_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a name without white space and `+`")
    }
}
