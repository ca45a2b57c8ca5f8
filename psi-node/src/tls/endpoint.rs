//! Where a node listens, as people write it.

use std::{fmt, str::FromStr};

use http::Uri;
use rustls::pki_types::ServerName;

const DEFAULT_PORT: u16 = 443;

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
