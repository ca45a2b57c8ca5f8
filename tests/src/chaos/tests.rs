use super::*;

/// A server that sends back what it gets, and hands out how each connection ended.
async fn echo() -> (SocketAddr, mpsc::Receiver<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ended, ends) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let ended = ended.clone();
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let copied = tokio::io::copy(&mut from, &mut to).await;
                let _ = ended.send(copied.map(drop)).await;
            });
        }
    });
    (address, ends)
}

async fn through(planned: Option<Planned>) -> (Chaos, TcpStream, mpsc::Receiver<io::Result<()>>) {
    let (server, ends) = echo().await;
    let chaos = Chaos::start(server, <[Line; 2]>::default()).await.unwrap();
    planned.into_iter().for_each(|planned| chaos.plan(planned));
    let stream = TcpStream::connect(chaos.address()).await.unwrap();
    (chaos, stream, ends)
}

/// Sends `bytes`, and what comes back until the end.
async fn call(stream: &mut TcpStream, bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut back = Vec::new();
    let sent = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut back).await.map(drop)
    };
    let ended = sent.await;
    (back, ended)
}

fn counting(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn without_a_fault_everything_passes_and_is_counted() {
    let (chaos, mut stream, mut ends) = through(None).await;
    let bytes = counting(300_000);
    let (back, ended) = call(&mut stream, &bytes).await;
    assert!(ended.is_ok() && back == bytes);
    assert!(ends.recv().await.unwrap().is_ok());
    assert_eq!(chaos.tally(), Tally { connections: 1, bytes: [300_000; 2], struck: 0 });
}

#[tokio::test]
async fn a_cut_comes_after_exactly_so_many_bytes() {
    for at in [0, 1, 1000, 65_537] {
        let (chaos, mut stream, mut ends) = through(Some(Fault::Fin.at_of(Direction::Down, at))).await;
        let (back, ended) = call(&mut stream, &counting(100_000)).await;
        assert!(ended.is_ok(), "a proper end: {ended:?}");
        assert_eq!(back, counting(at as usize));
        ends.recv().await.unwrap().ok();
        chaos.assert_struck(1);
    }
}

#[tokio::test]
async fn a_reset_is_one_at_both_ends() {
    let (chaos, mut stream, mut ends) = through(Some(Fault::Rst.at(70_000))).await;
    // Both ends are in the middle of something.
    stream.write_all(&counting(100_000)).await.unwrap();
    let mut back = Vec::new();
    let ended = stream.read_to_end(&mut back).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(ends.recv().await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(chaos.tally().total() <= 70_000);
    chaos.assert_struck(1);
}

/// After these the caller hears nothing more, not even an end; other connections are fine.
#[tokio::test]
async fn nothing_comes_out_of_a_hole() {
    for (planned, before) in [
        (Fault::BlackHole.at(500), 0),
        (Fault::Stall(None).at_of(Direction::Up, 500), 0),
        (Fault::Deaf(Direction::Up).at_of(Direction::Up, 500), 500),
    ] {
        let (chaos, mut stream, _ends) = through(Some(planned)).await;
        stream.write_all(&counting(1000)).await.unwrap();
        let mut back = vec![0; before];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, counting(before));
        stream.shutdown().await.unwrap();
        let mut other = TcpStream::connect(chaos.address()).await.unwrap();
        assert_eq!(call(&mut other, b"still there").await.0, b"still there");
        let nothing = stream.try_read(&mut [0; 100]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock, "{planned}");
        chaos.assert_struck(1);
    }
}

#[tokio::test]
async fn the_deaf_direction_is_the_one_that_was_named() {
    let (_chaos, mut stream, mut ends) = through(Some(Fault::Deaf(Direction::Down).at(300))).await;
    stream.write_all(&counting(200)).await.unwrap();
    let mut back = vec![0; 100];
    stream.read_exact(&mut back).await.unwrap();
    stream.write_all(&counting(5000)).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(back, counting(100));
    assert!(ends.recv().await.unwrap().is_ok(), "the server got it all and the end");
}

#[tokio::test]
async fn a_stall_with_a_time_loses_nothing() {
    let planned = Fault::Stall(Some(Duration::from_millis(30))).at(40_000);
    let (chaos, mut stream, _ends) = through(Some(planned)).await;
    let begun = Instant::now();
    let (back, ended) = call(&mut stream, &counting(100_000)).await;
    assert!(ended.is_ok() && back == counting(100_000));
    assert!(begun.elapsed() >= Duration::from_millis(30));
    chaos.assert_struck(1);
}

#[tokio::test]
async fn a_flip_changes_one_bit_of_the_named_byte() {
    let (chaos, mut stream, _ends) = through(Some(Fault::Flip.at_of(Direction::Up, 65_536))).await;
    let (back, _) = call(&mut stream, &counting(100_000)).await;
    let mut expected = counting(100_000);
    expected[65_536] ^= 1;
    assert!(back == expected);
    chaos.assert_struck(1);
}

#[tokio::test]
async fn a_line_is_as_slow_as_it_was_said_to_be() {
    let (server, _ends) = echo().await;
    let slow = Line { delay: Duration::from_millis(15), rate: None };
    let thin = Line { delay: Duration::from_millis(5), rate: Some(1_000_000) };
    let chaos = Chaos::start(server, [slow, thin]).await.unwrap();
    let mut stream = TcpStream::connect(chaos.address()).await.unwrap();
    let begun = Instant::now();
    let (back, _) = call(&mut stream, &counting(20_000)).await;
    assert_eq!(back.len(), 20_000);
    assert!(begun.elapsed() >= Duration::from_millis(15 + 5 + 20));
}

#[tokio::test]
async fn each_connection_meets_the_next_fault() {
    let (server, _ends) = echo().await;
    let chaos = Chaos::start(server, <[Line; 2]>::default()).await.unwrap();
    chaos.plan(Fault::Fin.at_of(Direction::Down, 3));
    chaos.plan(Fault::Fin.at_of(Direction::Down, 5));
    for length in [3, 5, 9] {
        let mut stream = TcpStream::connect(chaos.address()).await.unwrap();
        assert_eq!(call(&mut stream, &counting(9)).await.0, counting(length));
    }
    chaos.assert_struck(2);
}

#[test]
fn a_planned_fault_is_read_as_it_is_written() {
    for text in [
        "fin@0",
        "rst@12345",
        "black-hole@up:7",
        "stall@down:1",
        "stall:250@9",
        "deaf:down@up:3",
        "flip@up:77",
    ] {
        assert_eq!(text.parse::<Planned>().map(|planned| planned.to_string()), Ok(text.to_owned()));
    }
    for text in ["", "fin", "fin@", "fin@x", "fin@left:1", "deaf@1", "stall:x@1", "fin:1@2"] {
        assert!(text.parse::<Planned>().is_err(), "{text}");
    }
}
