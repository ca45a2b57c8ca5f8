//! An outbound HTTP proxy: one CONNECT (RFC 9110, section 9.3.6), then the tunnel is ours.
//!
//! hyper-util has a tunnel of its own; it doesn't tell which status the proxy answered, and that is what the operator
//! needs to know.

use std::{fmt, str::FromStr};

use data_encoding::BASE64;
use http::Uri;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::endpoint::{EndpointError, host_and_port};

const DEFAULT_PORT: u16 = 80;
/// An answer longer than this isn't read to its end.
const MAX_ANSWER: usize = 8192;

/// `http://[user:password@]host[:port]`; user and password percent-encoded where needed.
#[derive(Clone)]
pub struct Proxy {
    host: String,
    port: u16,
    /// `Basic ...`, RFC 7617.
    authorization: Option<Zeroizing<String>>,
}

impl Proxy {
    /// The host name or address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 80 if none was given.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl FromStr for Proxy {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::NotAUrl)?;
        if uri.scheme_str() != Some("http") {
            return Err(EndpointError::Scheme { expected: "http" });
        }
        let (host, port) = host_and_port(&uri)?;
        let userinfo = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
        let authorization = userinfo.map(|(userinfo, _)| basic(userinfo)).transpose()?;
        Ok(Self { host, port: port.unwrap_or(DEFAULT_PORT), authorization })
    }
}

fn basic(userinfo: &str) -> Result<Zeroizing<String>, EndpointError> {
    let (user, password) = userinfo.split_once(':').ok_or(EndpointError::Credentials)?;
    let (user, password) = (percent_decoded(user)?, percent_decoded(password)?);
    let plain = Zeroizing::new([&user[..], b":", &password[..]].concat());
    Ok(Zeroizing::new(format!("Basic {}", BASE64.encode(&plain))))
}

fn percent_decoded(text: &str) -> Result<Zeroizing<Vec<u8>>, EndpointError> {
    let mut bytes = text.bytes();
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { hex_pair(bytes.next(), bytes.next())? } else { byte });
    }
    Ok(decoded)
}

fn hex_pair(high: Option<u8>, low: Option<u8>) -> Result<u8, EndpointError> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let (high, low) = (digit(high), digit(low));
    let pair = high.zip(low).ok_or(EndpointError::Credentials)?;
    Ok((pair.0 * 16 + pair.1) as u8)
}

/// Why the proxy gave no tunnel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It wants a user and a password, or others (407).
    #[error("it asks for a user and a password, or refuses the given ones (407)")]
    Authentication,
    /// It answered with another status than 2xx.
    #[error("it refused the tunnel with status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// Its answer isn't HTTP/1, or goes on beyond the header.
    #[error("its answer is not a plain HTTP/1 header")]
    NotHttp,
    /// Its answer's header is longer than 8 KiB.
    #[error("the header of its answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// It closed the connection instead of answering.
    #[error("it closed the connection without an answer")]
    Closed,
}

/// Asks the proxy at the other end of `socket` for a tunnel to `target` (`host:port`). Afterwards `socket` is the
/// tunnel, with nothing read from it.
pub(super) async fn tunnel<S>(socket: &mut S, target: &str, proxy: &Proxy) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
    if let Some(authorization) = &proxy.authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(authorization);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    socket.write_all(request.as_bytes()).await.map_err(|_| ProxyError::Closed)?;
    judge(&answer(socket).await?)
}

/// The answer up to the empty line. A proxy has nothing to say beyond it: TLS servers wait for their clients.
async fn answer(socket: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ProxyError> {
    let mut answer = Vec::with_capacity(512);
    loop {
        let read = socket.read_buf(&mut answer).await.map_err(|_| ProxyError::Closed)?;
        match header_end(&answer) {
            Some(_) => return Ok(answer),
            None if answer.len() > MAX_ANSWER => return Err(ProxyError::TooLong),
            None if read == 0 => return Err(ProxyError::Closed),
            None => {}
        }
    }
}

fn header_end(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4)
}

fn judge(answer: &[u8]) -> Result<(), ProxyError> {
    match status(answer).ok_or(ProxyError::NotHttp)? {
        200..=299 if header_end(answer) == Some(answer.len()) => Ok(()),
        200..=299 => Err(ProxyError::NotHttp),
        407 => Err(ProxyError::Authentication),
        status => Err(ProxyError::Refused { status }),
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    let digits = rest.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(bytes: &[u8]) -> Result<(), ProxyError> {
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        tunnel(&mut ours, "bank:7443", &"http://proxy".parse().unwrap()).await
    }

    #[tokio::test]
    async fn answers_are_judged() {
        answered(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").await.unwrap();
        answered(b"HTTP/1.0 200 OK\r\n\r\n").await.unwrap();
        let refused = answered(b"HTTP/1.1 403 Forbidden\r\n\r\nno").await;
        assert!(matches!(refused, Err(ProxyError::Refused { status: 403 })));
        assert!(matches!(answered(b"HTTP/1.1 407 x\r\n\r\n").await, Err(ProxyError::Authentication)));
        assert!(matches!(answered(b"SSH-2.0-x\r\n\r\n").await, Err(ProxyError::NotHttp)));
        assert!(matches!(answered(b"HTTP/1.1 200 OK\r\n\r\nmore").await, Err(ProxyError::NotHttp)));
        assert!(matches!(answered(b"HTTP/1.1 200 OK\r\n").await, Err(ProxyError::Closed)));
        assert!(matches!(answered(&[b'x'; 9000]).await, Err(ProxyError::TooLong)));
    }

    #[tokio::test]
    async fn the_request_carries_the_credentials() {
        let proxy: Proxy = "http://me:p%40ss%3a@proxy:3128".parse().unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("proxy", 3128));
        let (mut ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        tunnel(&mut ours, "[::1]:7443", &proxy).await.unwrap();
        drop(ours);
        let mut request = String::new();
        theirs.read_to_string(&mut request).await.unwrap();
        assert_eq!(
            request,
            "CONNECT [::1]:7443 HTTP/1.1\r\nHost: [::1]:7443\r\n\
             Proxy-Authorization: Basic bWU6cEBzczo=\r\n\r\n"
        );
        assert!(!format!("{proxy:?}").contains("bWU6"));
    }

    #[test]
    fn bad_proxies_are_named() {
        let parse = |text: &str| text.parse::<Proxy>().unwrap_err();
        assert_eq!(parse("https://proxy:3128"), EndpointError::Scheme { expected: "http" });
        assert_eq!(parse("http://proxy:3128/x"), EndpointError::Surplus);
        assert_eq!(parse("http://me@proxy"), EndpointError::Credentials);
        assert_eq!(parse("http://me:%zz@proxy"), EndpointError::Credentials);
    }
}
