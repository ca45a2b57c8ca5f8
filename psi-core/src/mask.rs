//! Masking a list: every identifier hashed to the group, times the session's key, sorted (docs/PROTOCOL.md, "Masked list").
//!
//! The result is in ascending order of the encodings, which hides the order of the list and shows that nothing is in it
//! twice. Where the terms say `openable`, the list's root and the mask proof are made on the way.

use std::{cmp::Ordering, ops::Range};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    dleq,
    element::{ELEMENT_BYTES, Element},
    error::Error,
    identifier::{CanonicalSet, Profile},
    key::{ListSeed, MaskKey, MaskProofSalt, Role, SessionSeed},
    merkle::{RootBuilder, list_leaves},
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

/// One of our masked lists, wherever it lies: in memory as a [`MaskedList`], or on disk.
///
/// The order of the elements is the one in which they are sent, strictly ascending, and never changes.
pub trait OwnList: Sync {
    /// A session's error, or why the list can't be read.
    type Error: From<Error> + Send;

    /// The key of this list in this session.
    fn key(&self) -> &MaskKey;

    /// How many elements there are.
    fn items(&self) -> u64;

    /// What the Commit says of a later opening; present where the terms say `openable`.
    fn opening(&self) -> Option<OpeningCommitment>;

    /// The elements at these indexes, all of which are there.
    fn elements(&self, range: Range<usize>) -> Result<Vec<Element>, Self::Error>;

    /// Index in `elements`, which ascend strictly, of the first that is in this list too.
    fn first_common(&self, elements: &[Element]) -> Result<Option<usize>, Self::Error>;
}

/// A masked list in memory.
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

impl OwnList for MaskedList {
    type Error = Error;

    fn key(&self) -> &MaskKey {
        &self.key
    }

    fn items(&self) -> u64 {
        self.items.len() as u64
    }

    fn opening(&self) -> Option<OpeningCommitment> {
        self.opening.as_ref().map(Opening::commitment)
    }

    fn elements(&self, range: Range<usize>) -> Result<Vec<Element>, Error> {
        Ok(self.items[range].iter().map(|item| item.element).collect())
    }

    fn first_common(&self, elements: &[Element]) -> Result<Option<usize>, Error> {
        let Some(first) = elements.first() else { return Ok(None) };
        let start = self.items.partition_point(|item| item.element < *first);
        let mut common = FirstCommon::of(elements);
        Ok(common.search(self.items[start..].iter().map(|item| &item.element)))
    }
}

/// A search for the first of some elements that stands in a list, which may be shown to it piece by piece. Both ascend.
pub struct FirstCommon<'a> {
    /// Not yet passed.
    elements: &'a [Element],
    passed: usize,
}

impl<'a> FirstCommon<'a> {
    /// The first of these.
    pub fn of(elements: &'a [Element]) -> Self {
        Self { elements, passed: 0 }
    }

