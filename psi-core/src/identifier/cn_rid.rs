//! `cn.rid/1`: the resident identity number of GB 11643, 18 characters.
//!
//! Six digits of region (no whitelist: regions change), a date of birth, a sequence number, and a check character
//! over ISO 7064 MOD 11-2. Fifteen digits are the form issued until 1999: `19` is put before the year and the check
//! character appended; its sequence numbers 996 to 999 stood for people born before 1900, so they are refused.

use super::fold::{Space, bad_character, fold, only_digits};
use super::{Reject, Verdict, damage};

const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECK: &[u8; 11] = b"10X98765432";

pub(super) fn canonicalise(raw: &str, out: &mut Vec<u8>) -> Verdict {
    let mut folded = fold(raw, Space::Strip)?;
    folded.make_ascii_uppercase();
    match folded.len() {
        15 => upgrade(raw, &folded, out)?,
        _ => current(raw, &folded, out)?,
    }
    Ok(None)
}

fn current(raw: &str, folded: &str, out: &mut Vec<u8>) -> Result<(), Reject> {
    let digits = folded.strip_suffix('X').unwrap_or(folded);
    only_digits(raw, digits, |c| matches!(c, 'x' | 'X'))?;
    if folded.len() != 18 {
        return Err(Reject::BadLength { got: folded.len(), expected: "18 characters or 15 digits" });
    }
    let (body, check) = folded.as_bytes().split_at(17);
    real_date(&body[6..14])?;
    if check[0] != check_character(body) {
        let cut = damage::is_cut(folded.as_bytes());
        return Err(if cut { Reject::RoundedNumber } else { Reject::BadCheckDigit });
    }
    out.extend_from_slice(folded.as_bytes());
    Ok(())
}

fn upgrade(raw: &str, folded: &str, out: &mut Vec<u8>) -> Result<(), Reject> {
    let digits = folded.as_bytes();
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad_character(raw, |c| c.is_ascii_digit()));
    }
    if matches!(&digits[12..], b"996" | b"997" | b"998" | b"999") {
        return Err(Reject::ReservedSequence);
    }
    let start = out.len();
    out.extend_from_slice(&digits[..6]);
    out.extend_from_slice(b"19");
    out.extend_from_slice(&digits[6..]);
    real_date(&out[start + 6..start + 14])?;
    out.push(check_character(&out[start..]));
    Ok(())
}

fn check_character(body: &[u8]) -> u8 {
    let sum: u32 = body.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    CHECK[sum as usize % 11]
}

/// Eight digits `YYYYMMDD` of the Gregorian calendar.
fn real_date(digits: &[u8]) -> Result<(), Reject> {
    let number = |part: &[u8]| part.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let (year, month, day) = (number(&digits[..4]), number(&digits[4..6]), number(&digits[6..]));
    if (1..=days(year, month)).contains(&day) { Ok(()) } else { Err(Reject::BadDate) }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepts, canonical, rejects};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_person() {
        for raw in ["11010519491231002X", "11010519491231002x", "110105 19491231 002Ｘ", "110105491231002"] {
            accepts("cn.rid/1", raw, "11010519491231002X");
        }
        accepts("cn.rid/1", "440524188001010014", "440524188001010014");
        accepts("cn.rid/1", "440300900228123", "44030019900228123X");
    }

    #[test]
    fn what_is_no_resident_number() {
        rejects("cn.rid/1", "110105194912310021", Reject::BadCheckDigit);
        rejects("cn.rid/1", "11010519491331002X", Reject::BadDate);
        rejects("cn.rid/1", "440300190002291234", Reject::BadDate);
        rejects("cn.rid/1", "440300900230123", Reject::BadDate);
        rejects("cn.rid/1", "110105001231996", Reject::ReservedSequence);
        rejects(
            "cn.rid/1",
            "1101051949123100",
            Reject::BadLength { got: 16, expected: "18 characters or 15 digits" },
        );
        rejects("cn.rid/1", "1101051949X231002X", Reject::BadCharacter { position: 1 });
        rejects("cn.rid/1", "110105-19491231002X", Reject::BadCharacter { position: 7 });
        rejects("cn.rid/1", "11010549123100X", Reject::BadCharacter { position: 15 });
        rejects("cn.rid/1", "1.10105E+17", Reject::RoundedNumber);
    }

    #[test]
    fn leap_years() {
        assert_eq!([1900, 2000, 2023, 2024].map(|year| days(year, 2)), [28, 29, 28, 29]);
        assert_eq!((days(2024, 0), days(2024, 13), days(2024, 12)), (0, 0, 31));
    }

    proptest! {
        #[test]
        fn the_old_form_meets_the_new_one(
            region in "[1-6][0-9]{5}", year in 0u32..100, month in 1u32..=12, day in 1u32..=28, sequence in 0u32..996,
        ) {
            let old = format!("{region}{year:02}{month:02}{day:02}{sequence:03}");
            let body = format!("{region}19{year:02}{month:02}{day:02}{sequence:03}");
            let new = format!("{body}{}", char::from(check_character(body.as_bytes())));
            prop_assert_eq!(canonical("cn.rid/1", &old), Ok((new.clone(), None)));
            prop_assert_eq!(canonical("cn.rid/1", &new), Ok((new, None)));
        }

        /// MOD 11-2 finds every single wrong digit and every swap of neighbours.
        #[test]
        fn one_wrong_digit_never_passes(place in 0usize..17, digit in 0u8..10) {
            let mut wrong = *b"11010519491231002X";
            prop_assume!(wrong[place] != b'0' + digit);
            wrong[place] = b'0' + digit;
            prop_assert!(canonical("cn.rid/1", std::str::from_utf8(&wrong).unwrap()).is_err());
        }
    }
}
