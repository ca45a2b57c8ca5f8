//! What the disk says, as faults.

use std::{fmt, io, path::Path};

use super::{Code, Fault};
use crate::seal::SealError;

/// A file of ours that can't be read or written.
pub(crate) fn storage(path: &Path, error: &io::Error) -> Fault {
    Fault::new(Code::Storage, format!("{}: {error}", path.display()))
}

/// A sealed file that has to be there: if it is not, or not as it was written, it is damaged; anything else is the disk's fault.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Fault {
    let gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof);
    if gone || SealError::of(error).is_some() { damaged(path, error) } else { storage(path, error) }
}

/// A file of ours that is not as it was written.
pub(crate) fn damaged(path: &Path, error: &dyn fmt::Display) -> Fault {
    Fault::new(Code::State, format!("{}: {error}", path.display()))
}