    /// Goes on with the next piece of the list; the index among the elements if one of them is found.
    pub fn search<'b>(&mut self, list: impl IntoIterator<Item = &'b Element>) -> Option<usize> {
        for ours in list {
            let smaller = self.elements.iter().take_while(|theirs| *theirs < ours).count();
            self.elements = &self.elements[smaller..];
            self.passed += smaller;
            match self.elements.first() {
                None => return None,
                Some(theirs) if theirs == ours => return Some(self.passed),
                Some(_) => {}
            }
        }
        None
    }

    /// Whether nothing that follows in the list could be one of the elements.
    pub fn is_done(&self) -> bool {
        self.elements.is_empty()
    }
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
    /// The key of this list, as [`run`](Self::run) derives it: for a masked list that was kept and is read back.
    pub fn key(&self, seed: &SessionSeed, set_digest: &Digest) -> MaskKey {
        seed.mask_key(self.suite, self.profile.id(), set_digest)
    }

    /// Masks `set` under a key derived from `seed` and the set itself, on the calling thread's rayon pool.
    ///
    /// `progress` is told how many items are done, every [`MAX_CHUNK`] items.
    pub fn run(&self, set: &CanonicalSet, seed: &SessionSeed, progress: &(dyn Fn(u64) + Sync)) -> MaskedList {
        let mut masker = self.start(seed, &set.digest());
        let items = masker.mask(set, progress);
        let (key, opener) = masker.finish();
        let opening = opener.map(|mut opener| {
            opener.push(items.len(), |index| set.get(items[index].item as usize));
            opener.finish()
        });
        MaskedList { key, items, opening }
    }

    /// Starts to mask a set with this digest, which may come in parts.
    pub fn start(&self, seed: &SessionSeed, set_digest: &Digest) -> Masker {
        let profile = self.profile.id();
        let opener = self.openable.then(|| Opener {
            list_seed: seed.list_seed(self.suite, profile, set_digest),
            salt: seed.mask_proof_salt(self.suite, profile, set_digest),
            mask_proof: Zeroizing::new(Vec::new()),
            root: RootBuilder::new(),
        });
        Masker {
            masking: self.clone(),
            key: seed.mask_key(self.suite, profile, set_digest),
            opener,
            masked: 0,
        }
    }
}

/// Masks a set, part by part in the order of the set.
pub struct Masker {
    masking: Masking,
    key: MaskKey,
    opener: Option<Opener>,
    masked: u64,
}

impl Masker {
    /// Masks the next part of the set: a multiple of [`MAX_CHUNK`] items, except for the last one.
    ///
    /// Returns it in ascending order of the elements, with the items' indexes in the whole set. `progress` is told how many
    /// items of it are done.
    pub fn mask(&mut self, part: &CanonicalSet, progress: &(dyn Fn(u64) + Sync)) -> Vec<MaskedItem> {
        debug_assert!(self.masked.is_multiple_of(MAX_CHUNK as u64), "only the last part is not whole");
        let mut items = Vec::with_capacity(part.len());
        while items.len() < part.len() {
            let chunk = items.len()..part.len().min(items.len() + MAX_CHUNK);
            self.chunk(part, chunk, &mut items);
            progress(self.masked);
        }
        items.par_sort_unstable_by(ascending);
        items
    }

    /// All parts are masked: the key, and what goes on to make the opening, where the terms say `openable`.
    pub fn finish(self) -> (MaskKey, Option<Opener>) {
        (self.key, self.opener)
    }

    fn chunk(&mut self, part: &CanonicalSet, chunk: Range<usize>, items: &mut Vec<MaskedItem>) {
        let Masking { suite, sid, role, list, profile, .. } = &self.masking;
        let messages: Vec<&[u8]> = chunk.map(|item| part.get(item)).collect();
        let prefix = message_prefix(profile.id());
        let mut elements = vec![[0; ELEMENT_BYTES]; messages.len()];
        if let Some(opener) = &mut self.opener {
            let index = (self.masked / MAX_CHUNK as u64) as u32;
            let statement = dleq::Statement { sid, role: *role, list: *list, index };
            let proof = dleq::mask(*suite, &self.key, &statement, &prefix, &messages, &mut elements);
            opener.mask_proof.extend_from_slice(&proof.to_bytes());
        } else {
            suite.mask(self.key.scalar(), HASH_TO_GROUP_DST, &prefix, &messages, &mut elements, None);
        }
        let first = self.masked as u32;
        self.masked += elements.len() as u64;
        items.extend((first..).zip(elements).map(|(item, element)| MaskedItem { element, item }));
    }
}

/// Orders as the bytes do; most pairs differ in the first eight.
fn ascending(a: &MaskedItem, b: &MaskedItem) -> Ordering {
    let first = |item: &MaskedItem| u64::from_be_bytes(std::array::from_fn(|i| item.element[i]));
    first(a).cmp(&first(b)).then_with(|| a.element.cmp(&b.element))
}

