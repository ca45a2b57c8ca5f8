//! What `psi doctor` finds, and what it leaves alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::fs;

use psi_node::{
    doctor::{self, Check, Findings, Verdict},
    fault::Code,
};
use psi_tests::nodes::{Homes, Pair, numbered};

async fn pair_with(change: impl FnOnce(&mut Homes)) -> Pair {
    let mut homes = Homes::with_lists(&numbered("agent", 0..50), &numbered("agent", 20..90));
    change(&mut homes);
    homes.serve().await
}

async fn examined(pair: &Pair) -> Findings {
    doctor::examine(&pair.homes.a.home(), None).await.unwrap()
}

#[track_caller]
fn check<'a>(findings: &'a Findings, what: &str) -> &'a Check {
    findings.0.iter().find(|check| check.what == what).unwrap_or_else(|| panic!("{what}: {findings:?}"))
}

#[track_caller]
fn assert_problem(findings: &Findings, what: &str, code: Code) {
    let check = check(findings, what);
    let expected = (Verdict::Problem, Some(code.to_string()));
    assert_eq!((check.verdict, check.code.clone()), expected, "{findings:?}");
    assert!(check.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty()));
    assert_eq!(findings.worst().unwrap().code, code);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_pair_has_no_problem_and_asking_leaves_no_trace() {
    let pair = pair_with(|_| {}).await;
    // Nobody may read this list for the question.
    fs::remove_file(pair.homes.b.list()).unwrap();
    let findings = examined(&pair).await;
    assert_eq!(findings.worst(), None, "{findings:?}");
    for what in ["identity key", "job agents: list", "peer bank-b", "peer bank-b: clock", "job agents: terms"]
    {
        assert_eq!(check(&findings, what).verdict, Verdict::Ok, "{findings:?}");
    }
    for place in [&pair.homes.a, &pair.homes.b] {
        for folder in [place.home().attempts(), place.home().private(), place.home().runs()] {
            let left = fs::read_dir(&folder).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{} has something in it", folder.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_that_differ_are_named() {
    let pair = pair_with(|homes| homes.b.policy("max_items", 5000)).await;
    let findings = examined(&pair).await;
    assert_problem(&findings, "job agents: terms", Code::Terms);
    assert!(check(&findings, "job agents: terms").message.contains("max-items"), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_have_left_is_counted() {
    let pair = pair_with(|_| {}).await;
    for (attempts, statements) in [("1 attempt", "1 statement"), ("2 attempts", "2 statements")] {
        pair.run().await.unwrap();
        pair.clear_results();
        let findings = examined(&pair).await;
        let seen = ["records", "job agents: chain"].map(|what| &check(&findings, what).message[..]);
        assert_eq!(seen, [attempts, statements]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_peer_lacks_is_named() {
    let pair = pair_with(|_| {}).await;
    let config = pair.homes.b.home().config().to_owned();
    let text = fs::read_to_string(&config).unwrap().replace("[jobs.agents", "[jobs.others");
    fs::write(&config, text).unwrap();
    pair.b.reload().unwrap();
    assert_problem(&examined(&pair).await, "job agents: terms", Code::UnknownJob);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_key_or_none_is_named() {
    let pair = pair_with(|_| {}).await;
    let config = pair.homes.a.home().config().to_owned();
    let (text, own) =
        (fs::read_to_string(&config).unwrap(), pair.homes.b.identity().public_key().to_string());
    let other = pair.homes.a.identity().public_key().to_string();
    fs::write(&config, text.replace(&own, &other)).unwrap();
    assert_problem(&examined(&pair).await, "peer bank-b", Code::WrongKey);
    fs::write(&config, &text).unwrap();
    let homes = pair.stop().await;
    let findings = doctor::examine(&homes.a.home(), Some("bank-b")).await.unwrap();
    assert_problem(&findings, "peer bank-b", Code::Unreachable);
    let unknown = doctor::examine(&homes.a.home(), Some("bank-c")).await;
    assert_eq!(unknown.unwrap_err().code, Code::NoSuchName);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_here_is_named_with_its_code() {
    use std::os::unix::fs::PermissionsExt;
    let pair = pair_with(|_| {}).await;
    let home = pair.homes.a.home();
    fs::write(pair.homes.a.output(), "precious").unwrap();
    assert_problem(&examined(&pair).await, "job agents: output", Code::OutputExists);
    pair.clear_results();
    let list = fs::read_to_string(pair.homes.a.list()).unwrap();
    fs::write(pair.homes.a.list(), list.replacen("id,", "key,", 1)).unwrap();
    assert_problem(&examined(&pair).await, "job agents: list", Code::Column);
    fs::write(pair.homes.a.list(), list).unwrap();
    fs::set_permissions(home.identity_key(), fs::Permissions::from_mode(0o640)).unwrap();
    assert_problem(&examined(&pair).await, "identity key", Code::KeyFile);
    fs::write(home.config(), "[node]\nnam = \"a\"\n").unwrap();
    assert_problem(&examined(&pair).await, "configuration", Code::Config);
}
