//! What matched in the last finished run of a job, for results of only what is new: `private/known/JOB`, sealed.
//!
//! ```text
//! peer      its key, 32 bytes: with another peer, nothing is known
//! run       the run's id: one byte of length, and the text
//! key       32 random bytes, drawn when there was nothing to compare with
//! imprints  ascending; for each identifier that matched, 16 bytes of HMAC-SHA256(key, length of the profile's id, id, canonical form)
//! ```
//!
//! No identifier is in it, but who can open it can test whether one is: it is as sensitive as the result.
//!
//! A run writes `.JOB.RUN.part` beside it, before it is known whether the peer will sign, and puts it in place after the
//! result has its name. That can be done again after a crash.

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit, Mac};
use psi_core::{identifier::Profile, signature::PublicKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    durable,
    fault::{Code, Fault, disk::storage},
    home::Home,
    seal::{Label, SealError, SealKey, SealedReader, SealedWriter},
};

const KIND: &str = "known";

/// Stands for one identifier of one type.
pub type Imprint = [u8; 16];

/// Makes imprints: those of one key can be compared.
pub struct ImprintKey {
    key: Zeroizing<[u8; 32]>,
    mac: Hmac<Sha256>,
}

impl ImprintKey {
    /// With this key.
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        let mac = Hmac::new_from_slice(key.as_slice()).expect("a key of any length is taken");
        Self { key, mac }
    }

    /// The imprint of a canonical identifier.
    pub fn imprint(&self, profile: &Profile, canonical: &[u8]) -> Imprint {
        let mut mac = self.mac.clone();
        mac.update(&(profile.id().len() as u64).to_be_bytes());
        mac.update(profile.id().as_bytes());
        mac.update(canonical);
        let whole = mac.finalize().into_bytes();
        let mut imprint = Imprint::default();
        imprint.copy_from_slice(&whole[..16]);
        imprint
    }
}

impl fmt::Debug for ImprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImprintKey").finish_non_exhaustive()
    }
}

/// What matched in a job's last finished run.
#[derive(Debug)]
pub struct Known {
    /// The run, if there was one.
    pub run: Option<String>,
    /// Makes imprints that can be compared with these.
    pub key: ImprintKey,
    imprints: Vec<Imprint>,
}

impl Known {
    /// Nothing yet; from here on imprints are made with this key.
    pub fn nothing(key: Zeroizing<[u8; 32]>) -> Self {
        Self { run: None, key: ImprintKey::new(key), imprints: Vec::new() }
    }

    /// What is known of the job with that peer; `None` if nothing is.
    ///
    /// # Errors
    /// [`Code::State`] if it can't be read.
    pub fn load(home: &Home, job: &str, seal_key: &SealKey, peer: PublicKey) -> Result<Option<Self>, Fault> {
        let path = place(home, job);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| storage(&path, &error))?,
        };
        let (of, known) = read(file, job, seal_key).map_err(|error| unreadable(&path, &error))?;
        Ok((of == *peer.as_bytes()).then_some(known))
    }

    /// Whether the identifier with that imprint matched.
    pub fn contains(&self, imprint: &Imprint) -> bool {
        self.imprints.binary_search(imprint).is_ok()
    }
}

fn read(file: File, job: &str, seal_key: &SealKey) -> io::Result<([u8; 32], Known)> {
    let mut reader = BufReader::new(SealedReader::new(file, seal_key, label(job))?);
    let (mut peer, mut length, mut key) = ([0; 32], [0], Zeroizing::new([0; 32]));
    reader.read_exact(&mut peer)?;
    reader.read_exact(&mut length)?;
    let mut run = vec![0; length[0].into()];
    reader.read_exact(&mut run)?;
    reader.read_exact(key.as_mut())?;
    let run = String::from_utf8(run).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let (mut imprints, mut imprint) = (Vec::new(), Imprint::default());
    while !reader.fill_buf()?.is_empty() {
        reader.read_exact(&mut imprint)?;
        imprints.push(imprint);
    }
    Ok((peer, Known { run: Some(run), key: ImprintKey::new(key), imprints }))
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    let damaged = SealError::of(error).is_some()
        || matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData);
    if damaged {
        Fault::new(Code::State, format!("{}: {error}", path.display()))
    } else {
        storage(path, error)
    }
}

