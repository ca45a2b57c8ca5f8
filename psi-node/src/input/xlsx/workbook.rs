//! Which sheets a workbook has, and where its parts are.

use quick_xml::events::Event;

use super::package::{Package, attribute};
use crate::input::{Format, InputError, Spec};

/// What a workbook says of itself.
pub(super) struct Workbook {
    sheets: Vec<Listed>,
    /// The part with the shared texts.
    pub(super) strings: Option<String>,
    /// The part with the formats.
    pub(super) styles: Option<String>,
    /// Whether days are counted from 1904.
    pub(super) from_1904: bool,
}

/// A sheet.
pub(super) struct Listed {
    pub(super) name: String,
    /// Its part.
    pub(super) part: String,
    hidden: bool,
}

/// What `_rels` files say: a part that another one refers to.
struct Related {
    id: String,
    kind: String,
    part: String,
}

impl Workbook {
    pub(super) fn read(package: &mut Package) -> Result<Self, InputError> {
        let main = related(package, "")?.into_iter().find(|related| related.kind == "officeDocument");
        let main = main.map_or_else(|| "xl/workbook.xml".to_owned(), |related| related.part);
        if main.to_ascii_lowercase().ends_with(".bin") {
            let got = "a binary workbook (xlsb): save it as xlsx";
            return Err(InputError::OtherFormat { path: package.path.clone(), asked: Format::Xlsx, got });
        }
        let parts = related(package, &main)?;
        let of_kind = |kind: &str| parts.iter().find(|part| part.kind == kind).map(|part| part.part.clone());
        let (strings, styles) = (of_kind("sharedStrings"), of_kind("styles"));
        let mut workbook = Self { sheets: Vec::new(), strings, styles, from_1904: false };
        package.read(&main, |xml| {
            loop {
                match xml.next()? {
                    Event::Start(element) => match element.local_name().as_ref() {
                        "workbookPr" => workbook.from_1904 = is_true(attribute(&element, "date1904")),
                        "sheet" => {
                            let id = attribute(&element, "id").unwrap_or_default();
                            // Charts and macros are listed here as well.
                            let part = parts.iter().find(|part| part.id == id && part.kind == "worksheet");
                            workbook.sheets.extend(part.map(|part| Listed {
                                name: attribute(&element, "name").unwrap_or_default(),
                                part: part.part.clone(),
                                hidden: attribute(&element, "state").is_some_and(|state| state != "visible"),
                            }));
                        }
                        _ => {}
                    },
                    Event::Eof => return Ok(()),
                    _ => {}
                }
            }
        })?;
        Ok(workbook)
    }

    /// The sheet that is named, or the only one that is visible.
    pub(super) fn choose(&self, spec: &Spec) -> Result<&Listed, InputError> {
        let path = spec.path.clone();
        let names = |sheets: Vec<&Listed>| {
            sheets.iter().map(|sheet| format!("{:?}", sheet.name)).collect::<Vec<_>>().join(", ")
        };
        if let Some(asked) = &spec.sheet {
            let found = self.sheets.iter().find(|sheet| sheet.name.trim() == asked.trim());
            let known = names(self.sheets.iter().collect());
            return found.ok_or_else(|| InputError::MissingSheet { path, sheet: asked.clone(), known });
        }
        let visible: Vec<_> = self.sheets.iter().filter(|sheet| !sheet.hidden).collect();
        match visible[..] {
            [sheet] => Ok(sheet),
            [] => Err(InputError::Empty { path }),
            _ => Err(InputError::SeveralSheets { path, known: names(visible) }),
        }
    }
}

/// What a part refers to; the package itself has no name.
fn related(package: &mut Package, part: &str) -> Result<Vec<Related>, InputError> {
    let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
    let rels = format!("{folder}{}_rels/{name}.rels", if folder.is_empty() { "" } else { "/" });
    if !package.has(&rels) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    package.read(&rels, |xml| {
        loop {
            match xml.next()? {
                Event::Start(element) if element.local_name().as_ref() == "Relationship" => {
                    let value = |name| attribute(&element, name).unwrap_or_default();
                    let kind = value("Type").rsplit('/').next().unwrap_or_default().to_owned();
                    found.push(Related { id: value("Id"), kind, part: resolved(folder, &value("Target")) });
                }
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    })?;
    Ok(found)
}

/// A target is given from the root of the package or from the folder of the part that refers to it.
fn resolved(folder: &str, target: &str) -> String {
    let whole = match target.strip_prefix('/') {
        Some(rooted) => rooted.to_owned(),
        None => format!("{folder}/{target}"),
    };
    let mut segments = Vec::new();
    for segment in whole.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

pub(super) fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| value == "1" || value == "true")
}

#[cfg(test)]
mod tests {
    use super::resolved;

    #[test]
    fn targets_are_resolved() {
        assert_eq!(resolved("xl", "worksheets/sheet1.xml"), "xl/worksheets/sheet1.xml");
        assert_eq!(resolved("xl", "/xl/sharedStrings.xml"), "xl/sharedStrings.xml");
        assert_eq!(resolved("xl/a", "../styles.xml"), "xl/styles.xml");
        assert_eq!(resolved("", "xl/workbook.xml"), "xl/workbook.xml");
    }
}
