//! Who may go on: one run of a job at a time, and one at a time that charges the ledger, across the processes of a home.
//!
//! A lease is a lock on a file (`flock`): it ends with its process, however that ends.

use std::{
    fs::{File, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use super::list;
use crate::{
    durable,
    fault::{Code, Fault},
    node::Node,
    runs::storage,
};

/// The right to run that job, as long as the file is open.
pub(super) fn job(node: &Node, job: &str) -> Result<File, Fault> {
    let (file, path) = open(node, &list::file_name(job))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Fault::new(Code::Busy, format!("job {job:?} is running already")))
        }
        Err(TryLockError::Error(error)) => Err(storage(&path, &error)),
    }
}

/// The right to charge the ledger, as long as the file is open; others have it for milliseconds.
pub(super) fn ledger(node: &Node) -> Result<File, Fault> {
    let (file, path) = open(node, "ledger")?;
    file.lock().map_err(|error| storage(&path, &error))?;
    Ok(file)
}

fn open(node: &Node, name: &str) -> Result<(File, PathBuf), Fault> {
    let folder = node.home().leases();
    let path = folder.join(format!("{name}.lock"));
    durable::create_folder(&folder).map_err(|error| storage(&folder, &error))?;
    let file = File::options().create(true).append(true).mode(0o600).open(&path);
    Ok((file.map_err(|error| storage(&path, &error))?, path))
}
