//! What a campaign counts and measures.

use std::{collections::BTreeMap, fmt};

/// Sums of counts and all measures of the cases.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Cases that ended.
    pub(crate) cases: u64,
    /// Of those, the ones in which something was not as it must be.
    pub(crate) failed: u64,
    counts: BTreeMap<&'static str, u64>,
    seconds: BTreeMap<&'static str, Vec<f64>>,
}

impl Figures {
    pub(crate) fn count(&mut self, what: &'static str, many: usize) {
        *self.counts.entry(what).or_default() += many as u64;
    }

    pub(crate) fn took(&mut self, what: &'static str, seconds: f64) {
        self.seconds.entry(what).or_default().push(seconds);
    }

    pub(crate) fn add(&mut self, case: Self) {
        case.counts.into_iter().for_each(|(what, many)| *self.counts.entry(what).or_default() += many);
        for (what, seconds) in case.seconds {
            self.seconds.entry(what).or_default().extend(seconds);
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cases, {} failed", self.cases, self.failed)?;
        self.counts.iter().try_for_each(|(what, many)| write!(f, ", {many} {what}"))?;
        self.seconds.iter().try_for_each(|(what, seconds)| {
            let mut seconds = seconds.clone();
            seconds.sort_by(f64::total_cmp);
            let (middle, most) = (seconds[seconds.len() / 2], seconds[seconds.len() - 1]);
            write!(f, ", {what} {middle:.2} s (at most {most:.2})")
        })
    }
}
