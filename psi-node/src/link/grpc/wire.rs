//! The generated protobuf types, and frames to and from them.

use std::{sync::Arc, time::Duration};

use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Status};

use crate::{
    link::{Frame, LinkError, LinkReceiver, frame::Item},
    tls::stream::Traffic,
};

/// `psi.v1`, generated from proto/psi/v1/psi.proto.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub(super) mod v1 {
    tonic::include_proto!("psi.v1");
}

use v1::frame::Kind;

const MAX_TEXT: usize = 200;

pub(super) fn encode(item: Item) -> v1::Frame {
    v1::Frame { kind: Some(kind(item)) }
}

fn kind(item: Item) -> Kind {
    match item {
        Item::Frame(Frame::Hello(bytes)) => Kind::Hello(bytes),
        Item::Frame(Frame::Commit(bytes)) => Kind::Commit(bytes),
        Item::Frame(Frame::StepEnd(bytes)) => Kind::StepEnd(bytes),
        Item::Frame(Frame::Close(bytes)) => Kind::Close(bytes),
        Item::Frame(Frame::Statements(bytes)) => Kind::Statements(bytes),
        Item::Frame(Frame::Refusal(bytes)) => Kind::Refusal(bytes),
        Item::Frame(Frame::Resume(bytes)) => Kind::Resume(bytes),
        Item::Frame(Frame::Masked { list, index, elements }) => {
            Kind::Masked(v1::Masked { list, index, elements })
        }
        Item::Frame(Frame::Evaluated { list, index, answers, proof }) => {
            Kind::Evaluated(v1::Evaluated { list, index, answers, proof })
        }
        Item::Frame(Frame::Working { done, of }) => Kind::Working(v1::Working { done, of }),
        Item::End { frames } => Kind::End(v1::End { frames }),
    }
}

pub(super) fn decode(frame: v1::Frame) -> Result<Item, LinkError> {
    let kind = frame.kind.ok_or_else(|| LinkError::Malformed("a frame of no known kind".into()))?;
    Ok(Item::Frame(match kind {
        Kind::Hello(bytes) => Frame::Hello(bytes),
        Kind::Commit(bytes) => Frame::Commit(bytes),
        Kind::StepEnd(bytes) => Frame::StepEnd(bytes),
        Kind::Close(bytes) => Frame::Close(bytes),
        Kind::Statements(bytes) => Frame::Statements(bytes),
        Kind::Refusal(bytes) => Frame::Refusal(bytes),
        Kind::Resume(bytes) => Frame::Resume(bytes),
        Kind::Masked(v1::Masked { list, index, elements }) => Frame::Masked { list, index, elements },
        Kind::Evaluated(v1::Evaluated { list, index, answers, proof }) => {
            Frame::Evaluated { list, index, answers, proof }
        }
        Kind::Working(v1::Working { done, of }) => Frame::Working { done, of },
        Kind::End(v1::End { frames }) => return Ok(Item::End { frames }),
    }))
}

/// The receiving half over a gRPC stream.
pub(super) fn receiver(
    incoming: impl Stream<Item = Result<v1::Frame, Status>> + Send + 'static,
    traffic: Arc<Traffic>,
    idle_timeout: Duration,
) -> LinkReceiver {
    let items = incoming.map(move |frame| decode(frame.map_err(|status| link_error(&status, &traffic))?));
    LinkReceiver::new(items, idle_timeout)
}

/// Names what tonic ended a stream with. What tonic found out itself carries a source (the transport broke), or one of
/// its fixed texts (what arrived doesn't decode; a test pins them); the rest is the peer's status.
pub(super) fn link_error(status: &Status, traffic: &Traffic) -> LinkError {
    let text = status.message();
    let starts = |prefix| text.starts_with(prefix);
    if std::error::Error::source(status).is_some() {
        return cut(status, traffic);
    }
    match status.code() {
        Code::OutOfRange if starts("Error, decoded message length too large") => LinkError::TooLarge,
        Code::Internal
            if starts("failed to decode Protobuf") || starts("protocol error: received message") =>
        {
            LinkError::Malformed(shortened(text))
        }
        Code::Internal if starts("Unexpected EOF decoding stream") => LinkError::Ended,
        code => LinkError::PeerStatus { code, text: shortened(text) },
    }
}

/// hyper gives a connection up without a word when a ping stays unanswered: its streams see a broken pipe, although
/// the socket is fine.
fn cut(status: &Status, traffic: &Traffic) -> LinkError {
    let mut deepest: &dyn std::error::Error = status;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let text = deepest.to_string();
    let given_up = text.contains("keep-alive timed out") || text.contains("broken pipe");
    if given_up && !traffic.is_over() {
        LinkError::KeepaliveTimedOut
    } else {
        LinkError::Cut(shortened(&text))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
