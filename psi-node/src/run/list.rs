//! Our list in a run, and the sealed files that belong to it: `private/ID/`.
//!
//! | file | what | until |
//! |---|---|---|
//! | `rows` | the source's bytes as they were read; the result is made from them | the result is released |
//! | `session` | seed, both Hellos; `commit`: our Commit | our Close is signed |
//! | `list`, `masked`, `opening` | canonical set; masked list; what opens it to an auditor | purged, if the terms say openable; else as `rows` |
//!
//! A run with several lists has the last three for each: `list`, `list-1`, `list-2` and so on.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use psi_core::{
    identifier::CanonicalSet,
    key::SessionSeed,
    mask::MaskedList,
    message::{Hello, Message},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::random;
use crate::{
    config::Job,
    durable,
    fault::{Code, Fault},
    home::Home,
    input::{self, Loaded, LoadedList, Rejects, RowMap, Source, Spec},
    runs::{replace, storage},
    seal::{self, Label, SealKey, SealedReader, SealedWriter},
};

const ROWS: &str = "rows";
const SESSION: &str = "session";
const COMMIT: &str = "commit";
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

impl List {
    /// Reads the list, and seals a copy of what was read.
    pub(super) fn load(home: &Home, name: &str, seal_key: &SealKey, job: &Job) -> Result<Self, Fault> {
        let rows_id = random::<16>()?;
        let folder = home.private().join(format!("{}{}", unnamed(name), HEXLOWER.encode(&rows_id[..8])));
        durable::create_folder(&folder).map_err(|error| storage(&folder, &error))?;
        let files = Files { folder, rows_id: Arc::new(rows_id), run_id: String::new() };
        let Loaded { lists, rows_read: read, rejects } =
            files.read(seal_key, job).inspect_err(|_| remove(&files.folder))?;
        let counts = Counts { read, lists: Vec::new(), rejects };
        let mut list = Self { sets: Vec::new(), items: Vec::new(), rows: Vec::new(), counts, files };
        lists.into_iter().for_each(|loaded| list.push(loaded));
        Ok(list)
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

    pub(super) fn folder(&self) -> &Path {
        &self.files.folder
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
        let path = self.files.folder.join(ROWS);
        let file = File::open(&path).map_err(|error| storage(&path, &error))?;
        let copy = SealedReader::new(file, seal_key, self.files.rows_label())
            .map_err(|error| storage(&path, &error))?;
        Ok(input::reopen(spec, copy)?)
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
        write: impl FnOnce(&mut BufWriter<SealedWriter<File>>) -> std::io::Result<()>,
    ) -> Result<(), Fault> {
        let path = self.folder.join(what.file());
        let owner = what.owner(&self.run_id);
        let sealed = durable::create_private(&path).and_then(|file| {
            let mut out = BufWriter::new(SealedWriter::new(file, seal_key, what.label(&owner))?);
            write(&mut out)?;
            out.into_inner().map_err(std::io::IntoInnerError::into_error)?.finish()?.sync_all()
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

/// A job's name as part of a file's name.
pub(super) fn file_name(job: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(job)[..8])
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

/// After our signature: the key's seed goes, and where nothing is to be opened later, everything.
pub(super) fn settle(folder: &Path, openable: bool) -> Result<(), Fault> {
    if !openable {
        remove(folder);
        return Ok(());
    }
    for kind in [SESSION, COMMIT, ROWS] {
        let path = folder.join(kind);
        durable::remove(&path).map_err(|error| storage(&path, &error))?;
    }
    Ok(())
}

/// Removes a run's sealed files; what can't be removed stays sealed.
pub(super) fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!(folder = %folder.display(), %error, "sealed files could not be removed");
    }
}
