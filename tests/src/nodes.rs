//! Two nodes in one process: real homes, real keys, real TLS over loopback.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use psi_core::signature::{Identity, PublicKey};
use psi_node::{
    clock::{Clock, Sleep, System},
    fault::Fault,
    home::Home,
    identity,
    link::Settings,
    node::Node,
    report::{Silent, Summary},
    run,
    scratch::Room,
    server,
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// The job of both nodes.
pub const JOB: &str = "agents";

/// Limits with times that a test can wait for.
pub fn settings() -> Settings {
    Settings {
        idle_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        handshake_timeout: Duration::from_secs(5),
        drain: Duration::from_millis(200),
        retry_pause: Duration::from_millis(10),
        ..Settings::default()
    }
}

/// One node's folder, and how its job is set up.
pub struct Place {
    folder: PathBuf,
    /// Name of the institution.
    pub name: String,
    /// What is read of the list, as the configuration has it.
    pub keys: String,
    /// Lines of the job's policy that differ from the default.
    pub policy: Vec<(String, String)>,
    /// Further lines of the node, such as `max_runs = 1`.
    pub node: Vec<String>,
    /// Further lines of the job, such as `timezone = "Asia/Shanghai"`.
    pub job: Vec<String>,
    /// For how long a run whose connection is lost tries to go on.
    pub retry_minutes: u32,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Name of the result's file in the folder.
    pub output_name: String,
    /// Its room for lists.
    pub room: Room,
}

impl Place {
    fn new(root: &Path, name: &str) -> Self {
        let folder = root.join(name);
        fs::create_dir(&folder).unwrap();
        identity::create(&Home::at(&folder).identity_key()).unwrap();
        let (name, output_name) = (name.to_owned(), "out.csv".to_owned());
        let keys = "column = \"id\", profile = \"text/1\"".to_owned();
        let (policy, node, job, retry_minutes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let (clock, room) = (System::shared(), Room::unlimited());
        Self { folder, name, keys, policy, node, job, retry_minutes, clock, output_name, room }
    }

    /// Sets a line of the job's policy.
    pub fn policy(&mut self, key: &str, value: impl ToString) {
        self.policy.push((key.to_owned(), value.to_string()));
    }

    /// The node's home.
    pub fn home(&self) -> Home {
        Home::at(&self.folder)
    }

    /// The node's identity.
    pub fn identity(&self) -> Identity {
        identity::load(&self.home().identity_key()).unwrap()
    }

    /// The list's file.
    pub fn list(&self) -> PathBuf {
        self.folder.join("list.csv")
    }

    /// The result's file.
    pub fn output(&self) -> PathBuf {
        self.folder.join(&self.output_name)
    }

    /// Every result under its name, whatever `{run}` in it stands for.
    pub fn results(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        let is_result = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("out");
        let mut results: Vec<PathBuf> = entries.filter(is_result).collect();
        results.sort();
        results
    }

    /// The folders of finished runs, oldest first.
    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.home().runs()) else { return Vec::new() };
        let mut runs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        runs.sort();
        runs
    }

    /// Writes the list: a heading and one row an identifier, with a second column.
    pub fn write_list<T: AsRef<str>>(&self, identifiers: impl IntoIterator<Item = T>) {
        let mut csv = "id,note\n".to_owned();
        for (row, identifier) in identifiers.into_iter().enumerate() {
            csv += &format!("{},row {row}\n", identifier.as_ref());
        }
        fs::write(self.list(), csv).unwrap();
    }

    /// Writes a list with two columns of identifiers, and sets the job to compare both: two rows share a QQ number.
    pub fn write_two_lists(&mut self, range: std::ops::Range<u32>) {
        let keys = r#"keys = [{ column = "id", profile = "text/1" }, { column = "qq", profile = "qq/1" }]"#;
        self.keys = keys.to_owned();
        let rows: String = range.map(|n| format!("agent {n},{},row {n}\n", 100_000 + n / 2)).collect();
        fs::write(self.list(), format!("id,qq,note\n{rows}")).unwrap();
    }

    /// The identifiers in the result, in its order.
    pub fn result(&self) -> Vec<String> {
        let text = fs::read_to_string(self.output()).unwrap();
        text.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()).collect()
    }

    fn write_config(
        &self,
        listen: Option<SocketAddr>,
        peer: &str,
        key: PublicKey,
        endpoint: Option<SocketAddr>,
    ) {
        let listen = listen.map_or_else(String::new, |address| format!("listen = \"{address}\"\n"));
        let endpoint =
            endpoint.map_or_else(String::new, |address| format!("endpoint = \"https://{address}\"\n"));
        let mut policy: Vec<(String, String)> = [
            ("output", "\"mutual\""),
            ("proved", "true"),
            ("min_items", "1"),
            ("max_items", "1000000"),
            ("max_runs_per_day", "1000"),
            ("evidence_days", "0"),
            ("openable", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
        for (key, value) in &self.policy {
            policy.retain(|(known, _)| known != key);
            policy.push((key.clone(), value.clone()));
        }
        let policy: String = policy.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let config = format!(
            "[node]\nname = \"{}\"\nthreads = 2\n{listen}{}\n[peers.{peer}]\nkey = \"{key}\"\n{endpoint}\n\
             [jobs.{JOB}]\npeer = \"{peer}\"\nagreement = \"AGR-1\"\n\
             input = {{ path = {:?}, {}, max_rejects = 0.5 }}\noutput = {:?}\n\
             retry_minutes = {}\n{}\n\n[jobs.{JOB}.policy]\n{policy}",
            self.name,
            self.node.iter().map(|line| format!("{line}\n")).collect::<String>(),
            self.list(),
            self.keys,
            self.output(),
            self.retry_minutes,
            self.job.join("\n"),
        );
        fs::write(self.home().config(), config).unwrap();
    }

    fn open(&self, settings: Settings) -> Arc<Node> {
        let node = Node::open_with(&self.home(), self.clock.clone(), settings).unwrap();
        Arc::new(node.with_room(self.room.clone()))
    }
}

/// This machine's clock, with its wall clock so many seconds ahead.
#[derive(Debug)]
pub struct Ahead(pub i64);

impl Clock for Ahead {
    fn wall(&self) -> Duration {
        let shift = Duration::from_secs(self.0.unsigned_abs());
        if self.0 < 0 { System.wall() - shift } else { System.wall() + shift }
    }

    fn monotonic(&self) -> Duration {
        System.monotonic()
    }

    fn sleep_until(&self, moment: Duration) -> Sleep {
        System.sleep_until(moment)
    }
}

/// Where a node listens, and where it calls the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// Its own address.
    pub listens: Option<SocketAddr>,
    /// The other's address, as this node knows it.
    pub calls: Option<SocketAddr>,
}

