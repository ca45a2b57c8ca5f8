//! SHA-512 (FIPS 180-4) and expand_message_xmd (RFC 9380, section 5.3.1) with it, one message a lane.
//!
//! To expand a short message costs two compressions: one of the message, one of what that gives. The block of zeroes that comes
//! first is the same for all and compressed beforehand.

mod constants;

use sha2::{Digest, Sha512};

use crate::lane::{Kernel, Lane, Mask};
use crate::path::{Job, Path};
use constants::{ROUNDS, START};

/// Bytes of a block.
const BLOCK: usize = 128;
type Bytes = [u8; BLOCK];
type Words<L> = [<L as Lane>::Word; 16];

impl Path {
    /// 64 uniform bytes of each message, with `prefix` before it: expand_message_xmd with SHA-512, as RFC 9497 hashes to
    /// ristretto255. `dst` is the domain separation tag; one of more than 255 bytes is hashed first, as the RFC has it.
    ///
    /// # Panics
    /// If `out` is not as long as `messages`.
    pub fn expand(self, dst: &[u8], prefix: &[u8], messages: &[&[u8]], out: &mut [[u8; 64]]) {
        assert_eq!(messages.len(), out.len(), "one result a message");
        self.dispatch(Expand { prefix, messages, suffix: Suffix::new(dst), out });
    }

    /// The SHA-512 of each message, with `prefix` before it.
    ///
    /// # Panics
    /// If `out` is not as long as `messages`.
    pub fn sha512(self, prefix: &[u8], messages: &[&[u8]], out: &mut [[u8; 64]]) {
        assert_eq!(messages.len(), out.len(), "one result a message");
        self.dispatch(Digests { prefix, messages, out });
    }
}

struct Digests<'a> {
    prefix: &'a [u8],
    messages: &'a [&'a [u8]],
    out: &'a mut [[u8; 64]],
}

impl Job for Digests<'_> {
    type Output = ();

    fn on_lanes<L: Lane>(self) {
        L::call(self);
    }

    fn portable(self) {
        let start = Sha512::new().chain_update(self.prefix);
        for (message, out) in self.messages.iter().zip(self.out) {
            *out = start.clone().chain_update(message).finalize().into();
        }
    }
}

impl<L: Lane> Kernel<L> for Digests<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let initial = splat::<L, 8>(&START);
        let mut padded = Padded { before: 0, prefix: self.prefix, suffix: &[], lanes: Default::default() };
        for (messages, out) in self.messages.chunks(L::LANES).zip(self.out.chunks_mut(L::LANES)) {
            write::<L>(padded.hash::<L>(initial, messages), out);
        }
    }
}

struct Expand<'a> {
    prefix: &'a [u8],
    messages: &'a [&'a [u8]],
    suffix: Suffix,
    out: &'a mut [[u8; 64]],
}

/// DST_prime with what stands before it in the first hash: `0040 00 DST len(DST)`.
struct Suffix(Vec<u8>);

impl Suffix {
    fn new(dst: &[u8]) -> Self {
        if dst.len() > 255 {
            return Self::new(&Sha512::new().chain_update(b"H2C-OVERSIZE-DST-").chain_update(dst).finalize());
        }
        Self([&[0, 64, 0], dst, &[dst.len() as u8]].concat())
    }

    fn first(&self) -> &[u8] {
        &self.0
    }

    /// DST_prime.
    fn second(&self) -> &[u8] {
        &self.0[3..]
    }
}

impl Job for Expand<'_> {
    type Output = ();

    fn on_lanes<L: Lane>(self) {
        L::call(self);
    }

    fn portable(self) {
        let start = Sha512::new().chain_update([0; BLOCK]).chain_update(self.prefix);
        for (message, out) in self.messages.iter().zip(self.out) {
            let first = start.clone().chain_update(message).chain_update(self.suffix.first()).finalize();
            let second =
                Sha512::new().chain_update(first).chain_update([1]).chain_update(self.suffix.second());
            *out = second.finalize().into();
        }
    }
}

