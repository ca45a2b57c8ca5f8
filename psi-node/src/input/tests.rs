use super::gather::Plain;
use super::*;
use crate::seal::{Label, SealKey};
use std::io::{Cursor, Read};
use std::path::Path;

const LABEL: Label<'static> = Label { kind: "snapshot", owner: b"run 7" };

fn key(columns: &[&str], profile: &str) -> Key {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    Key { columns, profile: profile.parse().unwrap() }
}

fn mobile() -> [Key; 1] {
    [key(&["phone"], "cn.mobile/1")]
}

fn spec() -> Spec {
    Spec::csv("list.csv", "phone")
}

fn source(text: &str) -> Result<Box<dyn Source>, InputError> {
    over(&spec(), Feed::of(Path::new("list.csv"), Cursor::new(text.as_bytes().to_vec())))
}

fn loaded(text: &str, limits: &Limits) -> Result<Loaded, InputError> {
    read(source(text)?, &spec(), &mobile(), limits)
}

fn read(source: Box<dyn Source>, spec: &Spec, keys: &[Key], limits: &Limits) -> Result<Loaded, InputError> {
    load(source, spec, keys, limits, None)
}

/// The first list.
fn plain(loaded: Loaded) -> Plain {
    loaded.lists.into_iter().next().unwrap().rows.into()
}

fn lenient() -> Limits {
    Limits { max_rejects: 0.9, ..Limits::default() }
}

#[test]
fn every_row_has_a_fate() {
    let text = "name,phone\na,13900000002\nb,12\n\nc,+86 139-0000-0001\nd\ne,１３９００００００02\nf,\n";
    let loaded = loaded(text, &lenient()).unwrap();
    assert_eq!((loaded.rows_read, loaded.rejects.total), (6, 3));
    let reasons: Vec<_> = loaded.rejects.by_reason.iter().map(|(reason, count)| (*reason, *count)).collect();
    assert_eq!(reasons, [("bad-length", 1), ("empty", 1), ("ragged", 1)]);
    let lines: Vec<_> = loaded.rejects.first.iter().map(Rejected::to_string).collect();
    let expected = [
        "line 3: wrong length: expected 11 digits, got 2",
        "line 6: ragged row: expected 2 columns, got 1",
        "line 8: empty",
    ];
    assert_eq!(lines, expected);
    let list = plain(loaded);
    assert_eq!(list.set.iter().collect::<Vec<_>>(), [b"13900000001", b"13900000002"]);
    assert_eq!(list.rows, [Some(1), None, Some(0), None, Some(1), None]);
    assert_eq!(list.duplicates, 1);
}

#[test]
fn too_many_rejects_stop_the_run() {
    let rows = |bad: usize| format!("phone\n{}{}", "x\n".repeat(bad), "13900000001\n".repeat(200 - bad));
    assert_eq!(loaded(&rows(2), &Limits::default()).unwrap().rejects.total, 2);
    let error = loaded(&rows(3), &Limits::default()).unwrap_err();
    let expected = "list.csv: 3 of 200 rows rejected, at most 1 % allowed; the first in line 2: character 1 is not allowed";
    assert_eq!(error.to_string(), expected);
    let all = Limits { max_rejects: 1.0, ..Limits::default() };
    assert!(matches!(
        loaded("phone\nx\n", &all),
        Err(InputError::TooManyRejects { rejected: 1, rows: 1, .. })
    ));
}

#[test]
fn a_list_without_rows_is_named() {
    assert!(matches!(loaded("name,phone\r\n\r\n", &lenient()), Err(InputError::NoRows { .. })));
}

#[test]
fn only_some_rejects_are_kept() {
    let limits = Limits { shown_rejects: 2, ..lenient() };
    let list = loaded("phone\nx\nx\nx\n13900000001\n", &limits).unwrap();
    assert_eq!((list.rejects.total, list.rejects.first.len()), (3, 2));
}

