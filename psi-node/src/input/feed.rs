//! Bytes on their way in.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::InputError;
use crate::seal::{Label, SealKey, SealedReader, SealedWriter};

/// The path that stands for standard input.
pub(super) const STANDARD_INPUT: &str = "-";

/// Bytes on their way in. What passes is copied, sealed, so that the very same rows can be read again.
pub(super) struct Feed {
    origin: Origin,
    watched: Option<(File, Stamp)>,
    copy: Option<SealedWriter<File>>,
    path: PathBuf,
}

/// Where bytes come from.
enum Origin {
    File(File),
    Sealed(Box<SealedReader<File>>),
    /// Can be read only once.
    Pipe(Box<dyn Read + Send>),
}

/// Size, inode and time of the last change.
type Stamp = (u64, u64, i64, i64);

impl Feed {
    /// Opens a regular file or standard input; what is read goes into `copy` as well.
    pub(super) fn open(path: &Path, copy: Option<SealedWriter<File>>) -> Result<Self, InputError> {
        if path == Path::new(STANDARD_INPUT) {
            let origin = Origin::Pipe(Box::new(io::stdin()));
            return Ok(Self { origin, watched: None, copy, path: path.into() });
        }
        let failed = |source| InputError::Open { path: path.into(), source };
        let no_wait = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let file = OpenOptions::new().read(true).custom_flags(no_wait).open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if let Some(kind) = not_a_file(&meta) {
            return Err(InputError::NotAFile { path: path.into(), kind });
        }
        let watched = Some((file.try_clone().map_err(failed)?, stamp(&meta)));
        Ok(Self { origin: Origin::File(file), watched, copy, path: path.into() })
    }

    /// The sealed copy of a file.
    pub(super) fn sealed(path: &Path, copy: SealedReader<File>) -> Self {
        Self { origin: Origin::Sealed(Box::new(copy)), watched: None, copy: None, path: path.into() }
    }

    /// Whether the rows were read before, and sealed.
    #[cfg(feature = "parquet")]
    pub(super) fn is_sealed(&self) -> bool {
        matches!(self.origin, Origin::Sealed(_))
    }

    #[cfg(test)]
    pub(super) fn of(path: &Path, inner: impl Read + Send + 'static) -> Self {
        Self { origin: Origin::Pipe(Box::new(inner)), watched: None, copy: None, path: path.into() }
    }

    #[cfg(all(test, feature = "parquet"))]
    pub(super) fn of_file(path: &Path, file: File) -> Self {
        Self { origin: Origin::File(file), watched: None, copy: None, path: path.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads some bytes; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, InputError> {
        let read = loop {
            match self.origin.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|source| unreadable(&self.path, source))?,
            }
        };
        if let Some(copy) = &mut self.copy {
            copy.write_all(&buffer[..read]).map_err(|source| not_copied(&self.path, source))?;
        }
        Ok(read)
    }

    /// Makes every byte reachable, for formats that are not read from first to last.
    ///
    /// What is copied is read from the copy alone; what can be read only once is copied for that, sealed with a key that
    /// nobody keeps.
    pub(super) fn whole(mut self) -> Result<Whole, InputError> {
        if self.copy.is_none() && !matches!(self.origin, Origin::Pipe(_)) {
            return Ok(Whole { origin: self.origin, watched: self.watched, path: self.path });
        }
        let lasting = self.copy.is_some();
        if !lasting {
            self.copy = Some(forgotten_copy().map_err(|source| not_copied(&self.path, source))?);
        }
        let mut block = Zeroizing::new(vec![0; 64 * 1024]);
        while self.read(&mut block)? > 0 {}
        unchanged(&self.path, self.watched.as_ref())?;
        let copy = self.copy.take().expect("one was made above");
        let copy = copy.into_reader(|file| if lasting { file.sync_all() } else { Ok(()) });
        let copy = copy.map_err(|source| not_copied(&self.path, source))?;
        Ok(Whole { origin: Origin::Sealed(Box::new(copy)), watched: None, path: self.path })
    }