impl<L: Lane> Kernel<L> for Expand<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let initial = splat::<L, 8>(&START);
        let mut start = initial;
        compress::<L>(&mut start, [L::splat(0); 16]);
        let tail = tail(self.suffix.second());
        let (prefix, suffix) = (self.prefix, self.suffix.first());
        let mut padded = Padded { before: BLOCK, prefix, suffix, lanes: Default::default() };
        for (messages, out) in self.messages.chunks(L::LANES).zip(self.out.chunks_mut(L::LANES)) {
            let first = padded.hash::<L>(start, messages);
            let mut second = initial;
            compress::<L>(&mut second, join::<L>(first, &tail[0]));
            for block in &tail[1..] {
                compress::<L>(&mut second, splat::<L, 16>(block));
            }
            write::<L>(second, out);
        }
    }
}

/// The messages of a vector, each with prefix, suffix and padding.
struct Padded<'a> {
    /// Bytes that were compressed already.
    before: usize,
    prefix: &'a [u8],
    suffix: &'a [u8],
    lanes: [Vec<u8>; 8],
}

impl Padded<'_> {
    /// Compresses messages, one a lane, from a state on.
    #[inline(always)]
    fn hash<L: Lane>(&mut self, start: [L::Word; 8], messages: &[&[u8]]) -> [L::Word; 8] {
        let mut state = start;
        for block in 0..self.fill(messages) {
            let (words, more) = self.words::<L>(block);
            let mut next = state;
            compress::<L>(&mut next, words);
            state = select::<L>(more, next, state);
        }
        state
    }

    /// Returns the most blocks that a message has.
    fn fill(&mut self, messages: &[&[u8]]) -> usize {
        for (lane, message) in self.lanes.iter_mut().zip(messages) {
            lane.clear();
            for part in [self.prefix, message, self.suffix] {
                lane.extend_from_slice(part);
            }
            pad(lane, self.before);
        }
        self.lanes[..messages.len()].iter().map(|lane| lane.len() / BLOCK).max().unwrap_or(0)
    }

    /// One block of each message, and which messages are that long.
    #[inline(always)]
    fn words<L: Lane>(&self, block: usize) -> (Words<L>, Mask) {
        let (mut columns, mut more) = ([L::zeroes(); 16], 0);
        for (lane, bytes) in self.lanes[..L::LANES].iter().enumerate() {
            let Some(bytes) = bytes[(block * BLOCK).min(bytes.len())..].first_chunk::<BLOCK>() else {
                continue;
            };
            more |= 1 << lane;
            for (column, word) in columns.iter_mut().zip(big_endian(bytes)) {
                column.as_mut()[lane] = word;
            }
        }
        let mut words = [L::splat(0); 16];
        for (word, column) in words.iter_mut().zip(&columns) {
            *word = L::load(column);
        }
        (words, more)
    }
}

/// One bit, zeroes, and the length in bits, of which `before` bytes are not here.
fn pad(message: &mut Vec<u8>, before: usize) {
    let bits = 8 * (before + message.len()) as u128;
    let padded = (message.len() + 17).next_multiple_of(BLOCK);
    message.push(0x80);
    message.resize(padded - 16, 0);
    message.extend_from_slice(&bits.to_be_bytes());
}

/// The second hash takes what the first gave, then the same in every lane: `01 DST_prime` and padding. The first eight words of
/// the first block are left free.
fn tail(dst_prime: &[u8]) -> Vec<[u64; 16]> {
    let mut bytes = [&[0; 64], &[1][..], dst_prime].concat();
    pad(&mut bytes, 0);
    bytes.as_chunks::<BLOCK>().0.iter().map(big_endian).collect()
}

#[inline(always)]
fn big_endian(bytes: &Bytes) -> [u64; 16] {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_be_bytes(words[i]))
}

/// The same in every lane.
#[inline(always)]
fn splat<L: Lane, const N: usize>(words: &[u64; N]) -> [L::Word; N] {
    let mut splat = [L::splat(0); N];
    for (splat, &word) in splat.iter_mut().zip(words) {
        *splat = L::splat(word);
    }
    splat
}

/// A state, then the last eight words of a block.
#[inline(always)]
fn join<L: Lane>(state: [L::Word; 8], tail: &[u64; 16]) -> Words<L> {
    let mut words = splat::<L, 16>(tail);
    words[..8].copy_from_slice(&state);
    words
}

#[inline(always)]
fn select<L: Lane>(mask: Mask, set: [L::Word; 8], clear: [L::Word; 8]) -> [L::Word; 8] {
    let mut selected = clear;
    let mut i = 0;
    while i < 8 {
        selected[i] = L::select(mask, set[i], clear[i]);
        i += 1;
    }
    selected
}

