//! Our list in a run, and the sealed files that belong to it: `private/ID/`.
//!
//! | file | what | until |
//! |---|---|---|
//! | `rows` | the source's bytes as they were read; the result is made from them | both have signed, or the run is over |
//! | scratch files without a name | canonical set; which rows hold its items; what else memory has no room for | their process ends |
//! | `session` | seed, both Hellos; `commit`, `peer-commit`: both Commits; `job`: the configuration of the job | as `rows` |
//! | `journal` | what the steps came to (journal.rs) | as `rows` |
//! | `masked` | masked list | purged, if the terms say openable; else as `rows` |
//! | `list`, `opening` | canonical set; what opens it to an auditor; only if the terms say openable | purged |
//!
//! A run with several lists has the last three for each: `list`, `list-1`, `list-2` and so on.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use psi_core::{
    key::SessionSeed,
    message::{Hello, Message},
};
use zeroize::Zeroizing;

use super::random;
use crate::{
    config::Job,
    durable,
    fault::{
        Code, Fault,
        disk::{storage, unreadable},
    },
    home::{Home, file_name},
    input::{self, Loaded, LoadedList, Rejects, RowMap, Source, Spec, StoredSet},
    join::Bitmap,
    masked::Place,
    output,
    runs::{Attempt, AttemptRows, replace},
    scratch::{Room, Scratch},
    seal::{self, Label, SealKey, SealedReader, SealedWriter},
};

const ROWS: &str = "rows";
const SESSION: &str = "session";
const COMMIT: &str = "commit";
const PEER_COMMIT: &str = "peer-commit";
const JOB: &str = "job";
const JOURNAL: &str = "journal";
pub(super) const LIST: &str = "list";
pub(super) const MASKED: &str = "masked";
pub(super) const OPENING: &str = "opening";

/// What was read, one list a key, with its sealed copy.
pub(super) struct List {
    /// Taken out when they are masked: nothing needs them after that.
    sets: Vec<Option<StoredSet>>,
    items: Vec<u64>,
    rows: Vec<RowMap>,
    counts: Counts,
    files: Files,
    /// As it was when the list was read: so it is read again, and so the result is written.
    job: Job,
}

/// The sealed files of a run.
#[derive(Clone)]
pub(super) struct Files {
    folder: PathBuf,
    /// Binds the copy of the rows to this run before the run has an id; kept in `session`.
    rows_id: Arc<Zeroizing<[u8; 16]>>,
    run_id: String,
}

/// What became of the rows.
#[derive(Clone)]
pub(super) struct Counts {
    pub(super) read: u64,
    /// Of each list.
    pub(super) lists: Vec<ListCounts>,
    pub(super) rejects: Rejects,
}

/// What became of the rows in one list.
#[derive(Clone)]
pub(super) struct ListCounts {
    pub(super) duplicates: u64,
    pub(super) warnings: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// For the record, with the number of rows in the result.
    pub(super) fn rows(&self, written: u64) -> AttemptRows {
        let duplicates = self.lists.iter().map(|list| list.duplicates).collect();
        let Rejects { total: rejected, cells: cells_rejected, .. } = self.rejects;
        AttemptRows {
            read: self.read,
            rejected,
            cells_rejected,
            duplicates,
            written,
            ..AttemptRows::default()
        }
    }

    /// Of rows that another process read: only the numbers are known.
    pub(super) fn of(attempt: &Attempt) -> Self {
        let rows = attempt.rows.clone().unwrap_or_default();
        let list = |duplicates| ListCounts { duplicates, warnings: BTreeMap::new() };
        let rejects = Rejects { total: rows.rejected, cells: rows.cells_rejected, ..Rejects::default() };
        Self { read: rows.read, lists: rows.duplicates.into_iter().map(list).collect(), rejects }
    }
}

