//! Editing `config.toml` on behalf of commands: comments and order stay, and nobody reads half a file.
//!
//! An edit holds a lock from reading to writing (`flock` on `.config.toml.lock` beside the file, released when the program
//! ends however it ends), so that of two edits at once none is lost. What is about to be written is parsed as a
//! configuration first.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use psi_core::message::is_operator_name;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, value};

use super::{Config, Input, Job, OutputMode, Peer, Policy, is_job_name};
use crate::{
    durable,
    fault::{Code, Fault},
    identity::PublicKey,
    input::{Encoding, Key},
    tls::endpoint::Endpoint,
};

/// What a new node starts with.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// Its name.
    pub name: &'a str,
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Where partners reach it.
    pub endpoint: Option<&'a Endpoint>,
    /// The proxy through which it calls, as a URL.
    pub proxy: Option<&'a str>,
}

/// Writes the first configuration of a node.
///
/// # Errors
/// [`Code::Exists`] if there is one, [`Code::Config`] if it would not be valid, [`Code::Storage`].
pub fn create(path: &Path, node: &NewNode<'_>) -> Result<(), Fault> {
    let mut table = Table::new();
    table.insert("name", value(node.name));
    table.insert("listen", value(node.listen.to_string()));
    if let Some(endpoint) = node.endpoint {
        table.insert("endpoint", value(endpoint.to_string()));
    }
    if let Some(proxy) = node.proxy {
        table.insert("proxy", value(proxy));
    }
    let mut text = DocumentMut::new();
    text.insert("node", Item::Table(table));
    let text = text.to_string();
    parse(path, &text)?;
    durable::write_new(path, text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Fault::new(Code::Exists, format!("{}: there is a node already", path.display()))
        }
        _ => storage(path, &error),
    })
}

/// One edit of a configuration, from reading to writing; dropped before [`save`](Self::save), nothing has changed.
#[derive(Debug)]
pub struct Edit {
    path: PathBuf,
    text: DocumentMut,
    config: Config,
    _lock: File,
}

impl Edit {
    /// Waits for other edits to end, then reads the file, which must be valid.
    ///
    /// # Errors
    /// As [`Config::load`]; [`Code::Storage`] if the lock can't be had.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        // The file itself is replaced, not what a link to it stands for.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        Config::load(&path)?;
        let lock = lock(&path).map_err(|error| storage(&path, &error))?;
        let text = fs::read_to_string(&path).map_err(|error| storage(&path, &error))?;
        let config = parse(&path, &text)?;
        let text = text.parse::<DocumentMut>();
        let text = text.map_err(|error| Fault::new(Code::Config, format!("{}: {error}", path.display())))?;
        Ok(Self { path, text, config, _lock: lock })
    }

    /// The configuration as it was read.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Adds a peer; `own` is this node's key.
    ///
    /// # Errors
    /// As [`check_new_peer`].
    pub fn add_peer(&mut self, name: &str, peer: &Peer, own: PublicKey) -> Result<(), Fault> {
        check_new_peer(&self.config, name, peer.key, own)?;
        self.section("peers")?.insert(name, Item::Table(peer_table(peer)));
        Ok(())
    }

    /// Removes a peer that no job uses.
    ///
    /// # Errors
    /// [`Code::NoSuchName`]; [`Code::Config`] naming the jobs.
    pub fn remove_peer(&mut self, name: &str) -> Result<(), Fault> {
        self.config.peer(name)?;
        let jobs = self.config.jobs_with(name);
        if !jobs.is_empty() {
            let message =
                format!("peer {name:?} is used by the jobs {}: remove those first", jobs.join(", "));
            return Err(Fault::new(Code::Config, message));
        }
        self.section("peers")?.remove(name);
        Ok(())
    }

    /// Adds a job.
    ///
    /// # Errors
    /// [`Code::Exists`], [`Code::NoSuchName`] if there is no such peer, [`Code::Usage`] for a name that can't be one.
    pub fn add_job(&mut self, name: &str, job: &Job) -> Result<(), Fault> {
        if !is_job_name(name) {
            let message = format!("{name:?}: expected a job's name without white space, `+`, `/` and braces");
            return Err(Fault::new(Code::Usage, message));
        }
        if self.config.jobs.contains_key(name) {
            return Err(Fault::new(Code::Exists, format!("there is a job {name:?} already")));
        }
        self.config.peer(&job.peer)?;
        self.section("jobs")?.insert(name, Item::Table(job_table(job)));
        Ok(())
    }

    /// Removes a job.
    ///
    /// # Errors
    /// [`Code::NoSuchName`].
    pub fn remove_job(&mut self, name: &str) -> Result<(), Fault> {
        self.config.job(name)?;
        self.section("jobs")?.remove(name);
        Ok(())
    }

    /// Writes the file, in one step, if what it says now is valid.
    ///
    /// # Errors
    /// [`Code::Config`], [`Code::Storage`].
    pub fn save(self) -> Result<Config, Fault> {
        let text = self.text.to_string();
        let config = parse(&self.path, &text)?;
        durable::replace(&self.path, text.as_bytes()).map_err(|error| storage(&self.path, &error))?;
        Ok(config)
    }

    fn section(&mut self, name: &str) -> Result<&mut dyn TableLike, Fault> {
        let section = self.text.entry(name).or_insert_with(|| {
            let mut section = Table::new();
            section.set_implicit(true);
            Item::Table(section)
        });
        section
            .as_table_like_mut()
            .ok_or_else(|| Fault::new(Code::Config, format!("{name}: expected a table")))
    }
}

