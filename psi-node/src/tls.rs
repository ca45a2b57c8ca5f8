//! Mutual TLS 1.3 between two nodes. docs/PROTOCOL.md, "A session".
//!
//! Each node shows a self-signed certificate ([`certificate`]) over its identity key. Each end compares the key in the
//! other's certificate with what it has pinned ([`verify`]); names, authorities and chains play no part. TLS 1.3 only
//! (RFC 8446), X25519MLKEM768 first, ALPN `h2`, neither tickets nor stored sessions nor early data: a resumed session
//! would not ask for the client's certificate again.
//!
//! ```text
//! accept::accept   listener -> cap -> handshake within its time -> cap -> AcceptedStream (peer's key, byte counts)
//! connect::connect endpoint -> [proxy::tunnel] -> handshake -> first byte of the server -> ClientStream
//! ```

pub mod accept;
pub mod certificate;
pub mod connect;
pub mod endpoint;
mod error;
pub mod proxy;
pub mod stream;
pub mod verify;

use std::sync::{Arc, LazyLock};

use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::UnixTime,
    server::NoServerSessionStorage,
    time_provider::TimeProvider,
    version::TLS13,
};

use self::verify::{ExpectedKey, PinnedKeys};
pub use self::{
    certificate::{CertificateError, Credentials},
    error::TlsError,
    verify::Pins,
};
use crate::{
    clock::Clock,
    identity::{Identity, PublicKey},
};

const ALPN: &[u8] = b"h2";

/// Everything that a node needs for TLS, on both ends. Clones share their credentials and pins.
#[derive(Clone, Debug)]
pub struct NodeTls {
    credentials: Arc<Credentials>,
    pins: Pins,
    clock: Arc<dyn Clock>,
}

impl NodeTls {
    /// Issues the first certificate. `pins` are the keys that may call us; `clock` judges certificates.
    pub fn new(identity: Identity, pins: Pins, clock: Arc<dyn Clock>) -> Result<Self, CertificateError> {
        let credentials = Arc::new(Credentials::new(identity, clock.clone())?);
        Ok(Self { credentials, pins, clock })
    }

    /// Our key and the certificate in use; it is replaced here, without dropping connections.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The keys that may call us; replaced at run time through any clone.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The clock that certificates are judged by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The same, as rustls asks for it.
    fn time(&self) -> Arc<WallTime> {
        Arc::new(WallTime(self.clock.clone()))
    }

    /// The server's side: a certificate of a pinned key is required.
    pub(crate) fn server_config(&self) -> ServerConfig {
        let mut config = ServerConfig::builder_with_details(provider(), self.time())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites of TLS 1.3")
            .with_client_cert_verifier(Arc::new(PinnedKeys(self.pins.clone())))
            .with_cert_resolver(self.credentials.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.cert_compressors = Vec::new();
        config.cert_decompressors = Vec::new();
        config
    }

    /// The client's side: only the certificate of `expected` is taken.
    pub(crate) fn client_config(&self, expected: PublicKey) -> ClientConfig {
        let mut config = ClientConfig::builder_with_details(provider(), self.time())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ExpectedKey(expected)))
            .with_client_cert_resolver(self.credentials.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.cert_compressors = Vec::new();
        config.cert_decompressors = Vec::new();
        config
    }
}

/// aws-lc-rs with two groups only, the post-quantum hybrid first. It is passed to each configuration: a process-wide
/// default would depend on who installs one first.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
        Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
    });
    PROVIDER.clone()
}

/// The wall clock that certificates are judged by.
#[derive(Debug)]
struct WallTime(Arc<dyn Clock>);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall()))
    }
}
