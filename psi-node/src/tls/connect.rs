//! The client's side: from an endpoint to a stream of the expected peer.

use std::{fmt, io, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    io::AsyncBufReadExt,
    net::TcpStream,
    time::{error::Elapsed, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    ALPN, NodeTls, TlsError,
    endpoint::{Endpoint, authority},
    proxy::{self, Proxy, ProxyError},
    stream::Counted,
};
use crate::identity::PublicKey;

/// A TLS connection to the expected peer, which has taken our certificate as well.
pub type ClientStream = TlsStream<Counted<TcpStream>>;

/// How long connecting may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectLimits {
    /// Time to resolve the name and to connect, and again for a proxy's answer.
    pub connect_timeout: Duration,
    /// Time for the TLS handshake and the peer's first byte after it.
    pub handshake_timeout: Duration,
}

/// What a connection attempt was at when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Resolving the name and connecting.
    Tcp,
    /// Waiting for the proxy's answer.
    Proxy,
    /// The TLS handshake, or the peer's first byte after it.
    Tls,
    /// The first answer over HTTP/2.
    Http2,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "connecting",
            Self::Proxy => "waiting for the proxy",
            Self::Tls => "the TLS handshake",
            Self::Http2 => "the first answer",
        })
    }
}

/// Why there is no connection to a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name doesn't resolve, or nobody listens there.
    #[error("{address} is unreachable: {source}")]
    Unreachable {
        /// `host:port` of the peer or of the proxy.
        address: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Time was over.
    #[error("{address} timed out while {stage}")]
    TimedOut {
        /// `host:port` of the peer or of the proxy.
        address: String,
        /// What it was at.
        stage: Stage,
    },
    /// The proxy gave no tunnel.
    #[error("proxy: {0}")]
    Proxy(#[from] ProxyError),
    /// No TLS connection to the expected peer.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS stands, but HTTP/2 didn't come up.
    #[error("http/2: {0}")]
    Http2(String),
}

/// Connects to `endpoint`, through `proxy` if there is one, and comes back when each side has verified the other: the
/// peer's key is `expected`, and the peer has sent its first byte (a TLS 1.3 server judges our certificate only after
/// the client's handshake is done). Nothing of ours but the handshake has been sent then.
pub async fn connect(
    endpoint: &Endpoint,
    proxy: Option<&Proxy>,
    expected: PublicKey,
    tls: &NodeTls,
    limits: ConnectLimits,
) -> Result<ClientStream, ConnectError> {
    let socket = reach(endpoint, proxy, limits.connect_timeout).await?;
    let name = ServerName::try_from(endpoint.host().to_owned())
        .map_err(|_| TlsError::Handshake("the endpoint's host is no name for TLS".into()))?;
    let connector = TlsConnector::from(Arc::new(tls.client_config(expected)));
    timeout(limits.handshake_timeout, shake_hands(connector, name, socket))
        .await
        .map_err(|elapsed| timed_out(endpoint.authority(), Stage::Tls, elapsed))?
        .map_err(ConnectError::Tls)
}

async fn reach(
    endpoint: &Endpoint,
    proxy: Option<&Proxy>,
    limit: Duration,
) -> Result<Counted<TcpStream>, ConnectError> {
    let Some(proxy) = proxy else {
        return dial(endpoint.host(), endpoint.port(), limit).await;
    };
    let mut socket = dial(proxy.host(), proxy.port(), limit).await?;
    timeout(limit, proxy::tunnel(&mut socket, &endpoint.authority(), proxy))
        .await
        .map_err(|elapsed| timed_out(authority(proxy.host(), proxy.port()), Stage::Proxy, elapsed))??;
    Ok(socket)
}

async fn dial(host: &str, port: u16, limit: Duration) -> Result<Counted<TcpStream>, ConnectError> {
    let address = authority(host, port);
    match timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(socket)) => {
            // Nagle's algorithm only costs time here; without the option the connection still works.
            let _ = socket.set_nodelay(true);
            Ok(Counted::new(socket))
        }
        Ok(Err(source)) => Err(ConnectError::Unreachable { address, source }),
        Err(elapsed) => Err(timed_out(address, Stage::Tcp, elapsed)),
    }
}

fn timed_out(address: String, stage: Stage, _: Elapsed) -> ConnectError {
    ConnectError::TimedOut { address, stage }
}

async fn shake_hands(
    connector: TlsConnector,
    name: ServerName<'static>,
    socket: Counted<TcpStream>,
) -> Result<ClientStream, TlsError> {
    let mut stream = connector.connect(name, socket).await.map_err(|error| TlsError::from_io(&error))?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(TlsError::NotHttp2);
    }
    // An HTTP/2 server speaks first (RFC 9113, section 3.4); a TLS server that refuses us sends its alert instead.
    // The bytes stay buffered for whoever reads next.
    let first = stream.fill_buf().await.map_err(|error| TlsError::from_io(&error))?;
    if first.is_empty() { Err(TlsError::Closed) } else { Ok(stream) }
}
