//! A link inside one process: two parties in one test, or two nodes of one demonstration.

use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use super::{Link, LinkReceiver, LinkSender, Settings, frame::Item};

/// Two linked ends. `settings.queue` frames wait in each direction, at least one; of the times only `idle_timeout`
/// matters. An end that is dropped without [`LinkSender::end`] is seen as cut.
pub fn pair(settings: &Settings) -> (Link, Link) {
    let (to_b, from_a) = mpsc::channel(settings.queue.max(1));
    let (to_a, from_b) = mpsc::channel(settings.queue.max(1));
    (link(to_b, from_b, settings), link(to_a, from_a, settings))
}

fn link(to: mpsc::Sender<Item>, from: mpsc::Receiver<Item>, settings: &Settings) -> Link {
    Link {
        sender: LinkSender::new(to, settings.idle_timeout),
        receiver: LinkReceiver::new(ReceiverStream::new(from).map(Ok), settings.idle_timeout),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::link::{Direction, Frame, LinkError, MAX_FRAME_BYTES};

    fn narrow() -> (Link, Link) {
        pair(&Settings { queue: 1, ..Settings::default() })
    }

    fn hello(text: &'static str) -> Frame {
        Frame::Hello(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn frames_arrive_in_order_and_both_ends_are_clean() {
        let (a, b) = narrow();
        let talk = |mut link: Link| async move {
            for index in 0..50 {
                let elements = Bytes::from(vec![index as u8; 32]);
                link.sender.send(Frame::Masked { list: 0, index, elements: elements.clone() }).await.unwrap();
                let expected = Frame::Masked { list: 0, index, elements };
                assert_eq!(link.receiver.receive().await.unwrap(), expected);
            }
            link.sender.end().await.unwrap();
            link.receiver.end().await.unwrap();
        };
        tokio::join!(talk(a), talk(b));
    }

    #[tokio::test]
    async fn a_bare_end_is_a_cut() {
        let (mut a, mut b) = narrow();
        a.sender.send(hello("x")).await.unwrap();
        drop(a.sender);
        b.receiver.receive().await.unwrap();
        assert!(matches!(b.receiver.receive().await, Err(LinkError::Ended)));
        assert!(matches!(b.receiver.end().await, Err(LinkError::Ended)));
    }

    #[tokio::test]
    async fn a_proper_end_is_not_a_frame() {
        let (a, mut b) = narrow();
        a.sender.end().await.unwrap();
        assert!(matches!(b.receiver.receive().await, Err(LinkError::Finished)));
        b.receiver.end().await.unwrap();
    }

    #[tokio::test]
    async fn a_frame_instead_of_the_end_is_named() {
        let (mut a, b) = narrow();
        a.sender.send(hello("x")).await.unwrap();
        assert!(matches!(b.receiver.end().await, Err(LinkError::Surplus)));
    }

    #[tokio::test]
    async fn a_lost_frame_shows_at_the_end() {
        let (mut a, b) = narrow();
        a.sender.frames += 1;
        a.sender.end().await.unwrap();
        assert!(matches!(b.receiver.end().await, Err(LinkError::WrongEnd)));
    }

    #[tokio::test]
    async fn a_silent_peer_times_out_in_both_directions() {
        let (mut a, _b) =
            pair(&Settings { queue: 1, idle_timeout: Duration::from_millis(1), ..Settings::default() });
        let received = a.receiver.receive().await;
        assert!(matches!(received, Err(LinkError::TimedOut(Direction::Receiving))));
        a.sender.send(hello("fills the queue")).await.unwrap();
        let sent = a.sender.send(hello("waits")).await;
        assert!(matches!(sent, Err(LinkError::TimedOut(Direction::Sending))));
    }

    #[tokio::test]
    async fn a_frame_beyond_the_limit_is_not_sent() {
        let (mut a, b) = narrow();
        let large = Frame::Commit(Bytes::from(vec![0; MAX_FRAME_BYTES]));
        assert!(matches!(a.sender.send(large).await, Err(LinkError::TooLarge)));
        a.sender.end().await.unwrap();
        b.receiver.end().await.unwrap();
    }

    #[tokio::test]
    async fn sending_to_nobody_is_closed() {
        let (mut a, b) = narrow();
        drop(b);
        assert!(matches!(a.sender.send(hello("x")).await, Err(LinkError::Closed)));
    }
}
