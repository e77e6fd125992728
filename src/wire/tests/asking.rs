//! Nodes of one job ask each other.

use super::*;

const BOTH: [Fabric; 2] = [Fabric::Encrypted, Fabric::Trusted];

fn entry(path: &str) -> Question {
    Question::Entry { path: at(path), urgency: Urgency::Demand }
}

fn blocks(first: u64, count: u32) -> BlockRange {
    let (path, version) = (at("lib/a"), version());
    BlockRange { path, version, first: BlockIndex(first), count, urgency: Urgency::Demand }
}

#[test]
fn every_question_is_answered_as_the_source_answers_it() {
    for fabric in BOTH {
        let scene = Scene::new(fabric);
        let peer = scene.peer(fabric);
        for path in ["lib/a", "lib/link", ""] {
            let Ok(Reply::Entry(entry)) = wait(peer.ask(entry(path))) else { panic!("no entry") };
            assert_eq!(*entry, entry_of(path.as_bytes()));
        }
        let question = Question::Listing { path: at("lib"), urgency: Urgency::Ahead };
        let Ok(Reply::Listing { listing, riding }) = wait(peer.ask(question)) else { panic!("no listing") };
        assert_eq!(listing, lib());
        assert_eq!(riding, [(at("lib/deep"), lib())]);
        for index in [0, 3, 4].map(BlockIndex) {
            let (path, version) = (at("lib/a"), version());
            let question = Question::Block { path, version, index, urgency: Urgency::Demand };
            let Ok(Reply::BlockAndFiles { block, .. }) = wait(peer.ask(question)) else { panic!("no block") };
            assert_eq!(block[..], content(index, FILE_BYTES)[..]);
        }
        let Ok(Reply::Usage(usage)) = wait(peer.ask(Question::Usage(ViewId::new(0)))) else {
            panic!("no usage")
        };
        assert_eq!((usage.blocks, usage.files_free), (9, 5));
        let record = vec![7; 300_000];
        assert!(matches!(wait(peer.ask(Question::Record(record.clone()))), Ok(Reply::Done)));
        assert_eq!(scene.records.recv().unwrap(), (NodeRank::new(3), record));
        let handed_on = |bytes: &[u8]| wait(peer.ask(Question::Recording(bytes.to_vec())));
        assert!(matches!(handed_on(b"whole"), Ok(Reply::Done)));
        assert!(matches!(handed_on(b"not now"), Err(AskError::Refused(Refusal::Busy))));
    }
}

#[test]
fn what_storage_said_comes_through_unchanged() {
    let scene = Scene::new(Fabric::Encrypted);
    let peer = scene.peer(Fabric::Encrypted);
    let errors = [
        FetchError::Absent { proven: true, as_of: AsOf::now(), origin: Origin::Parent },
        FetchError::Absent { proven: false, as_of: AsOf::now(), origin: Origin::Parent },
        FetchError::Storage { errno: libc::EIO },
        FetchError::Stale,
        FetchError::NotListed { errno: None },
        FetchError::NotListed { errno: Some(libc::EACCES) },
        FetchError::Full,
    ];
    for error in errors {
        scene.shelf.errors.lock().unwrap().insert(b"lib/a".to_vec(), error.clone());
        let path = at("lib/a");
        let block =
            Question::Block { path, version: version(), index: BlockIndex(0), urgency: Urgency::Demand };
        for question in [entry("lib/a"), block] {
            let Err(AskError::Fetch(told)) = wait(peer.ask(question)) else { panic!("{error:?}") };
            assert_eq!(format!("{told:?}"), format!("{error:?}"));
        }
    }
}

#[test]
fn blocks_arrive_in_order_and_an_error_comes_after_those_before_it() {
    for fabric in BOTH {
        let scene = Scene::new(fabric);
        let peer = scene.peer(fabric);
        let take = |first, count| {
            let mut stream = peer.ask_blocks(blocks(first, count));
            wait(async move {
                let mut taken = Vec::new();
                while let Some(block) = stream.next().await {
                    taken.push(block.map(|block| block.to_vec()).map_err(|error| error.to_string()));
                }
                taken
            })
        };
        let good = |index| Ok(content(BlockIndex(index), FILE_BYTES));
        assert_eq!(take(0, 5), [good(0), good(1), good(2), good(3), Ok(Vec::new())]);
        *scene.shelf.bad_block.lock().unwrap() = Some(2);
        let error = FetchError::Storage { errno: libc::EIO }.to_string();
        assert_eq!(take(1, 3), [good(1), Err(error)]);
        assert_eq!(take(0, 65), [Err(AskError::Refused(Refusal::TooLarge).to_string())]);
    }
}

#[test]
fn connections_are_kept_and_used_again() {
    let scene = Scene::new(Fabric::Encrypted);
    let peer = scene.peer(Fabric::Encrypted);
    for _ in 0..100 {
        wait(peer.ask(entry("lib/a"))).unwrap();
        wait(peer.ask(Question::Usage(ViewId::new(0)))).unwrap();
    }
    assert_eq!(scene.server.as_ref().unwrap().connections(), 2, "one for questions, one for the heartbeat");
    assert_eq!(scene.recorder.get(Counter::WireRequestsOut), 200);
}

