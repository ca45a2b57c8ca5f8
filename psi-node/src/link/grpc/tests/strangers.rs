//! Callers and peers that aren't who they should be, or don't speak what they should: each with its own name on both
//! sides, and the node serves the next one.

use rustls::{
    ClientConfig, HandshakeKind, NamedGroup, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    pki_types::ServerName,
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::tls::{
    connect::{ConnectError, Stage},
    proxy::ProxyError,
};

/// RFC 8446, section 6: a fatal alert protocol_version in its record.
const ALERT_PROTOCOL_VERSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];

async fn serving() -> Served {
    Served::start(node(SERVER), echo(), Settings::default()).await
}

async fn refused(target: &Target, tls: &NodeTls) -> ConnectError {
    Connection::open(target, tls, &Settings::default()).await.unwrap_err()
}

fn tls_error(error: ConnectError) -> TlsError {
    let ConnectError::Tls(error) = error else { panic!("{error}") };
    error
}

/// Both sides' names for a connection of `client` with `server`.
async fn both_sides(server: NodeTls, client: NodeTls) -> (TlsError, TlsError) {
    let mut served = Served::start(server, echo(), Settings::default()).await;
    let seen_by_client = tls_error(refused(&served.target(), &client).await);
    (served.next_turned_away().await, seen_by_client)
}

#[tokio::test]
async fn an_unpinned_caller_is_named_on_both_sides() {
    let mut served = serving().await;
    let error = tls_error(refused(&served.target(), &node(STRANGER)).await);
    assert_eq!(error, TlsError::OurKeyRefused);
    assert_eq!(served.next_turned_away().await, TlsError::UnpinnedKey { got: key(STRANGER) });
    served.still_serves().await;
}

#[tokio::test]
async fn another_server_than_the_pinned_one_is_named_on_both_sides() {
    let mut served = serving().await;
    let target = Target { key: key(STRANGER), ..served.target() };
    let error = tls_error(refused(&target, &node(CLIENT)).await);
    assert_eq!(error, TlsError::WrongKey { expected: key(STRANGER), got: key(SERVER) });
    assert_eq!(served.next_turned_away().await, TlsError::OurKeyRefused);
    served.still_serves().await;
}

#[tokio::test]
async fn an_expired_caller_is_named_on_both_sides() {
    let sides = both_sides(node(SERVER), node_with_certificate_of(CLIENT, NOW - 91 * DAY)).await;
    assert_eq!(sides, (TlsError::Expired, TlsError::OurCertificateExpired));
}

#[tokio::test]
async fn a_caller_from_the_future_is_named_on_both_sides() {
    let sides = both_sides(node(SERVER), node_with_certificate_of(CLIENT, NOW + DAY)).await;
    assert_eq!(sides, (TlsError::NotYetValid, TlsError::OurCertificateExpired));
}

#[tokio::test]
async fn an_expired_server_is_named_on_both_sides() {
    let sides = both_sides(node_with_certificate_of(SERVER, NOW - 91 * DAY), node(CLIENT)).await;
    assert_eq!(sides, (TlsError::OurCertificateExpired, TlsError::Expired));
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn client_config(change: impl FnOnce(&mut ClientConfig)) -> Arc<ClientConfig> {
    let mut config = node(CLIENT).client_config(key(SERVER));
    change(&mut config);
    Arc::new(config)
}

/// A bare TLS connection, up to the server's first byte.
async fn bare(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    let mut stream = TlsConnector::from(config).connect(name, socket).await?;
    stream.fill_buf().await?;
    Ok(stream)
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_named_on_both_sides() {
    let mut served = serving().await;
    let config = client_config(|config| config.client_auth_cert_resolver = Arc::new(NoCertificate));
    let error = TlsError::from_io(&bare(served.address, config).await.unwrap_err());
    assert_eq!(error, TlsError::OurCertificateRefused("CertificateRequired".into()));
    assert_eq!(served.next_turned_away().await, TlsError::MissingCertificate);
    served.still_serves().await;
}

#[tokio::test]
async fn a_caller_without_http2_is_named() {
    let mut served = serving().await;
    for alpn in [vec![], vec![b"http/1.1".to_vec()]] {
        let config = client_config(|config| config.alpn_protocols = alpn);
        // Without ALPN the handshake itself succeeds, and the server closes after it.
        let _ = bare(served.address, config).await;
        assert_eq!(served.next_turned_away().await, TlsError::NotHttp2);
    }
    served.still_serves().await;
}

#[tokio::test]
async fn the_group_is_post_quantum_and_nothing_is_resumed() {
    let served = serving().await;
    let config = client_config(|config| config.resumption = Resumption::in_memory_sessions(8));
    for _ in 0..2 {
        let stream = bare(served.address, config.clone()).await.unwrap();
        let connection = stream.get_ref().1;
        let group = connection.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(connection.tls13_tickets_received(), 0);
    }
}

/// What the server sends in answer to `bytes` until it closes.
async fn answer_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is as good as a close here: what was read stays.
    let _ = socket.read_to_end(&mut answer).await;
    answer
}

/// A ClientHello of TLS 1.2 (RFC 5246, section 7.4.1.2): no supported_versions.
fn tls12_hello() -> Vec<u8> {
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 29][..], // supported_groups: x25519
        &[0, 13, 0, 4, 0, 2, 8, 7],      // signature_algorithms: ed25519
        &[0, 16, 0, 5, 0, 3, 2, b'h', b'2'],
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f]);
    body.extend([1, 0, 0, extensions.len() as u8]);
    body.extend(extensions);
    let handshake = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, handshake.len() as u8][..], &handshake].concat()
}

