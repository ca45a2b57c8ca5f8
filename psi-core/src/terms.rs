//! The agreement of the two parties, in clear: both send it in their Hello, and it must be the same.
//!
//! A party's own policy may be stricter; it stays with the party and is not part of the protocol.

use crate::{
    error::Incompatible,
    identifier::Profile,
    plan::MAX_ITEMS,
    suite::SuiteId,
    wire::{Malformed, Reader, Writer},
};

/// The most lists (identifier types) in one session.
pub const MAX_LISTS: usize = 16;

/// Who learns what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Both learn the intersection.
    Mutual,
}

impl Output {
    /// The name in configurations and statements.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mutual => "mutual",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Mutual => 1,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        (code == 1).then_some(Self::Mutual)
    }
}

/// What both parties agreed to; equal on both sides, or there is no exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The group and the hash.
    pub suite: SuiteId,
    /// Who learns what.
    pub output: Output,
    /// Whether every answer carries a proof that it was multiplied by the committed key.
    pub proved: bool,
    /// The identifier type of each list.
    pub profiles: Vec<Profile>,
    /// The fewest items that either list may have.
    pub min_items: u64,
    /// The most items that either list may have.
    pub max_items: u64,
    /// The most runs in a day.
    pub max_runs_per_day: u32,
    /// Days that both keep the masked and evaluated bytes beside the transcript; 0 for not at all.
    pub evidence_days: u32,
    /// Whether both commit to their lists so that an auditor can have them opened later.
    pub openable: bool,
}

impl Terms {
    /// The first field in which `theirs` differs, as the error both sides show.
    pub fn agree(&self, theirs: &Self) -> Result<(), Incompatible> {
        let differing = self.fields().into_iter().zip(theirs.fields()).find(|(ours, theirs)| ours != theirs);
        match differing {
            None => Ok(()),
            Some(((field, ours), (_, theirs))) => Err(Incompatible::Terms { field, ours, theirs }),
        }
    }

    /// Whether lists of so many items, one a profile, are within the terms; `side` is `our` or `the peer's`.
    ///
    /// # Errors
    /// [`Incompatible::Items`], with the first list that is not.
    pub fn allow(&self, side: &'static str, items: &[u64]) -> Result<(), Incompatible> {
        let (min, max) = (self.min_items, self.max_items.min(MAX_ITEMS));
        let mut lists = self.profiles.iter().zip(items);
        match lists.find(|(_, items)| !(min..=max).contains(*items)) {
            None => Ok(()),
            Some((profile, &items)) => {
                Err(Incompatible::Items { side, profile: profile.id().to_owned(), items, min, max })
            }
        }
    }

    /// Every field with its value as text, in the order of the statement.
    pub(crate) fn fields(&self) -> [(&'static str, String); 9] {
        let profiles: Vec<&str> = self.profiles.iter().map(|profile| profile.id()).collect();
        [
            ("suite", self.suite.name().to_owned()),
            ("output", self.output.name().to_owned()),
            ("proved", yes_no(self.proved).to_owned()),
            ("profiles", profiles.join(" ")),
            ("min-items", self.min_items.to_string()),
            ("max-items", self.max_items.to_string()),
            ("max-runs-per-day", self.max_runs_per_day.to_string()),
            ("evidence-days", self.evidence_days.to_string()),
            ("openable", yes_no(self.openable).to_owned()),
        ]
    }

    pub(crate) fn write(&self, writer: Writer) -> Writer {
        writer
            .u16(self.suite.code())
            .u8(self.output.code())
            .u8(self.proved.into())
            .list(&self.profiles, |writer, profile| writer.text(profile.id()))
            .u64(self.min_items)
            .u64(self.max_items)
            .u32(self.max_runs_per_day)
            .u32(self.evidence_days)
            .u8(self.openable.into())
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let suite = SuiteId::from_code(reader.u16("suite")?);
        let suite = reader.known(suite, "suite")?;
        let output = Output::from_code(reader.u8("output")?);
        Ok(Self {
            suite,
            output: reader.known(output, "output")?,
            proved: reader.flag("proved")?,
            profiles: read_profiles(reader)?,
            min_items: reader.u64("min-items")?,
            max_items: reader.u64("max-items")?,
            max_runs_per_day: reader.u32("max-runs-per-day")?,
            evidence_days: reader.u32("evidence-days")?,
            openable: reader.flag("openable")?,
        })
    }
}

pub(crate) fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// At least one, none twice.
fn read_profiles(reader: &mut Reader<'_>) -> Result<Vec<Profile>, Malformed> {
    let profiles = reader.list(MAX_LISTS, "profiles", read_profile)?;
    let twice = profiles.iter().enumerate().any(|(at, profile)| profiles[..at].contains(profile));
    if profiles.is_empty() || twice { Err(reader.malformed("profiles")) } else { Ok(profiles) }
}

fn read_profile(reader: &mut Reader<'_>) -> Result<Profile, Malformed> {
    let name = reader.text("profile")?;
    reader.known(Profile::parse(&name).ok(), "profile")
}
