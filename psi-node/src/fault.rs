//! The one table of everything that can go wrong: code, exit status, gRPC status, whether to retry, cause and remedy.
//!
//! docs/ERRORS.md is made from it. A code's number is what a refusal carries over the wire; the peer learns the number, a
//! fixed text and a place, never a path or content.

pub(crate) mod disk;
mod from;

use std::fmt;

use psi_core::message::Refusal;
use tonic::Code as Grpc;

/// Whether the same thing may work if it is tried again unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It will fail again until somebody changes something.
    Never,
    /// It may work later.
    Later,
}

impl Retry {
    /// The word in docs/ERRORS.md.
    pub fn word(self) -> &'static str {
        match self {
            Self::Never => "no",
            Self::Later => "later",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The code.
    pub code: Code,
    /// Its number, on the wire and in `PSI-E...`.
    pub number: u16,
    /// Its name.
    pub name: &'static str,
    /// Exit status of a command that ends with it.
    pub exit: u8,
    /// gRPC status of a session that ends with it.
    pub grpc: Grpc,
    /// Whether to try again.
    pub retry: Retry,
    /// What it means.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

macro_rules! table {
    ($($code:ident $number:literal $name:literal $exit:literal $grpc:ident $retry:ident $cause:literal $remedy:literal;)*) => {
        /// What went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $cause] $code,)*
        }

        /// Every code, in the order of the numbers.
        pub const TABLE: &[Row] = &[
            $(Row {
                code: Code::$code,
                number: $number,
                name: $name,
                exit: $exit,
                grpc: Grpc::$grpc,
                retry: Retry::$retry,
                cause: $cause,
                remedy: $remedy,
            },)*
        ];
    };
}

table! {
    Unexpected 1 "unexpected" 1 Internal Never
        "something failed that the program has no better name for"
        "read the message; if it does not help, report it with the log";
    Usage 2 "usage" 2 InvalidArgument Never
        "the command line is wrong"
        "run the command with --help";
    RowsRejected 3 "rows-rejected" 3 Ok Never
        "the run is done, but rows of the list, or cells of a key, were left out"
        "look at the lines and reasons that the summary shows, and mend them at the source";
    NoHome 10 "no-home" 4 Internal Never
        "the folder holds no node"
        "run `psi init`, or name the right folder with --home";
    Config 11 "config-invalid" 4 Internal Never
        "the configuration can't be used"
        "mend the line that the message names";
    KeyFile 12 "key-file" 4 Internal Never
        "a key file is missing, damaged, or readable by others"
        "restore it from the backup, or `chmod 600` it; a key that others could read should be replaced";
    Exists 13 "already-exists" 4 Internal Never
        "what was to be created is there already"
        "choose another name, or remove the old one first";
    NoSuchName 14 "no-such-name" 4 Internal Never
        "the configuration has no peer or job of that name"
        "look at `psi peer list` and `psi job list`";
    PeerFile 15 "peer-file" 4 Internal Never
        "the file is not what `psi peer export` wrote"
        "ask the peer to export it again";
    NoSuchRun 16 "no-such-run" 4 Internal Never
        "no run of that id is recorded here"
        "look at `psi runs list`";
    RunEnded 17 "run-ended" 4 Internal Never
        "the run is not unfinished"
        "look at `psi runs show`; `psi run` begins a new one";
    Input 20 "input-unreadable" 5 Internal Never
        "the list can't be opened or read"
        "check path, kind and permissions";
    Column 21 "input-column" 5 Internal Never
        "the list lacks the column, has it twice, or has one of a name that the result needs"
        "name a column that the heading has once";
    Encoding 22 "input-encoding" 5 Internal Never
        "the list is not in the encoding that the job names, which is UTF-8 unless it says otherwise"
        "name the encoding (--encoding gb18030, gbk or utf-16), or export the list as UTF-8";
    Structure 23 "input-structure" 5 Internal Never
        "the list breaks the rules of its format at the place named"
        "mend the place, or export the list again";
    EmptyList 24 "input-empty" 5 Internal Never
        "the list has no rows"
        "check the export that makes it";
    TooManyRejects 25 "input-rejects" 5 Internal Never
        "more rows, or cells of one key, were rejected than --max-rejects allows; nothing was sent"
        "look at the first reasons: most often the column or the profile is wrong";
    Changed 26 "input-changed" 5 Internal Later
        "the list changed while it was read"
        "write exports to another name and rename them when they are complete";
    Format 27 "input-format" 5 Internal Never
        "the list is of another format than the one named, or of one that this program can't read"
        "name the format (--format), or save the list as one of CSV, XLSX, JSON Lines and, if built in, Parquet";
    Pipe 28 "input-pipe" 5 Internal Never
        "the list comes from standard input, which a node that was called does not have"
        "start the run on this side with `psi run`, or let the job read a file";
    Sheet 29 "input-sheet" 5 Internal Never
        "the workbook lacks the sheet, has several, or one with hidden rows or with merged cells among the identifiers"
        "name the sheet (--sheet); remove the filter and show all rows, or delete the hidden ones; split merged cells";
    OutputExists 30 "output-exists" 5 Internal Never
        "a result is never written over another"
        "move the old result away, or put {run} into the output's name";
    Output 31 "output-unwritable" 5 Internal Never
        "the result can't be written there"
        "create the folder, or mend its permissions";
    OutputFormat 32 "output-format" 5 Internal Never
        "the output's name says no format, or the format can't hold the list"
        "end the name in .csv, .xlsx or .jsonl; what is too large for .xlsx goes into .csv or .jsonl, or stays out by --columns";
    Unreachable 40 "peer-unreachable" 6 Unavailable Later
        "nobody answers at the peer's endpoint"
        "check that the peer serves, its endpoint in the configuration, and the firewalls between";
    TimedOut 41 "peer-timed-out" 6 DeadlineExceeded Later
        "the peer stopped answering"
        "run again later; ask the peer whether its node is busy or frozen";
    Cut 42 "connection-cut" 6 DataLoss Later
        "the connection ended before the exchange did"
        "run again; if it happens at the same place each time, look at proxies and time limits between";
    Certificate 43 "certificate-time" 6 Unauthenticated Later
        "a certificate is expired or not yet valid"
        "check both clocks; restart a node that has run for months without its daily reissue";
    Proxy 44 "proxy" 6 Unavailable Later
        "the outbound proxy gave no tunnel"
        "check its address, user and password, and that it allows CONNECT to the peer's port";
    Tls 45 "tls" 6 Unavailable Never
        "what answers is not a node of this protocol over TLS 1.3"
        "check the endpoint; a gateway that ends TLS in between cannot work, since it cannot show the peer's key";
    WrongKey 50 "peer-key" 7 Unauthenticated Never
        "the peer's key is not the pinned one"
        "do not go on: ask the peer over the phone whether its key changed, and compare the digits";
    OurKeyRefused 51 "our-key-refused" 7 Unauthenticated Never
        "our key is not pinned at the peer"
        "send the peer your file from `psi peer export` and compare the digits";
    Fingerprint 52 "fingerprint" 7 Unauthenticated Never
        "the digits are not those of the key in the file; nothing was stored"
        "compare again with the peer over the phone, and get the file anew";
    HelloKey 53 "hello-key" 7 Unauthenticated Never
        "the peer's hello names other keys than those of the connection"
        "do not go on; tell the peer";
    Terms 60 "terms-differ" 8 FailedPrecondition Never
        "the two sides agreed to different things"
        "compare `psi job show` on both sides in the field named";
    UnknownJob 61 "unknown-job" 8 NotFound Never
        "the called side has no job of that name with the caller"
        "add the job there, under the same name";
    Policy 62 "policy" 8 PermissionDenied Never
        "the policy of one side does not allow it"
        "the side whose policy it is sees the rule, here or in its log: wait for another day, or agree on other limits";
    Clock 63 "clocks-differ" 8 FailedPrecondition Later
        "the wall clocks are more than 300 s apart"
        "set the clock that is wrong";
    Items 64 "list-size" 8 FailedPrecondition Never
        "one of the lists is smaller or larger than the terms allow"
        "change the list, or min_items and max_items on both sides";
    Version 65 "no-common-version" 8 FailedPrecondition Never
        "the two programs have no protocol version or suite in common"
        "upgrade the older one";
    Refused 66 "peer-refused" 8 FailedPrecondition Never
        "the peer ended the session for a reason of its own"
        "ask its operator for the log of this run";
    SessionOver 67 "session-over" 8 FailedPrecondition Never
        "the session can't go on: one side has given it up"
        "run again: that is a new session, and counts as one";
    Malformed 70 "malformed" 9 InvalidArgument Never
        "the peer sent bytes that are no message"
        "tell the peer; compare versions";
    OutOfPhase 71 "out-of-phase" 9 FailedPrecondition Never
        "the peer sent a message that does not belong there"
        "tell the peer; compare versions";
    NotCanonical 72 "element-encoding" 9 InvalidArgument Never
        "the peer sent bytes that are not the encoding of a group element"
        "do not run again before the peer has explained it";
    IdentityElement 73 "element-identity" 9 InvalidArgument Never
        "the peer sent the identity element"
        "do not run again before the peer has explained it";
    Unsorted 74 "element-order" 9 InvalidArgument Never
        "the peer's elements are not in ascending order"
        "do not run again before the peer has explained it";
    Doubled 75 "element-doubled" 9 InvalidArgument Never
        "the peer sent an element twice"
        "do not run again before the peer has explained it";
    Reflected 76 "reflected" 9 InvalidArgument Never
        "the peer sent back what is ours"
        "do not run again before the peer has explained it";
    TooMany 77 "too-many" 9 InvalidArgument Never
        "the peer sent more elements than it committed to"
        "do not run again before the peer has explained it";
    TooFew 78 "too-few" 9 InvalidArgument Never
        "the peer sent fewer elements than it committed to"
        "do not run again before the peer has explained it";
    NotCommitted 79 "not-committed" 9 Aborted Never
        "a chunk is not the one that the peer committed to"
        "do not run again before the peer has explained it";
    Length 80 "length" 9 InvalidArgument Never
        "a chunk's length is no whole number of elements"
        "tell the peer; compare versions";
    EmptyChunk 81 "empty-chunk" 9 InvalidArgument Never
        "a chunk has no elements"
        "tell the peer; compare versions";
    Oversized 82 "oversized" 9 ResourceExhausted Never
        "a message is larger than the protocol allows"
        "tell the peer; compare versions";
    ProofWrong 83 "proof-wrong" 9 Aborted Never
        "an answer's proof does not hold: it was not multiplied by the committed key, or belongs elsewhere"
        "do not run again before the peer has explained it; keep the attempt's record";
    ProofMissing 84 "proof-missing" 9 InvalidArgument Never
        "an answer has no proof although the terms demand one"
        "tell the peer; compare versions";
    Signature 85 "signature" 9 Aborted Never
        "a signature is not the peer's over what was exchanged"
        "do not run again before the peer has explained it";
    Contradiction 86 "contradiction" 9 Aborted Never
        "the peer said two different things"
        "do not run again before the peer has explained it";
    Matches 87 "matches-differ" 9 Aborted Never
        "the two sides counted different numbers of matches; no result was written"
        "do not run again before the peer has explained it; keep the attempt's record";
    Chain 88 "chain-broken" 9 Aborted Never
        "the statements that the peer showed do not continue our chain"
        "compare both sides' runs folders";
    WeMisbehaved 89 "peer-complains" 9 Aborted Never
        "the peer says that we broke the protocol"
        "compare versions; report it with the logs of both sides";
    Verification 90 "verification-failed" 10 Internal Never
        "the record is not what the two parties signed"
        "do not rely on it; get the folder anew from where it was kept";
    Unpinned 91 "identities-unchecked" 10 Internal Never
        "the record is consistent, but whose keys signed it was not checked"
        "name both keys with --key, or the node's folder with --home; --no-identity if that is not wanted";
    Busy 100 "busy" 11 ResourceExhausted Later
        "this job is running already, here or at the peer, or one of the nodes has as many runs as it takes"
        "wait for the other run, then try again";
    Storage 110 "storage" 12 ResourceExhausted Later
        "the disk or the folder of the node took no more"
        "make room, then run again";
    Forked 120 "chain-forked" 13 Aborted Never
        "both sides have a statement at the same height, and they differ: one side's records were changed or restored"
        "compare both sides' runs folders before anything else; nothing is repaired by itself";
    State 121 "state-damaged" 13 Internal Never
        "a record of this node is damaged"
        "restore the node's folder from the backup";
    Diverged 122 "session-diverged" 13 Aborted Never
        "the two sides have different records of the session that was to go on: one side's were changed"
        "compare both sides' attempts folders before anything else; the run is over";
    SetBack 123 "state-set-back" 13 Aborted Never
        "one side shows what the other signed or began, and the other has no record of it: its folder was restored from an older copy"
        "find out who restored what; then run again: that is a new session";
    Interrupted 130 "interrupted" 130 Cancelled Later
        "the program was interrupted"
        "run again";
    Terminated 143 "terminated" 143 Unavailable Later
        "the program was asked to stop"
        "run again";
}

impl Code {
    /// The code's row.
    pub fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.code == self).expect("the macro makes a row for every code")
    }

    fn from_number(number: u16) -> Option<Self> {
        TABLE.iter().find(|row| row.number == number).map(|row| row.code)
    }

    /// Whether a peer that names it accuses us of breaking the protocol.
    fn is_violation(self) -> bool {
        self.row().exit == 9
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PSI-E{:03}", self.row().number)
    }
}

