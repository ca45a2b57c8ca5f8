//! `wechat/1`: a WeChat ID, lower-cased, `[a-z][a-z0-9_-]{5,19}`.

use super::fold::{Space, bad_character, fold};
use super::{Reject, Verdict};

pub(super) fn canonicalise(raw: &str, out: &mut Vec<u8>) -> Verdict {
    let mut folded = fold(raw, Space::Strip)?;
    folded.make_ascii_lowercase();
    if !folded.chars().all(is_allowed) {
        return Err(bad_character(raw, is_allowed));
    }
    if !(6..=20).contains(&folded.len()) {
        return Err(Reject::BadLength { got: folded.len(), expected: "6 to 20 characters" });
    }
    if !folded.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(Reject::BadStart { expected: "a letter" });
    }
    out.extend_from_slice(folded.as_bytes());
    Ok(None)
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepts, rejects};
    use super::*;

    #[test]
    fn names() {
        accepts("wechat/1", "ABC_123", "abc_123");
        accepts("wechat/1", " ａｂｃ－123 ", "abc-123");
        accepts("wechat/1", "wxid_0123456789abcde", "wxid_0123456789abcde");
    }

    #[test]
    fn what_is_no_name() {
        rejects("wechat/1", "1abcde", Reject::BadStart { expected: "a letter" });
        rejects("wechat/1", "abcde", Reject::BadLength { got: 5, expected: "6 to 20 characters" });
        rejects(
            "wechat/1",
            "abcdefghijklmnopqrstu",
            Reject::BadLength { got: 21, expected: "6 to 20 characters" },
        );
        rejects("wechat/1", "abc.123", Reject::BadCharacter { position: 4 });
    }
}
