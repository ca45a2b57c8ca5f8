//! What this machine does: nanoseconds an element by stage and by path of the CPU, beside curve25519-dalek alone; and from
//! that, how long an exchange takes.
//!
//! Whatever is compared is measured in turn in one run, a whole message at a time, and the least of several rounds counts: a
//! machine that does something else meanwhile, or changes its clock, would spoil a mean. On one core it is the thread's
//! CPU time that counts, so that waiting for the core doesn't.

mod dalek;
mod estimate;
mod message;

use std::{num::NonZero, thread, time::Instant};

use psi_core::plan::MAX_CHUNK;
use psi_core::suite::SuiteId;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;

pub use self::estimate::{Estimate, Exchange};
use self::message::Message;
use crate::fault::{Code, Fault};

const SUITE: SuiteId = SuiteId::Ristretto255Sha512;

/// How thoroughly to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Elements of a message.
    pub elements: usize,
    /// How often each figure is taken; the best counts.
    pub rounds: u32,
}

impl Effort {
    /// Messages as large as they get: about 15 seconds.
    pub const FULL: Self = Self { elements: MAX_CHUNK, rounds: 5 };
    /// A second or so, and a few per cent off.
    pub const QUICK: Self = Self { elements: 2048, rounds: 3 };
}

/// What one core needs for an element, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Speed {
    /// `ifma`, `avx2` or `portable`.
    pub path: &'static str,
    /// An own element: hashed to the group, multiplied, encoded.
    pub own_ns: u64,
    /// An element of the peer: decoded, multiplied, encoded.
    pub peer_ns: u64,
    /// What the proof of an answer adds to that.
    pub prove_ns: u64,
    /// The check of the proof of the peer's answer.
    pub verify_ns: u64,
}

/// curve25519-dalek alone, at its best: the halved scalar and its batched encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// `avx512`, `avx2` or `serial`: the best that was compiled in and this CPU has.
    pub backend: &'static str,
    /// As [`Speed::own_ns`].
    pub own_ns: u64,
    /// As [`Speed::peer_ns`].
    pub peer_ns: u64,
}

/// How many own elements so many threads make a second, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Throughput {
    /// Threads.
    pub n: usize,
    /// Own elements a second.
    pub own_per_s: u64,
}

/// What `psi bench --json` prints, in this order; scripts rely on it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor, as the system calls it.
    pub cpu: String,
    /// Each path that it has, the fastest first.
    pub paths: Vec<Speed>,
    /// What they are measured against.
    pub dalek: Reference,
    /// One thread, two, four and so on, and as many as there are processors.
    pub threads: Vec<Throughput>,
}

impl Machine {
    /// Measures everything.
    ///
    /// # Errors
    /// [`Code::Unexpected`] if threads can't be started.
    pub fn measure(effort: Effort) -> Result<Self, Fault> {
        let (paths, dalek) = pool(1)?.install(|| stages(effort));
        Ok(Self { cpu: cpu(), paths, dalek, threads: scaling(effort)? })
    }

    /// The path that runs use.
    pub fn fastest(&self) -> &Speed {
        &self.paths[0]
    }
}

/// The speed of the path that runs use, for an [`Estimate`]: within half a second.
///
/// # Errors
/// [`Code::Unexpected`] if a thread can't be started.
pub fn measure_quick() -> Result<Speed, Fault> {
    let suites = SUITE.suites();
    let (path, suite) = suites[0];
    let Effort { elements, rounds } = Effort::QUICK;
    Ok(pool(1)?.install(|| {
        let message = Message::new(suite, elements);
        let times = (0..rounds).map(|_| message.round()).reduce(Times::least).unwrap_or_default();
        times.speed(path, elements)
    }))
}

/// CPU nanoseconds for a message, by stage.
#[derive(Clone, Copy, Default)]
struct Times {
    own: u64,
    peer: u64,
    /// The peer's elements, with the proof.
    proved: u64,
    verify: u64,
}

impl Times {
    fn least(self, other: Self) -> Self {
        Self {
            own: self.own.min(other.own),
            peer: self.peer.min(other.peer),
            proved: self.proved.min(other.proved),
            verify: self.verify.min(other.verify),
        }
    }

    fn speed(self, path: &'static str, elements: usize) -> Speed {
        let each = |time: u64| time / elements as u64;
        Speed {
            path,
            own_ns: each(self.own),
            peer_ns: each(self.peer),
            prove_ns: each(self.proved.saturating_sub(self.peer)),
            verify_ns: each(self.verify),
        }
    }
}