/// A failure: its code, and what happened in words, with the place and never with content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Which row of the table.
    pub code: Code,
    /// What happened, for our own operator.
    pub message: String,
    /// What the peer may be told of it: a field's name or a place in the exchange.
    pub place: String,
    /// Whether the run that it ended is kept, and can go on.
    pub resumable: bool,
}

impl Fault {
    /// A failure that is none of the peer's business beyond its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), place: String::new(), resumable: false }
    }

    /// The same with a place or field that the peer may be told.
    pub fn with_place(mut self, place: impl Into<String>) -> Self {
        self.place = place.into();
        self
    }

    /// The run is kept, and can go on, if what happened is nothing that would happen again: a connection that was lost, a
    /// full disk, a signal.
    pub fn of_kept_run(mut self) -> Self {
        let row = self.code.row();
        let passing = matches!(row.exit, 6 | 11 | 12 | 130 | 143) && row.retry == Retry::Later;
        self.resumable = passing || matches!(self.code, Code::Output | Code::OutputExists);
        self
    }

    /// Exit status of a command that ends with this.
    pub fn exit(&self) -> u8 {
        self.code.row().exit
    }

    /// What the peer is told.
    pub fn refusal(&self) -> Refusal {
        let row = self.refusal_row();
        let told = row.code == self.code && self.code != Code::Policy;
        Refusal { code: row.number, detail: if told { self.place.clone() } else { String::new() } }
    }

    /// The row that the peer is told: what only concerns this node is no news for it, but whether it may try again is.
    pub fn refusal_row(&self) -> &'static Row {
        let row = self.code.row();
        match row.exit {
            6..=9 | 11 | 13 | 130 | 143 => row,
            _ if self.resumable || row.retry == Retry::Later => Code::Interrupted.row(),
            _ => Code::Refused.row(),
        }
    }

    /// What a peer's refusal comes to on this side.
    pub fn refused_by_peer(refusal: &Refusal) -> Self {
        let detail =
            if refusal.detail.is_empty() { String::new() } else { format!(" ({:?})", refusal.detail) };
        match Code::from_number(refusal.code) {
            Some(code) if code.is_violation() => {
                let message =
                    format!("the peer says that we broke the protocol: {}{detail}", code.row().cause);
                Self::new(Code::WeMisbehaved, message)
            }
            Some(code) if matches!(code.row().exit, 6 | 8 | 11 | 13) => {
                Self::new(code, format!("the peer ended the session: {}{detail}", code.row().cause))
            }
            Some(code @ (Code::Interrupted | Code::Terminated)) => {
                Self::new(Code::Cut, format!("the peer ended the session: {}{detail}", code.row().cause))
            }
            _ => Self::new(
                Code::Refused,
                format!("the peer ended the session for a reason of its own{detail}"),
            ),
        }
    }
}

