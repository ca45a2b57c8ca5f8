//! What the first bytes of a file tell: another format, another encoding, a byte order.

use encoding_rs::{DecoderResult, GB18030};

use super::BYTE_ORDER_MARK;
use crate::input::{Encoding, Format, InputError, Spec};

/// Bytes that are looked at in any file.
pub(super) const START: usize = 64;
/// Bytes that are looked at if an encoding is named.
pub(super) const SAMPLE: usize = 64 * 1024;

/// Refuses a file that is of another format or in another encoding than the spec says.
pub(super) fn check(start: &[u8], spec: &Spec) -> Result<(), InputError> {
    let (path, asked) = (spec.path.clone(), spec.encoding);
    if let Some(got) = other_format(start, spec.format) {
        return Err(InputError::OtherFormat { path, asked: spec.format, got });
    }
    let sample = &start[..start.len().min(START)];
    match asked {
        Encoding::Utf8 if is_utf16(sample) => Err(InputError::Utf16 { path }),
        Encoding::Gb18030 | Encoding::Gbk if is_utf16(sample) => Err(InputError::Utf16 { path }),
        Encoding::Gb18030 | Encoding::Gbk if is_utf8(start) => Err(InputError::Utf8 { path, asked }),
        Encoding::Utf16 if start.starts_with(BYTE_ORDER_MARK) => Err(InputError::Utf8 { path, asked }),
        Encoding::Utf16 if !start.is_empty() && byte_order(sample).is_none() => {
            Err(InputError::NoByteOrder { path })
        }
        _ => Ok(()),
    }
}

/// What the file is instead of the text that was expected.
fn other_format(start: &[u8], asked: Format) -> Option<&'static str> {
    let text = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(start).trim_ascii_start();
    let begins = |mark: &[u8]| text.get(..mark.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(mark));
    let known = [
        (start.starts_with(b"PK\x03\x04"), "a ZIP archive, such as an Excel workbook (format xlsx)"),
        (start.starts_with(b"\xd0\xcf\x11\xe0"), "an Excel workbook of before 2007, or one with a password"),
        (start.starts_with(b"PAR1"), "Apache Parquet (format parquet)"),
        (start.starts_with(b"\x1f\x8b"), "a gzip archive"),
        (
            begins(b"<html") || begins(b"<!doctype") || begins(b"<table"),
            "HTML: save it as CSV or as a workbook",
        ),
        (begins(b"<?xml"), "XML: save it as CSV or as a workbook"),
        (asked != Format::JsonLines && begins(b"{\""), "JSON (format jsonl)"),
    ];
    known.into_iter().find(|(applies, _)| *applies).map(|(_, name)| name)
}

/// By its byte order mark, or by zeros in at least every fourth byte.
fn is_utf16(start: &[u8]) -> bool {
    let marked = start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff");
    marked || start.len() >= 4 && start.iter().filter(|byte| **byte == 0).count() * 4 >= start.len()
}

/// Whether UTF-16 begins with the high byte: by its mark, or by where zeros stand.
fn byte_order(start: &[u8]) -> Option<bool> {
    match start {
        [0xfe, 0xff, ..] => return Some(true),
        [0xff, 0xfe, ..] => return Some(false),
        _ => {}
    }
    let zeros = |from: usize| start.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    match (zeros(0), zeros(1)) {
        (high, low) if high > low => Some(true),
        (high, low) if low > high => Some(false),
        _ => None,
    }
}

pub(super) fn is_big_endian(start: &[u8]) -> bool {
    byte_order(&start[..start.len().min(START)]).unwrap_or(false)
}

/// By its byte order mark, or since nothing in it is not, with two ideographs at least: Chinese in GB 18030 is hardly
/// ever UTF-8 as well.
fn is_utf8(start: &[u8]) -> bool {
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_some() => return false,
        Err(error) => super::valid(&start[..error.valid_up_to()]),
    };
    start.starts_with(BYTE_ORDER_MARK) || valid.chars().filter(|c| is_chinese(*c)).count() > 1
}

/// Whether bytes that are no UTF-8 are GB 18030, with an ideograph first.
pub(super) fn reads_as_gb18030(bytes: &[u8]) -> bool {
    let sample = &bytes[..bytes.len().min(1024)];
    let mut decoded = vec![0; sample.len() * 3 + 16];
    let (result, _, written) =
        GB18030.new_decoder().decode_to_utf8_without_replacement(sample, &mut decoded, false);
    let first = String::from_utf8_lossy(&decoded[..written]).chars().next();
    !matches!(result, DecoderResult::Malformed(..)) && first.is_some_and(is_chinese)
}

fn is_chinese(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ffef}')
}
