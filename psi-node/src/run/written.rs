//! The files of a run, once its lists are joined: the matching rows, what was left out of the list, and what is known from
//! now on. Each takes a pass of its own over the sealed copy of the list, and waits under a hidden name.

use psi_core::signature::PublicKey;

use super::{list::List, matched::Matched, random};
use crate::{
    fault::Fault,
    home::Home,
    input::Judgement,
    join::Bitmap,
    known::{Imprint, Known, Memory},
    output::{self, Extra, Shape},
    runs::{Attempt, AttemptRows},
    seal::SealKey,
};

/// For which run files are written, and where.
pub(super) struct Writer {
    pub(super) home: Home,
    pub(super) seal_key: SealKey,
    pub(super) peer: PublicKey,
    pub(super) attempt: Attempt,
}

/// What is new since the last finished run.
struct Fresh {
    /// Rows that match by an identifier which did not match then.
    rows: Bitmap,
    /// Matching rows besides them.
    known: u64,
    /// That run, if there was one.
    since: Option<String>,
}

impl Writer {
    /// Writes everything that the run leaves; what became of the rows, for the record.
    pub(super) fn write(&self, list: &List, matched: &Matched) -> Result<AttemptRows, Fault> {
        let Attempt { run_id, output, rejects, only_new, .. } = &self.attempt;
        let (job, spec) = (list.job(), list.job().input.spec());
        let fresh = only_new.then(|| self.fresh(list, matched)).transpose()?;
        let names = |row| matched.names(row);
        let extra = job.input.matched_column().map(|name| Extra { name, cell: &names });
        let shape = Shape { extra: extra.as_slice(), ..job.shape() };
        let keep = |row| match &fresh {
            Some(fresh) => fresh.rows.contains(row as usize),
            None => matched.has(row),
        };
        let prepared = output::prepare(output, run_id, list.reopen(&spec, &self.seal_key)?, &shape, keep)?;
        if let Some(rejects) = rejects {
            let rows = list.reopen(&spec, &self.seal_key)?;
            output::rejects(rejects, run_id, rows, job.input.judge(&spec), job.bom)?;
        }
        let rows = list.counts().rows(prepared.rows());
        Ok(match fresh {
            Some(Fresh { known, since, .. }) => AttemptRows { known, since, ..rows },
            None => rows,
        })
    }

    /// Tells new rows from known ones, and writes what will be known after this run.
    fn fresh(&self, list: &List, matched: &Matched) -> Result<Fresh, Fault> {
        let Self { home, seal_key, attempt, .. } = self;
        let known = Known::load(home, &attempt.job, seal_key, self.peer)?;
        let known = known.map_or_else(|| random().map(Known::nothing), Ok)?;
        let input = &list.job().input;
        let (spec, profile) = (input.spec(), |key: usize| &input.keys[key].profile);
        let mut rows = list.reopen(&spec, seal_key)?;
        let mut judge = input.judge(&spec);
        let mut fresh = Bitmap::new(matched.list_rows());
        let (mut imprints, mut matching) = (Vec::<Imprint>::new(), 0);
        while let Some(row) = rows.row()? {
            let by = matched.keys(row.ordinal);
            if by == 0 {
                continue;
            }
            matching += 1;
            judge.judge(&row, |key, judgement| {
                if let (true, Judgement::Item(canonical, _)) = (by >> key & 1 == 1, judgement) {
                    let imprint = known.key.imprint(profile(key), canonical);
                    if !known.contains(&imprint) {
                        fresh.insert(row.ordinal as usize);
                    }
                    imprints.push(imprint);
                }
                Ok::<_, Fault>(())
            })?;
        }
        rows.finish()?;
        Memory::prepare(home, &attempt.job, &attempt.run_id, seal_key, self.peer, &known.key, imprints)?;
        let left_out = matching - fresh.count() as u64;
        Ok(Fresh { rows: fresh, known: left_out, since: known.run })
    }
}
