//! `email/1`: one `@`, all in lower case, the domain as an IDNA A-label (UTS #46, non-transitional).
//!
//! Dots and `+tags` of the local part stay: whether they matter is the provider's business.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::fold::{Space, assigned, fold, nfkc};
use super::{Reject, Verdict, unicode};

pub(super) fn canonicalise(raw: &str, out: &mut Vec<u8>) -> Verdict {
    let folded = fold(raw, Space::Collapse)?;
    if !folded.chars().all(is_allowed) {
        return Err(Reject::BadCharacter { position: inner_gap(raw).unwrap_or(1) });
    }
    let signs = folded.matches('@').count();
    let (local, domain) =
        folded.split_once('@').filter(|_| signs == 1).ok_or(Reject::AtSigns { got: signs })?;
    if local.is_empty() {
        return Err(Reject::BadStart { expected: "a name before the @" });
    }
    out.extend_from_slice(lower(&lower(local)).as_bytes());
    out.push(b'@');
    out.extend_from_slice(a_label(domain)?.as_bytes());
    Ok(None)
}

fn is_allowed(c: char) -> bool {
    !c.is_whitespace() && !c.is_control()
}

/// The place of the first white space or control that isn't at an end.
fn inner_gap(raw: &str) -> Option<usize> {
    let mut inner = raw.trim_end().chars().enumerate().skip_while(|(_, c)| c.is_whitespace());
    inner.find(|(_, c)| !std::iter::once(*c).nfkc().all(is_allowed)).map(|(index, _)| index + 1)
}

/// Lower case by character, as of Unicode 16.0: a mapping to a later newcomer doesn't count.
fn lower(text: &str) -> Zeroizing<String> {
    if text.is_ascii() {
        return Zeroizing::new(text.to_ascii_lowercase());
    }
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    for c in text.chars() {
        match c.to_lowercase().all(unicode::is_assigned) {
            true => out.extend(c.to_lowercase()),
            false => out.push(c),
        }
    }
    nfkc(&out)
}

fn a_label(domain: &str) -> Result<Zeroizing<String>, Reject> {
    let (rules, hyphens) = (AsciiDenyList::STD3, Hyphens::Allow);
    let ascii = Uts46::new().to_ascii(domain.as_bytes(), rules, hyphens, DnsLength::Verify);
    let ascii = ascii.map_err(|_| Reject::BadDomain)?;
    let (unicode, _) = Uts46::new().to_unicode(ascii.as_bytes(), rules, hyphens);
    assigned(&unicode).map_err(|_| Reject::BadDomain)?;
    Ok(Zeroizing::new(ascii.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepts, rejects};
    use super::*;

    #[test]
    fn spellings_of_one_address() {
        for raw in ["Zhang.San+x@Example.COM", " zhang.san+x＠example．com ", "zhang.san+x@example。com"] {
            accepts("email/1", raw, "zhang.san+x@example.com");
        }
        accepts("email/1", "张三@例子.中国", "张三@xn--fsqu00a.xn--fiqs8s");
        accepts("email/1", "a@XN--fsqu00a.xn--FIQS8S", "a@xn--fsqu00a.xn--fiqs8s");
        accepts("email/1", "a@straße.de", "a@xn--strae-oqa.de");
    }

    #[test]
    fn what_is_no_address() {
        rejects("email/1", "zhang.san", Reject::AtSigns { got: 0 });
        rejects("email/1", "a@b@c.com", Reject::AtSigns { got: 2 });
        rejects("email/1", "@example.com", Reject::BadStart { expected: "a name before the @" });
        rejects("email/1", "a@", Reject::BadDomain);
        rejects("email/1", "a@b..com", Reject::BadDomain);
        rejects("email/1", "a@xn--a.com", Reject::BadDomain);
        rejects("email/1", "a b@example.com", Reject::BadCharacter { position: 2 });
    }
}
