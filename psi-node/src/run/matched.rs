//! Which rows of our list match, and by which of the job's keys.

use crate::{
    fault::Fault,
    input::Key,
    join::{self, Bitmap, Sizes},
    journal::Finished,
    masked::StoredList,
};

/// What the join found.
pub(super) struct Matched {
    /// Identifiers that both have, of each list.
    counts: Vec<u64>,
    /// The rows that hold one of them, of each list.
    rows: Vec<Bitmap>,
    /// What the result's column says, for each subset of the keys.
    names: Vec<String>,
}

impl Matched {
    /// Joins each list of ours with the peer's, with about so many bytes of memory; `rows` says which rows hold some items of
    /// a list's set.
    pub(super) fn join(
        lists: &[StoredList],
        journal: &Finished,
        sizes: &[Sizes],
        of: &[Key],
        memory: u64,
        mut rows: impl FnMut(usize, &Bitmap) -> Result<Bitmap, Fault>,
    ) -> Result<Self, Fault> {
        let mut matched = Self { counts: Vec::new(), rows: Vec::new(), names: names(of) };
        for (number, (list, sizes)) in lists.iter().zip(sizes).enumerate() {
            let places = join::join(|| journal.keys(number as u16), *sizes, memory)?;
            matched.counts.push(places.count() as u64);
            // The join speaks of places in the masked list, the rows of places in the set.
            matched.rows.push(rows(number, &list.set_items(&places)?)?);
        }
        Ok(matched)
    }

    /// Identifiers that both have, of each list.
    pub(super) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How many rows the list has.
    pub(super) fn list_rows(&self) -> usize {
        self.rows.first().map_or(0, Bitmap::len)
    }

    /// Whether the row matches by any key.
    pub(super) fn has(&self, row: u32) -> bool {
        self.keys(row) != 0
    }

    /// The keys by which the row matches, as the result names them.
    pub(super) fn names(&self, row: u32) -> &str {
        &self.names[self.keys(row)]
    }

    /// The keys by which the row matches: the first key is bit 0.
    pub(super) fn keys(&self, row: u32) -> usize {
        let lists = self.rows.iter().enumerate();
        lists.fold(0, |subset, (list, rows)| subset | usize::from(rows.contains(row as usize)) << list)
    }
}

fn names(keys: &[Key]) -> Vec<String> {
    let named = |subset: usize| {
        let in_it = keys.iter().enumerate().filter(|(key, _)| subset >> key & 1 == 1);
        in_it.map(|(_, key)| key.label()).collect::<Vec<_>>().join(";")
    };
    (0..1 << keys.len()).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(columns: &[&str], profile: &str) -> Key {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Key { columns, profile: profile.parse().unwrap() }
    }

    #[test]
    fn every_subset_of_the_keys_has_its_names() {
        let keys = [key(&["phone"], "cn.mobile/1"), key(&["name", "phone"], "cn.name/1+cn.mobile/1")];
        assert_eq!(names(&keys), ["", "phone", "name+phone", "phone;name+phone"]);
    }
}
