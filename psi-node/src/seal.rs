//! Sealing: what is kept on disk between the steps of a run can be read and changed only with the node's key.
//!
//! Each file has a key of its own, and is sealed in segments with AES-256-GCM (NIST SP 800-38D), after the STREAM
//! construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015; docs/decisions/0028):
//!
//! ```text
//! header    "PSI-SEAL" | version 2 | kind, 16 bytes, padded with zeros | salt, 32 random bytes
//! key       HKDF-SHA256 (RFC 5869) of the node's key with the salt, for
//!           header | what the file belongs to (for example the run's id)
//! segments  65,536 bytes of content + 16 of tag each; the last one holds 0 to 65,536 bytes
//! nonce     seven zeros | segment number, u32 | 1 if last, else 0
//! ```
//!
//! A flipped bit, a cut, a swap, an added byte, another kind, another owner or another key: each is refused.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use aws_lc_rs::hkdf;
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::durable;

/// Content bytes in a segment.
pub const SEGMENT: usize = 64 * 1024;

const MAGIC: &[u8; 9] = b"PSI-SEAL\x02";
const KIND: usize = 16;
const SALT: usize = 32;
const HEADER: usize = MAGIC.len() + KIND + SALT;
const TAG: usize = 16;

/// What a sealed file is, and what it belongs to. Neither can be swapped for another.
#[derive(Debug, Clone, Copy)]
pub struct Label<'a> {
    /// At most 16 bytes of ASCII, for example `snapshot`. Stands in the header in clear.
    pub kind: &'static str,
    /// For example the run's id. Not stored: the reader has to know it.
    pub owner: &'a [u8],
}

/// Why a sealed file can't be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Doesn't start like a sealed file of this version.
    #[error("not a sealed file of version 2")]
    NotSealed,
    /// A sealed file, but of another kind.
    #[error("sealed file of another kind: expected {expected:?}, got {got:?}")]
    WrongKind {
        /// The kind that was asked for.
        expected: &'static str,
        /// The kind in the header, escaped.
        got: String,
    },
    /// The file ends too early.
    #[error("sealed file is truncated: it ends in segment {segment}, which is not the last")]
    Truncated {
        /// Counted from 0.
        segment: u32,
    },
    /// There is more behind the last segment.
    #[error("sealed file has bytes after its end in segment {segment}")]
    Trailing {
        /// Counted from 0.
        segment: u32,
    },
    /// Changed, or sealed with another key or for another owner.
    #[error("sealed file is corrupted in segment {segment}, or sealed with another key or for another owner")]
    Corrupted {
        /// Counted from 0.
        segment: u32,
    },
    /// More than 2^32 segments.
    #[error("sealed file is too large")]
    TooLarge,
}

