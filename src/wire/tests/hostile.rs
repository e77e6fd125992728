//! Strangers, and nodes of the job that have gone wrong.

use super::*;
use crate::wire::head::{self, Asked, Head};

const JOB: &str = "job 7";

fn refused(identity: &Identity, scene: &Scene) -> bool {
    matches!(
        scene.connect_as(identity.clone()),
        Err(ConnectError::NotOurs { .. } | ConnectError::Unreachable { .. })
    )
}

/// Waits for the other end to close, and returns what it said before.
fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert!(error.kind() == io::ErrorKind::ConnectionReset, "it stays open: {error}");
    }
    said
}

#[test]
fn another_key_job_list_of_views_or_freshness_is_not_let_in() {
    let other = SharedKey::from_bytes(b"a key that is long too!!!!").unwrap();
    for fabric in [Fabric::Encrypted, Fabric::Trusted] {
        let scene = Scene::new(fabric);
        let derive = |key: &SharedKey, job, views: &[&str]| {
            Identity::derive(key, job, views.iter().map(Path::new), None, fabric)
        };
        let fresh = Some(Duration::from_secs(2));
        let strangers = [
            ("another key", derive(&other, JOB, &["/sw"])),
            ("another job", derive(&key(), "job 8", &["/sw"])),
            ("other views", derive(&key(), JOB, &["/sw", "/opt"])),
            ("another freshness", Identity::derive(&key(), JOB, [Path::new("/sw")], fresh, fabric)),
            ("views that only look the same", derive(&key(), "job 7/sw", &[])),
        ];
        for (why, stranger) in strangers {
            let error = scene.connect_as(stranger).err().unwrap_or_else(|| panic!("{why} is let in"));
            assert!(matches!(error, ConnectError::NotOurs { .. }), "{why}: {error}");
        }
        assert_eq!(scene.shelf.asked.load(Ordering::Relaxed), 0);
        assert_eq!(scene.recorder.get(Counter::WireRequestsIn), 0, "no request was even read");
        assert!(scene.connect_as(identity(fabric)).is_ok(), "who has the key still comes in");
    }
}

#[test]
fn a_node_without_encryption_and_one_with_it_do_not_meet() {
    for (served, asked) in [(Fabric::Encrypted, Fabric::Trusted), (Fabric::Trusted, Fabric::Encrypted)] {
        let scene = Scene::new(served);
        assert!(refused(&identity(asked), &scene));
        assert_eq!(scene.recorder.get(Counter::WireRequestsIn), 0);
    }
}

