//! Sessions between two verified nodes.

use tonic::{Request, Response, Streaming, transport::Server};
use tonic_prost::ProstCodec;

use super::{
    wire::v1::{
        self, PingRequest, PingResponse,
        exchange_client::ExchangeClient,
        exchange_server::{Exchange, ExchangeServer},
        frame::Kind,
    },
    *,
};
use crate::{
    link::MAX_FRAME_BYTES,
    tls::accept::{AcceptLimits, accept},
};

const CHUNK: usize = 512 << 10;

fn narrow() -> Settings {
    Settings { queue: 1, stream_window: 64 << 10, connection_window: 64 << 10, ..Settings::default() }
}

/// Sends and receives `count` chunks at the same time, then ends both directions.
async fn exchange(link: Link, count: u32) -> Result<(), LinkError> {
    let Link { mut sender, mut receiver } = link;
    let send = async {
        for index in 0..count {
            sender.send(chunk(index, CHUNK)).await?;
        }
        sender.end().await
    };
    let receive = async {
        for index in 0..count {
            assert!(receiver.receive().await? == chunk(index, CHUNK), "chunk {index}");
        }
        receiver.end().await
    };
    tokio::try_join!(send, receive).map(|_| ())
}

/// Serves `run` and hands back what it returned, session by session.
async fn watched<F>(
    settings: Settings,
    run: impl Fn(Peer, Link) -> F + Send + Sync + 'static,
) -> (Served, mpsc::UnboundedReceiver<Result<(), LinkError>>)
where
    F: Future<Output = Result<(), LinkError>> + Send + 'static,
{
    let (results, watch) = mpsc::unbounded_channel();
    let script = script(move |peer, link| {
        let (ending, results) = (run(peer, link), results.clone());
        async move {
            let result = ending.await;
            let status = Status { code: Code::DataLoss, text: "the session failed" };
            let ended = if result.is_ok() { Ok(()) } else { Err(status) };
            results.send(result).unwrap();
            ended
        }
    });
    (Served::start(node(SERVER), script, settings).await, watch)
}

#[tokio::test]
async fn frames_cross_both_ways_with_narrow_windows_and_are_counted() {
    const COUNT: u32 = 8;
    let (peers, mut seen) = mpsc::unbounded_channel();
    let (served, mut results) = watched(narrow(), move |peer, link| {
        peers.send(peer).unwrap();
        exchange(link, COUNT)
    })
    .await;
    let (link, bytes) = connect(&served.target(), &node(CLIENT), &narrow()).await.unwrap();
    exchange(link, COUNT).await.unwrap();
    results.recv().await.unwrap().unwrap();

    let peer = seen.recv().await.unwrap();
    assert_eq!(peer.key, key(CLIENT));
    let payload = u64::from(COUNT) * CHUNK as u64;
    let expected = payload..payload * 102 / 100;
    for counted in [bytes.sent(), bytes.received(), peer.traffic.sent(), peer.traffic.received()] {
        assert!(expected.contains(&counted), "{counted} for {payload}");
    }
    assert!(peer.traffic.received() <= bytes.sent() && bytes.received() <= peer.traffic.sent());
}

