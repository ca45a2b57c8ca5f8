//! The statement: one text that both parties sign at the end of a session (docs/PROTOCOL.md, "Statement").
//!
//! It is a C2SP signed note: lines of `key value`, an empty line, and one Ed25519 signature line a party. The text has one
//! form only: [`Statement::parse`] refuses every text that [`Statement::to_text`] would not have written. Each statement
//! names the one before it between the same parties for the same job, so that they form a chain.

use std::fmt::Write as _;

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    identifier::Profile,
    key::Role,
    message::{ChainHead, Digest, is_operator_name},
    signature::{Identity, PublicKey, SIGNATURE_BYTES, Signature},
    suite::SuiteId,
    terms::{Output, Terms, yes_no},
};

const TITLE: &str = "psi statement v1";
/// C2SP signed note: the type byte of an Ed25519 key.
const NOTE_ED25519: u8 = 1;

/// What the statement says of one party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Name of the institution; also the name in its signature line.
    pub operator: String,
    /// Its identity key.
    pub key: PublicKey,
    /// Name and version of its program.
    pub software: String,
    /// Its wall clock at the Hello, in seconds since 1970.
    pub started: u64,
}

/// What the statement says of one list of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRecord {
    /// Items in the list.
    pub items: u64,
    /// Root over the chunks of the masked list, RFC 6962.
    pub root: Digest,
    /// Root over the salted leaves, where the terms say `openable`.
    pub list_root: Option<Digest>,
}

/// What both parties sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Session id.
    pub sid: Digest,
    /// Version of the protocol.
    pub protocol: u16,
    /// Name of the job.
    pub job: String,
    /// The agreement; may be empty.
    pub agreement: String,
    /// The terms.
    pub terms: Terms,
    /// Initiator and responder.
    pub parties: [Party; 2],
    /// For each list: the initiator's, the responder's, and the number of matches.
    pub lists: Vec<([ListRecord; 2], u64)>,
    /// Steps of the exchange.
    pub steps: u32,
    /// Running hash after the last step: the digest of the transcript.
    pub transcript: Digest,
    /// The chain before this statement.
    pub previous: ChainHead,
}

