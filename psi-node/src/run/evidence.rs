//! The evidence file in the making: the masked and evaluated bytes of finished steps, where the terms want them kept.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use psi_core::{
    evidence::{self, EvidenceChunk},
    key::Role,
    merkle,
    transcript::{Answered, Transcript},
};

use crate::{
    durable::{self, NewFile},
    fault::{Code, Fault, disk::storage},
};

const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];

/// The file in the making.
pub(super) struct Evidence {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Evidence {
    fn create(path: &Path) -> Result<Self, Fault> {
        let file = durable::create_private(path).map_err(|error| storage(path, &error))?;
        let mut evidence = Self { file: BufWriter::with_capacity(1 << 20, file), path: path.into() };
        evidence.write(evidence::TITLE)?;
        Ok(evidence)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file.write_all(bytes).map_err(|error| storage(&self.path, &error))
    }

    /// What was written, to be made durable while more is written.
    pub(super) fn written(&mut self) -> Result<Written, Fault> {
        let file = self.file.flush().and_then(|()| self.file.get_ref().try_clone());
        let file = file.map_err(|error| storage(&self.path, &error))?;
        Ok(Written { file, path: self.path.clone() })
    }

    pub(super) fn finish(self) -> Result<(), Fault> {
        let Self { file, path } = self;
        let synced =
            file.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|error| storage(&path, &error))
    }
}

/// Evidence that is in the file, but perhaps not durable.
pub(super) struct Written {
    file: File,
    path: PathBuf,
}

impl Written {
    pub(super) fn sync(&self) -> Result<(), Fault> {
        self.file.sync_data().map_err(|error| storage(&self.path, &error))
    }
}

impl Evidence {
    /// Begins the file, or goes on with one that a process left: what belongs to no step of this transcript will come again.
    pub(super) fn open(path: &Path, transcript: &Transcript) -> Result<Self, Fault> {
        match path.exists() {
            true => Self::reopen(path, transcript),
            false => Self::create(path),
        }
    }

    fn reopen(path: &Path, transcript: &Transcript) -> Result<Self, Fault> {
        let failed = |error: std::io::Error| storage(path, &error);
        let sides = transcript.steps.iter().flat_map(|step| ROLES.into_iter().zip(&step.record.sides));
        let mut due: HashMap<(u8, u16, u32), &Answered> = sides
            .flat_map(|(role, side)| side.iter().map(move |a| ((role.code(), a.list, a.index), a)))
            .collect();
        let mut input = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
        let mut output = BufWriter::with_capacity(1 << 20, NewFile::create(path).map_err(failed)?);
        output.write_all(evidence::TITLE).map_err(failed)?;
        // The file may end anywhere after what was made durable with the last step, also in its title.
        let titled = input.read_exact(&mut vec![0; evidence::TITLE.len()]).is_ok();
        while titled && let Ok(Some(chunk)) = EvidenceChunk::read_from(&mut input) {
            let key = (chunk.role.code(), chunk.list, chunk.index);
            let same = |answered: &&Answered| {
                merkle::leaf_hash(&chunk.masked) == answered.masked
                    && merkle::leaf_hash(&chunk.answers) == answered.answers
            };
            if due.get(&key).is_some_and(same) {
                due.remove(&key);
                output.write_all(&chunk.encode()).map_err(failed)?;
            }
        }
        if let Some((_, list, index)) = due.keys().next() {
            let message = format!("{}: list {list}, chunk {index} is missing or changed", path.display());
            return Err(Fault::new(Code::State, message));
        }
        output.into_inner().map_err(|error| failed(error.into_error()))?.commit_over().map_err(failed)?;
        let file = File::options().append(true).open(path).map_err(failed)?;
        Ok(Self { file: BufWriter::with_capacity(1 << 20, file), path: path.into() })
    }
}