#[tokio::test]
async fn every_kind_of_frame_comes_back_as_it_was() {
    let served = Served::start(node(SERVER), echo(), Settings::default()).await;
    let (mut link, _) = connect(&served.target(), &node(CLIENT), &Settings::default()).await.unwrap();
    let b = Bytes::from_static;
    for frame in [
        Frame::Hello(b(b"1")),
        Frame::Commit(b(b"2")),
        Frame::StepEnd(b(b"3")),
        Frame::Close(b(b"4")),
        Frame::Statements(b(b"5")),
        Frame::Refusal(b(b"")),
        Frame::Resume(b(b"r")),
        Frame::Masked { list: 1, index: u32::MAX, elements: b(b"7") },
        Frame::Evaluated { list: 0, index: 2, answers: b(b"8"), proof: b(b"9") },
        Frame::Working { done: u64::MAX, of: 0 },
    ] {
        link.sender.send(frame.clone()).await.unwrap();
        assert!(link.receiver.receive().await.unwrap() == frame, "{frame:?}");
    }
    link.sender.end().await.unwrap();
    link.receiver.end().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_just_ends_is_a_cut_for_the_server() {
    let (served, mut results) = watched(Settings::default(), |_, mut link| async move {
        link.receiver.receive().await?;
        link.receiver.end().await
    })
    .await;
    let (mut link, _) = connect(&served.target(), &node(CLIENT), &Settings::default()).await.unwrap();
    link.sender.send(hello()).await.unwrap();
    drop(link.sender);
    let seen = results.recv().await.unwrap();
    assert!(matches!(seen, Err(LinkError::Ended)), "{seen:?}");
}

#[tokio::test]
async fn a_cancelled_call_is_a_cut_for_the_server() {
    let (served, mut results) = watched(Settings::default(), |_, mut link| async move {
        link.sender.send(hello()).await?;
        link.receiver.end().await
    })
    .await;
    let (mut link, _) = connect(&served.target(), &node(CLIENT), &Settings::default()).await.unwrap();
    link.receiver.receive().await.unwrap();
    drop(link);
    let seen = results.recv().await.unwrap();
    assert!(matches!(seen, Err(LinkError::Ended | LinkError::Cut(_))), "{seen:?}");
}

#[tokio::test]
async fn a_stream_that_just_ends_is_a_cut_for_the_client() {
    let served = Served::start(node(SERVER), script(|_, _| async { Ok(()) }), Settings::default()).await;
    let (mut link, _) = connect(&served.target(), &node(CLIENT), &Settings::default()).await.unwrap();
    let seen = link.receiver.receive().await;
    assert!(matches!(seen, Err(LinkError::Ended)), "{seen:?}");
}

#[tokio::test]
async fn a_refusal_arrives_before_the_status() {
    let refusing = script(|_, mut link| async move {
        link.sender.send(Frame::Refusal(Bytes::from_static(b"why"))).await.unwrap();
        Err(Status { code: Code::FailedPrecondition, text: "the terms differ" })
    });
    let served = Served::start(node(SERVER), refusing, Settings::default()).await;
    let (mut link, _) = connect(&served.target(), &node(CLIENT), &Settings::default()).await.unwrap();
    assert!(link.receiver.receive().await.unwrap() == Frame::Refusal(Bytes::from_static(b"why")));
    let error = link.receiver.receive().await.unwrap_err();
    let LinkError::PeerStatus { code, text } = error else { panic!("{error:?}") };
    assert_eq!((code, text.as_str()), (Code::FailedPrecondition, "the terms differ"));
}

/// What the server's handler ends with when a client streams `frames` without any limit of its own.
async fn server_sees<T: prost::Message + 'static>(frames: Vec<T>) -> LinkError {
    let (served, mut results) =
        watched(Settings::default(), |_, mut link| async move { link.receiver.receive().await.map(|_| ()) })
            .await;
    let connection = Connection::open(&served.target(), &node(CLIENT), &Settings::default()).await.unwrap();
    let mut grpc = tonic::client::Grpc::new(connection.channel.clone());
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/psi.v1.Exchange/Session");
    let request = Request::new(tokio_stream::iter(frames));
    let answer = grpc.streaming(request, path, ProstCodec::<T, v1::Frame>::default()).await;
    let error = results.recv().await.unwrap().unwrap_err();
    drop(answer);
    served.still_serves().await;
    error
}

/// Field 1 as a number, where a frame has bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct Bogus {
    #[prost(uint64, tag = "1")]
    number: u64,
}

fn raw(kind: Option<Kind>) -> v1::Frame {
    v1::Frame { kind }
}

#[tokio::test]
async fn malformed_frames_are_named_by_the_server() {
    let large = Kind::Hello(vec![0; MAX_FRAME_BYTES + 1].into());
    let error = server_sees(vec![raw(Some(large))]).await;
    assert!(matches!(error, LinkError::TooLarge), "{error:?}");
    let error = server_sees(vec![Bogus { number: 1 }]).await;
    assert!(matches!(error, LinkError::Malformed(_)), "{error:?}");
    let error = server_sees(vec![raw(None)]).await;
    assert!(matches!(error, LinkError::Malformed(_)), "{error:?}");
    let wrong = v1::End { frames: 7 };
    let error = server_sees(vec![raw(Some(Kind::End(wrong)))]).await;
    assert!(matches!(error, LinkError::WrongEnd), "{error:?}");
}

/// A server with a valid certificate and no manners.
struct Rude(Kind);

#[tonic::async_trait]
impl Exchange for Rude {
    type SessionStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::Frame, tonic::Status>>>;

    async fn session(
        &self,
        _: Request<Streaming<v1::Frame>>,
    ) -> Result<Response<Self::SessionStream>, tonic::Status> {
        Ok(Response::new(tokio_stream::iter(vec![Ok(raw(Some(self.0.clone())))])))
    }

    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingResponse>, tonic::Status> {
        Err(tonic::Status::internal("\x1b[2J".repeat(1000)))
    }
}

