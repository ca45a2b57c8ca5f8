//! Which rows of our list match, and by which of the job's keys.

use psi_core::mask::MaskedList;

use crate::{
    fault::Fault,
    input::{Key, RowMap},
    join::{self, Bitmap, Sizes},
    journal::Finished,
};

/// What the join found.
pub(super) struct Matched {
    /// Matching items of each list, by their place in the canonical set.
    items: Vec<Bitmap>,
    /// What the result's column says, for each subset of the keys.
    names: Vec<String>,
}

impl Matched {
    /// Joins each list of ours with the peer's.
    pub(super) fn join(
        lists: &[MaskedList],
        journal: &Finished,
        sizes: &[Sizes],
        of: &[Key],
    ) -> Result<Self, Fault> {
        let lists = lists.iter().zip(sizes).enumerate();
        let items = lists.map(|(number, (list, sizes))| matching_items(list, journal, number as u16, *sizes));
        Ok(Self { items: items.collect::<Result<_, _>>()?, names: names(of) })
    }

    /// Identifiers that both have, of each list.
    pub(super) fn counts(&self) -> Vec<u64> {
        self.items.iter().map(|items| items.count() as u64).collect()
    }

    /// Whether the row matches by any key; `rows` are the maps of all lists.
    pub(super) fn has(&self, rows: &[RowMap], row: u32) -> bool {
        self.keys(rows, row) != 0
    }

    /// The keys by which the row matches, as the result names them.
    pub(super) fn names(&self, rows: &[RowMap], row: u32) -> &str {
        &self.names[self.keys(rows, row)]
    }

    /// The keys by which the row matches: the first key is bit 0.
    pub(super) fn keys(&self, rows: &[RowMap], row: u32) -> usize {
        let lists = rows.iter().zip(&self.items).enumerate();
        lists.fold(0, |subset, (list, (rows, items))| subset | usize::from(rows.is_among(row, items)) << list)
    }
}

/// The join speaks of places in the masked list, the rows of places in the set.
fn matching_items(list: &MaskedList, journal: &Finished, number: u16, sizes: Sizes) -> Result<Bitmap, Fault> {
    let matched = join::join(|| journal.keys(number), sizes, u64::MAX)?;
    let mut items = Bitmap::new(matched.len());
    matched.iter().for_each(|index| items.insert(list.items[index].item as usize));
    Ok(items)
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
