//! Rows a second: reading and canonicalising each kind of source and each profile, alone and with the sealed copy that a run
//! makes, loading a list with its set, and joining.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::path::{Path, PathBuf};

use divan::Bencher;
use divan::counter::ItemsCount;
use psi_core::identifier::{Profile, SetBuilder};
use psi_core::plan::{Chunk, MAX_CHUNK};
use psi_core::session::{JoinKey, Side};
use psi_node::input::{self, Encoding, Key, Limits, Spec};
use psi_node::join::{Sizes, join};
use psi_node::journal::{Finished, Journal, Keys, Record};
use psi_node::scratch::Room;
use psi_node::seal::{Label, SealKey, SealedWriter};

const ROWS: u64 = 1_000_000;

fn main() {
    divan::main();
}

/// A number for each row, spread as in a list that nobody sorted.
fn number(row: u64) -> u64 {
    13_000_000_000 + row.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 7_000_000_000
}

/// What is read.
#[derive(Debug, Clone, Copy)]
enum Source {
    CsvOfOneColumn,
    Csv,
    CsvInGb18030,
    Tsv,
    JsonLines,
    Workbook,
    #[cfg(feature = "parquet")]
    Parquet,
}

/// All with four columns, but for the first.
const SOURCES: &[Source] = &[
    Source::CsvOfOneColumn,
    Source::Csv,
    Source::CsvInGb18030,
    Source::Tsv,
    Source::JsonLines,
    Source::Workbook,
    #[cfg(feature = "parquet")]
    Source::Parquet,
];

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Source {
    fn list(self) -> List {
        let note = |row: u64| format!("seen in region {}", row % 31);
        match self {
            Self::CsvOfOneColumn => list("list.csv", "phone", |row| number(row).to_string()),
            Self::Csv => list("list.csv", "no,name,phone,note", |row| {
                format!("{row},张三丰,{},{}", number(row), note(row))
            }),
            Self::Tsv => list("list.tsv", "no\tname\tphone\tnote", |row| {
                format!("{row}\t张三丰\t{}\t{}", number(row), note(row))
            }),
            Self::CsvInGb18030 => {
                let List { folder, spec } = Self::Csv.list();
                let text = std::fs::read_to_string(&spec.path).expect("the list is there");
                std::fs::write(&spec.path, encoding_rs::GB18030.encode(&text).0)
                    .expect("the list is written");
                List { spec: Spec { encoding: Encoding::Gb18030, ..spec }, folder }
            }
            Self::JsonLines => list("list.jsonl", "", |row| {
                let (phone, note) = (number(row), note(row));
                format!("{{\"no\":{row},\"name\":\"张三丰\",\"phone\":\"{phone}\",\"note\":\"{note}\"}}")
            }),
            Self::Workbook => file("list.xlsx", &workbook(note)),
            #[cfg(feature = "parquet")]
            Self::Parquet => file("list.parquet", &parquet(note)),
        }
    }
}

struct List {
    folder: tempfile::TempDir,
    spec: Spec,
}

fn list(name: &str, heading: &str, row: impl Fn(u64) -> String) -> List {
    let mut text = format!("{heading}\n");
    for index in 0..ROWS {
        writeln!(text, "{}", row(index)).expect("strings take all");
    }
    file(name, text.as_bytes())
}

fn file(name: &str, content: &[u8]) -> List {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, content).expect("the list is written");
    List { spec: Spec::of(path, vec!["phone".into()]), folder }
}

fn workbook(note: impl Fn(u64) -> String) -> Vec<u8> {
    let mut workbook = rust_xlsxwriter::Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.write_row(0, 0, ["no", "name", "phone", "note"]).expect("the heading fits");
    for row in 0..ROWS {
        let at = row as u32 + 1;
        sheet.write(at, 0, row as f64).expect("the cell fits");
        sheet.write(at, 1, "张三丰").expect("the cell fits");
        sheet.write(at, 2, number(row).to_string()).expect("the cell fits");
        sheet.write(at, 3, note(row)).expect("the cell fits");
    }
    workbook.save_to_buffer().expect("the workbook is written")
}

/// As most data lakes write it: dictionaries, and Snappy.
#[cfg(feature = "parquet")]
fn parquet(note: impl Fn(u64) -> String) -> Vec<u8> {
    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};

    let schema = "message list { required int64 no; required binary name (STRING);
        required binary phone (STRING); required binary note (STRING); }";
    let schema = parquet::schema::parser::parse_message_type(schema).expect("a schema");
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer =
        SerializedFileWriter::new(Vec::new(), schema.into(), properties.into()).expect("it opens");
    let texts = |text: &dyn Fn(u64) -> String| -> Vec<ByteArray> {
        (0..ROWS).map(|row| text(row).into_bytes().into()).collect()
    };
    let columns = [texts(&|_| "张三丰".into()), texts(&|row| number(row).to_string()), texts(&note)];
    let mut group = writer.next_row_group().expect("a row group");
    let mut column = group.next_column().expect("a column").expect("a column");
    let numbers: Vec<i64> = (0..ROWS as i64).collect();
    column.typed::<Int64Type>().write_batch(&numbers, None, None).expect("the values are written");
    column.close().expect("the column is written");
    for values in &columns {
        let mut column = group.next_column().expect("a column").expect("a column");
        column.typed::<ByteArrayType>().write_batch(values, None, None).expect("the values are written");
        column.close().expect("the column is written");
    }
    group.close().expect("the row group is written");
    writer.into_inner().expect("the file is written")
}

