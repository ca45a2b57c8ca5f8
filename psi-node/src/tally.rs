//! How the sessions of this process ended, for whoever watches it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{fault::Fault, report::Summary};

/// How often sessions ended in which way, by error code or `complete`; clones are one tally.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<String, u64>>>);

impl Tally {
    /// Takes note of how a session ended.
    pub fn ended(&self, session: &Result<Option<Summary>, Fault>) {
        let result = match session {
            // A peer that only took the statement of a finished run.
            Ok(None) => "shown".to_owned(),
            Ok(Some(_)) => "complete".to_owned(),
            Err(fault) => fault.code.to_string(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(result).or_default() += 1;
    }

    /// The ends so far, and how often each.
    pub fn ends(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