impl SealError {
    /// The seal's own complaint inside an error of [`SealedReader`], if it is one.
    pub fn of(error: &io::Error) -> Option<&SealError> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<SealError> for io::Error {
    fn from(error: SealError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The key that seals: 32 bytes, zeroized on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealKey([u8; 32]);

/// Why the sealing key can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealKeyError {
    /// Can't be read, written or drawn.
    #[error("sealing key {path}: {source}")]
    Io {
        /// The key file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Group or others have access.
    #[error("sealing key {path} is open to others: expected mode 0600, got {mode:04o}")]
    Exposed {
        /// The key file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 32 bytes.
    #[error("sealing key {path} has a wrong size: expected 32 bytes, got {got}")]
    Size {
        /// The key file.
        path: String,
        /// Bytes in it, counted to 33.
        got: usize,
    },
}

impl SealKey {
    /// A key given by the caller.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh key from the system's generator.
    pub fn generate() -> io::Result<Self> {
        let mut key = Self([0; 32]);
        random(&mut key.0)?;
        Ok(key)
    }

    /// Reads a key file: 32 raw bytes that nobody but the owner can read.
    pub fn load(path: &Path) -> Result<Self, SealKeyError> {
        let shown = || path.display().to_string();
        let io = |source| SealKeyError::Io { path: shown(), source };
        let mut file = std::fs::File::open(path).map_err(io)?;
        let mode = durable::mode(&file).map_err(io)?;
        if mode & 0o077 != 0 {
            return Err(SealKeyError::Exposed { path: shown(), mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        Read::by_ref(&mut file).take(33).read_to_end(&mut bytes).map_err(io)?;
        let key = bytes
            .as_slice()
            .try_into()
            .map_err(|_| SealKeyError::Size { path: shown(), got: bytes.len() })?;
        Ok(Self(key))
    }

    /// Reads the key file, or makes one (0600, durable) if there is none. Two programs at once end with one key.
    pub fn load_or_generate(path: &Path) -> Result<Self, SealKeyError> {
        let io = |source| SealKeyError::Io { path: path.display().to_string(), source };
        if !path.try_exists().map_err(io)? {
            match durable::write_new(path, &Self::generate().map_err(io)?.0) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
                _ => {}
            }
        }
        Self::load(path)
    }

    /// The key of one file.
    fn of_file(&self, header: &[u8; HEADER], owner: &[u8]) -> io::Result<LessSafeKey> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &header[HEADER - SALT..]);
        let (prk, info) = (salt.extract(&self.0), [header, owner]);
        let key = prk.expand(&info, &AES_256_GCM).map_err(io::Error::other)?;
        Ok(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").finish_non_exhaustive()
    }
}

/// Seals a small blob, whole.
pub fn seal_bytes(key: &SealKey, label: Label<'_>, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = SealedWriter::new(Vec::with_capacity(HEADER + content.len() + TAG), key, label)?;
    writer.write_all(content)?;
    writer.finish()
}

/// Opens what [`seal_bytes`] or a [`SealedWriter`] sealed, whole.
pub fn open_bytes(key: &SealKey, label: Label<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut content = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let read = SealedReader::new(sealed, key, label).and_then(|mut reader| reader.read_to_end(&mut content));
    read.map_err(|error| SealError::of(&error).cloned().unwrap_or(SealError::NotSealed))?;
    Ok(content)
}

/// Seals what is written to it. Without [`finish`](Self::finish) the file counts as truncated.
pub struct SealedWriter<W: Write> {
    inner: W,
    segments: Segments,
    content: Zeroizing<Vec<u8>>,
}

impl<W: Write> SealedWriter<W> {
    /// Writes the header.
    pub fn new(mut inner: W, key: &SealKey, label: Label<'_>) -> io::Result<Self> {
        let mut header = [0; HEADER];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()..MAGIC.len() + KIND].copy_from_slice(&padded(label.kind));
        random(&mut header[HEADER - SALT..])?;
        inner.write_all(&header)?;
        let content = Zeroizing::new(Vec::with_capacity(SEGMENT));
        Ok(Self { inner, segments: Segments::new(key, &header, label.owner)?, content })
    }

    /// Seals the last segment and hands back what was written to; making it durable is the caller's.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let tag = self.segments.seal(&mut self.content, last)?;
        self.inner.write_all(&self.content)?;
        self.inner.write_all(tag.as_ref())?;
        self.content.clear();
        Ok(())
    }
}

impl<F: Read + Write + Seek> SealedWriter<F> {
    /// Seals the last segment, lets `settle` do with the file what is to be done, and opens what was sealed, from its start.
    pub fn into_reader(self, settle: impl FnOnce(&mut F) -> io::Result<()>) -> io::Result<SealedReader<F>> {
        let segments = Segments { key: self.segments.key.clone(), next: 0 };
        let mut file = self.finish()?;
        settle(&mut file)?;
        file.seek(SeekFrom::Start(HEADER as u64))?;
        Ok(SealedReader::over(file, segments))
    }
}

impl<W: Write> Write for SealedWriter<W> {
    /// A full segment is sealed only when more follows, since it may be the last.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.content.len() == SEGMENT && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(SEGMENT - self.content.len());
        self.content.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Most are a few bytes for which there is room.
    #[inline]
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if bytes.len() <= SEGMENT - self.content.len() {
            self.content.extend_from_slice(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            let taken = self.write(bytes)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Whole segments are written as they fill; a part of one can't be.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> fmt::Debug for SealedWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedWriter").field("segment", &self.segments.next).finish_non_exhaustive()
    }
}

/// Opens a sealed file as it is read; no byte is handed out before its segment was verified.
///
/// That the file is whole is known only once the end was reached: `Ok(0)`, or [`SealError::Truncated`].
pub struct SealedReader<R: Read> {
    inner: R,
    segments: Segments,
    /// One sealed segment with its tag and the byte that shows whether another follows.
    sealed: Vec<u8>,
    /// The segment, opened.
    content: Zeroizing<Vec<u8>>,
    /// What is left of it to hand out, up to its end.
    ready: std::ops::Range<usize>,
    /// The first byte of the next segment.
    ahead: Option<u8>,
    finished: bool,
}

impl<R: Read> SealedReader<R> {
    /// Reads and checks the header.
    pub fn new(mut inner: R, key: &SealKey, label: Label<'_>) -> io::Result<Self> {
        let mut header = [0; HEADER];
        if fill(&mut inner, &mut header)? < HEADER || header[..MAGIC.len()] != *MAGIC {
            return Err(SealError::NotSealed.into());
        }
        let kind = &header[MAGIC.len()..MAGIC.len() + KIND];
        if *kind != padded(label.kind) {
            let got = kind.trim_ascii_end().escape_ascii().to_string().replace("\\x00", "");
            return Err(SealError::WrongKind { expected: label.kind, got }.into());
        }
        Ok(Self::over(inner, Segments::new(key, &header, label.owner)?))
    }

    fn over(inner: R, segments: Segments) -> Self {
        let (sealed, content) = (vec![0; SEGMENT + TAG + 1], Zeroizing::new(vec![0; SEGMENT]));
        Self { inner, segments, sealed, content, ready: 0..0, ahead: None, finished: false }
    }

    fn open_next(&mut self) -> io::Result<()> {
        let start = self.ahead.take().map_or(0, |byte| {
            self.sealed[0] = byte;
            1
        });
        let filled = start + fill(&mut self.inner, &mut self.sealed[start..])?;
        let last = filled <= SEGMENT + TAG;
        let sealed = filled.min(SEGMENT + TAG);
        self.ahead = (!last).then(|| self.sealed[SEGMENT + TAG]);
        self.ready = 0..self.segments.open(&self.sealed[..sealed], &mut self.content, last)?;
        self.finished = last;
        Ok(())
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.ready.is_empty() && !self.finished {
            self.open_next()?;
        }
        let taken = self.ready.len().min(out.len());
        out[..taken].copy_from_slice(&self.content[self.ready.start..self.ready.start + taken]);
        self.ready.start += taken;
        Ok(taken)
    }

    /// Most are a few bytes that lie ready.
    #[inline]
    fn read_exact(&mut self, mut out: &mut [u8]) -> io::Result<()> {
        if let Some((ready, _)) = self.content[self.ready.clone()].split_at_checked(out.len()) {
            out.copy_from_slice(ready);
            self.ready.start += out.len();
            return Ok(());
        }
        while !out.is_empty() {
            let taken = match self.read(out)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                taken => taken,
            };
            out = &mut out[taken..];
        }
        Ok(())
    }
}

/// Opens the segment that holds the place. Beyond the end is the end.
impl<R: Read + Seek> Seek for SealedReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self.content_length()?;
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(offset) => length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.place().checked_add_signed(offset),
        };
        let place = place.ok_or(io::ErrorKind::InvalidInput)?.min(length);
        // The end of a full segment belongs to it, so that there always is a segment to open.
        let segment = if place == length { length.saturating_sub(1) } else { place } / SEGMENT as u64;
        if self.segments.next != segment + 1 {
            self.inner.seek(SeekFrom::Start(HEADER as u64 + segment * (SEGMENT + TAG) as u64))?;
            (self.segments.next, self.ahead, self.finished, self.ready) = (segment, None, false, 0..0);
            self.open_next()?;
        }
        self.ready = (place - segment * SEGMENT as u64) as usize..self.ready.end;
        Ok(place)
    }
}

