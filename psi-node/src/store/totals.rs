//! What monitors want summed up over all records: runs by how they ended, time, bytes and items.

use crate::runs::{Attempt, State};

/// No record can make a sum run over.
const MOST: u64 = 1 << 50;

/// Runs, by how they ended; [`UNDER_WAY`] if they have not.
pub const RUNS: &str = "runs";
/// Of [`RUNS`]: those that have not ended.
pub const UNDER_WAY: &str = "under way";
/// Milliseconds, by phase.
pub const PHASES: &str = "phases_ms";
/// Bytes, `sent` and `received`.
pub const BYTES: &str = "bytes";
/// Items of runs whose Commit was sent, `ours` and `theirs`.
pub const ITEMS: &str = "items";

/// A sum over the records of one job with one peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Total {
    /// The job.
    pub job: String,
    /// Our name for the peer.
    pub peer: String,
    /// What is summed up, one of the names in this module.
    pub figure: String,
    /// Which of it.
    pub of: String,
    /// The sum.
    pub amount: u64,
}

/// What a record adds to the sums: figure, which of it, and how much.
pub(super) fn of(attempt: &Attempt) -> Vec<(&'static str, &str, u64)> {
    let spent = &attempt.spent;
    let mut amounts = vec![
        (RUNS, result(attempt).unwrap_or(UNDER_WAY), 1),
        (BYTES, "sent", spent.bytes_sent),
        (BYTES, "received", spent.bytes_received),
    ];
    amounts.extend(spent.phases_ms.iter().map(|(phase, span)| (PHASES, phase.as_str(), *span)));
    for list in attempt.lists.iter().filter(|_| attempt.committed.is_some()) {
        amounts.extend([(ITEMS, "ours", list.items_ours), (ITEMS, "theirs", list.items_theirs)]);
    }
    amounts.iter_mut().for_each(|(.., amount)| *amount = MOST.min(*amount));
    amounts
}

/// How a run ended; `None` while it has not.
fn result(attempt: &Attempt) -> Option<&str> {
    let error = attempt.error.as_deref().unwrap_or_default();
    match attempt.state {
        State::Complete | State::Unconfirmed => Some("complete"),
        // It may be finished yet, by going on or by the peer's signature.
        State::Closing => (!error.is_empty()).then_some("closing"),
        State::Failed => Some(code(error)),
        State::Abandoned => Some("abandoned"),
        State::Agreed | State::Committed => None,
    }
}

/// The code before the text of an attempt's error.
fn code(error: &str) -> &str {
    match error.split_once(": ") {
        Some((code, _)) if code.starts_with("PSI-E") => code,
        _ => "abandoned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_taken_from_errors() {
        assert_eq!(code("PSI-E042: the connection was cut: x"), "PSI-E042");
        assert_eq!(code("abandoned: the process ended before the run did"), "abandoned");
        assert_eq!(code(""), "abandoned");
    }
}