/// A note that is not a statement with both signatures.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The bytes are not text, or have no empty line between text and signatures.
    #[error("not a signed note")]
    NotANote,
    /// The text is not a statement; the line at which it stops being one.
    #[error("line {line}: expected `{expected}`")]
    Line {
        /// Line of the text, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// The lines below the text are not the two signatures, initiator first.
    #[error("signature line {line}: not the {role} signature line")]
    SignatureLine {
        /// Signature line, from 1.
        line: usize,
        /// Whose line is expected.
        role: &'static str,
    },
    /// A signature does not verify.
    #[error("the {0} signature does not verify")]
    Signature(&'static str),
}

impl Statement {
    /// The place after this statement in the chain.
    pub fn head(&self) -> ChainHead {
        ChainHead { height: self.previous.height + 1, digest: Sha256::digest(self.to_text()).into() }
    }

    /// The text that is signed.
    pub fn to_text(&self) -> String {
        let mut text =
            format!("{TITLE}\nsession {}\nprotocol {}\n", HEXLOWER.encode(&self.sid), self.protocol);
        let mut line = |key: &str, value: &str| {
            text.push_str(key);
            text.push(' ');
            text.push_str(value);
            text.push('\n');
        };
        line("job", &self.job);
        line("agreement", &self.agreement);
        for (key, value) in self.terms.fields() {
            line(key, &value);
        }
        for (role, party) in ROLES.iter().zip(&self.parties) {
            line(role.name(), &format!("{} {}", party.operator, party.key));
            line("software", &party.software);
            line("started", &party.started.to_string());
        }
        for (profile, (sides, matches)) in self.terms.profiles.iter().zip(&self.lists) {
            line("list", profile.id());
            for (role, side) in ROLES.iter().zip(sides) {
                line(role.name(), &list_line(side));
            }
            line("matches", &matches.to_string());
        }
        line("steps", &self.steps.to_string());
        line("transcript", &HEXLOWER.encode(&self.transcript));
        line("chain-height", &(self.previous.height + 1).to_string());
        line("chain-previous", &HEXLOWER.encode(&self.previous.digest));
        text
    }

    /// Reads a text that [`Statement::to_text`] wrote.
    ///
    /// # Errors
    /// [`NoteError::Line`], with the first line that is not as it would be written.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = Lines::new(text);
        let statement = lines.statement()?;
        lines.finish()?;
        let canonical = statement.to_text();
        if canonical == text {
            return Ok(statement);
        }
        let same =
            canonical.split('\n').zip(text.split('\n')).take_while(|(ours, theirs)| ours == theirs).count();
        Err(NoteError::Line { line: same + 1, expected: "the canonical form" })
    }

    /// A party's signature over the text.
    pub fn sign(&self, identity: &Identity) -> Signature {
        identity.sign(self.to_text().as_bytes())
    }

    /// Whether `signature` is that party's over the text.
    pub fn is_signed_by(&self, role: Role, signature: &Signature) -> bool {
        self.party(role).key.verifies(self.to_text().as_bytes(), signature)
    }

    /// What the statement says of that party.
    pub fn party(&self, role: Role) -> &Party {
        &self.parties[usize::from(role.code())]
    }

    /// The note: text and the signatures that there are, initiator first.
    pub fn to_note(&self, signatures: [Option<&Signature>; 2]) -> Vec<u8> {
        let mut note = self.to_text();
        note.push('\n');
        for (party, signature) in self.parties.iter().zip(signatures) {
            if let Some(signature) = signature {
                let encoded = BASE64.encode(&[&note_key_id(party)[..], signature].concat());
                writeln!(note, "\u{2014} {} {encoded}", party.operator).expect("a string takes every write");
            }
        }
        note.into_bytes()
    }

    /// Reads a note that carries both signatures, and verifies them against the keys that the statement names.
    ///
    /// Whether those are the keys of the institutions is for the caller to compare.
    ///
    /// # Errors
    /// [`NoteError`], with the line.
    pub fn from_note(note: &[u8]) -> Result<(Self, [Signature; 2]), NoteError> {
        let (statement, signatures) = Self::read_note(note)?;
        for (role, signature) in ROLES.into_iter().zip(&signatures) {
            if !statement.is_signed_by(role, signature) {
                return Err(NoteError::Signature(role.name()));
            }
        }
        Ok((statement, signatures))
    }

    /// Reads the text of a note, whatever signatures stand under it.
    ///
    /// # Errors
    /// [`NoteError`], with the line.
    pub fn of_note(note: &[u8]) -> Result<Self, NoteError> {
        let note = std::str::from_utf8(note).map_err(|_| NoteError::NotANote)?;
        let (text, _) = note.split_once("\n\n").ok_or(NoteError::NotANote)?;
        Self::parse(&format!("{text}\n"))
    }

    /// Reads a note with both signature lines in their place, without verifying the signatures.
    ///
    /// # Errors
    /// [`NoteError`], with the line.
    pub fn read_note(note: &[u8]) -> Result<(Self, [Signature; 2]), NoteError> {
        let note = std::str::from_utf8(note).map_err(|_| NoteError::NotANote)?;
        let (text, signatures) = note.split_once("\n\n").ok_or(NoteError::NotANote)?;
        let statement = Self::parse(&format!("{text}\n"))?;
        let mut lines = signatures.split_inclusive('\n');
        let mut read = |role: Role| {
            let wrong = NoteError::SignatureLine { line: usize::from(role.code()) + 1, role: role.name() };
            lines.next().and_then(|line| signature_line(line, statement.party(role))).ok_or(wrong)
        };
        let signatures = [read(Role::Initiator)?, read(Role::Responder)?];
        match lines.next() {
            None => Ok((statement, signatures)),
            Some(_) => Err(NoteError::SignatureLine { line: 3, role: "last" }),
        }
    }
}

const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];

fn list_line(side: &ListRecord) -> String {
    let list_root = side.list_root.map_or_else(|| "-".to_owned(), |root| HEXLOWER.encode(&root));
    format!("{} {} {list_root}", side.items, HEXLOWER.encode(&side.root))
}

/// C2SP signed note: the first four bytes of SHA-256(name ‖ newline ‖ type ‖ key).
fn note_key_id(party: &Party) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(party.operator.as_bytes());
    hash.update([b'\n', NOTE_ED25519]);
    hash.update(party.key.as_bytes());
    let hash: Digest = hash.finalize().into();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn signature_line(line: &str, party: &Party) -> Option<Signature> {
    let encoded = line
        .strip_prefix("\u{2014} ")?
        .strip_prefix(&party.operator)?
        .strip_prefix(' ')?
        .strip_suffix('\n')?;
    let bytes = BASE64.decode(encoded.as_bytes()).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    let signature = <[u8; SIGNATURE_BYTES]>::try_from(signature).ok()?;
    (*id == note_key_id(party)).then_some(signature)
}

