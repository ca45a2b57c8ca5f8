//! What a file says of itself at its end: its columns, its row groups, and where the pages of each column are.

use std::io::{self, Read, Seek, SeekFrom};

use super::Wrong;
use super::thrift::{Kind, Thrift};
use crate::input::feed::Whole;

/// The largest footer that is read: hundreds of thousands of column chunks.
const MAX_FOOTER: u64 = 64 << 20;
/// What a file starts and ends with.
const MAGIC: &[u8; 4] = b"PAR1";
/// The magic and the length of the footer, behind it.
const TAIL: u64 = 8;

/// What a file says of itself.
#[derive(Debug)]
pub(super) struct Footer {
    /// The columns with one value a row.
    pub(super) columns: Vec<Column>,
    /// The names of those that hold several, or others.
    pub(super) nested: Vec<String>,
    pub(super) groups: Vec<Group>,
    pub(super) rows: u64,
}

/// A column with one value a row, or none.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// Its place among all columns, the parts of nested ones counted.
    pub(super) leaf: usize,
    /// The number of how it is stored.
    stored: i64,
    pub(super) physical: Physical,
    pub(super) meaning: Meaning,
    /// Whether a value may be missing.
    pub(super) optional: bool,
}

/// How a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Physical {
    Boolean,
    /// As many bytes: integers and floating-point numbers with the lowest first, or bytes of a length that all share.
    Fixed(usize),
    Bytes,
}

/// What a value stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Text,
    /// Bytes that nobody called text.
    Bytes,
    Boolean,
    Signed,
    Unsigned,
    Float,
    /// An integer, divided by that power of ten. Bytes have the highest first.
    Decimal {
        scale: u32,
        big_endian: bool,
    },
    /// Days since 1970.
    Date,
    /// Since midnight, by the parts of a second.
    Time(i64),
    /// Since 1970, by the parts of a second.
    Timestamp(i64),
    /// Nanoseconds of the day, and the Julian day.
    JulianTimestamp,
    Uuid,
}

/// Rows that are stored together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) rows: u64,
    /// One a column, by [`Column::leaf`].
    pub(super) chunks: Vec<Chunk>,
}

/// The values of a column in a row group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    stored: i64,
    /// The number of the compression.
    pub(super) codec: i64,
    pub(super) values: u64,
    /// Where its pages are in the file.
    pub(super) start: u64,
    pub(super) length: u64,
}

impl Footer {
    /// Reads and checks it.
    pub(super) fn read(file: &mut Whole) -> Result<Self, Wrong> {
        let length = file.seek(SeekFrom::End(0))?;
        let start = at(file, 0, length.min(4))?;
        match start.as_slice() {
            [] => return Err(Wrong::Empty),
            b"PARE" => return Err(Wrong::Other("an encrypted Parquet file")),
            start if start != MAGIC => return Err(Wrong::Other("no Parquet file")),
            _ => {}
        }
        let room = length.checked_sub(4 + TAIL).ok_or(CUT)?;
        let tail = at(file, length - TAIL, TAIL)?;
        let (size, magic) = tail.split_at(4);
        if magic != MAGIC {
            return Err(CUT);
        }
        let size = u64::from(u32::from_le_bytes(size.try_into().map_err(|_| CUT)?));
        if size > room.min(MAX_FOOTER) {
            return Err(Wrong::Damage("the footer is damaged or too large"));
        }
        let end = length - TAIL - size;
        let footer = at(file, end, size)?;
        Self::parse(&footer, end).ok_or(Wrong::Damage("the footer is damaged"))
    }

    /// `end` is where the footer starts, and so all pages end.
    fn parse(bytes: &[u8], end: u64) -> Option<Self> {
        let (mut elements, mut groups, mut rows) = (Vec::new(), Vec::new(), None);
        let mut thrift = Thrift::new(bytes);
        thrift.fields(|thrift, id, kind| match (id, kind) {
            (2, Kind::List) => {
                thrift.items(|thrift, _| Element::read(thrift).map(|element| elements.push(element)))
            }
            (3, Kind::Int) => thrift.int().map(|count| rows = Some(count)),
            (4, Kind::List) => {
                thrift.items(|thrift, _| Group::read(thrift, end).map(|group| groups.push(group)))
            }
            (_, kind) => thrift.skip(kind),
        })?;
        let (columns, nested, leaves) = flat(&elements)?;
        let rows = u64::try_from(rows?).ok()?;
        let counted = groups.iter().try_fold(0_u64, |sum, group: &Group| sum.checked_add(group.rows))?;
        let whole = thrift.taken() == bytes.len() && counted == rows;
        let fit = |group: &Group| group.chunks.len() == leaves && group.fits(&columns);
        (whole && groups.iter().all(fit)).then_some(Self { columns, nested, groups, rows })
    }
}

const CUT: Wrong = Wrong::Damage("it is cut short: its last bytes are those of no footer");

