//! `qq/1`: a QQ number, `[1-9]\d{4,10}`.

use super::fold::{Space, fold, only_digits};
use super::{Reject, Verdict};

pub(super) fn canonicalise(raw: &str, out: &mut Vec<u8>) -> Verdict {
    let folded = fold(raw, Space::Strip)?;
    only_digits(raw, &folded, |_| false)?;
    if !(5..=11).contains(&folded.len()) {
        return Err(Reject::BadLength { got: folded.len(), expected: "5 to 11 digits" });
    }
    if folded.starts_with('0') {
        return Err(Reject::BadStart { expected: "1 to 9" });
    }
    out.extend_from_slice(folded.as_bytes());
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepts, rejects};
    use super::*;

    #[test]
    fn numbers() {
        accepts("qq/1", "10001", "10001");
        accepts("qq/1", "１０００１ ", "10001");
        rejects("qq/1", "012345", Reject::BadStart { expected: "1 to 9" });
        rejects("qq/1", "1000", Reject::BadLength { got: 4, expected: "5 to 11 digits" });
        rejects("qq/1", "100000000000", Reject::BadLength { got: 12, expected: "5 to 11 digits" });
        rejects("qq/1", "10001@qq.com", Reject::BadCharacter { position: 6 });
    }
}
