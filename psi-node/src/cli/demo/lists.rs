//! The lists of the demonstration, and what they share.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use psi_core::identifier::Profile;
use psi_node::{
    fault::{Code, Fault},
    input::{self, Spec},
};

/// The column with the numbers.
pub(super) const COLUMN: &str = "phone";
/// Their type.
pub(super) const PROFILE: &str = "cn.mobile/1";
/// The most items that a job allows where nobody says otherwise.
pub(super) const MAX_ITEMS: u64 = 10_000_000;

const SAMPLE_A: &str = include_str!("../../../../docs/samples/bank-a.csv");
const SAMPLE_B: &str = include_str!("../../../../docs/samples/bank-b.csv");

/// Both lists.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lists {
    Samples,
    MadeUp { items: u64 },
}

impl Lists {
    /// Those of docs/samples.
    pub(super) fn samples() -> Self {
        Self::Samples
    }

    /// So many numbers each, half of them in both.
    pub(super) fn made_up(items: u64) -> Self {
        Self::MadeUp { items }
    }

    pub(super) fn write_a(self, file: File) -> io::Result<()> {
        self.write(file, SAMPLE_A, 150)
    }

    pub(super) fn write_b(self, file: File) -> io::Result<()> {
        self.write(file, SAMPLE_B, 180)
    }

    fn write(self, mut file: File, sample: &str, own_prefix: u64) -> io::Result<()> {
        match self {
            Self::Samples => file.write_all(sample.as_bytes()),
            Self::MadeUp { items } => {
                let mut file = BufWriter::new(file);
                writeln!(file, "{COLUMN}")?;
                for index in 0..items {
                    let prefix = if index < items / 2 { 130 } else { own_prefix };
                    writeln!(file, "{prefix}{:08}", scattered(index))?;
                }
                file.flush()
            }
        }
    }
}

/// A different eight-digit number for each index below 10^8: the factor has no divisor in common with it.
fn scattered(index: u64) -> u64 {
    index * 61_803_399 % 100_000_000
}

/// Whether each side's result holds exactly its rows whose number the other list has too, in their order. `files` are list
/// and result of each side; returns how many numbers the lists share.
pub(super) fn compare(files: &[(PathBuf, PathBuf); 2]) -> Result<u64, Fault> {
    let [a, b] = [numbers(&files[0].0)?, numbers(&files[1].0)?];
    let [in_a, in_b] = [&a, &b].map(|numbers| numbers.iter().copied().collect::<HashSet<_>>());
    for ((_, result), list, other) in [(&files[0], &a, &in_b), (&files[1], &b, &in_a)] {
        let expected = list.iter().filter(|number| other.contains(number));
        if !numbers(result)?.iter().eq(expected) {
            let message = format!("{}: not the rows that the lists share", result.display());
            return Err(Fault::new(Code::Unexpected, message));
        }
    }
    Ok(in_a.intersection(&in_b).count() as u64)
}

/// The numbers of a list row by row, without rejected rows.
fn numbers(path: &Path) -> Result<Vec<u64>, Fault> {
    let profile = Profile::parse(PROFILE).map_err(|error| Fault::new(Code::Unexpected, error.to_string()))?;
    let mut source = input::open(&Spec::csv(path, COLUMN), None)?;
    let (mut numbers, mut canonical) = (Vec::new(), Vec::new());
    while let Some(row) = source.row()? {
        let Ok(cell) = row.cells.and_then(|cells| cells.get(0)) else { continue };
        if profile.canonicalise(&[cell], &mut canonical).is_ok() {
            numbers.extend(std::str::from_utf8(&canonical).ok().and_then(|text| text.parse::<u64>().ok()));
        }
    }
    source.finish()?;
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(lists: Lists) -> (tempfile::TempDir, [(PathBuf, PathBuf); 2]) {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a.csv", "b.csv"].map(|name| folder.path().join(name));
        lists.write_a(File::create_new(&a).unwrap()).unwrap();
        lists.write_b(File::create_new(&b).unwrap()).unwrap();
        let results = ["out-a.csv", "out-b.csv"].map(|name| folder.path().join(name));
        let [out_a, out_b] = results;
        (folder, [(a, out_a), (b, out_b)])
    }

    #[test]
    fn made_up_lists_share_half() {
        for items in [2, 3, 1000] {
            let (_folder, files) = written(Lists::made_up(items));
            let lists = [&files[0].0, &files[1].0].map(|path| numbers(path).unwrap());
            let sets = lists.each_ref().map(|list| list.iter().copied().collect::<HashSet<_>>());
            assert!(sets.iter().all(|set| set.len() as u64 == items));
            assert_eq!(sets[0].intersection(&sets[1]).count() as u64, items / 2);
        }
    }

    #[test]
    fn the_samples_share_what_their_readme_says() {
        let (_folder, files) = written(Lists::samples());
        let [a, b] = [&files[0].0, &files[1].0].map(|path| numbers(path).unwrap());
        let write = |path: &Path, list: &[u64], other: &[u64]| {
            let rows = list.iter().filter(|number| other.contains(number)).map(u64::to_string);
            std::fs::write(path, format!("{COLUMN}\n{}\n", rows.collect::<Vec<_>>().join("\n"))).unwrap();
        };
        write(&files[0].1, &a, &b);
        write(&files[1].1, &b, &a);
        assert_eq!(compare(&files).unwrap(), 24);
        assert_eq!((a.len(), b.len()), (139, 150));
        assert_eq!(numbers(&files[0].1).unwrap().len(), 25);
    }

    #[test]
    fn a_result_with_a_row_too_few_or_another_order_is_noticed() {
        let (_folder, files) = written(Lists::made_up(4));
        let shared: Vec<String> = (0..2).map(|index| format!("130{:08}", scattered(index))).collect();
        let write = |side: usize, rows: &[&String]| {
            let rows: Vec<_> = rows.iter().map(|row| row.as_str()).collect();
            std::fs::write(&files[side].1, format!("{COLUMN}\n{}\n", rows.join("\n"))).unwrap();
        };
        write(0, &[&shared[0], &shared[1]]);
        for wrong in [&[&shared[0]][..], &[&shared[1], &shared[0]], &[&shared[0], &shared[1], &shared[1]]] {
            write(1, wrong);
            assert!(compare(&files).is_err());
        }
        write(1, &[&shared[0], &shared[1]]);
        assert_eq!(compare(&files).unwrap(), 2);
    }
}
