//! `psi bench`: what this machine does, and how long an exchange would take.

use psi_core::plan::MAX_ITEMS;
use psi_node::{
    bench::{Effort, Estimate, Exchange, Machine, Reference, processors},
    fault::Fault,
};
use serde::Serialize;

use super::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Say how long an exchange takes, for a list of ours with N items
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_ITEMS))]
    items: Option<u64>,
    /// Items of the peer's list, if they are not as many
    #[arg(long, value_name = "N", requires = "items", value_parser = clap::value_parser!(u64).range(1..=MAX_ITEMS))]
    peer_items: Option<u64>,
    /// The connection, in each direction; without it, the connection is taken to be fast enough
    #[arg(long, value_name = "MBIT", requires = "items", value_parser = clap::value_parser!(u64).range(1..))]
    mbit_per_s: Option<u64>,
    /// Computing threads of each party; by default one a processor
    #[arg(long, value_name = "N", requires = "items", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// For an exchange without proofs
    #[arg(long, requires = "items")]
    unproved: bool,
    /// Take a second or so instead of fifteen, and be a few per cent off
    #[arg(long)]
    quick: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The machine, and what was asked about it.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimate>,
}

impl Args {
    pub(super) fn execute(&self) -> Result<(), Fault> {
        let machine = Machine::measure(if self.quick { Effort::QUICK } else { Effort::FULL })?;
        let estimate = self.exchange().map(|exchange| exchange.estimate(machine.fastest()));
        if self.json {
            return print::json(&Report { machine, estimate });
        }
        print::out(&(measured(&machine) + &estimate.as_ref().map(estimated).unwrap_or_default()))
    }

    fn exchange(&self) -> Option<Exchange> {
        let items = self.items?;
        Some(Exchange {
            items,
            peer_items: self.peer_items.unwrap_or(items),
            proved: !self.unproved,
            mbit_per_s: self.mbit_per_s,
            threads: self.threads.map_or_else(processors, |threads| threads as usize),
        })
    }
}

/// The tables for people.
fn measured(machine: &Machine) -> String {
    let Reference { backend, own_ns, peer_ns } = machine.dalek;
    let speeds = machine.paths.iter().map(|speed| {
        line(speed.path, &[speed.own_ns, speed.peer_ns, speed.prove_ns, speed.verify_ns].map(grouped))
    });
    let threads = machine.threads.iter().map(|threads| {
        line(&print::count(threads.n as u64, "thread", "threads"), &[grouped(threads.own_per_s)])
    });
    [
        print::printable(&machine.cpu) + "\n\n",
        line("ns an element", &["own", "peer", "prove", "verify"].map(str::to_owned)),
        speeds.collect(),
        line(&format!("dalek, {backend}"), &[own_ns, peer_ns].map(grouped)),
        "\n".to_owned(),
        line("a second", &["own".to_owned()]),
        threads.collect(),
    ]
    .concat()
}

fn line(name: &str, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|cell| format!("{cell:>10}")).collect();
    format!("{name:13}{cells}\n")
}

fn grouped(number: u64) -> String {
    print::grouped(number.into())
}

fn estimated(estimate: &Estimate) -> String {
    let Estimate { items, peer_items, threads, .. } = *estimate;
    let over = estimate.mbit_per_s.map(|rate| format!(", over {} Mbit/s", grouped(rate)));
    format!(
        "\n{} against {}, {}, {} a party{}: about {}\n{:.1} s of CPU, {} sent, {} received; a machine like this one on the other side\n",
        print::count(items, "item", "items"),
        grouped(peer_items),
        if estimate.proved { "proved" } else { "unproved" },
        print::count(threads as u64, "thread", "threads"),
        over.unwrap_or_default(),
        print::span(estimate.seconds),
        estimate.cpu_seconds,
        print::bytes(estimate.bytes_sent),
        print::bytes(estimate.bytes_received),
    )
}

#[cfg(test)]
mod tests {
    use psi_node::bench::{Speed, Throughput};

    use super::*;

    fn machine() -> Machine {
        let speed = |path, own_ns| Speed { path, own_ns, peer_ns: 5300, prove_ns: 420, verify_ns: 1970 };
        Machine {
            cpu: "AMD EPYC".to_owned(),
            paths: vec![speed("ifma", 5900), speed("portable", 22_900)],
            dalek: Reference { backend: "avx512", own_ns: 22_500, peer_ns: 17_900 },
            threads: vec![Throughput { n: 1, own_per_s: 168_000 }, Throughput { n: 2, own_per_s: 332_000 }],
        }
    }

    #[test]
    fn people_get_tables() {
        assert_eq!(
            measured(&machine()),
            "AMD EPYC\n\n\
             ns an element       own      peer     prove    verify\n\
             ifma              5,900     5,300       420     1,970\n\
             portable         22,900     5,300       420     1,970\n\
             dalek, avx512    22,500    17,900\n\n\
             a second            own\n\
             1 thread        168,000\n\
             2 threads       332,000\n"
        );
    }

    #[test]
    fn people_get_one_sentence_about_an_exchange() {
        let exchange = Exchange { mbit_per_s: Some(100), threads: 4, ..Exchange::of(1_000_000, 20_000) };
        assert_eq!(
            estimated(&exchange.estimate(machine().fastest())),
            "\n1,000,000 items against 20,000, proved, 4 threads a party, over 100 Mbit/s: about 5.7 s\n\
             9.9 s of CPU, 32.7 MB sent, 32.7 MB received; a machine like this one on the other side\n"
        );
    }

    #[test]
    fn an_estimate_stands_beside_the_machine_and_only_where_one_was_asked_for() {
        let estimate = Exchange::of(10, 10).estimate(machine().fastest());
        let with = serde_json::to_string(&Report { machine: machine(), estimate: Some(estimate) }).unwrap();
        let without = serde_json::to_string(&Report { machine: machine(), estimate: None }).unwrap();
        assert!(
            with.starts_with(without.trim_end_matches('}')) && with.contains("],\"estimate\":{\"items\":10,"),
            "{with}"
        );
        assert!(without.ends_with("\"own_per_s\":332000}]}"), "{without}");
    }
}
