//! Which delimiter a file has, by its heading.

use super::scan::{Scan, scan};
use super::{Split, unquoted};
use crate::input::text::Text;
use crate::input::{Delimiter, InputError};

/// The one that gives a heading with every wanted column, then the most columns; else the most usual one.
///
/// Quotes are respected. What is no heading under any of them is left to be named by who reads it.
pub(super) fn delimiter(text: &mut Text, wanted: &[String]) -> Result<Delimiter, InputError> {
    loop {
        let (window, at_end) = (text.window(), text.at_end());
        let scans = Delimiter::TRIED.map(|delimiter| scan(window, at_end, delimiter.byte()));
        match scans[0] {
            Scan::Row { content: 0, taken, lines } => {
                text.take(0, taken, lines)?;
            }
            _ if scans.iter().any(is_partial) && !text.is_too_long() => text.refill()?,
            _ => return Ok(best(window, &scans, wanted)),
        }
    }
}

fn is_partial(scan: &Scan) -> bool {
    matches!(scan, Scan::Partial { .. })
}

fn best(window: &[u8], scans: &[Scan; 4], wanted: &[String]) -> Delimiter {
    let headings = Delimiter::TRIED.into_iter().zip(scans).filter_map(|(delimiter, scan)| match scan {
        Scan::Row { content, .. } => Some((delimiter, fitness(&window[..*content], delimiter, wanted)?)),
        _ => None,
    });
    let best = headings.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(Delimiter::TRIED[0], |(delimiter, _)| delimiter)
}

/// How many of the wanted columns the heading has, then how many columns; none if it isn't UTF-8.
fn fitness(heading: &[u8], delimiter: Delimiter, wanted: &[String]) -> Option<(usize, usize)> {
    std::str::from_utf8(heading).ok()?;
    let names: Vec<_> = Split { rest: Some(heading), delimiter: delimiter.byte() }.map(unquoted).collect();
    let found = wanted.iter().filter(|wanted| names.iter().any(|name| name.trim() == wanted.trim())).count();
    Some((found, names.len()))
}
