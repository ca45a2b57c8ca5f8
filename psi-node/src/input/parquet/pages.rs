//! The pages of a column chunk, one after the other, in memory for one of them.

use std::io::{Read, Seek, SeekFrom};

use flate2::Crc;
use zeroize::Zeroizing;

use super::Wrong;
use super::codec::Codec;
use super::footer::Chunk;
use super::thrift::{Kind, Thrift};
use crate::input::feed::Whole;

/// Bytes that are read at once, where pages are shorter.
const AHEAD: usize = 64 * 1024;
/// The longest page, as it is in the file and expanded. Writers make pages of 1 MiB, the largest ones of 100 MB.
const MAX_PAGE: usize = 128 << 20;
/// The longest header, which may have the least and the largest value in it.
const MAX_HEADER: usize = 4 << 20;

/// The pages of a column in a row group.
pub(super) struct Pages {
    codec: Codec,
    /// Where in the file the next bytes are, and how many there are.
    at: u64,
    left: u64,
    /// Bytes that were read; those from `next` on are still to be used.
    window: Zeroizing<Vec<u8>>,
    next: usize,
}

/// What a page says of itself.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) page: Page,
    /// Bytes as it is in the file, and expanded.
    length: usize,
    expanded: usize,
    /// Of the bytes as they are in the file.
    crc: Option<u32>,
}

/// A kind of page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// Levels and values, expanded together. Missing values count.
    Data {
        values: u64,
        encoding: i64,
        levels: i64,
    },
    /// Levels, then values, of which only those may be compressed.
    DataV2 {
        values: u64,
        encoding: i64,
        levels: usize,
        compressed: bool,
    },
    Dictionary {
        values: u64,
        encoding: i64,
    },
    /// Of no use here.
    Other,
}

impl Pages {
    pub(super) fn of(chunk: &Chunk) -> Result<Self, Wrong> {
        let codec = Codec::of(chunk.codec)?;
        Ok(Self { codec, at: chunk.start, left: chunk.length, window: Zeroizing::default(), next: 0 })
    }

    /// The header of the next page, whose body is taken or passed after that.
    pub(super) fn header(&mut self, file: &mut Whole) -> Result<Header, Wrong> {
        let mut enough = AHEAD;
        loop {
            let all = !self.fill(file, enough)?;
            if self.next == self.window.len() {
                return Err(Wrong::Damage("there are fewer values than the footer says"));
            }
            let mut thrift = Thrift::new(&self.window[self.next..]);
            if let Some(header) = Header::read(&mut thrift) {
                self.next += thrift.taken();
                return Ok(header);
            }
            if all || enough >= MAX_HEADER {
                return Err(Wrong::Damage("the header of a page is damaged"));
            }
            enough *= 4;
        }
    }

    /// Puts what a page holds, expanded, in the place of what is in `page`.
    pub(super) fn body(
        &mut self,
        file: &mut Whole,
        header: &Header,
        page: &mut Vec<u8>,
    ) -> Result<(), Wrong> {
        const DAMAGED: Wrong = Wrong::Damage("a page is damaged");
        if header.length > MAX_PAGE || header.expanded > MAX_PAGE {
            return Err(Wrong::Damage("a page of more than 128 MiB"));
        }
        if !self.fill(file, header.length)? {
            return Err(Wrong::Damage("a page ends too early"));
        }
        let body = &self.window[self.next..self.next + header.length];
        self.next += header.length;
        if header.crc.is_some_and(|expected| expected != crc(body)) {
            return Err(Wrong::Damage("the checksum of a page is wrong"));
        }
        let (plain, codec) = match header.page {
            Page::DataV2 { levels, compressed: true, .. } => (levels, self.codec),
            Page::DataV2 { .. } => (header.length, Codec::Plain),
            _ => (0, self.codec),
        };
        let (plain, packed) = body.split_at_checked(plain).ok_or(DAMAGED)?;
        page.clear();
        page.extend_from_slice(plain);
        let size = header.expanded.checked_sub(plain.len()).ok_or(DAMAGED)?;
        if size > 0 || codec == Codec::Plain {
            codec.expand(packed, page, size).ok_or(DAMAGED)?;
        }
        Ok(())
    }

