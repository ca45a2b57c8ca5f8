//! Group elements as they travel: 32 canonical bytes each (RFC 9496, section 4.3), in packed slices.
//!
//! Decoding belongs to a [`Suite`](crate::suite::Suite). Here are the checks that need no arithmetic, the faults that
//! an element from outside can have, and the joining of fields that every digest of the protocol is made with
//! (docs/PROTOCOL.md, "Encoding").

use std::fmt;

/// Bytes of an encoded element.
pub const ELEMENT_BYTES: usize = 32;

/// The canonical encoding of one group element.
pub type Element = [u8; ELEMENT_BYTES];

/// What is wrong with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElementFault {
    /// The bytes are not the canonical encoding of any element.
    NotCanonical,
    /// The element is the identity, whose multiples tell nothing.
    Identity,
    /// The element is smaller, as bytes, than the one before it.
    Unsorted,
    /// The element equals the one before it.
    Doubled,
    /// The element is one of our own, sent back to us.
    Reflected,
}

impl fmt::Display for ElementFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotCanonical => "not a canonical encoding",
            Self::Identity => "the identity element",
            Self::Unsorted => "out of ascending order",
            Self::Doubled => "the same as the element before it",
            Self::Reflected => "one of our own elements",
        })
    }
}

/// A faulty element and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("element {index} is {fault}")]
pub struct ElementAt {
    /// Position within the slice that was looked at, from 0.
    pub index: usize,
    /// What is wrong there.
    pub fault: ElementFault,
}

/// Checks that `elements` ascend strictly, byte for byte, and start above `previous`, the last element of the message
/// before this one.
///
/// # Errors
/// The first element that is [`Unsorted`](ElementFault::Unsorted) or [`Doubled`](ElementFault::Doubled).
pub fn strictly_ascending(previous: Option<&Element>, elements: &[Element]) -> Result<(), ElementAt> {
    let before = previous.into_iter().chain(elements);
    let after = elements.iter().skip(usize::from(previous.is_none()));
    let offset = usize::from(previous.is_none());
    match before.zip(after).map(|(a, b)| order_fault(a, b)).enumerate().find_map(|(i, f)| Some((i, f?))) {
        Some((index, fault)) => Err(ElementAt { index: index + offset, fault }),
        None => Ok(()),
    }
}

fn order_fault(before: &Element, after: &Element) -> Option<ElementFault> {
    match before.cmp(after) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(ElementFault::Doubled),
        std::cmp::Ordering::Greater => Some(ElementFault::Unsorted),
    }
}

/// The length of a field as it stands before the field's bytes: 8 bytes, big-endian.
pub(crate) fn field_length(bytes: &[u8]) -> [u8; 8] {
    (bytes.len() as u64).to_be_bytes()
}

/// The fields one after another, each behind its length: no two lists of fields give the same bytes.
pub(crate) fn joined(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(fields.iter().map(|field| 8 + field.len()).sum());
    for field in fields {
        out.extend_from_slice(&field_length(field));
        out.extend_from_slice(field);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ElementFault::{Doubled, Unsorted};

    fn ascending(previous: Option<u8>, firsts: &[u8]) -> Result<(), ElementAt> {
        let elements: Vec<Element> = firsts.iter().map(|&b| element(b)).collect();
        strictly_ascending(previous.map(element).as_ref(), &elements)
    }

    fn element(first: u8) -> Element {
        let mut bytes = [9; ELEMENT_BYTES];
        bytes[0] = first;
        bytes
    }

    #[test]
    fn order_is_checked_within_and_across_messages() {
        assert_eq!(ascending(None, &[]), Ok(()));
        assert_eq!(ascending(None, &[5]), Ok(()));
        assert_eq!(ascending(Some(4), &[]), Ok(()));
        assert_eq!(ascending(Some(4), &[5, 6, 200]), Ok(()));
        assert_eq!(ascending(None, &[5, 5]), Err(ElementAt { index: 1, fault: Doubled }));
        assert_eq!(ascending(None, &[5, 6, 4, 4]), Err(ElementAt { index: 2, fault: Unsorted }));
        assert_eq!(ascending(Some(5), &[5, 6]), Err(ElementAt { index: 0, fault: Doubled }));
        assert_eq!(ascending(Some(6), &[5, 6]), Err(ElementAt { index: 0, fault: Unsorted }));
        assert_eq!(ascending(Some(1), &[5, 6, 6]), Err(ElementAt { index: 2, fault: Doubled }));
    }

    #[test]
    fn the_last_byte_decides_when_all_others_are_equal() {
        let (mut low, mut high) = (element(1), element(1));
        (low[31], high[31]) = (127, 128);
        assert_eq!(strictly_ascending(None, &[low, high]), Ok(()));
        assert_eq!(strictly_ascending(None, &[high, low]), Err(ElementAt { index: 1, fault: Unsorted }));
    }

    #[test]
    fn errors_name_place_and_fault() {
        let text = ElementAt { index: 7, fault: ElementFault::Identity }.to_string();
        assert_eq!(text, "element 7 is the identity element");
    }

    #[test]
    fn joined_fields_are_unambiguous() {
        assert_eq!(joined(&[b"ab", b""]), b"\0\0\0\0\0\0\0\x02ab\0\0\0\0\0\0\0\0");
        assert_ne!(joined(&[b"ab", b"c"]), joined(&[b"a", b"bc"]));
    }
}
