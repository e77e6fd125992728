//! What one node decides, event by event.

use proptest::prelude::*;

use super::*;

const SHARD: fn() -> Shard = || Shard::new(0);

/// A job of one shard with four children a node: rank and place differ, so nodes are named by place.
struct Node {
    shape: Shape,
    upstream: Upstream,
    now: Duration,
    connecting: Vec<u32>,
    /// Places of nodes whose machines refuse this one: nobody is there, or somebody who will not have it.
    refusing: Vec<u32>,
}

impl Node {
    fn new(n_nodes: u32, place: u32) -> Self {
        let shape = Shape::chosen(n_nodes, Some(1), Some(4));
        let upstream = Upstream::new(shape, shape.at(SHARD(), place), 7, Duration::ZERO, Duration::ZERO);
        Node { shape, upstream, now: Duration::ZERO, connecting: Vec::new(), refusing: Vec::new() }
    }

    fn on(&mut self, event: fn(NodeRank) -> Event, place: u32) {
        self.upstream.on(event(self.shape.at(SHARD(), place)), self.now);
    }

    /// Lets time pass; connections to the places of `alive` succeed at once, others are refused or fail without an answer.
    fn run(&mut self, millis: u64, alive: &[u32]) {
        let end = self.now + Duration::from_millis(millis);
        loop {
            for action in self.upstream.actions().collect::<Vec<_>>() {
                let Action::Connect(rank) = action else { continue };
                let place = self.shape.place(SHARD(), rank);
                self.connecting.push(place);
                let event = match () {
                    () if alive.contains(&place) => Event::Connected,
                    () if self.refusing.contains(&place) => Event::Refused,
                    () => Event::ConnectFailed,
                };
                self.upstream.on(event(rank), self.now);
            }
            if self.upstream.due() > end {
                break;
            }
            self.now = self.now.max(self.upstream.due());
            for place in alive {
                self.on(Event::Heard, *place);
            }
            self.upstream.on(Event::Tick, self.now);
        }
        self.now = end;
    }

    /// Whom it asks, by place.
    fn asks(&self) -> Option<u32> {
        match self.upstream.route(SHARD()) {
            Route::Ask(rank) => Some(self.shape.place(SHARD(), rank)),
            _ => None,
        }
    }

    fn asks_storage(&self) -> bool {
        self.upstream.route(SHARD()) == Route::Storage
    }
}

#[test]
fn the_root_asks_storage_and_nobody_else() {
    let mut root = Node::new(100, 0);
    root.run(60_000, &[1, 2, 3]);
    assert!(root.asks_storage());
    assert!(root.connecting.is_empty());
}

#[test]
fn a_node_asks_its_parent_and_leaves_the_other_ancestors_alone() {
    let mut node = Node::new(1_000, 100); // its ancestors: 24, 5, 1, 0
    node.run(1_000, &[24, 5, 1, 0]);
    assert_eq!(node.asks(), Some(24));
    assert_eq!(node.connecting, [24]);
}

#[test]
fn a_parent_that_starts_late_is_not_lost() {
    let mut node = Node::new(1_000, 100);
    node.run(3_000, &[0]); // only the root is there
    assert_eq!(node.asks(), Some(0));
    node.run(500, &[24, 0]);
    assert_eq!(node.asks(), Some(24), "the parent is found within its pause");
}

#[test]
fn nobody_stands_in_for_a_root_that_gives_no_answer_within_the_grace() {
    let mut first = Node::new(100, 1);
    first.run(9_900, &[]);
    assert!(!first.asks_storage());
    first.run(200, &[]);
    assert!(first.asks_storage(), "place 1 has nobody below it to look for");
    first.run(6_000, &[0]);
    assert_eq!(first.asks(), Some(0), "the root is preferred once it is there");
}

#[test]
fn a_node_that_starts_when_nobody_is_there_any_more_waits_a_moment() {
    for (n_nodes, place, within) in [(4, 1, 1_100), (8, 7, 2_000), (64, 63, 4_000), (1_000, 900, 7_000)] {
        let mut node = Node::new(n_nodes, place);
        node.refusing = (0..n_nodes).collect();
        node.run(900, &[]);
        assert!(!node.asks_storage(), "others may start a moment later");
        node.run(within - 900, &[]);
        assert!(node.asks_storage(), "place {place} of {n_nodes}, after {within} ms");
        node.refusing.clear();
        node.run(3_000, &[0]);
        assert_eq!(node.asks(), Some(0), "and asks the root once it is there");
    }
}

#[test]
fn a_node_that_all_refuse_waits_for_none_of_them() {
    let mut node = Node::new(1_000, 100); // its ancestors: 24, 5, 1, 0
    node.refusing = (0..1_000).filter(|place| *place != 5).collect();
    node.run(9_900, &[]);
    assert!(!node.asks_storage(), "one above it may still come");
    node.run(1_000, &[5]);
    assert_eq!(node.asks(), Some(5));

    let mut node = Node::new(1_000, 100);
    node.refusing = (0..1_000).collect();
    node.run(8_000, &[]);
    assert!(node.asks_storage(), "whoever is there has refused it");

    let mut node = Node::new(1_000, 100);
    node.refusing = (0..1_000).filter(|place| *place != 17).collect(); // one that stands in has its version
    node.run(8_000, &[17]);
    assert_eq!(node.asks(), Some(17));
}

#[test]
fn one_who_stands_in_asks_the_lowest_who_does() {
    let mut second = Node::new(100, 2);
    second.run(15_000, &[1]);
    assert_eq!(second.asks(), Some(1));
    let mut alone = Node::new(100, 2);
    alone.run(15_000, &[]);
    assert!(alone.asks_storage());
}