#[test]
fn warnings_are_counted_or_reject() {
    let text = "phone\n4111111111111111\n4111111111111112\n";
    let cards = |limits: &Limits| {
        read(source(text).unwrap(), &spec(), &[key(&["phone"], "bankcard/1")], limits).unwrap()
    };
    let warned = cards(&lenient());
    assert_eq!((warned.lists[0].warnings["check-digit"], warned.rejects.total), (1, 0));
    let strict = cards(&Limits { strict: true, ..lenient() });
    assert_eq!(strict.rejects.by_reason["check-digit"], 1);
    assert!(strict.lists[0].warnings.is_empty());
    let [warned, strict] = [warned, strict].map(plain);
    assert_eq!((warned.set.len(), strict.set.len()), (2, 1));
    assert_eq!(strict.set.get(0), warned.set.get(0), "a check never alters what is compared");
}

#[test]
fn nothing_shows_an_identifier() {
    let list = loaded("phone\n13900000001\n1390000000\n", &lenient()).unwrap();
    assert!(!format!("{list:?}").contains("1390000000"));
}

#[test]
fn the_copy_gives_the_same_rows_although_the_file_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("list.csv"), folder.path().join("copy"));
    let text: String = (0..40_000).map(|i| format!("13{i:09},name {i},\"a, \"\"b\"\"\"\n")).collect();
    std::fs::write(&path, format!("phone,name,note\n{text}")).unwrap();
    let (spec, key) = (Spec::csv(&path, "phone"), SealKey::generate().unwrap());
    let writer = SealedWriter::new(crate::durable::create_private(&copy).unwrap(), &key, LABEL).unwrap();
    let first = read(open(&spec, Some(writer)).unwrap(), &spec, &mobile(), &lenient()).unwrap();
    std::fs::write(&path, "phone\n").unwrap();
    let reader = SealedReader::new(File::open(&copy).unwrap(), &key, LABEL).unwrap();
    let second = read(reopen(&spec, reader).unwrap(), &spec, &mobile(), &lenient()).unwrap();
    let [first, second] = [first, second].map(plain);
    assert!(first.set == second.set && first.rows == second.rows && first.set.len() == 40_000);
    assert!(!std::fs::read(&copy).unwrap().windows(11).any(|bytes| bytes == b"13000000001"));
}

/// Formats that are read from their end, or twice for a result, as well.
#[test]
fn the_copy_gives_the_same_rows_in_every_format() {
    let mut workbook = rust_xlsxwriter::Workbook::new();
    let sheet = workbook.add_worksheet();
    let mut lines = String::new();
    sheet.write_row(0, 0, ["name", "phone"]).unwrap();
    for row in 0..9_000 {
        let (name, phone) = (format!("name {}", row % 4_000), format!("13{row:09}"));
        sheet.write_row(row + 1, 0, [&name, &phone]).unwrap();
        lines += &format!("{{\"name\":\"{name}\",\"phone\":{phone},\"only {}\":0}}\n", row % 3);
    }
    let files = [("list.xlsx", workbook.save_to_buffer().unwrap(), 2), ("list.jsonl", lines.into_bytes(), 5)];
    for (name, content, columns) in files {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join(name), folder.path().join("copy"));
        std::fs::write(&path, &content).unwrap();
        let (spec, key) = (Spec::of(&path, vec!["phone".into()]), SealKey::generate().unwrap());
        let writer = SealedWriter::new(crate::durable::create_private(&copy).unwrap(), &key, LABEL).unwrap();
        let first = read(open(&spec, Some(writer)).unwrap(), &spec, &mobile(), &lenient()).unwrap();
        std::fs::write(&path, "changed").unwrap();
        let sealed = || SealedReader::new(File::open(&copy).unwrap(), &key, LABEL).unwrap();
        let mut all = Vec::new();
        sealed().read_to_end(&mut all).unwrap();
        assert!(all == content, "the copy of {name} holds the bytes of the file");
        let again = reopen(&spec, sealed()).unwrap();
        assert_eq!(again.columns().len(), columns);
        let second = read(again, &spec, &mobile(), &lenient()).unwrap();
        assert_eq!(second.rejects.total, 0);
        let [first, second] = [first, second].map(plain);
        assert!(first.set == second.set && first.rows == second.rows && first.set.len() == 9_000);
    }
}

