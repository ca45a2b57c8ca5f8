//! What an attempt took.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an attempt took on this side, over all its connections, as far as its record was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// Milliseconds in each phase, by its name.
    pub phases_ms: BTreeMap<String, u64>,
    /// Bytes written to connections, TLS included.
    pub bytes_sent: u64,
    /// Bytes read from connections, TLS included.
    pub bytes_received: u64,
}

impl Spent {
    /// Takes in what was spent besides.
    pub fn add(&mut self, more: Self) {
        for (phase, span) in more.phases_ms {
            *self.phases_ms.entry(phase).or_default() += span;
        }
        self.bytes_sent += more.bytes_sent;
        self.bytes_received += more.bytes_received;
    }

    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
