//! `text/1`: any text, NFKC, no white space at the ends, one space for each run inside. Case matters.

use super::fold::{Space, bad_character, fold};
use super::{Verdict, damage};

pub(super) fn canonicalise(raw: &str, out: &mut Vec<u8>) -> Verdict {
    let folded = fold(raw, Space::Collapse)?;
    if folded.contains(char::is_control) {
        return Err(bad_character(raw, |c| !c.is_control()));
    }
    if let Some(damage) = damage::of_text(&folded) {
        return Err(damage);
    }
    out.extend_from_slice(folded.as_bytes());
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::Reject;
    use super::super::testing::{accepts, rejects};

    #[test]
    fn spellings_of_one_text() {
        for raw in ["Room 3 A", "  Room\u{a0}3\t\r\n A ", "Ｒｏｏｍ\u{3000}３ Ａ", "Room 3 \u{200b}A"] {
            accepts("text/1", raw, "Room 3 A");
        }
        accepts("text/1", "caf\u{65}\u{301}", "café");
        accepts("text/1", "\u{f900}", "\u{8c48}");
    }

    #[test]
    fn controls_are_refused() {
        rejects("text/1", "a\u{7}b", Reject::BadCharacter { position: 2 });
    }
}
