//! From what a row says to the bytes that are compared: canonicalisation profiles (PROTOCOL.md, "Identifiers").
//!
//! Private set intersection compares bytes, so two spellings of one person are a silent miss. A [`Profile`] folds
//! every spelling that it knows into one, and refuses whatever it doesn't know. Its name and version are part of the
//! terms and of the hash. A check can refuse or warn; it never alters the output.
//!
//! One file a profile, one line in `PROFILES`. Unicode is pinned to 16.0 (see `identifier/unicode.rs`).

mod bankcard;
mod cn_mobile;
mod cn_name;
mod cn_rid;
mod cn_uscc;
mod email;
mod fold;
mod qq;
mod set;
mod text;
mod unicode;
mod wechat;

use std::fmt;
use std::str::FromStr;

pub use set::{BuildError, CanonicalSet, Row, SetBuilder, SetError};

/// The longest canonical identifier, in bytes.
pub const MAX_CANONICAL: usize = 1024;

/// A canonicalisation rule with its version, for example `cn.mobile/1`.
#[derive(Clone, Copy)]
pub struct Profile(&'static Entry);

/// What a profile says of one cell: accepted, accepted with a remark, or refused.
pub type Verdict = Result<Option<Warning>, Reject>;

struct Entry {
    id: &'static str,
    /// How many identifiers the profile can tell apart, where that is a number worth printing.
    space: Option<u64>,
    /// Appends the canonical bytes of a cell to an empty buffer.
    canonicalise: fn(&str, &mut Vec<u8>) -> Verdict,
}

static PROFILES: [Entry; 9] = [
    Entry { id: "cn.mobile/1", space: Some(7_000_000_000), canonicalise: cn_mobile::canonicalise },
    Entry { id: "cn.rid/1", space: None, canonicalise: cn_rid::canonicalise },
    Entry { id: "cn.uscc/1", space: None, canonicalise: cn_uscc::canonicalise },
    Entry { id: "bankcard/1", space: None, canonicalise: bankcard::canonicalise },
    Entry { id: "wechat/1", space: None, canonicalise: wechat::canonicalise },
    Entry { id: "qq/1", space: Some(99_999_990_000), canonicalise: qq::canonicalise },
    Entry { id: "email/1", space: None, canonicalise: email::canonicalise },
    Entry { id: "text/1", space: None, canonicalise: text::canonicalise },
    Entry { id: "cn.name/1", space: None, canonicalise: cn_name::canonicalise },
];

impl Profile {
    /// Every profile of this version, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Profile> {
        PROFILES.iter().map(Profile)
    }

    /// Looks up `cn.mobile/1` and its like; the version is part of the name and never guessed.
    pub fn parse(id: &str) -> Result<Profile, UnknownProfile> {
        Profile::all().find(|profile| profile.id() == id).ok_or_else(|| UnknownProfile::new(id))
    }

    /// Name and version as they stand in the terms and in the hash.
    pub fn id(self) -> &'static str {
        self.0.id
    }

    /// How many different identifiers the profile admits, where that is known and small enough to be tried out.
    pub fn space(self) -> Option<u64> {
        self.0.space
    }

    /// Replaces the content of `out` by the canonical form of `raw`: 1 to [`MAX_CANONICAL`] bytes of UTF-8.
    ///
    /// After a refusal the content of `out` is unspecified.
    pub fn canonicalise(self, raw: &str, out: &mut Vec<u8>) -> Verdict {
        out.clear();
        let warning = (self.0.canonicalise)(raw, out)?;
        match out.len() {
            0 => Err(Reject::Empty),
            1..=MAX_CANONICAL => Ok(warning),
            got => Err(Reject::TooLong { got }),
        }
    }
}

impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Profile {}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({})", self.id())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        Profile::parse(id)
    }
}

/// No profile has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile {asked:?}, the nearest known one is {nearest:?}")]
pub struct UnknownProfile {
    /// The name that was asked for.
    pub asked: String,
    /// The known name that differs least from it.
    pub nearest: &'static str,
}