#[test]
fn a_slow_storage_is_heard_of_each_second_and_other_questions_pass() {
    let scene = Scene::new(Fabric::Encrypted);
    let peer = scene.peer(Fabric::Encrypted);
    scene.shelf.hangs.store(true, Ordering::Relaxed);
    let mut hanging = Vec::new();
    for _ in 0..4 {
        hanging.push(peer.ask(entry("lib/a")));
    }
    until("asked", || scene.shelf.asked.load(Ordering::Relaxed) == 4);
    scene.shelf.hangs.store(false, Ordering::Relaxed);
    wait(peer.ask(entry("lib/link"))).unwrap();
    let before = peer.last_heard();
    until("a heartbeat", || peer.last_heard() > before);
    assert!(!peer.is_lost());
}

#[test]
fn a_peer_that_ends_is_lost_to_whoever_waits_for_it() {
    let mut scene = Scene::new(Fabric::Encrypted);
    let peer = scene.peer(Fabric::Encrypted);
    scene.shelf.hangs.store(true, Ordering::Relaxed);
    let waiting = peer.ask(entry("lib/a"));
    until("asked", || scene.shelf.asked.load(Ordering::Relaxed) == 1);
    drop(scene.server.take());
    assert!(matches!(wait(waiting), Err(AskError::Lost)));
    until("lost", || peer.is_lost());
    assert!(matches!(wait(peer.ask(entry("lib/a"))), Err(AskError::Lost)));
    let again = scene.connect_as(identity(Fabric::Encrypted));
    assert!(matches!(again, Err(ConnectError::NobodyThere { .. })), "its machine says so");
}

#[test]
fn a_question_that_nobody_waits_for_ends_at_the_other_end_too() {
    let scene = Scene::new(Fabric::Encrypted);
    let peer = scene.peer(Fabric::Encrypted);
    scene.shelf.hangs.store(true, Ordering::Relaxed);
    let waiting = peer.ask(entry("lib/a"));
    until("asked", || scene.shelf.asked.load(Ordering::Relaxed) == 1);
    drop(waiting);
    until("the connection ends", || scene.server.as_ref().unwrap().connections() == 1);
}

#[test]
fn more_questions_than_connections_wait_their_turn() {
    let scene = Scene::new(Fabric::Encrypted);
    let peer = scene.peer(Fabric::Encrypted);
    let asked: Vec<_> = (0..200).map(|_| peer.ask(entry("lib/a"))).collect();
    for answer in asked {
        wait(answer).unwrap();
    }
    assert!(scene.server.as_ref().unwrap().connections() <= 1 + limits::CONNECTIONS_PER_PEER_MAX);
    assert!(scene.recorder.get(Counter::LimitsHit) > 0, "it is counted");
}

#[test]
fn a_child_that_does_not_read_holds_no_more_than_its_share_and_only_waits_itself() {
    let scene = Scene::new(Fabric::Encrypted);
    let slow = scene.peer(Fabric::Encrypted);
    let large = Version { size: 1 << 40, ..version() };
    let range = BlockRange { version: large, ..blocks(0, 64) };
    let unread: Vec<_> = (0..16).map(|_| slow.ask_blocks(range.clone())).collect();
    let shelf = scene.shelf.clone();
    let before = AtomicUsize::new(usize::MAX);
    until("it stops sending", || {
        std::thread::sleep(Duration::from_millis(100));
        let asked = shelf.asked.load(Ordering::Relaxed);
        before.swap(asked, Ordering::Relaxed) == asked && asked > 0
    });
    // What 16 connections hold in all their buffers is far less than the 1,024 blocks that were asked for.
    assert!(shelf.asked.load(Ordering::Relaxed) < 900, "{:?}", shelf.asked);
    let other = scene.connect_as(identity(Fabric::Encrypted)).unwrap();
    wait(other.ask(entry("lib/a"))).unwrap();
    drop(unread);
}

#[test]
fn the_memory_carrier_answers_as_the_wire_does() {
    let carrier = MemoryCarrier::default();
    let rank = NodeRank::new(0);
    carrier.serve(rank, 1, Arc::<Shelf>::default());
    let peer = wait(carrier.connect(rank)).unwrap();
    let question = Question::Listing { path: at("lib"), urgency: Urgency::Ahead };
    let Ok(Reply::Listing { listing, riding }) = wait(peer.ask(question)) else { panic!("no listing") };
    assert_eq!((listing, riding.len()), (lib(), 1));
    let outside = Question::Usage(ViewId::new(1));
    assert!(matches!(wait(peer.ask(outside)), Err(AskError::Refused(Refusal::OutsideTheViews))));
    carrier.corrupt(rank);
    assert!(matches!(wait(peer.ask(entry("lib/a"))), Err(AskError::Corrupt)));
    carrier.silence(rank);
    let waiting = peer.ask(entry("lib/a"));
    carrier.kill(rank);
    assert!(matches!(wait(waiting), Err(AskError::Lost)) && peer.is_lost());
}
