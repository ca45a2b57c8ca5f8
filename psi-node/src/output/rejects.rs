//! What was left out of a list, for its owner to mend: line, column and reason, and behind them the row as it stands.
//!
//! The rows are judged once more, as they were when the list was loaded: until then nothing is kept of them.

use std::{borrow::Cow, convert::Infallible, fs::File};

use super::{Format, OutputError, Path, Prepared, cells::Cells, prepared, xlsx};
use crate::input::{Judge, Rejected, Source};

/// What stands above line, column and reason.
const NAMES: [&str; 3] = ["psi_line", "psi_column", "psi_reason"];

/// Writes every reject of the list, in its order; a row with two bad cells is there twice.
///
/// Waits under a hidden name, like a result.
///
/// # Errors
/// If the file can't be written or the list not be read again: then there is none.
pub fn rejects(
    target: &Path,
    run: &str,
    source: Box<dyn Source>,
    judge: Judge<'_>,
    byte_order_mark: bool,
) -> Result<Prepared, OutputError> {
    let mut judge = judge.naming_columns();
    prepared(target, run, source, |file, source| write(target, file, source, &mut judge, byte_order_mark))
}

/// Makes sure, before anything is sent, that the file's format has room for the columns of the list.
///
/// # Errors
/// [`OutputError::TooManyColumns`].
pub fn rejects_fit(target: &Path, columns: &[String]) -> Result<(), OutputError> {
    let (columns, limit) = (NAMES.len() + columns.len(), xlsx::MAX_COLUMNS);
    if Format::of(target)? == Format::Xlsx && columns > limit {
        return Err(OutputError::TooManyColumns { path: target.into(), columns, limit });
    }
    Ok(())
}

fn write(
    target: &Path,
    file: File,
    source: &mut dyn Source,
    judge: &mut Judge<'_>,
    byte_order_mark: bool,
) -> Result<u64, OutputError> {
    let failed = |source| OutputError::Write { path: target.into(), source };
    let names: Vec<String> =
        NAMES.map(str::to_owned).into_iter().chain(source.columns().iter().cloned()).collect();
    let (format, columns) = (Format::of(target)?, source.columns().len());
    let mut sink = format.sink(file, &names, byte_order_mark, "rejects").map_err(failed)?;
    let (mut cells, mut count) = (Cells::default(), 0);
    while let Some(row) = source.row()? {
        let line = row.line;
        let Ok(_) = judge.judge(&row, |_, _| Ok::<_, Infallible>(()));
        let mut rejected = judge.rejected(line).peekable();
        if rejected.peek().is_some() {
            cells.take(source)?;
        }
        for rejected in rejected {
            let texts = reason(&rejected).into_iter().chain(row_of(&cells, columns));
            let texts: Vec<_> = texts.map(|text| fitted(text, format)).collect();
            sink.row(&mut texts.iter().map(|text| &**text)).map_err(failed)?;
            count += 1;
        }
    }
    sink.finish().and_then(|file| file.sync_all()).map_err(failed)?;
    Ok(count)
}

fn reason(rejected: &Rejected) -> [Cow<'static, str>; 3] {
    let Rejected { line, column, fault } = rejected;
    [line.to_string(), column.clone().unwrap_or_default(), fault.to_string()].map(Cow::Owned)
}

/// The row as it stands. Cells beyond the heading belong to the last one more often than not: a mark that should have been in
/// quotes divides it.
fn row_of(cells: &Cells, columns: usize) -> impl Iterator<Item = Cow<'_, str>> {
    (0..columns).map(move |place| match place + 1 == columns && cells.len() > columns {
        true => (place..cells.len()).map(|place| cells.get(place)).collect::<Vec<_>>().join(",").into(),
        false => cells.get(place).into(),
    })
}

