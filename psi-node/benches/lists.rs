//! Rows a second: reading and canonicalising each kind of source, with and without the sealed copy, and building sets.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use divan::Bencher;
use divan::counter::ItemsCount;
use psi_core::identifier::{Profile, SetBuilder};
use psi_core::plan::{Chunk, MAX_CHUNK};
use psi_core::session::{JoinKey, Side};
use psi_node::input::{self, Encoding, Key, Limits, Spec};
use psi_node::join::{Sizes, join};
use psi_node::journal::{Finished, Journal, Keys, Record};
use psi_node::seal::{Label, SealKey, SealedWriter};

const ROWS: u64 = 1_000_000;

fn main() {
    divan::main();
}

/// A number for each row, spread as in a list that nobody sorted.
fn number(row: u64) -> u64 {
    13_000_000_000 + row.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 7_000_000_000
}

struct List {
    folder: tempfile::TempDir,
    spec: Spec,
}

fn list(heading: &str, row: impl Fn(u64) -> String) -> List {
    let mut text = format!("{heading}\n");
    for index in 0..ROWS {
        writeln!(text, "{}", row(index)).expect("strings take all");
    }
    file("list.csv", text.as_bytes())
}

fn file(name: &str, content: &[u8]) -> List {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, content).expect("the list is written");
    List { spec: Spec::of(path, vec!["phone".into()]), folder }
}

fn four_columns() -> List {
    list("no,name,phone,note", |row| format!("{row},张三丰,{},seen in region {}", number(row), row % 31))
}

/// Reads and canonicalises every row; nothing is kept.
fn canonicalise(list: &List, copied: bool) -> u64 {
    let copy = copied.then(|| {
        let file = std::fs::File::create(list.folder.path().join("copy")).expect("the copy is created");
        let label = Label { kind: "snapshot", owner: b"" };
        SealedWriter::new(file, &SealKey::from_bytes([7; 32]), label).expect("the header is written")
    });
    let profile = Profile::parse("cn.mobile/1").expect("a known profile");
    let mut source = input::open(&list.spec, copy).expect("the list opens");
    let (mut canonical, mut rows) = (Vec::new(), 0);
    while let Some(row) = source.row().expect("the list is well formed") {
        let cell = row.cells.and_then(|cells| cells.get(0)).expect("no row is ragged");
        rows += u64::from(profile.canonicalise(&[cell], &mut canonical).is_ok());
    }
    source.finish().expect("the copy is finished");
    assert_eq!(rows, ROWS);
    rows
}

#[divan::bench(sample_count = 10)]
fn csv_of_one_column(bencher: Bencher) {
    let list = list("phone", |row| number(row).to_string());
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| canonicalise(&list, false));
}

#[divan::bench(sample_count = 10)]
fn csv_of_four_columns(bencher: Bencher) {
    let list = four_columns();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| canonicalise(&list, false));
}

#[divan::bench(sample_count = 10)]
fn csv_of_four_columns_with_sealed_copy(bencher: Bencher) {
    let list = four_columns();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| canonicalise(&list, true));
}

#[divan::bench(sample_count = 10)]
fn csv_of_four_columns_in_gb18030(bencher: Bencher) {
    let list = four_columns();
    let text = std::fs::read_to_string(&list.spec.path).expect("the list is there");
    std::fs::write(&list.spec.path, encoding_rs::GB18030.encode(&text).0).expect("the list is written");
    let list = List { spec: Spec { encoding: Encoding::Gb18030, ..list.spec }, ..list };
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| canonicalise(&list, false));
}

#[divan::bench(sample_count = 5)]
fn json_lines_of_four_keys(bencher: Bencher) {
    let mut text = String::new();
    for row in 0..ROWS {
        let phone = number(row);
        writeln!(
            text,
            "{{\"no\":{row},\"name\":\"张三丰\",\"phone\":\"{phone}\",\"note\":\"seen in region {}\"}}",
            row % 31
        )
        .expect("strings take all");
    }
    let list = file("list.jsonl", text.as_bytes());
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| canonicalise(&list, false));
}

#[divan::bench(sample_count = 3)]
fn workbook_of_four_columns(bencher: Bencher) {
    let mut workbook = rust_xlsxwriter::Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.write_row(0, 0, ["no", "name", "phone", "note"]).expect("the heading fits");
    for row in 0..ROWS {
        let at = row as u32 + 1;
        sheet.write(at, 0, row as f64).expect("the cell fits");
        sheet.write(at, 1, "张三丰").expect("the cell fits");
        sheet.write(at, 2, number(row).to_string()).expect("the cell fits");
        sheet.write(at, 3, format!("seen in region {}", row % 31)).expect("the cell fits");
    }
    let list = file("list.xlsx", &workbook.save_to_buffer().expect("the workbook is written"));
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| canonicalise(&list, false));
}

#[divan::bench(sample_count = 5)]
fn load_whole_list(bencher: Bencher) {
    let list = four_columns();
    let profile = Profile::parse("cn.mobile/1").expect("a known profile");
    let keys = [Key { columns: vec!["phone".to_owned()], profile }];
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let source = input::open(&list.spec, None).expect("the list opens");
        input::load(source, &list.spec, &keys, &Limits::default()).expect("the list is well formed")
    });
}

#[divan::bench(sample_count = 5)]
fn build_set(bencher: Bencher) {
    let numbers: Vec<String> = (0..ROWS).map(|row| number(row).to_string()).collect();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut builder = SetBuilder::new();
        for number in &numbers {
            builder.push(number.as_bytes()).expect("a million rows fit");
        }
        builder.finish()
    });
}

/// From the journal, as a run does it: once with all of the peer's keys in memory, once with a quarter at a time.
#[divan::bench(sample_count = 5, args = [1, 4])]
fn join_keys(bencher: Bencher, passes: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let journal = journal(&folder.path().join("journal"));
    let sizes = Sizes { ours: ROWS, theirs: ROWS };
    let most = (ROWS * size_of::<JoinKey>() as u64).div_ceil(passes);
    bencher
        .counter(ItemsCount::new(ROWS))
        .bench_local(|| join(|| journal.keys(0), sizes, most).expect("the journal is whole").count());
}

/// Both sides' keys, half of them the same.
fn journal(folder: &Path) -> Finished {
    let key = |row: u64| -> JoinKey {
        (u128::from(row) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()
    };
    let mut journal = Journal::create(folder, &SealKey::from_bytes([7; 32]), "run").expect("a new folder");
    for start in (0..ROWS).step_by(MAX_CHUNK) {
        for (side, first) in [(Side::Ours, 0), (Side::Theirs, ROWS / 2)] {
            let rows = start..ROWS.min(start + MAX_CHUNK as u64);
            let len = (rows.end - rows.start) as u32;
            let chunk = Chunk { list: 0, index: (start / MAX_CHUNK as u64) as u32, step: 0, start, len };
            let keys = rows.map(|row| key(first + row)).collect();
            journal.append(&Record::Keys(Keys { side, chunk, keys })).expect("the disk has room");
        }
    }
    journal.finish().expect("the disk has room")
}
