//! Checking a run's folder offline.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::Path,
};

use psi_core::{
    evidence::{self, EvidenceChunk},
    signature::PublicKey,
    verify::{self, Report},
};

use crate::{
    fault::{Code, Fault},
    runs::{EVIDENCE, STATEMENT, TRANSCRIPT},
};

/// Files above this are no statement or transcript of any session that this version can run.
const MAX_BYTES: u64 = 1 << 30;

/// Checks a run's folder; `pins` are the keys of the two institutions, in any order.
///
/// # Errors
/// [`Code::Verification`] if statement or transcript can't be read at all; what they say is in the report.
pub fn verify(folder: &Path, pins: Option<[PublicKey; 2]>) -> Result<Report, Fault> {
    let note = read(&folder.join(STATEMENT))?;
    let transcript = read(&folder.join(TRANSCRIPT))?;
    let path = folder.join(EVIDENCE);
    if !path.exists() {
        return Ok(verify::verify(&note, &transcript, pins, None));
    }
    let mut chunks = Chunks::open(&path)?;
    Ok(verify::verify(&note, &transcript, pins, Some(&mut chunks)))
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Fault::new(Code::Verification, format!("{}: {error}", path.display()))
    };
    let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(unreadable(&"not a file that a run leaves"));
    }
    fs::read(path).map_err(|error| unreadable(&error))
}

/// The records of an evidence file.
struct Chunks {
    file: BufReader<File>,
    /// After a record that can't be read there is nothing to go on with.
    over: bool,
    titled: bool,
}

impl Chunks {
    fn open(path: &Path) -> Result<Self, Fault> {
        let unreadable = |error| Fault::new(Code::Verification, format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(unreadable)?;
        Ok(Self { file: BufReader::with_capacity(1 << 20, file), over: false, titled: false })
    }

    fn title(&mut self) -> std::io::Result<()> {
        if self.titled {
            return Ok(());
        }
        self.titled = true;
        let mut title = vec![0; evidence::TITLE.len()];
        self.file.read_exact(&mut title)?;
        let other = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not an evidence file");
        if title == evidence::TITLE { Ok(()) } else { Err(other()) }
    }
}

impl Iterator for Chunks {
    type Item = Result<EvidenceChunk, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let read = self.title().and_then(|()| EvidenceChunk::read_from(&mut self.file)).transpose()?;
        self.over = read.is_err();
        Some(read.map_err(|error| format!("evidence: {error}")))
    }
}
