//! The parts of a workbook: XML files in a ZIP archive, inflated as they are read, with bounds.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::path::PathBuf;

use flate2::Crc;
use flate2::read::DeflateDecoder;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use zip::{CompressionMethod, ZipArchive};

use crate::input::feed::Whole;
use crate::input::{Format, InputError};
use crate::seal::SealError;

/// The most bytes of a part that is read at once, inflated.
const MAX_PART: u64 = 1 << 30;
const CHECKSUM: &str = "checksum";

/// The archive.
pub(super) struct Package {
    archive: ZipArchive<Whole>,
    pub(super) path: PathBuf,
}

impl Package {
    pub(super) fn open(mut whole: Whole) -> Result<Self, InputError> {
        let path = whole.path().to_owned();
        let failed = |source| InputError::Read { path: path.clone(), source };
        let mut start = [0; 8];
        let read = whole.read(&mut start).map_err(failed)?;
        let asked = Format::Xlsx;
        match &start[..read] {
            [] => return Err(InputError::Empty { path }),
            [b'P', b'K', 3 | 5, ..] => {}
            [0xd0, 0xcf, 0x11, 0xe0, ..] => {
                let got = "an Excel workbook of before 2007, or one with a password";
                return Err(InputError::OtherFormat { path, asked, got });
            }
            _ => return Err(InputError::OtherFormat { path, asked, got: "no workbook" }),
        }
        match ZipArchive::new(whole) {
            Ok(archive) => Ok(Self { archive, path }),
            Err(zip::result::ZipError::Io(source)) if SealError::of(&source).is_some() => Err(failed(source)),
            Err(_) => Err(InputError::Workbook { path, what: "the archive is damaged or cut short".into() }),
        }
    }

    /// Whether there is a part of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Names of parts don't distinguish capitals.
    fn find(&self, name: &str) -> Option<usize> {
        let named = |index: &usize| {
            let known = self.archive.name_for_index(*index);
            known.is_some_and(|known| known.is_ok_and(|known| known.eq_ignore_ascii_case(name)))
        };
        (0..self.archive.len()).find(named)
    }

    /// Reads one part of bounded size.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Xml<&mut dyn BufRead>) -> Result<T, InputError>,
    ) -> Result<T, InputError> {
        let (index, path) = (self.index(name)?, self.path.clone());
        let file = self.archive.by_index(index).map_err(|_| damaged(&path, name))?;
        let mut bounded = BufReader::new(file.take(MAX_PART));
        let mut xml = Xml::new(&mut bounded as &mut dyn BufRead, name, path);
        read(&mut xml)
    }

    /// One part, to be read in pieces.
    pub(super) fn stream(mut self, name: &str) -> Result<Xml<BufReader<Part>>, InputError> {
        let index = self.index(name)?;
        let entry = self.archive.by_index_raw(index).map_err(|_| damaged(&self.path, name))?;
        let (start, size) = (entry.data_start(), entry.compressed_size());
        let (method, crc32, encrypted) = (entry.compression(), entry.crc32(), entry.encrypted());
        drop(entry);
        let mut whole = self.archive.into_inner();
        let start = start.filter(|_| !encrypted).ok_or_else(|| damaged(&self.path, name))?;
        let source = |source| InputError::Read { path: self.path.clone(), source };
        whole.seek(SeekFrom::Start(start)).map_err(source)?;
        let bytes = BufReader::with_capacity(64 * 1024, whole).take(size);
        let inner = match method {
            CompressionMethod::Stored => Inflate::Stored(bytes),
            CompressionMethod::Deflated => Inflate::Deflated(DeflateDecoder::new(bytes)),
            _ => return Err(damaged(&self.path, name)),
        };
        let part = Part { inner, crc: Crc::new(), crc32, left: u64::MAX };
        Ok(Xml::new(BufReader::with_capacity(64 * 1024, part), name, self.path))
    }

    fn index(&self, name: &str) -> Result<usize, InputError> {
        self.find(name).ok_or_else(|| InputError::Workbook {
            path: self.path.clone(),
            what: format!("the part {name:?} is missing"),
        })
    }
}

fn damaged(path: &std::path::Path, part: &str) -> InputError {
    InputError::Workbook { path: path.into(), what: format!("the part {part:?} is damaged") }
}

/// A part as it is inflated; its checksum is compared at its end.
pub(super) struct Part {
    inner: Inflate,
    crc: Crc,
    crc32: u32,
    /// Bytes that may still be read before somebody allows more.
    left: u64,
}

type Bytes = Take<BufReader<Whole>>;

enum Inflate {
    Stored(Bytes),
    Deflated(DeflateDecoder<Bytes>),
}

impl Part {
    /// Allows so many bytes from here on.
    pub(super) fn allow(&mut self, bytes: u64) {
        self.left = bytes;
    }

    pub(super) fn into_whole(self) -> Whole {
        let bytes = match self.inner {
            Inflate::Stored(bytes) => bytes,
            Inflate::Deflated(inflate) => inflate.into_inner(),
        };
        bytes.into_inner().into_inner()
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = match &mut self.inner {
            Inflate::Stored(bytes) => bytes.read(&mut buffer[..most])?,
            Inflate::Deflated(inflate) => inflate.read(&mut buffer[..most])?,
        };
        self.left = self.left.saturating_sub(read as u64);
        self.crc.update(&buffer[..read]);
        if read == 0 && !buffer.is_empty() && self.crc.sum() != self.crc32 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, CHECKSUM));
        }
        Ok(read)
    }
}