async fn rude(kind: Kind) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap());
    let limits =
        AcceptLimits { handshake_timeout: Duration::from_secs(10), max_handshakes: 1, max_connections: 1 };
    let (incoming, _) = accept(listener, &node(SERVER), limits, Arc::new(|_, error| panic!("{error}")));
    let service = ExchangeServer::new(Rude(kind));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    Connection::open(&target, &node(CLIENT), &Settings::default()).await.unwrap()
}

#[tokio::test]
async fn malformed_frames_are_named_by_the_client() {
    let connection = rude(Kind::Close(vec![0; MAX_FRAME_BYTES + 1].into())).await;
    let error = connection.session().receiver.receive().await.unwrap_err();
    assert!(matches!(error, LinkError::TooLarge), "{error:?}");
    let connection = rude(Kind::End(v1::End { frames: 1 })).await;
    let error = connection.session().receiver.receive().await.unwrap_err();
    assert!(matches!(error, LinkError::WrongEnd), "{error:?}");
}

#[tokio::test]
async fn a_peers_text_is_shortened_and_escaped() {
    let connection = rude(Kind::Hello(Bytes::new())).await;
    let error = connection.ping().await.unwrap_err();
    let LinkError::PeerStatus { text, .. } = &error else { panic!("{error:?}") };
    assert_eq!(text.chars().count(), 200);
    assert!(!error.to_string().contains('\x1b'), "{error}");
}

#[tokio::test]
async fn headers_over_8_kib_are_refused() {
    let served = Served::start(node(SERVER), echo(), Settings::default()).await;
    let connection = Connection::open(&served.target(), &node(CLIENT), &Settings::default()).await.unwrap();
    let mut request = Request::new(PingRequest::default());
    request.metadata_mut().insert("large", "x".repeat(9000).parse().unwrap());
    ExchangeClient::new(connection.channel.clone()).ping(request).await.unwrap_err();
    served.still_serves().await;
}

#[tokio::test]
async fn a_session_may_end_while_the_node_shuts_down() {
    let (served, mut results) = watched(Settings::default(), |_, link| exchange(link, 2)).await;
    let (mut link, _) = connect(&served.target(), &node(CLIENT), &Settings::default()).await.unwrap();
    link.receiver.receive().await.unwrap();
    served.stop.send(()).unwrap();
    for index in 0..2 {
        link.sender.send(chunk(index, CHUNK)).await.unwrap();
    }
    link.sender.end().await.unwrap();
    link.receiver.receive().await.unwrap();
    link.receiver.end().await.unwrap();
    results.recv().await.unwrap().unwrap();
    served.task.await.unwrap().unwrap();
    tokio::net::TcpStream::connect(served.address).await.unwrap_err();
}

#[tokio::test]
async fn a_stuck_session_is_cut_when_the_drain_is_over() {
    let settings = Settings { drain: Duration::from_millis(50), ..Settings::default() };
    let (served, mut results) = watched(settings, |_, mut link| async move {
        link.sender.send(hello()).await?;
        link.receiver.receive().await.map(|_| ())
    })
    .await;
    let (mut link, _) = connect(&served.target(), &node(CLIENT), &settings).await.unwrap();
    link.receiver.receive().await.unwrap();
    served.stop.send(()).unwrap();
    served.task.await.unwrap().unwrap();
    let seen = results.recv().await.unwrap();
    assert!(matches!(seen, Err(LinkError::Ended | LinkError::Cut(_))), "{seen:?}");
    let seen = link.receiver.receive().await;
    assert!(matches!(seen, Err(LinkError::Ended | LinkError::Cut(_))), "{seen:?}");
}

#[tokio::test]
async fn frames_sent_to_a_node_that_left_are_closed_and_the_receiver_knows_why() {
    let leaving = script(|_, _| async { Err(Status { code: Code::ResourceExhausted, text: "busy" }) });
    let served = Served::start(node(SERVER), leaving, narrow()).await;
    let (mut link, _) = connect(&served.target(), &node(CLIENT), &narrow()).await.unwrap();
    let sent = loop {
        if let Err(error) = link.sender.send(chunk(0, CHUNK)).await {
            break error;
        }
    };
    assert!(matches!(sent, LinkError::Closed), "{sent:?}");
    let why = link.receiver.receive().await.unwrap_err();
    assert!(matches!(why, LinkError::PeerStatus { code: Code::ResourceExhausted, .. }), "{why:?}");
}
