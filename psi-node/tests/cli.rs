//! The program as scripts see it: commands, what they print and their exit status, as data in `cmd/`; here what data can't
//! say.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "cli/held.rs"]
mod held;

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use psi_node::fault::Code;

use self::held::Held;

#[test]
fn commands() {
    // A program has Parquet or it hasn't.
    let other =
        if cfg!(feature = "parquet") { "tests/cmd/no-parquet.trycmd" } else { "tests/cmd/parquet.trycmd" };
    trycmd::TestCases::new().case("tests/cmd/*.trycmd").skip(other);
}

fn psi(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_psi"));
    command.arg("--home").arg(home);
    command
}

fn output(home: &Path, arguments: &[&str]) -> Output {
    psi(home).args(arguments).output().unwrap()
}

fn node(name: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let init = output(home.path(), &["init", "--name", name, "--listen", "127.0.0.1:0"]);
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    home
}

/// The last line of `psi id`.
fn digits(home: &Path) -> String {
    let id = String::from_utf8(output(home, &["id"]).stdout).unwrap();
    id.lines().last().unwrap().split_once(' ').unwrap().1.to_owned()
}

/// Makes `who` known to `other`, at that address.
fn introduce(who: &Path, other: &Path, address: Option<&str>) {
    let mut text = String::from_utf8(output(who, &["peer", "export"]).stdout).unwrap();
    if let Some(address) = address {
        text += &format!("endpoint = \"https://{address}\"\n");
    }
    let file = other.join("other.psi-peer");
    fs::write(&file, text).unwrap();
    let add = output(other, &["peer", "add", file.to_str().unwrap(), "--confirm", &digits(who)]);
    assert!(add.status.success(), "{}", String::from_utf8_lossy(&add.stderr));
}

