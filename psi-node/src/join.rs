//! Which own elements the peer's list contains, given the join keys of both (PROTOCOL.md, "Steps").
//!
//! A join key is the start of an encoded element, or a tag: uniform over its bytes for honest parties. The keys come from
//! the run's journal, as often as is asked for. In each pass, the peer's keys of one range of values are taken into
//! memory, sorted, and looked up through a table over their leading bits, so that a look-up touches a handful of
//! neighbours. One pass does where memory has room for all of them. Keys that a peer chose to be uneven only make the
//! look-up a binary search: never quadratic.

use std::{hint, mem};

use psi_core::session::{JoinKey, Side};
use rayon::prelude::*;

use crate::journal::Keys;

/// Items of one list on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Ours.
    pub ours: u64,
    /// The peer's.
    pub theirs: u64,
}

/// Finds the own indexes whose keys the peer has too. `keys` gives the keys of both sides, the same every time; of the
/// peer's, about `most_bytes` are in memory at a time.
///
/// Both sides are taken as sets of keys: a key that the peer holds twice matches once, an own key that stands at two
/// indices matches at both. Sessions refuse doubled elements before they come here.
///
/// # Errors
/// The first of `keys`.
pub fn join<E, I>(keys: impl Fn() -> I, sizes: Sizes, most_bytes: u64) -> Result<Bitmap, E>
where
    I: Iterator<Item = Result<Keys, E>>,
{
    let bytes = sizes.theirs.saturating_mul(mem::size_of::<JoinKey>() as u64);
    let passes = bytes.div_ceil(most_bytes.max(1)).clamp(1, MOST_PASSES);
    let mut matched = Bitmap::new(sizes.ours as usize);
    for pass in 0..passes {
        let part = Part { pass, passes };
        let theirs = part.gather(keys(), sizes.theirs)?;
        let table = Table::new(&theirs);
        for keys in keys() {
            let keys = keys?;
            if keys.side == Side::Ours {
                matched.insert_all(keys.chunk.start as usize, &table.hits(&keys.keys));
            }
        }
    }
    Ok(matched)
}

/// Beyond that, reading the journal would take longer than the memory is worth.
const MOST_PASSES: u64 = 256;

/// The keys of one pass: those whose value falls into its share of all values.
struct Part {
    pass: u64,
    passes: u64,
}

impl Part {
    /// The peer's keys of this part, sorted.
    fn gather<E>(&self, keys: impl Iterator<Item = Result<Keys, E>>, theirs: u64) -> Result<Vec<JoinKey>, E> {
        // A share varies by its square root; growing would double it.
        let share = theirs / self.passes;
        let mut gathered = Vec::with_capacity((share + 8 * share.isqrt()).min(theirs) as usize);
        for keys in keys {
            let keys = keys?;
            if keys.side == Side::Theirs {
                gathered.extend(keys.keys.iter().filter(|key| self.contains(key)));
            }
        }
        gathered.par_sort_unstable_by_key(value);
        Ok(gathered)
    }

    fn contains(&self, key: &JoinKey) -> bool {
        // The first byte of an encoded element is always even.
        let spread = u32::from_be_bytes([key[1], key[2], key[3], key[4]]);
        (u64::from(spread) * self.passes) >> 32 == self.pass
    }
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

    /// Goes one further: whether the new index is in it.
    pub fn push(&mut self, is_in: bool) {
        if self.length.is_multiple_of(64) {
            self.words.push(0);
        }
        self.length += 1;
        if is_in {
            self.insert(self.length - 1);
        }
    }

    /// Adds an index, which must be below [`len`](Self::len).
    pub fn insert(&mut self, index: usize) {
        assert!(index < self.length, "index {index} of a bitmap of {}", self.length);
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Adds `start` plus every index in `others`.
    fn insert_all(&mut self, start: usize, others: &Bitmap) {
        others.iter().for_each(|index| self.insert(start + index));
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
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let next = |word: &u64| Some(word & (word - 1)).filter(|rest| *rest != 0);
            let rest = std::iter::successors(Some(*word).filter(|word| *word != 0), next);
            rest.map(move |rest| index * 64 + rest.trailing_zeros() as usize)
        })
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

