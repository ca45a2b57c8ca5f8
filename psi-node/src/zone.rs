//! Time zones, by their IANA names: a job's days, dates and schedule are those of its zone. The rules are compiled in.

use std::{env, fmt, str::FromStr, sync::OnceLock};

use chrono::{
    DateTime, Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta, TimeZone,
};
use chrono_tz::{TZ_VARIANTS, Tz};
use serde::{Deserialize, Deserializer, de::Error as _};

/// The last second of the year 9999.
const MAX_TIME: u64 = 253_402_300_799;

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self(Tz::UTC);

    /// This machine's: `TZ`, else what `/etc/localtime` stands for, else UTC.
    pub fn machine() -> Self {
        static MACHINE: OnceLock<Zone> = OnceLock::new();
        *MACHINE.get_or_init(|| {
            let named = env::var("TZ").ok().and_then(|name| name.trim_start_matches(':').parse().ok());
            let set = || iana_time_zone::get_timezone().ok().and_then(|name| name.parse().ok());
            named.or_else(set).unwrap_or(Self::UTC)
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// A moment, in seconds since 1970-01-01 UTC, as clocks show it there.
    pub fn at(self, seconds: u64) -> DateTime<Tz> {
        let utc = DateTime::from_timestamp(seconds.min(MAX_TIME) as i64, 0).unwrap_or_default();
        utc.with_timezone(&self.0)
    }

    /// A moment as people and programs read it: RFC 3339 with the offset there.
    pub fn time(self, seconds: u64) -> String {
        self.at(seconds).to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// The date there: `2026-11-24`.
    pub fn date(self, seconds: u64) -> String {
        self.at(seconds).format("%Y-%m-%d").to_string()
    }

    /// When the day began there that is so many days before the one of this moment.
    pub fn day_start(self, seconds: u64, days_before: u64) -> u64 {
        let today = self.at(seconds).date_naive();
        let day = today.checked_sub_days(Days::new(days_before)).unwrap_or(NaiveDate::MIN);
        u64::try_from(self.first_moment(day)).unwrap_or(0)
    }

    /// Midnight, or where clocks skip it, the first quarter of an hour that they show.
    fn first_moment(self, day: NaiveDate) -> i64 {
        let quarters = (0..).map(|quarter| TimeDelta::minutes(15 * quarter));
        let shown = |time: NaiveDateTime| match self.0.from_local_datetime(&time) {
            LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => Some(moment.timestamp()),
            LocalResult::None => None,
        };
        let midnight = day.and_time(NaiveTime::MIN);
        // The longest time that clocks ever skipped is a day.
        let found =
            quarters.take(4 * 25).find_map(|after| midnight.checked_add_signed(after).and_then(shown));
        found.unwrap_or_else(|| midnight.and_utc().timestamp())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No time zone has that name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no time zone {name:?}; the nearest is {nearest:?}")]
pub struct UnknownZone {
    name: String,
    nearest: &'static str,
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        name.parse().map(Self).map_err(|_| {
            let distance = |zone: &&str| strsim::levenshtein(&zone.to_lowercase(), &name.to_lowercase());
            let nearest = TZ_VARIANTS.iter().map(|zone| zone.name()).min_by_key(distance).unwrap_or("UTC");
            UnknownZone { name: name.chars().take(64).collect(), nearest }
        })
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        name.parse().unwrap()
    }

    /// Seconds since 1970 of a moment in RFC 3339.
    fn moment(text: &str) -> u64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp() as u64
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let late = moment("2026-11-24T18:30:00Z");
        let shanghai = zone("Asia/Shanghai");
        assert_eq!((Zone::UTC.date(late), shanghai.date(late)), ("2026-11-24".into(), "2026-11-25".into()));
        assert_eq!(shanghai.time(late), "2026-11-25T02:30:00+08:00");
        assert_eq!(shanghai.day_start(late, 0), moment("2026-11-25T00:00:00+08:00"));
        assert_eq!(shanghai.day_start(late, 364), moment("2025-11-26T00:00:00+08:00"));
    }

    #[test]
    fn a_day_begins_when_its_first_moment_is_shown() {
        let cases = [
            // Clocks went from 24:00 to 01:00.
            ("America/Sao_Paulo", "2018-11-04T12:00:00-02:00", "2018-11-04T01:00:00-02:00"),
            // They went from 24:00 back to 23:00: midnight came once.
            ("America/Sao_Paulo", "2018-02-18T12:00:00-03:00", "2018-02-18T00:00:00-03:00"),
            // They went from 01:00 back to 00:00: the first of two midnights.
            ("America/Havana", "2026-11-01T12:00:00-05:00", "2026-11-01T00:00:00-04:00"),
            // A day of 23 hours, and one of 25.
            ("Europe/Berlin", "2026-03-29T23:00:00+02:00", "2026-03-29T00:00:00+01:00"),
            ("Europe/Berlin", "2026-10-25T23:00:00+01:00", "2026-10-25T00:00:00+02:00"),
        ];
        for (name, now, start) in cases {
            assert_eq!(zone(name).time(zone(name).day_start(moment(now), 0)), start, "{name}");
        }
        // The 30th of December 2011 was left out altogether.
        let apia = zone("Pacific/Apia");
        let after = moment("2011-12-31T10:00:00+14:00");
        assert_eq!(apia.day_start(after, 1), apia.day_start(after, 0));
    }

    #[test]
    fn moments_beyond_the_calendar_are_its_ends() {
        assert_eq!(zone("Asia/Shanghai").day_start(0, 0), 0);
        assert_eq!(Zone::UTC.date(u64::MAX), "9999-12-31");
        assert_eq!(Zone::UTC.day_start(5, u64::MAX), 0);
    }

    #[test]
    fn an_unknown_zone_gets_the_nearest_name() {
        let error = "Asia/Shanghi".parse::<Zone>().unwrap_err().to_string();
        assert_eq!(error, "no time zone \"Asia/Shanghi\"; the nearest is \"Asia/Shanghai\"");
        assert!("".parse::<Zone>().is_err());
    }
}