#[tokio::test]
async fn tls_1_2_gets_protocol_version() {
    let mut served = serving().await;
    assert_eq!(answer_to(served.address, &tls12_hello()).await, ALERT_PROTOCOL_VERSION);
    assert_eq!(served.next_turned_away().await, TlsError::Version);
    served.still_serves().await;
}

#[tokio::test]
async fn plain_http_is_refused() {
    let mut served = serving().await;
    for request in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = answer_to(served.address, request).await;
        assert!(answer.is_empty() || answer[0] == 21, "an alert at most: {answer:?}");
        assert_eq!(served.next_turned_away().await, TlsError::NotTls);
    }
    served.still_serves().await;
}

#[tokio::test]
async fn silent_callers_are_closed_when_their_time_is_over() {
    let settings = Settings { handshake_timeout: Duration::from_millis(200), ..Settings::default() };
    let mut served = Served::start(node(SERVER), echo(), settings).await;
    assert!(answer_to(served.address, b"").await.is_empty());
    assert_eq!(served.next_turned_away().await, TlsError::TimedOut);
    served.still_serves().await;
}

#[tokio::test]
async fn callers_over_the_handshake_cap_are_closed_at_once() {
    let settings = Settings { max_handshakes: 1, ..Settings::default() };
    let mut served = Served::start(node(SERVER), echo(), settings).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    assert!(answer_to(served.address, b"").await.is_empty());
    assert_eq!(served.next_turned_away().await, TlsError::Full);
    silent.shutdown().await.unwrap();
    assert_eq!(served.next_turned_away().await, TlsError::Closed);
    served.still_serves().await;
}

#[tokio::test]
async fn connections_over_the_cap_are_closed_after_their_handshake() {
    let settings = Settings { max_connections: 1, ..Settings::default() };
    let mut served = Served::start(node(SERVER), echo(), settings).await;
    let first = Connection::open(&served.target(), &node(CLIENT), &settings).await.unwrap();
    assert_eq!(tls_error(refused(&served.target(), &node(CLIENT)).await), TlsError::Closed);
    assert_eq!(served.next_turned_away().await, TlsError::Full);
    first.ping().await.unwrap();
    drop(first);
    // The place is free once the server has seen the first one go.
    while Connection::open(&served.target(), &node(CLIENT), &settings).await.is_err() {
        assert_eq!(served.next_turned_away().await, TlsError::Full);
    }
}

/// A peer that answers the first bytes of each caller with `answer` and closes.
async fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
        socket.write_all(answer).await.unwrap();
        socket.shutdown().await.unwrap();
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    address
}

#[tokio::test]
async fn peers_that_are_no_nodes_are_named() {
    for (answer, name) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], TlsError::NotTls),
        (&ALERT_PROTOCOL_VERSION, TlsError::Version),
        (&[21, 3, 3, 0, 2, 2, 120], TlsError::NotHttp2),
        (b"", TlsError::Closed),
    ] {
        let target = target(answering(answer).await);
        assert_eq!(tls_error(refused(&target, &node(CLIENT)).await), name);
    }
}