#[inline(always)]
fn write<L: Lane>(state: [L::Word; 8], out: &mut [[u8; 64]]) {
    for (i, word) in state.into_iter().enumerate() {
        let words = L::store(word);
        for (out, word) in out.iter_mut().zip(words.as_ref()) {
            out.as_chunks_mut::<8>().0[i] = word.to_be_bytes();
        }
    }
}

/// FIPS 180-4, section 6.4.2.
#[inline(always)]
fn compress<L: Lane>(state: &mut [L::Word; 8], words: Words<L>) {
    *state = L::call(Compress::<L> { state: *state, words });
}

struct Compress<L: Lane> {
    state: [L::Word; 8],
    words: Words<L>,
}

/// `$body` with `$i` from 0 to 15, written out, so that all indices are constants and all words stay in registers.
macro_rules! sixteen {
    ($i:ident => $body:block) => {
        sixteen!($i $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($i:ident $body:block $($value:literal)*) => {
        $({ const $i: usize = $value; $body })*
    };
}

impl<L: Lane> Kernel<L> for Compress<L> {
    type Output = [L::Word; 8];

    #[inline(always)]
    fn run(self) -> [L::Word; 8] {
        let Self { state: before, words: mut w } = self;
        let mut state = before;
        for (chunk, constants) in ROUNDS.as_chunks::<16>().0.iter().enumerate() {
            if chunk > 0 {
                sixteen!(I => {
                    w[I] = L::inline(Schedule::<L>([w[I], w[(I + 1) % 16], w[(I + 9) % 16], w[(I + 14) % 16]]));
                });
            }
            sixteen!(I => {
                state = L::inline(Round::<L> { state, input: L::add(w[I], L::splat(constants[I])) });
            });
        }
        let mut i = 0;
        while i < 8 {
            state[i] = L::add(state[i], before[i]);
            i += 1;
        }
        state
    }
}

/// A word of the schedule from those 16, 15, 7 and 2 places before it.
struct Schedule<L: Lane>([L::Word; 4]);

impl<L: Lane> Kernel<L> for Schedule<L> {
    type Output = L::Word;

    #[inline(always)]
    fn run(self) -> L::Word {
        let [w16, w15, w7, w2] = self.0;
        L::add(L::add(w16, w7), L::add(small_sigma_1::<L>(w2), small_sigma_0::<L>(w15)))
    }
}

/// One round; its input is a word of the schedule plus a constant.
struct Round<L: Lane> {
    state: [L::Word; 8],
    input: L::Word,
}

impl<L: Lane> Kernel<L> for Round<L> {
    type Output = [L::Word; 8];

    #[inline(always)]
    fn run(self) -> [L::Word; 8] {
        let [a, b, c, d, e, f, g, h] = self.state;
        let choice = L::xor(g, L::and(e, L::xor(f, g)));
        let t = L::add(L::add(h, self.input), L::add(big_sigma_1::<L>(e), choice));
        let majority = L::or(L::and(a, b), L::and(c, L::or(a, b)));
        [L::add(t, L::add(big_sigma_0::<L>(a), majority)), a, b, c, L::add(d, t), e, f, g]
    }
}

#[inline(always)]
fn xor_3<L: Lane>(a: L::Word, b: L::Word, c: L::Word) -> L::Word {
    L::xor(L::xor(a, b), c)
}

#[inline(always)]
fn big_sigma_0<L: Lane>(a: L::Word) -> L::Word {
    xor_3::<L>(L::rotate_right::<28, 36>(a), L::rotate_right::<34, 30>(a), L::rotate_right::<39, 25>(a))
}

#[inline(always)]
fn big_sigma_1<L: Lane>(a: L::Word) -> L::Word {
    xor_3::<L>(L::rotate_right::<14, 50>(a), L::rotate_right::<18, 46>(a), L::rotate_right::<41, 23>(a))
}

#[inline(always)]
fn small_sigma_0<L: Lane>(a: L::Word) -> L::Word {
    xor_3::<L>(L::rotate_right::<1, 63>(a), L::rotate_right::<8, 56>(a), L::shift_right::<7>(a))
}

#[inline(always)]
fn small_sigma_1<L: Lane>(a: L::Word) -> L::Word {
    xor_3::<L>(L::rotate_right::<19, 45>(a), L::rotate_right::<61, 3>(a), L::shift_right::<6>(a))
}
