//! Every single-bit flip and every truncation of what a small run leaves, and of what an unfinished one keeps: statement,
//! transcript, each sealed file. Then the program itself meets some of them: it names the damage, and goes on once the files
//! are back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use psi_core::verify::{Verdict, verify};
use psi_node::seal::{self, Label, SealKey};
use psi_tests::{chance::Chance, chaos::Fault};

use crate::{
    figures::Figures,
    stage::{Scene, Stage},
};

/// What the program is shown of each file: so many flips, and as many truncations.
const SHOWN: usize = 3;
/// Kept for an auditor, so that nobody reads them to go on; and read only when the peer has been met: that such a file is
/// damaged ends the session on both sides, and there is nothing to put it back for.
const NOT_SHOWN: [&str; 4] = ["list", "opening", "masked", "rows"];
const STATE_DAMAGED: i32 = 13;

pub(crate) async fn case(psi: PathBuf, mut chance: Chance) -> Result<Figures, String> {
    let two_lists = chance.below(2) == 0;
    let scene = Scene { two_lists, ..Scene::of(33 + chance.below(30) as u32) };
    let mut stage = Stage::new(psi, scene).await?;
    let mut figures = Figures::default();
    match flips(&mut stage, &mut chance, &mut figures).await {
        Ok(()) => Ok(figures),
        Err(reason) => Err(stage.failed(&reason)),
    }
}

async fn flips(stage: &mut Stage, chance: &mut Chance, figures: &mut Figures) -> Result<(), String> {
    stage.run_to_the_end().await?;
    record(stage, figures)?;
    stage.chaos.plan(Fault::Rst.at(stage.chaos.tally().total() * 7 / 10));
    let status = Stage::status(stage.run()?).await?;
    if status != 6 || stage.chaos.tally().struck != 1 {
        return Err(format!("a run that was to be cut ended with {status}"));
    }
    let files = Kept::all(stage)?;
    for file in &files {
        let refused = |bytes: &[u8]| file.is_refused(bytes);
        let count = damaged(&file.bytes, refused)
            .map_err(|what| format!("{}: {what} was taken", file.path.display()))?;
        figures.count("damaged sealed files refused", count);
    }
    for file in files.iter().filter(|file| !NOT_SHOWN.contains(&file.label.kind)) {
        shown(stage, file, chance, figures).await?;
    }
    // What a crash leaves behind the last sync of the journal is dropped.
    let torn = files.iter().find(|file| file.label.kind == "journal").ok_or("there is no journal")?;
    let tail = torn.path.with_file_name(".00000099.0.tmp");
    fs::write(tail, &torn.bytes[..torn.bytes.len() / 2]).map_err(|error| error.to_string())?;
    stage.run_to_the_end().await?;
    figures.count("results", stage.check()?.results);
    Ok(())
}

fn record(stage: &Stage, figures: &mut Figures) -> Result<(), String> {
    let place = &stage.homes.a;
    let run = place.runs().pop().ok_or("there is no run")?;
    let [note, transcript] = ["statement.note", "transcript"].map(|file| fs::read(run.join(file)).unwrap());
    let pins = [place.identity().public_key(), stage.homes.b.identity().public_key()];
    let verdict = |note: &[u8], transcript: &[u8]| verify(note, transcript, Some(pins), None).verdict();
    if verdict(&note, &transcript) != Verdict::Verified {
        return Err("the record does not verify as it is".to_owned());
    }
    damaged(&note, |note| verdict(note, &transcript) == Verdict::Failed)
        .map(|count| figures.count("damaged statements refused", count))
        .map_err(|what| format!("statement: {what} was taken"))?;
    damaged(&transcript, |transcript| verdict(&note, transcript) == Verdict::Failed)
        .map(|count| figures.count("damaged transcripts refused", count))
        .map_err(|what| format!("transcript: {what} was taken"))
}

