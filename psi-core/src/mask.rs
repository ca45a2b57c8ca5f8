//! Masking a list: every identifier hashed to the group, times the session's key, sorted (docs/PROTOCOL.md, "Masked list").
//!
//! The result is in ascending order of the encodings, which hides the order of the list and shows that nothing is in it
//! twice. Where the terms say `openable`, the list's root and the mask proof are made on the way.

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize;

use crate::{
    dleq,
    element::{ELEMENT_BYTES, Element},
    identifier::{CanonicalSet, Profile},
    key::{ListSeed, MaskKey, MaskProofSalt, Role, SessionSeed},
    merkle::{ListLeaves, RootBuilder},
    message::{Digest, OpeningCommitment},
    plan::MAX_CHUNK,
    suite::{HASH_TO_GROUP_DST, Suite, message_prefix},
};

/// One element of a masked list, and the item of the set behind it.
#[derive(Clone, Copy)]
pub struct MaskedItem {
    /// k·H(x).
    pub element: Element,
    /// Index of x in the canonical set.
    pub item: u32,
}

/// A masked list in the order in which it is sent.
///
/// Elements are harmless without the key, but they are not for logs: there is no `Debug`.
pub struct MaskedList {
    /// The key of this list in this session.
    pub key: MaskKey,
    /// The elements, strictly ascending.
    pub items: Vec<MaskedItem>,
    /// What a later opening needs; present where the terms say `openable`.
    pub opening: Option<Opening>,
}

/// What its owner keeps, sealed, to open a list to an auditor later.
pub struct Opening {
    /// Makes the salts of the leaves.
    pub list_seed: ListSeed,
    /// Root over the salted leaves, in masked order.
    pub list_root: Digest,
    /// One proof for every [`MAX_CHUNK`] items, in the order of the canonical set, 64 bytes each.
    pub mask_proof: Vec<u8>,
    /// Hides the mask proof behind its hash.
    pub salt: MaskProofSalt,
}

impl Opening {
    /// What the Commit says of it.
    pub fn commitment(&self) -> OpeningCommitment {
        let mask_proof =
            Sha256::new().chain_update(self.salt.as_bytes()).chain_update(&self.mask_proof).finalize().into();
        OpeningCommitment { list_root: self.list_root, mask_proof }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.mask_proof.zeroize();
    }
}

/// What a list is masked for.
#[derive(Clone)]
pub struct Masking {
    /// The group.
    pub suite: &'static dyn Suite,
    /// Session id.
    pub sid: Digest,
    /// Our role.
    pub role: Role,
    /// Number of the list in the session.
    pub list: u16,
    /// Type of its identifiers.
    pub profile: Profile,
    /// Whether the terms say `openable`.
    pub openable: bool,
}

impl Masking {
    /// Masks `set` under a key derived from `seed` and the set itself, on the calling thread's rayon pool.
    ///
    /// `progress` is told how many items are done, every [`MAX_CHUNK`] items.
    pub fn run(&self, set: &CanonicalSet, seed: &SessionSeed, progress: &(dyn Fn(u64) + Sync)) -> MaskedList {
        let key = seed.mask_key(self.suite, self.profile.id(), &set.digest());
        let mut items = Vec::with_capacity(set.len());
        let mut mask_proof = Vec::new();
        while items.len() < set.len() {
            let chunk = items.len()..set.len().min(items.len() + MAX_CHUNK);
            mask_proof.extend(self.chunk(set, &key, chunk, &mut items));
            progress(items.len() as u64);
        }
        items.par_sort_unstable_by_key(|item| item.element);
        let opening = self.openable.then(|| self.opening(set, seed, &items, mask_proof));
        MaskedList { key, items, opening }
    }

    /// Masks one chunk of the set; its share of the mask proof is empty where none is asked for.
    fn chunk(
        &self,
        set: &CanonicalSet,
        key: &MaskKey,
        chunk: std::ops::Range<usize>,
        items: &mut Vec<MaskedItem>,
    ) -> Vec<u8> {
        let messages: Vec<&[u8]> = chunk.clone().map(|item| set.get(item)).collect();
        let prefix = message_prefix(self.profile.id());
        let mut elements = vec![[0; ELEMENT_BYTES]; messages.len()];
        let proof = if self.openable {
            let index = (chunk.start / MAX_CHUNK) as u32;
            let statement = dleq::Statement { sid: &self.sid, role: self.role, list: self.list, index };
            dleq::mask(self.suite, key, &statement, &prefix, &messages, &mut elements).to_bytes().to_vec()
        } else {
            self.suite.mask(key.scalar(), HASH_TO_GROUP_DST, &prefix, &messages, &mut elements, None);
            Vec::new()
        };
        items.extend(
            elements.into_iter().zip(chunk).map(|(element, item)| MaskedItem { element, item: item as u32 }),
        );
        proof
    }

    fn opening(
        &self,
        set: &CanonicalSet,
        seed: &SessionSeed,
        items: &[MaskedItem],
        mask_proof: Vec<u8>,
    ) -> Opening {
        let list_seed = seed.list_seed(self.suite, self.profile.id(), &set.digest());
        let salt = seed.mask_proof_salt(self.suite, self.profile.id(), &set.digest());
        let leaves = ListLeaves::new(&list_seed, self.profile.id());
        let mut root = RootBuilder::new();
        for (chunk, items) in items.chunks(MAX_CHUNK).enumerate() {
            let first = chunk * MAX_CHUNK;
            let leaf = |(i, item): (usize, &MaskedItem)| {
                leaves.leaf((first + i) as u64, set.get(item.item as usize))
            };
            let leaves: Vec<Digest> = items.par_iter().enumerate().map(leaf).collect();
            leaves.into_iter().for_each(|leaf| root.push(leaf));
        }
        Opening { list_root: root.root(), list_seed, mask_proof, salt }
    }
}

impl MaskedList {
    /// The packed elements of a range.
    pub fn elements(&self, range: std::ops::Range<usize>) -> Vec<Element> {
        self.items[range].iter().map(|item| item.element).collect()
    }

    /// Index in `elements`, which ascend strictly, of the first that is in this list too.
    pub fn first_common(&self, elements: &[Element]) -> Option<usize> {
        let first = elements.first()?;
        let start = self.items.partition_point(|item| item.element < *first);
        let mut ours = self.items[start..].iter().map(|item| &item.element).peekable();
        elements.iter().position(|theirs| {
            while ours.next_if(|ours| *ours < theirs).is_some() {}
            ours.peek() == Some(&theirs)
        })
    }
}
