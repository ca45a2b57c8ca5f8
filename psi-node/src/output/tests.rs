use std::fs;

use super::*;
use crate::input::{self, Spec};

/// Whether a part file of this run is waiting.
fn is_prepared(target: &Path, run: &str) -> bool {
    Prepared::of(target, run).is_ok_and(|prepared| fs::exists(&prepared.part).unwrap_or(false))
}

const LIST: &str = "no,phone,note\r\n1,139,\"a, \"\"b\"\"\"\r\n2,\" 138 \",\"x\ny\"\r\n3,137,\r\n";

fn source(folder: &Path) -> Box<dyn Source> {
    let path = folder.join("list.csv");
    fs::write(&path, LIST).unwrap();
    input::open(&Spec::csv(path, "phone"), None).unwrap()
}

/// All columns as they stand.
fn shape(columns: &[String]) -> Shape<'_> {
    Shape { list: Path::new("list.csv"), columns, byte_order_mark: false, extra: &[] }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    durable::mode(&File::open(path).unwrap()).unwrap()
}

#[test]
fn matching_rows_come_out_as_they_were() {
    let folder = folder();
    let target = folder.path().join("out.csv");
    let prepared = prepare(&target, "r1", source(folder.path()), &shape(&[]), |row| row < 2).unwrap();
    assert!(!target.exists() && is_prepared(&target, "r1") && prepared.rows() == 2);
    assert_eq!(mode(prepared.part()), 0o600);
    assert_eq!(prepared.part(), folder.path().join(".out.csv.r1.part"));
    assert_eq!(prepared.release().unwrap(), Released::Now);
    let expected = "no,phone,note\n1,139,\"a, \"\"b\"\"\"\n2, 138 ,\"x\ny\"\n";
    assert_eq!(fs::read_to_string(&target).unwrap(), expected);
    assert!(!is_prepared(&target, "r1"));
}

#[test]
fn nothing_matching_leaves_the_heading() {
    let folder = folder();
    let target = folder.path().join("out.csv");
    prepare(&target, "r1", source(folder.path()), &shape(&[]), |_| false).unwrap().release().unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "no,phone,note\n");
}

#[test]
fn what_is_there_is_never_replaced() {
    let folder = folder();
    let target = folder.path().join("out.csv");
    let prepared = prepare(&target, "r1", source(folder.path()), &shape(&[]), |_| true).unwrap();
    fs::write(&target, "mine").unwrap();
    assert!(matches!(check(&target), Err(OutputError::Exists { .. })));
    assert!(matches!(prepared.release(), Err(OutputError::Exists { .. })));
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
    assert!(is_prepared(&target, "r1"));
}

#[test]
fn a_release_cut_short_is_recognised() {
    let folder = folder();
    let target = folder.path().join("out.csv");
    let prepared = prepare(&target, "r1", source(folder.path()), &shape(&[]), |_| true).unwrap();
    prepared.release().unwrap();
    assert_eq!(Prepared::of(&target, "r1").unwrap().release().unwrap(), Released::Before);
    fs::remove_file(&target).unwrap();
    assert!(matches!(prepared.release(), Err(OutputError::Gone { .. })));
}

#[test]
fn an_interrupted_part_is_written_anew_and_can_be_discarded() {
    let folder = folder();
    let target = folder.path().join("out.csv");
    fs::write(folder.path().join(".out.csv.r1.part"), "half").unwrap();
    let prepared = prepare(&target, "r1", source(folder.path()), &shape(&[]), |row| row == 2).unwrap();
    assert_eq!(fs::read_to_string(prepared.part()).unwrap(), "no,phone,note\n3,137,\n");
    prepared.discard().unwrap();
    assert!(!is_prepared(&target, "r1") && !target.exists());
}

#[test]
fn a_source_that_fails_leaves_nothing() {
    let folder = folder();
    let list = folder.path().join("list.csv");
    fs::write(&list, "phone\n1\n\"2\n").unwrap();
    let target = folder.path().join("out.csv");
    let source = input::open(&Spec::csv(list, "phone"), None).unwrap();
    let error = prepare(&target, "r1", source, &shape(&[]), |_| true).unwrap_err();
    assert!(matches!(error, OutputError::Source(InputError::UnclosedQuote { .. })));
    assert!(!is_prepared(&target, "r1"));
}

