//! The four invariants, checked over both nodes' homes after whatever happened to them.
//!
//! - I1 a result is absent, or exactly what a plaintext intersection of the two lists gives
//! - I2 there is no result without both signatures over one statement
//! - I3 all bytes sent under one key come from exactly one list
//! - I4 every attempt that disclosed something is counted
//!
//! The oracle knows both lists in clear, in every version that they have had, and reads what the nodes left on disk. It shares
//! the verifier and the formats of the records with them, not their reading of lists, their join or their writing of results:
//! lists here are plain lines whose first cells, one a list, are canonical already. With a [`Tap`] it also knows what was sent.

mod opened;
mod sent;
mod side;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Mutex,
};

use self::{opened::Opened, sent::Sent, side::Side};
use crate::{nodes::Homes, tap::Tap};

/// What the lists were.
pub struct Oracle {
    /// `a` and `b`: every version of the list, oldest first.
    versions: [Vec<String>; 2],
    /// By side and run: the version that was behind its Commit when it was opened, and how many lists that are. It is much
    /// work, and stays true.
    opened: Mutex<BTreeMap<(usize, String), (usize, usize)>>,
}

/// What an oracle found, of both sides together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Results under their names.
    pub results: usize,
    /// Finished runs.
    pub runs: usize,
    /// Attempts that count.
    pub charged: usize,
    /// Keys under which something was sent, as far as that is known.
    pub keys: usize,
    /// Lists behind results that were opened and compared with what was committed to.
    pub opened: usize,
    /// Runs that count on both sides, and have not come to a result on both: to go on with another session would be a second
    /// disclosure.
    pub unfinished: BTreeSet<String>,
    /// Invariants that are broken, each with its place.
    pub broken: Vec<String>,
}

impl Findings {
    /// Panics with what is broken.
    #[track_caller]
    pub fn assert_kept(&self) {
        assert!(self.broken.is_empty(), "invariants are broken:\n{}", self.broken.join("\n"));
    }
}

impl Oracle {
    /// Knows the lists as they are now.
    pub fn new(homes: &Homes) -> Self {
        let mut oracle = Self { versions: [Vec::new(), Vec::new()], opened: Mutex::default() };
        oracle.learn(homes);
        oracle
    }

    /// Knows the lists as they are now as well: to be called after one was changed.
    pub fn learn(&mut self, homes: &Homes) {
        for (versions, place) in self.versions.iter_mut().zip([&homes.a, &homes.b]) {
            let list = fs::read_to_string(place.list()).unwrap();
            if versions.last() != Some(&list) {
                versions.push(list);
            }
        }
    }

    /// Looks at everything that the nodes left, and at what was heard on the way.
    pub fn check(&self, homes: &Homes, tap: Option<&Tap>) -> Findings {
        let sides = [&homes.a, &homes.b].map(Side::read);
        let sum = |count: fn(&Side<'_>) -> usize| sides.iter().map(count).sum();
        let mut findings = Findings {
            results: sum(|side| side.results.len()),
            runs: sum(|side| side.runs.len()),
            charged: sum(|side| side.charged.len()),
            unfinished: unfinished(&sides),
            ..Findings::default()
        };
        let sent = Sent::gather(&sides, tap, &mut findings.broken);
        findings.keys = sent.keys();
        let keys = sides.each_ref().map(|side| side.key);
        for (index, side) in sides.iter().enumerate() {
            side.signed_by_both(keys, &mut findings.broken);
            side.counts_every(&sent, &mut findings.broken);
            for (run, result) in &side.results {
                let lists = [index, 1 - index]
                    .map(|index| self.lists(&sides[index], index, run, &sent, &mut findings));
                let written = fs::read_to_string(&result.path).unwrap();
                if !is_intersection(&lists, result.lists, &written) {
                    let (name, path) = (&side.place.name, result.path.display());
                    findings.broken.push(format!("I1 {name}: {path} is not the intersection"));
                }
            }
        }
        findings
    }

    /// Which versions of a side's list a run can have been about.
    fn lists(
        &self,
        side: &Side<'_>,
        index: usize,
        run: &str,
        sent: &Sent,
        findings: &mut Findings,
    ) -> Vec<&String> {
        let versions = &self.versions[index];
        let place = (index, run.to_owned());
        let known = self.opened.lock().unwrap().get(&place).copied();
        let opened = match known {
            Some((version, lists)) => Opened::Version(version, lists),
            None => opened::version(side, run, versions, sent),
        };
        match opened {
            Opened::Version(version, lists) => {
                findings.opened += lists;
                self.opened.lock().unwrap().insert(place, (version, lists));
                vec![&versions[version]]
            }
            Opened::Gone => versions.iter().collect(),
            Opened::Wrong(reason) => {
                findings.broken.push(format!("I3 {}: {run}: {reason}", side.place.name));
                Vec::new()
            }
        }
    }
}

fn unfinished([a, b]: &[Side<'_>; 2]) -> BTreeSet<String> {
    let on_both = a.charged.intersection(&b.charged);
    let has_result = |side: &Side<'_>, run: &String| side.results.iter().any(|(of, _)| of == run);
    on_both.filter(|run| !(has_result(a, run) && has_result(b, run))).cloned().collect()
}

/// Whether the result is what one version of ours and one of theirs have in common.
fn is_intersection([ours, theirs]: &[Vec<&String>; 2], lists: usize, result: &str) -> bool {
    ours.iter().any(|ours| theirs.iter().any(|theirs| intersection(ours, theirs, lists) == result))
}

/// The heading, and those lines of ours that share an identifier with theirs, in our order; where there are several lists,
/// with the names of those in which they do.
pub fn intersection(ours: &str, theirs: &str, lists: usize) -> String {
    let of_list = |list| theirs.lines().skip(1).map(move |line| identifier(line, list));
    let is_cell = |cell: &&str| !cell.is_empty();
    let known: Vec<BTreeSet<&str>> = (0..lists).map(|list| of_list(list).filter(is_cell).collect()).collect();
    let is_shared = |line, list: usize| known[list].contains(identifier(line, list));
    let (heading, lines) = ours.split_once('\n').unwrap_or((ours, ""));
    let mut result = heading.to_owned() + if lists > 1 { ",psi_matched\n" } else { "\n" };
    for line in lines.lines() {
        let shared = (0..lists).filter(|list| is_shared(line, *list));
        let names: Vec<&str> = shared.map(|list| identifier(heading, list)).collect();
        match (names.is_empty(), lists) {
            (true, _) => {}
            (_, 1) => result += &format!("{line}\n"),
            _ => result += &format!("{line},{}\n", names.join(";")),
        }
    }
    result
}

fn identifier(line: &str, list: usize) -> &str {
    line.split(',').nth(list).unwrap_or_default()
}
