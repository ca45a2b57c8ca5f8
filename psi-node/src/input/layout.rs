//! How a file is laid out: format, encoding, delimiter.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Values between commas, semicolons, tabs or bars, quoted as in RFC 4180, with a heading.
    Csv,
    /// The same between tabs.
    Tsv,
    /// A sheet of a workbook (Office Open XML, ISO/IEC 29500), with a heading.
    Xlsx,
    /// One JSON object (RFC 8259) a line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
}

const FORMATS: [(&str, Format); 5] = [
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("xlsx", Format::Xlsx),
    ("jsonl", Format::JsonLines),
    ("parquet", Format::Parquet),
];

impl Format {
    /// By the ending of the file's name, else CSV.
    pub fn of(path: &Path) -> Self {
        let ending =
            path.extension().map_or_else(String::new, |ending| ending.to_string_lossy().to_lowercase());
        match ending.as_str() {
            "tsv" | "tab" => Self::Tsv,
            "xlsx" | "xlsm" => Self::Xlsx,
            "jsonl" | "ndjson" | "json" => Self::JsonLines,
            "parquet" => Self::Parquet,
            _ => Self::Csv,
        }
    }

    /// Whether the file is text, so that an encoding can be named.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Tsv | Self::JsonLines)
    }

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        named(&FORMATS, self)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(&FORMATS, name)
    }
}

/// How a text file encodes characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    Utf8,
    /// GB 18030; two-byte GBK and GB 2312 are part of it.
    Gb18030,
    /// GBK, read as GB 18030.
    Gbk,
    /// UTF-16, either byte order.
    Utf16,
}

const ENCODINGS: [(&str, Encoding); 4] = [
    ("utf-8", Encoding::Utf8),
    ("gb18030", Encoding::Gb18030),
    ("gbk", Encoding::Gbk),
    ("utf-16", Encoding::Utf16),
];

impl Encoding {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        named(&ENCODINGS, self)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Encoding {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(&ENCODINGS, name)
    }
}

/// What stands between the cells of a row: one ASCII character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter(u8);

impl Delimiter {
    /// What is tried where none is given, the usual ones first.
    pub(super) const TRIED: [Self; 4] = [Self(b','), Self(b';'), Self::TAB, Self(b'|')];
    pub(super) const TAB: Self = Self(b'\t');

    pub(super) fn byte(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TAB => f.write_str("tab"),
            Self(byte) => write!(f, "{}", char::from(byte)),
        }
    }
}

impl FromStr for Delimiter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match *text.as_bytes() {
            [b'\t'] | [b't', b'a', b'b'] | [b'\\', b't'] => Ok(Self::TAB),
            [byte] if byte.is_ascii_punctuation() && byte != b'"' => Ok(Self(byte)),
            _ => Err(format!("{text:?} is no delimiter: expected one of , ; | or another mark, or tab")),
        }
    }
}

fn named<T: Copy + PartialEq>(names: &[(&'static str, T)], one: T) -> &'static str {
    names.iter().find(|(_, known)| *known == one).expect("every variant has a name").0
}

fn by_name<T: Copy>(names: &[(&'static str, T)], name: &str) -> Result<T, String> {
    let found = names.iter().find(|(known, _)| *known == name).map(|(_, one)| *one);
    found.ok_or_else(|| {
        let known: Vec<_> = names.iter().map(|(known, _)| *known).collect();
        format!("{name:?}: expected one of {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (name, format) in FORMATS {
            assert_eq!((name.parse(), format.name()), (Ok(format), name));
        }
        for (name, encoding) in ENCODINGS {
            assert_eq!((name.parse(), encoding.to_string().as_str()), (Ok(encoding), name));
        }
        assert_eq!(
            "xls".parse::<Format>(),
            Err("\"xls\": expected one of csv, tsv, xlsx, jsonl, parquet".into())
        );
    }

    #[test]
    fn endings_name_formats() {
        let of = |name: &str| Format::of(Path::new(name));
        assert_eq!(
            ["a.csv", "a.txt", "a", "a.b.TSV"].map(of),
            [Format::Csv, Format::Csv, Format::Csv, Format::Tsv]
        );
        assert_eq!(
            ["a.XLSX", "a.ndjson", "a.parquet"].map(of),
            [Format::Xlsx, Format::JsonLines, Format::Parquet]
        );
    }

    #[test]
    fn delimiters_are_one_mark() {
        for (text, byte) in [(";", b';'), ("\t", b'\t'), ("tab", b'\t'), ("\\t", b'\t'), ("^", b'^')] {
            let delimiter: Delimiter = text.parse().unwrap();
            assert_eq!((delimiter.byte(), delimiter.to_string().parse()), (byte, Ok(delimiter)));
        }
        for text in ["", "\"", ",,", "a", "\n", "，"] {
            assert!(text.parse::<Delimiter>().is_err(), "{text:?}");
        }
    }
}
