//! Bytes on their way in.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::InputError;
use crate::seal::{SealedReader, SealedWriter};

/// Bytes on their way in. What passes is copied, sealed, so that the very same rows can be read again.
pub(super) struct Feed {
    inner: Box<dyn Read + Send>,
    watched: Option<(File, Stamp)>,
    copy: Option<SealedWriter<File>>,
    path: PathBuf,
}

/// Size, inode and time of the last change.
type Stamp = (u64, u64, i64, i64);

impl Feed {
    /// Opens a regular file; what is read goes into `copy` as well.
    pub(super) fn open(path: &Path, copy: Option<SealedWriter<File>>) -> Result<Self, InputError> {
        let failed = |source| InputError::Open { path: path.into(), source };
        let no_wait = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let file = OpenOptions::new().read(true).custom_flags(no_wait).open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if let Some(kind) = not_a_file(&meta) {
            return Err(InputError::NotAFile { path: path.into(), kind });
        }
        let watched = Some((file.try_clone().map_err(failed)?, stamp(&meta)));
        Ok(Self { inner: Box::new(file), watched, copy, path: path.into() })
    }

    /// The sealed copy of a file.
    pub(super) fn sealed(path: &Path, copy: SealedReader<File>) -> Self {
        Self { inner: Box::new(copy), watched: None, copy: None, path: path.into() }
    }

    #[cfg(test)]
    pub(super) fn of(path: &Path, inner: impl Read + Send + 'static) -> Self {
        Self { inner: Box::new(inner), watched: None, copy: None, path: path.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads some bytes; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, InputError> {
        let read = loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    break result.map_err(|source| InputError::Read { path: self.path.clone(), source })?;
                }
            }
        };
        if let Some(copy) = &mut self.copy {
            let copied = copy.write_all(&buffer[..read]);
            copied.map_err(|source| InputError::Copy { path: self.path.clone(), source })?;
        }
        Ok(read)
    }

    /// After the last byte: the file didn't change meanwhile, and the copy is complete and durable.
    pub(super) fn finish(self) -> Result<(), InputError> {
        let path = &self.path;
        if let Some((file, before)) = &self.watched {
            let meta = file.metadata().map_err(|source| InputError::Read { path: path.clone(), source })?;
            if stamp(&meta) != *before {
                return Err(InputError::Changed { path: path.clone() });
            }
        }
        let Some(copy) = self.copy else { return Ok(()) };
        let sealed = copy.finish().and_then(|file| file.sync_all());
        sealed.map_err(|source| InputError::Copy { path: path.clone(), source })
    }
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