    /// Which of the keys are in it.
    fn hits(&self, keys: &[JoinKey]) -> Bitmap {
        let mut hits = Bitmap::new(keys.len());
        hits.words.par_iter_mut().zip(keys.par_chunks(64)).for_each(|(word, keys)| *word = self.word(keys));
        hits
    }

    /// As many look-ups as a word has bits. All their buckets are asked for before the first is searched, so that one waits
    /// for memory while others do.
    fn word(&self, keys: &[JoinKey]) -> u64 {
        let mut buckets: [&[JoinKey]; 64] = [&[]; 64];
        let mut touched = 0;
        for (bucket, key) in buckets.iter_mut().zip(keys) {
            let leading = leading(key, self.shift);
            *bucket = &self.keys[self.starts[leading] as usize..self.starts[leading + 1] as usize];
            touched ^= bucket.get(bucket.len() / 2).map_or(0, |middle| middle[0]);
        }
        hint::black_box(touched);
        let is_hit = |(bucket, key): (&[JoinKey], &JoinKey)| {
            u64::from(bucket.binary_search_by_key(&value(key), value).is_ok())
        };
        buckets.into_iter().zip(keys).rev().fold(0, |word, pair| word << 1 | is_hit(pair))
    }
}

/// Orders as the bytes do, and compares faster.
fn value(key: &JoinKey) -> u128 {
    u128::from_be_bytes(*key)
}

fn leading(key: &JoinKey, shift: u32) -> usize {
    (u32::from_be_bytes([key[0], key[1], key[2], key[3]]) >> shift) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use psi_core::plan::Chunk;

    use super::*;

    fn expected(own: &[JoinKey], theirs: &[JoinKey]) -> Vec<usize> {
        let theirs: HashSet<_> = theirs.iter().collect();
        (0..own.len()).filter(|index| theirs.contains(&own[*index])).collect()
    }

    fn chunks(side: Side, keys: &[JoinKey]) -> Vec<Keys> {
        let chunk = |(index, keys): (usize, &[JoinKey])| {
            let start = index as u64 * 1000;
            let chunk = Chunk { list: 0, index: index as u32, step: 0, start, len: keys.len() as u32 };
            Keys { side, chunk, keys: keys.to_vec() }
        };
        keys.chunks(1000).enumerate().map(chunk).collect()
    }

    /// In one pass and in many, with the chunks of both sides mixed.
    fn check(own: &[JoinKey], theirs: &[JoinKey]) {
        let mut both = chunks(Side::Theirs, theirs);
        both.extend(chunks(Side::Ours, own));
        both.sort_by_key(|keys| keys.chunk.start);
        let sizes = Sizes { ours: own.len() as u64, theirs: theirs.len() as u64 };
        let expected = expected(own, theirs);
        for passes in [1, 2, 3, 7] {
            let reads = std::cell::Cell::new(0);
            let source = || {
                reads.set(reads.get() + 1);
                both.iter().cloned().map(Ok::<_, ()>)
            };
            let most = (sizes.theirs * 16).div_ceil(passes);
            let matched = join(source, sizes, most).unwrap();
            assert_eq!(matched.count(), expected.len());
            assert!(matched.iter().eq(expected.iter().copied()));
            assert!(theirs.len() < 100 || reads.get() == 2 * passes, "{} reads", reads.get());
        }
    }

    #[test]
    fn a_source_that_fails_is_no_result() {
        let fails = || std::iter::once(Err("damaged"));
        assert_eq!(join(fails, Sizes { ours: 1, theirs: 1 }, 1 << 20).unwrap_err(), "damaged");
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
        [0, 3, 63].into_iter().for_each(|index| bitmap.insert(index));
        assert_eq!(bitmap.iter().collect::<Vec<_>>(), [0, 3, 63, 64]);
        let mut pushed = Bitmap::new(0);
        (0..65).for_each(|index| pushed.push(bitmap.contains(index)));
        assert_eq!(pushed, bitmap);
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
