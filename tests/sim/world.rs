//! A whole job in virtual time: nodes with the real state machine, links, storage with one queue.
//!
//! A node here does what the product's driver does: it keeps what it got, asks for each thing once at a time, and asks
//! again along the route when the one it asked is dropped. Heartbeats are not events: when a node's tick is due it is
//! told when each of its peers was last able to send one.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use spinney::cluster::NodeRank;
use spinney::tree::{Action, Event, Route, Shard, Upstream};

use crate::random::Random;
use crate::scenario::{Fault, MILLI, Micros, NEVER, SECOND, Scenario};

/// A connection from a child to a peer, numbered over the whole run; one that is gone is never used again.
type Connection = u64;

#[derive(Debug, Clone, Copy)]
enum What {
    Start { node: u32 },
    Want { node: u32, thing: u8 },
    Tick { node: u32, life: u32, due: Micros },
    Connected { node: u32, life: u32, peer: u32, connection: Connection },
    Refused { node: u32, life: u32, peer: u32, connection: Connection },
    Ask { from: u32, to: u32, connection: Connection, thing: u8 },
    Reply { to: u32, from: u32, connection: Connection, thing: u8, right: bool },
    Reset { node: u32, peer: u32, connection: Connection },
    Stored { node: u32, life: u32, thing: u8 },
    GoOn { node: u32 },
    Fault { number: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    None,
    Peer(u32),
    Storage,
}

/// What a node knows and wants of one thing.
struct Thing {
    /// `NEVER` if not yet. It stays through restarts, as the kernel's questions do.
    wanted: Micros,
    got: bool,
    flight: Flight,
    waiting: Vec<(u32, Connection)>,
}

struct Node {
    upstream: Option<Upstream>,
    life: u32,
    /// It hangs until then.
    hangs_until: Micros,
    /// The last moment it could send a heartbeat, if it cannot now.
    stopped: Micros,
    started: Micros,
    /// When it started first.
    founded: Option<Micros>,
    /// Its clock: what it showed at its start, and how many of its microseconds pass in a million.
    offset: Micros,
    rate: Micros,
    /// When the earliest tick on its way is due.
    tick: Micros,
    /// Being made; one that is given up is never made.
    trying: Vec<(u32, Connection)>,
    up: Vec<(u32, Connection)>,
    down: Vec<(u32, Connection)>,
    things: Vec<Thing>,
    gone: bool,
}

struct Cut {
    from: u32,
    to: u32,
    since: Micros,
    until: Micros,
}

pub struct World<'a> {
    scenario: &'a Scenario,
    seed: u64,
    random: Random,
    now: Micros,
    events: BinaryHeap<Reverse<(Micros, u64, Sorted)>>,
    n_events: u64,
    connections: u64,
    nodes: Vec<Node>,
    shards: Vec<Shard>,
    cuts: Vec<Cut>,
    storage_free: Micros,
    /// Things that live nodes lack, now or later.
    lacking: u64,
    faults_left: usize,
    pub outcome: Outcome,
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    /// How often storage was asked, by thing.
    pub asked: Vec<u64>,
    /// Nodes that asked storage and are no root.
    pub stand_ins: BTreeSet<u32>,
    /// From when nothing went wrong any more, and the thing was wanted, to when a node had it; the longest.
    pub stall: Micros,
    pub events: u64,
    pub wrong_bytes: u64,
    /// Every live node had every thing before the end of time.
    pub complete: bool,
}

impl Outcome {
    pub fn summary(&self) -> String {
        let Outcome { asked, stand_ins, stall, events, wrong_bytes, .. } = self;
        let stall = stall / MILLI;
        format!(
            "storage asked {asked:?} times, {} stand-ins, waited {stall} ms, {wrong_bytes} wrong, {events} events",
            stand_ins.len()
        )
    }
}

/// Events at the same time are ordered by their number, never by what they are.
struct Sorted(What);

