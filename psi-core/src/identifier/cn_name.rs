//! `cn.name/1`: a name as written in Chinese documents. Never a key alone: too many people share one.
//!
//! The middle dots that keyboards offer for transcribed names become U+00B7. Simplified and traditional characters
//! stay apart: which of them are the same is no question of spelling.

use super::fold::{Space, bad_character, fold};
use super::{Verdict, damage};

pub(super) fn canonicalise(raw: &str, out: &mut Vec<u8>) -> Verdict {
    let folded = fold(raw, Space::Strip)?;
    if folded.contains(char::is_control) {
        return Err(bad_character(raw, |c| !c.is_control()));
    }
    if let Some(damage) = damage::of_text(&folded) {
        return Err(damage);
    }
    for c in folded.chars() {
        out.extend_from_slice(middle_dot(c).encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(None)
}

fn middle_dot(c: char) -> char {
    match c {
        '\u{2022}' | '\u{2027}' | '\u{30fb}' | '\u{2219}' | '\u{22c5}' => '\u{b7}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepts, canonical};

    #[test]
    fn spellings_of_one_name() {
        for dot in
            ['\u{b7}', '\u{2022}', '\u{2027}', '\u{30fb}', '\u{2219}', '\u{22c5}', '\u{ff65}', '\u{387}']
        {
            accepts("cn.name/1", &format!("阿卜杜拉{dot}买买提"), "阿卜杜拉·买买提");
        }
        accepts("cn.name/1", " 张\u{3000}三 ", "张三");
    }

    #[test]
    fn simplified_and_traditional_stay_apart() {
        assert_ne!(canonical("cn.name/1", "张国"), canonical("cn.name/1", "張國"));
    }
}
