//! The journal of a run, `private/ID/journal/`: what its steps came to, written as they go and read back when it is needed.
//!
//! Join keys go in as chunks are answered and verified, so that they need not stay in memory until the join; and since what
//! was synced survives a crash, a run can go on from there.
//!
//! ```text
//! journal/00000000, 00000001, ..    sealed files (seal.rs), each bound to the run and to its number: durable
//! journal/.00000002.*.tmp           what was appended since the last sync: gone after a crash
//! ```
//!
//! A sync ends a part, makes its content durable and only then gives it its name. A part with a name is therefore whole, or
//! something else damaged it. Parts that are missing at the end can't be noticed here, only by a peer that knows more.
//!
//! In a part, each record stands behind its length (`u32`, big-endian); a record never crosses into the next part.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use psi_core::{
    plan::Chunk,
    session::{JoinKey, JoinKeys, Side},
};

use crate::{
    durable::{self, NewFile},
    fault::{Code, Fault},
    seal::{Label, SealKey, SealedReader, SealedWriter},
};

const KIND: &str = "journal";
const KEYS: u8 = 1;
const NOTE: u8 = 2;
/// No record is longer: a chunk has at most 16,384 keys.
const MAX_RECORD: usize = 1 << 20;

/// One entry.
#[derive(Clone, PartialEq, Eq)]
pub enum Record {
    /// The join keys of a chunk.
    Keys(Keys),
    /// Something else that whoever goes on with the run has to know, in the order in which it was noted.
    Note(Vec<u8>),
}

/// The join keys of one chunk. A run that went on after a crash may have the same chunk twice, with the same keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Whose items they are.
    pub side: Side,
    /// Which of that side's items.
    pub chunk: Chunk,
    /// One key an item.
    pub keys: Vec<JoinKey>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => keys.fmt(f),
            Self::Note(note) => f.debug_struct("Note").field("bytes", &note.len()).finish_non_exhaustive(),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("side", &self.side).field("chunk", &self.chunk).finish_non_exhaustive()
    }
}

/// Why the journal can't be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A part was changed after it was synced, or one is missing.
    #[error("journal is damaged: {}: {reason}", path.display())]
    Damaged {
        /// The part.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk or the folder failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        let code = match &error {
            JournalError::Damaged { .. } => Code::State,
            JournalError::Io { .. } => Code::Storage,
        };
        Self::new(code, error.to_string())
    }
}

/// A journal that is being written.
pub struct Journal {
    place: Place,
    /// The part that grows.
    open: Option<SealedWriter<NewFile>>,
    /// Its number, or that of the next one.
    next: u32,
}

/// Where the parts are and what binds them.
#[derive(Clone)]
struct Place {
    folder: PathBuf,
    seal_key: SealKey,
    run_id: String,
}

impl Journal {
    /// An empty journal in a folder that must not exist yet.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn create(folder: &Path, seal_key: &SealKey, run_id: &str) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Io { path: folder.into(), source };
        if fs::exists(folder).map_err(failed)? {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        durable::create_folder(folder).map_err(failed)?;
        Ok(Self::at(folder, seal_key, run_id, 0))
    }