impl PartialEq for Sorted {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Sorted {}
impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Sorted {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// No run takes longer than this.
const END: Micros = 600 * SECOND;

impl<'a> World<'a> {
    pub fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let n_nodes = scenario.shape.n_nodes();
        let nodes = (0..n_nodes).map(|_| Node::new(scenario.things, &mut random)).collect();
        let shards: Vec<Shard> = scenario.shape.shards().collect();
        let mut world = World {
            scenario,
            seed,
            now: 0,
            events: BinaryHeap::new(),
            n_events: 0,
            connections: 0,
            nodes,
            cuts: Vec::new(),
            storage_free: 0,
            lacking: u64::from(n_nodes) * scenario.things as u64,
            faults_left: scenario.faults.len(),
            outcome: Outcome { asked: vec![0; scenario.things], ..Outcome::default() },
            shards: (0..scenario.things)
                .map(|_| shards[random.below(shards.len() as u64) as usize])
                .collect(),
            random,
        };
        for (number, (at, _)) in scenario.faults.iter().enumerate() {
            world.at(*at, What::Fault { number });
        }
        for node in 0..n_nodes {
            let start = scenario.starts[node as usize];
            world.at(start, What::Start { node });
            for thing in 0..scenario.things as u8 {
                let want = start + world.random.below(3 * SECOND);
                world.at(want, What::Want { node, thing });
            }
        }
        world
    }

    /// Runs until every live node has everything and nothing more can go wrong.
    pub fn run(mut self) -> Outcome {
        while self.lacking > 0 || self.faults_left > 0 {
            let Some(Reverse((at, _, Sorted(what)))) = self.events.pop() else { break };
            if at > END {
                break;
            }
            self.now = at;
            self.outcome.events += 1;
            self.happen(what);
        }
        self.outcome.complete = self.lacking == 0;
        self.outcome
    }

    fn happen(&mut self, what: What) {
        if self.put_off(what) {
            return;
        }
        match what {
            What::Start { node } => self.start(node),
            What::Want { node, thing } => {
                self.nodes[node as usize].things[usize::from(thing)].wanted = self.now;
                self.pursue(node, thing);
            }
            What::Tick { node, life, due } if self.lives(node, life) => self.tick(node, due),
            What::Connected { node, life, peer, connection } if self.tries(node, life, peer, connection) => {
                self.nodes[node as usize].up.push((peer, connection));
                self.tell(node, Event::Connected(NodeRank::new(peer)));
            }
            What::Refused { node, life, peer, connection } if self.tries(node, life, peer, connection) => {
                self.tell(node, Event::Refused(NodeRank::new(peer)));
            }
            What::Ask { from, to, connection, thing } => self.asked(from, to, connection, thing),
            What::Reply { to, from, connection, thing, right } => {
                self.answered(to, from, connection, thing, right);
            }
            What::Reset { node, peer, connection } if self.connected(node, peer, connection) => {
                self.let_go(node, peer);
                self.tell(node, Event::Lost(NodeRank::new(peer)));
            }
            What::Stored { node, life, thing } if self.lives(node, life) => self.got(node, thing),
            What::GoOn { node } => {
                let this = &mut self.nodes[node as usize];
                if this.upstream.is_some() && this.hangs_until <= self.now {
                    this.stopped = NEVER;
                }
            }
            What::Fault { number } => self.fault(self.scenario.faults[number].1),
            _ => {} // for a life or a connection that is over
        }
    }

    /// What a hanging node would do happens when it goes on; what is sent over a cut link arrives when it is mended.
    fn put_off(&mut self, what: What) -> bool {
        let (node, far) = match what {
            What::Tick { node, .. } | What::Stored { node, .. } | What::Want { node, .. } => (node, node),
            What::Connected { node, peer, .. } | What::Refused { node, peer, .. } => (node, peer),
            What::Reset { node, peer, .. } => (node, peer),
            What::Ask { to, from, .. } | What::Reply { to, from, .. } => (to, from),
            What::Start { .. } | What::GoOn { .. } | What::Fault { .. } => {
                return false;
            }
        };
        let until = self.nodes[node as usize].hangs_until.max(self.cut(node, far).unwrap_or(0));
        if until > self.now {
            let late = self.random.below(MILLI);
            self.at(until + late, what);
        }
        until > self.now
    }

    fn start(&mut self, node: u32) {
        let own = NodeRank::new(node);
        let this = &mut self.nodes[node as usize];
        if this.upstream.is_some() || this.gone {
            return;
        }
        (this.started, this.stopped, this.tick) = (self.now, NEVER, NEVER);
        let clock = this.clock(self.now);
        let age = self.now - *this.founded.get_or_insert(self.now);
        let age = Duration::from_micros(age);
        this.upstream = Some(Upstream::new(self.scenario.shape, own, self.seed, clock, age));
        self.act(node);
        (0..self.scenario.things as u8).for_each(|thing| self.pursue(node, thing));
    }

    fn tick(&mut self, node: u32, due: Micros) {
        if self.nodes[node as usize].tick != due {
            return; // an earlier one has come in its place
        }
        self.nodes[node as usize].tick = NEVER;
        for number in 0..self.nodes[node as usize].up.len() {
            let (peer, connection) = self.nodes[node as usize].up[number];
            let far = &self.nodes[peer as usize];
            let open = far.down.contains(&(node, connection));
            let mut heard = if open { far.stopped.min(self.now) } else { 0 };
            for cut in &self.cuts {
                if self.now < cut.until && cut.parts(node, peer) {
                    heard = heard.min(cut.since);
                }
            }
            let this = &mut self.nodes[node as usize];
            let at = this.clock(heard.max(this.started));
            this.upstream.as_mut().unwrap().on(Event::Heard(NodeRank::new(peer)), at);
        }
        self.tell(node, Event::Tick);
    }

    /// A node tries to connect. Whether it succeeds is decided now, and known when the messages have gone their way.
    fn connect(&mut self, from: u32, to: u32) {
        self.connections += 1;
        let connection = self.connections;
        let this = &mut self.nodes[from as usize];
        this.trying.push((to, connection));
        let life = this.life;
        let far = &self.nodes[to as usize];
        // A machine that is there refuses; one that is gone does not answer.
        let answers = far.upstream.is_some() || !far.gone || !to.is_multiple_of(2);
        if !answers || far.hangs_until > self.now || self.cut(from, to).is_some() {
            return;
        }
        let strange = self.strange(from, to);
        let far = &mut self.nodes[to as usize];
        if far.upstream.is_none() || strange {
            let at = self.now + self.latency() * 2;
            return self.at(at, What::Refused { node: from, life, peer: to, connection });
        }
        far.down.push((from, connection));
        let at = self.now + self.latency() * 4;
        self.at(at, What::Connected { node: from, life, peer: to, connection });
    }

    fn strange(&self, one: u32, other: u32) -> bool {
        self.scenario.keys[one as usize] != self.scenario.keys[other as usize]
    }

    /// A child asks.
    fn asked(&mut self, from: u32, to: u32, connection: Connection, thing: u8) {
        let this = &mut self.nodes[to as usize];
        if this.upstream.is_none() || !this.down.contains(&(from, connection)) {
            return;
        }
        if this.things[usize::from(thing)].got {
            return self.reply(to, from, connection, thing);
        }
        this.things[usize::from(thing)].waiting.push((from, connection));
        self.pursue(to, thing);
    }

    fn reply(&mut self, from: u32, to: u32, connection: Connection, thing: u8) {
        let right = !self.scenario.corrupts[from as usize];
        let at = self.now + self.latency();
        self.at(at, What::Reply { to, from, connection, thing, right });
    }

    fn answered(&mut self, node: u32, peer: u32, connection: Connection, thing: u8, right: bool) {
        if !self.connected(node, peer, connection) {
            return;
        }
        if right {
            return self.got(node, thing);
        }
        self.outcome.wrong_bytes += 1;
        self.tell(node, Event::Corrupt(NodeRank::new(peer)));
    }

    fn got(&mut self, node: u32, thing: u8) {
        let this = &mut self.nodes[node as usize].things[usize::from(thing)];
        this.flight = Flight::None;
        if this.got {
            return;
        }
        this.got = true;
        self.lacking -= 1;
        let waiting = std::mem::take(&mut this.waiting);
        let wanted = this.wanted;
        let since = self.scenario.calm_from.max(self.nodes[node as usize].started).max(wanted);
        self.outcome.stall = self.outcome.stall.max(self.now.saturating_sub(since));
        for (child, connection) in waiting {
            self.reply(node, child, connection, thing);
        }
    }

    /// Asks for the thing if somebody wants it, it is not here and it was not asked for.
    fn pursue(&mut self, node: u32, thing: u8) {
        let this = &mut self.nodes[node as usize];
        let (Some(upstream), state) = (&this.upstream, &mut this.things[usize::from(thing)]) else { return };
        let needed = state.wanted != NEVER || !state.waiting.is_empty();
        if !needed || state.got || state.flight != Flight::None {
            return;
        }
        match upstream.route(self.shards[usize::from(thing)]) {
            Route::Wait { .. } => {}
            Route::Storage => {
                state.flight = Flight::Storage;
                let life = this.life;
                self.ask_storage(node, life, thing);
            }
            Route::Ask(peer) => {
                let peer = peer.get();
                state.flight = Flight::Peer(peer);
                let connection = this.up.iter().find(|(rank, _)| *rank == peer);
                let connection = connection.expect("whoever may be asked is connected").1;
                let at = self.now + self.latency();
                self.at(at, What::Ask { from: node, to: peer, connection, thing });
            }
        }
    }

    fn ask_storage(&mut self, node: u32, life: u32, thing: u8) {
        let needs = self.scenario.storage_micros[usize::from(thing)];
        // A thing that takes long does not hold up the queue: it is one file server that is slow.
        let at = if needs >= SECOND { self.now } else { self.storage_free.max(self.now) } + needs;
        if needs < SECOND {
            self.storage_free = at;
        }
        self.outcome.asked[usize::from(thing)] += 1;
        if NodeRank::new(node) != self.scenario.shape.root(self.shards[usize::from(thing)]) {
            self.outcome.stand_ins.insert(node);
        }
        self.at(at, What::Stored { node, life, thing });
    }

    /// Tells the machine of a node what happened, and does what it says.
    fn tell(&mut self, node: u32, event: Event) {
        let this = &mut self.nodes[node as usize];
        let clock = this.clock(self.now);
        this.upstream.as_mut().expect("the node lives").on(event, clock);
        self.act(node);
        // Who was asked may be gone, or there may be somebody to ask now.
        (0..self.scenario.things as u8).for_each(|thing| self.pursue(node, thing));
    }

    fn act(&mut self, node: u32) {
        let this = &mut self.nodes[node as usize];
        let upstream = this.upstream.as_mut().expect("the node lives");
        for action in upstream.actions() {
            match action {
                Action::Connect(peer) => self.connect(node, peer.get()),
                Action::Drop(peer) => self.let_go(node, peer.get()),
                Action::Moved(_) => {} // `tell` pursues everything
            }
        }
        self.plan_tick(node);
    }

    /// Sees to it that a tick comes when the machine wants one. One that is on its way earlier will do.
    fn plan_tick(&mut self, node: u32) {
        let this = &mut self.nodes[node as usize];
        let due = this.upstream.as_ref().expect("the node lives").due();
        let at = this.when(due).max(self.now + 1);
        if due != Duration::MAX && at < this.tick {
            this.tick = at;
            let life = this.life;
            self.at(at, What::Tick { node, life, due: at });
        }
    }

    /// The connection to `peer` is over; what it was asked is not on its way any more.
    fn let_go(&mut self, node: u32, peer: u32) {
        let this = &mut self.nodes[node as usize];
        this.up.retain(|(rank, _)| *rank != peer);
        this.trying.retain(|(rank, _)| *rank != peer);
        for thing in &mut this.things {
            if thing.flight == Flight::Peer(peer) {
                thing.flight = Flight::None;
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.faults_left -= 1;
        match fault {
            Fault::Kill { node, back, quietly } => self.kill(node, back, quietly),
            Fault::Hang { node, until } => {
                let this = &mut self.nodes[node as usize];
                this.hangs_until = until.max(this.hangs_until);
                this.stopped = this.stopped.min(self.now);
                self.at(until, What::GoOn { node });
            }
            Fault::Cut { from, to, until } => self.cuts.push(Cut { from, to, since: self.now, until }),
        }
    }

    fn kill(&mut self, node: u32, back: Micros, quietly: bool) {
        let this = &mut self.nodes[node as usize];
        if this.gone {
            return;
        }
        this.life += 1;
        this.gone = back == NEVER;
        this.upstream = None;
        this.hangs_until = 0;
        this.stopped = this.stopped.min(self.now);
        this.up.clear();
        this.trying.clear();
        let had = this.things.iter().filter(|thing| thing.got).count() as u64;
        self.lacking += had;
        for thing in &mut this.things {
            (thing.got, thing.flight) = (false, Flight::None);
            thing.waiting.clear();
        }
        if this.gone {
            self.lacking -= this.things.len() as u64;
        } else {
            self.at(back, What::Start { node });
        }
        for (child, connection) in std::mem::take(&mut self.nodes[node as usize].down) {
            if !quietly {
                let at = self.now + self.latency();
                self.at(at, What::Reset { node: child, peer: node, connection });
            }
        }
    }

    fn lives(&self, node: u32, life: u32) -> bool {
        self.nodes[node as usize].life == life && self.nodes[node as usize].upstream.is_some()
    }

    /// Whether the node was still waiting for this connection, which it is not any more.
    fn tries(&mut self, node: u32, life: u32, peer: u32, connection: Connection) -> bool {
        let lives = self.lives(node, life);
        let trying = &mut self.nodes[node as usize].trying;
        let before = trying.len();
        trying.retain(|this| *this != (peer, connection));
        lives && trying.len() < before
    }

    fn connected(&self, node: u32, peer: u32, connection: Connection) -> bool {
        self.nodes[node as usize].up.contains(&(peer, connection))
    }

    /// When two nodes that are cut off from each other will not be any more.
    fn cut(&self, one: u32, other: u32) -> Option<Micros> {
        let now = self.now;
        self.cuts.iter().filter(|cut| now < cut.until && cut.parts(one, other)).map(|cut| cut.until).max()
    }

    fn latency(&mut self) -> Micros {
        let slow = if self.random.one_in(100) { 5 * MILLI } else { 0 };
        self.random.between(20, 300) + slow
    }

    fn at(&mut self, at: Micros, what: What) {
        self.n_events += 1;
        self.events.push(Reverse((at, self.n_events, Sorted(what))));
    }
}

impl Cut {
    fn parts(&self, one: u32, other: u32) -> bool {
        (self.from..self.to).contains(&one) != (self.from..self.to).contains(&other)
    }
}

impl Node {
    fn new(things: usize, random: &mut Random) -> Self {
        let thing = || Thing { wanted: NEVER, got: false, flight: Flight::None, waiting: Vec::new() };
        Node {
            upstream: None,
            life: 0,
            hangs_until: 0,
            stopped: NEVER,
            started: 0,
            founded: None,
            offset: random.below(1_000_000 * SECOND),
            rate: random.between(950_000, 1_050_000),
            tick: NEVER,
            trying: Vec::new(),
            up: Vec::new(),
            down: Vec::new(),
            things: (0..things).map(|_| thing()).collect(),
            gone: false,
        }
    }

    /// What its clock shows.
    fn clock(&self, at: Micros) -> Duration {
        Duration::from_micros(self.offset + at.saturating_sub(self.started) * self.rate / 1_000_000)
    }

    /// When its clock will show this, or shortly after.
    fn when(&self, clock: Duration) -> Micros {
        let shown = (clock.as_micros() as u64).saturating_sub(self.offset);
        self.started.saturating_add(shown.saturating_mul(1_000) / self.rate * 1_000 + 1_000)
    }
}
