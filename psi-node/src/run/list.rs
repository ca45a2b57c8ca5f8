//! Our list in a run, and the sealed files that belong to it: `private/ID/`.
//!
//! | file | what | until |
//! |---|---|---|
//! | `rows` | the source's bytes as they were read; the result is made from them | both have signed, or the run is over |
//! | `session` | seed, both Hellos; `commit`, `peer-commit`: both Commits; `job`: the configuration of the job | as `rows` |
//! | `journal` | what the steps came to (journal.rs) | as `rows` |
//! | `list`, `masked`, `opening` | canonical set; masked list; what opens it to an auditor | purged, if the terms say openable; else as `rows` |
//!
//! A run with several lists has the last three for each: `list`, `list-1`, `list-2` and so on.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use psi_core::{
    identifier::CanonicalSet,
    key::SessionSeed,
    mask::{MaskedItem, MaskedList, Masking},
    message::{Hello, Message},
};
use zeroize::Zeroizing;

use super::random;
use crate::{
    config::Job,
    durable::{self, NewFile},
    fault::{Code, Fault},
    home::{Home, file_name},
    input::{self, Loaded, LoadedList, Rejects, RowMap, Source, Spec},
    output,
    runs::{Attempt, AttemptRows, replace, storage},
    seal::{self, Label, SealError, SealKey, SealedReader, SealedWriter},
};

const ROWS: &str = "rows";
const SESSION: &str = "session";
const COMMIT: &str = "commit";
const PEER_COMMIT: &str = "peer-commit";
const JOB: &str = "job";
const JOURNAL: &str = "journal";
const LIST: &str = "list";
const MASKED: &str = "masked";
const OPENING: &str = "opening";

