//! Which own elements the peer's list contains, given the join keys of both (PROTOCOL.md, "Steps").
//!
//! A join key is the start of an encoded element, or a tag: uniform over its bytes for honest parties. The peer's
//! keys are sorted in place and looked up through a table over their leading bits, so that a look-up touches a
//! handful of neighbours. Keys that a peer chose to be uneven only make the look-up a binary search: never quadratic.

use psi_core::session::JoinKey;
use rayon::prelude::*;

/// Finds the own keys that are among `theirs`, which is left sorted.
///
/// Both sides are taken as sets of keys: a key that the peer holds twice matches once, an own key that stands at two
/// indices matches at both. Sessions refuse doubled elements before they come here.
pub fn join(own: &[JoinKey], theirs: &mut [JoinKey]) -> Bitmap {
    theirs.par_sort_unstable_by_key(|key| u128::from_be_bytes(*key));
    let table = Table::new(theirs);
    let mut matched = Bitmap::new(own.len());
    matched.words.par_iter_mut().zip(own.par_chunks(64)).for_each(|(word, keys)| {
        *word = keys.iter().rev().fold(0, |word, key| word << 1 | u64::from(table.contains(key)));
    });
    matched
}

/// A set of indices below a fixed length.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    length: usize,
}

impl Bitmap {
    /// None of `0..length`.
    pub fn new(length: usize) -> Self {
        Self { words: vec![0; length.div_ceil(64)], length }
    }

    /// How many indices there are to choose from.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none to choose from.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds an index, which must be below [`len`](Self::len).
    pub fn insert(&mut self, index: usize) {
        assert!(index < self.length, "index {index} of a bitmap of {}", self.length);
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Whether the index is in it; one beyond the end never is.
    pub fn contains(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// How many indices are in it.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The indices in it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.length).filter(|index| self.contains(*index))
    }
}

impl std::fmt::Debug for Bitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bitmap").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Sorted keys with the start of each bucket of equal leading bits.
struct Table<'a> {
    keys: &'a [JoinKey],
    starts: Vec<u32>,
    shift: u32,
}

impl<'a> Table<'a> {
    /// About eight keys a bucket.
    fn new(keys: &'a [JoinKey]) -> Self {
        let bits = (keys.len() / 8).max(2).ilog2().min(24);
        let shift = 32 - bits;
        let mut starts = vec![0; (1 << bits) + 1];
        for key in keys {
            starts[leading(key, shift) + 1] += 1;
        }
        for bucket in 1..starts.len() {
            starts[bucket] += starts[bucket - 1];
        }
        Self { keys, starts, shift }
    }

    fn contains(&self, key: &JoinKey) -> bool {
        let bucket = leading(key, self.shift);
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        self.keys[start..end].binary_search(key).is_ok()
    }
}

fn leading(key: &JoinKey, shift: u32) -> usize {
    (u32::from_be_bytes([key[0], key[1], key[2], key[3]]) >> shift) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn expected(own: &[JoinKey], theirs: &[JoinKey]) -> Vec<usize> {
        let theirs: HashSet<_> = theirs.iter().collect();
        (0..own.len()).filter(|index| theirs.contains(&own[*index])).collect()
    }

    fn check(own: &[JoinKey], theirs: &[JoinKey]) {
        let matched = join(own, &mut theirs.to_vec());
        let expected = expected(own, theirs);
        assert_eq!(matched.count(), expected.len());
        assert!(matched.iter().eq(expected));
    }

    fn spread(seed: u64) -> JoinKey {
        (u128::from(seed) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()
    }

    #[test]
    fn halves_overlap() {
        let own: Vec<_> = (0..50_000).map(spread).collect();
        let theirs: Vec<_> = (25_000..75_000).rev().map(spread).collect();
        check(&own, &theirs);
    }

    #[test]
    fn keys_that_share_their_start_are_still_found() {
        let own: Vec<_> = (0..20_000_u128).map(u128::to_be_bytes).collect();
        let theirs: Vec<_> = (0..20_000_u128).map(|i| (i * 2).to_be_bytes()).collect();
        check(&own, &theirs);
    }

    #[test]
    fn bitmaps_end_where_they_end() {
        let mut bitmap = Bitmap::new(65);
        bitmap.insert(64);
        assert!(
            bitmap.contains(64) && !bitmap.contains(63) && !bitmap.contains(65) && !bitmap.contains(1000)
        );
        assert_eq!((bitmap.count(), bitmap.iter().collect::<Vec<_>>()), (1, vec![64]));
    }

    proptest! {
        #[test]
        fn joins_equal_those_of_hash_sets(
            own in prop::collection::vec(0u64..300, 0..300), theirs in prop::collection::vec(0u64..300, 0..300),
            close in any::<bool>(),
        ) {
            let key = |seed: &u64| if close { u128::from(*seed).to_be_bytes() } else { spread(*seed) };
            check(&own.iter().map(key).collect::<Vec<_>>(), &theirs.iter().map(key).collect::<Vec<_>>());
        }
    }
}
