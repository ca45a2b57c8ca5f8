//! From what a row says to the bytes that are compared: canonicalisation profiles (PROTOCOL.md, "Identifiers").
//!
//! Private set intersection compares bytes, so two spellings of one person are a silent miss. A [`Rule`] folds every
//! spelling of a cell that it knows into one, and refuses whatever it doesn't know. A [`Profile`] is one rule, or two to
//! four for as many cells. Its name, with the versions, is part of the terms and of the hash. A check can refuse or
//! warn; it never alters the output.
//!
//! One file a rule, one line in `RULES`. Unicode is pinned to 16.0 (see `identifier/unicode.rs`).

mod bankcard;
mod cn_mobile;
mod cn_name;
mod cn_rid;
mod cn_uscc;
mod damage;
mod email;
mod fold;
mod profile;
mod qq;
mod set;
mod text;
mod unicode;
mod wechat;

use std::fmt;

pub use profile::{BadCell, MAX_PARTS, Profile, ProfileError, Remark};
pub use set::{BuildError, CanonicalSet, Row, SetBuilder, SetDigest, SortedRows};

/// The longest canonical identifier, in bytes.
pub const MAX_CANONICAL: usize = 1024;

/// How one cell becomes canonical, with its version: `cn.mobile/1`.
#[derive(Clone, Copy)]
pub struct Rule(&'static Entry);

/// What a rule says of one cell: accepted, accepted with a remark, or refused.
pub type Verdict = Result<Option<Warning>, Reject>;

struct Entry {
    id: &'static str,
    /// How many identifiers the rule can tell apart, where that is a number worth printing.
    space: Option<u64>,
    /// Whether its cells alone tell people apart.
    alone: bool,
    /// Appends the canonical bytes of a cell.
    canonicalise: fn(&str, &mut Vec<u8>) -> Verdict,
}

static RULES: [Entry; 9] = [
    Entry {
        id: "cn.mobile/1",
        space: Some(7_000_000_000),
        alone: true,
        canonicalise: cn_mobile::canonicalise,
    },
    Entry { id: "cn.rid/1", space: None, alone: true, canonicalise: cn_rid::canonicalise },
    Entry { id: "cn.uscc/1", space: None, alone: true, canonicalise: cn_uscc::canonicalise },
    Entry { id: "bankcard/1", space: None, alone: true, canonicalise: bankcard::canonicalise },
    Entry { id: "wechat/1", space: None, alone: true, canonicalise: wechat::canonicalise },
    Entry { id: "qq/1", space: Some(99_999_990_000), alone: true, canonicalise: qq::canonicalise },
    Entry { id: "email/1", space: None, alone: true, canonicalise: email::canonicalise },
    Entry { id: "text/1", space: None, alone: true, canonicalise: text::canonicalise },
    Entry { id: "cn.name/1", space: None, alone: false, canonicalise: cn_name::canonicalise },
];

impl Rule {
    /// Every rule of this version, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Rule> {
        RULES.iter().map(Rule)
    }

    /// Looks up `cn.mobile/1` and its like; the version is part of the name and never guessed.
    pub fn find(id: &str) -> Option<Rule> {
        Rule::all().find(|rule| rule.id() == id)
    }

    /// Name and version.
    pub fn id(self) -> &'static str {
        self.0.id
    }

    /// How many different identifiers the rule admits, where that is known and small enough to be tried out.
    pub fn space(self) -> Option<u64> {
        self.0.space
    }

    /// Whether it makes a profile on its own. Too many people share a name: `cn.name/1` only does with another rule.
    pub fn stands_alone(self) -> bool {
        self.0.alone
    }

    /// Whether zeros at the start belong to the identifier, so that a number can't hold it.
    pub fn keeps_zeros(self) -> bool {
        self.id() == "text/1"
    }

    /// Replaces the content of `out` by the canonical form of `raw`: 1 to [`MAX_CANONICAL`] bytes of UTF-8.
    ///
    /// After a refusal the content of `out` is unspecified.
    pub fn canonicalise(self, raw: &str, out: &mut Vec<u8>) -> Verdict {
        out.clear();
        self.append(raw, out)
    }

    /// The same, behind what `out` holds already.
    fn append(self, raw: &str, out: &mut Vec<u8>) -> Verdict {
        let start = out.len();
        let verdict = (self.0.canonicalise)(raw, out);
        let warning = verdict.map_err(|reject| damage::named(raw).unwrap_or(reject))?;
        match out.len() - start {
            0 => Err(Reject::Empty),
            1..=MAX_CANONICAL => Ok(warning),
            got => Err(Reject::TooLong { got }),
        }
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Rule {}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({})", self.id())
    }
}

/// Why a rule refuses a cell. Says where and how, never what the cell holds.
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
    /// A character that the rule doesn't allow, or not there.
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
    /// `13912345678.0`: a program took the identifier for a number.
    #[error("a number with a decimal point, made by a program that took the identifier for one")]
    DecimalPoint,
    /// `="13912345678"`: an export wrapped the identifier for a spreadsheet.
    #[error("a formula of a spreadsheet around the identifier")]
    Formula,
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
            Reject::DecimalPoint => "decimal-point",
            Reject::Formula => "formula",
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
mod oracles;

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn canonical(id: &str, raw: &str) -> Result<(String, Option<Warning>), Reject> {
        let mut out = b"left over".to_vec();
        let warning = Rule::find(id).unwrap().canonicalise(raw, &mut out)?;
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
    fn every_rule_is_found_by_its_own_name_only() {
        for rule in Rule::all() {
            assert_eq!(Rule::find(rule.id()), Some(rule));
            assert_eq!((rule.id().matches('/').count(), rule.id().matches('+').count()), (1, 0));
        }
        let ids: std::collections::HashSet<_> = Rule::all().map(Rule::id).collect();
        assert_eq!(ids.len(), RULES.len());
    }

    #[test]
    fn nothing_and_too_much_are_refused_by_all() {
        for rule in Rule::all() {
            for blank in ["", " ", "\u{3000}\t\u{feff}", "\u{200b}\u{2060}"] {
                assert_eq!(canonical(rule.id(), blank), Err(Reject::Empty), "{rule}");
            }
            assert!(canonical(rule.id(), &"1".repeat(1025)).is_err(), "{rule}");
        }
        assert_eq!(canonical("text/1", &"1".repeat(1025)), Err(Reject::TooLong { got: 1025 }));
    }

    #[test]
    fn unassigned_code_points_are_refused_by_all() {
        for rule in Rule::all() {
            assert_eq!(canonical(rule.id(), "1\u{378}"), Err(Reject::Unassigned { position: 2 }));
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
            for rule in Rule::all() {
                if let Ok((first, warning)) = canonical(rule.id(), &raw) {
                    prop_assert_eq!(canonical(rule.id(), &first), Ok((first.clone(), warning)), "{}", rule);
                }
            }
        }

        #[test]
        fn any_text_is_judged_without_a_panic(raw in ".{0,40}") {
            for rule in Rule::all() {
                if let Ok((first, warning)) = canonical(rule.id(), &raw) {
                    prop_assert_eq!(canonical(rule.id(), &first), Ok((first.clone(), warning)), "{}", rule);
                }
            }
        }

        #[test]
        fn reasons_never_repeat_the_cell(raw in "[0-9]{5,30}") {
            for rule in Rule::all() {
                if let Err(reject) = canonical(rule.id(), &raw) {
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
