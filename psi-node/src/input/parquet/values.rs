//! The values of a page, each as the plain encoding has it but for the length in front.

use zeroize::Zeroizing;

use super::Wrong;
use super::bits::{Delta, Hybrid};
use super::footer::Physical;

/// Values one after the other. None where the bytes of the page make no sense.
pub(super) struct Values {
    form: Form,
    /// Where the next bytes are.
    at: usize,
    /// A value that doesn't stand in the page as it is.
    made: Zeroizing<Vec<u8>>,
}

/// The encodings, and what has to be known of each.
enum Form {
    Fixed(usize),
    /// Each after its length.
    Bytes,
    /// Packed booleans; `at` counts bits.
    Bits,
    /// Booleans as runs.
    Runs(Hybrid),
    Dictionary(Hybrid),
    Delta(Delta, usize),
    /// All lengths, then all bytes.
    Lengths(Delta),
    /// How much each shares with the one before, the lengths of the rest, and the rest.
    Shared(Delta, Delta),
    /// The first bytes of all values, then the second ones, and so on.
    Split {
        width: usize,
        count: usize,
        index: usize,
    },
}

impl Values {
    /// The values of a page, which start at `at`.
    pub(super) fn new(encoding: i64, physical: Physical, page: &[u8], at: usize) -> Result<Self, Wrong> {
        const UNKNOWN: Wrong = Wrong::Damage("the values are encoded in a way that is not read");
        const DAMAGED: Wrong = Wrong::Damage("a page is damaged");
        let integers = |at| Delta::new(page, at).ok_or(DAMAGED);
        let end = |delta: &Delta| delta.end(page).ok_or(DAMAGED);
        let (form, at) = match (encoding, physical) {
            (0, Physical::Fixed(width)) => (Form::Fixed(width), at),
            (0, Physical::Bytes) => (Form::Bytes, at),
            (0, Physical::Boolean) => (Form::Bits, at.checked_mul(8).ok_or(DAMAGED)?),
            (3, Physical::Boolean) => (Form::Runs(prefixed(page, at).ok_or(DAMAGED)?), at),
            (2 | 8, _) => (Form::Dictionary(places(page, at).ok_or(DAMAGED)?), at),
            (5, Physical::Fixed(width @ (4 | 8))) => (Form::Delta(integers(at)?, width), at),
            (6, Physical::Bytes) => {
                let lengths = integers(at)?;
                let at = end(&lengths)?;
                (Form::Lengths(lengths), at)
            }
            (7, Physical::Bytes | Physical::Fixed(_)) => {
                let shared = integers(at)?;
                let lengths = integers(end(&shared)?)?;
                let at = end(&lengths)?;
                (Form::Shared(shared, lengths), at)
            }
            (9, Physical::Fixed(width)) => {
                let count = page.len().saturating_sub(at) / width;
                (Form::Split { width, count, index: 0 }, at)
            }
            _ => return Err(UNKNOWN),
        };
        Ok(Self { form, at, made: Zeroizing::default() })
    }

    /// The next one; `page` is the same every time.
    pub(super) fn next<'a>(
        &'a mut self,
        page: &'a [u8],
        dictionary: Option<&'a Dictionary>,
    ) -> Option<&'a [u8]> {
        let Self { form, at, made } = self;
        match form {
            Form::Fixed(width) => taken(page, at, *width),
            Form::Bytes => {
                let length = taken(page, at, 4)?;
                taken(page, at, u32::from_le_bytes(length.try_into().ok()?) as usize)
            }
            Form::Bits => {
                let bit = page.get(*at / 8)? >> (*at % 8) & 1;
                *at += 1;
                Some(remade(made, &[bit]))
            }
            Form::Runs(runs) => runs.next(page).map(|bit| remade(made, &[bit as u8])),
            Form::Dictionary(places) => dictionary?.get(places.next(page)? as usize),
            Form::Delta(delta, width) => {
                let bytes = delta.next(page)?.to_le_bytes();
                Some(remade(made, bytes.get(..*width)?))
            }
            Form::Lengths(lengths) => taken(page, at, usize::try_from(lengths.next(page)?).ok()?),
            Form::Shared(shared, lengths) => {
                let shared = usize::try_from(shared.next(page)?).ok()?;
                let rest = taken(page, at, usize::try_from(lengths.next(page)?).ok()?)?;
                made.get(..shared)?;
                made.truncate(shared);
                made.extend_from_slice(rest);
                Some(made)
            }
            Form::Split { width, count, index } => {
                made.clear();
                for byte in 0..*width {
                    made.push(*page.get(*at + byte * *count + *index)?);
                }
                *index = (*index < *count).then_some(*index + 1)?;
                Some(made)
            }
        }
    }
}

fn taken<'a>(page: &'a [u8], at: &mut usize, length: usize) -> Option<&'a [u8]> {
    let end = at.checked_add(length)?;
    let taken = page.get(*at..end)?;
    *at = end;
    Some(taken)
}

fn remade<'a>(made: &'a mut Vec<u8>, bytes: &[u8]) -> &'a [u8] {
    made.clear();
    made.extend_from_slice(bytes);
    made
}

/// Runs of bits with their length in front.
pub(super) fn prefixed(page: &[u8], at: usize) -> Option<Hybrid> {
    let length = page.get(at..)?.first_chunk()?;
    let start = at + length.len();
    let end = start.checked_add(u32::from_le_bytes(*length) as usize)?;
    (end <= page.len()).then(|| Hybrid::new(start, end, 1))?
}

/// Places in a dictionary, whose width is in front of them.
fn places(page: &[u8], at: usize) -> Option<Hybrid> {
    match page.get(at) {
        Some(width) => Hybrid::new(at + 1, page.len(), u32::from(*width)),
        // All values of the page are missing.
        None => Hybrid::new(page.len(), page.len(), 0),
    }
}

/// The values that the pages of a chunk refer to.
pub(super) struct Dictionary {
    page: Zeroizing<Vec<u8>>,
    /// Where each ends, those of one width apart.
    ends: Vec<u32>,
    physical: Physical,
}

impl Dictionary {
    /// Plain values. None if there are fewer than are said to be.
    pub(super) fn new(page: Zeroizing<Vec<u8>>, values: u64, physical: Physical) -> Option<Self> {
        let mut ends = Vec::new();
        match physical {
            Physical::Boolean => return None,
            Physical::Fixed(width) => {
                let needed = usize::try_from(values).ok()?.checked_mul(width)?;
                page.get(..needed)?;
            }
            Physical::Bytes => {
                let mut at = 0;
                for _ in 0..values {
                    let length = taken(&page, &mut at, 4)?;
                    taken(&page, &mut at, u32::from_le_bytes(length.try_into().ok()?) as usize)?;
                    ends.push(u32::try_from(at).ok()?);
                }
            }
        }
        Some(Self { page, ends, physical })
    }

    fn get(&self, place: usize) -> Option<&[u8]> {
        match self.physical {
            Physical::Boolean => None,
            Physical::Fixed(width) => {
                let start = place.checked_mul(width)?;
                self.page.get(start..start.checked_add(width)?)
            }
            Physical::Bytes => {
                let end = *self.ends.get(place)? as usize;
                let before = place.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
                self.page.get(before + 4..end)
            }
        }
    }
}
