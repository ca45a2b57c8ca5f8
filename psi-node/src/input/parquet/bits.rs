//! Packed integers: the hybrid of runs and packed bits, and binary-packed differences (Parquet, "Encodings").

use super::thrift::Thrift;

/// `width` bits of `bytes` from bit `from` on, the lowest first. Width is at most 64.
fn bits(bytes: &[u8], from: usize, width: u32) -> Option<u64> {
    let (byte, shift) = (from / 8, from % 8);
    let window = match bytes.get(byte..byte + 16) {
        Some(window) => u128::from_le_bytes(window.try_into().ok()?),
        None => {
            let needed = (shift + width as usize).div_ceil(8);
            let mut window = [0; 16];
            window[..needed].copy_from_slice(bytes.get(byte..byte + needed)?);
            u128::from_le_bytes(window)
        }
    };
    Some((window >> shift & ((1 << width) - 1)) as u64)
}

/// Runs of one value and packed values by turns: levels, places in a dictionary, booleans.
#[derive(Debug, Clone)]
pub(super) struct Hybrid {
    at: usize,
    end: usize,
    width: u32,
    run: Run,
}

#[derive(Debug, Clone)]
enum Run {
    Repeated { value: u32, left: u64 },
    Packed { bit: usize, left: u64 },
}

impl Hybrid {
    /// Values of `width` bits in the bytes from `at` to `end` of a page.
    pub(super) fn new(at: usize, end: usize, width: u32) -> Option<Self> {
        (width <= 32).then_some(Self { at, end, width, run: Run::Repeated { value: 0, left: 0 } })
    }

    /// Where its bytes end.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// The next value; `page` is the same every time.
    pub(super) fn next(&mut self, page: &[u8]) -> Option<u32> {
        loop {
            match &mut self.run {
                Run::Repeated { left: 0, .. } | Run::Packed { left: 0, .. } => self.next_run(page)?,
                Run::Repeated { value, left } => {
                    *left -= 1;
                    return Some(*value);
                }
                Run::Packed { bit, left } => {
                    let value = bits(page.get(..self.end)?, *bit, self.width)?;
                    (*bit, *left) = (*bit + self.width as usize, *left - 1);
                    return u32::try_from(value).ok();
                }
            }
        }
    }

    fn next_run(&mut self, page: &[u8]) -> Option<()> {
        let mut thrift = Thrift::new(page.get(self.at..self.end)?);
        let head = thrift.varint()?;
        self.at += thrift.taken();
        if head & 1 == 0 {
            let bytes = self.width.div_ceil(8) as usize;
            let mut value = [0; 4];
            value[..bytes].copy_from_slice(page.get(self.at..self.at + bytes)?);
            self.at += bytes;
            self.run = Run::Repeated { value: u32::from_le_bytes(value), left: head >> 1 };
        } else {
            let groups = head >> 1;
            self.run = Run::Packed { bit: self.at * 8, left: groups.checked_mul(8)? };
            // Writers may leave out the padding of the last group.
            let bytes = usize::try_from(groups).ok()?.checked_mul(self.width as usize)?;
            self.at = self.at.saturating_add(bytes).min(self.end);
        }
        Some(())
    }
}

/// Integers as differences from one to the next, in blocks of packed bits.
#[derive(Debug, Clone)]
pub(super) struct Delta {
    at: usize,
    /// Packed parts of a block, and values in each.
    parts: usize,
    part_values: u64,
    /// Values that are still to come.
    left: u64,
    /// The value returned last, or the first one before it was.
    last: i64,
    started: bool,
    /// Of the block at hand: the least difference, where the widths of its parts are, and the part after the one at hand.
    least: i64,
    widths: usize,
    part: usize,
    /// Of the part at hand.
    width: u32,
    bit: usize,
    part_left: u64,
}