impl UnknownProfile {
    fn new(asked: &str) -> Self {
        let asked: String = asked.chars().take(64).collect();
        let nearest = Profile::all().map(Profile::id).min_by_key(|known| strsim::levenshtein(known, &asked));
        Self { nearest: nearest.expect("the table of profiles is not empty"), asked }
    }
}

/// Why a cell is no identifier of the profile. Says where and how, never what the cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// Nothing is left once white space and invisible characters are gone.
    #[error("empty")]
    Empty,
    /// A code point that Unicode 16.0 doesn't assign; its canonical form could change.
    #[error("character {position} is not assigned in Unicode 16.0")]
    Unassigned {
        /// Counted in characters of the cell, from 1.
        position: usize,
    },
    /// A character that the profile doesn't allow, or not there.
    #[error("character {position} is not allowed")]
    BadCharacter {
        /// Counted in characters of the cell, from 1.
        position: usize,
    },
    /// Too few or too many characters.
    #[error("wrong length: expected {expected}, got {got}")]
    BadLength {
        /// Characters left after folding.
        got: usize,
        /// For example `12 to 19 digits`.
        expected: &'static str,
    },
    /// The right length, but it can't start like this.
    #[error("wrong start: expected {expected}")]
    BadStart {
        /// For example `13 to 19`.
        expected: &'static str,
    },
    /// The last character doesn't follow from the others.
    #[error("wrong check digit")]
    BadCheckDigit,
    /// The date inside is not in the calendar.
    #[error("not a date of the calendar")]
    BadDate,
    /// A 15-digit resident ID with one of the sequence numbers 996 to 999, whose century is not 19.
    #[error("reserved sequence number: the century is unknown")]
    ReservedSequence,
    /// Not exactly one `@`.
    #[error("expected one @, got {got}")]
    AtSigns {
        /// How many there are.
        got: usize,
    },
    /// The part behind the `@` is no domain name.
    #[error("not a domain name")]
    BadDomain,
    /// The canonical form is longer than [`MAX_CANONICAL`].
    #[error("too long: at most 1024 bytes, got {got}")]
    TooLong {
        /// Bytes of the canonical form.
        got: usize,
    },
    /// A spreadsheet turned the digits into a rounded number (`1.23E+17`): the rest is lost.
    #[error("a number rounded by a spreadsheet, its last digits are lost")]
    RoundedNumber,
}

impl Reject {
    /// A stable name for counting, free of positions and lengths.
    pub fn reason(self) -> &'static str {
        match self {
            Reject::Empty => "empty",
            Reject::Unassigned { .. } => "unassigned-character",
            Reject::BadCharacter { .. } => "bad-character",
            Reject::BadLength { .. } => "bad-length",
            Reject::BadStart { .. } => "bad-start",
            Reject::BadCheckDigit => "bad-check-digit",
            Reject::BadDate => "bad-date",
            Reject::ReservedSequence => "reserved-sequence",
            Reject::AtSigns { .. } => "at-signs",
            Reject::BadDomain => "bad-domain",
            Reject::TooLong { .. } => "too-long",
            Reject::RoundedNumber => "rounded-number",
        }
    }
}

/// A remark on an accepted cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The check digit is wrong, which is known to happen with identifiers that were really issued.
    #[error("wrong check digit")]
    CheckDigit,
}

