//! Results going out: the matching original rows, written beside their final name and released in a second step.
//!
//! [`check`] before anything is sent; [`prepare`] writes `.NAME.RUN.part` (0600) and makes it durable;
//! [`Prepared::release`] renames it once both signatures are stored. An existing file is never replaced.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::durable;
use crate::input::{InputError, Source};

/// Why a result can't be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's fields are named after what its text says")]
pub enum OutputError {
    /// Results never replace anything.
    #[error("{}: output exists", path.display())]
    Exists { path: PathBuf },
    /// The path names no file, or its folder isn't there.
    #[error("{}: output folder doesn't exist", path.display())]
    NoFolder { path: PathBuf },
    /// The folder takes no files.
    #[error("{}: output can't be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Neither the prepared file nor a released one is there.
    #[error("{}: the prepared output is gone", path.display())]
    Gone { path: PathBuf },
    /// The rows can't be read again.
    #[error(transparent)]
    Source(#[from] InputError),
}

/// The file that a name with `{job}`, `{date}` and `{run}` in it stands for.
pub fn path(template: &Path, job: &str, date: &str, run: &str) -> PathBuf {
    let name = template.to_string_lossy();
    PathBuf::from(name.replace("{job}", job).replace("{date}", date).replace("{run}", run))
}

/// Makes sure, before anything is sent, that a result could be written there.
pub fn check(target: &Path) -> Result<(), OutputError> {
    let folder = durable::parent(target);
    if target.file_name().is_none() || !folder.is_dir() {
        return Err(OutputError::NoFolder { path: target.into() });
    }
    if target.symlink_metadata().is_ok() {
        return Err(OutputError::Exists { path: target.into() });
    }
    // Permission bits don't tell of full quotas and read-only mounts: try.
    let probe = tempfile::Builder::new().prefix(".psi-probe-").tempfile_in(folder);
    probe.map(drop).map_err(|source| OutputError::Write { path: target.into(), source })
}

/// A column that the list doesn't have.
#[derive(Clone, Copy)]
pub struct Extra<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its cell in the row of that ordinal.
    pub cell: &'a (dyn Fn(u32) -> &'a str + Sync),
}

/// Writes the heading and the rows that `keep` names by ordinal, in the order of the source, with all columns; the extra
/// ones stand behind them.
///
/// A part file that an interrupted attempt of the same run left behind is written anew.
pub fn prepare(
    target: &Path,
    run: &str,
    mut source: Box<dyn Source>,
    extra: &[Extra<'_>],
    keep: impl Fn(u32) -> bool,
) -> Result<Prepared, OutputError> {
    let prepared = Prepared::of(target, run)?;
    let failed = |source| OutputError::Write { path: target.into(), source };
    durable::remove(&prepared.part).map_err(failed)?;
    let file = durable::create_private(&prepared.part).map_err(failed)?;
    let written = write_rows(file, source.as_mut(), extra, keep, failed);
    let finished = written.and_then(|rows| Ok(source.finish().map(|()| rows)?));
    match finished {
        Ok(rows) => Ok(Prepared { rows, ..prepared }),
        Err(error) => {
            prepared.discard()?;
            Err(error)
        }
    }
}

/// A result that is complete and durable, but not yet under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    part: PathBuf,
    target: PathBuf,
    rows: u64,
}

/// Which call put the result under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// This one.
    Now,
    /// An earlier one, cut off before it could be recorded: the part file is gone and the result is there.
    Before,
}

impl Prepared {
    /// The result that [`prepare`] made for this run, after a restart. Doesn't look whether it is there.
    pub fn of(target: &Path, run: &str) -> Result<Self, OutputError> {
        let name = target.file_name().ok_or_else(|| OutputError::NoFolder { path: target.into() })?;
        let part = durable::parent(target).join(format!(".{}.{run}.part", name.to_string_lossy()));
        Ok(Self { part, target: target.into(), rows: 0 })
    }

