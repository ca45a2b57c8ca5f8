//! A disk that is full after so many writes to scratch files.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use psi_node::scratch::{Disk, Nameless, Room, System};

/// Counts writes down; those that it has no room for fail as on a full disk.
#[derive(Clone, Default)]
pub struct Filling(Arc<AtomicI64>);

impl Filling {
    /// Room on this disk, with so many bytes of memory.
    pub fn room(&self, memory: u64) -> Room {
        Room { memory, disk: Arc::new(self.clone()) }
    }

    /// From now on there is room for so many writes.
    pub fn set(&self, writes: i64) {
        self.0.store(writes, Ordering::SeqCst);
    }

    /// How many writes there is still room for; below zero, how many failed.
    pub fn left(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Disk for Filling {
    fn file(&self, folder: &Path) -> io::Result<Box<dyn Nameless>> {
        Ok(Box::new(File { inner: System.file(folder)?, disk: self.clone() }))
    }
}

struct File {
    inner: Box<dyn Nameless>,
    disk: Filling,
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.disk.0.fetch_sub(1, Ordering::SeqCst) {
            left if left > 0 => self.inner.write(bytes),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Read for File {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