/// Every path, and dalek between them, in turn.
fn stages(Effort { elements, rounds }: Effort) -> (Vec<Speed>, Reference) {
    let suites = SUITE.suites();
    let messages: Vec<_> = suites.iter().map(|(_, suite)| Message::new(*suite, elements)).collect();
    let alone = dalek::Alone::new(&messages[0]);
    let mut times: Vec<_> = messages.iter().map(Message::round).collect();
    let (mut own, mut peer) = alone.round();
    for _ in 1..rounds {
        for (times, message) in times.iter_mut().zip(&messages) {
            *times = times.least(message.round());
        }
        let round = alone.round();
        (own, peer) = (own.min(round.0), peer.min(round.1));
    }
    let speeds = suites.iter().zip(times).map(|((path, _), times)| times.speed(path, elements)).collect();
    let each = |time: u64| time / elements as u64;
    (speeds, Reference { backend: dalek::backend(), own_ns: each(own), peer_ns: each(peer) })
}

/// Own elements a second on each number of threads, in turn.
fn scaling(Effort { elements, rounds }: Effort) -> Result<Vec<Throughput>, Fault> {
    let pools = counts().into_iter().map(pool).collect::<Result<Vec<_>, _>>()?;
    let messages: Vec<_> =
        pools.iter().map(|pool| Message::new(SUITE.suite(), elements * pool.current_num_threads())).collect();
    let mut rates = vec![0; pools.len()];
    for _ in 0..rounds {
        for ((rate, pool), message) in rates.iter_mut().zip(&pools).zip(&messages) {
            let start = Instant::now();
            pool.install(|| message.own());
            *rate = (*rate).max((message.len() as f64 / start.elapsed().as_secs_f64()) as u64);
        }
    }
    let threads = pools.iter().map(ThreadPool::current_num_threads);
    Ok(threads.zip(rates).map(|(n, own_per_s)| Throughput { n, own_per_s }).collect())
}

/// 1, 2, 4 and so on, and the number of processors.
fn counts() -> Vec<usize> {
    let all = processors();
    let doubled = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < all);
    doubled.chain([all]).collect()
}

/// How many threads a node starts where its configuration says nothing.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn pool(threads: usize) -> Result<ThreadPool, Fault> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|error| Fault::new(Code::Unexpected, error.to_string()))
}

/// Linux names the processor of x86 in `/proc/cpuinfo`; where it does not, the architecture must do.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const TINY: Effort = Effort { elements: 24, rounds: 2 };

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn json_has_the_shape_that_scripts_rely_on() {
        let machine = serde_json::to_value(Machine::measure(TINY).unwrap()).unwrap();
        assert_eq!(keys(&machine), ["cpu", "paths", "dalek", "threads"]);
        for path in machine["paths"].as_array().unwrap() {
            assert_eq!(keys(path), ["path", "own_ns", "peer_ns", "prove_ns", "verify_ns"]);
            assert!(["own_ns", "peer_ns", "verify_ns"].iter().all(|stage| path[stage].as_u64() > Some(0)));
        }
        assert_eq!(keys(&machine["dalek"]), ["backend", "own_ns", "peer_ns"]);
        assert!(["avx512", "avx2", "serial"].iter().any(|backend| machine["dalek"]["backend"] == *backend));
        for threads in machine["threads"].as_array().unwrap() {
            assert_eq!(keys(threads), ["n", "own_per_s"]);
        }
        assert_eq!(machine["threads"][0]["n"], 1);
    }

    #[test]
    fn every_path_of_this_cpu_is_there_and_the_first_is_the_one_that_runs_use() {
        let machine = Machine::measure(TINY).unwrap();
        let paths: Vec<_> = machine.paths.iter().map(|speed| speed.path).collect();
        assert!(paths.ends_with(&["portable"]), "{paths:?}");
        assert_eq!(machine.fastest().path, measure_quick().unwrap().path);
    }

    #[test]
    fn the_least_of_each_stage_counts_and_a_proof_costs_what_it_adds() {
        let a = Times { own: 500, peer: 400, proved: 600, verify: 300 };
        let b = Times { own: 600, peer: 300, proved: 700, verify: 200 };
        let expected = Speed { path: "ifma", own_ns: 50, peer_ns: 30, prove_ns: 30, verify_ns: 20 };
        assert_eq!(a.least(b).speed("ifma", 10), expected);
    }

    #[test]
    fn threads_double_up_to_the_number_of_processors() {
        let counts = counts();
        assert_eq!((counts[0], counts[counts.len() - 1]), (1, processors()));
        assert!(counts.windows(2).all(|pair| pair[0] < pair[1] && pair[1] <= 2 * pair[0]));
    }
}
