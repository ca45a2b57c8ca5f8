//! Canonical forms for people to recognise the kind of, and nobody else the person.

/// At most the first three characters and the last four. The shorter the form, the less: of a form with fewer than eight
/// characters nothing is shown, and how many are hidden never.
pub fn masked(canonical: &str) -> String {
    let count = canonical.chars().count();
    let (first, last) = match count {
        0..8 => (0, 0),
        8..11 => (1, 1),
        _ => (3, 4),
    };
    let head: String = canonical.chars().take(first).collect();
    let tail: String = canonical.chars().skip(count - last).collect();
    format!("{head}****{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_the_less_is_shown() {
        for (canonical, shown) in [
            ("13912345678", "139****5678"),
            ("11010519491231002X", "110****002X"),
            ("1234567890", "1****0"),
            ("12345678", "1****8"),
            ("1000123", "****"),
            ("张三", "****"),
            ("", "****"),
        ] {
            assert_eq!(masked(canonical), shown);
        }
    }
}