impl<R: Read + Seek> SealedReader<R> {
    /// Bytes of content, by the size of the file.
    fn content_length(&mut self) -> io::Result<u64> {
        let here = self.inner.stream_position()?;
        let sealed = self.inner.seek(SeekFrom::End(0))?.saturating_sub(HEADER as u64);
        self.inner.seek(SeekFrom::Start(here))?;
        let segments = sealed.div_ceil((SEGMENT + TAG) as u64).max(1);
        Ok(sealed.saturating_sub(segments * TAG as u64))
    }

    /// How many bytes of content were handed out or skipped.
    fn place(&self) -> u64 {
        self.segments.next.saturating_sub(1) * SEGMENT as u64 + self.ready.start as u64
    }
}

impl<R: Read> fmt::Debug for SealedReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedReader").field("segment", &self.segments.next).finish_non_exhaustive()
    }
}

/// The key of a file with the place in it.
struct Segments {
    key: Arc<LessSafeKey>,
    next: u64,
}

impl Segments {
    fn new(key: &SealKey, header: &[u8; HEADER], owner: &[u8]) -> io::Result<Self> {
        Ok(Self { key: Arc::new(key.of_file(header, owner)?), next: 0 })
    }

    fn number(&self) -> Result<u32, SealError> {
        u32::try_from(self.next).map_err(|_| SealError::TooLarge)
    }

    fn seal(&mut self, content: &mut [u8], last: bool) -> io::Result<Tag> {
        let nonce = nonce(self.number()?, last);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), content);
        self.next += 1;
        tag.map_err(io::Error::other)
    }

    /// Opens a segment; returns how many bytes of content.
    fn open(&mut self, sealed: &[u8], content: &mut [u8], last: bool) -> Result<usize, SealError> {
        let segment = self.number()?;
        let Some(length) = sealed.len().checked_sub(TAG) else {
            return Err(SealError::Truncated { segment });
        };
        let (sealed, tag) = sealed.split_at(length);
        let mut opens = |last| {
            let nonce = nonce(segment, last);
            self.key.open_separate_gather(nonce, Aad::empty(), sealed, tag, &mut content[..length]).is_ok()
        };
        if !opens(last) {
            return Err(match (last, opens(!last)) {
                (true, true) => SealError::Truncated { segment },
                (false, true) => SealError::Trailing { segment },
                (_, false) => SealError::Corrupted { segment },
            });
        }
        self.next += 1;
        Ok(length)
    }
}

fn nonce(segment: u32, last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[7..11].copy_from_slice(&segment.to_be_bytes());
    nonce[11] = last.into();
    Nonce::assume_unique_for_key(nonce)
}

fn padded(kind: &'static str) -> [u8; KIND] {
    let mut padded = [0; KIND];
    let length = kind.len().min(KIND);
    debug_assert_eq!(length, kind.len(), "kinds have at most 16 bytes");
    padded[..length].copy_from_slice(&kind.as_bytes()[..length]);
    padded
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    SysRng.try_fill_bytes(bytes).map_err(io::Error::other)
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