/// What a run will leave known: something, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Where it waits, if anything is to be known.
    part: Option<PathBuf>,
    place: PathBuf,
}

impl Memory {
    /// That of a run, after a restart; nothing is known after one that was not asked to keep to what is new.
    pub fn of(home: &Home, job: &str, run: &str, only_new: bool) -> Self {
        let place = place(home, job);
        let part = only_new.then(|| part(&place, run));
        Self { part, place }
    }

    /// Writes these imprints, in any order, beside their place. What other runs left there is gone: they will never end.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn prepare(
        home: &Home,
        job: &str,
        run: &str,
        seal_key: &SealKey,
        peer: PublicKey,
        key: &ImprintKey,
        mut imprints: Vec<Imprint>,
    ) -> Result<(), Fault> {
        imprints.sort_unstable();
        imprints.dedup();
        let place = place(home, job);
        let part = part(&place, run);
        let written = || {
            durable::create_folder(durable::parent(&place))?;
            remove_parts(&place)?;
            let file = durable::create_private(&part)?;
            let mut out = BufWriter::new(SealedWriter::new(file, seal_key, label(job))?);
            out.write_all(peer.as_bytes())?;
            out.write_all(&[run.len() as u8])?;
            out.write_all(run.as_bytes())?;
            out.write_all(key.key.as_slice())?;
            imprints.iter().try_for_each(|imprint| out.write_all(imprint))?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?.sync_all()
        };
        written().map_err(|error| storage(&part, &error))
    }

    /// Puts it in place of what was known; done before, it does nothing.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn release(&self) -> Result<(), Fault> {
        let released = match &self.part {
            Some(part) => match fs::rename(part, &self.place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                renamed => renamed.and_then(|()| durable::sync_folder(durable::parent(&self.place))),
            },
            None => forget_at(&self.place),
        };
        released.map_err(|error| storage(&self.place, &error))
    }

    /// Removes what waits; what was known stays known.
    ///
    /// # Errors
    /// [`Code::Storage`].
    pub fn discard(&self) -> Result<(), Fault> {
        let Some(part) = &self.part else { return Ok(()) };
        durable::remove(part).map_err(|error| storage(part, &error))
    }
}

/// Removes what is known of a job.
///
/// # Errors
/// [`Code::Storage`].
pub fn forget(home: &Home, job: &str) -> Result<(), Fault> {
    let place = place(home, job);
    forget_at(&place).map_err(|error| storage(&place, &error))
}

fn forget_at(place: &Path) -> io::Result<()> {
    remove_parts(place)?;
    durable::remove(place)
}

fn remove_parts(place: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(durable::parent(place)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let start = format!(".{}.", name(place));
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&start) {
            durable::remove(&entry.path())?;
        }
    }
    Ok(())
}

fn place(home: &Home, job: &str) -> PathBuf {
    home.known().join(crate::home::file_name(job))
}

fn part(place: &Path, run: &str) -> PathBuf {
    place.with_file_name(format!(".{}.{run}.part", name(place)))
}

fn name(place: &Path) -> String {
    place.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn label(job: &str) -> Label<'_> {
    Label { kind: KIND, owner: job.as_bytes() }
}

#[cfg(test)]
mod tests {
    use psi_core::signature::Identity;

    use super::*;

    const JOB: &str = "agents";
    const FIRST: &str = "20261122T120000Z-00112233";
    const SECOND: &str = "20261123T120000Z-44556677";

    struct Place {
        _folder: tempfile::TempDir,
        home: Home,
        seal_key: SealKey,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::at(folder.path());
            Self { _folder: folder, home, seal_key: SealKey::from_bytes([7; 32]) }
        }

