//! Profiles: the type of a list's identifiers, one rule or two to four (PROTOCOL.md, "Identifiers").
//!
//! ```text
//! cn.mobile/1               the rule's bytes
//! cn.name/1+cn.mobile/1     length (2) ‖ bytes of the name ‖ length (2) ‖ bytes of the number
//! ```
//!
//! Lengths, and no delimiter: different cells never give the same bytes, whatever is in them.

use std::fmt;
use std::str::FromStr;

use super::{MAX_CANONICAL, Reject, Rule, Warning};

/// The most rules in one profile.
pub const MAX_PARTS: usize = 4;

const JOINT: char = '+';

/// The type of a list's identifiers: `cn.mobile/1`, or `cn.name/1+cn.mobile/1` over two cells of a row.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    id: String,
    parts: Vec<Rule>,
}

impl Profile {
    /// Reads one rule's name, or up to [`MAX_PARTS`] with `+` between them; their order matters.
    ///
    /// # Errors
    /// [`ProfileError`], with the nearest name for one that is unknown.
    pub fn parse(id: &str) -> Result<Self, ProfileError> {
        let names: Vec<&str> = id.split(JOINT).collect();
        if names.len() > MAX_PARTS {
            return Err(ProfileError::TooManyParts { got: names.len() });
        }
        let known = |name: &&str| Rule::find(name).ok_or_else(|| ProfileError::unknown(name));
        let parts = names.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        match parts.iter().any(|rule| rule.stands_alone()) {
            true => Ok(Self { id: id.to_owned(), parts }),
            false => Err(ProfileError::NotAlone { part: parts[0].id() }),
        }
    }

    /// Its name with every version, as it stands in the terms and in the hash.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The rules of its cells, in order: 1 to [`MAX_PARTS`].
    pub fn parts(&self) -> &[Rule] {
        &self.parts
    }

    /// How many different identifiers it admits, where that is known and small enough to be tried out.
    pub fn space(&self) -> Option<u64> {
        match self.parts[..] {
            [rule] => rule.space(),
            _ => None,
        }
    }

    /// Replaces the content of `out` by the canonical identifier in `cells`, of which there is one a part: 1 to
    /// [`MAX_CANONICAL`] bytes. A cell that isn't there is empty.
    ///
    /// # Errors
    /// The first cell that is refused; the content of `out` is unspecified then.
    pub fn canonicalise(
        &self,
        cells: &[impl AsRef<str>],
        out: &mut Vec<u8>,
    ) -> Result<Option<Remark>, BadCell> {
        debug_assert_eq!(cells.len(), self.parts.len(), "one cell a part");
        let cell = |part: usize| cells.get(part).map_or("", AsRef::as_ref);
        if let [rule] = self.parts[..] {
            let warning = rule.canonicalise(cell(0), out).map_err(|reject| BadCell { part: 0, reject })?;
            return Ok(warning.map(|warning| Remark { part: 0, warning }));
        }
        out.clear();
        let mut remark = None;
        for (part, rule) in self.parts.iter().enumerate() {
            let warning = append(*rule, cell(part), out).map_err(|reject| BadCell { part, reject })?;
            remark = remark.or(warning.map(|warning| Remark { part, warning }));
        }
        Ok(remark)
    }
}

/// Appends a part behind its length; all parts so far must fit.
fn append(rule: Rule, cell: &str, out: &mut Vec<u8>) -> Result<Option<Warning>, Reject> {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    let warning = rule.append(cell, out)?;
    let length = (out.len() - start - 2) as u16;
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
    if out.len() > MAX_CANONICAL { Err(Reject::TooLong { got: out.len() }) } else { Ok(warning) }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({})", self.id)
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        Profile::parse(id)
    }
}

/// Which of a row's cells was refused, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reject}")]
pub struct BadCell {
    /// Place of the cell's rule in the profile, from 0.
    pub part: usize,
    /// What is wrong with it.
    pub reject: Reject,
}

