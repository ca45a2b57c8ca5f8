//! What a monitor sees of a node that serves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::net::SocketAddr;

use psi_node::{fault::Code, watch};
use psi_tests::nodes::{Homes, Pair, numbered};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

async fn pair() -> Pair {
    let ours = numbered("canary7f3a", 0..100);
    let theirs = numbered("canary7f3a", 60..200);
    let mut homes = Homes::with_lists(&ours, &theirs);
    homes.a.policy("max_runs_per_day", 2);
    homes.b.policy("max_runs_per_day", 2);
    homes.b.policy("max_tested_per_year", 1000);
    homes.serve().await
}

async fn monitored(pair: &Pair) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(watch::serve(pair.b.clone(), listener));
    address
}

async fn get(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: monitor\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The caller may hear of the end a moment before it is counted.
async fn scraped_after(address: SocketAddr, line: &str) -> String {
    loop {
        let metrics = get(address, "GET /metrics").await;
        if metrics.lines().any(|found| found == line) {
            return metrics;
        }
    }
}

#[track_caller]
fn assert_has(metrics: &str, line: &str) {
    assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_runs_budgets_and_sessions() {
    let pair = pair().await;
    let address = monitored(&pair).await;
    let before = get(address, "GET /metrics").await;
    assert_has(&before, r#"psi_last_success_timestamp_seconds{job="agents",peer="bank-a"} 0"#);
    assert_has(&before, r#"psi_runs_left_today{job="agents",peer="bank-a"} 2"#);

    pair.run().await.unwrap();
    // The result is there still, so that the next one is refused.
    assert_eq!(pair.run().await.unwrap_err().code, Code::OutputExists);
    std::fs::remove_file(pair.homes.a.output()).unwrap();
    assert_eq!(pair.run().await.unwrap_err().code, Code::Refused);

    let metrics = scraped_after(address, r#"psi_sessions_total{result="PSI-E030"} 1"#).await;
    for line in [
        r#"psi_runs_total{job="agents",peer="bank-a",result="complete"} 1"#,
        "psi_runs_under_way 0",
        r#"psi_last_items{job="agents",profile="text/1",of="ours"} 140"#,
        r#"psi_last_items{job="agents",profile="text/1",of="theirs"} 100"#,
        r#"psi_last_items{job="agents",profile="text/1",of="matches"} 40"#,
        r#"psi_budget_left{peer="bank-a",profile="text/1"} 900"#,
        r#"psi_runs_left_today{job="agents",peer="bank-a"} 1"#,
        r#"psi_sessions_total{result="complete"} 1"#,
        r#"psi_items_total{job="agents",peer="bank-a",of="theirs"} 100"#,
    ] {
        assert_has(&metrics, line);
    }
    for name in [
        "psi_certificate_expiry_timestamp_seconds 1",
        r#"psi_phase_seconds_total{job="agents",peer="bank-a",phase="masking"} "#,
        r#"psi_bytes_total{job="agents",peer="bank-a",direction="received"} "#,
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    for secret in
        ["canary7f3a", "ed25519:", "out.csv", "list.csv", pair.homes.b.home().state().to_str().unwrap()]
    {
        assert!(!metrics.contains(secret), "{secret} is in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_what_is_not_there() {
    let pair = pair().await;
    let address = monitored(&pair).await;
    let health = get(address, "GET /healthz").await;
    assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with("\r\n\r\nok\n"), "{health}");
    assert!(get(address, "GET /etc/passwd").await.starts_with("HTTP/1.1 404 "));
    assert!(get(address, "POST /metrics").await.starts_with("HTTP/1.1 405 "));
    assert!(get(address, "nonsense").await.starts_with("HTTP/1.1 400 "));
}
