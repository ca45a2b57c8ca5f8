//! Frames of the link as messages of the protocol, and back.

use psi_core::{
    error::{Error, Fault, Place},
    message::{
        Close, Commit, Evaluated, Hello, Masked, Message, Refusal, Resume, StepEnd, Working,
        decode_statements, encode_statements,
    },
    wire::Malformed,
};

use super::Frame;

impl From<Message> for Frame {
    fn from(message: Message) -> Self {
        match message {
            Message::Hello(hello) => Self::Hello(hello.encode().into()),
            Message::Resume(resume) => Self::Resume(resume.encode().into()),
            Message::Statements(notes) => Self::Statements(encode_statements(&notes).into()),
            Message::Commit(commit) => Self::Commit(commit.encode().into()),
            Message::Masked(Masked { list, index, elements }) => {
                Self::Masked { list: list.into(), index, elements }
            }
            Message::Evaluated(Evaluated { list, index, answers, proof }) => {
                Self::Evaluated { list: list.into(), index, answers, proof }
            }
            Message::StepEnd(end) => Self::StepEnd(end.encode().into()),
            Message::Close(close) => Self::Close(close.encode().into()),
            Message::Working(Working { done, of }) => Self::Working { done, of },
            Message::Refusal(refusal) => Self::Refusal(refusal.encode().into()),
        }
    }
}

impl TryFrom<Frame> for Message {
    type Error = Error;

    fn try_from(frame: Frame) -> Result<Self, Error> {
        let malformed = |place: Place| move |error: Malformed| Fault::Malformed(error).at(place);
        Ok(match frame {
            Frame::Hello(bytes) => Self::Hello(Hello::decode(&bytes)?),
            Frame::Resume(bytes) => Self::Resume(Resume::decode(&bytes).map_err(malformed(Place::Resume))?),
            Frame::Statements(bytes) => {
                Self::Statements(decode_statements(&bytes).map_err(malformed(Place::Statements))?)
            }
            Frame::Commit(bytes) => {
                Self::Commit(Commit::decode(&bytes).map_err(malformed(Place::Commit { list: None }))?)
            }
            Frame::Masked { list, index, elements } => {
                Self::Masked(Masked { list: number(list)?, index, elements })
            }
            Frame::Evaluated { list, index, answers, proof } => {
                Self::Evaluated(Evaluated { list: number(list)?, index, answers, proof })
            }
            Frame::StepEnd(bytes) => Self::StepEnd(StepEnd::decode(&bytes).map_err(malformed(Place::Frame))?),
            Frame::Close(bytes) => Self::Close(Close::decode(&bytes).map_err(malformed(Place::Close))?),
            Frame::Working { done, of } => Self::Working(Working { done, of }),
            Frame::Refusal(bytes) => Self::Refusal(Refusal::decode(&bytes).map_err(malformed(Place::Frame))?),
        })
    }
}

/// protobuf has no 16-bit integers.
fn number(list: u32) -> Result<u16, Error> {
    u16::try_from(list).map_err(|_| Fault::Contradiction { what: "list number" }.at(Place::Frame))
}