#[test]
fn a_damaged_copy_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("list.csv"), folder.path().join("copy"));
    std::fs::write(&path, "phone\n13900000001\n").unwrap();
    let (spec, key) = (Spec::csv(&path, "phone"), SealKey::generate().unwrap());
    let writer = SealedWriter::new(crate::durable::create_private(&copy).unwrap(), &key, LABEL).unwrap();
    read(open(&spec, Some(writer)).unwrap(), &spec, &mobile(), &lenient()).unwrap();
    let mut bytes = std::fs::read(&copy).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&copy, bytes).unwrap();
    let reader = SealedReader::new(File::open(&copy).unwrap(), &key, LABEL).unwrap();
    let error = reopen(&spec, reader).map(drop).unwrap_err();
    assert!(error.to_string().contains("corrupted in segment 0"), "{error}");
}

#[test]
fn a_list_that_changes_while_it_is_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let spec = Spec::csv(folder.path().join("list.csv"), "phone");
    std::fs::write(&spec.path, "phone\n13900000001\n").unwrap();
    let source = open(&spec, None).unwrap();
    std::fs::write(&spec.path, "phone\n13900000001\n13900000002\n").unwrap();
    assert!(matches!(read(source, &spec, &mobile(), &lenient()), Err(InputError::Changed { .. })));
}

#[test]
fn what_is_no_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let kind = |path: &Path| match open(&Spec::csv(path, "phone"), None).map(drop) {
        Err(InputError::NotAFile { kind, .. }) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [kind(folder.path()), kind(&fifo), kind(Path::new("/dev/zero"))],
        ["folder", "pipe", "device"]
    );
    let missing = open(&Spec::csv(folder.path().join("none.csv"), "phone"), None).map(drop);
    assert!(matches!(missing, Err(InputError::Open { .. })));
}

/// The README of the samples lists number, lines in A, lines in B.
#[test]
fn the_samples_match_as_their_readme_says() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/samples");
    let list = |name: &str| {
        let spec = Spec::csv(samples.join(name), "phone");
        read(open(&spec, None).unwrap(), &spec, &mobile(), &Limits::default()).unwrap()
    };
    let (a, b) = (list("bank-a.csv"), list("bank-b.csv"));
    assert_eq!((a.rows_read, a.rejects.first[0].line), (140, 59));
    assert_eq!((b.rows_read, b.rejects.first[0].line), (151, 90));
    let [a, b] = [a, b].map(plain);
    assert_eq!((a.set.len(), a.duplicates), (138, 1));
    assert_eq!((b.set.len(), b.duplicates), (150, 0));
    let index = |list: &Plain, number: &str| list.set.iter().position(|item| item == number.as_bytes());
    let lines = |list: &Plain, number: &str| -> String {
        let item = index(list, number).unwrap();
        let rows = (0..list.rows.len()).filter(|row| list.rows[*row] == Some(item));
        rows.map(|row| (row + 2).to_string()).collect::<Vec<_>>().join(", ")
    };
    let readme = std::fs::read_to_string(samples.join("README.md")).unwrap();
    let listed: Vec<Vec<&str>> = readme
        .lines()
        .filter(|line| line.starts_with("| 1"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let shared = a.set.iter().filter(|item| index(&b, std::str::from_utf8(item).unwrap()).is_some()).count();
    assert_eq!((shared, listed.len()), (24, 24));
    for row in listed {
        assert_eq!((lines(&a, row[1]), lines(&b, row[1])), (row[2].to_owned(), row[3].to_owned()));
    }
}