    /// The journal that a process left behind: what was appended after its last sync is dropped.
    ///
    /// # Errors
    /// [`JournalError::Io`]. Whether the parts are whole shows when they are read.
    pub fn open(folder: &Path, seal_key: &SealKey, run_id: &str) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Io { path: folder.into(), source };
        let mut next = 0;
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            match number(&path) {
                Some(number) => next = next.max(number + 1),
                None => durable::remove(&path).map_err(failed)?,
            }
        }
        Ok(Self::at(folder, seal_key, run_id, next))
    }

    fn at(folder: &Path, seal_key: &SealKey, run_id: &str, next: u32) -> Self {
        let place = Place { folder: folder.into(), seal_key: seal_key.clone(), run_id: run_id.into() };
        Self { place, open: None, next }
    }

    /// Adds a record; it survives a crash once a sync that started after this has ended.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        match record {
            Record::Keys(keys) => self.append_keys(keys.side, &keys.chunk, &keys.keys),
            Record::Note(note) => self.write(&[&[NOTE], note]),
        }
    }

    /// Adds the keys that a task gave out.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn append_join_keys(&mut self, keys: &JoinKeys) -> Result<(), JournalError> {
        self.append_keys(keys.side, &keys.chunk, &keys.keys)
    }

    fn append_keys(&mut self, side: Side, chunk: &Chunk, keys: &[JoinKey]) -> Result<(), JournalError> {
        self.write(&[&keys_header(side, chunk), keys.as_flattened()])
    }

    fn write(&mut self, pieces: &[&[u8]]) -> Result<(), JournalError> {
        let part = self.place.part(self.next);
        let failed = |source| JournalError::Io { path: part.clone(), source };
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(self.place.start(self.next).map_err(failed)?),
        };
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>() as u32;
        open.write_all(&length.to_be_bytes()).map_err(failed)?;
        pieces.iter().try_for_each(|piece| open.write_all(piece)).map_err(failed)
    }

    /// Ends the part that was open, so that [`Part::sync`] can make it durable while others append; none if it is empty.
    ///
    /// Parts are to be synced in the order in which they were cut.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn cut(&mut self) -> Result<Option<Part>, JournalError> {
        let Some(open) = self.open.take() else { return Ok(None) };
        let path = self.place.part(self.next);
        self.next += 1;
        match open.finish() {
            Ok(file) => Ok(Some(Part { file, path })),
            Err(source) => Err(JournalError::Io { path, source }),
        }
    }

    /// Makes everything durable that was appended.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.cut()?.map_or(Ok(()), Part::sync)
    }

    /// What was synced, from the first record to the last.
    pub fn records(&self) -> Records<'_> {
        Records::of(&self.place, self.next, None)
    }

    /// Ends the journal: from now on it is read, whether or not its last part is durable.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn finish(mut self) -> Result<Finished, JournalError> {
        let parts = self.next;
        let tail = self.cut()?.map(|part| part.file);
        Ok(Finished { place: self.place, parts, tail })
    }
}

/// A part with all its records, not durable yet; dropped, they are lost.
pub struct Part {
    file: NewFile,
    path: PathBuf,
}

impl Part {
    /// Makes the part durable.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn sync(self) -> Result<(), JournalError> {
        let Self { file, path } = self;
        file.commit().map_err(|source| JournalError::Io { path, source })
    }
}

/// A journal that takes no more records.
pub struct Finished {
    place: Place,
    /// Parts with a name.
    parts: u32,
    /// The last one, if it has none.
    tail: Option<NewFile>,
}

