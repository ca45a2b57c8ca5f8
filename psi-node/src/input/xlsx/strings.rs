//! The texts that the cells of a workbook share, in one arena.

use quick_xml::events::Event;
use zeroize::Zeroizing;

use super::package::Package;
use crate::input::InputError;

/// Shared texts by their index.
#[derive(Default)]
pub(super) struct Strings {
    arena: Zeroizing<String>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Strings {
    pub(super) fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.arena[start..end])
    }
}

/// Reads them all.
pub(super) fn read(package: &mut Package, part: Option<&str>) -> Result<Strings, InputError> {
    let mut strings = Strings::default();
    let Some(part) = part.filter(|part| package.has(part)) else { return Ok(strings) };
    package.read(part, |xml| {
        loop {
            match xml.next()? {
                Event::Start(element) if element.local_name().as_ref() == "si" => {}
                // The end of a part that was cut off because of its size is no end either.
                Event::End(element) if element.local_name().as_ref() == "sst" => return Ok(()),
                Event::Eof => return Err(xml.damaged()),
                _ => continue,
            }
            xml.rich_text(&mut strings.arena)?;
            strings.ends.push(u32::try_from(strings.arena.len()).map_err(|_| xml.damaged())?);
        }
    })?;
    Ok(strings)
}
