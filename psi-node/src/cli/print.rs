//! Text for people and programs.

use std::{
    borrow::Cow,
    io::{self, Write},
    path::Path,
};

use psi_node::fault::{Code, Fault};
use serde::Serialize;

/// Writes data to stdout and flushes it. A reader that went away has had enough.
pub(crate) fn out(text: &str) -> Result<(), Fault> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Fault::new(Code::Unexpected, format!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// One JSON object, on a line of its own.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Fault> {
    let text =
        serde_json::to_string(value).map_err(|error| Fault::new(Code::Unexpected, error.to_string()))?;
    out(&format!("{text}\n"))
}

/// Writes a message to stderr; there is nowhere left to complain if that fails.
pub(crate) fn err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Text that may come from outside, on one line and without anything that moves a cursor or turns the direction.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ if c.is_whitespace() && c != ' ' => shown.extend(c.escape_default()),
            _ => shown.extend(c.escape_debug()),
        }
        shown
    })
}

/// A path as it can be pasted into a shell.
pub(crate) fn quoted(path: &Path) -> Cow<'_, str> {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''")).into()
    }
}

/// "1 row", "2 rows", "1,000,000 rows".
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number.into()), if number == 1 { one } else { many })
}

/// A number in groups of three digits.
pub(crate) fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let start = |index: usize| index > 0 && (digits.len() - index).is_multiple_of(3);
    digits.char_indices().fold(String::new(), |mut text, (index, digit)| {
        text.extend(start(index).then_some(','));
        text.push(digit);
        text
    })
}

/// Bytes with the unit that fits.
pub(crate) fn bytes(number: u64) -> String {
    match number {
        0..=9_999 => format!("{} bytes", grouped(number.into())),
        10_000..=9_999_999 => format!("{:.1} kB", number as f64 / 1e3),
        _ => format!("{:.1} MB", number as f64 / 1e6),
    }
}

/// Seconds in the unit that people would choose.
pub(crate) fn span(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        10.0..120.0 => format!("{seconds:.0} s"),
        _ if minutes < 120 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

/// Lines of `name  value`, the values in one column.
pub(crate) fn table(rows: &[(impl AsRef<str>, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.as_ref().len()).max().unwrap_or_default();
    rows.iter().map(|(name, value)| format!("{:width$}  {value}\n", name.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_cursors_is_escaped_and_letters_are_not() {
        assert_eq!(
            printable("psi-node/0.1.0 (\"农行\", 'é', C:\\x)"),
            "psi-node/0.1.0 (\"农行\", 'é', C:\\x)"
        );
        for hostile in
            ['\n', '\r', '\t', '\u{7}', '\u{1b}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{2028}']
        {
            let shown = printable(&hostile.to_string());
            assert!(shown.starts_with('\\') && shown.is_ascii(), "{shown}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((count(1, "row", "rows"), count(0, "row", "rows")), ("1 row".into(), "0 rows".into()));
        assert_eq!(bytes(12_345), "12.3 kB");
    }

    #[test]
    fn spans_have_the_unit_that_fits() {
        let cases = [
            (0.14, "0.1 s"),
            (17.8, "18 s"),
            (177.0, "3 min"),
            (7200.0, "2 h 0 min"),
            (12_345.0, "3 h 26 min"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn paths_can_be_pasted() {
        for (path, text) in [("a/b-1.csv", "a/b-1.csv"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("", "''")]
        {
            assert_eq!(quoted(Path::new(path)), text);
        }
    }
}