/// docs/ERRORS.md.
pub fn markdown() -> String {
    let mut text = "# Errors\n\n\
        Made from the table in `psi-node/src/fault.rs`; a test compares the two. `psi` prints the code before every error and \
        ends with its exit status; a session that ends with it has its gRPC status. *Retry*: whether the same command may work \
        later without anybody changing anything.\n\n\
        | code | name | exit | gRPC | retry | cause | what to do |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in TABLE {
        let Row { code, name, exit, grpc, retry, cause, remedy, .. } = row;
        text += &format!("| {code} | {name} | {exit} | {grpc:?} | {} | {cause} | {remedy} |\n", retry.word());
    }
    text
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn numbers_ascend_and_exits_are_those_of_the_table() {
        assert!(TABLE.windows(2).all(|rows| rows[0].number < rows[1].number));
        for row in TABLE {
            assert!(matches!(row.exit, 1..=13 | 130 | 143), "{}", row.name);
            assert_eq!(Code::from_number(row.number), Some(row.code));
        }
    }

    #[test]
    fn errors_md_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ERRORS.md");
        if std::env::var_os("PSI_WRITE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(written, markdown(), "run the tests with PSI_WRITE_DOCS=1 to write docs/ERRORS.md anew");
    }

    #[test]
    fn a_policy_and_our_own_troubles_stay_with_us() {
        let policy =
            Fault::new(Code::Policy, "2 runs in the last day, at most 1 is allowed").with_place("runs");
        assert_eq!(policy.refusal(), Refusal { code: 62, detail: String::new() });
        let output = Fault::new(Code::OutputExists, "/data/out.csv exists").with_place("/data/out.csv");
        assert_eq!(output.refusal(), Refusal { code: 66, detail: String::new() });
        let full = Fault::new(Code::Storage, "/var/lib/psi: no space left");
        assert_eq!(full.refusal(), Refusal { code: 130, detail: String::new() });
        assert_eq!(Fault::refused_by_peer(&full.refusal()).code, Code::Cut, "there may be room tomorrow");
    }

    #[test]
    fn an_output_folder_that_is_full_may_be_better_later() {
        let of = |errno: Errno| {
            let source = std::io::Error::from(errno);
            // As the probe's errors come: with a path, and without their number.
            let source = std::io::Error::new(source.kind(), source);
            Fault::from(crate::output::OutputError::Write { path: "out.csv".into(), source }).code
        };
        for full in [Errno::ENOSPC, Errno::EDQUOT, Errno::EIO] {
            assert_eq!(of(full), Code::Storage);
        }
        for wrong in [Errno::EACCES, Errno::EROFS, Errno::ENOTDIR] {
            assert_eq!(of(wrong), Code::Output);
        }
    }

    #[test]
    fn a_refusal_names_the_same_row_on_both_sides_unless_it_accuses() {
        let terms = Fault::new(Code::Terms, "terms differ in proved").with_place("proved");
        assert_eq!(Fault::refused_by_peer(&terms.refusal()).code, Code::Terms);
        let late = Fault::new(Code::TimedOut, "the session took longer than 1 s");
        assert_eq!(
            Fault::refused_by_peer(&late.refusal()).exit(),
            6,
            "a peer that gave up is no reason to give up"
        );
        let violation =
            Fault::new(Code::Unsorted, "masked, list 0, chunk 1").with_place("masked, list 0, chunk 1");
        assert_eq!(Fault::refused_by_peer(&violation.refusal()).code, Code::WeMisbehaved);
        assert_eq!(Fault::refused_by_peer(&Refusal { code: 9999, detail: "x".into() }).code, Code::Refused);
    }
}