    /// Back to the first byte of what is no pipe and isn't copied.
    pub(super) fn rewound(mut self) -> Result<Self, InputError> {
        self.origin.seek(SeekFrom::Start(0)).map_err(|source| unreadable(&self.path, source))?;
        Ok(self)
    }

    /// After the last byte: the file didn't change meanwhile, and the copy is complete and durable.
    pub(super) fn finish(self) -> Result<(), InputError> {
        unchanged(&self.path, self.watched.as_ref())?;
        let Some(copy) = self.copy else { return Ok(()) };
        let sealed = copy.finish().and_then(|file| file.sync_all());
        sealed.map_err(|source| not_copied(&self.path, source))
    }
}

impl Read for Origin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Sealed(sealed) => sealed.read(buffer),
            Self::Pipe(pipe) => pipe.read(buffer),
        }
    }
}

impl Seek for Origin {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Sealed(sealed) => sealed.seek(to),
            Self::Pipe(_) => Err(io::ErrorKind::NotSeekable.into()),
        }
    }
}

/// A file of which every byte can be reached.
pub(super) struct Whole {
    origin: Origin,
    watched: Option<(File, Stamp)>,
    path: PathBuf,
}

impl Whole {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// After the last read: the file didn't change meanwhile.
    pub(super) fn finish(self) -> Result<(), InputError> {
        unchanged(&self.path, self.watched.as_ref())
    }
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.origin.read(buffer)
    }
}

impl Seek for Whole {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.origin.seek(to)
    }
}

fn unreadable(path: &Path, source: io::Error) -> InputError {
    InputError::Read { path: path.into(), source }
}

fn not_copied(path: &Path, source: io::Error) -> InputError {
    InputError::Copy { path: path.into(), source }
}

/// The copy of a list that is read twice, sealed with a key that goes when this does.
pub struct Reread {
    file: File,
    key: SealKey,
    path: PathBuf,
}

impl Reread {
    pub(super) fn new(path: &Path) -> Result<(SealedWriter<File>, Self), InputError> {
        let made = || {
            let (file, key) = (tempfile::tempfile()?, SealKey::generate()?);
            Ok((SealedWriter::new(file.try_clone()?, &key, COPY)?, Self { file, key, path: path.into() }))
        };
        made().map_err(|source| not_copied(path, source))
    }

    /// What was copied, once all of it was read.
    pub fn read(mut self) -> Result<SealedReader<File>, InputError> {
        let read =
            self.file.seek(SeekFrom::Start(0)).and_then(|_| SealedReader::new(self.file, &self.key, COPY));
        read.map_err(|source| unreadable(&self.path, source))
    }
}

/// Of copies that no file system has a name for.
const COPY: Label<'static> = Label { kind: "rows", owner: b"" };

fn forgotten_copy() -> io::Result<SealedWriter<File>> {
    SealedWriter::new(tempfile::tempfile()?, &SealKey::generate()?, COPY)
}

fn unchanged(path: &Path, watched: Option<&(File, Stamp)>) -> Result<(), InputError> {
    let Some((file, before)) = watched else { return Ok(()) };
    let meta = file.metadata().map_err(|source| unreadable(path, source))?;
    if stamp(&meta) == *before { Ok(()) } else { Err(InputError::Changed { path: path.into() }) }
}

fn stamp(meta: &Metadata) -> Stamp {
    (meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec())
}

fn not_a_file(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    let names = [
        (kind.is_dir(), "folder"),
        (kind.is_fifo(), "pipe"),
        (kind.is_socket(), "socket"),
        (kind.is_char_device() || kind.is_block_device(), "device"),
        (!kind.is_file(), "special file"),
    ];
    names.into_iter().find(|(applies, _)| *applies).map(|(_, name)| name)
}
