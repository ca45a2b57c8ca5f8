//! Links over gRPC (tonic, HTTP/2) and mutual TLS. The protobuf types stay in here.
//!
//! Every limit is set on both ends: 1 MiB a message, 16 streams a connection, 8 KiB of headers, the windows and the
//! keepalive of [`Settings`](super::Settings). Nothing is retried and nothing reconnects: one [`Connection`] is one
//! TCP connection.

mod client;
mod server;
mod wire;

pub use self::{
    client::{Connection, Pong, Target, connect},
    server::{Handler, ServeError, Status, serve},
};

/// HTTP/2 streams that a connection may have open.
const MAX_STREAMS: u32 = 16;
/// Bytes that the headers of one call may take.
const MAX_HEADER_BYTES: u32 = 8 << 10;
/// Bytes of one HTTP/2 frame.
const MAX_HTTP2_FRAME_BYTES: u32 = 1 << 20;
/// What this node calls itself.
const SOFTWARE: &str = concat!("psi/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests;
