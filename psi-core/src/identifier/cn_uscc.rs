//! `cn.uscc/1`: the unified social credit code of GB 32100, 18 characters.
//!
//! A wrong check character is only remarked upon: codes that fail it have been issued.

use super::fold::{Space, bad_character, fold};
use super::{Reject, Verdict, Warning, damage};

/// Without I, O, S, V and Z; the index is the value.
const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

pub(super) fn canonicalise(raw: &str, out: &mut Vec<u8>) -> Verdict {
    let mut folded = fold(raw, Space::Strip)?;
    folded.make_ascii_uppercase();
    let Some(values) = folded.bytes().map(value).collect::<Option<Vec<u32>>>() else {
        return Err(bad_character(raw, |c| {
            u8::try_from(c.to_ascii_uppercase()).is_ok_and(|c| value(c).is_some())
        }));
    };
    let [body @ .., check] = values.as_slice() else { return Err(Reject::Empty) };
    if body.len() != 17 {
        return Err(Reject::BadLength { got: values.len(), expected: "18 characters" });
    }
    let fits = check_value(body) == *check;
    if !fits && damage::is_cut(folded.as_bytes()) {
        return Err(Reject::RoundedNumber);
    }
    out.extend_from_slice(folded.as_bytes());
    Ok((!fits).then_some(Warning::CheckDigit))
}

fn value(character: u8) -> Option<u32> {
    ALPHABET.iter().position(|known| *known == character).map(|index| index as u32)
}

/// C18 = (31 - sum of values weighted 3^(i-1) mod 31) mod 31.
fn check_value(body: &[u32]) -> u32 {
    let (sum, _) = body.iter().fold((0, 1), |(sum, weight), value| (sum + value * weight, weight * 3 % 31));
    (31 - sum % 31) % 31
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepts, rejects, warns};
    use super::*;

    #[test]
    fn issued_codes() {
        accepts("cn.uscc/1", "91350100M000100Y43", "91350100M000100Y43");
        accepts("cn.uscc/1", " 91350100m000100y43", "91350100M000100Y43");
        accepts("cn.uscc/1", "12100000400009880K", "12100000400009880K");
        accepts("cn.uscc/1", "１２１０００００４００００９８８０ｋ", "12100000400009880K");
    }

    #[test]
    fn a_wrong_check_character_is_kept_and_remarked_upon() {
        warns("cn.uscc/1", "91350100M000100Y44", "91350100M000100Y44");
    }

    #[test]
    fn what_is_no_credit_code() {
        rejects("cn.uscc/1", "91350100M000100Y4", Reject::BadLength { got: 17, expected: "18 characters" });
        rejects("cn.uscc/1", "91350100I000100Y43", Reject::BadCharacter { position: 9 });
        rejects("cn.uscc/1", "91350100-M000100Y43", Reject::BadCharacter { position: 9 });
    }
}