impl Warning {
    /// A stable name for counting.
    pub fn reason(self) -> &'static str {
        match self {
            Warning::CheckDigit => "check-digit",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn canonical(id: &str, raw: &str) -> Result<(String, Option<Warning>), Reject> {
        let mut out = b"left over".to_vec();
        let warning = Profile::parse(id).unwrap().canonicalise(raw, &mut out)?;
        Ok((String::from_utf8(out).unwrap(), warning))
    }

    pub(crate) fn accepts(id: &str, raw: &str, expected: &str) {
        assert_eq!(canonical(id, raw), Ok((expected.into(), None)), "{raw:?}");
    }

    pub(crate) fn warns(id: &str, raw: &str, expected: &str) {
        assert_eq!(canonical(id, raw), Ok((expected.into(), Some(Warning::CheckDigit))), "{raw:?}");
    }

    pub(crate) fn rejects(id: &str, raw: &str, expected: Reject) {
        assert_eq!(canonical(id, raw), Err(expected), "{raw:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::testing::canonical;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_profile_is_found_by_its_own_name_only() {
        for profile in Profile::all() {
            assert_eq!(Profile::parse(profile.id()), Ok(profile));
            assert_eq!(profile.id().matches('/').count(), 1);
        }
        let ids: std::collections::HashSet<_> = Profile::all().map(Profile::id).collect();
        assert_eq!(ids.len(), PROFILES.len());
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_one() {
        let error = "cn.mobil".parse::<Profile>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown profile \"cn.mobil\", the nearest known one is \"cn.mobile/1\""
        );
        assert_eq!(Profile::parse("cn.mobile/2").unwrap_err().nearest, "cn.mobile/1");
    }

    #[test]
    fn nothing_and_too_much_are_refused_by_all() {
        for profile in Profile::all() {
            for blank in ["", " ", "\u{3000}\t\u{feff}", "\u{200b}\u{2060}"] {
                assert_eq!(canonical(profile.id(), blank), Err(Reject::Empty), "{profile}");
            }
            assert!(canonical(profile.id(), &"1".repeat(1025)).is_err(), "{profile}");
        }
        assert_eq!(canonical("text/1", &"1".repeat(1025)), Err(Reject::TooLong { got: 1025 }));
    }

    #[test]
    fn unassigned_code_points_are_refused_by_all() {
        for profile in Profile::all() {
            assert_eq!(canonical(profile.id(), "1\u{378}"), Err(Reject::Unassigned { position: 2 }));
        }
    }

    /// Cells made of what real ones and hostile ones are made of.
    fn cell() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[0-9]{1,8}",
            2 => "[a-zA-Z]{1,4}",
            2 => "[-+(). @_/\u{3000}\u{200b}\u{ff10}-\u{ff19}\u{ff21}-\u{ff3a}·•]{1,3}",
            1 => "[\u{80}-\u{24f}\u{300}-\u{36f}\u{1100}-\u{11ff}\u{3040}-\u{30ff}\u{4e00}-\u{4eff}]{1,4}",
            1 => any::<char>().prop_map(String::from),
            1 => Just("+86".to_owned()),
            1 => Just("13912345678".to_owned()),
            1 => Just("11010519491231002X".to_owned()),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn canonical_forms_are_fixed_points(raw in cell()) {
            for profile in Profile::all() {
                if let Ok((first, warning)) = canonical(profile.id(), &raw) {
                    prop_assert_eq!(canonical(profile.id(), &first), Ok((first.clone(), warning)), "{}", profile);
                }
            }
        }

        #[test]
        fn any_text_is_judged_without_a_panic(raw in ".{0,40}") {
            for profile in Profile::all() {
                if let Ok((first, warning)) = canonical(profile.id(), &raw) {
                    prop_assert_eq!(canonical(profile.id(), &first), Ok((first.clone(), warning)), "{}", profile);
                }
            }
        }

        #[test]
        fn reasons_never_repeat_the_cell(raw in "[0-9]{5,30}") {
            for profile in Profile::all() {
                if let Err(reject) = canonical(profile.id(), &raw) {
                    let shown = format!("{reject} {reject:?}");
                    prop_assert!(!shown.contains(&raw));
                }
            }
        }

        #[test]
        fn wide_and_spaced_digits_are_the_same_person(digits in "[1-9][0-9]{10,17}", gap in 0usize..10) {
            let wide: String = digits.chars().map(|c| char::from_u32(c as u32 - 0x30 + 0xff10).unwrap()).collect();
            let mut spaced = digits.clone();
            spaced.insert_str(gap, "\u{3000}\u{200d} ");
            for id in ["cn.mobile/1", "cn.rid/1", "cn.uscc/1", "bankcard/1", "qq/1"] {
                let plain = canonical(id, &digits);
                prop_assert_eq!(&canonical(id, &wide), &plain, "{}", id);
                prop_assert_eq!(&canonical(id, &spaced), &plain, "{}", id);
            }
        }
    }
}
