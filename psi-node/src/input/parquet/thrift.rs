//! Thrift's compact protocol, as far as Parquet's headers need it: a cursor over bytes that may be anything.

/// How deep what is skipped may be nested.
const DEEPEST: u32 = 16;

/// A cursor. Every method gives none where the bytes end too early or make no sense.
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What a field or an item holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    True,
    False,
    Byte,
    /// Of 16, 32 or 64 bits.
    Int,
    Double,
    Binary,
    List,
    Map,
    Struct,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        let kinds = [
            Self::True,
            Self::False,
            Self::Byte,
            Self::Int,
            Self::Int,
            Self::Int,
            Self::Double,
            Self::Binary,
            Self::List,
            Self::List,
            Self::Map,
            Self::Struct,
        ];
        kinds.get(usize::from(code).checked_sub(1)?).copied()
    }
}

impl<'a> Thrift<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were taken.
    pub(super) fn taken(&self) -> usize {
        self.at
    }

    /// Reads a struct. `take` reads or skips each field.
    pub(super) fn fields(&mut self, mut take: impl FnMut(&mut Self, i16, Kind) -> Option<()>) -> Option<()> {
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            id = match i16::from(head >> 4) {
                0 => i16::try_from(self.int()?).ok()?,
                step => id.checked_add(step)?,
            };
            take(self, id, Kind::of(head & 15)?)?;
        }
    }

    /// Reads a struct of which the integers in these fields count.
    pub(super) fn integers<const N: usize>(&mut self, wanted: [i16; N]) -> Option<[Option<i64>; N]> {
        self.integers_and(wanted, |_, _| ())
    }

    /// The same, with a look at the kinds of the other fields.
    pub(super) fn integers_and<const N: usize>(
        &mut self,
        wanted: [i16; N],
        mut other: impl FnMut(i16, Kind),
    ) -> Option<[Option<i64>; N]> {
        let mut found = [None; N];
        self.fields(|thrift, id, kind| match (wanted.iter().position(|wanted| *wanted == id), kind) {
            (Some(place), Kind::Int) => thrift.int().map(|value| found[place] = Some(value)),
            (_, kind) => {
                other(id, kind);
                thrift.skip(kind)
            }
        })?;
        Some(found)
    }

    /// Reads a list. `take` reads or skips each item, which takes a byte at least.
    pub(super) fn items(&mut self, mut take: impl FnMut(&mut Self, Kind) -> Option<()>) -> Option<()> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            few => few.into(),
        };
        let kind = match Kind::of(head & 15)? {
            Kind::True | Kind::False => Kind::Byte,
            kind => kind,
        };
        (0..count).try_for_each(|_| take(self, kind))
    }

    /// An integer of up to 64 bits.
    pub(super) fn int(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    pub(super) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// An unsigned integer, seven bits a byte, the lowest first.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn skip(&mut self, kind: Kind) -> Option<()> {
        self.skip_within(kind, DEEPEST)
    }

    fn skip_within(&mut self, kind: Kind, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            Kind::True | Kind::False => Some(()),
            Kind::Byte => self.byte().map(drop),
            Kind::Int => self.varint().map(drop),
            Kind::Double => self.take(8).map(drop),
            Kind::Binary => self.binary().map(drop),
            Kind::List => self.items(|thrift, kind| thrift.skip_within(kind, depth)),
            Kind::Struct => self.fields(|thrift, _, kind| thrift.skip_within(kind, depth)),
            Kind::Map => self.skip_map(depth),
        }
    }

    fn skip_map(&mut self, depth: u32) -> Option<()> {
        let count = self.varint()?;
        if count == 0 {
            return Some(());
        }
        let kinds = self.byte()?;
        let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 15)?);
        (0..count).try_for_each(|_| {
            self.skip_within(key, depth)?;
            self.skip_within(value, depth)
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read() {
        let int = |bytes: &[u8]| Thrift::new(bytes).int();
        assert_eq!(
            [int(&[0]), int(&[1]), int(&[2]), int(&[0xac, 2])],
            [Some(0), Some(-1), Some(1), Some(150)]
        );
        assert_eq!(int(&[&[0xff; 9][..], &[1]].concat()), Some(i64::MIN));
        assert_eq!([int(&[]), int(&[0x80]), int(&[0x80; 11])], [None; 3]);
    }

    #[test]
    fn what_is_skipped_is_skipped_whole() {
        // 1: int, 2: list of two binaries, 3: struct { 1: true, 17: double }, 4: map of a byte to an int, 5: int 7.
        let bytes = [
            0x15, 2, 0x19, 0x28, 1, b'a', 0, 0x1c, 0x11, 0x07, 34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1b, 1, 0x35,
            9, 4, 0x15, 14, 0,
        ];
        let mut last = None;
        let mut thrift = Thrift::new(&bytes);
        let read = thrift.fields(|thrift, id, kind| match id {
            5 => thrift.int().map(|value| last = Some(value)),
            _ => thrift.skip(kind),
        });
        assert_eq!((read, last, thrift.taken()), (Some(()), Some(7), bytes.len()));
        for cut in 0..bytes.len() {
            let cut = Thrift::new(&bytes[..cut]).fields(|thrift, _, kind| thrift.skip(kind));
            assert_eq!(cut, None);
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert_eq!(Thrift::new(&[0x1c; 100_000]).skip(Kind::Struct), None);
        assert_eq!(Thrift::new(&[0x19; 100_000]).skip(Kind::List), None);
    }
}
