//! How long an exchange takes, from what one core needs for an element.
//!
//! ```text
//! masking      the longer list:  hash, multiply, encode, and the proof for a later opening
//! exchanging   the longer of:    computing (the peer's items multiplied and proved, the answers to ours verified)
//!                                sending, receiving
//! the rest     the longer list:  reading, sealing, sorting, joining, writing
//! ```
//!
//! Both parties do the same work at the same time, so each phase is over when the slower one has done it.

use psi_core::element::ELEMENT_BYTES;
use psi_core::tag::tag_bytes;
use serde::Serialize;

use super::{Speed, processors};

/// What an own item costs outside the curve, on one thread: read, sealed, sorted, joined, written. Measured with a million
/// items on the machine of docs/SIMD.md; a few per cent of the whole where the curve is slower.
const REST_NS: u64 = 1500;
/// Hellos, Commits, signatures, the TLS handshake.
const SESSION_BYTES: u64 = 30_000;
/// Of a message, what TLS, HTTP/2 and the proofs add: one part in so many.
const FRAMING: u64 = 500;

/// The exchange that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Items of our list.
    pub items: u64,
    /// Items of the peer's list.
    pub peer_items: u64,
    /// Whether the answers are proved.
    pub proved: bool,
    /// Megabits a second in each direction, if the connection is to be reckoned with.
    pub mbit_per_s: Option<u64>,
    /// Computing threads of a party.
    pub threads: usize,
}

impl Exchange {
    /// A proved one, on as many threads as there are processors, on a connection that is never waited for.
    pub fn of(items: u64, peer_items: u64) -> Self {
        Self { items, peer_items, proved: true, mbit_per_s: None, threads: processors() }
    }

    /// What it takes, if the peer's machine is like ours, the list can be opened later, and threads add up.
    pub fn estimate(&self, speed: &Speed) -> Estimate {
        let (ours, theirs) = (self.work(speed, false), self.work(speed, true));
        let rest = REST_NS * self.items.max(self.peer_items);
        let [sent, received] = [self.bytes(false), self.bytes(true)];
        let computed = |work: u64| work as f64 / 1e9 / self.threads.max(1) as f64;
        let carried =
            self.mbit_per_s.map_or(0.0, |rate| sent.max(received) as f64 * 8e-6 / rate.max(1) as f64);
        Estimate {
            items: self.items,
            peer_items: self.peer_items,
            proved: self.proved,
            mbit_per_s: self.mbit_per_s,
            threads: self.threads,
            seconds: rounded(
                computed(ours.masking.max(theirs.masking))
                    + computed(ours.exchanging.max(theirs.exchanging)).max(carried)
                    + rest as f64 / 1e9,
            ),
            cpu_seconds: rounded((ours.masking + ours.exchanging + REST_NS * self.items) as f64 / 1e9),
            bytes_sent: sent,
            bytes_received: received,
        }
    }

    /// The curve's work of one party.
    fn work(&self, speed: &Speed, peer: bool) -> Work {
        let (own, other) = self.sides(peer);
        let proved = u64::from(self.proved);
        Work {
            // A list that can be opened later is proved as answers are: a sum over the same points.
            masking: own * (speed.own_ns + speed.prove_ns),
            exchanging: other * (speed.peer_ns + proved * speed.prove_ns) + own * proved * speed.verify_ns,
        }
    }

    /// Bytes that a party sends: its masked list, and the answers to the other's.
    fn bytes(&self, peer: bool) -> u64 {
        let (own, other) = self.sides(peer);
        let answer = if self.proved { ELEMENT_BYTES } else { tag_bytes(self.items, self.peer_items) };
        let bytes = own * ELEMENT_BYTES as u64 + other * answer as u64;
        bytes + bytes / FRAMING + SESSION_BYTES
    }

    fn sides(&self, peer: bool) -> (u64, u64) {
        if peer { (self.peer_items, self.items) } else { (self.items, self.peer_items) }
    }
}