    /// Leaves out what a page holds.
    pub(super) fn pass(&mut self, header: &Header) -> Result<(), Wrong> {
        let unread = self.window.len() - self.next;
        if header.length <= unread {
            self.next += header.length;
            return Ok(());
        }
        let rest = (header.length - unread) as u64;
        self.left = self.left.checked_sub(rest).ok_or(Wrong::Damage("a page ends too early"))?;
        self.at += rest;
        self.window.clear();
        self.next = 0;
        Ok(())
    }

    /// Whether so many bytes could be read, or all that there are.
    fn fill(&mut self, file: &mut Whole, enough: usize) -> Result<bool, Wrong> {
        let unread = self.window.len() - self.next;
        let missing = enough.saturating_sub(unread);
        if missing == 0 {
            return Ok(true);
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        self.window.drain(..self.next);
        self.next = 0;
        let more = missing.max(AHEAD).min(left);
        self.window.resize(unread + more, 0);
        file.seek(SeekFrom::Start(self.at))?;
        file.read_exact(&mut self.window[unread..])?;
        self.at += more as u64;
        self.left -= more as u64;
        Ok(missing <= more)
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The fields of a page header that count here, as they stand there.
#[derive(Default)]
struct Fields {
    kind: Option<i64>,
    expanded: Option<i64>,
    length: Option<i64>,
    crc: Option<i64>,
    data: Option<Page>,
    dictionary: Option<Page>,
    data_v2: Option<Page>,
}

impl Header {
    fn read(thrift: &mut Thrift<'_>) -> Option<Self> {
        let mut fields = Fields::default();
        thrift.fields(|thrift, id, kind| match (id, kind) {
            (1, Kind::Int) => thrift.int().map(|value| fields.kind = Some(value)),
            (2, Kind::Int) => thrift.int().map(|value| fields.expanded = Some(value)),
            (3, Kind::Int) => thrift.int().map(|value| fields.length = Some(value)),
            (4, Kind::Int) => thrift.int().map(|value| fields.crc = Some(value)),
            (5, Kind::Struct) => Page::read_data(thrift).map(|page| fields.data = Some(page)),
            (7, Kind::Struct) => Page::read_dictionary(thrift).map(|page| fields.dictionary = Some(page)),
            (8, Kind::Struct) => Page::read_data_v2(thrift).map(|page| fields.data_v2 = Some(page)),
            (_, kind) => thrift.skip(kind),
        })?;
        Some(Self {
            page: match fields.kind? {
                0 => fields.data?,
                1 => Page::Other,
                2 => fields.dictionary?,
                3 => fields.data_v2?,
                _ => return None,
            },
            length: usize::try_from(fields.length?).ok()?,
            expanded: usize::try_from(fields.expanded?).ok()?,
            // Stored as a signed integer of 32 bits.
            crc: fields.crc.map(|crc| crc as u32),
        })
    }
}

impl Page {
    fn read_data(thrift: &mut Thrift<'_>) -> Option<Self> {
        let [values, encoding, levels] = thrift.integers([1, 2, 3])?;
        Some(Self::Data { values: u64::try_from(values?).ok()?, encoding: encoding?, levels: levels? })
    }

    fn read_dictionary(thrift: &mut Thrift<'_>) -> Option<Self> {
        let [values, encoding] = thrift.integers([1, 2])?;
        Some(Self::Dictionary { values: u64::try_from(values?).ok()?, encoding: encoding? })
    }

    fn read_data_v2(thrift: &mut Thrift<'_>) -> Option<Self> {
        let mut compressed = true;
        let [values, rows, encoding, levels, repetitions] =
            thrift.integers_and([1, 3, 4, 5, 6], |id, kind| {
                compressed &= (id, kind) != (7, Kind::False);
            })?;
        // A column with one value a row has nothing repeated.
        if rows? != values? || repetitions? != 0 {
            return None;
        }
        let (values, levels) = (u64::try_from(values?).ok()?, usize::try_from(levels?).ok()?);
        Some(Self::DataV2 { values, encoding: encoding?, levels, compressed })
    }
}
