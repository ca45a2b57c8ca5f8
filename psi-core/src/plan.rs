//! Who sends what when: the lists cut into steps, and the steps into chunks (docs/PROTOCOL.md, "Steps").
//!
//! Both directions of a list are cut into the same number of steps, S = min(64, ceil(min(n, m) / 32)); step s of a list of
//! n items covers its indexes floor(s·n/S) to floor((s+1)·n/S). A step is sent in chunks of at most [`MAX_CHUNK`] elements.
//! The lists of a session follow each other, and their steps are numbered through.

use std::ops::Range;

use crate::key::Role;

/// The most elements that one message may carry.
pub const MAX_CHUNK: usize = 16_384;
/// The most items of a list: the hashes of its chunks must fit into one Commit of less than 1 MiB.
pub const MAX_ITEMS: u64 = 500_000_000;
/// The most steps a list is cut into; an abort gains the aborter at most one step's share.
pub const MAX_STEPS: u64 = 64;
/// The fewest items a step of the smaller list holds, but for its last.
const ITEMS_PER_STEP: u64 = 32;

/// One message's share of a masked list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which list of the session.
    pub list: u16,
    /// Number of the chunk within its list and direction.
    pub index: u32,
    /// Number of its step within the session.
    pub step: u32,
    /// Index of its first element in the masked list.
    pub start: u64,
    /// How many elements.
    pub len: u32,
}

impl Chunk {
    /// The elements' indexes in the masked list.
    pub fn range(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }
}

/// Every chunk of a session, both directions, in the order in which they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    chunks: [Vec<Chunk>; 2],
    steps: u32,
}

impl Plan {
    /// The plan for lists of these sizes; `items[role]` has one number a list, in the order of the terms.
    pub fn new(items: [&[u64]; 2]) -> Self {
        let mut plan = Self { chunks: [Vec::new(), Vec::new()], steps: 0 };
        for (list, (&n, &m)) in items[0].iter().zip(items[1]).enumerate() {
            let steps = n.min(m).div_ceil(ITEMS_PER_STEP).min(MAX_STEPS);
            for (chunks, items) in plan.chunks.iter_mut().zip([n, m]) {
                cut(chunks, list as u16, plan.steps, steps, items);
            }
            plan.steps += steps as u32;
        }
        plan
    }

    /// How many steps the session has, all lists together.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The chunks of what `role` holds, in the order in which they are sent.
    pub fn chunks(&self, role: Role) -> &[Chunk] {
        &self.chunks[usize::from(role.code())]
    }

    /// The chunks of one list of what `role` holds.
    pub fn chunks_of(&self, role: Role, list: u16) -> impl Iterator<Item = &Chunk> {
        self.chunks(role).iter().filter(move |chunk| chunk.list == list)
    }

    /// The chunks of one step of what `role` holds.
    pub fn chunks_in(&self, role: Role, step: u32) -> &[Chunk] {
        let chunks = self.chunks(role);
        let start = chunks.partition_point(|chunk| chunk.step < step);
        let end = chunks.partition_point(|chunk| chunk.step <= step);
        &chunks[start..end]
    }
}

fn cut(chunks: &mut Vec<Chunk>, list: u16, first_step: u32, steps: u64, items: u64) {
    let bound = |step: u64| (u128::from(step) * u128::from(items) / u128::from(steps)) as u64;
    let mut index = 0;
    for step in 0..steps {
        let (mut start, end) = (bound(step), bound(step + 1));
        while start < end {
            let len = (end - start).min(MAX_CHUNK as u64) as u32;
            chunks.push(Chunk { list, index, step: first_step + step as u32, start, len });
            start += u64::from(len);
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_million_is_one_message_a_step() {
        let plan = Plan::new([&[1_000_000], &[1_000_000]]);
        assert_eq!(plan.steps(), 64);
        assert!(plan.chunks(Role::Initiator).iter().all(|chunk| chunk.len == 15_625));
        assert_eq!(plan.chunks(Role::Initiator), plan.chunks(Role::Responder));
    }

    #[test]
    fn an_empty_side_needs_no_step() {
        let plan = Plan::new([&[0], &[500]]);
        assert_eq!(plan.steps(), 0);
        assert!(plan.chunks(Role::Responder).is_empty());
    }

    #[test]
    fn lists_follow_each_other() {
        let plan = Plan::new([&[64, 40_000], &[10, 40_000]]);
        assert_eq!(plan.steps(), 1 + 64);
        assert_eq!(plan.chunks_in(Role::Initiator, 0).len(), 1);
        assert_eq!(plan.chunks_in(Role::Initiator, 0)[0].len, 64);
        assert_eq!(plan.chunks_of(Role::Responder, 1).count(), 64);
        assert_eq!(
            plan.chunks_in(Role::Responder, 1)[0],
            Chunk { list: 1, index: 0, step: 1, start: 0, len: 625 }
        );
    }

    proptest! {
        #[test]
        fn every_item_is_sent_once(n in 0u64..3_000_000, m in 0u64..3_000_000) {
            let plan = Plan::new([&[n], &[m]]);
            for (role, items) in [(Role::Initiator, n), (Role::Responder, m)] {
                let mut next = 0;
                for (index, chunk) in plan.chunks(role).iter().enumerate() {
                    prop_assert_eq!((chunk.start, chunk.index as usize), (next, index));
                    prop_assert!(chunk.len > 0 && chunk.len as usize <= MAX_CHUNK);
                    next += u64::from(chunk.len);
                }
                prop_assert_eq!(next, if n.min(m) == 0 { 0 } else { items });
                for step in 0..plan.steps() {
                    prop_assert!(!plan.chunks_in(role, step).is_empty());
                }
            }
        }
    }
}