#[test]
fn a_stranger_who_speaks_something_else_is_cut_off_and_told_nothing() {
    let endless = b"\x16\x03\x03\xff\xff".repeat(100_000);
    let cases: [(&str, &[u8]); 7] = [
        ("plain HTTP", b"GET /v1/hello HTTP/1.1\r\nhost: x\r\nspinney-from: 1\r\n\r\n"),
        ("a record of 64 KiB", b"\x16\x03\x01\xff\xff\x01\x00\xff\xfc\x03\x03"),
        ("a handshake of 16 MiB", b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03"),
        ("no end of it", &endless),
        ("zeros", &[0; 4096]),
        ("a greeting of the other kind", b"spinney\x01"),
        ("a greeting of another version", b"spinney\x02aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ];
    for fabric in [Fabric::Encrypted, Fabric::Trusted] {
        let scene = Scene::new(fabric);
        for (why, bytes) in cases {
            let mut stream = TcpStream::connect(scene.address).unwrap();
            // It may be closed while we write.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let said = read_to_end(&stream);
            assert!(said.len() < 128, "{why}: told {} bytes", said.len());
            assert!(!said.windows(JOB.len()).any(|part| part == JOB.as_bytes()), "{why}: told the job");
        }
        assert_eq!(scene.recorder.get(Counter::WireRequestsIn), 0);
        assert!(scene.connect_as(identity(fabric)).is_ok());
    }
}

#[test]
fn connections_that_prove_nothing_are_bounded_and_end() {
    let scene = Scene::new(Fabric::Encrypted);
    let began = Instant::now();
    let held: Vec<_> = (0..limits::UNPROVEN_MAX + 20)
        .map(|_| {
            let mut stream = TcpStream::connect(scene.address).unwrap();
            stream.write_all(b"\x16").unwrap();
            stream
        })
        .collect();
    // One with the key comes in although all places are taken.
    assert!(scene.connect_as(identity(Fabric::Encrypted)).is_ok());
    for stream in &held[..20] {
        assert!(read_to_end(stream).is_empty());
    }
    assert!(scene.recorder.get(Counter::LimitsHit) >= 20);
    for stream in &held[20..] {
        read_to_end(stream);
    }
    let took = began.elapsed();
    assert!(took < limits::PROOF_TIME_MAX * 4, "the last one ended after {took:?}");
}

#[test]
fn a_question_outside_the_views_or_for_another_node_reaches_no_source() {
    let scene = Scene::new(Fabric::Encrypted);
    let peer = scene.peer(Fabric::Encrypted);
    let path = FilePath::from_relative(ViewId::new(1), b"etc/shadow");
    let block = Question::Block {
        path: path.clone(),
        version: version(),
        index: BlockIndex(0),
        urgency: Urgency::Demand,
    };
    let outside = [
        Question::Entry { path: path.clone(), urgency: Urgency::Demand },
        Question::Listing { path, urgency: Urgency::Demand },
        Question::Usage(ViewId::new(65_535)),
        block,
    ];
    for question in outside {
        let answer = wait(peer.ask(question));
        assert!(matches!(answer, Err(AskError::Refused(Refusal::OutsideTheViews))), "{answer:?}");
    }
    for path in ["../etc", "lib/../..", "lib//a", "lib/.", "a\0b"] {
        let answer = wait(peer.ask(Question::Entry { path: at(path), urgency: Urgency::Demand }));
        assert!(matches!(answer, Err(AskError::Refused(Refusal::NotUnderstood))), "{path}: {answer:?}");
    }
    let long = "a/".repeat(limits::PATH_BYTES_MAX);
    let answer = wait(peer.ask(Question::Entry { path: at(&long), urgency: Urgency::Demand }));
    assert!(matches!(answer, Err(AskError::Refused(Refusal::TooLarge))), "{answer:?}");
    let record = vec![0; limits::RECORD_BYTES_MAX + 1];
    let answer = wait(peer.ask(Question::Record(record)));
    assert!(matches!(answer, Err(AskError::Refused(Refusal::TooLarge))), "{answer:?}");
    assert_eq!(scene.shelf.asked.load(Ordering::Relaxed), 0);

    let elsewhere = scene.carrier(identity(Fabric::Encrypted)).connect(NodeRank::new(5));
    let error = wait(elsewhere).err().expect("node 0 has the port").to_string();
    assert!(error.contains("node 0 of job `job 7` is there"), "{error}");
}

/// A node of the job that has gone wrong: it proves itself and then says `answers`, one per connection.
fn wrong_node(scene: &Scene, mut answers: Vec<Vec<u8>>) -> SocketAddr {
    let (sender, address) = mpsc::channel();
    scene.runtime.handle().spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        sender.send(listener.local_addr().unwrap()).unwrap();
        let mut held = Vec::new();
        while !answers.is_empty() {
            let stream = listener.accept().await.unwrap().0;
            let mut channel =
                channel::accept(stream, &identity(Fabric::Encrypted), Recorder::private()).await.unwrap();
            for said in answers.remove(0).split_inclusive(|byte| *byte == 0xfe) {
                let mut request = [0; 2048];
                let _ = channel.read(&mut request).await.unwrap();
                let said = said.strip_suffix(b"\xfe").unwrap_or(said);
                channel.write_all(said).await.unwrap();
                channel.flush().await.unwrap();
            }
            held.push(channel);
        }
        std::future::pending::<()>().await;
    });
    address.recv().unwrap()
}

fn http(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A hello and a heartbeat, as of node 0.
fn well_begun() -> Vec<u8> {
    let hello = codec::Hello { wire: wire_version(), job: JOB.to_owned(), rank: 0 };
    let beats = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n.\r\n";
    [&http("200 OK", &codec::encode_hello(&hello))[..], b"\xfe", beats].concat()
}

fn carrier_to(scene: &Scene, address: SocketAddr) -> HttpCarrier {
    let addresses: Addresses = Box::new(move |_| Ok(vec![address]));
    HttpCarrier::new(&scene.runtime, identity(Fabric::Encrypted), NodeRank::new(3), addresses, scene.recorder)
}

#[test]
fn another_wire_version_is_refused_with_a_line_that_names_both() {
    let scene = Scene::new(Fabric::Encrypted);
    let refusal = b"HTTP/1.1 404 Not Found\r\nspinney-wire: 2\r\ncontent-length: 0\r\n\r\n".to_vec();
    let hello = codec::Hello { wire: 2, job: JOB.to_owned(), rank: 0 };
    for answer in [refusal, http("200 OK", &codec::encode_hello(&hello))] {
        let address = wrong_node(&scene, vec![answer]);
        let error = wait(carrier_to(&scene, address).connect(NodeRank::new(0))).err().unwrap();
        assert_eq!(error.to_string(), "node 0 speaks wire version 2, this one 1; use one version of Spinney");
    }
}

#[test]
fn answers_that_cannot_be_used_are_never_storages_word() {
    let scene = Scene::new(Fabric::Encrypted);
    let entry = codec::encode_entry(&entry_of(b"lib/a"));
    let endless =
        [&b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20000\r\n"[..], &[7; 0x20000]].concat();
    let cases = [
        ("nothing", Vec::new()),
        ("no HTTP", b"220 mail\r\n".to_vec()),
        ("cut short", http("200 OK", &entry)[..50].to_vec()),
        ("an empty body", http("200 OK", b"")),
        ("half an entry", http("200 OK", &entry[..entry.len() - 1])),
        ("more than an entry", http("200 OK", &[&entry[..], b"x"].concat())),
        ("a body of 16 EiB", b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551614\r\n\r\n".to_vec()),
        ("more than the limit", endless),
        ("not found, by whom?", http("404 Not Found", b"")),
        ("a proxy's word", http("502 Bad Gateway", b"ENOENT")),
        ("no error at all", http("424 Failed Dependency", b"")),
        ("an errno that does not exist", http("424 Failed Dependency", &[1, 0xc0, 0x9a, 0x0c])),
        ("headers without end", [&b"HTTP/1.1 200 OK\r\n"[..], &b"a: b\r\n".repeat(100_000)].concat()),
    ];
    for (why, answer) in cases {
        let ends = answer.is_empty() || why == "cut short" || why.contains("16 EiB");
        let address = wrong_node(&scene, vec![well_begun(), answer]);
        let peer = wait(carrier_to(&scene, address).connect(NodeRank::new(0))).expect(why);
        let asking = peer.ask(Question::Entry { path: at("lib/a"), urgency: Urgency::Demand });
        if ends {
            // There is no deadline: it waits until whoever asked gives up.
            drop(asking);
            continue;
        }
        let error = wait(asking).expect_err(why);
        assert!(!matches!(error, AskError::Fetch(_)), "{why}: {error:?}");
    }
}

#[test]
fn a_block_with_wrong_bytes_is_not_handed_on() {
    let scene = Scene::new(Fabric::Encrypted);
    let good = Block::new(content(BlockIndex(3), FILE_BYTES));
    let frame = [&frames::head_of_block(&good)[..], &good].concat();
    let mut flipped = frame.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut huge = frame.clone();
    huge[4] = 0xff;
    let cases = [
        ("a bit that flipped", flipped),
        ("a length of 4 GiB", huge),
        ("a block too many", [&frame[..], &frame].concat()),
        ("a block too short", frames::head_of_block(&Block::new(vec![1])).to_vec()),
        ("half a head", frame[..9].to_vec()),
        ("nothing", Vec::new()),
    ];
    for (why, body) in cases {
        // 0xfe parts the answers of a connection; these bodies have none.
        assert!(!body.contains(&0xfe), "{why}");
        let address = wrong_node(&scene, vec![well_begun(), http("206 Partial Content", &body)]);
        let peer = wait(carrier_to(&scene, address).connect(NodeRank::new(0))).expect(why);
        let (path, version, index) = (at("lib/a"), version(), BlockIndex(3));
        let error = wait(peer.ask(Question::Block { path, version, index, urgency: Urgency::Demand }));
        assert!(matches!(error, Err(AskError::Corrupt)), "{why}: {error:?}");
    }
}

#[test]
fn a_changed_repeated_or_reflected_piece_ends_a_connection_on_a_trusted_fabric() {
    // Between both ends stands somebody who changes what passes; the first question's piece is number 3 of the
    // way there: after greeting and proof.
    type Change = fn(Vec<u8>) -> Vec<u8>;
    let cases: [(&str, Change); 3] = [
        ("changed", |mut piece| {
            piece[8] ^= 1;
            piece
        }),
        ("repeated", |piece| [&piece[..], &piece].concat()),
        ("cut", |piece| piece[..piece.len() - 1].to_vec()),
    ];
    for (why, change) in cases {
        let scene = Scene::new(Fabric::Trusted);
        let between = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, to) = (between.local_addr().unwrap(), scene.address);
        std::thread::spawn(move || {
            let (mut near, far) = (between.accept().unwrap().0, TcpStream::connect(to).unwrap());
            let (mut back, mut away) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || drop(io::copy(&mut back, &mut away)));
            let mut forth = &far;
            let mut shake = [0; 40 + 32];
            near.read_exact(&mut shake[..40]).unwrap();
            forth.write_all(&shake[..40]).unwrap();
            near.read_exact(&mut shake[40..]).unwrap();
            forth.write_all(&shake[40..]).unwrap();
            let mut piece = vec![0; 4096];
            let count = near.read(&mut piece).unwrap();
            piece.truncate(count);
            let _ = forth.write_all(&change(piece));
            let _ = far.shutdown(std::net::Shutdown::Write);
        });
        let addresses: Addresses = Box::new(move |_| Ok(vec![address]));
        let recorder = scene.recorder;
        let carrier = HttpCarrier::new(
            &scene.runtime,
            identity(Fabric::Trusted),
            NodeRank::new(3),
            addresses,
            recorder,
        );
        assert!(wait(carrier.connect(NodeRank::new(0))).is_err(), "{why}");
        // A repeated piece comes after a good one, and that one is answered.
        assert!(scene.recorder.get(Counter::WireRequestsIn) <= 1, "{why}");
    }
}

#[test]
fn a_head_that_is_too_large_ends_the_connection() {
    let scene = Scene::new(Fabric::Encrypted);
    let head = Asked { from: NodeRank::new(1), to: None, head: Head::Hello };
    let mut request = head.request(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let large = "x".repeat(8 * limits::SERVER_BUFFER_BYTES_MAX);
    request.headers_mut().insert(head::AHEAD, large.try_into().unwrap());
    let (sender, status) = mpsc::channel();
    let (address, recorder) = (scene.address, scene.recorder);
    scene.runtime.handle().spawn(async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let heard = channel::Heard::now();
        let channel = channel::connect(stream, &identity(Fabric::Encrypted), heard, recorder).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(channel);
        let (mut asking, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send(asking.send_request(request).await.map(|answer| answer.status().as_u16())).unwrap();
    });
    let status = status.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(!matches!(status, Ok(200..=299)), "{status:?}");
    assert_eq!(scene.shelf.asked.load(Ordering::Relaxed), 0);
}
