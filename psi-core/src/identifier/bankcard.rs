//! `bankcard/1`: the number of a bank card, 12 to 19 digits (ISO/IEC 7812). A wrong Luhn digit is remarked upon.

use super::fold::{Space, fold, only_digits};
use super::{Reject, Verdict, Warning, damage};

pub(super) fn canonicalise(raw: &str, out: &mut Vec<u8>) -> Verdict {
    let folded = fold(raw, Space::Strip)?;
    only_digits(raw, &folded, |_| false)?;
    if !(12..=19).contains(&folded.len()) {
        return Err(Reject::BadLength { got: folded.len(), expected: "12 to 19 digits" });
    }
    let fits = passes_luhn(folded.as_bytes());
    if !fits && damage::is_cut(folded.as_bytes()) {
        return Err(Reject::RoundedNumber);
    }
    out.extend_from_slice(folded.as_bytes());
    Ok((!fits).then_some(Warning::CheckDigit))
}

fn passes_luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let values = digits.iter().rev().map(|digit| u32::from(digit - b'0')).enumerate();
    let sum: u32 = values.map(|(place, digit)| if place % 2 == 1 { doubled(digit) } else { digit }).sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepts, rejects, warns};
    use super::*;

    #[test]
    fn numbers_of_cards() {
        accepts("bankcard/1", "6222020000000000000", "6222020000000000000");
        accepts("bankcard/1", "4111 1111 1111 1111", "4111111111111111");
        warns("bankcard/1", "4111111111111112", "4111111111111112");
    }

    #[test]
    fn what_is_no_card() {
        rejects("bankcard/1", "62220200000", Reject::BadLength { got: 11, expected: "12 to 19 digits" });
        rejects(
            "bankcard/1",
            "62220200000000000000",
            Reject::BadLength { got: 20, expected: "12 to 19 digits" },
        );
        rejects("bankcard/1", "6222-0200-0000-0000", Reject::BadCharacter { position: 5 });
        rejects("bankcard/1", "6.22202E+18", Reject::RoundedNumber);
    }
}