impl List {
    /// Reads the list, and seals a copy of what was read. Were too many rows rejected, then they are written to `unsent`:
    /// nothing will be sent, and whoever mends the list needs them now.
    pub(super) fn load(
        home: &Home,
        name: &str,
        seal_key: &SealKey,
        job: &Job,
        room: &Room,
        unsent: Option<&Path>,
    ) -> Result<Self, Fault> {
        let rows_id = random::<16>()?;
        let folder = home.private().join(format!("{}{}", unnamed(name), HEXLOWER.encode(&rows_id[..8])));
        durable::create_folder(&folder).map_err(|error| storage(&folder, &error))?;
        let files = Files { folder, rows_id: Arc::new(rows_id), run_id: String::new() };
        let scratch = room.at(&files.folder);
        let loaded = files.read(seal_key, job, &scratch).map_err(|fault| match unsent {
            Some(target) if fault.code == Code::TooManyRejects => {
                files.with_rejects(fault, seal_key, job, target)
            }
            _ => fault,
        });
        let loaded = loaded.inspect_err(|_| remove(&files.folder))?;
        Self::of(loaded, files, job, &scratch)
    }

    fn push(&mut self, loaded: LoadedList, scratch: &Scratch) -> Result<(), Fault> {
        let LoadedList { rows, warnings } = loaded;
        let filled = rows.len();
        let sorted = rows.sort(scratch).map_err(|error| storage(&self.files.folder, &error));
        let (set, rows) = sorted?;
        let duplicates = filled - set.len();
        self.items.push(set.len());
        self.sets.push(Some(set));
        self.rows.push(rows);
        self.counts.lists.push(ListCounts { duplicates, warnings });
        Ok(())
    }

    /// Gives the sealed files the run's id.
    pub(super) fn named(mut self, run_id: &str) -> Result<Self, Fault> {
        let folder = self.files.folder.with_file_name(run_id);
        durable::rename_new(&self.files.folder, &folder).map_err(|error| storage(&folder, &error))?;
        self.files.folder = folder;
        self.files.run_id = run_id.to_owned();
        Ok(self)
    }

    /// The job as it was when the list was read.
    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    pub(super) fn files(&self) -> Files {
        self.files.clone()
    }

    /// Items of each list, without duplicates and rejects.
    pub(super) fn items(&self) -> &[u64] {
        &self.items
    }

    /// The canonical set of a list, for masking; there is none a second time.
    pub(super) fn take_set(&mut self, list: usize) -> Result<StoredSet, Fault> {
        let set = self.sets.get_mut(list).and_then(Option::take);
        set.ok_or_else(|| Fault::new(Code::Unexpected, "the list was masked already"))
    }

    /// The rows that hold one of these items of a list's set.
    pub(super) fn rows_with(&mut self, list: usize, items: &Bitmap) -> Result<Bitmap, Fault> {
        self.rows[list].matching(items).map_err(|error| storage(&self.files.folder, &error))
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// The very rows that were read, from their sealed copy.
    pub(super) fn reopen(&self, spec: &Spec, seal_key: &SealKey) -> Result<Box<dyn Source>, Fault> {
        Ok(input::reopen(spec, self.files.rows(seal_key)?)?)
    }

    /// Makes durable what a run needs to go on after a crash, before our Commit exists.
    pub(super) fn store_session(
        &self,
        seal_key: &SealKey,
        seed: &SessionSeed,
        hellos: [&Hello; 2],
    ) -> Result<(), Fault> {
        let mut content = Zeroizing::new(Vec::with_capacity(2048));
        content.extend_from_slice(seed.as_bytes());
        content.extend_from_slice(&self.files.rows_id[..]);
        for hello in hellos.map(Hello::encode) {
            content.extend_from_slice(&(hello.len() as u32).to_be_bytes());
            content.extend_from_slice(&hello);
        }
        self.files.store(seal_key, Content::of_run(SESSION), &content)
    }

    /// Makes our Commit durable before it is sent: a run that goes on must send the same one.
    pub(super) fn store_commit(&self, seal_key: &SealKey, commit: &Message) -> Result<(), Fault> {
        match commit {
            Message::Commit(commit) => self.files.store(seal_key, Content::of_run(COMMIT), &commit.encode()),
            _ => Ok(()),
        }
    }

    /// The list of a run that goes on: the very rows that were read, read again from their sealed copy.
    pub(super) fn restore(files: Files, seal_key: &SealKey, job: &Job, room: &Room) -> Result<Self, Fault> {
        let (spec, scratch) = (job.input.spec(), room.at(&files.folder));
        let source = input::reopen(&spec, files.rows(seal_key)?)?;
        let loaded = input::load(source, &spec, &job.input.keys, &job.input.limits(), Some(&scratch))?;
        Self::of(loaded, files, job, &scratch)
    }

    fn of(loaded: Loaded, files: Files, job: &Job, scratch: &Scratch) -> Result<Self, Fault> {
        let Loaded { lists, rows_read: read, rejects } = loaded;
        let counts = Counts { read, lists: Vec::new(), rejects };
        let (sets, items, rows, job) = (Vec::new(), Vec::new(), Vec::new(), job.clone());
        let mut list = Self { sets, items, rows, counts, files, job };
        lists.into_iter().try_for_each(|loaded| list.push(loaded, scratch))?;
        Ok(list)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // A list that no session was agreed for leaves nothing behind.
        if self.files.run_id.is_empty() {
            remove(&self.files.folder);
        }
    }
}

impl Files {
    fn read(&self, seal_key: &SealKey, job: &Job, scratch: &Scratch) -> Result<Loaded, Fault> {
        let path = self.folder.join(ROWS);
        let file = durable::create_private(&path).map_err(|error| storage(&path, &error))?;
        let copy =
            SealedWriter::new(file, seal_key, self.rows_label()).map_err(|error| storage(&path, &error))?;
        let spec = job.input.spec();
        let source = job.fitting(input::open(&spec, Some(copy))?)?;
        Ok(input::load(source, &spec, &job.input.keys, &job.input.limits(), Some(scratch))?)
    }

