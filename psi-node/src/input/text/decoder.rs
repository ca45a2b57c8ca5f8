//! From other encodings to UTF-8, strictly: nothing is ever replaced by U+FFFD.

use std::ops::Range;

use encoding_rs::{DecoderResult, GB18030, UTF_16BE, UTF_16LE};
use zeroize::Zeroizing;

use super::look;
use crate::input::feed::Feed;
use crate::input::{Encoding, InputError};

/// Bytes that have to be free in what is decoded into.
pub(super) const ROOM: usize = 64;
const BLOCK: usize = 128 * 1024;
/// The byte order mark, which GB 18030 doesn't need; the decoder leaves it in.
const GB18030_MARK: &[u8] = b"\x84\x31\x95\x33";

/// What became of some bytes.
pub(super) enum Decoded {
    /// So many bytes of UTF-8; 0 at the end.
    Bytes(usize),
    /// The next bytes are none of the encoding.
    Malformed,
}

/// Decodes a file as it is read.
pub(super) struct Decoder {
    encoding: Encoding,
    inner: encoding_rs::Decoder,
    /// Bytes `unread` of it are still to be decoded.
    raw: Zeroizing<Vec<u8>>,
    unread: Range<usize>,
    at_end: bool,
    malformed: bool,
    finished: bool,
}

impl Decoder {
    /// A decoder that begins with `start`; none for UTF-8, which needs none.
    pub(super) fn new(encoding: Encoding, start: &[u8]) -> Option<Self> {
        let known = match encoding {
            Encoding::Utf8 => return None,
            Encoding::Gb18030 | Encoding::Gbk => GB18030,
            Encoding::Utf16 if look::is_big_endian(start) => UTF_16BE,
            Encoding::Utf16 => UTF_16LE,
        };
        let inner = known.new_decoder_with_bom_removal();
        let mut raw = Zeroizing::new(vec![0; BLOCK.max(start.len())]);
        raw[..start.len()].copy_from_slice(start);
        let unread = if start.starts_with(GB18030_MARK) { GB18030_MARK.len() } else { 0 }..start.len();
        Some(Self { encoding, inner, raw, unread, at_end: false, malformed: false, finished: false })
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Decodes some bytes into `out`, which has [`ROOM`]. What precedes a malformed sequence is handed out first.
    pub(super) fn decode(&mut self, feed: &mut Feed, out: &mut [u8]) -> Result<Decoded, InputError> {
        let mut written = 0;
        while written == 0 && !self.malformed && !self.finished {
            if self.unread.is_empty() && !self.at_end {
                self.refill(feed)?;
            }
            let raw = &self.raw[self.unread.clone()];
            let (result, read, bytes) = self.inner.decode_to_utf8_without_replacement(raw, out, self.at_end);
            self.unread.start += read;
            written = bytes;
            self.malformed = matches!(result, DecoderResult::Malformed(..));
            self.finished = self.at_end && result == DecoderResult::InputEmpty;
        }
        Ok(if written == 0 && self.malformed { Decoded::Malformed } else { Decoded::Bytes(written) })
    }

    fn refill(&mut self, feed: &mut Feed) -> Result<(), InputError> {
        let read = feed.read(&mut self.raw)?;
        self.unread = 0..read;
        self.at_end = read == 0;
        Ok(())
    }
}
