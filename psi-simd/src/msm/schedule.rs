//! Which point goes to which lane at which step: plain counting, no arithmetic on points.

use crate::lane::{Kernel, Lane};

/// Coefficients cut into signed digits of `width` bits: a digit lies between -2^(width - 1) and 2^(width - 1).
///
/// Adding 2^(width - 1) in each window but the highest makes the digits unsigned; taking it off a digit again makes it signed.
pub(super) struct Windows {
    width: usize,
    low: Vec<u64>,
    high: Vec<u64>,
    top: Vec<i16>,
}

impl Windows {
    pub(super) fn new(coefficients: &[i128]) -> Self {
        let width = match coefficients.len() {
            0..128 => 5,
            128..2048 => 8,
            2048..8192 => 10,
            _ => 11,
        };
        let mut windows = Self { width, low: Vec::new(), high: Vec::new(), top: Vec::new() };
        let (shift, offset) = (width * (windows.count() - 1), windows.offset());
        for &coefficient in coefficients {
            let sum = (coefficient as u128).wrapping_add(offset);
            windows.low.push(sum as u64);
            windows.high.push((sum >> 64) as u64);
            // A negative coefficient stays below 2^127 with the offset; another one may pass it but doesn't wrap.
            let top = if coefficient < 0 { (sum as i128) >> shift } else { (sum >> shift) as i128 };
            windows.top.push(top as i16);
        }
        windows
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn count(&self) -> usize {
        128usize.div_ceil(self.width)
    }

    /// Buckets a window: one for each size of a digit but 0.
    pub(super) fn buckets(&self) -> usize {
        1 << (self.width - 1)
    }

    fn offset(&self) -> u128 {
        (0..self.count() - 1).map(|window| 1 << (self.width * window + self.width - 1)).sum()
    }
}

/// The digits of one window as (size << 1 | is negative).
pub(super) struct Digits<'a> {
    pub(super) windows: &'a Windows,
    pub(super) window: usize,
    pub(super) digits: &'a mut Vec<u16>,
}

impl<L: Lane> Kernel<L> for Digits<'_> {
    type Output = ();

    /// Plain loops, which the compiler turns into the lane's instructions.
    #[inline(always)]
    fn run(self) {
        let Self { windows, window, digits } = self;
        digits.clear();
        if window == windows.count() - 1 {
            return digits.extend(windows.top.iter().map(|&digit| code(digit)));
        }
        let (shift, half) = (windows.width * window, 1 << (windows.width - 1));
        let digit = |bits: u64| code((bits & (2 * half - 1)) as i16 - half as i16);
        if shift < 64 {
            let both = windows.low.iter().zip(&windows.high);
            digits.extend(both.map(|(&low, &high)| digit(low >> shift | (high << 1) << (63 - shift))));
        } else {
            digits.extend(windows.high.iter().map(|&high| digit(high >> (shift - 64))));
        }
    }
}

#[inline(always)]
fn code(digit: i16) -> u16 {
    digit.unsigned_abs() << 1 | u16::from(digit < 0)
}

/// The steps of one window: groups of buckets of about the same size, one bucket a lane.
#[derive(Default)]
pub(super) struct Schedule {
    /// Bucket numbers from 0, largest bucket first; as many at a time as there are lanes are a group.
    pub(super) order: Vec<usize>,
    /// Steps of each group: the size of its largest bucket.
    pub(super) steps: Vec<usize>,
    /// For each step and lane (row << 1 | is negative), row 0 being the identity. Two steps more at the end.
    pub(super) entries: Vec<u32>,
    sizes: Vec<u32>,
    next: Vec<u32>,
}

/// Sizes from here on are not told apart when sorting.
const LARGEST: usize = 256;

impl Schedule {
    pub(super) fn fill(&mut self, digits: &[u16], buckets: usize, lanes: usize) {
        self.count(digits, buckets);
        self.sort(buckets);
        let steps = self.lay_out(lanes);
        self.entries.clear();
        self.entries.resize((steps + 2) * lanes, 0);
        for (&digit, row) in digits.iter().zip(1..) {
            if digit > 1 {
                let next = &mut self.next[usize::from(digit >> 1) - 1];
                self.entries[*next as usize] = row << 1 | u32::from(digit & 1);
                *next += lanes as u32;
            }
        }
    }

    fn count(&mut self, digits: &[u16], buckets: usize) {
        self.sizes.clear();
        self.sizes.resize(buckets + 1, 0);
        for digit in digits {
            self.sizes[usize::from(digit >> 1)] += 1;
        }
        self.sizes.remove(0);
    }

    /// A counting sort.
    fn sort(&mut self, buckets: usize) {
        let rank = |size: u32| LARGEST - (size as usize).min(LARGEST);
        let mut starts = [0; LARGEST + 2];
        for &size in &self.sizes {
            starts[rank(size) + 1] += 1;
        }
        for i in 0..=LARGEST {
            starts[i + 1] += starts[i];
        }
        self.order.resize(buckets, 0);
        for (bucket, &size) in self.sizes.iter().enumerate() {
            self.order[starts[rank(size)]] = bucket;
            starts[rank(size)] += 1;
        }
    }

    /// Gives each bucket its lane's place in the entries; returns the number of steps.
    fn lay_out(&mut self, lanes: usize) -> usize {
        self.steps.clear();
        self.next.resize(self.sizes.len(), 0);
        let mut total = 0;
        for group in self.order.chunks_exact(lanes) {
            let steps = group.iter().map(|&bucket| self.sizes[bucket]).max().unwrap_or(0) as usize;
            for (lane, &bucket) in group.iter().enumerate() {
                self.next[bucket] = (total * lanes + lane) as u32;
            }
            self.steps.push(steps);
            total += steps;
        }
        total
    }
}
