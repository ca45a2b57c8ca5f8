//! Files that are there whole or not at all, also after a power cut.
//!
//! What each function does, call by call (POSIX; `renameat2` is Linux 3.15 or later):
//!
//! | function | calls |
//! |---|---|
//! | [`write_new`] | `open(.NAME.RANDOM.tmp, O_CREAT, O_EXCL, 0600)`, `write`, `fsync`, then as [`rename_new`] |
//! | [`replace`] | the same, but `rename` over what is there, then `fsync` of the folder |
//! | [`rename_new`] | `renameat2(RENAME_NOREPLACE)`, or `link` and `unlink` where the file system doesn't know it; `fsync` of the folder |
//! | [`create_folder`] | `mkdir(0700)` and `fsync` of its parent, for every missing level |
//! | [`remove`] | `unlink`, `fsync` of the folder |
//!
//! A crash before the rename leaves a `.tmp` file, which nobody reads; a crash between `link` and `unlink` leaves the
//! file under both names. A failed `fsync` is an error and never tried again: the kernel may have dropped the pages.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Creates `path` with this content; `AlreadyExists` if something is there.
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(content)?;
    file.commit()
}

/// Creates `path`, or replaces what is there, in one step: a reader sees the old content or the new.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(content)?;
    file.commit_over()
}

/// Renames within a file system without ever replacing: `AlreadyExists` if something is at `to`.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rename_no_replace(from, to) {
        Err(error) if is_unsupported(&error) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)?;
        }
        result => result?,
    }
    sync_folder(parent(to))
}

/// Creates a private folder (0700) and those above it that are missing. One that exists is left as it is.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    create_folder(parent(path))?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result.and_then(|()| sync_folder(parent(path))),
    }
}

/// Removes a file; one that isn't there is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.and_then(|()| sync_folder(parent(path))),
    }
}

/// Makes the entries of a folder durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A new private file (0600), which must not exist yet; what is written can be read again.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// The permission bits of an open file.
pub fn mode(file: &File) -> io::Result<u32> {
    Ok(file.metadata()?.permissions().mode() & 0o7777)
}

/// A file in the making, invisible under its name until it is committed; dropped before that, it is gone.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl NewFile {
    /// Opens a temporary file (0600) beside `path`.
    pub fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        let temporary = parent(path).join(format!(".{name}.{:016x}.tmp", rand::random::<u64>()));
        Ok(Self { file: create_private(&temporary)?, temporary, path: path.into(), committed: false })
    }

    /// Where it is until it is committed.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Makes content and name durable; `AlreadyExists` if something is there by now.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        rename_new(&self.temporary, &self.path)?;
        self.committed = true;
        Ok(())
    }

    /// Makes content and name durable, in place of what is there.
    pub fn commit_over(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.committed = true;
        sync_folder(parent(&self.path))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing refers to the file; one that stays is only litter.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The folder of a path; the current one for a bare name.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE).map_err(io::Error::from)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn rename_no_replace(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// NFS and old file systems answer `EINVAL`, old kernels `ENOSYS`.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_is_private_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_new(&path, b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(mode(&File::open(&path).unwrap()).unwrap(), 0o600);
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn nothing_is_replaced_unless_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_new(&path, b"one").unwrap();
        assert_eq!(write_new(&path, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_dropped_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = NewFile::create(&folder.path().join("a")).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(names(folder.path()).len(), 1);
        drop(file);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn renaming_keeps_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        assert_eq!(rename_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"a".to_vec(), b"b".to_vec()));
        remove(&b).unwrap();
        remove(&b).unwrap();
        rename_new(&a, &b).unwrap();
        assert_eq!(names(folder.path()), ["b"]);
    }

    #[test]
    fn folders_are_private_at_every_level() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        create_folder(&deep).unwrap();
        create_folder(&deep).unwrap();
        for level in [&deep, parent(&deep)] {
            assert_eq!(fs::metadata(level).unwrap().permissions().mode() & 0o777, 0o700);
        }
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(create_folder(&folder.path().join("file/x")).is_err());
    }
}