/// Reads and canonicalises every row; nothing is kept.
fn canonicalise(list: &List, profile: &Profile, copied: bool) -> u64 {
    let copy = copied.then(|| {
        let path = list.folder.path().join("copy");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let label = Label { kind: "snapshot", owner: b"" };
        let file = file.expect("the copy is created");
        SealedWriter::new(file, &SealKey::from_bytes([7; 32]), label).expect("the header is written")
    });
    let mut source = input::open(&list.spec, copy).expect("the list opens");
    let (mut canonical, mut rows) = (Vec::new(), 0);
    while let Some(row) = source.row().expect("the list is well formed") {
        let cells = row.cells.expect("no row is ragged");
        let mut texts: [Cow<'_, str>; 2] = Default::default();
        for (place, text) in texts.iter_mut().enumerate().take(cells.len()) {
            *text = cells.get(place).expect("every cell is text");
        }
        rows += u64::from(profile.canonicalise(&texts[..cells.len()], &mut canonical).is_ok());
    }
    source.finish().expect("the copy is finished");
    assert_eq!(rows, ROWS);
    rows
}

fn mobile() -> Profile {
    Profile::parse("cn.mobile/1").expect("a known profile")
}

#[divan::bench(sample_count = 10, args = SOURCES)]
fn alone(bencher: Bencher, source: Source) {
    let list = source.list();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| canonicalise(&list, &mobile(), false));
}

#[divan::bench(sample_count = 10, args = SOURCES)]
fn with_sealed_copy(bencher: Bencher, source: Source) {
    let list = source.list();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| canonicalise(&list, &mobile(), true));
}

/// Of each, as a CSV of one column, or of two.
const PROFILES: &[&str] = &[
    "cn.mobile/1",
    "cn.rid/1",
    "cn.uscc/1",
    "bankcard/1",
    "wechat/1",
    "qq/1",
    "email/1",
    "text/1",
    "cn.name/1+cn.mobile/1",
];

fn cell(profile: &str, row: u64) -> String {
    match profile {
        "cn.mobile/1" => number(row).to_string(),
        "cn.rid/1" => resident_id(row),
        // With a zero at the end it might have been rounded.
        "cn.uscc/1" => format!("91110105{row:09}1"),
        "bankcard/1" => format!("62220{}", number(row) | 1),
        "wechat/1" => format!("wx_{}", number(row)),
        "qq/1" => (number(row) / 10).to_string(),
        "email/1" => format!("user.{row}@example.com"),
        "cn.name/1+cn.mobile/1" => format!("张三丰,{}", number(row)),
        _ => format!("客户 {row}"),
    }
}

/// Eighteen characters, of which the last is the check character (ISO 7064, MOD 11-2).
fn resident_id(row: u64) -> String {
    let (year, month, day) = (1950 + row % 60, 1 + row / 60 % 12, 1 + row / 720 % 28);
    let digits = format!("110105{year}{month:02}{day:02}{:03}", row / 20_160);
    let weighted = digits.bytes().enumerate().map(|(place, digit)| u64::from(digit - b'0') << (17 - place));
    let check = (12 - weighted.sum::<u64>() % 11) % 11;
    format!("{digits}{}", char::from(b"0123456789X"[check as usize]))
}

#[divan::bench(sample_count = 10, args = PROFILES)]
fn profiles(bencher: Bencher, profile: &str) {
    let heading = if profile.contains('+') { "name,phone" } else { "phone" };
    let mut list = list("list.csv", heading, |row| cell(profile, row));
    list.spec.columns = heading.split(',').map(str::to_owned).collect();
    let profile = Profile::parse(profile).expect("a known profile");
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| canonicalise(&list, &profile, false));
}

/// To a canonical set in a scratch file, as a run does it: sorted in memory, and merged from some four sorted runs.
#[divan::bench(sample_count = 5, args = [1, 4])]
fn load_whole_list(bencher: Bencher, runs: u64) {
    let list = Source::Csv.list();
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A row takes 11 bytes, and 12 to be sorted.
    let scratch = Room { memory: ROWS * 23 / runs + 1000, ..Room::unlimited() }.at(folder.path());
    let keys = [Key { columns: vec!["phone".to_owned()], profile: mobile() }];
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let source = input::open(&list.spec, None).expect("the list opens");
        let loaded = input::load(source, &list.spec, &keys, &Limits::default(), Some(&scratch));
        let lists = loaded.expect("the list is well formed").lists;
        lists.into_iter().map(|list| list.rows.sort(&scratch).expect("the disk has room")).collect::<Vec<_>>()
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