/// What was read, one list a key, with its sealed copy.
pub(super) struct List {
    /// Taken out when they are masked: nothing needs them in memory after that.
    sets: Vec<Option<CanonicalSet>>,
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
        unsent: Option<&Path>,
    ) -> Result<Self, Fault> {
        let rows_id = random::<16>()?;
        let folder = home.private().join(format!("{}{}", unnamed(name), HEXLOWER.encode(&rows_id[..8])));
        durable::create_folder(&folder).map_err(|error| storage(&folder, &error))?;
        let files = Files { folder, rows_id: Arc::new(rows_id), run_id: String::new() };
        let loaded = files.read(seal_key, job).map_err(|fault| match unsent {
            Some(target) if fault.code == Code::TooManyRejects => {
                files.with_rejects(fault, seal_key, job, target)
            }
            _ => fault,
        });
        let loaded = loaded.inspect_err(|_| remove(&files.folder))?;
        Ok(Self::of(loaded, files, job))
    }

    fn push(&mut self, loaded: LoadedList) {
        let LoadedList { set, rows, duplicates, warnings } = loaded;
        self.items.push(set.len() as u64);
        self.sets.push(Some(set));
        self.rows.push(rows);
        self.counts.lists.push(ListCounts { duplicates, warnings });
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
    pub(super) fn take_set(&mut self, list: usize) -> Result<CanonicalSet, Fault> {
        let set = self.sets.get_mut(list).and_then(Option::take);
        set.ok_or_else(|| Fault::new(Code::Unexpected, "the list was masked already"))
    }

    /// Which items the rows hold, for each list.
    pub(super) fn rows(&self) -> &[RowMap] {
        &self.rows
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
    pub(super) fn restore(files: Files, seal_key: &SealKey, job: &Job) -> Result<Self, Fault> {
        let spec = job.input.spec();
        let source = input::reopen(&spec, files.rows(seal_key)?)?;
        let loaded = input::load(source, &spec, &job.input.keys, &job.input.limits())?;
        Ok(Self::of(loaded, files, job))
    }

    fn of(loaded: Loaded, files: Files, job: &Job) -> Self {
        let Loaded { lists, rows_read: read, rejects } = loaded;
        let counts = Counts { read, lists: Vec::new(), rejects };
        let (sets, items, rows, job) = (Vec::new(), Vec::new(), Vec::new(), job.clone());
        let mut list = Self { sets, items, rows, counts, files, job };
        lists.into_iter().for_each(|loaded| list.push(loaded));
        list
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
    fn read(&self, seal_key: &SealKey, job: &Job) -> Result<Loaded, Fault> {
        let path = self.folder.join(ROWS);
        let file = durable::create_private(&path).map_err(|error| storage(&path, &error))?;
        let copy =
            SealedWriter::new(file, seal_key, self.rows_label()).map_err(|error| storage(&path, &error))?;
        let spec = job.input.spec();
        let source = job.fitting(input::open(&spec, Some(copy))?)?;
        Ok(input::load(source, &spec, &job.input.keys, &job.input.limits())?)
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

    /// A masked list, with its key made again from the seed.
    pub(super) fn masked(
        &self,
        seal_key: &SealKey,
        masking: &Masking,
        set: &CanonicalSet,
        seed: &SessionSeed,
    ) -> Result<MaskedList, Fault> {
        let what = Content { kind: MASKED, list: masking.list.into() };
        let damaged = |error: &std::io::Error| self.damaged(&what.file(), error);
        let mut reader = std::io::BufReader::new(self.reader(seal_key, what)?);
        let mut items = Vec::with_capacity(set.len());
        for _ in 0..set.len() {
            let (mut element, mut item) = ([0; 32], [0; 4]);
            reader
                .read_exact(&mut element)
                .and_then(|()| reader.read_exact(&mut item))
                .map_err(|e| damaged(&e))?;
            items.push(MaskedItem { element, item: u32::from_be_bytes(item) });
        }
        // The seal of the last segment is checked when its end is reached.
        if reader.read(&mut [0]).map_err(|error| damaged(&error))? != 0 {
            return Err(self.damaged(&what.file(), &"it has more items than the list"));
        }
        Ok(MaskedList { key: masking.key(set, seed), items, opening: None })
    }

    fn rows(&self, seal_key: &SealKey) -> Result<SealedReader<File>, Fault> {
        let path = self.folder.join(ROWS);
        let file = File::open(&path).map_err(|error| self.unreadable(ROWS, &error))?;
        SealedReader::new(file, seal_key, self.rows_label()).map_err(|error| self.unreadable(ROWS, &error))
    }

    fn open(&self, seal_key: &SealKey, kind: &'static str) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut content = Zeroizing::new(Vec::new());
        let read = self.reader(seal_key, Content::of_run(kind))?.read_to_end(&mut content);
        read.map(|_| content).map_err(|error| self.unreadable(kind, &error))
    }

    fn reader(&self, seal_key: &SealKey, what: Content) -> Result<SealedReader<File>, Fault> {
        let owner = what.owner(&self.run_id);
        let opened = File::open(self.folder.join(what.file()))
            .and_then(|file| SealedReader::new(file, seal_key, what.label(&owner)));
        opened.map_err(|error| self.unreadable(&what.file(), &error))
    }

    /// A file of a run that goes on has to be there and whole.
    fn unreadable(&self, kind: &str, error: &std::io::Error) -> Fault {
        let damaged = SealError::of(error).is_some() || error.kind() == std::io::ErrorKind::NotFound;
        if damaged { self.damaged(kind, error) } else { storage(&self.folder.join(kind), error) }
    }

    fn damaged(&self, kind: &str, error: &dyn std::fmt::Display) -> Fault {
        Fault::new(Code::State, format!("{}: {error}", self.folder.join(kind).display()))
    }

    /// Seals the set, the masked list and what opens it.
    pub(super) fn store_masked(
        &self,
        seal_key: &SealKey,
        list: usize,
        set: &CanonicalSet,
        masked: &MaskedList,
    ) -> Result<(), Fault> {
        let of_list = |kind| Content { kind, list };
        self.stream(seal_key, of_list(LIST), |out| set.write_to(out))?;
        self.stream(seal_key, of_list(MASKED), |out| {
            masked.items.iter().try_for_each(|masked| {
                out.write_all(&masked.element)?;
                out.write_all(&masked.item.to_be_bytes())
            })
        })?;
        let Some(opening) = &masked.opening else { return Ok(()) };
        let mut content = Zeroizing::new(Vec::new());
        content.extend_from_slice(opening.list_seed.as_bytes());
        content.extend_from_slice(opening.salt.as_bytes());
        content.extend_from_slice(&opening.mask_proof);
        self.store(seal_key, of_list(OPENING), &content)
    }

    fn store(&self, seal_key: &SealKey, what: Content, content: &[u8]) -> Result<(), Fault> {
        let path = self.folder.join(what.file());
        let owner = what.owner(&self.run_id);
        let sealed = seal::seal_bytes(seal_key, what.label(&owner), content)
            .map_err(|error| storage(&path, &error))?;
        replace(&path, &sealed)
    }

    fn stream(
        &self,
        seal_key: &SealKey,
        what: Content,
        write: impl FnOnce(&mut BufWriter<SealedWriter<NewFile>>) -> std::io::Result<()>,
    ) -> Result<(), Fault> {
        let path = self.folder.join(what.file());
        let owner = what.owner(&self.run_id);
        // Under its name it is whole, whoever else is still at it: the threads of a conversation that was cut may be.
        let sealed = NewFile::create(&path).and_then(|file| {
            let mut out = BufWriter::new(SealedWriter::new(file, seal_key, what.label(&owner))?);
            write(&mut out)?;
            out.into_inner().map_err(std::io::IntoInnerError::into_error)?.finish()?.commit_over()
        });
        sealed.map_err(|error| storage(&path, &error))
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
    for kind in [SESSION, COMMIT, PEER_COMMIT, JOB, ROWS] {
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