/// The program is asked to go on with a file that is not as it was written.
async fn shown(stage: &Stage, file: &Kept, chance: &mut Chance, figures: &mut Figures) -> Result<(), String> {
    for number in 0..2 * SHOWN {
        let mut bytes = file.bytes.clone();
        let place = chance.below(bytes.len() as u64) as usize;
        match number < SHOWN {
            true => bytes[place] ^= 1 << chance.below(8),
            false => bytes.truncate(place),
        }
        fs::write(&file.path, bytes).map_err(|error| error.to_string())?;
        let status = Stage::status(stage.run()?).await?;
        fs::write(&file.path, &file.bytes).map_err(|error| error.to_string())?;
        let log = fs::read_to_string(stage.homes.a.home().state().with_extension("log")).unwrap();
        let error = log.lines().rfind(|line| line.starts_with("error")).unwrap_or_default();
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        if status != STATE_DAMAGED || !error.contains(&*name) {
            return Err(format!("{}, damaged at {place}: {status}, {error:?}", file.path.display()));
        }
        figures.count("damages named by the program", 1);
    }
    stage.check().map(drop)
}

/// A sealed file of an unfinished run.
struct Kept {
    path: PathBuf,
    bytes: Vec<u8>,
    label: Label<'static>,
    key: SealKey,
}

impl Kept {
    /// Every sealed file that the caller keeps of its only unfinished run; each opens as it is.
    fn all(stage: &Stage) -> Result<Vec<Self>, String> {
        let home = stage.homes.a.home();
        let key = SealKey::load(&home.seal_key()).map_err(|error| error.to_string())?;
        let unfinished = |path: &PathBuf| path.join("job").exists();
        let folder =
            entries(&home.private()).into_iter().find(unfinished).ok_or("there is no unfinished run")?;
        let run = folder.file_name().unwrap().to_string_lossy().into_owned();
        let paths = entries(&folder).into_iter().chain(entries(&folder.join("journal")));
        let mut files = Vec::new();
        for path in paths.filter(|path| path.is_file()) {
            let bytes = fs::read(&path).map_err(|error| error.to_string())?;
            let label = label(&path, &run, &key)?;
            let file = Self { path, bytes, label, key: key.clone() };
            if file.is_refused(&file.bytes) {
                return Err(format!("{} does not open as it is", file.path.display()));
            }
            files.push(file);
        }
        Ok(files)
    }

    fn is_refused(&self, bytes: &[u8]) -> bool {
        seal::open_bytes(&self.key, self.label, bytes).is_err()
    }
}

/// What the file is and what it belongs to, by its name.
fn label(path: &Path, run: &str, key: &SealKey) -> Result<Label<'static>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (kind, owner): (String, Vec<u8>) = match name.parse::<u32>() {
        Ok(number) => ("journal".to_owned(), [run.as_bytes(), &number.to_be_bytes()].concat()),
        Err(_) if name == "rows" => (name, rows_id(path, run, key)?),
        Err(_) => match name.rsplit_once('-').filter(|(_, list)| list.parse::<u16>().is_ok()) {
            Some((kind, list)) => (kind.to_owned(), format!("{run}/{list}").into_bytes()),
            None => (name, run.as_bytes().to_vec()),
        },
    };
    // The labels of a case live as long as the campaign.
    Ok(Label { kind: kind.leak(), owner: owner.leak() })
}

/// The copy of the rows is made before the run has an id: the session's file has what binds it.
fn rows_id(rows: &Path, run: &str, key: &SealKey) -> Result<Vec<u8>, String> {
    let sealed = fs::read(rows.with_file_name("session")).map_err(|error| error.to_string())?;
    let session = seal::open_bytes(key, Label { kind: "session", owner: run.as_bytes() }, &sealed);
    let session = session.map_err(|error| error.to_string())?;
    Ok(session.get(32..48).ok_or("the session is too short")?.to_vec())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Damages the bytes in every way; how many ways there were, or the one that was not refused.
fn damaged(bytes: &[u8], refused: impl Fn(&[u8]) -> bool) -> Result<usize, String> {
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if !refused(&flipped) {
            return Err(format!("bit {bit} flipped"));
        }
    }
    for length in 0..bytes.len() {
        if !refused(&bytes[..length]) {
            return Err(format!("a cut after {length} bytes"));
        }
    }
    if !refused(&[bytes, &[0]].concat()) {
        return Err("a byte more".to_owned());
    }
    Ok(bytes.len() * 9 + 1)
}
