use psi_core::identifier::Profile;

use super::*;

const SAMPLE: &str = include_str!("../../../docs/samples/config.toml");

fn refused(text: &str) -> String {
    Config::parse(text).unwrap_err()
}

#[test]
fn the_sample_is_valid_and_says_what_its_comments_say() {
    let config = Config::parse(SAMPLE).unwrap();
    assert_eq!(config.node.name, "bank-a");
    assert_eq!(config.peer("bank-b").unwrap().endpoint.as_ref().unwrap().port(), 7443);
    let job = config.job("agents").unwrap();
    assert!(job.terms().proved && job.terms().openable);
    assert_eq!(job.terms().max_items, 200_000);
    assert_eq!((job.zone().name(), job.policy.max_tested_per_year), ("Asia/Shanghai", Some(80_000_000)));
    assert_eq!(job.input.max_rejects, 0.01);
}

#[test]
fn a_typo_gets_its_place_and_the_nearest_name() {
    let error = refused(&SAMPLE.replace("\nlisten =", "\nlisen ="));
    assert!(error.starts_with("6:1: unknown field `lisen`"), "{error}");
    assert!(error.ends_with("did you mean `listen`?"), "{error}");
    let error = refused(&SAMPLE.replace("max_items", "max_item"));
    assert!(error.ends_with("did you mean `max_items`?"), "{error}");
}

#[test]
fn wrong_values_are_refused_where_they_stand() {
    let cases = [
        ("name = \"bank-a\"", "name = \"bank a\"", "a name without white space and `+` is expected"),
        ("0.0.0.0:7443", "0.0.0.0", "invalid socket address"),
        ("https://psi.bank-b", "http://psi.bank-b", "expected a URL that starts with https://"),
        ("cn.mobile/1", "cn.mobil/1", "the nearest known one is \"cn.mobile/1\""),
        ("cn.mobile/1", "cn.name/1", "cn.name/1 is never a key alone, too many people share a name"),
        ("max_rejects = 0.01", "max_rejects = 1.01", "a share from 0 to 1 is expected"),
        ("Asia/Shanghai", "Asia/Shanghi", "no time zone \"Asia/Shanghi\"; the nearest is \"Asia/Shanghai\""),
        ("30 2 * * *", "61 2 * * *", "\"61 2 * * *\" is no schedule: "),
        ("jitter_minutes = 5", "jitter_minutes = -5", "invalid value: integer `-5`"),
        ("80_000_000", "-1", "invalid value: integer `-1`"),
        ("proved = true", "proved = \"yes\"", "invalid type: string"),
        ("output = \"mutual\"", "output = \"ours\"", "unknown variant `ours`, expected `mutual`"),
        ("ed25519:", "rsa:", "expected \"ed25519:\" before the key"),
    ];
    for (right, wrong, reason) in cases {
        assert!(SAMPLE.contains(right), "{right}");
        let error = refused(&SAMPLE.replacen(right, wrong, 1));
        assert!(error.contains(reason), "{error}");
        let line: usize = error.split(':').next().unwrap().parse().unwrap();
        assert!(SAMPLE.replacen(right, wrong, 1).lines().nth(line - 1).unwrap().contains(wrong), "{error}");
    }
}

#[test]
fn one_key_or_several() {
    let config = Config::parse(SAMPLE).unwrap();
    let [one, several] = ["agents", "mule-accounts"].map(|job| &config.job(job).unwrap().input);
    assert_eq!((one.keys.len(), one.keys[0].label().as_str(), one.strict), (1, "phone", false));
    assert_eq!(several.keys.iter().map(Key::label).collect::<Vec<_>>(), ["phone", "id_no", "name+phone"]);
    assert_eq!(several.spec().columns, ["phone", "id_no", "name"]);
    assert!(several.strict && several.limits().strict);
    let profiles = config.job("mule-accounts").unwrap().terms().profiles;
    assert_eq!(profiles.iter().map(Profile::id).collect::<Vec<_>>()[2], "cn.name/1+cn.mobile/1");
}