#[test]
fn places_that_take_no_output_are_named_beforehand() {
    let folder = folder();
    assert!(check(&folder.path().join("out.csv")).is_ok());
    assert!(matches!(check(&folder.path().join("none/out.csv")), Err(OutputError::NoFolder { .. })));
    assert!(matches!(check(&folder.path().join("..")), Err(OutputError::NoFolder { .. })));
    assert!(matches!(check(Path::new("/proc/out.csv")), Err(OutputError::Write { .. })));
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
    assert!(matches!(check(&folder.path().join("link")), Err(OutputError::Exists { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn kept(columns: &[&str], target: &str) -> String {
    let folder = folder();
    let (target, columns) = (folder.path().join(target), names(columns));
    let extra = Extra { name: "psi_matched", cell: &|row| if row == 0 { "phone" } else { "phone+id" } };
    let shape = Shape { extra: &[extra], ..shape(&columns) };
    prepare(&target, "r1", source(folder.path()), &shape, |row| row != 1).unwrap().release().unwrap();
    fs::read_to_string(&target).unwrap()
}

#[test]
fn columns_are_kept_in_the_order_asked_for_and_others_are_added_behind() {
    assert_eq!(
        kept(&["note", " no"], "out.csv"),
        "note,no,psi_matched\n\"a, \"\"b\"\"\",1,phone\n,3,phone+id\n"
    );
    assert_eq!(
        kept(&["phone"], "out.jsonl"),
        "{\"phone\":\"139\",\"psi_matched\":\"phone\"}\n{\"phone\":\"137\",\"psi_matched\":\"phone+id\"}\n"
    );
}

#[test]
fn a_column_that_is_not_there_is_named_with_the_nearest() {
    let folder = folder();
    let columns = names(&["fone"]);
    let fitted = fitting(source(folder.path()), Path::new("out.csv"), &shape(&columns));
    let error = fitted.err().unwrap();
    assert_eq!(error.to_string(), "list.csv: no column \"fone\"; did you mean \"phone\"?");
}

#[test]
fn the_ending_says_the_format() {
    for (name, format) in [
        ("a.csv", Format::Csv),
        ("a.{run}.CSV", Format::Csv),
        ("a.xlsx", Format::Xlsx),
        ("a.jsonl", Format::JsonLines),
        ("a.ndjson", Format::JsonLines),
    ] {
        assert_eq!(Format::of(Path::new(name)).unwrap(), format);
    }
    for name in ["a", "a.xls", "a.json", "a.csv.{run}", ".csv"] {
        assert!(matches!(Format::of(Path::new(name)), Err(OutputError::Ending { .. })), "{name}");
    }
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    for name in ["out.csv", "out.xlsx", "out.jsonl"] {
        let bytes = [0, 1].map(|_| {
            let folder = folder();
            let target = folder.path().join(name);
            let prepared = prepare(&target, "r1", source(folder.path()), &shape(&[]), |_| true).unwrap();
            fs::read(prepared.part()).unwrap()
        });
        assert!(bytes[0] == bytes[1] && !bytes[0].is_empty(), "{name}");
    }
}

#[test]
fn a_cell_or_heading_too_large_for_a_sheet_is_refused_while_the_list_is_read() {
    let folder = folder();
    let list = folder.path().join("list.csv");
    let fitted = |target: &str, columns: &[&str], text: &str| {
        fs::write(&list, text).unwrap();
        let source = input::open(&Spec::csv(&list, "phone"), None).unwrap();
        let mut source = fitting(source, Path::new(target), &shape(&names(columns)))?;
        while source.row()?.is_some() {}
        Ok::<_, OutputError>(())
    };
    let long = format!("phone,note\n1,a\n2,{}\n3,\n", "界".repeat(32_768));
    let error = fitted("out.xlsx", &[], &long).unwrap_err();
    let place =
        "list.csv: line 3, column \"note\": a sheet of .xlsx holds at most 32767 characters in a cell";
    assert_eq!(error.to_string(), place);
    assert!(fitted("out.xlsx", &["phone"], &long).is_ok() && fitted("out.csv", &[], &long).is_ok());
    assert!(fitted("out.xlsx", &[], &long.replacen('界', "", 1)).is_ok());
    let wide = format!("phone{}\n", ",".repeat(16_384));
    assert!(matches!(
        fitted("out.xlsx", &[], &wide),
        Err(OutputError::TooManyColumns { columns: 16_385, .. })
    ));
    assert!(fitted("out.jsonl", &[], &wide).is_ok());
}
