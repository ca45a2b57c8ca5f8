//! Which cells a spreadsheet would run when it opens a CSV file.
//!
//! CSV knows no types: whatever begins with `=`, `+`, `-` or `@` is a formula to a spreadsheet, and a formula can start
//! programs and send cells elsewhere (OWASP, "CSV injection"). Numbers and telephone numbers with a sign call nothing, so
//! they stay as they are: `-12.5`, `+86 139-1234-5678`.

/// Whether a spreadsheet would take the cell for a formula that can do more than reckon.
pub(super) fn is_formula(cell: &str) -> bool {
    let seen = cell.trim_start_matches(is_passed_over);
    let mut rest = seen.chars();
    match rest.next().map(narrow) {
        Some('=' | '@') => true,
        Some('+' | '-') => !is_number(rest.as_str()),
        // Spreadsheets differ in what they make of such a start.
        _ => cell.starts_with(['\t', '\r', '\n']),
    }
}

/// White space, control characters and invisible ones, which some spreadsheets drop.
fn is_passed_over(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// Full-width and small forms, which East Asian spreadsheets read like the others.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xff01 + 0x21).unwrap_or(c),
        '\u{3000}' => ' ',
        '\u{fe62}' => '+',
        '\u{fe63}' => '-',
        '\u{fe66}' => '=',
        '\u{fe6b}' => '@',
        c => c,
    }
}

/// What follows a sign is a number or a telephone number: no name, no reference, no operator but minus.
fn is_number(rest: &str) -> bool {
    let plain = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '-' | '.' | ',' | '(' | ')');
    rest.chars().map(narrow).all(plain) || is_scientific(rest)
}

fn is_scientific(rest: &str) -> bool {
    let shape = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    rest.bytes().all(shape) && rest.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_found() {
        for cell in [
            "=1+1",
            "=cmd|' /C calc'!A0",
            "@SUM(1+1)*cmd|' /C calc'!A0",
            "+cmd|' /C calc'!A0",
            "-2+3+cmd|' /C calc'!A0",
            "-A1",
            "+1*A1",
            "-inf",
            "+E5",
            " =1+1",
            "\t=1+1",
            "\r=1+1",
            "\n=1+1",
            "\tno formula",
            "\u{3000}\u{feff}\u{200b}=1+1",
            "＝1+1",
            "＋cmd|' /C calc'!A0",
            "－A1",
            "＠SUM(1)",
            "﹦1",
        ] {
            assert!(is_formula(cell), "{cell:?}");
        }
    }

    #[test]
    fn numbers_names_and_empty_cells_are_not_touched() {
        for cell in [
            "",
            " ",
            "13912345678",
            "+86 139-1234-5678",
            "+86-139-1234-5678",
            "+1 (555) 010.0100",
            "＋８６１３９１２３４５６７８",
            "＋８６　１３０－００００－８８３５",
            "-12.5",
            "-1,234.50",
            "+1.5E-07",
            "-",
            "--",
            "a=b",
            "a@b.example",
            "张三-丰",
            "'=1+1",
            " 138 ",
        ] {
            assert!(!is_formula(cell), "{cell:?}");
        }
    }
}
