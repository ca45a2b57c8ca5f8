//! What a run leaves to its owner: the matching rows, what was left out of the list, and what is known now.
//!
//! All of it is prepared before both have signed, and gets its names after: the matching rows first. A crash in between is
//! mended by doing it again.

use super::Attempt;
use crate::{
    fault::Fault,
    home::Home,
    known::Memory,
    output::{OutputError, Prepared},
};

/// What a run has prepared.
#[derive(Clone, Debug)]
pub struct Results {
    output: Prepared,
    rejects: Option<Prepared>,
    memory: Memory,
}

impl Results {
    /// Those that the record speaks of. Doesn't look whether they are there.
    ///
    /// # Errors
    /// If a path names no file.
    pub fn of(home: &Home, attempt: &Attempt) -> Result<Self, OutputError> {
        let rejects = attempt.rejects.as_deref().map(|rejects| Prepared::of(rejects, &attempt.run_id));
        Ok(Self {
            output: Prepared::of(&attempt.output, &attempt.run_id)?,
            rejects: rejects.transpose()?,
            memory: Memory::of(home, &attempt.job, &attempt.run_id, attempt.only_new),
        })
    }

    /// Gives everything its name; what has it already keeps it.
    ///
    /// # Errors
    /// Of the first that can't have its name, with where it waits.
    pub fn release(&self) -> Result<(), Fault> {
        released(&self.output, "result waits")?;
        self.memory.release()?;
        self.rejects.as_ref().map_or(Ok(()), |rejects| released(rejects, "rejected rows wait"))
    }

    /// Removes everything.
    ///
    /// # Errors
    /// Of the first that can't be removed.
    pub fn discard(&self) -> Result<(), Fault> {
        self.output.discard()?;
        self.rejects.as_ref().map_or(Ok(()), Prepared::discard)?;
        self.memory.discard()
    }
}

/// The record is complete; if this can't get its name, its owner has to know where it is.
fn released(prepared: &Prepared, what: &str) -> Result<(), Fault> {
    prepared.release().map(drop).map_err(|error| {
        let fault = Fault::from(error);
        let part = prepared.part().display();
        let message = format!("{}; both have signed, and the {what} in {part}", fault.message);
        Fault { message, ..fault }
    })
}