#[test]
fn keys_that_do_not_fit_together_are_refused_where_they_stand() {
    let cases = [
        ("column = \"id_no\"", "columns = [\"id_no\", \"name\"]", "cn.rid/1 is over one column, got 2"),
        ("column = \"id_no\", ", "", "cn.rid/1: expected either `column` or `columns`"),
        ("column = \"id_no\"", "colum = \"id_no\"", "unknown field `colum`"),
        ("\"name\", ", "", "cn.name/1+cn.mobile/1 is over 2 columns, got 1"),
        ("profile = \"cn.rid/1\"", "profile = \"cn.rd/1\"", "the nearest known one is \"cn.rid/1\""),
    ];
    for (right, wrong, reason) in cases {
        assert!(SAMPLE.contains(right), "{right}");
        let text = SAMPLE.replacen(right, wrong, 1);
        let error = refused(&text);
        assert!(error.contains(reason), "{error}");
        let line: usize = error.split(':').next().unwrap().parse().unwrap();
        let line = text.lines().nth(line - 1).unwrap();
        assert!(line.contains(wrong) || line.starts_with("keys = ["), "{error}");
    }
    let cases = [
        ("cn.rid/1", "cn.mobile/1", "cn.mobile/1 stands in two keys: a job has one list of each type"),
        ("\"id_no\"", "\"phone\"", "two keys are over \"phone\": the result could not tell them apart"),
        ("\"id_no\"", "\"id;no\"", "the result names columns with ; between them"),
        ("strict = true", "column = \"phone\"", "expected either `column` and `profile`, or `keys`"),
        (
            "column = \"phone\", profile = \"cn.mobile/1\", max",
            "max",
            "expected either `column` and `profile`",
        ),
    ];
    for (right, wrong, reason) in cases {
        assert!(SAMPLE.contains(right), "{right}");
        let error = refused(&SAMPLE.replacen(right, wrong, 1));
        assert!(error.contains(reason), "{error}");
    }
    let none = format!("{}]{}", SAMPLE.split_once("keys = [").unwrap().0.to_owned() + "keys = [", "\n");
    assert!(refused(&none).contains("expected 1 to 16 keys, got 0"));
}

#[test]
fn a_job_without_its_peer_or_with_impossible_limits_is_refused() {
    let cases = [
        ("peer = \"bank-b\"", "peer = \"bank-c\"", " jobs.agents.peer: no peer \"bank-c\""),
        ("min_items = 1000", "min_items = 0", " jobs.agents.policy.min_items: expected at least 1"),
        ("80_000_000", "999", " jobs.agents.policy: max_tested_per_year is below min_items"),
        ("jitter_minutes = 5", "jitter_minutes = 1441", " jobs.agents.jitter_minutes: expected at most 1440"),
        (
            "endpoint = \"https://psi.bank-b",
            "# endpoint = \"https://psi.bank-b",
            " jobs.agents.schedule: peers.bank-b has no endpoint: it can only call us",
        ),
        ("min_items = 1000", "min_items = 200_001", " jobs.agents.policy: min_items is above max_items"),
        ("cn.mobile/1", "qq/1+qq/1", "qq/1+qq/1 is over 2 columns, got 1"),
        ("{run}", "{runs}", " jobs.agents.output: \"{runs}\": expected {job}, {date} or {run}"),
        ("[jobs.agents]", "[jobs.\"a/b\"]\n[jobs.agents]", "missing field `peer`"),
    ];
    for (right, wrong, reason) in cases {
        let error = refused(&SAMPLE.replacen(right, wrong, 1));
        assert!(error.ends_with(reason) || error.contains(reason), "{error}");
    }
    let error = refused(&SAMPLE.replace("jobs.agents", "jobs.\"a/b\""));
    assert!(error.starts_with(" jobs: \"a/b\""), "{error}");
}

#[test]
fn a_proxy_may_have_a_password_which_is_never_shown() {
    let with = |proxy: &str| format!("[node]\nname = \"a\"\nproxy = \"{proxy}\"\n");
    let config = Config::parse(&with("http://user:s%40cret@proxy.example:3128")).unwrap();
    let proxy = config.node.proxy.as_ref().unwrap();
    assert_eq!((proxy.host(), proxy.port()), ("proxy.example", 3128));
    assert!(!format!("{config:?}").contains("cret"));
    for wrong in
        ["proxy.example:3128", "https://proxy.example", "socks5://proxy", "http://user@proxy", "http://p/x"]
    {
        let error = refused(&with(wrong));
        assert!(error.starts_with("3:9: expected"), "{wrong}: {error}");
    }
}

#[test]
fn monitors_are_answered_on_loopback_only() {
    let with = |address: &str| SAMPLE.replace("[node]\n", &format!("[node]\nmetrics = \"{address}\"\n"));
    for address in ["127.0.0.1:9464", "[::1]:9464"] {
        assert_eq!(Config::parse(&with(address)).unwrap().node.metrics, Some(address.parse().unwrap()));
    }
    assert!(refused(&with("0.0.0.0:9464")).contains("an address of loopback with a port is expected"));
}

#[test]
fn an_unknown_name_gets_the_nearest_one() {
    let config = Config::parse(SAMPLE).unwrap();
    let fault = config.job("agent").unwrap_err();
    assert_eq!(
        (fault.code, fault.message.as_str()),
        (Code::NoSuchName, "no job \"agent\"; the nearest is \"agents\"")
    );
    assert_eq!(config.peer("bank-x").unwrap_err().message, "no peer \"bank-x\"; the nearest is \"bank-b\"");
}

#[test]
fn no_file_is_no_node() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Config::load(&folder.path().join("config.toml")).unwrap_err().code, Code::NoHome);
    assert_eq!(Config::load(folder.path()).unwrap_err().code, Code::Config);
}
