//! The program as scripts see it: commands, what they print and their exit status, as data in `cmd/`; here what data can't
//! say.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
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

fn node() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let init = output(home.path(), &["init", "--name", "bank-a", "--listen", "127.0.0.1:0"]);
    assert!(init.status.success());
    home
}

fn rewrite_config(home: &Path, from: &str, to: &str) {
    let path = home.join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    fs::write(&path, text.replace(from, to)).unwrap();
}

#[test]
fn what_a_node_writes_is_its_own_business() {
    let home = node();
    let mode = |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
    for file in ["config.toml", "keys/identity.key", "keys/seal.key"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    assert_eq!(mode("keys"), 0o700);
}

#[test]
fn a_node_does_not_become_its_own_peer() {
    let home = node();
    let export = output(home.path(), &["peer", "export"]);
    assert!(String::from_utf8(export.stderr).unwrap().contains("can only call"));
    let file = home.path().join("own.psi-peer");
    fs::write(&file, export.stdout).unwrap();
    let id = String::from_utf8(output(home.path(), &["id"]).stdout).unwrap();
    let digits = id.lines().last().unwrap().split_once(' ').unwrap().1;
    let add = output(home.path(), &["peer", "add", file.to_str().unwrap(), "--as", "me", "--confirm", digits]);
    assert_eq!(add.status.code(), Some(4));
    assert!(String::from_utf8(add.stderr).unwrap().contains("PSI-E013"));
}

#[test]
fn serve_says_where_it_listens_and_stops_when_asked() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let home = node();
        let mut child = psi(home.path()).arg("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let port = line.strip_prefix("listening on 127.0.0.1:").unwrap().trim_end();
        assert_ne!(port.parse::<u16>().unwrap(), 0);
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        assert!(child.wait().unwrap().success());
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn serve_needs_an_address() {
    let home = node();
    rewrite_config(home.path(), "listen = \"127.0.0.1:0\"\n", "");
    let serve = output(home.path(), &["serve"]);
    assert_eq!(serve.status.code(), Some(4));
    assert!(String::from_utf8(serve.stderr).unwrap().contains("PSI-E011"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_psi")).args(["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_demonstration_ends_well() {
    for arguments in [&["demo"][..], &["demo", "--items", "40"]] {
        let demo = Command::new(env!("CARGO_BIN_EXE_psi")).args(arguments).output().unwrap();
        let (stdout, stderr) = (String::from_utf8(demo.stdout).unwrap(), String::from_utf8(demo.stderr).unwrap());
        assert!(demo.status.success(), "{stderr}");
        assert!(stdout.contains("verdict: verified"), "{stdout}");
        assert_eq!(stderr.contains("bad row"), arguments.len() == 1, "{stderr}");
    }
}
