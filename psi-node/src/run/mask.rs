//! Masking a list: as large a part of the set at a time as memory has room for. Parts are sorted runs, merged into the file
//! `masked`; where one part is all, its items stay in memory for the steps.

use std::{io, mem};

use psi_core::{
    identifier::CanonicalSet,
    key::SessionSeed,
    mask::{MaskedItem, Masking, Opener, Opening},
    plan::MAX_CHUNK,
};
use zeroize::Zeroizing;

use super::list::{Files, LIST, MASKED, OPENING};
use crate::{
    fault::{Fault, disk::storage},
    input::StoredSet,
    masked::{ListWriter, StoredList},
    runs::replace,
    scratch::{self, Scratch, SortedRun},
    seal::{SealKey, seal_bytes},
};

impl Files {
    /// Masks a set into the file `masked`. Where the terms say `openable`, seals the set and what opens the list too.
    pub(super) fn mask(
        &self,
        seal_key: &SealKey,
        masking: &Masking,
        seed: &SessionSeed,
        set: StoredSet,
        scratch: &Scratch,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<StoredList, Fault> {
        let place = |kind| self.place(seal_key, kind, masking.list);
        let failed = |error: io::Error| storage(self.folder(), &error);
        let mut masker = masking.start(seed, set.digest());
        let mut copy = masking.openable.then(|| place(LIST).create()).transpose()?;
        let parts = Parts::of(set, scratch, masking.openable, |part| {
            if let Some(copy) = &mut copy {
                part.iter().try_for_each(|item| CanonicalSet::write_item(copy, item))?;
            }
            Ok(masker.mask(part, progress))
        });
        let parts = parts.map_err(failed)?;
        let copied = copy.map_or(Ok(()), |copy| copy.finish()?.commit_over());
        copied.map_err(failed)?;
        let (key, opener) = masker.finish();
        let mut list = InOrder { writer: ListWriter::create(place(MASKED))?, opener };
        let resident = list.take(parts).map_err(failed)?;
        let opening = list.opener.map(Opener::finish);
        if let Some(opening) = &opening {
            let place = place(OPENING);
            let sealed = seal_bytes(seal_key, place.label(), &encoded(opening));
            replace(&place.path, &sealed.map_err(failed)?)?;
        }
        let list = list.writer.finish(key, opening.as_ref().map(Opening::commitment))?;
        Ok(match resident {
            Some(items) => list.resident(items),
            None => list,
        })
    }
}

/// A masked set.
enum Parts {
    /// In memory.
    One(CanonicalSet, Vec<MaskedItem>),
    /// As runs of `element | index of the item, u32 big-endian, and where it will be opened, the item`.
    Many(Vec<SortedRun>),
}

impl Parts {
    fn of(
        mut set: StoredSet,
        scratch: &Scratch,
        openable: bool,
        mut mask: impl FnMut(&CanonicalSet) -> io::Result<Vec<MaskedItem>>,
    ) -> io::Result<Self> {
        let (most, mut first, mut runs) = (part_of(&set, scratch.memory()), 0, Vec::new());
        loop {
            let part = set.part(most)?;
            let items = mask(&part)?;
            if part.len() as u64 == set.len() {
                return Ok(Self::One(part, items));
            }
            let mut run = scratch.sorted_run()?;
            for MaskedItem { element, item } in items {
                let canonical = if openable { part.get((item - first) as usize) } else { &[] };
                run.push(&element, &[&item.to_be_bytes(), canonical].concat())?;
            }
            runs.push(run.finish()?);
            first += part.len() as u32;
            if u64::from(first) == set.len() {
                return Ok(Self::Many(runs));
            }
        }
    }
}

/// How many items of the set to mask at a time: whole chunks, as the mask proof is made of them.
fn part_of(set: &StoredSet, memory: u64) -> usize {
    let item = size_of::<MaskedItem>() + set.width() + size_of::<u32>();
    let most = usize::try_from(memory / item as u64).unwrap_or(usize::MAX);
    (most / MAX_CHUNK).max(1) * MAX_CHUNK
}

/// A list in masked order on its way into its file.
struct InOrder {
    writer: ListWriter,
    opener: Option<Opener>,
}

impl InOrder {
    /// Returns the items if they are all in memory.
    fn take(&mut self, parts: Parts) -> io::Result<Option<Vec<MaskedItem>>> {
        match parts {
            Parts::One(set, items) => {
                self.push(&items, |index| set.get(items[index].item as usize))?;
                Ok(Some(items))
            }
            Parts::Many(runs) => {
                let mut batch = Batch::default();
                scratch::merge(runs, |element, value| {
                    if batch.items.len() == MAX_CHUNK {
                        self.flush(&mut batch)?;
                    }
                    batch.push(element, value)
                })?;
                self.flush(&mut batch).map(|()| None)
            }
        }
    }