/// Which of a row's cells was remarked on, and why; the first, if several were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remark {
    /// Place of the cell's rule in the profile, from 0.
    pub part: usize,
    /// What is odd about it.
    pub warning: Warning,
}

/// Not the name of a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No rule has this name.
    #[error("unknown profile {asked:?}, the nearest known one is {nearest:?}")]
    Unknown {
        /// The name that was asked for.
        asked: String,
        /// The known name that differs least from it.
        nearest: &'static str,
    },
    /// More rules than a profile takes.
    #[error("expected at most 4 profiles joined by +, got {got}")]
    TooManyParts {
        /// How many there are.
        got: usize,
    },
    /// Nothing but names, which too many people share.
    #[error(
        "{part} is never a key alone, too many people share a name: expected another profile with it, as in cn.name/1+cn.mobile/1"
    )]
    NotAlone {
        /// The rule that doesn't stand alone.
        part: &'static str,
    },
}

impl ProfileError {
    fn unknown(asked: &str) -> Self {
        let asked: String = asked.chars().take(64).collect();
        let nearest = Rule::all().map(Rule::id).min_by_key(|known| strsim::levenshtein(known, &asked));
        Self::Unknown { nearest: nearest.expect("the table of rules is not empty"), asked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(id: &str) -> Profile {
        Profile::parse(id).unwrap()
    }

    fn canonical(id: &str, cells: &[&str]) -> Result<(Vec<u8>, Option<Remark>), BadCell> {
        let mut out = b"left over".to_vec();
        let remark = profile(id).canonicalise(cells, &mut out)?;
        Ok((out, remark))
    }

    #[test]
    fn every_rule_that_stands_alone_is_a_profile() {
        for rule in Rule::all().filter(|rule| rule.stands_alone()) {
            let profile = profile(rule.id());
            assert_eq!(
                (profile.id(), profile.parts(), profile.space()),
                (rule.id(), &[rule][..], rule.space())
            );
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_one() {
        let error = "cn.mobil".parse::<Profile>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown profile \"cn.mobil\", the nearest known one is \"cn.mobile/1\""
        );
        for id in ["cn.mobile/2", "cn.name/1+cn.mobile", "cn.mobile/1 + qq/1", "cn.mobile/1+", "+qq/1", ""] {
            assert!(matches!(Profile::parse(id), Err(ProfileError::Unknown { .. })), "{id:?}");
        }
    }

    #[test]
    fn names_alone_are_no_key() {
        for id in ["cn.name/1", "cn.name/1+cn.name/1"] {
            let error = Profile::parse(id).unwrap_err();
            assert!(error.to_string().starts_with("cn.name/1 is never a key alone"), "{error}");
        }
        assert_eq!(profile("cn.name/1+cn.mobile/1").parts().len(), 2);
    }

    #[test]
    fn two_to_four_parts_in_their_order() {
        let four = "cn.name/1+qq/1+qq/1+text/1";
        assert_eq!(profile(four).to_string(), four);
        assert_eq!(Profile::parse("qq/1+qq/1+qq/1+qq/1+qq/1"), Err(ProfileError::TooManyParts { got: 5 }));
        assert_ne!(profile("qq/1+text/1"), profile("text/1+qq/1"));
    }

    /// The example of PROTOCOL.md.
    #[test]
    fn parts_stand_behind_their_lengths() {
        let (bytes, remark) = canonical("cn.name/1+cn.mobile/1", &[" 张 三", "+86 139-1234-5678"]).unwrap();
        assert_eq!(bytes, b"\x00\x06\xe5\xbc\xa0\xe4\xb8\x89\x00\x0b13912345678");
        assert_eq!(remark, None);
        assert_eq!(canonical("cn.mobile/1", &["13912345678"]).unwrap().0, b"13912345678");
    }

    #[test]
    fn the_cell_that_is_wrong_is_named() {
        let wrong = |cells: [&str; 2]| canonical("cn.name/1+cn.mobile/1", &cells).unwrap_err();
        assert_eq!(wrong(["张三", " "]), BadCell { part: 1, reject: Reject::Empty });
        assert_eq!(wrong(["\u{200b}", "x"]), BadCell { part: 0, reject: Reject::Empty });
        let digits = Reject::BadLength { got: 2, expected: "11 digits" };
        assert_eq!(wrong(["张三", "13"]), BadCell { part: 1, reject: digits });
        let card = canonical("qq/1+bankcard/1", &["10001", "4111111111111112"]).unwrap();
        assert_eq!(card.1, Some(Remark { part: 1, warning: Warning::CheckDigit }));
    }

    #[test]
    fn all_parts_together_are_bounded() {
        let fits = |first: usize, second: usize| {
            canonical("text/1+text/1", &[&"a".repeat(first), &"b".repeat(second)])
                .map(|(bytes, _)| bytes.len())
        };
        assert_eq!(fits(1019, 1), Ok(1024));
        assert_eq!(fits(1019, 2), Err(BadCell { part: 1, reject: Reject::TooLong { got: 1025 } }));
        assert_eq!(fits(1023, 1), Err(BadCell { part: 0, reject: Reject::TooLong { got: 1025 } }));
        assert_eq!(fits(1025, 1), Err(BadCell { part: 0, reject: Reject::TooLong { got: 1025 } }));
        assert_eq!(fits(70_000, 1), Err(BadCell { part: 0, reject: Reject::TooLong { got: 70_000 } }));
    }

    /// What the encoding says, read back by its lengths.
    fn parts(mut bytes: &[u8]) -> Vec<String> {
        let mut parts = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
            let (part, rest) = rest.split_at(u16::from_be_bytes(*length).into());
            parts.push(String::from_utf8(part.to_vec()).unwrap());
            bytes = rest;
        }
        assert!(bytes.is_empty());
        parts
    }

    fn composite() -> impl Strategy<Value = Profile> {
        let rule = prop::sample::select(Rule::all().map(Rule::id).collect::<Vec<_>>());
        let ids = prop::collection::vec(rule, 2..=MAX_PARTS);
        ids.prop_filter_map("names alone", |ids| Profile::parse(&ids.join("+")).ok())
    }

    /// What every rule takes as it is now and then, and what none takes.
    fn cell() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ab\u{0}\u{b}]{0,3}",
            ".{0,20}",
            Just("13912345678".to_owned()),
            Just("11010519491231002X".to_owned()),
            Just("91350100M000100Y43".to_owned()),
            Just("4111111111111111".to_owned()),
            "[a-c]{6,8}",
            "[a-c]{1,3}@example[.]com",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_cells_are_judged_and_canonical_ones_stay(
            profile in composite(), cells in prop::collection::vec(cell(), MAX_PARTS),
        ) {
            let mut out = Vec::new();
            if let Ok(remark) = profile.canonicalise(&cells[..profile.parts().len()], &mut out) {
                let parts = parts(&out);
                let mut again = Vec::new();
                prop_assert_eq!(profile.canonicalise(&parts, &mut again), Ok(remark));
                prop_assert_eq!(again, out);
            }
        }

        /// Cells that a bare delimiter would confuse: pieces of the same few bytes, lengths among them.
        #[test]
        fn different_cells_give_different_bytes(
            ours in prop::collection::vec("[a+\u{b7}]{1,4}", 3), theirs in prop::collection::vec("[a+\u{b7}]{1,4}", 3),
        ) {
            let bytes = |cells: &[String]| {
                let mut out = Vec::new();
                profile("text/1+text/1+text/1").canonicalise(cells, &mut out).unwrap();
                out
            };
            prop_assert_eq!(bytes(&ours) == bytes(&theirs), ours == theirs);
        }
    }
}