/// What a sheet has no room for is cut: nothing may fail for what a bad row holds.
fn fitted(text: Cow<'_, str>, format: Format) -> Cow<'_, str> {
    match format {
        Format::Xlsx if xlsx::is_too_long(&text) => xlsx::cut(&text).into(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::input::{self, Key, Spec, columns_of};

    fn key(column: &str, profile: &str) -> Key {
        Key { columns: vec![column.into()], profile: profile.parse().unwrap() }
    }

    fn phone_and_card() -> Vec<Key> {
        vec![key("phone", "cn.mobile/1"), key("card", "bankcard/1")]
    }

    /// What is written of that list under that name, and how many lines of rejects.
    fn written(list: &str, text: &str, keys: &[Key], target: &str) -> (String, u64) {
        let folder = tempfile::tempdir().unwrap();
        let (list, target) = (folder.path().join(list), folder.path().join(target));
        fs::write(&list, text).unwrap();
        let spec = Spec::of(list, columns_of(keys));
        let (mut source, copy) = input::open_twice(&spec).unwrap();
        while source.row().unwrap().is_some() {}
        source.finish().unwrap();
        let source = input::reopen(&spec, copy.read().unwrap()).unwrap();
        let prepared = rejects(&target, "r1", source, Judge::new(&spec, keys, false), false).unwrap();
        assert!(!target.exists());
        prepared.release().unwrap();
        (String::from_utf8_lossy(&fs::read(&target).unwrap()).into_owned(), prepared.rows())
    }

    #[test]
    fn every_reject_has_line_column_reason_and_its_row() {
        let list = "name,phone,card\n张三,13900000001,4111111111111111\n李四,1390,x\n\n=王五,12,\n,,\n";
        let (text, rows) = written("list.csv", list, &phone_and_card(), "out.csv");
        assert_eq!(
            text,
            "psi_line,psi_column,psi_reason,name,phone,card\n\
             3,phone,\"wrong length: expected 11 digits, got 4\",李四,1390,x\n\
             3,card,character 1 is not allowed,李四,1390,x\n\
             5,phone,\"wrong length: expected 11 digits, got 2\",'=王五,12,\n\
             6,,empty,,,\n"
        );
        assert_eq!(rows, 4);
    }

    #[test]
    fn a_cell_of_a_row_that_counts_is_there_as_well() {
        let list = "phone,card\n13900000001,x\n13900000002,\n";
        let (text, _) = written("list.csv", list, &phone_and_card(), "out.csv");
        assert_eq!(
            text,
            "psi_line,psi_column,psi_reason,phone,card\n2,card,character 1 is not allowed,13900000001,x\n"
        );
    }

    #[test]
    fn ragged_rows_keep_all_their_cells() {
        let list = "phone,note\n13900000001,a,b,\"c,d\"\n13900000002\n";
        let (text, _) = written("list.csv", list, &[key("phone", "cn.mobile/1")], "out.csv");
        assert_eq!(
            text,
            "psi_line,psi_column,psi_reason,phone,note\n\
             2,,\"ragged row: expected 2 columns, got 4\",13900000001,\"a,b,c,d\"\n\
             3,,\"ragged row: expected 2 columns, got 1\",13900000002,\n"
        );
    }

    #[test]
    fn json_lines_come_out_with_every_key() {
        let list = "{\"phone\":\"139\"}\n{\"phone\":\"13900000001\",\"more\":\"x\"}\n";
        let (text, _) = written("list.jsonl", list, &[key("phone", "cn.mobile/1")], "out.jsonl");
        let reason = "wrong length: expected 11 digits, got 3";
        assert_eq!(
            text,
            format!(
                "{{\"psi_line\":\"1\",\"psi_column\":\"phone\",\"psi_reason\":\"{reason}\",\"phone\":\"139\",\"more\":\"\"}}\n"
            )
        );
    }

    #[test]
    fn what_a_sheet_has_no_room_for_is_cut_or_named_beforehand() {
        let long = format!("phone,note\n139,{}\n", "界".repeat(40_000));
        let (_, rows) = written("list.csv", &long, &[key("phone", "cn.mobile/1")], "out.xlsx");
        assert_eq!(rows, 1);
        assert_eq!(xlsx::cut(&"界".repeat(40_000)).chars().count(), xlsx::MAX_CELL);
        assert_eq!(xlsx::cut(&"😀".repeat(40_000)).encode_utf16().count(), xlsx::MAX_CELL);
        let wide = vec![String::new(); xlsx::MAX_COLUMNS - 2];
        let error = rejects_fit(Path::new("r.xlsx"), &wide).unwrap_err();
        assert!(matches!(error, OutputError::TooManyColumns { columns: 16_385, .. }));
        assert!(rejects_fit(Path::new("r.xlsx"), &wide[1..]).is_ok());
        assert!(rejects_fit(Path::new("r.csv"), &wide).is_ok());
    }
}
