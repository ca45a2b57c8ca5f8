//! The program as scripts see it: commands, what they print and their exit status, as data in `cmd/`; here what data can't
//! say.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

#[test]
fn commands() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
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
    let mut run = psi(a.path());
    let pipes =
        run.args(["run", "agents"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut run = pipes.spawn().unwrap();
    let rows = "no\tphone\n1\t13900000001\n2\t13900000002\n";
    run.stdin.take().unwrap().write_all(rows.as_bytes()).unwrap();
    let run = run.wait_with_output().unwrap();
    signal(&child, Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(fs::read_to_string(a.path().join("out.csv")).unwrap(), "no,phone\n1,13900000001\n");
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
