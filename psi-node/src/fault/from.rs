//! Which row of the table each layer's errors belong to.

use std::io::ErrorKind;

use psi_core::{
    element::ElementFault,
    error::{Damaged, Error as SessionError, Fault as Breach, Incompatible, Misbehaved},
};

use super::{Code, Fault};
use crate::{
    identity::IdentityError,
    input::InputError,
    link::LinkError,
    output::OutputError,
    seal::{SealError, SealKeyError},
    tls::{CertificateError, TlsError, connect::ConnectError},
};

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Incompatible(incompatible) => incompatible.into(),
            SessionError::PeerMisbehaved(misbehaved) => misbehaved.into(),
            SessionError::Damaged(damaged) => damaged.into(),
            other => Self::new(Code::Unexpected, other.to_string()),
        }
    }
}

impl From<Incompatible> for Fault {
    fn from(incompatible: Incompatible) -> Self {
        let message = incompatible.to_string();
        let (code, place) = match &incompatible {
            Incompatible::Nothing(what) | Incompatible::Unknown(what) => (Code::Version, *what),
            Incompatible::Terms { field, .. } => (Code::Terms, *field),
            Incompatible::Identity(_) => (Code::HelloKey, "hello"),
            Incompatible::Clock { .. } => (Code::Clock, "started"),
            Incompatible::Items { .. } => (Code::Items, "items"),
            Incompatible::Forked { .. } => (Code::Forked, "chain"),
            Incompatible::Diverged { .. } => (Code::Diverged, "steps"),
            Incompatible::RolledBack { .. } => (Code::SetBack, "resume"),
            _ => (Code::Refused, ""),
        };
        Self::new(code, message).with_place(place)
    }
}

impl From<Damaged> for Fault {
    fn from(damaged: Damaged) -> Self {
        Self::new(Code::State, damaged.to_string())
    }
}

impl From<Misbehaved> for Fault {
    fn from(misbehaved: Misbehaved) -> Self {
        let code = match &misbehaved.fault {
            Breach::Malformed(_) => Code::Malformed,
            Breach::OutOfPhase { .. } | Breach::OutOfOrder { .. } | Breach::TooEarly { .. } => {
                Code::OutOfPhase
            }
            Breach::Element(ElementFault::NotCanonical) => Code::NotCanonical,
            Breach::Element(ElementFault::Identity) => Code::IdentityElement,
            Breach::Element(ElementFault::Unsorted) => Code::Unsorted,
            Breach::Element(ElementFault::Doubled) => Code::Doubled,
            Breach::Element(ElementFault::Reflected) | Breach::Reflected { .. } => Code::Reflected,
            Breach::Empty => Code::EmptyChunk,
            Breach::Length { .. } => Code::Length,
            Breach::Oversized { .. } => Code::Oversized,
            Breach::TooMany { .. } => Code::TooMany,
            Breach::TooFew { .. } => Code::TooFew,
            Breach::NotCommitted => Code::NotCommitted,
            Breach::ProofMissing | Breach::ProofUnexpected => Code::ProofMissing,
            Breach::ProofWrong { .. } => Code::ProofWrong,
            Breach::Signature => Code::Signature,
            Breach::Matches { .. } => Code::Matches,
            Breach::Unchained { .. } => Code::Chain,
            _ => Code::Contradiction,
        };
        Self::new(code, format!("the peer broke the protocol: {misbehaved}"))
            .with_place(misbehaved.place.to_string())
    }
}

impl From<InputError> for Fault {
    fn from(error: InputError) -> Self {
        let code = match &error {
            InputError::MissingColumn { .. }
            | InputError::DoubledColumn { .. }
            | InputError::NestedColumn { .. }
            | InputError::ReservedColumn { .. } => Code::Column,
            InputError::Malformed { .. }
            | InputError::Gb18030 { .. }
            | InputError::Mixed { .. }
            | InputError::Utf8 { .. }
            | InputError::Utf16 { .. }
            | InputError::NoByteOrder { .. } => Code::Encoding,
            InputError::MissingSheet { .. }
            | InputError::SeveralSheets { .. }
            | InputError::HiddenRow { .. }
            | InputError::MergedCells { .. } => Code::Sheet,
            InputError::OtherFormat { .. } | InputError::NotBuiltIn { .. } => Code::Format,
            InputError::Nul { .. }
            | InputError::LoneCarriageReturn { .. }
            | InputError::UnclosedQuote { .. }
            | InputError::StrayQuote { .. }
            | InputError::NotJson { .. }
            | InputError::Workbook { .. }
            | InputError::Parquet { .. }
            | InputError::RowTooLong { .. } => Code::Structure,
            InputError::Empty { .. } | InputError::NoRows { .. } => Code::EmptyList,
            InputError::TooManyRejects { .. } | InputError::TooManyBadCells { .. } => Code::TooManyRejects,
            InputError::Changed { .. } => Code::Changed,
            InputError::Read { source, .. } if SealError::of(source).is_some() => Code::State,
            InputError::Copy { .. } | InputError::Scratch { .. } => Code::Storage,
            InputError::TooLongForSheet { .. } => Code::OutputFormat,
            _ => Code::Input,
        };
        Self::new(code, error.to_string())
    }
}