/// Leaves that one thread makes at a time.
const LEAVES: usize = 512;

/// Makes what a later opening needs, while the list goes by in masked order.
pub struct Opener {
    list_seed: ListSeed,
    root: RootBuilder,
    salt: MaskProofSalt,
    mask_proof: Zeroizing<Vec<u8>>,
}

impl Opener {
    /// Takes the next `count` items in masked order; `item` gives the canonical bytes of each.
    pub fn push<'a>(&mut self, count: usize, item: impl Fn(usize) -> &'a [u8] + Sync) {
        for start in (0..count).step_by(MAX_CHUNK) {
            let (first, batch) = (self.root.leaves(), start..count.min(start + MAX_CHUNK));
            let leaves = batch.clone().into_par_iter().step_by(LEAVES).flat_map_iter(|index| {
                let piece = index..batch.end.min(index + LEAVES);
                list_leaves(&self.list_seed, first + (index - start) as u64, piece.map(&item))
            });
            leaves.collect::<Vec<Digest>>().into_iter().for_each(|leaf| self.root.push(leaf));
        }
    }

    /// The opening of the list that went by.
    pub fn finish(mut self) -> Opening {
        Opening {
            list_root: self.root.root(),
            list_seed: self.list_seed,
            mask_proof: std::mem::take(&mut *self.mask_proof),
            salt: self.salt,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{identifier::SetBuilder, suite::SuiteId};

    fn set(items: impl IntoIterator<Item = u32>) -> CanonicalSet {
        let mut builder = SetBuilder::new();
        items.into_iter().for_each(|item| {
            builder.push(format!("item {item:08}").as_bytes()).unwrap();
        });
        builder.finish().0
    }

    #[test]
    fn a_set_in_parts_gives_the_same_list_and_opening() {
        let masking = Masking {
            suite: SuiteId::Ristretto255Sha512.suite(),
            sid: [3; 32],
            role: Role::Responder,
            list: 1,
            profile: Profile::parse("text/1").unwrap(),
            openable: true,
        };
        let count = MAX_CHUNK as u32 + 100;
        let (whole, seed) = (set(0..count), SessionSeed::from_bytes([5; 32]));
        let list = masking.run(&whole, &seed, &|_| {});
        let mut masker = masking.start(&seed, &whole.digest());
        let mut items = masker.mask(&set(0..MAX_CHUNK as u32), &|_| {});
        items.extend(masker.mask(&set(MAX_CHUNK as u32..count), &|done| assert_eq!(done, u64::from(count))));
        items.sort_by_key(|item| item.element);
        assert!(items.iter().zip(&list.items).all(|(a, b)| (a.element, a.item) == (b.element, b.item)));
        let (key, opener) = masker.finish();
        let mut opener = opener.unwrap();
        items.chunks(777).for_each(|batch| {
            opener.push(batch.len(), |index| whole.get(batch[index].item as usize));
        });
        assert_eq!(key.public(), list.key.public());
        assert_eq!(Some(opener.finish().commitment()), list.opening());
    }

    proptest! {
        #[test]
        fn what_is_common_is_found_whatever_the_pieces(
            ours in prop::collection::btree_set(0u8..40, 0..20),
            theirs in prop::collection::btree_set(0u8..40, 0..20),
            piece in 1usize..8,
        ) {
            let elements = |set: &std::collections::BTreeSet<u8>| -> Vec<Element> {
                set.iter().map(|first| [*first; ELEMENT_BYTES]).collect()
            };
            let expected = theirs.iter().position(|element| ours.contains(element));
            let (ours, theirs) = (elements(&ours), elements(&theirs));
            let mut common = FirstCommon::of(&theirs);
            let found = ours.chunks(piece).find_map(|piece| common.search(piece));
            prop_assert_eq!(found, expected);
            let passed = theirs.last().is_none_or(|last| ours.iter().any(|element| element > last));
            prop_assert!(expected.is_some() || common.is_done() == passed);
        }
    }
}
