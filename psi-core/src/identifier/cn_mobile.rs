//! `cn.mobile/1`: a mobile number of mainland China, eleven digits `1[3-9]…`.
//!
//! Separators go; then `+86`, `0086` or `86`, but only if eleven digits remain. There is no list of number
//! segments: they change.

use zeroize::Zeroizing;

use super::fold::{Space, fold, only_digits};
use super::{Reject, Verdict, damage};

pub(super) fn canonicalise(raw: &str, out: &mut Vec<u8>) -> Verdict {
    // Nearly all cells of a tidy list; reading must not show beside the curve.
    if is_canonical(raw.as_bytes()) {
        out.extend_from_slice(raw.as_bytes());
        return Ok(None);
    }
    // Points are separators, but this one would make another number.
    if let Some(damage) = damage::named(raw) {
        return Err(damage);
    }
    let folded = fold(raw, Space::Strip)?;
    let mut bare = Zeroizing::new(String::with_capacity(folded.len()));
    bare.extend(folded.chars().filter(|c| !is_separator(*c)));
    let number = without_country_code(&bare);
    only_digits(raw, number, is_separator)?;
    well_formed(number.as_bytes())?;
    out.extend_from_slice(number.as_bytes());
    Ok(None)
}

fn is_canonical(number: &[u8]) -> bool {
    number.len() == 11 && number.iter().all(u8::is_ascii_digit) && well_formed(number).is_ok()
}

fn well_formed(digits: &[u8]) -> Result<(), Reject> {
    match digits {
        [] => Err(Reject::Empty),
        [b'1', b'3'..=b'9', ..] if digits.len() == 11 => Ok(()),
        _ if digits.len() == 11 => Err(Reject::BadStart { expected: "13 to 19" }),
        _ => Err(Reject::BadLength { got: digits.len(), expected: "11 digits" }),
    }
}

fn without_country_code(bare: &str) -> &str {
    let rest = ["+86", "0086", "86"].iter().find_map(|code| bare.strip_prefix(code));
    rest.filter(|rest| rest.len() == 11).unwrap_or(bare)
}

/// Brackets, dots, dashes of every length, and the direction marks that address books put around numbers.
fn is_separator(c: char) -> bool {
    matches!(c, '(' | ')' | '-' | '.' | '/' | '\u{b7}')
        || matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepts, canonical, rejects};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_number() {
        for raw in [
            "13912345678",
            "+86 139-1234-5678",
            "0086 139 1234 5678",
            "8613912345678",
            "(+86)139.1234.5678",
            "１３９１２３４５６７８",
            "＋８６ １３９－１２３４－５６７８",
            "\u{feff}139\u{200b}1234\u{3000}5678 ",
            "\u{202d}+86 139 1234 5678\u{202c}",
            "139\u{2013}1234\u{2011}5678",
        ] {
            accepts("cn.mobile/1", raw, "13912345678");
        }
    }

    #[test]
    fn what_is_no_mobile_number() {
        rejects("cn.mobile/1", "12345678901", Reject::BadStart { expected: "13 to 19" });
        rejects("cn.mobile/1", "86123456789", Reject::BadStart { expected: "13 to 19" });
        rejects("cn.mobile/1", "1391234567", Reject::BadLength { got: 10, expected: "11 digits" });
        rejects("cn.mobile/1", "013912345678", Reject::BadLength { got: 12, expected: "11 digits" });
        rejects("cn.mobile/1", "86861391234567", Reject::BadLength { got: 14, expected: "11 digits" });
        rejects("cn.mobile/1", "139 1234 567x", Reject::BadCharacter { position: 13 });
        rejects("cn.mobile/1", "+13912345678", Reject::BadCharacter { position: 1 });
        rejects("cn.mobile/1", "\u{661}3912345678", Reject::BadCharacter { position: 1 });
        rejects("cn.mobile/1", "1.39123E+10", Reject::RoundedNumber);
        rejects("cn.mobile/1", "(-)", Reject::Empty);
    }

    proptest! {
        #[test]
        fn decoration_never_changes_the_person(
            number in "1[3-9][0-9]{9}",
            code in prop::sample::select(vec!["", "+86", "0086", "86", "＋86", "(+86)"]),
            marks in prop::collection::vec(prop::sample::select(vec!["", "-", " ", "\u{3000}", ".", "\u{200b}"]), 11),
        ) {
            let spelled: String = number.chars().zip(&marks).map(|(digit, mark)| format!("{mark}{digit}")).collect();
            prop_assert_eq!(canonical("cn.mobile/1", &format!("{code}{spelled}")), Ok((number, None)));
        }

        #[test]
        fn what_is_accepted_is_eleven_digits(raw in "[-+ 0-9]{8,18}") {
            if let Ok((number, _)) = canonical("cn.mobile/1", &raw) {
                prop_assert!(is_canonical(number.as_bytes()));
            }
        }
    }
}
