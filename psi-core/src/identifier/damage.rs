//! What spreadsheets do to identifiers that they take for numbers. It is named and refused, never mended: what was lost
//! is not in the cell.

use super::Reject;

/// Digits that a number of a spreadsheet keeps.
const KEPT: usize = 15;

/// What was done to a cell that ought to be a number, if it shows.
pub(super) fn named(raw: &str) -> Option<Reject> {
    of_text(raw).or_else(|| is_decimal(raw.trim()).then_some(Reject::DecimalPoint))
}

/// What was done to a cell that may hold any text.
pub(super) fn of_text(raw: &str) -> Option<Reject> {
    let raw = raw.trim();
    if is_rounded_number(raw) {
        Some(Reject::RoundedNumber)
    } else {
        is_formula(raw).then_some(Reject::Formula)
    }
}

/// `1.23E+17`, as spreadsheets show and export numbers of more than eleven digits.
fn is_rounded_number(raw: &str) -> bool {
    let Some((mantissa, exponent)) = raw.split_once(['e', 'E']) else { return false };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    are_digits(whole) && are_digits(fraction) && exponent.strip_prefix('+').is_some_and(are_digits)
}

/// `13912345678.0`, as programs write whole numbers of a column that has empty cells as well.
fn is_decimal(raw: &str) -> bool {
    raw.split_once('.').is_some_and(|(whole, fraction)| {
        are_digits(whole) && !fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0')
    })
}

/// `="13912345678"`, which exports write so that a spreadsheet keeps the text.
fn is_formula(raw: &str) -> bool {
    raw.starts_with("=\"") && raw.ends_with('"')
}

/// Whether only the first fifteen digits can be left of a longer number: zeros follow. Where the check digit is right as
/// well, the number may be meant.
pub(super) fn is_cut(digits: &[u8]) -> bool {
    let zeros =
        digits.get(KEPT..).is_some_and(|rest| !rest.is_empty() && rest.iter().all(|digit| *digit == b'0'));
    zeros && digits.iter().all(u8::is_ascii_digit)
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepts, rejects, warns};
    use super::*;

    #[test]
    fn rounded_numbers_are_recognised() {
        assert!(["1.23E+17", "1E+10", "1.39123456e+10"].into_iter().all(is_rounded_number));
        assert!(
            ["1.23E17", "E+17", "1.E+3", "1.2.3E+4", "13912345678"]
                .into_iter()
                .all(|raw| !is_rounded_number(raw))
        );
    }

    #[test]
    fn every_rule_names_it_and_none_mends_it() {
        for rule in super::super::Rule::all() {
            for (raw, reject) in [
                ("1.39123E+10", Reject::RoundedNumber),
                (" 6.22202E+18 ", Reject::RoundedNumber),
                ("=\"13912345678\"", Reject::Formula),
            ] {
                rejects(rule.id(), raw, reject);
            }
        }
        for id in ["cn.mobile/1", "cn.rid/1", "cn.uscc/1", "bankcard/1", "qq/1", "wechat/1"] {
            rejects(id, "13912345678.0", Reject::DecimalPoint);
            rejects(id, "440524188001010014.00", Reject::DecimalPoint);
        }
        for id in ["text/1", "cn.name/1"] {
            accepts(id, "1.0", "1.0");
        }
    }

    /// Without its point this would be another person's number.
    #[test]
    fn a_decimal_point_is_no_separator() {
        rejects("cn.mobile/1", "1391234567.0", Reject::DecimalPoint);
        accepts("cn.mobile/1", "139.1234.5678", "13912345678");
    }

    #[test]
    fn numbers_cut_to_fifteen_digits_are_told_from_wrong_ones() {
        rejects("cn.rid/1", "110105194912310000", Reject::RoundedNumber);
        rejects("cn.rid/1", "110105194912310010", Reject::BadCheckDigit);
        rejects("bankcard/1", "6222020200112230000", Reject::RoundedNumber);
        rejects("bankcard/1", "4111111111111110", Reject::RoundedNumber);
        warns("bankcard/1", "4111111111111112", "4111111111111112");
        accepts("bankcard/1", "6222020000000000000", "6222020000000000000");
        rejects("cn.uscc/1", "121000004000098000", Reject::RoundedNumber);
        warns("cn.uscc/1", "121000004000098800", "121000004000098800");
    }
}
