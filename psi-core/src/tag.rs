//! Tags: what an unproved answer carries instead of a whole element (docs/PROTOCOL.md, "Output modes").
//!
//! ```text
//! tag = SHA-512(F("XPSI1-TAG") F(sid) F(role) F(element)), its first bytes     F(x) = length of x, 8 bytes big-endian ‖ x
//! ```
//!
//! `role` (1 byte) is that of the party that evaluated, so that an echo of our own tags matches nothing.

use psi_simd::Path;
use rayon::prelude::*;

use crate::element::{Element, field_length, joined};
use crate::key::Role;

/// Tags that are hashed in one call, and that make one task of the pool.
const BLOCK: usize = 256;
const TASK: usize = 1024;

/// The bytes of a tag between lists of `n` and `m` items: ceil((log2 n + log2 m + 40) / 8) with each logarithm rounded
/// up, at most 16. A false match is then less likely than 2^-40 over all pairs; 10 bytes at a million each.
pub fn tag_bytes(n: u64, m: u64) -> usize {
    let bits = log2_ceil(n) + log2_ceil(m) + 40;
    (bits.div_ceil(8) as usize).min(16)
}

fn log2_ceil(n: u64) -> u32 {
    u64::BITS - n.saturating_sub(1).leading_zeros()
}

/// Writes the tag of each element, `width` bytes each, in order. `role` is the party that evaluated.
///
/// # Panics
/// If `out` isn't `width` bytes an element, or `width` is not from 1 to 64.
pub fn tags(sid: &[u8; 32], role: Role, elements: &[Element], width: usize, out: &mut [u8]) {
    assert!((1..=64).contains(&width), "a tag is part of a digest");
    assert_eq!(out.len(), width * elements.len(), "{width} bytes an element");
    let mut prefix = joined(&[b"XPSI1-TAG", sid, &[role.code()]]);
    prefix.extend(field_length(&Element::default()));
    let blocks = out.par_chunks_mut(width * BLOCK).zip(elements.par_chunks(BLOCK));
    blocks.with_min_len(TASK / BLOCK).for_each(|(tags, elements)| {
        let messages: Vec<&[u8]> = elements.iter().map(|element| &element[..]).collect();
        let mut digests = vec![[0; 64]; elements.len()];
        Path::best().sha512(&prefix, &messages, &mut digests);
        for (tag, digest) in tags.chunks_exact_mut(width).zip(&digests) {
            tag.copy_from_slice(&digest[..width]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha512};

    #[test]
    fn widths_at_known_sizes() {
        let cases = [
            ((0, 0), 5),
            ((1, 1), 5),
            ((2, 1), 6),
            ((16, 16), 6),
            ((17, 16), 7),
            ((1_000_000, 1_000_000), 10),
            ((1 << 20, 1 << 20), 10),
            (((1 << 20) + 1, 1 << 20), 11),
            ((10_000_000, 10_000_000), 11),
            ((u64::MAX, u64::MAX), 16),
        ];
        for ((n, m), width) in cases {
            assert_eq!(tag_bytes(n, m), width, "{n} x {m}");
            assert_eq!(tag_bytes(m, n), width, "{m} x {n}");
        }
    }

    fn tag(sid: u8, role: Role, element: u8) -> [u8; 10] {
        let mut out = [0; 10];
        tags(&[sid; 32], role, &[[element; 32]], 10, &mut out);
        out
    }

    #[test]
    fn tags_are_as_documented() {
        let mut bytes = Vec::new();
        for field in [&b"XPSI1-TAG"[..], &[7; 32], &[1], &[9; 32]] {
            bytes.extend([0, 0, 0, 0, 0, 0, 0, u8::try_from(field.len()).unwrap()]);
            bytes.extend(field);
        }
        assert_eq!(tag(7, Role::Responder, 9), Sha512::digest(bytes)[..10]);
    }

    #[test]
    fn tags_depend_on_session_and_role() {
        let ours = tag(7, Role::Initiator, 9);
        assert_ne!(ours, tag(8, Role::Initiator, 9));
        assert_ne!(ours, tag(7, Role::Responder, 9));
        assert_ne!(ours, tag(7, Role::Initiator, 8));
    }

    proptest! {
        #[test]
        fn a_batch_is_its_tags_one_by_one(n in 0usize..600, width in 1usize..=16) {
            let elements: Vec<Element> = (0..n).map(|i| [i as u8; 32]).collect();
            let mut out = vec![0; n * width];
            tags(&[7; 32], Role::Initiator, &elements, width, &mut out);
            for (element, chunk) in elements.iter().zip(out.chunks(width)) {
                let mut one = vec![0; width];
                tags(&[7; 32], Role::Initiator, &[*element], width, &mut one);
                prop_assert_eq!(chunk, one);
            }
        }

        #[test]
        fn a_false_match_is_unlikely(n in 1u64..1 << 44, m in 1u64..1 << 44) {
            let pairs = u128::from(n) * u128::from(m);
            prop_assert!(pairs <= 1u128 << (8 * tag_bytes(n, m) - 40));
        }
    }
}
