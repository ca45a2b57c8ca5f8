//! The canonical encoding: what is hashed, signed and stored (docs/PROTOCOL.md, "Canonical encoding").
//!
//! Integers are big-endian and of fixed width, a string of bytes is a `u32` length and the bytes, a list is a `u32` count
//! and its members. There is exactly one encoding of a value: reading refuses every other one, so a value that decodes
//! encodes to the same bytes again.

use thiserror::Error;

/// The longest name, job or agreement that a message may carry, in bytes.
pub const MAX_TEXT: usize = 256;

/// Bytes that are not the encoding of anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} {what} at byte {at}", if *.unknown { "unknown" } else { "malformed" })]
pub struct Malformed {
    /// Offset of the field, from the start of the message or record.
    pub at: usize,
    /// The field that could not be read.
    pub what: &'static str,
    /// The field was read, but its value is none that this version knows: another version may.
    pub unknown: bool,
}

impl Malformed {
    fn new(at: usize, what: &'static str) -> Self {
        Self { at, what, unknown: false }
    }
}

/// Appends canonical encodings.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes whose number the format fixes.
    pub(crate) fn fixed<const N: usize>(mut self, value: &[u8; N]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn bytes(self, value: &[u8]) -> Self {
        let mut writer = self.count(value.len());
        writer.0.extend_from_slice(value);
        writer
    }

    pub(crate) fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    pub(crate) fn list<T>(self, values: &[T], each: impl Fn(Self, &T) -> Self) -> Self {
        let writer = self.count(values.len());
        values.iter().fold(writer, each)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn count(self, length: usize) -> Self {
        self.u32(u32::try_from(length).expect("no field of a message reaches 4 GiB"))
    }
}

/// Reads canonical encodings; every failure names the field.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.fixed::<1>(what)?[0])
    }

    /// 0 or 1.
    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, Malformed> {
        let at = self.at;
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::new(at, what)),
        }
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.fixed(what).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.fixed(what).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.fixed(what).map(u64::from_be_bytes)
    }

    pub(crate) fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let taken = self.take(N, what)?;
        Ok(taken.try_into().expect("take returns the length that was asked for"))
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let start = self.at;
        let length = self.u32(what)? as usize;
        self.take(length, what).map_err(|_| Malformed::new(start, what))
    }

    /// A line of text: UTF-8, at most [`MAX_TEXT`] bytes, no control characters.
    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        let at = self.at;
        let text = std::str::from_utf8(self.bytes(what)?).map_err(|_| Malformed::new(at, what))?;
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(Malformed::new(at, what));
        }
        Ok(text.to_owned())
    }

    /// A list of at most `most` members.
    pub(crate) fn list<T>(
        &mut self,
        most: usize,
        what: &'static str,
        each: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let at = self.at;
        let count = self.u32(what)? as usize;
        if count > most {
            return Err(Malformed::new(at, what));
        }
        (0..count).map(|_| each(self)).collect()
    }

    /// Turns a value that decoded but that this version does not know into an error with its place.
    pub(crate) fn known<T>(&self, value: Option<T>, what: &'static str) -> Result<T, Malformed> {
        value.ok_or(Malformed { at: self.at, what, unknown: true })
    }

    /// The error for a value that was read in full but is not allowed.
    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed::new(self.at, what)
    }

    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(Malformed::new(self.at, "end")) }
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or(Malformed::new(self.at, what))?;
        self.at += length;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote() {
        let bytes = Writer::new().u8(7).u16(300).u32(70_000).u64(1 << 40).fixed(&[1, 2]).text("名").finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8("a"), Ok(7));
        assert_eq!(reader.u16("b"), Ok(300));
        assert_eq!(reader.u32("c"), Ok(70_000));
        assert_eq!(reader.u64("d"), Ok(1 << 40));
        assert_eq!(reader.fixed::<2>("e"), Ok([1, 2]));
        assert_eq!(reader.text("f").as_deref(), Ok("名"));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn names_the_field_that_is_cut_short() {
        let bytes = Writer::new().text("abc").finish();
        for cut in 0..bytes.len() {
            assert_eq!(Reader::new(&bytes[..cut]).text("name").unwrap_err().what, "name");
        }
    }

    #[test]
    fn refuses_what_has_no_encoding() {
        let newline = Writer::new().text("a\nb").finish();
        assert!(Reader::new(&newline).text("job").is_err());
        let long = Writer::new().text(&"x".repeat(MAX_TEXT + 1)).finish();
        assert!(Reader::new(&long).text("job").is_err());
        let many = Writer::new().list(&[1u8, 2, 3], |w, v| w.u8(*v)).finish();
        assert!(Reader::new(&many).list(2, "list", |r| r.u8("member")).is_err());
        assert_eq!(Reader::new(&[0]).finish(), Err(Malformed::new(0, "end")));
    }
}