fn at(file: &mut Whole, from: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Group {
    fn read(thrift: &mut Thrift<'_>, end: u64) -> Option<Self> {
        let (mut chunks, mut rows) = (Vec::new(), None);
        thrift.fields(|thrift, id, kind| match (id, kind) {
            (1, Kind::List) => {
                thrift.items(|thrift, _| Chunk::read(thrift, end).map(|chunk| chunks.push(chunk)))
            }
            (3, Kind::Int) => thrift.int().map(|count| rows = Some(count)),
            (_, kind) => thrift.skip(kind),
        })?;
        Some(Self { rows: u64::try_from(rows?).ok()?, chunks })
    }

    /// Whether it stores the columns as the schema says.
    fn fits(&self, columns: &[Column]) -> bool {
        columns.iter().all(|column| self.chunks[column.leaf].stored == column.stored)
    }
}

impl Chunk {
    fn read(thrift: &mut Thrift<'_>, end: u64) -> Option<Self> {
        let mut chunk = None;
        thrift.fields(|thrift, id, kind| match (id, kind) {
            // Pages in another file.
            (1, Kind::Binary) => thrift.binary()?.is_empty().then_some(()),
            (3, Kind::Struct) => Self::read_meta(thrift).map(|read| chunk = Some(read)),
            (_, kind) => thrift.skip(kind),
        })?;
        chunk.filter(|chunk| chunk.start.checked_add(chunk.length).is_some_and(|last| last <= end))
    }

    fn read_meta(thrift: &mut Thrift<'_>) -> Option<Self> {
        let [stored, codec, values, length, data, dictionary] = thrift.integers([1, 4, 5, 7, 9, 11])?;
        let data = data?;
        // Some writers say 0 for no dictionary.
        let start = dictionary.filter(|start| (1..data).contains(start)).unwrap_or(data);
        Some(Self {
            stored: stored?,
            codec: codec?,
            values: u64::try_from(values?).ok()?,
            start: u64::try_from(start).ok()?,
            length: u64::try_from(length?).ok()?,
        })
    }
}

/// A node of the schema, which is a tree from the root on, every node before its children.
#[derive(Default)]
struct Element {
    physical: Option<i64>,
    width: i64,
    repetition: i64,
    name: String,
    children: u64,
    converted: Option<i64>,
    scale: i64,
    annotation: Option<Annotation>,
}

/// What a column is declared to hold, where its meaning is not that of how it is stored.
#[derive(Clone, Copy, PartialEq)]
enum Annotation {
    Text,
    Decimal(i64),
    Date,
    Time(i64),
    Timestamp(i64),
    Unsigned,
    Uuid,
    Other,
}

const MILLIS: i64 = 1_000;
const MICROS: i64 = 1_000_000;
const NANOS: i64 = 1_000_000_000;

impl Element {
    fn read(thrift: &mut Thrift<'_>) -> Option<Self> {
        let mut element = Self::default();
        thrift.fields(|thrift, id, kind| match (id, kind) {
            (1, Kind::Int) => thrift.int().map(|value| element.physical = Some(value)),
            (2, Kind::Int) => thrift.int().map(|value| element.width = value),
            (3, Kind::Int) => thrift.int().map(|value| element.repetition = value),
            (4, Kind::Binary) => {
                let name = std::str::from_utf8(thrift.binary()?).ok()?;
                element.name = name.to_owned();
                Some(())
            }
            (5, Kind::Int) => element.take_children(thrift.int()?),
            (6, Kind::Int) => thrift.int().map(|value| element.converted = Some(value)),
            (7, Kind::Int) => thrift.int().map(|value| element.scale = value),
            (10, Kind::Struct) => Annotation::read(thrift).map(|read| element.annotation = read),
            (_, kind) => thrift.skip(kind),
        })?;
        Some(element)
    }

    fn take_children(&mut self, children: i64) -> Option<()> {
        self.children = u64::try_from(children).ok()?;
        Some(())
    }

    /// A column at the top of the tree that isn't repeated.
    fn column(&self, leaf: usize) -> Option<Column> {
        let stored = self.physical?;
        let physical = match stored {
            0 => Physical::Boolean,
            1 | 4 => Physical::Fixed(4),
            2 | 5 => Physical::Fixed(8),
            3 => Physical::Fixed(12),
            6 => Physical::Bytes,
            7 => Physical::Fixed(usize::try_from(self.width).ok().filter(|width| *width > 0)?),
            _ => return None,
        };
        let optional = match self.repetition {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Column { name: self.name.clone(), leaf, stored, physical, meaning: self.meaning()?, optional })
    }

    /// What the column is declared to hold, in the newer way or in the older one.
    fn annotation(&self) -> Option<Annotation> {
        self.annotation.or_else(|| Annotation::of_converted(self.converted?, self.scale))
    }

    /// Whether both ways say the same, where both are there.
    fn is_clear(&self) -> bool {
        let older = self.converted.and_then(|converted| Annotation::of_converted(converted, self.scale));
        older.is_none_or(|older| self.annotation.is_none_or(|newer| newer == older))
    }

    fn meaning(&self) -> Option<Meaning> {
        let annotation = self.annotation();
        let decimal =
            |scale, big_endian| Some(Meaning::Decimal { scale: u32::try_from(scale).ok()?, big_endian });
        match (self.physical?, annotation) {
            (0, _) => Some(Meaning::Boolean),
            (1 | 2, Some(Annotation::Decimal(scale))) => decimal(scale, false),
            (6 | 7, Some(Annotation::Decimal(scale))) => decimal(scale, true),
            (1, Some(Annotation::Date)) => Some(Meaning::Date),
            (1 | 2, Some(Annotation::Time(unit))) => Some(Meaning::Time(unit)),
            (2, Some(Annotation::Timestamp(unit))) => Some(Meaning::Timestamp(unit)),
            (1 | 2, Some(Annotation::Unsigned)) => Some(Meaning::Unsigned),
            (1 | 2, _) => Some(Meaning::Signed),
            (3, _) => Some(Meaning::JulianTimestamp),
            (4 | 5, _) => Some(Meaning::Float),
            (6, Some(Annotation::Text)) => Some(Meaning::Text),
            (7, Some(Annotation::Uuid)) if self.width == 16 => Some(Meaning::Uuid),
            (6 | 7, _) => Some(Meaning::Bytes),
            _ => None,
        }
    }
}

impl Annotation {
    /// A `LogicalType`: a union, of which one field is there.
    fn read(thrift: &mut Thrift<'_>) -> Option<Option<Self>> {
        let mut found = None;
        thrift.fields(|thrift, id, kind| {
            found = Some(match (id, kind) {
                (5, Kind::Struct) => Self::Decimal(thrift.integers([1])?[0].unwrap_or(0)),
                (7, Kind::Struct) => Self::Time(unit(thrift)?),
                (8, Kind::Struct) => Self::Timestamp(unit(thrift)?),
                (10, Kind::Struct) => match is_signed(thrift)? {
                    true => Self::Other,
                    false => Self::Unsigned,
                },
                (_, kind) => {
                    thrift.skip(kind)?;
                    match id {
                        1 | 4 | 12 => Self::Text,
                        6 => Self::Date,
                        14 => Self::Uuid,
                        _ => Self::Other,
                    }
                }
            });
            Some(())
        })?;
        Some(found)
    }

    /// The older `ConvertedType`.
    fn of_converted(converted: i64, scale: i64) -> Option<Self> {
        match converted {
            0 | 4 | 19 => Some(Self::Text),
            5 => Some(Self::Decimal(scale)),
            6 => Some(Self::Date),
            7 => Some(Self::Time(MILLIS)),
            8 => Some(Self::Time(MICROS)),
            9 => Some(Self::Timestamp(MILLIS)),
            10 => Some(Self::Timestamp(MICROS)),
            11..=14 => Some(Self::Unsigned),
            _ => None,
        }
    }
}

fn is_signed(thrift: &mut Thrift<'_>) -> Option<bool> {
    let mut signed = true;
    thrift.fields(|thrift, id, kind| {
        if id == 2 {
            signed = kind == Kind::True;
        }
        thrift.skip(kind)
    })?;
    Some(signed)
}

/// The unit of a `TimeType` or `TimestampType`: a struct whose second field is a union of three.
fn unit(thrift: &mut Thrift<'_>) -> Option<i64> {
    let mut unit = None;
    thrift.fields(|thrift, id, kind| match (id, kind) {
        (2, Kind::Struct) => thrift.fields(|thrift, id, kind| {
            unit = Some(id);
            thrift.skip(kind)
        }),
        (_, kind) => thrift.skip(kind),
    })?;
    match unit? {
        1 => Some(MILLIS),
        2 => Some(MICROS),
        3 => Some(NANOS),
        _ => None,
    }
}

/// The columns at the top of the tree, the names of the nested ones, and how many leaves there are in all.
fn flat(elements: &[Element]) -> Option<(Vec<Column>, Vec<String>, usize)> {
    let (root, mut rest) = elements.split_first()?;
    if !elements.iter().all(Element::is_clear) {
        return None;
    }
    let (mut columns, mut nested, mut leaf) = (Vec::new(), Vec::new(), 0);
    for _ in 0..root.children {
        let (top, _) = rest.split_first()?;
        match top.column(leaf).filter(|_| top.children == 0) {
            Some(column) => columns.push(column),
            None => nested.push(top.name.clone()),
        }
        // A node is done when all below it are.
        let mut open = 1_u64;
        while open > 0 {
            let (element, after) = rest.split_first()?;
            open = (open - 1).checked_add(element.children)?;
            leaf += usize::from(element.children == 0);
            rest = after;
        }
    }
    rest.is_empty().then_some((columns, nested, leaf))
}
