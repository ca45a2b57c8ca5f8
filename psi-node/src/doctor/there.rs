//! A partner: whether it answers, who it is, its clock and software, and whether it agreed to the same.

use psi_core::session::MAX_CLOCK_SKEW;

use super::Findings;
use crate::{
    fault::{Code, Fault},
    link::grpc::{Connection, Target},
    node::{Node, SOFTWARE},
    run,
};

/// Seconds that clocks may differ before it is worth a word.
const NOTICEABLE: u64 = 30;

pub(super) async fn peer(node: &Node, name: &str, findings: &mut Findings) {
    let config = node.config();
    let Ok(peer) = config.peer(name) else { return };
    let Some(endpoint) = peer.endpoint.clone() else {
        return findings.ok(format!("peer {name}"), "without an endpoint: it can only call us");
    };
    let shown = endpoint.to_string();
    let target = Target { endpoint, key: peer.key, proxy: config.node.proxy.clone() };
    let connection = match Connection::open(&target, node.tls(), node.settings()).await {
        Ok(connection) => connection,
        Err(error) => return findings.problem(format!("peer {name}"), error.into()),
    };
    findings.ok(format!("peer {name}"), format!("{shown} answers with the pinned key, and knows ours"));
    pong(node, name, &connection, findings).await;
    for job in config.jobs_with(name) {
        let asked = run::probe::ask(node, job, &connection).await;
        let same = asked.map(|()| "the peer has it, with the same terms".to_owned());
        findings.take(format!("job {job}: terms"), same);
    }
}

async fn pong(node: &Node, name: &str, connection: &Connection, findings: &mut Findings) {
    let pong = match connection.ping().await {
        Ok(pong) => pong,
        Err(error) => return findings.problem(format!("peer {name}: ping"), error.into()),
    };
    let (what, off) = (format!("peer {name}: clock"), pong.clock.abs_diff(node.clock().wall()).as_secs());
    let message = format!("{off} s from ours");
    match off {
        _ if off > MAX_CLOCK_SKEW.unsigned_abs() => findings.problem(what, Fault::new(Code::Clock, message)),
        _ if off > NOTICEABLE => findings.warning(what, message, "set the clock that is wrong, by NTP"),
        _ => findings.ok(what, message),
    }
    let what = format!("peer {name}: software");
    if pong.software == SOFTWARE {
        findings.ok(what, pong.software);
    } else {
        let message = format!("{:?}, ours is {SOFTWARE:?}", pong.software);
        findings.warning(
            what,
            message,
            "both work while they have a protocol version in common; upgrade the older one",
        );
    }
}
