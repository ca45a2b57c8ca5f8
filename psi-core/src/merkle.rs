//! Merkle roots (RFC 6962, section 2.1, with SHA-256) and the leaves of a list that can be opened later
//! (docs/PROTOCOL.md, "Opening a list").

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::element::{field_length, joined};
use crate::key::ListSeed;

/// A node of the tree.
pub type Hash = [u8; 32];

/// The hash of a leaf: SHA-256(00 ‖ bytes).
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Sha256::new_with_prefix([0]).chain_update(bytes).finalize().into()
}

/// SHA-256(01 ‖ left ‖ right).
fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
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

/// The leaves of one list root. Leaf i, in masked order, is
///
/// ```text
/// SHA-256(00 ‖ F("XPSI-LIST") F(salt_i) F(profile id) F(canonical bytes))     F(x) = length of x, 8 bytes big-endian ‖ x
/// salt_i = HMAC-SHA256(list seed, i as 8 bytes, big-endian)
/// ```
///
/// that is, the [`leaf_hash`] of the four fields. Every leaf has a salt of its own, since an identifier is easily
/// guessed.
pub struct ListLeaves {
    salts: Hmac<Sha256>,
    profile: Vec<u8>,
}

impl ListLeaves {
    /// Prepares the leaves of one list.
    pub fn new(list_seed: &ListSeed, profile_id: &str) -> Self {
        let salts = Hmac::new_from_slice(list_seed.as_bytes()).expect("a key of any length is taken");
        Self { salts, profile: joined(&[profile_id.as_bytes()]) }
    }

    /// salt_i, which opens leaf i.
    pub fn salt(&self, i: u64) -> [u8; 32] {
        self.salts.clone().chain_update(i.to_be_bytes()).finalize().into_bytes().into()
    }

    /// Leaf i.
    pub fn leaf(&self, i: u64, canonical: &[u8]) -> Hash {
        salted_leaf(&self.salt(i), &self.profile, canonical)
    }
}

impl std::fmt::Debug for ListLeaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListLeaves").finish_non_exhaustive()
    }
}

/// One leaf of a list; for many, [`ListLeaves`] keys the salts once.
pub fn list_leaf(list_seed: &ListSeed, i: u64, profile_id: &str, canonical: &[u8]) -> Hash {
    ListLeaves::new(list_seed, profile_id).leaf(i, canonical)
}

/// `profile` is a field already, behind its length.
fn salted_leaf(salt: &[u8; 32], profile: &[u8], canonical: &[u8]) -> Hash {
    let label = b"XPSI-LIST";
    // In one piece: to feed the hash field by field takes longer than to hash them.
    let parts: [&[u8]; 8] = [
        &[0],
        &field_length(label),
        label,
        &field_length(salt),
        salt,
        profile,
        &field_length(canonical),
        canonical,
    ];
    Sha256::digest(parts.concat()).into()
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

    #[test]
    fn list_leaves_are_as_documented() {
        let (seed, i) = (ListSeed::from_bytes([3; 32]), 258);
        let salt = Hmac::<Sha256>::new_from_slice(&[3; 32]).unwrap().chain_update([0, 0, 0, 0, 0, 0, 1, 2]);
        let salt: [u8; 32] = salt.finalize().into_bytes().into();
        let mut bytes = Vec::new();
        for field in [&b"XPSI-LIST"[..], &salt, b"text/1", b"abc"] {
            bytes.extend([0, 0, 0, 0, 0, 0, 0, u8::try_from(field.len()).unwrap()]);
            bytes.extend(field);
        }
        assert_eq!(list_leaf(&seed, i, "text/1", b"abc"), leaf_hash(&bytes));
        assert_eq!(ListLeaves::new(&seed, "text/1").salt(i), salt);
    }

    #[test]
    fn list_leaves_depend_on_every_part() {
        let (seed, other) = (ListSeed::from_bytes([3; 32]), ListSeed::from_bytes([4; 32]));
        let leaf = list_leaf(&seed, 1, "text/1", b"abc");
        for changed in [
            list_leaf(&other, 1, "text/1", b"abc"),
            list_leaf(&seed, 2, "text/1", b"abc"),
            list_leaf(&seed, 1, "text/2", b"abc"),
            list_leaf(&seed, 1, "text/1", b"abd"),
            list_leaf(&seed, 1, "text/1a", b"bc"),
        ] {
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
