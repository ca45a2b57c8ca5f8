//! The client's side: from an endpoint to a stream of the expected peer.

use std::{fmt, io, str::FromStr, sync::Arc, time::Duration};

use http::Uri;
use rustls::pki_types::ServerName;
use tokio::{
    io::AsyncBufReadExt,
    net::TcpStream,
    time::{error::Elapsed, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    ALPN, NodeTls, TlsError,
    proxy::{self, Proxy, ProxyError},
    stream::Counted,
};
use crate::identity::PublicKey;

const DEFAULT_PORT: u16 = 443;

/// A TLS connection to the expected peer, which has taken our certificate as well.
pub type ClientStream = TlsStream<Counted<TcpStream>>;

/// Where a node listens: `https://host[:port]`, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// The host name or address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 443 if none was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::NotAUrl)?;
        if uri.scheme_str() != Some("https") {
            return Err(EndpointError::Scheme { expected: "https" });
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(EndpointError::Surplus);
        }
        let (host, port) = host_and_port(&uri)?;
        ServerName::try_from(host.as_str()).map_err(|_| EndpointError::Host)?;
        Ok(Self { host, port: port.unwrap_or(DEFAULT_PORT) })
    }
}

/// The host without brackets and the port; a path or query is refused.
pub(super) fn host_and_port(uri: &Uri) -> Result<(String, Option<u16>), EndpointError> {
    if uri.path_and_query().is_some_and(|rest| !matches!(rest.as_str(), "" | "/")) {
        return Err(EndpointError::Surplus);
    }
    let authority = uri.authority().ok_or(EndpointError::Host)?;
    let host = authority.host();
    let port = authority.as_str().rsplit('@').next().and_then(|rest| rest.strip_prefix(host));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(EndpointError::Host);
    }
    Ok((host.to_owned(), parse_port(port.ok_or(EndpointError::Host)?)?))
}

/// Nothing, or a colon and a port.
fn parse_port(text: &str) -> Result<Option<u16>, EndpointError> {
    let Some(digits) = text.strip_prefix(':') else {
        return if text.is_empty() { Ok(None) } else { Err(EndpointError::Port) };
    };
    let port = digits.parse().ok().filter(|port| *port != 0 && digits.bytes().all(|b| b.is_ascii_digit()));
    port.map(Some).ok_or(EndpointError::Port)
}

pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What can be wrong with an endpoint or a proxy address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It doesn't read as a URL.
    #[error("expected a URL")]
    NotAUrl,
    /// The scheme is missing or another.
    #[error("expected a URL that starts with {expected}://")]
    Scheme {
        /// The scheme that belongs there.
        expected: &'static str,
    },
    /// There is no host, or it is neither a name nor an address.
    #[error("expected a host name or an IP address")]
    Host,
    /// The port isn't from 1 to 65535.
    #[error("expected a port from 1 to 65535")]
    Port,
    /// More than scheme, host and port.
    #[error("expected nothing but scheme, host and port")]
    Surplus,
    /// User and password of a proxy aren't `user:password`, percent-encoded where needed.
    #[error("expected user:password before the host, percent-encoded where needed")]
    Credentials,
}

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
    let name = ServerName::try_from(endpoint.host.clone())
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
        return dial(&endpoint.host, endpoint.port, limit).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_parsed() {
        for (text, host, port) in [
            ("https://psi.bank-a.example:7443", "psi.bank-a.example", 7443),
            ("https://127.0.0.1:7443/", "127.0.0.1", 7443),
            ("https://[::1]:7443", "::1", 7443),
            ("https://bank", "bank", 443),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.host(), endpoint.port()), (host, port));
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
    }

    #[test]
    fn bad_endpoints_are_named() {
        let parse = |text: &str| text.parse::<Endpoint>().unwrap_err();
        assert_eq!(parse("https://"), EndpointError::NotAUrl);
        assert_eq!(parse("bank:7443"), EndpointError::Scheme { expected: "https" });
        assert_eq!(parse("http://bank:7443"), EndpointError::Scheme { expected: "https" });
        assert_eq!(parse("https://a_b..c:1"), EndpointError::Host);
        assert_eq!(parse("https://bank:70000"), EndpointError::Port);
        assert_eq!(parse("https://bank:0"), EndpointError::Port);
        assert_eq!(parse("https://bank/psi"), EndpointError::Surplus);
        assert_eq!(parse("https://me@bank"), EndpointError::Surplus);
    }
}