/// XML that is read event by event. Errors have a part and a place in it, never what stands there.
pub(super) struct Xml<R> {
    reader: Reader<R>,
    buffer: Vec<u8>,
    part: String,
    path: PathBuf,
}

impl<R: BufRead> Xml<R> {
    fn new(inner: R, part: &str, path: PathBuf) -> Self {
        let mut reader = Reader::from_reader(inner);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, buffer: Vec::with_capacity(1024), part: part.into(), path }
    }

    /// The next event; nothing is an end that wasn't announced.
    pub(super) fn next(&mut self) -> Result<Event<'_>, InputError> {
        self.buffer.clear();
        match self.reader.read_event_into(&mut self.buffer) {
            Ok(event) => Ok(event),
            Err(error) => Err(broken(&self.path, &self.part, self.reader.error_position(), error)),
        }
    }

    pub(super) fn inner(&mut self) -> &mut R {
        self.reader.get_mut()
    }

    pub(super) fn into_inner(self) -> R {
        self.reader.into_inner()
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The part is not as it should be here.
    pub(super) fn damaged(&self) -> InputError {
        let what = format!("the part {:?} is damaged near byte {}", self.part, self.reader.buffer_position());
        InputError::Workbook { path: self.path.clone(), what }
    }

    /// Appends the text up to the end of the element that is open.
    pub(super) fn text(&mut self, out: &mut String) -> Result<(), InputError> {
        let mut depth = 0;
        loop {
            let fine = match self.next()? {
                Event::Text(text) => push(out, &text),
                Event::CData(text) => push(out, &text),
                Event::GeneralRef(reference) => push_reference(out, &reference),
                Event::Start(_) => {
                    depth += 1;
                    true
                }
                Event::End(_) if depth == 0 => return Ok(()),
                Event::End(_) => {
                    depth -= 1;
                    true
                }
                Event::Eof => false,
                _ => true,
            };
            if !fine {
                return Err(self.damaged());
            }
        }
    }

    /// Appends the text of a shared or inline string, `<si>` or `<is>`, without its phonetic readings.
    pub(super) fn rich_text(&mut self, out: &mut String) -> Result<(), InputError> {
        let (mut depth, mut phonetic) = (0, 0);
        let start = out.len();
        loop {
            enum Seen {
                Text,
                Open(bool),
                Close(bool),
                Eof,
                Other,
            }
            let seen = match self.next()? {
                Event::Start(element) => match element.local_name().as_ref() {
                    "t" if phonetic == 0 => Seen::Text,
                    name => Seen::Open(name == "rPh"),
                },
                Event::End(element) => Seen::Close(element.local_name().as_ref() == "rPh"),
                Event::Eof => Seen::Eof,
                _ => Seen::Other,
            };
            match seen {
                Seen::Text => self.text(out)?,
                Seen::Open(is_phonetic) => (depth, phonetic) = (depth + 1, phonetic + i32::from(is_phonetic)),
                Seen::Close(_) if depth == 0 => break,
                Seen::Close(is_phonetic) => {
                    (depth, phonetic) = (depth - 1, phonetic - i32::from(is_phonetic))
                }
                Seen::Eof => return Err(self.damaged()),
                Seen::Other => {}
            }
        }
        if out[start..].contains("_x") {
            let plain = without_escapes(&out[start..]);
            out.replace_range(start.., &plain);
        }
        Ok(())
    }
}

fn push(out: &mut String, text: &str) -> bool {
    out.push_str(text);
    true
}

/// `&lt;` and its like; documents without a DTD have no others.
fn push_reference(out: &mut String, reference: &BytesRef<'_>) -> bool {
    let known = match reference.resolve_char_ref() {
        Ok(Some(c)) => Some(c),
        Ok(None) => match reference.as_ref() {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => None,
        },
        Err(_) => None,
    };
    out.extend(known);
    known.is_some()
}

/// `_x000D_` and its like (ISO/IEC 29500, `ST_Xstring`).
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("_x") {
        let escaped = rest.get(at + 2..at + 7).and_then(|hex| hex.strip_suffix('_'));
        let c = escaped.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        let taken = if c.is_some() { 7 } else { 2 };
        out.push_str(&rest[..at]);
        match c {
            Some(c) => out.push(c),
            None => out.push_str("_x"),
        }
        rest = &rest[at + taken..];
    }
    out + rest
}

/// The value of an attribute without its prefix, references resolved; none if it is absent or damaged.
pub(super) fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found =
        element.attributes().flatten().find(|attribute| attribute.key.local_name().as_ref() == name)?;
    found.normalized_value(XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
}

fn broken(path: &std::path::Path, part: &str, place: u64, error: quick_xml::Error) -> InputError {
    let what = match error {
        quick_xml::Error::Io(error) if SealError::of(&error).is_some() => {
            let source = io::Error::new(error.kind(), SealError::of(&error).expect("it is one").clone());
            return InputError::Read { path: path.into(), source };
        }
        quick_xml::Error::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            format!("the part {part:?} has a row that is too long, near byte {place}")
        }
        _ => format!("the part {part:?} is damaged near byte {place}"),
    };
    InputError::Workbook { path: path.into(), what }
}