impl Delta {
    /// Integers whose header is at `at`.
    pub(super) fn new(page: &[u8], at: usize) -> Option<Self> {
        let mut thrift = Thrift::new(page.get(at..)?);
        let (block, parts) = (thrift.varint()?, thrift.varint()?);
        let (left, last) = (thrift.varint()?, thrift.int()?);
        let part_values = block.checked_div(parts).filter(|values| *values > 0 && values % 8 == 0)?;
        let parts = usize::try_from(parts).ok()?;
        let at = at + thrift.taken();
        Some(Self {
            at,
            parts,
            part_values,
            left,
            last,
            started: false,
            least: 0,
            widths: 0,
            part: parts,
            width: 0,
            bit: 0,
            part_left: 0,
        })
    }

    /// The next integer; `page` is the same every time.
    pub(super) fn next(&mut self, page: &[u8]) -> Option<i64> {
        self.left = self.left.checked_sub(1)?;
        if !std::mem::replace(&mut self.started, true) {
            return Some(self.last);
        }
        if self.part_left == 0 {
            self.next_part(page)?;
        }
        let difference = bits(page, self.bit, self.width)?;
        self.bit += self.width as usize;
        self.part_left -= 1;
        self.last = self.last.wrapping_add(self.least).wrapping_add(difference as i64);
        Some(self.last)
    }

    fn next_part(&mut self, page: &[u8]) -> Option<()> {
        if self.part == self.parts {
            let mut thrift = Thrift::new(page.get(self.at..)?);
            self.least = thrift.int()?;
            self.widths = self.at + thrift.taken();
            self.at = self.widths.checked_add(self.parts)?;
            self.part = 0;
        }
        self.width = u32::from(*page.get(self.widths + self.part)?);
        let bytes = u64::from(self.width).checked_mul(self.part_values)? / 8;
        (self.part, self.bit, self.part_left) = (self.part + 1, self.at.checked_mul(8)?, self.part_values);
        self.at = self.at.checked_add(usize::try_from(bytes).ok()?)?;
        (self.width <= 64).then_some(())
    }

    /// Where the integers end, before the first one is read.
    pub(super) fn end(&self, page: &[u8]) -> Option<usize> {
        let mut ahead = self.clone();
        let mut left = self.left.saturating_sub(1);
        while left > 0 {
            ahead.next_part(page)?;
            left = left.saturating_sub(self.part_values);
        }
        Some(ahead.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_packed_values_take_turns() {
        // The specification's example: 0 to 7 in three bits each; before it a run of 4 twos, after it one of 3 ones.
        let bytes = [8, 2, 3, 0b1000_1000, 0b1100_0110, 0b1111_1010, 6, 1];
        let mut hybrid = Hybrid::new(0, bytes.len(), 3).unwrap();
        let values: Vec<_> = std::iter::from_fn(|| hybrid.next(&bytes)).collect();
        assert_eq!(values, [2, 2, 2, 2, 0, 1, 2, 3, 4, 5, 6, 7, 1, 1, 1]);
        assert!(Hybrid::new(0, 0, 33).is_none());
    }

    #[test]
    fn differences_are_added_up() {
        // The specification's second example: 7, 5, 3, 1, 2, 3, 4, 5 as differences from -2 on, in two bits each.
        let bytes = [128, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0];
        let mut delta = Delta::new(&bytes, 0).unwrap();
        assert_eq!(delta.end(&bytes), Some(bytes.len()));
        let values: Vec<_> = std::iter::from_fn(|| delta.next(&bytes)).collect();
        assert_eq!(values, [7, 5, 3, 1, 2, 3, 4, 5]);
        assert!(Delta::new(&[128, 1, 0, 8, 14], 0).is_none(), "no parts in a block");
        assert_eq!(Delta::new(&bytes[..14], 0).unwrap().end(&bytes[..14]), Some(bytes.len()));
    }

    #[test]
    fn bits_are_found_at_every_place() {
        let bytes: Vec<u8> = (0..40).map(|byte: u8| byte.wrapping_mul(37)).collect();
        for from in 0..256 {
            for width in 1..=64 {
                let bit = |bit: usize| u64::from(bytes[bit / 8] >> (bit % 8) & 1);
                let expected = (0..width as usize).fold(0, |sum, place| sum | bit(from + place) << place);
                assert_eq!(bits(&bytes, from, width), Some(expected));
            }
        }
        assert_eq!((bits(&bytes, 313, 8), bits(&bytes, 312, 8)), (None, Some(39 * 37 % 256)));
    }
}