/// To milliseconds.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// Nanoseconds of one thread.
struct Work {
    masking: u64,
    exchanging: u64,
}

/// What an exchange takes. The time on the wire is that of the busier direction, round trips left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// As asked.
    pub items: u64,
    /// As asked.
    pub peer_items: u64,
    /// As asked.
    pub proved: bool,
    /// As asked.
    pub mbit_per_s: Option<u64>,
    /// As asked.
    pub threads: usize,
    /// From start to end.
    pub seconds: f64,
    /// CPU seconds of our side.
    pub cpu_seconds: f64,
    /// Bytes that we send.
    pub bytes_sent: u64,
    /// Bytes that we receive.
    pub bytes_received: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: Speed = Speed { path: "ifma", own_ns: 6000, peer_ns: 5000, prove_ns: 500, verify_ns: 2000 };
    const MILLION: u64 = 1_000_000;

    fn alike(items: u64) -> Exchange {
        Exchange { threads: 1, ..Exchange::of(items, items) }
    }

    #[test]
    fn equal_lists_take_the_sum_of_all_stages() {
        let estimate = alike(MILLION).estimate(&SPEED);
        let expected = 6.0 + 0.5 + 5.0 + 0.5 + 2.0 + 1.5;
        assert!((estimate.seconds - expected).abs() <= 1e-3, "{estimate:?}");
        assert!((estimate.cpu_seconds - expected).abs() <= 1e-3, "{estimate:?}");
    }

    #[test]
    fn without_proofs_neither_proving_nor_verifying_counts() {
        let estimate = Exchange { proved: false, ..alike(MILLION) }.estimate(&SPEED);
        assert!((estimate.cpu_seconds - (6.0 + 0.5 + 5.0 + 1.5)).abs() <= 1e-3, "{estimate:?}");
        // A list of a million and its answers: 32 and 10 bytes an item, and what surrounds them.
        assert!((42_000_000..42_200_000).contains(&estimate.bytes_sent), "{estimate:?}");
    }

    #[test]
    fn a_short_list_waits_for_the_long_one() {
        let few = Exchange { threads: 1, ..Exchange::of(1000, MILLION) }.estimate(&SPEED);
        let many = Exchange { threads: 1, ..Exchange::of(MILLION, 1000) }.estimate(&SPEED);
        assert!((few.seconds - many.seconds).abs() <= 1e-3, "{few:?} {many:?}");
        assert!((few.cpu_seconds - (1e-3 * 10.0 + 5.5)).abs() <= 1e-3, "{few:?}");
        assert_eq!((few.bytes_sent, few.bytes_received), (many.bytes_received, many.bytes_sent));
    }

    #[test]
    fn threads_share_the_curve_and_nothing_else() {
        let estimate = Exchange { threads: 7, ..alike(MILLION) }.estimate(&SPEED);
        assert!((estimate.seconds - (14.0 / 7.0 + 1.5)).abs() <= 1e-3, "{estimate:?}");
    }

    #[test]
    fn a_slow_connection_hides_the_computing_and_a_fast_one_is_hidden_by_it() {
        let over = |rate| Exchange { mbit_per_s: Some(rate), ..alike(MILLION) }.estimate(&SPEED);
        let slow = over(10);
        let carried = slow.bytes_sent as f64 * 8.0 / 10e6;
        assert!((slow.seconds - (6.5 + carried + 1.5)).abs() <= 1e-3 && carried > 51.0, "{slow:?}");
        assert!((over(10_000).seconds - alike(MILLION).estimate(&SPEED).seconds).abs() <= 1e-3);
    }

    #[test]
    fn the_longest_lists_do_not_overflow() {
        let items = psi_core::plan::MAX_ITEMS;
        let slowest = Speed { own_ns: 1_000_000, peer_ns: 1_000_000, ..SPEED };
        assert!(alike(items).estimate(&slowest).cpu_seconds > 1e6);
    }
}
