//! The first steps that profiles share: NFKC, white space, invisible characters, and where a bad character stands.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::{Reject, unicode};

/// What becomes of white space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// All of it goes.
    Strip,
    /// None at the ends, one U+0020 for each run inside.
    Collapse,
}

/// NFKC without invisible characters, white space as asked. Never empty.
pub(super) fn fold(raw: &str, space: Space) -> Result<Zeroizing<String>, Reject> {
    let folded = if raw.is_ascii() {
        spaced(raw, space)
    } else {
        assigned(raw)?;
        // What white space kept apart may compose, hence the second round.
        nfkc(&spaced(&nfkc(&visible(raw)), space))
    };
    if folded.is_empty() { Err(Reject::Empty) } else { Ok(folded) }
}

/// Compatibility composition. Stable under every Unicode version for text that passed [`assigned`].
pub(super) fn nfkc(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    out.extend(text.nfkc());
    out
}

/// Refuses code points that Unicode 16.0 doesn't assign.
pub(super) fn assigned(raw: &str) -> Result<(), Reject> {
    match raw.chars().position(|c| !unicode::is_assigned(c)) {
        Some(index) => Err(Reject::Unassigned { position: index + 1 }),
        None => Ok(()),
    }
}

/// Refuses everything but ASCII digits in `folded`; the place is the one in `raw`.
pub(super) fn only_digits(raw: &str, folded: &str, skipped: fn(char) -> bool) -> Result<(), Reject> {
    if folded.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(())
    } else {
        Err(bad_character(raw, |c| c.is_ascii_digit() || skipped(c)))
    }
}

/// Names the first character of `raw` that folds into one which is neither ignored nor allowed.
pub(super) fn bad_character(raw: &str, allowed: impl Fn(char) -> bool) -> Reject {
    let harmless = |c: char| is_invisible(c) || c.is_whitespace() || allowed(c);
    let index = raw.chars().position(|c| !std::iter::once(c).nfkc().all(harmless));
    Reject::BadCharacter { position: index.map_or(1, |index| index + 1) }
}

/// U+200B to U+200D, U+2060, U+FEFF: they show nothing and compare unequal.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

fn visible(raw: &str) -> Cow<'_, str> {
    if raw.contains(is_invisible) { raw.replace(is_invisible, "").into() } else { raw.into() }
}

fn spaced(text: &str, space: Space) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    for word in text.split_whitespace() {
        if space == Space::Collapse && !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_of_every_kind_goes_or_collapses() {
        let raw = " a\u{a0}\u{3000}b\t\r\nc\u{2028}";
        assert_eq!(*fold(raw, Space::Strip).unwrap(), "abc");
        assert_eq!(*fold(raw, Space::Collapse).unwrap(), "a b c");
    }

    #[test]
    fn what_an_invisible_character_kept_apart_composes() {
        assert_eq!(*fold("e\u{200b}\u{301}", Space::Strip).unwrap(), "\u{e9}");
    }

    #[test]
    fn places_are_those_of_the_cell() {
        assert_eq!(bad_character("１２ 3x4", |c| c.is_ascii_digit()), Reject::BadCharacter { position: 5 });
    }
}