/// Two homes that know each other; `a` calls, `b` serves.
pub struct Homes {
    root: TempDir,
    /// The calling side.
    pub a: Place,
    /// The serving side.
    pub b: Place,
    /// The limits of both.
    pub settings: Settings,
}

impl Homes {
    /// Two fresh homes without lists.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["bank-a", "bank-b"].map(|name| Place::new(root.path(), name));
        Self { root, a, b, settings: settings() }
    }

    /// Two homes with these lists.
    pub fn with_lists<T: AsRef<str>>(ours: &[T], theirs: &[T]) -> Self {
        let homes = Self::new();
        homes.a.write_list(ours);
        homes.b.write_list(theirs);
        homes
    }

    /// Writes the configurations of `a` and `b`.
    pub fn configure(&self, [a, b]: [Ports; 2]) {
        let (a_key, b_key) = (self.a.identity().public_key(), self.b.identity().public_key());
        self.a.write_config(a.listens, &self.b.name, b_key, a.calls);
        self.b.write_config(b.listens, &self.a.name, a_key, b.calls);
    }

    /// Leaves the folders where they are, for somebody to look at.
    pub fn keep(self) -> PathBuf {
        self.root.keep()
    }

    /// Starts serving at `b`.
    pub async fn serve(self) -> Pair {
        self.serve_behind(async |_, address| (address, ())).await.0
    }

    /// Starts serving at `b`, behind something: it is told where `b` listens, and returns where `a` is to call.
    pub async fn serve_behind<W>(
        self,
        way: impl AsyncFnOnce(&Self, SocketAddr) -> (SocketAddr, W),
    ) -> (Pair, W) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (called, way) = way(&self, address).await;
        self.configure([
            Ports { listens: None, calls: Some(called) },
            Ports { listens: Some(address), calls: None },
        ]);
        let (a, b) = (self.a.open(self.settings), self.b.open(self.settings));
        let (stop, stopped) = oneshot::channel::<()>();
        let node = b.clone();
        let serving = tokio::spawn(async move {
            server::serve(node, listener, async {
                let _ = stopped.await;
            })
            .await
        });
        (Pair { homes: self, a, b, address, stop, serving }, way)
    }

    /// Starts serving at both; each can call the other.
    pub async fn serve_both(self) -> Both {
        self.serve_both_behind(async |address| (address, ())).await.0
    }

    /// The same, where `a` calls `b` by that way.
    pub async fn serve_both_behind<W>(
        self,
        way: impl AsyncFnOnce(SocketAddr) -> (SocketAddr, W),
    ) -> (Both, W) {
        let listeners = [bind().await, bind().await];
        let [a, b] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let (called, way) = way(b).await;
        self.configure([
            Ports { listens: Some(a), calls: Some(called) },
            Ports { listens: Some(b), calls: Some(a) },
        ]);
        let nodes = [self.a.open(self.settings), self.b.open(self.settings)];
        let (stop, stopped) = watch::channel(());
        let serving = listeners.into_iter().zip(&nodes).map(|(listener, node)| {
            let mut stopped = stopped.clone();
            let serving =
                server::serve(
                    node.clone(),
                    listener,
                    async move { while stopped.changed().await.is_ok() {} },
                );
            tokio::spawn(async { serving.await.unwrap() })
        });
        let serving = Serving(serving.collect());
        (Both { homes: self, nodes, stop, serving }, way)
    }
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Two nodes that both serve.
pub struct Both {
    /// Their folders.
    pub homes: Homes,
    /// The nodes that serve; runs are called by others of the same homes.
    pub nodes: [Arc<Node>; 2],
    stop: watch::Sender<()>,
    serving: Serving,
}