impl From<OutputError> for Fault {
    fn from(error: OutputError) -> Self {
        let code = match &error {
            OutputError::Exists { .. } => Code::OutputExists,
            OutputError::Write { source, .. } if !is_to_be_mended(source.kind()) => Code::Storage,
            OutputError::Gone { .. } => Code::State,
            OutputError::Ending { .. } | OutputError::TooManyColumns { .. } => Code::OutputFormat,
            _ => Code::Output,
        };
        match error {
            OutputError::Source(input) => input.into(),
            error => Self::new(code, error.to_string()),
        }
    }
}

/// Whether somebody has to mend it, by another folder, other permissions or another format; a disk that is full or fails may
/// be better later.
fn is_to_be_mended(kind: ErrorKind) -> bool {
    use ErrorKind as Is;
    matches!(
        kind,
        Is::InvalidFilename
            | Is::InvalidInput
            | Is::IsADirectory
            | Is::NotADirectory
            | Is::NotFound
            | Is::PermissionDenied
            | Is::ReadOnlyFilesystem
    )
}

impl From<IdentityError> for Fault {
    fn from(error: IdentityError) -> Self {
        let code = match &error {
            IdentityError::Exists { .. } => Code::Exists,
            _ => Code::KeyFile,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SealKeyError> for Fault {
    fn from(error: SealKeyError) -> Self {
        Self::new(Code::KeyFile, error.to_string())
    }
}

impl From<CertificateError> for Fault {
    fn from(error: CertificateError) -> Self {
        Self::new(Code::Unexpected, error.to_string())
    }
}

impl From<LinkError> for Fault {
    fn from(error: LinkError) -> Self {
        let code = match &error {
            LinkError::Connect(connect) => return Self::from_connect(connect),
            LinkError::Ended | LinkError::Cut(_) | LinkError::Closed => Code::Cut,
            LinkError::TimedOut(_) | LinkError::KeepaliveTimedOut => Code::TimedOut,
            LinkError::PeerStatus { code, .. } => from_status(*code),
            LinkError::Malformed(_) | LinkError::WrongEnd => Code::Malformed,
            LinkError::TooLarge => Code::Oversized,
            LinkError::Finished | LinkError::Surplus => Code::OutOfPhase,
        };
        Self::new(code, error.to_string()).with_place("stream")
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        Self::from_connect(&error)
    }
}

impl Fault {
    fn from_connect(error: &ConnectError) -> Self {
        let code = match error {
            ConnectError::TimedOut { .. } => Code::TimedOut,
            ConnectError::Proxy(_) => Code::Proxy,
            ConnectError::Tls(tls) => from_tls(tls),
            _ => Code::Unreachable,
        };
        Self::new(code, error.to_string())
    }
}

fn from_tls(error: &TlsError) -> Code {
    match error {
        TlsError::WrongKey { .. } | TlsError::UnpinnedKey { .. } | TlsError::OtherKind => Code::WrongKey,
        TlsError::OurKeyRefused | TlsError::OurCertificateRefused(_) => Code::OurKeyRefused,
        TlsError::Expired | TlsError::NotYetValid | TlsError::OurCertificateExpired => Code::Certificate,
        TlsError::Closed => Code::Cut,
        TlsError::TimedOut => Code::TimedOut,
        TlsError::Full => Code::Busy,
        _ => Code::Tls,
    }
}

/// A bare status comes from a node that could not say more, or from something in between.
fn from_status(code: tonic::Code) -> Code {
    match code {
        tonic::Code::Unauthenticated => Code::OurKeyRefused,
        tonic::Code::ResourceExhausted => Code::Busy,
        tonic::Code::DeadlineExceeded => Code::TimedOut,
        tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::DataLoss | tonic::Code::Unknown => {
            Code::Cut
        }
        tonic::Code::Unimplemented => Code::Version,
        _ => Code::Refused,
    }
}
