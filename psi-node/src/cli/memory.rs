//! `--memory-mb`, of the commands that run jobs.

use psi_node::{
    node::Node,
    scratch::{MEMORY_MB, Room},
};

#[derive(Debug, clap::Args)]
pub(super) struct Memory {
    /// The most memory that a run may take, in megabytes; what is more goes through sealed scratch files. By default what the
    /// configuration says, else no limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(range()))]
    memory_mb: Option<u32>,
}

impl Memory {
    /// The node with this limit, if there is one.
    pub(super) fn limit(&self, node: Node) -> Node {
        match self.memory_mb {
            Some(mb) => node.with_room(Room::of(Some(mb))),
            None => node,
        }
    }
}

fn range() -> std::ops::RangeInclusive<i64> {
    i64::from(*MEMORY_MB.start())..=i64::from(*MEMORY_MB.end())
}