/// Tasks that end with their owner.
struct Serving(Vec<JoinHandle<()>>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Both {
    /// Each side runs the job, by a node of its own as `psi run` does, as soon as `start` is ready.
    pub async fn run_at_once(&self) -> [Result<Summary, Fault>; 2] {
        let barrier = Arc::new(tokio::sync::Barrier::new(2));
        let run = |place: &Place| {
            let (node, barrier) = (place.open(self.homes.settings), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                run::call(&node, JOB, Arc::new(Silent)).await
            })
        };
        let (a, b) = (run(&self.homes.a), run(&self.homes.b));
        [a.await.unwrap(), b.await.unwrap()]
    }

    /// Stops both, as a signal does.
    pub async fn stop(self) -> Homes {
        let Self { homes, stop, mut serving, .. } = self;
        drop(stop);
        for serving in &mut serving.0 {
            serving.await.unwrap();
        }
        homes
    }
}

impl Default for Homes {
    fn default() -> Self {
        Self::new()
    }
}

/// A node that serves, and one that can call it.
pub struct Pair {
    /// Their folders.
    pub homes: Homes,
    /// The calling node.
    pub a: Arc<Node>,
    /// The serving node.
    pub b: Arc<Node>,
    /// Where it serves.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), Fault>>,
}

impl Pair {
    /// `a` runs the job with `b`.
    pub async fn run(&self) -> Result<Summary, Fault> {
        run::call(&self.a, JOB, Arc::new(Silent)).await
    }

    /// Removes both results, so that the next run may write its own.
    pub fn clear_results(&self) {
        for place in [&self.homes.a, &self.homes.b] {
            let _ = fs::remove_file(place.output());
        }
    }

    /// Stops serving; every session of `b` has ended after this.
    pub async fn stop(self) -> Homes {
        drop(self.stop);
        self.serving.await.unwrap().unwrap();
        self.homes
    }
}

/// `prefix 0`, `prefix 1`, ...
pub fn numbered(prefix: &str, range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("{prefix} {n}")).collect()
}
