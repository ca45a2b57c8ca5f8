//! Which item of a canonical set each row of the list holds.

use std::fmt;
use std::io::{self, Read, Write};

use crate::join::Bitmap;

/// Which item of the set each row holds, by the row's ordinal.
#[derive(PartialEq, Eq)]
pub struct RowMap(Vec<u32>);

const NONE: u32 = u32::MAX;

impl RowMap {
    /// Puts the rows without an item back between the others.
    pub(super) fn new(mut items: Vec<u32>, mut without: Vec<u32>) -> Self {
        let mut from = items.len();
        items.resize(from + without.len(), NONE);
        for to in (0..items.len()).rev() {
            if without.last().is_some_and(|row| *row as usize == to) {
                without.pop();
                items[to] = NONE;
            } else {
                from -= 1;
                items[to] = items[from];
            }
        }
        Self(items)
    }

    /// How many rows, those without an item included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The item of a row; none if the row has none or doesn't exist.
    pub fn item(&self, row: u32) -> Option<u32> {
        self.0.get(row as usize).copied().filter(|item| *item != NONE)
    }

    /// Whether the row holds one of these items.
    pub fn is_among(&self, row: u32, items: &Bitmap) -> bool {
        self.item(row).is_some_and(|item| items.contains(item as usize))
    }

    /// Writes the map, for a sealed file: the count as `u64`, then the items as `u32`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&(self.0.len() as u64).to_be_bytes())?;
        self.0.iter().try_for_each(|item| out.write_all(&item.to_be_bytes()))
    }

    /// Reads what [`write_to`](Self::write_to) wrote, up to the end.
    pub fn read_from(input: &mut impl Read) -> io::Result<Self> {
        let mut count = [0; 8];
        input.read_exact(&mut count)?;
        let count = u64::from_be_bytes(count);
        let mut items = Vec::with_capacity(count.min(1 << 20) as usize);
        for _ in 0..count {
            let mut item = [0; 4];
            input.read_exact(&mut item)?;
            items.push(u32::from_be_bytes(item));
        }
        match input.read(&mut [0])? {
            0 => Ok(Self(items)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "bytes left over after the row map")),
        }
    }
}

impl fmt::Debug for RowMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowMap").field("rows", &self.len()).finish_non_exhaustive()
    }
}
