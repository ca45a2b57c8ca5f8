//! Text on its way in: UTF-8 in blocks whatever the file's encoding, checked row by row, lines counted, so that what
//! is wrong is named where it stands.

mod decoder;
mod look;

use std::ops::Range;
use std::path::Path;
use std::str::Utf8Error;

use memchr::memchr;
use zeroize::Zeroizing;

use super::feed::Feed;
use super::{Encoding, InputError, Place, Spec};
use decoder::{Decoded, Decoder};

const BLOCK: usize = 256 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A text file, row by row. What a row is, the format says.
pub(super) struct Text {
    feed: Feed,
    decoder: Option<Decoder>,
    max_row_bytes: usize,
    /// Bytes `unread` of it are still to be scanned.
    buffer: Zeroizing<Vec<u8>>,
    unread: Range<usize>,
    at_end: bool,
    /// The row taken last.
    current: Range<usize>,
    /// Where the next row starts.
    line: u64,
    /// Whether a character beyond ASCII was seen.
    wide: bool,
}

impl Text {
    /// Reads the start, and refuses what is no text in this encoding.
    pub(super) fn new(feed: Feed, spec: &Spec) -> Result<Self, InputError> {
        let mut text = Self {
            feed,
            decoder: None,
            max_row_bytes: spec.max_row_bytes,
            buffer: Zeroizing::new(vec![0; BLOCK]),
            unread: 0..0,
            at_end: false,
            current: 0..0,
            line: 1,
            wide: false,
        };
        let enough = if spec.encoding == Encoding::Utf8 { look::START } else { look::SAMPLE };
        while text.unread.len() < enough && !text.at_end {
            text.refill()?;
        }
        let start = &text.buffer[text.unread.clone()];
        look::check(start, spec)?;
        match Decoder::new(spec.encoding, start) {
            Some(decoder) => text.decode_from(decoder)?,
            None if start.starts_with(BYTE_ORDER_MARK) => text.unread.start = BYTE_ORDER_MARK.len(),
            None => {}
        }
        Ok(text)
    }

    /// What was read is given to the decoder instead.
    fn decode_from(&mut self, decoder: Decoder) -> Result<(), InputError> {
        (self.decoder, self.unread, self.at_end) = (Some(decoder), 0..0, false);
        self.refill()
    }

    /// What is to be scanned next.
    pub(super) fn window(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// Whether nothing follows the window.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// Whether the window alone is longer than a row may be.
    pub(super) fn is_too_long(&self) -> bool {
        self.unread.len() > self.max_row_bytes
    }

    /// Moves what is unread to the front and reads more; the buffer doubles only for a row that fills it.
    pub(super) fn refill(&mut self) -> Result<(), InputError> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        if self.buffer.len() - self.unread.end < decoder::ROOM {
            let doubled = self.buffer.len() * 2;
            self.buffer.resize(doubled, 0);
        }
        let read = self.read()?;
        self.unread.end += read;
        self.at_end = read == 0;
        Ok(())
    }

    fn read(&mut self) -> Result<usize, InputError> {
        let free = &mut self.buffer[self.unread.end..];
        let Some(decoder) = &mut self.decoder else { return self.feed.read(free) };
        let encoding = decoder.encoding();
        match decoder.decode(&mut self.feed, free)? {
            Decoded::Bytes(bytes) => Ok(bytes),
            Decoded::Malformed => Err(InputError::Malformed { at: self.place(self.unread.len()), encoding }),
        }
    }

    /// Makes the first `content` bytes of the window the current row, checks them, moves on by `taken` bytes and `lines`
    /// lines, and returns the row's line.
    pub(super) fn take(&mut self, content: usize, taken: usize, lines: u64) -> Result<u64, InputError> {
        let line = self.line;
        self.current = self.unread.start..self.unread.start + content;
        self.check()?;
        self.unread.start += taken;
        self.line += lines;
        Ok(line)
    }

    /// The row taken last: UTF-8 without zero bytes.
    pub(super) fn row(&self) -> &[u8] {
        &self.buffer[self.current.clone()]
    }

    fn check(&mut self) -> Result<(), InputError> {
        let row = &self.buffer[self.current.clone()];
        if row.len() > self.max_row_bytes {
            return Err(self.too_long());
        }
        if let Some(offset) = memchr(0, row) {
            return Err(InputError::Nul { at: self.place(offset) });
        }
        if row.is_ascii() {
            return Ok(());
        }
        match std::str::from_utf8(row) {
            Ok(_) => self.wide = true,
            Err(error) => return Err(self.not_utf8(row, &error)),
        }
        Ok(())
    }

    fn not_utf8(&self, row: &[u8], error: &Utf8Error) -> InputError {
        let at = self.place(error.valid_up_to());
        let cut_off = error.error_len().is_none() && row.len() == self.window().len();
        match look::reads_as_gb18030(&row[error.valid_up_to()..]) && !cut_off {
            true if self.wide => InputError::Mixed { at },
            true => InputError::Gb18030 { at },
            false => InputError::Malformed { at, encoding: Encoding::Utf8 },
        }
    }

    /// The row at the start of the window is beyond the limit.
    pub(super) fn too_long(&self) -> InputError {
        InputError::RowTooLong { at: self.place(0), limit: self.max_row_bytes }
    }

    /// The place of a byte of the window, before its row is taken. A byte order mark doesn't count.
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = &self.window()[..offset];
        let lines = memchr::memchr_iter(b'\n', before).count() as u64;
        let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        Place { path: self.feed.path().into(), line: self.line + lines, column: (offset - start + 1) as u64 }
    }

    pub(super) fn path(&self) -> &Path {
        self.feed.path()
    }

    /// What it is read from.
    pub(super) fn into_feed(self) -> Feed {
        self.feed
    }

    /// After the last row.
    pub(super) fn finish(self) -> Result<(), InputError> {
        self.feed.finish()
    }
}

/// Part of a row that was checked when it was taken.
pub(super) fn valid(part: &[u8]) -> &str {
    std::str::from_utf8(part).expect("a row is checked when it is taken, and cut at ASCII characters")
}

#[cfg(test)]
mod tests;
