//! `psi peer`: getting to know other institutions.

use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use psi_node::{
    config::{
        self, Config,
        edit::{Edit, check_new_peer},
    },
    fault::{Code, Fault},
    home::Home,
    identity::{self, Fingerprint},
    link::{
        LinkError, Settings,
        grpc::{Connection, Pong, Target},
    },
    node::Node,
    peer_file::PeerFile,
};

use super::{print, process};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print this node's introduction, for a file NAME.psi-peer
    Export,
    /// Take up another node's introduction
    Add(Add),
    /// List the known peers
    List,
    /// Show one peer
    Show {
        /// Our name for it
        name: String,
    },
    /// Ask a peer's node whether it is there
    Ping {
        /// Our name for it
        name: String,
    },
    /// Forget a peer that no job uses
    Remove {
        /// Our name for it
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// The file that the peer exported
    file: PathBuf,
    /// Our name for it, if not its own
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// The 30 digits that the peer read out over the phone; asked for on a terminal if absent
    #[arg(long, value_name = "DIGITS")]
    confirm: Option<String>,
}

impl Command {
    pub(super) fn execute(&self, home: &Home) -> Result<(), Fault> {
        match self {
            Self::Export => export(home),
            Self::Add(add) => add.execute(home),
            Self::List => list(&Config::load(home.config())?),
            Self::Show { name } => show(&Config::load(home.config())?, name),
            Self::Ping { name } => process::block_on(ping(Node::open(home)?, name)),
            Self::Remove { name } => remove(home, name),
        }
    }
}

/// What this node says of itself.
pub(super) fn introduction(home: &Home) -> Result<PeerFile, Fault> {
    let node = Config::load(home.config())?.node;
    let key = identity::load(&home.identity_key())?.public_key();
    Ok(PeerFile::new(node.name, key, node.endpoint))
}

/// Stores a peer under that name, once its digits were compared.
pub(super) fn add(home: &Home, name: &str, file: &PeerFile, digits: &str) -> Result<(), Fault> {
    confirm(file, digits)?;
    let own = identity::load(&home.identity_key())?.public_key();
    let mut edit = Edit::open(home.config())?;
    edit.add_peer(name, &config::Peer { endpoint: file.endpoint.clone(), key: file.key }, own)?;
    edit.save().map(drop)
}

fn confirm(file: &PeerFile, digits: &str) -> Result<(), Fault> {
    let wrong =
        |reason: String| Fault::new(Code::Fingerprint, format!("{reason}; {} was not added", file.name));
    let digits: Fingerprint = digits.parse().map_err(|error| wrong(format!("the digits: {error}")))?;
    if digits == file.key.fingerprint() {
        return Ok(());
    }
    Err(wrong("these are not the digits of the key in the file".to_owned()))
}

impl Add {
    fn execute(&self, home: &Home) -> Result<(), Fault> {
        let config = Config::load(home.config())?;
        let file = PeerFile::load(&self.file)?;
        let name = self.name.as_deref().unwrap_or(&file.name);
        // Nobody should have to telephone for a peer that can't be added.
        check_new_peer(&config, name, file.key, identity::load(&home.identity_key())?.public_key())?;
        let digits = self.confirm.clone().map_or_else(|| ask(&file), Ok)?;
        add(home, name, &file, &digits)?;
        let way = file
            .endpoint
            .map_or_else(|| "it can only call us".to_owned(), |endpoint| format!("it listens at {endpoint}"));
        print::err(&format!("{} is known now; {way}\n", print::printable(name)));
        Ok(())
    }
}

/// The digits are not shown beforehand: they are to come from the phone, not from the screen.
fn ask(file: &PeerFile) -> Result<String, Fault> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let message = "no terminal to ask on: give the digits that the peer read out with --confirm";
        return Err(Fault::new(Code::Usage, message));
    }
    print::err(&format!(
        "Call {}, at a number that you already know, and ask for the digits of `psi id`.\nThe digits: ",
        print::printable(&file.name)
    ));
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map(|_| line).map_err(|error| Fault::new(Code::Unexpected, format!("stdin: {error}")))
}

fn export(home: &Home) -> Result<(), Fault> {
    let introduction = introduction(home)?;
    if introduction.endpoint.is_none() {
        print::err("without an endpoint in the configuration this node can only call\n");
    }
    print::out(&introduction.to_text())
}

fn list(config: &Config) -> Result<(), Fault> {
    let rows = config.peers.iter().map(|(name, peer)| (name.as_str(), endpoint(peer)));
    print::out(&print::table(&rows.collect::<Vec<_>>()))
}

fn show(config: &Config, name: &str) -> Result<(), Fault> {
    let peer = config.peer(name)?;
    let jobs = config.jobs_with(name);
    print::out(&print::table(&[
        ("name", print::printable(name)),
        ("endpoint", endpoint(peer)),
        ("key", peer.key.to_string()),
        ("fingerprint", peer.key.fingerprint().to_string()),
        ("jobs", if jobs.is_empty() { "none".to_owned() } else { jobs.join(", ") }),
    ]))
}

fn endpoint(peer: &config::Peer) -> String {
    peer.endpoint.as_ref().map_or_else(|| "none: it can only call us".to_owned(), ToString::to_string)
}

fn remove(home: &Home, name: &str) -> Result<(), Fault> {
    let mut edit = Edit::open(home.config())?;
    edit.remove_peer(name)?;
    edit.save()?;
    print::err(&format!(
        "{} is no longer known; a serving node sees it within seconds\n",
        print::printable(name)
    ));
    Ok(())
}

async fn ping(node: Node, name: &str) -> Result<(), Fault> {
    let target = target(&node.config(), name)?;
    let answered = async {
        let connection =
            Connection::open(&target, node.tls(), &Settings::default()).await.map_err(Fault::from)?;
        let clock = node.clock();
        let asked = (clock.wall(), clock.monotonic());
        let pong = connection.ping().await.map_err(|error: LinkError| Fault::from(error))?;
        Ok((pong, asked.0, clock.monotonic() - asked.1))
    };
    let (pong, asked, trip) = process::unless_signalled(answered).await?;
    print::out(&print::table(&[
        ("peer", print::printable(name)),
        ("endpoint", target.endpoint.to_string()),
        ("round trip", format!("{:.1} ms", trip.as_secs_f64() * 1e3)),
        ("software", print::printable(&pong.software)),
        ("clock", clock(&pong, asked + trip / 2)),
    ]))
}

fn target(config: &Config, name: &str) -> Result<Target, Fault> {
    let peer = config.peer(name)?;
    let endpoint = peer.endpoint.clone();
    let endpoint = endpoint.ok_or_else(|| {
        Fault::new(Code::Config, format!("peers.{name}: without an endpoint it can only call us"))
    })?;
    Ok(Target { endpoint, key: peer.key, proxy: config.node.proxy.clone() })
}

/// How far the peer's clock is from ours when it answered.
fn clock(pong: &Pong, ours: Duration) -> String {
    let seconds = |span: Duration| format!("{:.1} s", span.as_secs_f64());
    match pong.clock.checked_sub(ours) {
        Some(ahead) => format!("{} ahead of ours", seconds(ahead)),
        None => format!("{} behind ours", seconds(ours.saturating_sub(pong.clock))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_both_ways() {
        let pong = |clock| Pong { software: String::new(), clock: Duration::from_millis(clock) };
        let ours = Duration::from_secs(1000);
        assert_eq!(clock(&pong(1_001_500), ours), "1.5 s ahead of ours");
        assert_eq!(clock(&pong(400_000), ours), "600.0 s behind ours");
    }
}
