//! Merkle roots (RFC 6962, section 2.1, with SHA-256) and the leaves of a list that can be opened later
//! (docs/PROTOCOL.md, "Opening a list").

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::key::ListSeed;

/// A node of the tree.
pub type Hash = [u8; 32];

/// The hash of a leaf: SHA-256(00 ‖ bytes).
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Sha256::new_with_prefix([0]).chain_update(bytes).finalize().into()
}

/// SHA-256(01 ‖ left ‖ right).
fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 1 + 2 * size_of::<Hash>()];
    let (first, second) = bytes[1..].split_at_mut(size_of::<Hash>());
    first.copy_from_slice(left);
    second.copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// Takes leaves one by one and holds one node a level.
#[derive(Clone, Debug, Default)]
pub struct RootBuilder {
    leaves: u64,
    /// The roots of the full subtrees so far, from the left: one for each bit that is set in `leaves`.
    subtrees: Vec<Hash>,
}

impl RootBuilder {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a leaf, given by its [`leaf_hash`].
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        for _ in 0..self.leaves.trailing_ones() {
            let left = self.subtrees.pop().expect("a full subtree for each bit set in the count");
            node = node_hash(&left, &node);
        }
        self.subtrees.push(node);
        self.leaves += 1;
    }

    /// How many leaves there are.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The root over all leaves so far: SHA-256 of nothing for an empty tree.
    pub fn root(&self) -> Hash {
        let joined = self.subtrees.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(|| Sha256::digest([]).into())
    }
}

/// The root over leaves given by their [`leaf_hash`].
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut builder = RootBuilder::new();
    leaves.iter().for_each(|leaf| builder.push(*leaf));
    builder.root()
}

/// What opens a leaf, beside its canonical bytes.
type Salt = [u8; 32];

/// The leaves of one list root, from leaf `first` on, for these canonical bytes in masked order. Leaf i is
///
/// ```text
/// SHA-256(00 ‖ salt_i ‖ canonical bytes)
/// salt_i = bytes 32i to 32i + 31 of the ChaCha20 keystream (RFC 8439; key = list seed, nonce 0, counter 0)
/// ```
///
/// that is, the [`leaf_hash`] of the canonical bytes behind their salt. Every leaf has a salt of its own, since an
/// identifier is easily guessed.
///
/// # Panics
/// Beyond leaf 2^33 - 1, where the keystream ends.
pub fn list_leaves<'a>(
    list_seed: &ListSeed,
    first: u64,
    items: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Vec<Hash> {
    let mut salts = Zeroizing::new(vec![Salt::default(); items.len()]);
    let mut keystream = ChaCha20::new(list_seed.as_bytes().into(), &[0; 12].into());
    keystream.seek(first * size_of::<Salt>() as u64);
    keystream.apply_keystream(salts.as_flattened_mut());
    // All are gathered before the first is hashed: they lie anywhere in memory, and to wait for each takes longer.
    let mut salted = Zeroizing::new(Vec::with_capacity(64 * salts.len()));
    let gather = |(salt, canonical): (&Salt, &[u8])| {
        salted.push(0);
        salted.extend_from_slice(salt);
        salted.extend_from_slice(canonical);
        salted.len()
    };
    let ends: Vec<usize> = salts.iter().zip(items).map(gather).collect();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, end)| Sha256::digest(&salted[start..*end]).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER as HEX;
    use proptest::prelude::*;

    /// RFC 6962, section 2.1, as it is written there.
    fn tree_head(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => Sha256::digest([&[0], leaf.as_slice()].concat()).into(),
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                let halves = [tree_head(&leaves[..k]), tree_head(&leaves[k..])].concat();
                Sha256::digest([&[1], halves.as_slice()].concat()).into()
            }
        }
    }

    fn root(leaves: &[Vec<u8>]) -> Hash {
        root_of(&leaves.iter().map(|leaf| leaf_hash(leaf)).collect::<Vec<_>>())
    }

    /// The inputs and roots of the reference implementation of RFC 6962 (certificate-transparency, merkle_tree_test).
    #[test]
    fn known_answers_of_certificate_transparency() {
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let leaves: Vec<Vec<u8>> = leaves.iter().map(|leaf| HEX.decode(leaf.as_bytes()).unwrap()).collect();
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (n, expected) in roots.iter().enumerate() {
            assert_eq!(HEX.encode(&root(&leaves[..n])), *expected, "{n} leaves");
        }
    }

    #[test]
    fn every_prefix_has_its_root() {
        let leaves: Vec<Vec<u8>> = (0..70u8).map(|i| vec![i; usize::from(i)]).collect();
        let mut builder = RootBuilder::new();
        for (n, leaf) in leaves.iter().enumerate() {
            assert_eq!(builder.root(), tree_head(&leaves[..n]));
            assert_eq!(builder.leaves(), n as u64);
            builder.push(leaf_hash(leaf));
        }
    }

    fn list_leaf(seed: &ListSeed, i: u64, canonical: &[u8]) -> Hash {
        list_leaves(seed, i, std::iter::once(canonical))[0]
    }

    /// RFC 8439, appendix A.1, test vectors 1 and 2: the keystream of a key of zeros, blocks 0 and 1.
    #[test]
    fn list_leaves_are_as_documented() {
        let salts = [
            "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7",
            "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
            "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed",
            "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
        ];
        let (seed, items) =
            (ListSeed::from_bytes([0; 32]), [&b"abc"[..], b"", b"0123456789 0123456789 0123456789", b"abc"]);
        let leaf = |(salt, item): (&&str, &&[u8])| {
            leaf_hash(&[&HEX.decode(salt.as_bytes()).unwrap(), *item].concat())
        };
        let expected: Vec<Hash> = salts.iter().zip(&items).map(leaf).collect();
        assert_eq!(list_leaves(&seed, 0, items.iter().copied()), expected);
        for (i, item) in items.iter().enumerate() {
            assert_eq!(list_leaf(&seed, i as u64, item), expected[i]);
        }
    }

    #[test]
    fn list_leaves_depend_on_every_part() {
        let (seed, other) = (ListSeed::from_bytes([3; 32]), ListSeed::from_bytes([4; 32]));
        let leaf = list_leaf(&seed, 1, b"abc");
        for changed in
            [list_leaf(&other, 1, b"abc"), list_leaf(&seed, 2, b"abc"), list_leaf(&seed, 1, b"abd")]
        {
            assert_ne!(changed, leaf);
        }
    }

    proptest! {
        #[test]
        fn roots_equal_the_recursive_definition(leaves in prop::collection::vec(any::<Vec<u8>>(), 0..40)) {
            prop_assert_eq!(root(&leaves), tree_head(&leaves));
        }
    }
}