impl Config {
    /// The jobs with that peer.
    pub fn jobs_with(&self, peer: &str) -> Vec<&str> {
        let jobs = self.jobs.iter().filter(|(_, job)| job.peer == peer);
        jobs.map(|(name, _)| name.as_str()).collect()
    }
}

/// Whether a peer of that name and key can be added to a node whose own key is `own`.
///
/// # Errors
/// [`Code::Exists`] for our own key, a known key and a known name; [`Code::Usage`] for a name that can't be one.
pub fn check_new_peer(config: &Config, name: &str, key: PublicKey, own: PublicKey) -> Result<(), Fault> {
    if !is_operator_name(name) {
        return Err(Fault::new(
            Code::Usage,
            format!("{name:?}: expected a name without white space and `+`"),
        ));
    }
    let exists = |message: String| Err(Fault::new(Code::Exists, message));
    if key == own {
        return exists("the key in the file is this node's own".to_owned());
    }
    if config.peers.contains_key(name) {
        return exists(format!("there is a peer {name:?} already"));
    }
    match config.peers.iter().find(|(_, peer)| peer.key == key) {
        Some((known, _)) => exists(format!("the key is known already, as that of {known:?}")),
        None => Ok(()),
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let path = durable::parent(path).join(format!(".{name}.lock"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

fn parse(path: &Path, text: &str) -> Result<Config, Fault> {
    Config::parse(text).map_err(|reason| Fault::new(Code::Config, format!("{}:{reason}", path.display())))
}

fn storage(path: &Path, error: &io::Error) -> Fault {
    Fault::new(Code::Storage, format!("{}: {error}", path.display()))
}

fn peer_table(peer: &Peer) -> Table {
    let mut table = Table::new();
    if let Some(endpoint) = &peer.endpoint {
        table.insert("endpoint", value(endpoint.to_string()));
    }
    table.insert("key", value(peer.key.to_string()));
    table
}

fn job_table(job: &Job) -> Table {
    let mut table = Table::new();
    table.insert("peer", value(&job.peer));
    table.insert("agreement", value(&job.agreement));
    table.insert("purpose", value(&job.purpose));
    table.insert("input", value(input_table(&job.input)));
    table.insert("output", value(job.output.to_string_lossy().into_owned()));
    if let Some(zone) = job.timezone {
        table.insert("timezone", value(zone.name()));
    }
    if let Some(schedule) = &job.schedule {
        table.insert("schedule", value(schedule.to_string()));
        table.insert("jitter_minutes", value(i64::from(job.jitter_minutes)));
    }
    if !job.on_failure.is_empty() {
        table.insert("on_failure", value(job.on_failure.iter().collect::<Array>()));
    }
    if !job.columns.is_empty() {
        table.insert("columns", value(job.columns.iter().collect::<Array>()));
    }
    for (key, _) in [("bom", job.bom), ("only_new", job.only_new)].into_iter().filter(|(_, set)| *set) {
        table.insert(key, value(true));
    }
    if let Some(rejects) = &job.rejects {
        table.insert("rejects", value(rejects.to_string_lossy().into_owned()));
    }
    table.insert("policy", Item::Table(policy_table(&job.policy)));
    table
}

fn input_table(input: &Input) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("path", input.path.to_string_lossy().into_owned().into());
    let optional = [
        ("format", input.format.map(|format| format.to_string())),
        ("encoding", (input.encoding != Encoding::Utf8).then(|| input.encoding.to_string())),
        ("delimiter", input.delimiter.map(|delimiter| delimiter.to_string())),
        ("sheet", input.sheet.clone()),
    ];
    for (key, text) in optional {
        text.into_iter().for_each(|text| {
            table.insert(key, text.into());
        });
    }
    match input.keys.as_slice() {
        [key] => table.extend(key_table(key)),
        keys => {
            let keys: Array = keys.iter().map(key_table).collect();
            table.insert("keys", keys.into());
        }
    }
    table.insert("max_rejects", input.max_rejects.into());
    if input.strict {
        table.insert("strict", true.into());
    }
    table
}

fn key_table(key: &Key) -> InlineTable {
    let mut table = InlineTable::new();
    match key.columns.as_slice() {
        [column] => table.insert("column", column.as_str().into()),
        columns => table.insert("columns", columns.iter().collect::<Array>().into()),
    };
    table.insert("profile", key.profile.id().into());
    table
}

fn policy_table(policy: &Policy) -> Table {
    let mut table = Table::new();
    let output = match policy.output {
        OutputMode::Mutual => "mutual",
    };
    table.insert("output", value(output));
    table.insert("proved", value(policy.proved));
    table.insert("min_items", value(policy.min_items as i64));
    table.insert("max_items", value(policy.max_items as i64));
    table.insert("max_runs_per_day", value(i64::from(policy.max_runs_per_day)));
    if let Some(most) = policy.max_tested_per_year {
        table.insert("max_tested_per_year", value(most as i64));
    }
    table.insert("evidence_days", value(i64::from(policy.evidence_days)));
    table.insert("openable", value(policy.openable));
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::Identity, input::Format};

    const TEXT: &str = "\
# ours
[node]   # this node
name = \"bank-a\"

[jobs]   # none yet

[peers.bank-b] # over the phone
key = \"ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\"
";

    fn home(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn key(seed: u8) -> PublicKey {
        Identity::from_seed(&[seed; 32]).public_key()
    }

    fn peer(seed: u8) -> Peer {
        Peer { endpoint: Some("https://c.example:7443".parse().unwrap()), key: key(seed) }
    }

    fn job(peer: &str) -> Job {
        let key = |columns: &[&str], profile: &str| {
            let columns = columns.iter().map(|column| (*column).to_owned()).collect();
            Key { columns, profile: profile.parse().unwrap() }
        };
        let keys = vec![key(&["手机"], "cn.mobile/1"), key(&["name", "手机"], "cn.name/1+cn.mobile/1")];
        let input = Input {
            path: "/data/a \"x\".csv".into(),
            format: Some(Format::Tsv),
            encoding: Encoding::Gbk,
            delimiter: None,
            sheet: None,
            keys,
            max_rejects: 0.0,
            strict: true,
        };
        let policy = Policy {
            output: OutputMode::Mutual,
            proved: false,
            min_items: 2,
            max_items: 20,
            max_runs_per_day: 3,
            max_tested_per_year: Some(80_000_000),
            evidence_days: 4,
            openable: true,
        };
        Job {
            peer: peer.into(),
            agreement: "AGR-1".into(),
            purpose: String::new(),
            input,
            output: "/out/{job}-{run}.csv".into(),
            timezone: Some("Asia/Shanghai".parse().unwrap()),
            schedule: None,
            jitter_minutes: 0,
            on_failure: Vec::new(),
            columns: vec!["手机".into(), "no".into()],
            bom: true,
            only_new: true,
            rejects: Some("/out/{job}-{run}.rejects.csv".into()),
            retry_minutes: crate::config::RETRY_MINUTES,
            resume_within_hours: crate::config::RESUME_WITHIN_HOURS,
            policy,
            text: String::new(),
        }
    }

    #[test]
    fn comments_and_order_stay_and_what_was_added_is_read_back() {
        let (_folder, path) = home(TEXT);
        let mut edit = Edit::open(&path).unwrap();
        edit.add_peer("bank-c", &peer(3), key(1)).unwrap();
        edit.add_job("agents", &job("bank-b")).unwrap();
        let config = edit.save().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for kept in
            ["# ours\n[node]   # this node\n", "[jobs]   # none yet\n", "[peers.bank-b] # over the phone\n"]
        {
            assert!(text.contains(kept), "{text}");
        }
        assert_eq!(config.peers["bank-c"].key, key(3));
        let (added, wanted) = (&config.jobs["agents"], job("bank-b"));
        assert_eq!(added.terms(), wanted.terms());
        assert_eq!((&added.input.path, &added.output), (&wanted.input.path, &wanted.output));
        assert_eq!((added.input.format, added.input.encoding), (Some(Format::Tsv), Encoding::Gbk));
        assert_eq!((&added.input.keys, added.input.strict), (&wanted.input.keys, true));
        assert_eq!((&added.columns, added.bom), (&wanted.columns, wanted.bom));
        assert_eq!((&added.rejects, added.only_new), (&wanted.rejects, true));
        assert_eq!(added.agreement, "AGR-1");
        assert_eq!((added.timezone, added.policy.max_tested_per_year), (wanted.timezone, Some(80_000_000)));
    }

    #[test]
    fn what_was_added_and_removed_leaves_the_file_as_it_was() {
        let (_folder, path) = home(TEXT);
        let mut edit = Edit::open(&path).unwrap();
        edit.add_peer("bank-c", &peer(3), key(1)).unwrap();
        edit.add_job("agents", &job("bank-b")).unwrap();
        edit.save().unwrap();
        let mut edit = Edit::open(&path).unwrap();
        edit.remove_job("agents").unwrap();
        edit.remove_peer("bank-c").unwrap();
        edit.save().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    }

    #[test]
    fn a_peer_is_added_once_and_never_ourselves() {
        let (_folder, path) = home(TEXT);
        let mut edit = Edit::open(&path).unwrap();
        let known = edit.config().peers["bank-b"].clone();
        let mut refused = |name: &str, peer: &Peer, own| edit.add_peer(name, peer, own).unwrap_err();
        assert_eq!(refused("bank-c", &peer(3), key(3)).code, Code::Exists);
        assert_eq!(refused("bank-b", &peer(3), key(1)).code, Code::Exists);
        assert_eq!(refused("bank c", &peer(3), key(1)).code, Code::Usage);
        let other_name = refused("bank-c", &known, key(1));
        assert_eq!(other_name.message, "the key is known already, as that of \"bank-b\"");
    }

    #[test]
    fn a_peer_in_use_stays() {
        let (_folder, path) = home(TEXT);
        let mut edit = Edit::open(&path).unwrap();
        edit.add_job("agents", &job("bank-b")).unwrap();
        edit.save().unwrap();
        let fault = Edit::open(&path).unwrap().remove_peer("bank-b").unwrap_err();
        assert_eq!(fault.message, "peer \"bank-b\" is used by the jobs agents: remove those first");
    }

    #[test]
    fn what_would_not_be_valid_is_not_written() {
        let (_folder, path) = home(TEXT);
        let mut edit = Edit::open(&path).unwrap();
        let mut job = job("bank-b");
        job.policy.min_items = 21;
        edit.add_job("agents", &job).unwrap();
        assert_eq!(edit.save().unwrap_err().code, Code::Config);
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    }

    #[test]
    fn of_many_edits_at_once_none_is_lost() {
        let (_folder, path) = home(TEXT);
        std::thread::scope(|scope| {
            for seed in 10..26 {
                let path = &path;
                scope.spawn(move || {
                    let mut edit = Edit::open(path).unwrap();
                    edit.add_peer(&format!("bank-{seed}"), &peer(seed), key(1)).unwrap();
                    edit.save().unwrap();
                });
            }
        });
        assert_eq!(Config::load(&path).unwrap().peers.len(), 17);
    }

    #[test]
    fn a_node_is_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let listen = "127.0.0.1:7443".parse().unwrap();
        let mut node = NewNode { name: "bank-a", listen, endpoint: None, proxy: Some("http://proxy:3128") };
        create(&path, &node).unwrap();
        assert!(Config::load(&path).unwrap().node.proxy.is_some());
        assert_eq!(create(&path, &node).unwrap_err().code, Code::Exists);
        node.proxy = Some("socks5://proxy");
        assert_eq!(create(&folder.path().join("other.toml"), &node).unwrap_err().code, Code::Config);
    }
}
