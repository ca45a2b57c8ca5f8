//! What a run tells its caller: progress on the way, and a summary at the end.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use crate::input::Rejects;

/// What a run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading the list; rows are not counted beforehand.
    Reading,
    /// Connecting and comparing hellos.
    Connecting,
    /// Masking our list; counts items.
    Masking,
    /// The steps; counts items of ours answered and verified, and items of the peer's evaluated.
    Exchanging,
    /// Joining, writing the result and signing.
    Closing,
}

impl Phase {
    /// All of them, in the order in which they come.
    pub const ALL: [Self; 5] =
        [Self::Reading, Self::Connecting, Self::Masking, Self::Exchanging, Self::Closing];

    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Connecting => "connecting",
            Self::Masking => "masking",
            Self::Exchanging => "exchanging",
            Self::Closing => "closing",
        }
    }
}

/// Is told how far a run is; called from several threads.
pub trait Progress: Send + Sync {
    /// A phase begins; `of` is how much there is to count in it, 0 if nothing is counted.
    fn phase(&self, phase: Phase, of: u64);

    /// So much of the phase is done.
    fn done(&self, done: u64);
}

/// Nobody looks.
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _: Phase, _: u64) {}

    fn done(&self, _: u64) {}
}

/// A finished run. The fields up to `peak_rss_bytes` are what `psi run --json` prints, in this order; scripts rely on them.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Start of the session (initiator's clock, UTC) and the first digits of its id; the same on both sides.
    pub run_id: String,
    /// Our name for the peer.
    pub peer: String,
    /// Items of our list, without duplicates and rejects; of all lists together, as the next two.
    pub items_ours: u64,
    /// Items of the peer's list.
    pub items_theirs: u64,
    /// Identifiers that both have.
    pub matches: u64,
    /// Whether every answer was proved.
    pub proved: bool,
    /// The file with the matching rows.
    pub output: PathBuf,
    /// The folder with statement and transcript.
    pub run_folder: PathBuf,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Bytes written to the connection, TLS included.
    pub bytes_sent: u64,
    /// Bytes read from the connection, TLS included.
    pub bytes_received: u64,
    /// CPU seconds of this process so far, user and system.
    pub cpu_seconds: f64,
    /// The most memory that this process has had, in bytes.
    pub peak_rss_bytes: u64,
    /// Rows of the list, without the heading.
    pub rows_read: u64,
    /// Rows that were left out.
    pub rows_rejected: u64,
    /// Rows that repeat an identifier.
    pub rows_duplicate: u64,
    /// Rows in the output.
    pub rows_written: u64,
    /// Cells that were left out of rows that have another usable identifier.
    pub cells_rejected: u64,
    /// What was compared: a list each key of the job.
    pub lists: Vec<ListSummary>,
    /// How often the run went on over another connection.
    pub resumed: u32,
    /// The file with what was left out of the list, if one was asked for and there is anything in it.
    pub rejects_file: Option<PathBuf>,
    /// Whether the output keeps to rows that did not match in the last finished run.
    pub only_new: bool,
    /// Matching rows that are not in the output for that reason.
    pub rows_known: u64,
    /// That run, if there was one to compare with.
    pub since: Option<String>,
    /// Line and reason of what was left out; for people.
    #[serde(skip)]
    pub rejects: Rejects,
}

/// One list of a finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListSummary {
    /// The type of its identifiers.
    pub profile: String,
    /// The columns that they stand in.
    pub columns: Vec<String>,
    /// Items of our list.
    pub items_ours: u64,
    /// Items of the peer's list.
    pub items_theirs: u64,
    /// Identifiers that both have.
    pub matches: u64,
    /// Rows that repeat an identifier.
    pub rows_duplicate: u64,
    /// Rows that were accepted with a remark, by reason.
    pub rows_warned: BTreeMap<&'static str, u64>,
}
