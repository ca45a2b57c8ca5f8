//! What a value looks like as a cell, and what it is good for.

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, TimeDelta};
use zeroize::Zeroizing;

use super::Wrong;
use super::footer::{Column, Meaning};
use crate::input::RowFault;

/// What a cell is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Good {
    Text,
    /// Zeros at the start may be lost.
    Number,
    Nothing(RowFault),
}

const BROKEN: Wrong = Wrong::Damage("a value makes no sense");
/// The Julian day of 1 January 1970.
const JULIAN_EPOCH: i64 = 2_440_588;
/// Whole numbers up to here have a form of their own as 32 and as 64 bits; beyond, and from 15 digits on, one may stand for
/// another that was rounded.
const FLOAT_KEEPS: f64 = 16_777_216.0;
const DOUBLE_KEEPS: f64 = 1e15;

/// Writes a value, as the plain encoding has it, into `out`.
pub(super) fn write(raw: &[u8], column: &Column, out: &mut String) -> Result<Good, Wrong> {
    let not_text = |got| Good::Nothing(RowFault::NotText { got });
    match column.meaning {
        Meaning::Text => {
            out.push_str(std::str::from_utf8(raw).map_err(|_| Wrong::Damage("text that is not UTF-8"))?);
            Ok(Good::Text)
        }
        Meaning::Bytes => Ok(match std::str::from_utf8(raw) {
            Ok(text) => {
                out.push_str(text);
                Good::Text
            }
            Err(_) => {
                hex(raw, out);
                not_text("bytes")
            }
        }),
        Meaning::Boolean => {
            out.push_str(if raw == [0] { "false" } else { "true" });
            Ok(not_text("true or false"))
        }
        Meaning::Signed => show(integer(raw)?, out, Good::Number),
        Meaning::Unsigned => show(unsigned(raw)?, out, Good::Number),
        Meaning::Float => float(raw, out),
        Meaning::Decimal { scale, big_endian } => {
            decimal(raw, scale as usize, big_endian, out)?;
            Ok(Good::Number)
        }
        Meaning::Date => show(day(integer(raw)?)?, out, not_text("a date")),
        Meaning::Time(unit) => {
            let time = instant(0, integer(raw)?, unit)?.time();
            show(time, out, not_text("a time"))
        }
        Meaning::Timestamp(unit) => shown_instant(0, integer(raw)?, unit, out),
        Meaning::JulianTimestamp => {
            let (nanos, day) = raw.split_at_checked(8).ok_or(BROKEN)?;
            shown_instant(integer(day)? - JULIAN_EPOCH, integer(nanos)?, 1_000_000_000, out)
        }
        Meaning::Uuid => {
            for (place, byte) in raw.iter().enumerate() {
                out.push_str(if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" });
                hex(&[*byte], out);
            }
            Ok(Good::Text)
        }
    }
}

fn show(shown: impl std::fmt::Display, out: &mut String, good: Good) -> Result<Good, Wrong> {
    write!(out, "{shown}").map_err(|_| BROKEN)?;
    Ok(good)
}

fn hex(bytes: &[u8], out: &mut String) {
    out.push_str(&data_encoding::HEXLOWER.encode(bytes));
}

fn integer(raw: &[u8]) -> Result<i64, Wrong> {
    match raw.len() {
        4 => Ok(raw.try_into().map(i32::from_le_bytes).map_err(|_| BROKEN)?.into()),
        _ => raw.try_into().map(i64::from_le_bytes).map_err(|_| BROKEN),
    }
}

fn unsigned(raw: &[u8]) -> Result<u64, Wrong> {
    match raw.len() {
        4 => Ok(raw.try_into().map(u32::from_le_bytes).map_err(|_| BROKEN)?.into()),
        _ => raw.try_into().map(u64::from_le_bytes).map_err(|_| BROKEN),
    }
}

/// As a workbook's numbers: whole ones without a point, and refused where a digit may have been rounded.
fn float(raw: &[u8], out: &mut String) -> Result<Good, Wrong> {
    let (number, keeps) = match raw.len() {
        4 => {
            let number = raw.try_into().map(f32::from_le_bytes).map_err(|_| BROKEN)?;
            show(number, out, Good::Number)?;
            (f64::from(number), FLOAT_KEEPS)
        }
        _ => {
            let number = raw.try_into().map(f64::from_le_bytes).map_err(|_| BROKEN)?;
            show(number, out, Good::Number)?;
            (number, DOUBLE_KEEPS)
        }
    };
    Ok(match number.abs() < keeps {
        true => Good::Number,
        false if number.is_nan() => Good::Nothing(RowFault::NotText { got: "no number (NaN)" }),
        false => Good::Nothing(RowFault::Float),
    })
}

/// The digits, with a point before the last `scale` of them.
fn decimal(raw: &[u8], scale: usize, big_endian: bool, out: &mut String) -> Result<(), Wrong> {
    // No system has decimals of more than 32 bytes, or 76 digits.
    if raw.len() > 32 || scale > 76 {
        return Err(BROKEN);
    }
    let mut bytes = Zeroizing::new(raw.to_vec());
    if !big_endian {
        bytes.reverse();
    }
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    if negative {
        negate(&mut bytes);
    }
    let mut digits = digits(&mut bytes);
    while digits.len() <= scale {
        digits.push(b'0');
    }
    if negative {
        out.push('-');
    }
    for (place, digit) in digits.iter().enumerate().rev() {
        out.push(char::from(*digit));
        if place == scale && scale > 0 {
            out.push('.');
        }
    }
    Ok(())
}

/// The two's complement, the highest byte first.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(carry.into());
    }
}

/// Decimal digits of an integer of any size, the lowest first; none of them for 0.
fn digits(bytes: &mut [u8]) -> Zeroizing<Vec<u8>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(80));
    while bytes.iter().any(|byte| *byte > 0) {
        let mut rest = 0_u32;
        for byte in bytes.iter_mut() {
            let value = rest << 8 | u32::from(*byte);
            (*byte, rest) = ((value / 10) as u8, value % 10);
        }
        digits.push(b'0' + rest as u8);
    }
    digits
}

fn day(since_1970: i64) -> Result<NaiveDate, Wrong> {
    let days = TimeDelta::try_days(since_1970).ok_or(BROKEN)?;
    NaiveDate::default().checked_add_signed(days).ok_or(BROKEN)
}

/// Parts of a second since midnight of a day.
fn instant(since_1970: i64, parts: i64, unit: i64) -> Result<chrono::NaiveDateTime, Wrong> {
    let nanos = parts.rem_euclid(unit) * (1_000_000_000 / unit);
    let seconds = since_1970.checked_mul(86_400).and_then(|day| day.checked_add(parts.div_euclid(unit)));
    let nanos = u32::try_from(nanos).map_err(|_| BROKEN)?;
    let instant = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, nanos));
    instant.map(|instant| instant.naive_utc()).ok_or(BROKEN)
}

fn shown_instant(since_1970: i64, parts: i64, unit: i64, out: &mut String) -> Result<Good, Wrong> {
    let instant = instant(since_1970, parts, unit)?;
    let good = Good::Nothing(RowFault::NotText { got: "a date" });
    show(instant.format("%Y-%m-%dT%H:%M:%S%.f"), out, good)
}