    /// Writes every reject of the list that was read, and says where they are.
    fn with_rejects(&self, fault: Fault, seal_key: &SealKey, job: &Job, target: &Path) -> Fault {
        let written = || {
            let (spec, run) = (job.input.spec(), "unsent");
            let rows = input::reopen(&spec, self.rows(seal_key)?)?;
            output::rejects(target, run, rows, job.input.judge(&spec), job.bom)?.release()?;
            Ok::<_, Fault>(())
        };
        let where_they_are = match written() {
            Ok(()) => format!("all of them are in {}", target.display()),
            Err(error) => format!("they could not be written: {error}"),
        };
        Fault { message: format!("{}; {where_they_are}", fault.message), ..fault }
    }

    /// The sealed files of a run that goes on, and its session: seed and both Hellos, initiator first.
    pub(super) fn restore(
        home: &Home,
        run_id: &str,
        seal_key: &SealKey,
    ) -> Result<(Self, SessionSeed, [Vec<u8>; 2]), Fault> {
        let mut files = Self::of(home, run_id);
        let session = files.open(seal_key, SESSION)?;
        let damaged = || files.damaged(SESSION, &"it is not what was written");
        let (seed, rest) = session.split_first_chunk::<32>().ok_or_else(damaged)?;
        let (rows_id, mut rest) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
        let mut hello = || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (hello, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            rest = after;
            Some(hello.to_vec())
        };
        let hellos = [hello().ok_or_else(damaged)?, hello().ok_or_else(damaged)?];
        files.rows_id = Arc::new(Zeroizing::new(*rows_id));
        Ok((files, SessionSeed::from_bytes(*seed), hellos))
    }

    /// The folder of that run's sealed files.
    pub(super) fn of(home: &Home, run_id: &str) -> Self {
        let folder = home.private().join(run_id);
        Self { folder, rows_id: Arc::default(), run_id: run_id.to_owned() }
    }

    /// Whether what the run needs to go on is there.
    pub(super) fn are_kept(&self) -> bool {
        self.folder.join(JOB).exists()
    }

    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// Makes the peer's Commit durable, before anything is sent after it.
    pub(super) fn store_peer_commit(&self, seal_key: &SealKey, commit: &[u8]) -> Result<(), Fault> {
        self.store(seal_key, Content::of_run(PEER_COMMIT), commit)
    }

    /// Keeps the configuration of the job: a run that goes on reads its list and writes its result as it began.
    pub(super) fn store_job(&self, seal_key: &SealKey, job: &str) -> Result<(), Fault> {
        self.store(seal_key, Content::of_run(JOB), job.as_bytes())
    }

    /// Our Commit.
    pub(super) fn commit(&self, seal_key: &SealKey) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.open(seal_key, COMMIT)
    }

