//! How numbers are shown: only what decides whether a number is a date or was filled up with zeros.

use chrono::{Days, NaiveDate, TimeDelta};
use quick_xml::events::Event;

use super::package::{Package, attribute};
use crate::input::InputError;

/// How a number is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Shown {
    /// As a number.
    #[default]
    Number,
    /// As date or time.
    Date,
    /// With at least so many digits, zeros in front.
    Filled(usize),
}

/// The formats of a workbook.
#[derive(Default)]
pub(super) struct Styles {
    by_cell: Vec<Shown>,
    from_1904: bool,
}

impl Styles {
    /// How a cell of this style is shown.
    pub(super) fn shown(&self, style: usize) -> Shown {
        self.by_cell.get(style).copied().unwrap_or_default()
    }

    /// Days since the epoch of the workbook as ISO 8601.
    pub(super) fn date(&self, serial: f64) -> Option<String> {
        // Spreadsheets have a 29 February 1900: from the next day on, counting starts a day earlier.
        let start = match self.from_1904 {
            true => NaiveDate::from_ymd_opt(1904, 1, 1),
            false if serial < 60.0 => NaiveDate::from_ymd_opt(1899, 12, 31),
            false => NaiveDate::from_ymd_opt(1899, 12, 30),
        };
        let (days, seconds) = (serial.floor(), (serial.fract() * 86_400.0).round());
        let date = start?.checked_add_days(Days::new((0.0..3e6).contains(&days).then_some(days as u64)?))?;
        if seconds == 0.0 {
            return Some(date.format("%Y-%m-%d").to_string());
        }
        let time = date.and_hms_opt(0, 0, 0)?.checked_add_signed(TimeDelta::seconds(seconds as i64))?;
        Some(time.format("%Y-%m-%dT%H:%M:%S").to_string())
    }
}

/// Reads the formats of cells.
pub(super) fn read(package: &mut Package, part: Option<&str>, from_1904: bool) -> Result<Styles, InputError> {
    let mut styles = Styles { by_cell: Vec::new(), from_1904 };
    let Some(part) = part.filter(|part| package.has(part)) else { return Ok(styles) };
    let (mut custom, mut of_cells) = (Vec::new(), false);
    package.read(part, |xml| {
        loop {
            match xml.next()? {
                Event::Start(element) => match element.local_name().as_ref() {
                    "numFmt" => {
                        let code = attribute(&element, "formatCode").unwrap_or_default();
                        custom.push((number(attribute(&element, "numFmtId")), by_code(&code)));
                    }
                    "cellXfs" => of_cells = true,
                    "xf" if of_cells => {
                        let id = number(attribute(&element, "numFmtId"));
                        let known = custom.iter().find(|(custom, _)| *custom == id).map(|(_, shown)| *shown);
                        styles.by_cell.push(known.unwrap_or_else(|| by_id(id)));
                    }
                    _ => {}
                },
                Event::End(element) if element.local_name().as_ref() == "cellXfs" => of_cells = false,
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    })?;
    Ok(styles)
}

fn number(value: Option<String>) -> u32 {
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Formats that workbooks don't spell out; 27 to 36 and 50 to 58 are dates in Chinese, Japanese and Korean.
fn by_id(id: u32) -> Shown {
    match id {
        14..=22 | 27..=36 | 45..=47 | 50..=58 => Shown::Date,
        _ => Shown::Number,
    }
}

fn by_code(code: &str) -> Shown {
    let filled = code.trim();
    if filled.len() > 1 && filled.len() <= 32 && filled.bytes().all(|byte| byte == b'0') {
        return Shown::Filled(filled.len());
    }
    let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
    for c in code.chars() {
        match c {
            _ if escaped => escaped = false,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '\\' | '_' | '*' => escaped = true,
            '[' => bracketed = true,
            ']' => bracketed = false,
            // In brackets stand colours and conditions; elapsed time never stands alone there.
            _ if bracketed => {}
            'y' | 'Y' | 'm' | 'M' | 'd' | 'D' | 'h' | 'H' | 's' | 'S' => return Shown::Date,
            _ => {}
        }
    }
    Shown::Number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_a_number_is() {
        for code in ["yyyy-mm-dd", "yyyy\"年\"m\"月\"d\"日\"", "[$-804]aaaa;m/d", "h:mm", "[h]:mm", "mm:ss.0"]
        {
            assert_eq!(by_code(code), Shown::Date, "{code}");
        }
        for code in
            ["General", "0", "0.00", "#,##0", "@", "\"year\"0", "[Red]0", "0.00E+00", "\\d0", "0000-0000"]
        {
            assert_eq!(by_code(code), Shown::Number, "{code}");
        }
        assert_eq!(
            (by_code("00000000000"), by_id(14), by_id(1)),
            (Shown::Filled(11), Shown::Date, Shown::Number)
        );
    }

    #[test]
    fn days_become_dates() {
        let date = |serial, from_1904| Styles { by_cell: Vec::new(), from_1904 }.date(serial);
        assert_eq!(date(1.0, false).unwrap(), "1900-01-01");
        assert_eq!(date(59.0, false).unwrap(), "1900-02-28");
        assert_eq!(date(61.0, false).unwrap(), "1900-03-01");
        assert_eq!(date(45_292.0, false).unwrap(), "2024-01-01");
        assert_eq!(date(45_292.75, false).unwrap(), "2024-01-01T18:00:00");
        assert_eq!(date(43_830.0, true).unwrap(), "2024-01-01");
        assert_eq!([date(-1.0, false), date(1e300, false), date(f64::NAN, false)], [None, None, None]);
    }
}