#[test]
fn only_few_may_ask_storage_while_one_of_them_is_there() {
    let mut node = Node::new(1_000, 200);
    node.run(20_000, &[32]);
    assert_eq!(node.asks(), Some(32));
    node.on(Event::Lost, 32);
    node.run(1_000, &[]);
    assert!(!node.asks_storage());
    node.run(10_000, &[]);
    assert!(node.asks_storage(), "who reaches nobody at all may in the end");
}

#[test]
fn a_lost_parent_is_replaced_by_the_next_ancestor_at_once() {
    let mut node = Node::new(1_000, 100);
    node.run(1_000, &[24]);
    node.on(Event::Lost, 24);
    node.run(0, &[5]);
    assert_eq!(node.asks(), Some(5));
    node.run(6_000, &[5, 24]);
    assert_eq!(node.asks(), Some(24), "and taken back");
}

#[test]
fn only_silence_moves_a_node() {
    let mut node = Node::new(1_000, 100);
    node.run(600_000, &[24, 5]); // heartbeats come for ten minutes
    assert_eq!(node.asks(), Some(24));
    node.run(2_000, &[5]); // none for less than the limit
    assert_eq!(node.asks(), Some(24));
    node.run(1_500, &[5]);
    assert_eq!(node.asks(), Some(5));
}

#[test]
fn a_peer_that_was_silent_has_to_be_heard_before_it_is_asked_again() {
    let mut node = Node::new(1_000, 100);
    node.run(1_000, &[24]);
    node.run(3_100, &[5]);
    let tried = node.connecting.len();
    let mut asked = false;
    for _ in 0..300 {
        node.run(100, &[5]);
        // It accepts the connection, and says nothing.
        let parent = node.shape.at(SHARD(), 24);
        node.upstream.on(Event::Connected(parent), node.now);
        asked |= node.asks() == Some(24);
    }
    assert!(!asked && node.connecting.len() > tried);
    node.run(15_000, &[24, 5]);
    assert_eq!(node.asks(), Some(24));
}

#[test]
fn a_peer_that_sent_wrong_bytes_is_avoided() {
    let mut node = Node::new(1_000, 100);
    node.run(1_000, &[24]);
    node.on(Event::Corrupt, 24);
    for _ in 0..590 {
        node.run(100, &[24, 5]);
        assert_eq!(node.asks(), Some(5));
    }
    node.run(2_000, &[24, 5]);
    assert_eq!(node.asks(), Some(24), "it gets another chance");
}

#[test]
fn a_root_that_nobody_reaches_is_tried_rarely_by_those_far_below() {
    let mut node = Node::new(NODES, 90_000);
    node.run(10_000, &[]);
    let tries = |place| node.connecting.iter().filter(|is| **is == place).count();
    assert!((20..100).contains(&tries((90_000 - 1) / 4)), "{}", tries((90_000 - 1) / 4));
    assert!(tries(0) <= 10, "{}", tries(0));
}

#[test]
fn a_daemon_in_the_place_of_a_dead_one_waits_no_longer_than_for_nodes_that_were_lost() {
    let shape = Shape::chosen(4, Some(1), Some(1));
    for (age, storage_by) in [(0, 12_500), (4_000, 8_500), (60_000, 3_500)] {
        let own = shape.at(SHARD(), 1);
        let mut upstream = Upstream::new(shape, own, 7, Duration::ZERO, Duration::from_millis(age));
        let mut now = Duration::ZERO;
        while upstream.route(SHARD()) != Route::Storage {
            now = upstream.due().max(now + Duration::from_millis(1));
            upstream.actions().for_each(drop);
            upstream.on(Event::ConnectFailed(shape.at(SHARD(), 0)), now);
            upstream.on(Event::Tick, now);
        }
        assert!(now <= Duration::from_millis(storage_by), "after {age} ms it took {now:?}");
        assert!(now >= GRACE_LOST, "after {age} ms it took {now:?}");
    }
}

const NODES: u32 = 100_000;

proptest! {
    #[test]
    fn whoever_is_asked_has_a_lower_place(
        n_nodes in 1u32..5_000, shards in 1u16..=32, fan_out in 1u16..9, rank: u32, seed: u64,
        events in proptest::collection::vec((0usize..7, 0usize..40, 0u64..4_000), 0..60),
    ) {
        let shape = Shape::chosen(n_nodes, Some(shards), Some(fan_out));
        let own = NodeRank::new(rank % n_nodes);
        let mut upstream = Upstream::new(shape, own, seed, Duration::ZERO, Duration::ZERO);
        let (mut now, mut known) = (Duration::ZERO, Vec::new());
        for (kind, who, millis) in events {
            known.extend(upstream.actions().filter_map(|action| match action {
                Action::Connect(rank) => Some(rank),
                _ => None,
            }));
            now += Duration::from_millis(millis);
            let makers = [
                Event::Connected,
                Event::ConnectFailed,
                Event::Refused,
                Event::Heard,
                Event::Lost,
                Event::Corrupt,
            ];
            let event = match (makers.get(kind), known.len()) {
                (Some(make), 1..) => make(known[known.len() - 1 - who % known.len()]),
                _ => Event::Tick,
            };
            upstream.on(event, now);
            for shard in shape.shards() {
                if let Route::Ask(peer) = upstream.route(shard) {
                    prop_assert!(shape.place(shard, peer) < shape.place(shard, own));
                }
            }
        }
    }
}
