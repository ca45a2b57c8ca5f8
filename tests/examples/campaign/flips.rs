//! Every single-bit flip and every truncation of what a small run left: statement, transcript and a sealed file. The seed
//! chooses nothing here but the size of the lists.

use std::{fs, path::PathBuf};

use psi_core::verify::{Verdict, verify};
use psi_node::seal::{self, Label, SealKey};
use psi_tests::chance::Chance;

use crate::{figures::Figures, stage::Stage};

pub(crate) async fn case(psi: PathBuf, mut chance: Chance) -> Result<Figures, String> {
    let mut stage = Stage::new(psi, 33 + chance.below(30) as u32).await?;
    let mut figures = Figures::default();
    stage.run_to_the_end().await?;
    match record(&stage, &mut figures).and_then(|()| sealed(&stage, &mut figures)) {
        Ok(()) => Ok(figures),
        Err(reason) => Err(stage.failed(&reason)),
    }
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

fn sealed(stage: &Stage, figures: &mut Figures) -> Result<(), String> {
    let home = stage.homes.a.home();
    let run = stage.homes.a.runs().pop().ok_or("there is no run")?;
    let run = run.file_name().unwrap().to_string_lossy().into_owned();
    let sealed = fs::read(home.private().join(&run).join("opening")).map_err(|error| error.to_string())?;
    let key = SealKey::load(&home.seal_key()).map_err(|error| error.to_string())?;
    let label = Label { kind: "opening", owner: run.as_bytes() };
    let refused = |bytes: &[u8]| seal::open_bytes(&key, label, bytes).is_err();
    if refused(&sealed) {
        return Err("the sealed file does not open as it is".to_owned());
    }
    damaged(&sealed, refused)
        .map(|count| figures.count("damaged sealed files refused", count))
        .map_err(|what| format!("sealed file: {what} was taken"))
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
