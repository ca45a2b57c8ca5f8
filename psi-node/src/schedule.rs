//! When a job is due: a cron line in the job's time zone. Pure.
//!
//! Five fields: minute, hour, day of the month, month, day of the week. Where clocks skip a time, what is fixed to it is due right
//! after the gap; where they show it twice, it is due once.

use std::{fmt, str::FromStr};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use sha2::{Digest, Sha256};

use crate::zone::Zone;

/// When a job is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

impl Schedule {
    /// The first moment after `after` at which it is due, in seconds since 1970.
    pub fn next(&self, zone: Zone, after: u64) -> Option<u64> {
        let next = self.cron.find_next_occurrence(&zone.at(after), false).ok()?;
        u64::try_from(next.timestamp()).ok()
    }

    /// The last moment at which it was due, `at` included.
    pub fn latest(&self, zone: Zone, at: u64) -> Option<u64> {
        let latest = self.cron.find_previous_occurrence(&zone.at(at), true).ok()?;
        u64::try_from(latest.timestamp()).ok()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is no schedule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no schedule: {reason}")]
pub struct NoSchedule {
    text: String,
    reason: String,
}

impl FromStr for Schedule {
    type Err = NoSchedule;

    fn from_str(text: &str) -> Result<Self, NoSchedule> {
        let no = |reason: String| NoSchedule { text: text.chars().take(64).collect(), reason };
        if text.split_whitespace().count() != 5 {
            return Err(no(
                "expected five fields: minute, hour, day of the month, month, day of the week".to_owned()
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron =
            parser.parse(text).map_err(|error| no(error.to_string().trim_end_matches('.').to_owned()))?;
        let schedule = Self { text: text.to_owned(), cron };
        // Any moment will do: what isn't due within the years from there never is.
        match schedule.next(Zone::UTC, 1_700_000_000) {
            Some(_) => Ok(schedule),
            None => Err(no("there is no such day".to_owned())),
        }
    }
}

/// By how much a run starts later than it is due, so that not all nodes call at one second: up to `minutes`, the same for
/// the same seed, job and moment.
pub fn jitter(seed: &[u8], job: &str, due: u64, minutes: u32) -> u64 {
    let mut hash = Sha256::new();
    for part in [seed, job.as_bytes(), &due.to_be_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let bytes: [u8; 32] = hash.finalize().into();
    let number = bytes[..8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    number % (u64::from(minutes) * 60 + 1)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn moment(text: &str) -> u64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp() as u64
    }

    fn next(schedule: &str, zone: &str, after: &str) -> String {
        let (schedule, zone): (Schedule, Zone) = (schedule.parse().unwrap(), zone.parse().unwrap());
        zone.time(schedule.next(zone, moment(after)).unwrap())
    }

    #[test]
    fn a_night_is_that_of_the_zone() {
        let nightly = |after| next("30 2 * * *", "Asia/Shanghai", after);
        assert_eq!(nightly("2026-11-24T02:29:59+08:00"), "2026-11-24T02:30:00+08:00");
        assert_eq!(nightly("2026-11-24T02:30:00+08:00"), "2026-11-25T02:30:00+08:00");
        assert_eq!(nightly("2026-11-24T18:30:00Z"), "2026-11-26T02:30:00+08:00");
    }

    #[test]
    fn the_latest_moment_is_found_to_the_second() {
        let schedule: Schedule = "30 2 * * *".parse().unwrap();
        let zone: Zone = "Asia/Shanghai".parse().unwrap();
        let latest = |at| zone.time(schedule.latest(zone, moment(at)).unwrap());
        assert_eq!(latest("2026-11-24T02:30:00+08:00"), "2026-11-24T02:30:00+08:00");
        assert_eq!(latest("2026-11-24T02:29:59+08:00"), "2026-11-23T02:30:00+08:00");
    }

    #[test]
    fn what_clocks_skip_is_due_after_the_gap_and_what_they_repeat_once() {
        let berlin = |after| next("30 2 * * *", "Europe/Berlin", after);
        assert_eq!(berlin("2026-03-28T12:00:00+01:00"), "2026-03-29T03:00:00+02:00");
        assert_eq!(berlin("2026-03-29T03:00:00+02:00"), "2026-03-30T02:30:00+02:00");
        let first = berlin("2026-10-24T12:00:00+02:00");
        assert_eq!(first, "2026-10-25T02:30:00+02:00");
        assert_eq!(berlin(&first), "2026-10-26T02:30:00+01:00");
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (text, reason) in [
            ("30 2 * *", "expected five fields"),
            ("", "expected five fields"),
            ("0 30 2 * * *", "expected five fields"),
            ("61 2 * * *", "61"),
            ("a b c d e", ""),
            ("0 0 30 2 *", "there is no such day"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains("is no schedule: ") && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn jitter_is_bounded_and_the_same_again() {
        let of = |seed: &[u8], due| jitter(seed, "agents", due, 10);
        assert_eq!(of(b"a", 1), of(b"a", 1));
        let drawn: Vec<u64> = (0..100).map(|due| of(b"a", due)).collect();
        assert!(drawn.iter().all(|seconds| *seconds <= 600) && drawn.iter().any(|seconds| *seconds > 300));
        assert_ne!(drawn, (0..100).map(|due| of(b"b", due)).collect::<Vec<_>>());
        assert_eq!(jitter(b"a", "agents", 1, 0), 0);
    }
}