    fn flush(&mut self, batch: &mut Batch) -> io::Result<()> {
        let Batch { items, canonical, ends } = mem::take(batch);
        let start = |index: usize| index.checked_sub(1).map_or(0, |before| ends[before]);
        self.push(&items, |index| &canonical[start(index)..ends[index]])
    }

    fn push<'a>(
        &mut self,
        items: &[MaskedItem],
        canonical: impl Fn(usize) -> &'a [u8] + Sync,
    ) -> io::Result<()> {
        if let Some(opener) = &mut self.opener {
            opener.push(items.len(), canonical);
        }
        self.writer.push(items)
    }
}

/// Items that were merged.
#[derive(Default)]
struct Batch {
    items: Vec<MaskedItem>,
    canonical: Zeroizing<Vec<u8>>,
    ends: Vec<usize>,
}

impl Batch {
    fn push(&mut self, element: &[u8], value: &[u8]) -> io::Result<()> {
        let other = || io::Error::from(io::ErrorKind::InvalidData);
        let (item, canonical) = value.split_first_chunk().ok_or_else(other)?;
        let element = element.try_into().map_err(|_| other())?;
        self.items.push(MaskedItem { element, item: u32::from_be_bytes(*item) });
        self.canonical.extend_from_slice(canonical);
        self.ends.push(self.canonical.len());
        Ok(())
    }
}

/// List seed, salt of the mask proof, mask proof.
fn encoded(opening: &Opening) -> Zeroizing<Vec<u8>> {
    let mut content = Zeroizing::new(Vec::new());
    content.extend_from_slice(opening.list_seed.as_bytes());
    content.extend_from_slice(opening.salt.as_bytes());
    content.extend_from_slice(&opening.mask_proof);
    content
}

#[cfg(test)]
mod tests {
    use psi_core::{identifier::SetBuilder, key::Role, mask::OwnList, suite::SuiteId};

    use super::*;
    use crate::{home::Home, input::Gathered, join::Bitmap, scratch::Room};

    fn masking(openable: bool) -> Masking {
        let (suite, profile) = (SuiteId::Ristretto255Sha512.suite(), "text/1".parse().unwrap());
        Masking { suite, sid: [3; 32], role: Role::Responder, list: 1, profile, openable }
    }

    fn check(openable: bool, memory: u64, is_resident: bool) {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Room { memory, ..Room::unlimited() }.at(folder.path());
        let (mut rows, mut builder) = (Gathered::new(None), SetBuilder::new());
        for row in 0..2 * MAX_CHUNK as u32 + 100 {
            let item = format!("item {:07}", row.wrapping_mul(2_654_435_761) % 9_999_991);
            assert!(rows.push(item.as_bytes()).is_ok());
            builder.push(item.as_bytes()).unwrap();
        }
        let (whole, masking, seed) =
            (builder.finish().0, masking(openable), SessionSeed::from_bytes([5; 32]));
        let expected = masking.run(&whole, &seed, &|_| {});
        let (home, seal_key) = (Home::at(folder.path()), SealKey::from_bytes([7; 32]));
        let files = Files::of(&home, "run");
        std::fs::create_dir_all(files.folder()).unwrap();
        let (set, _) = rows.sort(&scratch).unwrap();
        let list = files.mask(&seal_key, &masking, &seed, set, &scratch, &|_| {}).unwrap();
        let all = 0..whole.len();
        assert_eq!(list.is_resident(), is_resident);
        assert!(list.elements(all.clone()).unwrap() == expected.elements(all.clone()).unwrap());
        assert!(list.opening() == expected.opening() && list.key().public() == expected.key.public());
        for place in [0, MAX_CHUNK, whole.len() - 1] {
            let mut chosen = Bitmap::new(whole.len());
            chosen.insert(place);
            let items: Vec<_> = list.set_items(&chosen).unwrap().iter().collect();
            assert_eq!(items, [expected.items[place].item as usize]);
        }
        let mut names: Vec<_> =
            std::fs::read_dir(files.folder()).unwrap().flatten().map(|e| e.file_name()).collect();
        names.sort();
        assert_eq!(names, if openable { vec!["list-1", "masked-1", "opening-1"] } else { vec!["masked-1"] });
    }

    #[test]
    fn a_list_masked_in_parts_is_the_same_list() {
        check(true, 1_000_000, false);
        check(false, 0, false);
    }

    #[test]
    fn a_list_that_fits_stays_in_memory() {
        check(true, 10_000_000, true);
    }
}