    /// The peer's Commit, if it has arrived.
    pub(super) fn peer_commit(&self, seal_key: &SealKey) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        match self.folder.join(PEER_COMMIT).exists() {
            true => self.open(seal_key, PEER_COMMIT).map(Some),
            false => Ok(None),
        }
    }

    /// The configuration of the job when the run began.
    pub(super) fn job(&self, seal_key: &SealKey) -> Result<String, Fault> {
        let job = self.open(seal_key, JOB)?;
        String::from_utf8(job.to_vec()).map_err(|error| self.damaged(JOB, &error))
    }

    fn rows(&self, seal_key: &SealKey) -> Result<SealedReader<File>, Fault> {
        let path = self.folder.join(ROWS);
        let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        SealedReader::new(file, seal_key, self.rows_label()).map_err(|error| unreadable(&path, &error))
    }

    fn open(&self, seal_key: &SealKey, kind: &'static str) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let (what, path) = (Content::of_run(kind), self.folder.join(kind));
        let mut content = Zeroizing::new(Vec::new());
        let read = File::open(&path)
            .and_then(|file| SealedReader::new(file, seal_key, what.label(&what.owner(&self.run_id))))
            .and_then(|mut reader| reader.read_to_end(&mut content));
        read.map(|_| content).map_err(|error| unreadable(&path, &error))
    }

    fn damaged(&self, kind: &str, error: &dyn std::fmt::Display) -> Fault {
        Fault::new(Code::State, format!("{}: {error}", self.folder.join(kind).display()))
    }

    /// Where a list's file of that kind is, and how it is sealed.
    pub(super) fn place(&self, seal_key: &SealKey, kind: &'static str, list: u16) -> Place {
        let what = Content { kind, list: list.into() };
        let (path, owner) = (self.folder.join(what.file()), what.owner(&self.run_id).into_bytes());
        Place { path, seal_key: seal_key.clone(), kind, owner }
    }

    fn store(&self, seal_key: &SealKey, what: Content, content: &[u8]) -> Result<(), Fault> {
        let path = self.folder.join(what.file());
        let owner = what.owner(&self.run_id);
        let sealed = seal::seal_bytes(seal_key, what.label(&owner), content)
            .map_err(|error| storage(&path, &error))?;
        replace(&path, &sealed)
    }

    fn rows_label(&self) -> Label<'_> {
        Label { kind: ROWS, owner: &self.rows_id[..] }
    }
}

/// What a sealed file of a run holds, and of which list.
#[derive(Clone, Copy)]
struct Content {
    kind: &'static str,
    list: usize,
}

impl Content {
    /// Of the whole run.
    fn of_run(kind: &'static str) -> Self {
        Self { kind, list: 0 }
    }

    fn file(self) -> String {
        self.numbered(self.kind, '-')
    }

    /// Binds the file to its run and list.
    fn owner(self, run_id: &str) -> String {
        self.numbered(run_id, '/')
    }

    fn label(self, owner: &str) -> Label<'_> {
        Label { kind: self.kind, owner: owner.as_bytes() }
    }

    /// The first list goes without a number.
    fn numbered(self, name: &str, mark: char) -> String {
        match self.list {
            0 => name.to_owned(),
            list => format!("{name}{mark}{list}"),
        }
    }
}

/// How the folders of a job's lists start that no run has a name for yet.
fn unnamed(job: &str) -> String {
    format!(".new-{}-", file_name(job))
}

/// Removes the lists that a process left behind which ended before its session was agreed.
pub(super) fn remove_unnamed(home: &Home, job: &str) {
    let Ok(entries) = fs::read_dir(home.private()) else { return };
    let left =
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&unnamed(job)));
    left.for_each(|entry| remove(&entry.path()));
}

/// When both have signed, or nothing more can come: the key's seed goes, and where nothing is to be opened later, everything.
pub(super) fn settle(folder: &Path, openable: bool) -> Result<(), Fault> {
    if !openable {
        remove(folder);
        return Ok(());
    }
    // Without the job's file nothing goes on, whatever else is still there.
    for kind in [JOB, SESSION, COMMIT, PEER_COMMIT, ROWS] {
        let path = folder.join(kind);
        durable::remove(&path).map_err(|error| storage(&path, &error))?;
    }
    let journal = folder.join(JOURNAL);
    match fs::remove_dir_all(&journal) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(storage(&journal, &error)),
        _ => Ok(()),
    }
}

/// Removes a run's sealed files; what can't be removed stays sealed.
pub(super) fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!(folder = %folder.display(), %error, "sealed files could not be removed");
    }
}
