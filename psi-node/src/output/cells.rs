//! The cells of one row, taken out of its source.

use crate::input::{InputError, Source};

/// All cells of a row, one behind the other, and where each ends.
#[derive(Default)]
pub(super) struct Cells {
    text: String,
    ends: Vec<usize>,
}

impl Cells {
    /// Takes those of the row that the source returned last.
    pub(super) fn take(&mut self, source: &mut dyn Source) -> Result<(), InputError> {
        self.text.clear();
        self.ends.clear();
        source.cells(&mut |cell| {
            self.text.push_str(cell);
            self.ends.push(self.text.len());
        })
    }

    /// A cell; a row that ends early has empty ones behind its end.
    pub(super) fn get(&self, place: usize) -> &str {
        self.ends.get(place).map_or("", |end| &self.text[self.start(place)..*end])
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default()
    }
}