        fn prepare(&self, run: &str, imprints: Vec<Imprint>) -> Memory {
            let key = ImprintKey::new(Zeroizing::new([9; 32]));
            Memory::prepare(&self.home, JOB, run, &self.seal_key, peer(1), &key, imprints).unwrap();
            Memory::of(&self.home, JOB, run, true)
        }

        fn load(&self, seed: u8) -> Result<Option<Known>, Fault> {
            Known::load(&self.home, JOB, &self.seal_key, peer(seed))
        }

        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(self.home.known()).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    fn peer(seed: u8) -> PublicKey {
        Identity::from_seed(&[seed; 32]).public_key()
    }

    #[test]
    fn what_was_put_in_place_is_known_of_that_peer_alone() {
        let place = Place::new();
        assert!(place.load(1).unwrap().is_none());
        let memory = place.prepare(FIRST, vec![[2; 16], [1; 16], [2; 16]]);
        assert!(place.load(1).unwrap().is_none(), "it only waits");
        memory.release().unwrap();
        memory.release().unwrap();
        let known = place.load(1).unwrap().unwrap();
        assert_eq!((known.run.as_deref(), known.imprints.len()), (Some(FIRST), 2));
        assert!(known.contains(&[1; 16]) && known.contains(&[2; 16]) && !known.contains(&[3; 16]));
        assert!(place.load(2).unwrap().is_none());
    }

    #[test]
    fn imprints_depend_on_key_profile_and_identifier() {
        let [mobile, text]: [Profile; 2] = ["cn.mobile/1", "text/1"].map(|id| id.parse().unwrap());
        let key = ImprintKey::new(Zeroizing::new([9; 32]));
        let imprint = key.imprint(&mobile, b"13900000001");
        let other = ImprintKey::new(Zeroizing::new([8; 32]));
        assert_eq!(imprint, key.imprint(&mobile, b"13900000001"));
        assert_ne!(imprint, key.imprint(&mobile, b"13900000002"));
        assert_ne!(imprint, key.imprint(&text, b"13900000001"));
        assert_ne!(imprint, other.imprint(&mobile, b"13900000001"));
    }

    #[test]
    fn a_run_that_fails_leaves_what_was_known() {
        let place = Place::new();
        place.prepare(FIRST, vec![[1; 16]]).release().unwrap();
        place.prepare(SECOND, vec![[2; 16]]).discard().unwrap();
        assert!(place.load(1).unwrap().unwrap().contains(&[1; 16]));
        assert_eq!(place.files().len(), 1);
    }

    #[test]
    fn what_waits_for_a_run_that_never_ended_goes_with_the_next() {
        let place = Place::new();
        place.prepare(FIRST, vec![[1; 16]]);
        place.prepare(SECOND, Vec::new()).release().unwrap();
        assert_eq!(place.files().len(), 1);
        assert_eq!(place.load(1).unwrap().unwrap().run.as_deref(), Some(SECOND));
    }

    #[test]
    fn a_run_without_the_option_and_a_removed_job_leave_nothing_known() {
        let place = Place::new();
        Memory::of(&place.home, JOB, FIRST, false).release().unwrap();
        place.prepare(FIRST, vec![[1; 16]]).release().unwrap();
        Memory::of(&place.home, JOB, SECOND, false).release().unwrap();
        assert!(place.files().is_empty());
        place.prepare(FIRST, vec![[1; 16]]).release().unwrap();
        place.prepare(SECOND, vec![[1; 16]]);
        forget(&place.home, "agent").unwrap();
        assert_eq!(place.files().len(), 2);
        forget(&place.home, JOB).unwrap();
        assert!(place.files().is_empty());
    }

    #[test]
    fn damage_is_named() {
        let place = Place::new();
        place.prepare(FIRST, vec![[1; 16]]).release().unwrap();
        let path = super::place(&place.home, JOB);
        let whole = fs::read(&path).unwrap();
        for length in [whole.len() - 1, 60, 10] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(place.load(1).unwrap_err().code, Code::State);
        }
    }
}