    /// How many rows it holds, without the heading.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Where it waits.
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Puts it under its name, durably, unless something is there by now; then it stays where it waits.
    pub fn release(&self) -> Result<Released, OutputError> {
        let there = self.target.symlink_metadata().is_ok();
        match durable::rename_new(&self.part, &self.target) {
            Ok(()) => Ok(Released::Now),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(OutputError::Exists { path: self.target.clone() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && there => Ok(Released::Before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(OutputError::Gone { path: self.target.clone() })
            }
            Err(source) => Err(OutputError::Write { path: self.target.clone(), source }),
        }
    }

    /// Removes it.
    pub fn discard(&self) -> Result<(), OutputError> {
        durable::remove(&self.part).map_err(|source| OutputError::Write { path: self.target.clone(), source })
    }
}

fn write_rows(
    file: File,
    source: &mut dyn Source,
    extra: &[Extra<'_>],
    keep: impl Fn(u32) -> bool,
    failed: impl Fn(io::Error) -> OutputError + Copy,
) -> Result<u64, OutputError> {
    let mut out = BufWriter::with_capacity(256 * 1024, file);
    let mut line = Vec::new();
    source.columns().iter().for_each(|name| push_cell(&mut line, name));
    extra.iter().for_each(|extra| push_cell(&mut line, extra.name));
    write_line(&mut out, &mut line).map_err(failed)?;
    let mut rows = 0;
    while let Some(ordinal) = source.row()?.map(|row| row.ordinal) {
        if keep(ordinal) {
            source.cells(&mut |cell| push_cell(&mut line, cell));
            extra.iter().for_each(|extra| push_cell(&mut line, (extra.cell)(ordinal)));
            write_line(&mut out, &mut line).map_err(failed)?;
            rows += 1;
        }
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(rows)
}

/// Ends a line of cells, each of which has a comma behind it.
fn write_line(out: &mut impl Write, line: &mut Vec<u8>) -> io::Result<()> {
    line.pop();
    if line.is_empty() {
        // A line with nothing on it would read as blank, not as one empty cell.
        line.extend_from_slice(b"\"\"");
    }
    line.push(b'\n');
    out.write_all(line)?;
    line.clear();
    Ok(())
}

/// The cell as it is, in quotes only where CSV needs them. The one place where cells become output.
fn push_cell(line: &mut Vec<u8>, cell: &str) {
    if cell.contains([',', '"', '\n', '\r']) {
        line.push(b'"');
        line.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
        line.push(b'"');
    } else {
        line.extend_from_slice(cell.as_bytes());
    }
    line.push(b',');
}

#[cfg(test)]
mod tests {
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
        let prepared = prepare(&target, "r1", source(folder.path()), &[], |row| row < 2).unwrap();
        assert!(!target.exists() && is_prepared(&target, "r1") && prepared.rows() == 2);
        assert_eq!(mode(prepared.part()), 0o600);
        assert_eq!(prepared.part(), folder.path().join(".out.csv.r1.part"));
        assert_eq!(prepared.release().unwrap(), Released::Now);
        let expected = "no,phone,note\n1,139,\"a, \"\"b\"\"\"\n2, 138 ,\"x\ny\"\n";
        assert_eq!(fs::read_to_string(&target).unwrap(), expected);
        assert!(!is_prepared(&target, "r1"));
    }

    #[test]
    fn columns_that_the_list_lacks_stand_behind_its_own() {
        let folder = folder();
        let target = folder.path().join("out.csv");
        let cell = |row| ["first", "b;c", ""][row as usize];
        let extra = [Extra { name: "psi_matched", cell: &cell }];
        prepare(&target, "r1", source(folder.path()), &extra, |row| row != 1).unwrap().release().unwrap();
        let expected = "no,phone,note,psi_matched\n1,139,\"a, \"\"b\"\"\",first\n3,137,,\n";
        assert_eq!(fs::read_to_string(&target).unwrap(), expected);
    }

    #[test]
    fn nothing_matching_leaves_the_heading() {
        let folder = folder();
        let target = folder.path().join("out.csv");
        prepare(&target, "r1", source(folder.path()), &[], |_| false).unwrap().release().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "no,phone,note\n");
    }

    #[test]
    fn a_lone_empty_cell_stays_a_row() {
        let (mut line, mut out) = (Vec::new(), Vec::new());
        push_cell(&mut line, "");
        write_line(&mut out, &mut line).unwrap();
        assert_eq!(out, b"\"\"\n");
    }

    #[test]
    fn what_is_there_is_never_replaced() {
        let folder = folder();
        let target = folder.path().join("out.csv");
        let prepared = prepare(&target, "r1", source(folder.path()), &[], |_| true).unwrap();
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
        let prepared = prepare(&target, "r1", source(folder.path()), &[], |_| true).unwrap();
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
        let prepared = prepare(&target, "r1", source(folder.path()), &[], |row| row == 2).unwrap();
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
        let error = prepare(&target, "r1", source, &[], |_| true).unwrap_err();
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
}
