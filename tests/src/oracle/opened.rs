//! Which list is behind a Commit: what an auditor does on the day on which a list is opened.

use std::fs;

use psi_core::{
    dleq::{self, PROOF_BYTES, Proof},
    element::{ELEMENT_BYTES, Element},
    key::{ListSeed, Role},
    merkle,
    message::ListCommitment,
    plan::{MAX_CHUNK, Plan},
    suite::message_prefix,
};
use psi_node::seal::{self, Label, SealKey};
use sha2::{Digest as _, Sha256};

use super::{
    identifier,
    sent::{Sent, Session},
    side::Side,
};

pub(super) enum Opened {
    /// The Commit is to the version of this number, with so many lists: every masked element is one of their items times the
    /// committed key.
    Version(usize, usize),
    /// What opens it is not kept.
    Gone,
    /// It is to none of the versions.
    Wrong(String),
}

/// Opens the lists that a side committed to in a run.
pub(super) fn version(side: &Side<'_>, run: &str, versions: &[String], sent: &Sent) -> Opened {
    let Some(session) = sent.of_run(run) else { return Opened::Gone };
    let role = session.hellos.iter().position(|hello| hello.key == side.key);
    let Some((role, Some(commit))) = role.map(|role| (role, &session.commits[role])) else {
        return Opened::Gone;
    };
    let role = [Role::Initiator, Role::Responder][role];
    let mut openings = Vec::new();
    for (list, commitment) in commit.lists.iter().enumerate() {
        let [masked, opening] = ["masked", "opening"].map(|kind| unsealed(side, run, kind, list));
        let (Some(masked), Some(opening)) = (masked, opening) else { return Opened::Gone };
        openings.push(Opening::new(session, role, (list as u16, commitment), &masked, &opening));
    }
    let Some(openings) = openings.into_iter().collect::<Option<Vec<_>>>() else {
        return Opened::Wrong("what opens the lists is not what the commit names".to_owned());
    };
    let is_of = |version: &String| openings.iter().all(|opening| opening.is_of(version));
    match versions.iter().position(is_of) {
        Some(version) => Opened::Version(version, openings.len()),
        None => Opened::Wrong("the commit is to none of the lists".to_owned()),
    }
}

/// What is sealed of a list; the first one goes without a number.
fn unsealed(side: &Side<'_>, run: &str, kind: &'static str, list: usize) -> Option<Vec<u8>> {
    let numbered = |name: &str, mark| match list {
        0 => name.to_owned(),
        list => format!("{name}{mark}{list}"),
    };
    let home = side.place.home();
    let sealed = fs::read(home.private().join(run).join(numbered(kind, '-'))).ok()?;
    let key = SealKey::load(&home.seal_key()).unwrap();
    let owner = numbered(run, '/');
    let content = seal::open_bytes(&key, Label { kind, owner: owner.as_bytes() }, &sealed);
    content.ok().map(|content| content.to_vec())
}

struct Opening<'a> {
    session: &'a Session,
    role: Role,
    list: u16,
    commitment: &'a ListCommitment,
    list_seed: ListSeed,
    mask_proof: Vec<u8>,
    /// In the order in which they were sent; with the place in the canonical set.
    masked: Vec<(Element, usize)>,
}

impl<'a> Opening<'a> {
    /// `None` if the kept bytes are not what the Commit names.
    fn new(
        session: &'a Session,
        role: Role,
        (list, commitment): (u16, &'a ListCommitment),
        masked: &[u8],
        opening: &[u8],
    ) -> Option<Self> {
        let (list_seed, rest) = opening.split_first_chunk::<32>()?;
        let (salt, mask_proof) = rest.split_first_chunk::<32>()?;
        let digest: [u8; 32] = Sha256::new().chain_update(salt).chain_update(mask_proof).finalize().into();
        let read = |record: &[u8]| {
            let (element, item) = record.split_first_chunk::<ELEMENT_BYTES>()?;
            Some((*element, u32::from_be_bytes(item.try_into().ok()?) as usize))
        };
        let masked: Option<Vec<_>> = masked.chunks(ELEMENT_BYTES + 4).map(read).collect();
        let (list_seed, mask_proof) = (ListSeed::from_bytes(*list_seed), mask_proof.to_vec());
        let opening = Self { session, role, list, commitment, list_seed, mask_proof, masked: masked? };
        (commitment.opening?.mask_proof == digest && opening.was_committed()).then_some(opening)
    }

    /// The masked elements are those whose chunks the Commit has hashes of.
    fn was_committed(&self) -> bool {
        let plan = Plan::new(self.session.hellos.each_ref().map(|hello| &hello.items[..]));
        let hash = |chunk: &psi_core::plan::Chunk| {
            let elements: Vec<u8> =
                self.masked[chunk.range()].iter().flat_map(|(element, _)| *element).collect();
            merkle::leaf_hash(&elements)
        };
        plan.chunks_of(self.role, self.list).map(hash).eq(self.commitment.chunks.iter().copied())
    }

    /// The list root is over that list, and the mask proof holds for it.
    fn is_of(&self, list: &str) -> bool {
        let cells = list.lines().skip(1).map(|line| identifier(line, self.list.into()));
        let mut items: Vec<&[u8]> = cells.filter(|cell| !cell.is_empty()).map(str::as_bytes).collect();
        items.sort_unstable();
        items.dedup();
        items.len() == self.masked.len() && self.has_root_of(&items) && self.was_masked_from(&items)
    }

    fn has_root_of(&self, items: &[&[u8]]) -> bool {
        let in_masked_order: Vec<&[u8]> = self.masked.iter().map(|(_, item)| items[*item]).collect();
        let leaves = merkle::list_leaves(&self.list_seed, 0, in_masked_order.into_iter());
        self.commitment.opening.is_some_and(|opening| opening.list_root == merkle::root_of(&leaves))
    }

    fn was_masked_from(&self, items: &[&[u8]]) -> bool {
        let mut elements = vec![Element::default(); items.len()];
        self.masked.iter().for_each(|(element, item)| elements[*item] = *element);
        let mut proofs = self.mask_proof.chunks(PROOF_BYTES);
        let chunks = items.chunks(MAX_CHUNK).zip(elements.chunks(MAX_CHUNK));
        chunks.enumerate().all(|(index, (items, elements))| {
            proofs.next().is_some_and(|proof| self.proof_holds(index as u32, items, elements, proof))
        })
    }

    fn proof_holds(&self, index: u32, items: &[&[u8]], elements: &[Element], proof: &[u8]) -> bool {
        let suite = self.session.hellos[0].terms.suite.suite();
        let statement = dleq::Statement { sid: &self.session.sid, role: self.role, list: self.list, index };
        let (y, prefix) = (&self.commitment.public, message_prefix(self.profile()));
        let proof = proof.try_into().ok().and_then(|proof| Proof::from_bytes(suite, proof).ok());
        proof.is_some_and(|proof| {
            dleq::verify_mask(suite, &statement, y, &prefix, items, elements, &proof).is_ok()
        })
    }

    fn profile(&self) -> &str {
        self.session.hellos[0].terms.profiles[usize::from(self.list)].id()
    }
}