/// A serving node, the rest of its stdout, and its address.
fn serve(home: &Path) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = psi(home).arg("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on ").unwrap().trim_end().to_owned();
    (child, stdout, address)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn what_a_node_writes_is_its_own_business() {
    let home = node("bank-a");
    let mode = |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
    for file in ["config.toml", "keys/identity.key", "keys/seal.key"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    assert_eq!(mode("keys"), 0o700);
}

#[test]
fn a_node_does_not_become_its_own_peer() {
    let home = node("bank-a");
    let export = output(home.path(), &["peer", "export"]);
    let file = home.path().join("own.psi-peer");
    fs::write(&file, export.stdout).unwrap();
    let confirmed = ["--as", "me", "--confirm", &digits(home.path())];
    let add = output(home.path(), &[&["peer", "add", file.to_str().unwrap()], &confirmed[..]].concat());
    assert_eq!(add.status.code(), Some(4));
    assert!(String::from_utf8(add.stderr).unwrap().contains("PSI-E013"));
}

#[test]
fn serve_says_where_it_listens_and_stops_when_asked() {
    for asked in [Signal::SIGTERM, Signal::SIGINT] {
        let home = node("bank-a");
        let (mut child, mut stdout, address) = serve(home.path());
        assert_ne!(address.strip_prefix("127.0.0.1:").unwrap().parse::<u16>().unwrap(), 0);
        signal(&child, asked);
        assert!(child.wait().unwrap().success());
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn systemd_is_told_when_a_node_is_ready_when_it_lives_and_when_it_stops() {
    let home = node("bank-a");
    let socket = UnixDatagram::bind(home.path().join("notify")).unwrap();
    let told = || {
        let mut bytes = [0; 100];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap().trim_end().to_owned()
    };
    let mut serve = psi(home.path());
    serve.env("NOTIFY_SOCKET", home.path().join("notify")).env("WATCHDOG_USEC", "20000");
    let mut child = serve.arg("serve").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(told(), "READY=1");
    assert_eq!([told(), told()], ["WATCHDOG=1", "WATCHDOG=1"]);
    signal(&child, Signal::SIGTERM);
    while told() != "STOPPING=1" {}
    // A node that ends still says that it lives, and would wait for whoever does not listen.
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let ended = loop {
        let _ = socket.recv(&mut [0; 100]);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
    };
    assert!(ended.success());
}

#[test]
fn a_metrics_port_that_is_taken_is_named() {
    let home = node("bank-a");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = home.path().join("config.toml");
    let metrics = format!("[node]\nmetrics = \"{}\"\n", taken.local_addr().unwrap());
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("[node]\n", &metrics)).unwrap();
    let serve = output(home.path(), &["serve"]);
    assert_eq!(serve.status.code(), Some(4));
    assert!(String::from_utf8(serve.stderr).unwrap().contains("node.metrics: 127.0.0.1:"));
}

#[test]
fn serve_needs_an_address() {
    let home = node("bank-a");
    let path = home.path().join("config.toml");
    let text = fs::read_to_string(&path).unwrap().replace("listen = \"127.0.0.1:0\"\n", "");
    assert!(!text.contains("listen"));
    fs::write(&path, text).unwrap();
    let serve = output(home.path(), &["serve"]);
    assert_eq!(serve.status.code(), Some(4));
    assert!(String::from_utf8(serve.stderr).unwrap().contains("PSI-E011"));
}

#[test]
fn a_signal_ends_a_command_with_its_own_status() {
    for (asked, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let home = node("bank-a");
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = format!(
            "\n[peers.bank-b]\nendpoint = \"https://{}\"\n\
             key = \"ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\"\n",
            silent.local_addr().unwrap()
        );
        let mut config = OpenOptions::new().append(true).open(home.path().join("config.toml")).unwrap();
        config.write_all(peer.as_bytes()).unwrap();
        let mut child =
            psi(home.path()).args(["peer", "ping", "bank-b"]).stderr(Stdio::null()).spawn().unwrap();
        // It has called, so it heeds signals by now.
        let _call = silent.accept().unwrap();
        signal(&child, asked);
        assert_eq!(child.wait().unwrap().code(), Some(status));
    }
}

#[test]
fn a_peer_that_serves_answers_a_ping() {
    let (a, b) = (node("bank-a"), node("bank-b"));
    introduce(a.path(), b.path(), None);
    let (mut child, _stdout, address) = serve(b.path());
    introduce(b.path(), a.path(), Some(&address));
    let ping = output(a.path(), &["peer", "ping", "bank-b"]);
    signal(&child, Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
    let stdout = String::from_utf8(ping.stdout).unwrap();
    assert!(ping.status.success(), "{}", String::from_utf8_lossy(&ping.stderr));
    for line in ["round trip  ", "software    psi 0.", "clock       "] {
        assert!(stdout.contains(line), "{stdout}");
    }
}

fn add_job(home: &Path, peer: &str, more: &[&str]) {
    let job = ["job", "add", "agents", "--peer", peer, "--column", "phone", "--profile", "cn.mobile/1"];
    let output_file = home.join("out.csv");
    let add = output(home, &[&job[..], &["--output", output_file.to_str().unwrap()], more].concat());
    assert!(add.status.success(), "{}", String::from_utf8_lossy(&add.stderr));
}

#[test]
fn a_list_from_standard_input_gives_its_own_rows_as_the_result() {
    let (a, b) = (node("bank-a"), node("bank-b"));
    introduce(a.path(), b.path(), None);
    let list = b.path().join("list.csv");
    fs::write(&list, "phone\n13900000001\n13900000003\n").unwrap();
    add_job(b.path(), "bank-a", &["--input", list.to_str().unwrap()]);
    let (mut child, _stdout, address) = serve(b.path());
    introduce(b.path(), a.path(), Some(&address));
    add_job(a.path(), "bank-b", &["--input", "-", "--format", "tsv"]);
    let run = run_with(a.path(), &[], "no\tphone\n1\t13900000001\n2\t13900000002\n");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(fs::read_to_string(a.path().join("out.csv")).unwrap(), "no,phone\n1,13900000001\n");
    signal(&child, Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
}

/// `psi run` with a list from standard input.
fn run_with(home: &Path, flags: &[&str], rows: &str) -> Output {
    let mut run = psi(home);
    let pipes = run.args(["run", "agents"]).args(flags);
    let mut run = pipes.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    run.stdin.take().unwrap().write_all(rows.as_bytes()).unwrap();
    run.wait_with_output().unwrap()
}

#[test]
fn a_run_does_once_what_its_flags_say_and_a_removed_job_leaves_nothing_known() {
    let (a, b) = (node("bank-a"), node("bank-b"));
    introduce(a.path(), b.path(), None);
    let list = b.path().join("list.csv");
    fs::write(&list, "phone\n13900000001\n13900000003\n").unwrap();
    add_job(b.path(), "bank-a", &["--input", list.to_str().unwrap()]);
    let (mut child, _stdout, address) = serve(b.path());
    introduce(b.path(), a.path(), Some(&address));
    add_job(a.path(), "bank-b", &["--input", "-", "--max-rejects", "0.5"]);
    let path = |name| a.path().join(name).to_str().unwrap().to_owned();
    let [output_file, rejects] = ["once.jsonl", "left.csv"].map(path);
    let flags = ["--only-new", "--output", &output_file, "--columns", "no", "--rejects", &rejects];
    let run = run_with(a.path(), &flags, "no,phone\n1,13900000001\n2,139\n3,13900000004\n");
    let [stdout, stderr] =
        [&run.stdout, &run.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(run.status.code(), Some(3), "{stderr}");
    let lines = format!(
        "1 new matching row in {output_file}; nothing is known of an earlier run, so all are new\n\
         what was left out of the list in {rejects}\n"
    );
    assert!(stdout.contains(&lines), "{stdout}");
    assert_eq!(fs::read_to_string(output_file).unwrap(), "{\"no\":\"1\"}\n");
    let left = "psi_line,psi_column,psi_reason,no,phone\n3,phone,\"wrong length: expected 11 digits, got 3\",2,139\n";
    assert_eq!(fs::read_to_string(&rejects).unwrap(), left);
    assert_eq!(fs::metadata(rejects).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!a.path().join("out.csv").exists());
    let known = || fs::read_dir(a.path().join("private/known")).unwrap().count();
    assert_eq!(known(), 1);
    assert!(output(a.path(), &["job", "remove", "agents"]).status.success());
    assert_eq!(known(), 0);
    signal(&child, Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
    // The called side keeps to its own configuration.
    assert_eq!(fs::read_to_string(b.path().join("out.csv")).unwrap(), "phone\n13900000001\n");
}

/// A serving node that a monitor can ask, the rest of its stdout, and where it is asked. Somebody else may take the port
/// that was free: then another one is tried.
fn serve_watched(home: &Path) -> (Child, BufReader<ChildStdout>, SocketAddr) {
    let config = fs::read_to_string(home.join("config.toml")).unwrap();
    loop {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
        let watched = config.replace("[node]\n", &format!("[node]\nmetrics = \"{free}\"\n"));
        fs::write(home.join("config.toml"), watched).unwrap();
        let mut child = psi(home).arg("serve").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        if line.starts_with("listening on ") {
            return (child, stdout, free);
        }
        let ended = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(stderr.contains(&format!("node.metrics: {free}")), "{stderr}");
    }
}

fn metrics(of: SocketAddr) -> String {
    let mut stream = TcpStream::connect(of).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: monitor\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_run_beside_the_serving_node_of_its_home_is_seen_there() {
    let (a, b) = (node("bank-a"), node("bank-b"));
    introduce(a.path(), b.path(), None);
    for (home, numbers) in [(a.path(), "13900000001\n13900000002\n"), (b.path(), "13900000001\n")] {
        fs::write(home.join("list.csv"), format!("phone\n{numbers}")).unwrap();
    }
    add_job(b.path(), "bank-a", &["--input", b.path().join("list.csv").to_str().unwrap()]);
    let (mut partner, _partners_stdout, address) = serve(b.path());
    introduce(b.path(), a.path(), Some(&address));
    add_job(a.path(), "bank-b", &["--input", a.path().join("list.csv").to_str().unwrap()]);
    let (mut serving, _stdout, monitor) = serve_watched(a.path());
    let complete = "\npsi_runs_total{job=\"agents\",peer=\"bank-b\",result=\"complete\"} 1\n";
    let before = metrics(monitor);
    assert!(before.contains("psi_runs_left_today") && !before.contains(complete), "{before}");

    let run = output(a.path(), &["run", "agents", "--json"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let after = metrics(monitor);
    assert!(after.contains(complete), "{after}");
    let listed = attempt(a.path());
    assert_eq!(
        (&listed["run_id"], &listed["state"], &summary["matches"]),
        (&summary["run_id"], &"complete".into(), &1.into())
    );
    for child in [&mut serving, &mut partner] {
        signal(child, Signal::SIGTERM);
        assert!(child.wait().unwrap().success());
    }
}

/// Two homes with a job of 3,000 numbers each, half of them shared, and the second one's node as it is held.
fn held(frames: usize) -> (tempfile::TempDir, tempfile::TempDir, Held) {
    let (a, b) = (node("bank-a"), node("bank-b"));
    introduce(a.path(), b.path(), None);
    for (home, peer, first) in [(a.path(), "bank-b", 0), (b.path(), "bank-a", 1500)] {
        let list = home.join("list.csv");
        let numbers = (first..first + 3000).map(|number| format!("1390000{number:04}\n"));
        fs::write(&list, format!("phone\n{}", numbers.collect::<String>())).unwrap();
        if peer == "bank-a" {
            add_job(home, peer, &["--input", list.to_str().unwrap()]);
        }
    }
    let partner = Held::serve(b.path(), frames);
    introduce(b.path(), a.path(), Some(&partner.address.to_string()));
    add_job(a.path(), "bank-b", &["--input", a.path().join("list.csv").to_str().unwrap()]);
    (a, b, partner)
}

/// The one record of an attempt.
fn attempt(home: &Path) -> serde_json::Value {
    let listed = output(home, &["runs", "list", "--json"]);
    serde_json::from_slice(&listed.stdout).unwrap()
}

#[test]
fn a_run_that_is_asked_to_stop_tells_its_peer_and_goes_on_where_it_was() {
    for (asked, status, named) in
        [(Signal::SIGTERM, 143, "the program was asked to stop"), (Signal::SIGINT, 130, "was interrupted")]
    {
        let (a, b, partner) = held(60);
        let child = psi(a.path()).args(["run", "agents"]).stderr(Stdio::piped()).spawn().unwrap();
        partner.reached.recv().unwrap();
        signal(&child, asked);
        let stopped = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(stopped.stderr).unwrap();
        assert_eq!(stopped.status.code(), Some(status), "{stderr}");
        assert!(stderr.contains("the run is kept"), "{stderr}");
        let told = partner.ended.recv().unwrap().unwrap_err();
        assert_eq!((told.code, told.resumable), (Code::Cut, true));
        assert!(told.message.contains(named), "{told}");
        let kept = attempt(a.path());
        assert_eq!(
            (&kept["state"], a.path().join("out.csv").exists()),
            (&"committed".into(), false),
            "{kept}"
        );

        let again = output(a.path(), &["run", "agents", "--json"]);
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        let summary: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!((&summary["resumed"], &summary["matches"]), (&1.into(), &1500.into()));
        assert_eq!(summary["run_id"], kept["run_id"]);
        assert!(partner.resumed.recv().unwrap() > 0, "what was done before the signal was kept");
        assert!(partner.ended.recv().unwrap().is_ok());
        drop(b);
    }
}

#[test]
fn a_called_node_has_no_standard_input() {
    let (a, b) = (node("bank-a"), node("bank-b"));
    introduce(b.path(), a.path(), None);
    add_job(a.path(), "bank-b", &["--input", "-"]);
    let (mut child, _stdout, address) = serve(a.path());
    introduce(a.path(), b.path(), Some(&address));
    let list = b.path().join("list.csv");
    fs::write(&list, "phone\n13900000001\n").unwrap();
    add_job(b.path(), "bank-a", &["--input", list.to_str().unwrap()]);
    let run = output(b.path(), &["run", "agents"]);
    signal(&child, Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
    assert_eq!(run.status.code(), Some(8), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn a_peer_that_does_not_serve_is_unreachable() {
    let (a, b) = (node("bank-a"), node("bank-b"));
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    introduce(b.path(), a.path(), Some(&free.to_string()));
    let ping = output(a.path(), &["peer", "ping", "bank-b"]);
    assert_eq!(ping.status.code(), Some(6));
    assert!(String::from_utf8(ping.stderr).unwrap().starts_with("error[PSI-E040 peer-unreachable]: "));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut completions = Command::new(env!("CARGO_BIN_EXE_psi"));
    let mut child = completions.args(["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_demonstration_ends_well() {
    for arguments in [&["demo"][..], &["demo", "--items", "40"]] {
        let demo = Command::new(env!("CARGO_BIN_EXE_psi")).args(arguments).output().unwrap();
        let [stdout, stderr] = [demo.stdout, demo.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(demo.status.success(), "{stderr}");
        assert!(stdout.contains("verdict: verified"), "{stdout}");
        assert_eq!(stderr.contains("bad row"), arguments.len() == 1, "{stderr}");
    }
}
