//! The calling side.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{
    Response, Status, Streaming,
    transport::{Channel, Endpoint as Http2},
};
use tower::service_fn;

use super::{
    MAX_HEADER_BYTES, MAX_HTTP2_FRAME_BYTES, SOFTWARE,
    wire::{
        self,
        v1::{self, PingRequest, exchange_client::ExchangeClient},
    },
};
use crate::{
    identity::PublicKey,
    link::{Link, LinkError, LinkSender, MAX_FRAME_BYTES, Settings},
    tls::{
        NodeTls,
        connect::{self, ClientStream, ConnectError, Stage},
        endpoint::Endpoint,
        proxy::Proxy,
        stream::Traffic,
    },
};

/// Whom to call, and how to get there.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the peer listens.
    pub endpoint: Endpoint,
    /// The key pinned for it.
    pub key: PublicKey,
    /// The way out, if not direct.
    pub proxy: Option<Proxy>,
}

/// What a node answers to a ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Its software and version; the peer's text, at most 200 characters, to be escaped before it is printed.
    pub software: String,
    /// Its wall clock since 1970-01-01 UTC.
    pub clock: Duration,
}

/// Connects and opens a session: [`Connection::open`] and [`Connection::session`].
pub async fn connect(
    target: &Target,
    tls: &NodeTls,
    settings: &Settings,
) -> Result<(Link, Arc<Traffic>), LinkError> {
    let connection = Connection::open(target, tls, settings).await?;
    Ok((connection.session(), connection.traffic().clone()))
}

/// One connection to the expected peer, which has taken our certificate. It closes when it and its links are dropped.
pub struct Connection {
    pub(super) channel: Channel,
    traffic: Arc<Traffic>,
    address: String,
    settings: Settings,
}

impl Connection {
    /// Connects with both sides verified. Nothing is retried.
    pub async fn open(target: &Target, tls: &NodeTls, settings: &Settings) -> Result<Self, ConnectError> {
        let (endpoint, limits) = (&target.endpoint, settings.connect_limits());
        let stream = connect::connect(endpoint, target.proxy.as_ref(), target.key, tls, limits).await?;
        let traffic = stream.get_ref().0.traffic().clone();
        let channel = channel(stream, endpoint, settings).await?;
        Ok(Self { channel, traffic, address: endpoint.authority(), settings: *settings })
    }

    /// The bytes of the connection.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Asks whether the node is there.
    pub async fn ping(&self) -> Result<Pong, LinkError> {
        let request = PingRequest { software: SOFTWARE.into() };
        let pong = self.answered(self.client().ping(request)).await?;
        let software = pong.software.chars().take(200).collect();
        Ok(Pong { software, clock: Duration::from_millis(pong.unix_ms) })
    }

    /// Opens a session. Frames are on their way without waiting for the peer to take the call, which would cost a round
    /// trip; if it doesn't, the receiver says why.
    pub fn session(&self) -> Link {
        let (queue, items) = mpsc::channel(self.settings.queue.max(1));
        let frames = ReceiverStream::new(items).map(wire::encode);
        let mut client = self.client();
        let mut call = JoinSet::new();
        call.spawn(async move { client.session(frames).await });
        Link {
            sender: LinkSender::new(queue, self.settings.idle_timeout),
            receiver: wire::receiver(
                Answer { call, frames: None },
                self.traffic.clone(),
                self.settings.idle_timeout,
            ),
        }
    }

    fn client(&self) -> ExchangeClient<Channel> {
        ExchangeClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES)
    }

    async fn answered<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, LinkError> {
        match timeout(self.settings.idle_timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(wire::link_error(&status, &self.traffic)),
            Err(_) => {
                Err(ConnectError::TimedOut { address: self.address.clone(), stage: Stage::Http2 }.into())
            }
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What the peer sends in a session, from the call on.
struct Answer {
    /// The call until it is taken. It is given up with this.
    call: JoinSet<Result<Response<Streaming<v1::Frame>>, Status>>,
    frames: Option<Streaming<v1::Frame>>,
}

impl Stream for Answer {
    type Item = Result<v1::Frame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(frames) = &mut self.frames {
            return Pin::new(frames).poll_next(cx);
        }
        match ready!(self.call.poll_join_next(cx)) {
            Some(Ok(Ok(taken))) => {
                let frames = self.frames.insert(taken.into_inner());
                Pin::new(frames).poll_next(cx)
            }
            Some(Ok(Err(status))) => Poll::Ready(Some(Err(status))),
            Some(Err(_)) => Poll::Ready(Some(Err(Status::internal("the call failed here")))),
            None => Poll::Ready(None),
        }
    }
}

/// HTTP/2 over the stream. tonic would connect again when it breaks; there is only this one stream to hand out.
async fn channel(
    stream: ClientStream,
    endpoint: &Endpoint,
    settings: &Settings,
) -> Result<Channel, ConnectError> {
    let stream = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
    let hand_out = service_fn(move |_: Uri| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    http2(endpoint, settings)?.connect_with_connector(hand_out).await.map_err(|error| http2_error(&error))
}

fn http2(endpoint: &Endpoint, settings: &Settings) -> Result<Http2, ConnectError> {
    let http2 = Http2::from_shared(endpoint.to_string()).and_then(|http2| http2.user_agent(SOFTWARE));
    Ok(http2
        .map_err(|error| http2_error(&error))?
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(MAX_HTTP2_FRAME_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout))
}

fn http2_error(error: &tonic::transport::Error) -> ConnectError {
    ConnectError::Http2(error.to_string())
}