/// Reads a statement line by line; the order of the lines is fixed.
struct Lines<'a> {
    lines: std::str::Lines<'a>,
    at: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { lines: text.lines(), at: 0 }
    }

    fn statement(&mut self) -> Result<Statement, NoteError> {
        self.title()?;
        let (sid, protocol) = (self.digest("session")?, self.number("protocol")?);
        let (job, agreement) = (self.value("job")?.to_owned(), self.value("agreement")?.to_owned());
        let terms = self.terms()?;
        let parties = [self.party(Role::Initiator)?, self.party(Role::Responder)?];
        let lists = terms.profiles.iter().map(|profile| self.list(profile.id())).collect::<Result<_, _>>()?;
        let (steps, transcript) = (self.number("steps")?, self.digest("transcript")?);
        let height: u64 = self.number("chain-height")?;
        let height = height
            .checked_sub(1)
            .filter(|height| *height < 1 << 48)
            .ok_or_else(|| self.wrong("chain-height"))?;
        let previous = ChainHead { height, digest: self.digest("chain-previous")? };
        Ok(Statement { sid, protocol, job, agreement, terms, parties, lists, steps, transcript, previous })
    }

    fn terms(&mut self) -> Result<Terms, NoteError> {
        let suite = self.read("suite", SuiteId::from_name)?;
        self.read("output", |name| (name == Output::Mutual.name()).then_some(()))?;
        let proved = self.flag("proved")?;
        let profiles = self.read("profiles", |names| {
            names.split(' ').map(|name| Profile::parse(name).ok()).collect::<Option<Vec<_>>>()
        })?;
        Ok(Terms {
            suite,
            output: Output::Mutual,
            proved,
            profiles,
            min_items: self.number("min-items")?,
            max_items: self.number("max-items")?,
            max_runs_per_day: self.number("max-runs-per-day")?,
            evidence_days: self.number("evidence-days")?,
            openable: self.flag("openable")?,
        })
    }

    fn party(&mut self, role: Role) -> Result<Party, NoteError> {
        let (operator, key) = self.read(role.name(), |value| {
            let (operator, key) = value.rsplit_once(' ')?;
            Some((is_operator_name(operator).then_some(operator)?.to_owned(), key.parse().ok()?))
        })?;
        let software = self.value("software")?.to_owned();
        Ok(Party { operator, key, software, started: self.number("started")? })
    }

    fn list(&mut self, profile: &str) -> Result<([ListRecord; 2], u64), NoteError> {
        self.read("list", |name| (name == profile).then_some(()))?;
        let sides = [self.side(Role::Initiator)?, self.side(Role::Responder)?];
        Ok((sides, self.number("matches")?))
    }

    fn side(&mut self, role: Role) -> Result<ListRecord, NoteError> {
        self.read(role.name(), |value| {
            let mut parts = value.split(' ');
            let items = parts.next()?.parse().ok()?;
            let root = from_hex(parts.next()?)?;
            let list_root = match parts.next()? {
                "-" => None,
                root => Some(from_hex(root)?),
            };
            parts.next().is_none().then_some(ListRecord { items, root, list_root })
        })
    }

    fn digest(&mut self, key: &'static str) -> Result<Digest, NoteError> {
        self.read(key, from_hex)
    }

    fn number<T: std::str::FromStr>(&mut self, key: &'static str) -> Result<T, NoteError> {
        self.read(key, |value| value.parse().ok())
    }

    fn flag(&mut self, key: &'static str) -> Result<bool, NoteError> {
        self.read(key, |value| [false, true].into_iter().find(|flag| yes_no(*flag) == value))
    }

    fn read<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<T, NoteError> {
        let value = self.value(key)?;
        parse(value).ok_or_else(|| self.wrong(key))
    }

    fn title(&mut self) -> Result<(), NoteError> {
        self.at += 1;
        if self.lines.next() == Some(TITLE) { Ok(()) } else { Err(self.wrong(TITLE)) }
    }

    fn value(&mut self, key: &'static str) -> Result<&'a str, NoteError> {
        self.at += 1;
        let line = self.lines.next().unwrap_or_default();
        line.strip_prefix(key).and_then(|rest| rest.strip_prefix(' ')).ok_or_else(|| self.wrong(key))
    }

    fn finish(mut self) -> Result<(), NoteError> {
        self.at += 1;
        self.lines.next().map_or(Ok(()), |_| Err(self.wrong("the end of the text")))
    }

    fn wrong(&self, expected: &'static str) -> NoteError {
        NoteError::Line { line: self.at, expected }
    }
}

fn from_hex(text: &str) -> Option<Digest> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}