impl Finished {
    /// Everything that was appended, in that order; as often as it is asked for.
    pub fn records(&self) -> Records<'_> {
        Records::of(&self.place, self.parts, self.tail.as_ref())
    }

    /// The join keys of one list of the session, of both sides.
    pub fn keys(&self, list: u16) -> impl Iterator<Item = Result<Keys, JournalError>> {
        self.records().filter_map(move |record| match record {
            Ok(Record::Keys(keys)) => (keys.chunk.list == list).then_some(Ok(keys)),
            Ok(Record::Note(_)) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

/// Records as they are read. An error ends it.
pub struct Records<'a> {
    place: &'a Place,
    parts: std::vec::IntoIter<PathBuf>,
    /// The part that is being read.
    open: Option<(SealedReader<File>, PathBuf)>,
    /// Number of the part after it.
    next: u32,
}

impl<'a> Records<'a> {
    fn of(place: &'a Place, parts: u32, tail: Option<&NewFile>) -> Self {
        let tail = tail.map(|tail| tail.temporary().to_owned());
        let parts: Vec<_> = (0..parts).map(|number| place.part(number)).chain(tail).collect();
        Self { place, parts: parts.into_iter(), open: None, next: 0 }
    }

    fn read_next(&mut self) -> Result<Option<Record>, JournalError> {
        loop {
            if self.open.is_none() {
                let Some(path) = self.parts.next() else { return Ok(None) };
                let reader = self.place.reader(self.next, &path).map_err(|error| unreadable(&path, error))?;
                self.open = Some((reader, path));
                self.next += 1;
            }
            let Some((reader, path)) = &mut self.open else { continue };
            match read_record(reader).map_err(|error| unreadable(path, error))? {
                Some(record) => return Ok(Some(record)),
                None => self.open = None,
            }
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read_next();
        if next.is_err() {
            (self.parts, self.open) = (Vec::new().into_iter(), None);
        }
        next.transpose()
    }
}

impl Place {
    fn part(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number:08}"))
    }

    /// The run and the part's number: neither a part of another run nor one at another place is taken.
    fn owner(&self, number: u32) -> Vec<u8> {
        [self.run_id.as_bytes(), &number.to_be_bytes()].concat()
    }

    fn start(&self, number: u32) -> io::Result<SealedWriter<NewFile>> {
        let file = NewFile::create(&self.part(number))?;
        SealedWriter::new(file, &self.seal_key, Label { kind: KIND, owner: &self.owner(number) })
    }

    fn reader(&self, number: u32, path: &Path) -> io::Result<SealedReader<File>> {
        let label = Label { kind: KIND, owner: &self.owner(number) };
        SealedReader::new(File::open(path)?, &self.seal_key, label)
    }
}

/// The number that a part's name stands for; none for a file that has not got its name.
fn number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok())?
}

/// What is not as it was written is damage; a part that is gone is damage too.
fn unreadable(path: &Path, error: io::Error) -> JournalError {
    let damaged = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound)
        || error.kind() == io::ErrorKind::UnexpectedEof;
    match damaged {
        true => JournalError::Damaged { path: path.into(), reason: error.to_string() },
        false => JournalError::Io { path: path.into(), source: error },
    }
}

/// The next record of a part, or none where the part ends.
fn read_record(part: &mut impl Read) -> io::Result<Option<Record>> {
    let mut length = [0; 4];
    if part.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    part.read_exact(&mut length[1..])?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "it holds other things than records");
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_RECORD {
        return Err(malformed());
    }
    let mut content = vec![0; length];
    part.read_exact(&mut content)?;
    decode(&content).map(Some).ok_or_else(malformed)
}

fn decode(content: &[u8]) -> Option<Record> {
    match content.split_first()? {
        (&NOTE, note) => Some(Record::Note(note.to_vec())),
        (&KEYS, keys) => decode_keys(keys).map(Record::Keys),
        _ => None,
    }
}

/// `KEYS | side u8 | list u16 | index u32 | step u32 | start u64`, before the keys.
fn keys_header(side: Side, chunk: &Chunk) -> Vec<u8> {
    let side = match side {
        Side::Ours => 0,
        Side::Theirs => 1,
    };
    let mut header = vec![KEYS, side];
    header.extend_from_slice(&chunk.list.to_be_bytes());
    header.extend_from_slice(&chunk.index.to_be_bytes());
    header.extend_from_slice(&chunk.step.to_be_bytes());
    header.extend_from_slice(&chunk.start.to_be_bytes());
    header
}

fn decode_keys(content: &[u8]) -> Option<Keys> {
    let (&side, rest) = content.split_first()?;
    let (list, rest) = rest.split_first_chunk()?;
    let (index, rest) = rest.split_first_chunk()?;
    let (step, rest) = rest.split_first_chunk()?;
    let (start, rest) = rest.split_first_chunk()?;
    let (keys, left) = rest.as_chunks();
    let side = match (side, left) {
        (0, []) => Side::Ours,
        (1, []) => Side::Theirs,
        _ => return None,
    };
    let chunk = Chunk {
        list: u16::from_be_bytes(*list),
        index: u32::from_be_bytes(*index),
        step: u32::from_be_bytes(*step),
        start: u64::from_be_bytes(*start),
        len: keys.len() as u32,
    };
    Some(Keys { side, chunk, keys: keys.to_vec() })
}

#[cfg(test)]
mod tests;