#[tokio::test]
async fn nobody_there_and_nobody_answering_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap());
    let settings = Settings { handshake_timeout: Duration::from_millis(50), ..Settings::default() };
    let silent = Connection::open(&target, &node(CLIENT), &settings).await.unwrap_err();
    assert!(matches!(silent, ConnectError::TimedOut { stage: Stage::Tls, .. }), "{silent}");
    drop(listener);
    let gone = refused(&target, &node(CLIENT)).await;
    assert!(matches!(gone, ConnectError::Unreachable { .. }), "{gone}");
}

/// A proxy that serves one CONNECT; `stalled` makes it stop forwarding without closing.
async fn proxy(stalled: oneshot::Receiver<()>) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://me:secret@{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(near.read_buf(&mut request).await.unwrap(), 0);
        }
        let request = String::from_utf8(request).unwrap();
        let mut far = TcpStream::connect(request.split(' ').nth(1).unwrap()).await.unwrap();
        near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            Ok(()) = stalled => std::future::pending().await,
        }
        request
    });
    (address, task)
}

#[tokio::test]
async fn a_proxy_gives_a_tunnel() {
    let served = serving().await;
    let (_keep, stalled) = oneshot::channel();
    let (proxy, task) = proxy(stalled).await;
    let target = Target { proxy: Some(proxy.parse().unwrap()), ..served.target() };
    let connection = Connection::open(&target, &node(CLIENT), &Settings::default()).await.unwrap();
    connection.ping().await.unwrap();
    drop(connection);
    let request = task.await.unwrap();
    assert!(request.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", served.address)), "{request}");
    assert!(request.contains("\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n"), "{request}");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let served = serving().await;
    let proxy = format!("http://{}", answering(b"HTTP/1.1 403 Forbidden\r\n\r\n").await);
    let target = Target { proxy: Some(proxy.parse().unwrap()), ..served.target() };
    let error = refused(&target, &node(CLIENT)).await;
    assert!(matches!(error, ConnectError::Proxy(ProxyError::Refused { status: 403 })), "{error}");
}

#[tokio::test]
async fn a_frozen_path_is_named_by_the_keepalive() {
    let served = serving().await;
    let (stall, stalled) = oneshot::channel();
    let (proxy, _task) = proxy(stalled).await;
    let target = Target { proxy: Some(proxy.parse().unwrap()), ..served.target() };
    let short = Duration::from_millis(100);
    let settings = Settings { keepalive_interval: short, keepalive_timeout: short, ..Settings::default() };
    let (mut link, _) = connect(&target, &node(CLIENT), &settings).await.unwrap();
    link.sender.send(hello()).await.unwrap();
    link.receiver.receive().await.unwrap();
    stall.send(()).unwrap();
    let error = link.receiver.receive().await.unwrap_err();
    assert!(matches!(error, LinkError::KeepaliveTimedOut), "{error:?}");
}

#[tokio::test]
async fn a_reissued_certificate_is_shown_without_dropping_connections() {
    let clock = Mock::at(NOW);
    let served = Served::start(node_at(SERVER, &clock), echo(), Settings::default()).await;
    let shown = async || {
        let stream = bare(served.address, client_config(|_| ())).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let old = shown().await;
    let connection = Connection::open(&served.target(), &node(CLIENT), &Settings::default()).await.unwrap();
    clock.set(0);
    served.tls.credentials().reissue().unwrap_err();
    clock.set(NOW + 1);
    assert_eq!(shown().await, old, "a bad reissue keeps the old one");
    served.tls.credentials().reissue().unwrap();
    assert_ne!(shown().await, old);
    connection.ping().await.unwrap();
}

#[tokio::test]
async fn an_unpinned_key_is_refused_on_its_open_connection() {
    let served = serving().await;
    let connection = Connection::open(&served.target(), &node(CLIENT), &Settings::default()).await.unwrap();
    connection.ping().await.unwrap();
    served.tls.pins().replace([key(STRANGER)]);
    let error = connection.ping().await.unwrap_err();
    assert!(matches!(error, LinkError::PeerStatus { code: Code::Unauthenticated, .. }), "{error}");
    assert_eq!(tls_error(refused(&served.target(), &node(CLIENT)).await), TlsError::OurKeyRefused);
}
