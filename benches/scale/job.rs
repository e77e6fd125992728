//! One job in virtual time: tasks, daemons, links and storage, and the real machines that say whom a node asks.
//!
//! A node's task needs one portion after another. What a node lacks it asks along its route; a node that lacks it too
//! asks on, once, and passes it down as it comes: who asked is served one round trip and one block after its parent,
//! unless its own questions, or those of others at the same daemon or link, take longer.
//!
//! Every resource is a queue, first in, first out. Events at the same time happen in the order in which they were made,
//! so a run is the same each time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use spinney::cluster::NodeRank;
use spinney::file::BLOCK_BYTES;
use spinney::tree::{Action, Event, Route, Shard, Upstream};

use crate::figures::{
    DAEMON_BYTES_PER_S, LINK_BYTES_PER_S, LINK_LATENCY, Nanos, PER_CONNECTION, PER_QUESTION, READY, SECOND,
    STREAM_BYTES_PER_S, Setting, WIRE_THREADS, carrying,
};
use crate::workload::{Part, Workload};

/// A part that a node does not have.
const NOT_YET: Nanos = Nanos::MAX;

/// Serves one after another.
#[derive(Debug, Default, Clone, Copy)]
struct Queue {
    free: Nanos,
}

impl Queue {
    /// Adds work that begins at `now` at the earliest, and returns when it is done.
    fn add(&mut self, now: Nanos, work: Nanos) -> Nanos {
        self.free = self.free.max(now) + work;
        self.free
    }
}

/// Whom a node asks in one shard, if that is known without a machine.
#[derive(Debug, Clone, Copy)]
pub struct Above {
    /// `None`: storage.
    pub node: Option<usize>,
    /// For how many children this one stands at its parent.
    pub weight: f64,
}

/// How a node finds whom to ask.
pub enum Finding {
    /// The real machine, which connects first.
    Machine(Box<Upstream>),
    /// By shard.
    Known(Vec<Above>),
}

pub struct Node {
    pub starts: Nanos,
    finding: Option<Finding>,
    daemon: Queue,
    link_out: Queue,
    link_in: Queue,
    portion: usize,
    lacking: usize,
    asked: Vec<bool>,
    has: Vec<bool>,
    /// Asked for, and nobody to ask yet.
    parked: Vec<usize>,
    /// Part, child, and when the child's own questions are through.
    waiting: Vec<(usize, usize, Nanos)>,
    tick: Nanos,
    connected: Vec<NodeRank>,
}

impl Node {
    fn new(starts: Nanos, finding: Finding, n_parts: usize) -> Self {
        Node {
            starts,
            finding: Some(finding),
            daemon: Queue::default(),
            link_out: Queue::default(),
            link_in: Queue::default(),
            portion: 0,
            lacking: 0,
            asked: vec![false; n_parts],
            has: vec![false; n_parts],
            parked: Vec::new(),
            waiting: Vec::new(),
            tick: NOT_YET,
            connected: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Start,
    Tick { due: Nanos },
    Connected { peer: u32 },
    Refused { peer: u32 },
    Next,
    Asked { by: usize, part: usize },
    Has { part: usize },
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// From the first start to the end of the slowest import.
    pub slowest: Nanos,
    pub events: u64,
    /// Metadata calls that storage got.
    pub calls: f64,
}

pub struct Job<'a> {
    workload: &'a Workload,
    setting: Setting,
    nodes: Vec<Node>,
    /// For how many clients each node stands at storage.
    clients: f64,
    metadata: Queue,
    bandwidth: Queue,
    events: BinaryHeap<Reverse<(Nanos, u64, usize, What)>>,
    n_events: u64,
    now: Nanos,
    outcome: Outcome,
}

impl<'a> Job<'a> {
    /// A job of `nodes`: when each starts, and how it finds whom to ask.
    pub fn new(workload: &'a Workload, setting: Setting, clients: f64, nodes: Vec<(Nanos, Finding)>) -> Self {
        let n_parts = workload.parts.len();
        let mut job = Job {
            workload,
            setting,
            nodes: nodes.into_iter().map(|(starts, finding)| Node::new(starts, finding, n_parts)).collect(),
            clients,
            metadata: Queue::default(),
            bandwidth: Queue::default(),
            events: BinaryHeap::new(),
            n_events: 0,
            now: 0,
            outcome: Outcome::default(),
        };
        for node in 0..job.nodes.len() {
            job.at(job.nodes[node].starts, node, What::Start);
        }
        job
    }

    /// Runs until every node has imported.
    pub fn run(mut self) -> Outcome {
        let mut importing = self.nodes.len();
        while importing > 0 {
            let Reverse((at, _, node, what)) = self.events.pop().expect("who imports has an event to come");
            self.now = at;
            self.outcome.events += 1;
            match what {
                What::Start => self.start(node),
                What::Tick { due } => self.tick(node, due),
                What::Connected { peer } => {
                    self.nodes[node].connected.push(NodeRank::new(peer));
                    self.tell(node, Event::Connected(NodeRank::new(peer)));
                }
                What::Refused { peer } => self.tell(node, Event::Refused(NodeRank::new(peer))),
                What::Next => importing -= usize::from(self.next(node)),
                What::Asked { by, part } => self.asked(node, by, part),
                What::Has { part } => self.has(node, part),
            }
        }
        self.outcome.slowest = self.now;
        self.outcome
    }

    fn at(&mut self, at: Nanos, node: usize, what: What) {
        self.n_events += 1;
        self.events.push(Reverse((at, self.n_events, node, what)));
    }

    fn start(&mut self, node: usize) {
        self.at(self.now + READY, node, What::Next);
        self.act(node);
    }

    /// Tells the machine that time has passed, and that who is connected was heard: nobody fails here.
    fn tick(&mut self, node: usize, due: Nanos) {
        if self.nodes[node].tick != due {
            return; // an earlier one has come in its place
        }
        self.nodes[node].tick = NOT_YET;
        let clock = self.clock(node);
        let connected = std::mem::take(&mut self.nodes[node].connected);
        if let Some(Finding::Machine(upstream)) = &mut self.nodes[node].finding {
            connected.iter().for_each(|peer| upstream.on(Event::Heard(*peer), clock));
        }
        self.nodes[node].connected = connected;
        self.tell(node, Event::Tick);
    }

    fn tell(&mut self, node: usize, event: Event) {
        let clock = self.clock(node);
        if let Some(Finding::Machine(upstream)) = &mut self.nodes[node].finding {
            upstream.on(event, clock);
        }
        self.act(node);
    }

    /// A node's clock begins when it starts.
    fn clock(&self, node: usize) -> Duration {
        Duration::from_nanos(self.now - self.nodes[node].starts)
    }

    /// Does what the machine says.
    fn act(&mut self, node: usize) {
        let Some(Finding::Machine(upstream)) = &mut self.nodes[node].finding else { return };
        let actions: Vec<Action> = upstream.actions().collect();
        let due = (upstream.due().as_nanos() as Nanos).saturating_add(self.nodes[node].starts);
        for action in actions {
            match action {
                Action::Connect(peer) => self.connect(node, peer.get()),
                Action::Drop(peer) => self.nodes[node].connected.retain(|known| *known != peer),
                Action::Moved(_) => {
                    let parked = std::mem::take(&mut self.nodes[node].parked);
                    parked.into_iter().for_each(|part| self.pursue(node, part));
                }
            }
        }
        if due < self.nodes[node].tick {
            self.nodes[node].tick = due.max(self.now);
            let due = self.nodes[node].tick;
            self.at(due, node, What::Tick { due });
        }
    }

    fn connect(&mut self, node: usize, peer: u32) {
        let there = self.now + LINK_LATENCY;
        let far = &mut self.nodes[peer as usize];
        if far.starts > there {
            return self.at(there + LINK_LATENCY, node, What::Refused { peer });
        }
        let shaken = far.daemon.add(there, PER_CONNECTION / 2 / WIRE_THREADS);
        let own = self.nodes[node].daemon.add(self.now, PER_CONNECTION / 2 / WIRE_THREADS);
        let connected = shaken.max(own).max(self.now + PER_CONNECTION) + 2 * LINK_LATENCY;
        self.at(connected, node, What::Connected { peer });
    }

    /// The task goes on to its next portion; true if there is none.
    fn next(&mut self, node: usize) -> bool {
        let Some((first, end)) = self.workload.portions.get(self.nodes[node].portion).copied() else {
            return true;
        };
        self.nodes[node].lacking = (first..end).filter(|part| !self.nodes[node].has[*part]).count();
        if self.nodes[node].lacking == 0 {
            self.compute(node);
        } else {
            (first..end).for_each(|part| self.want(node, part));
        }
        false
    }

    fn compute(&mut self, node: usize) {
        self.nodes[node].portion += 1;
        self.at(self.now + self.workload.task, node, What::Next);
    }

    /// Asks for a part, once.
    fn want(&mut self, node: usize, part: usize) {
        if !std::mem::replace(&mut self.nodes[node].asked[part], true) {
            self.pursue(node, part);
        }
    }

    fn pursue(&mut self, node: usize, part: usize) {
        match self.route(node, self.workload.parts[part].shard) {
            Route::Storage => {
                let has = self.store(self.workload.parts[part]);
                self.at(has, node, What::Has { part });
            }
            Route::Ask(parent) => {
                let parent = parent.get() as usize;
                self.at(self.now + LINK_LATENCY, parent, What::Asked { by: node, part });
            }
            Route::Wait { .. } => self.nodes[node].parked.push(part),
        }
    }

    fn route(&self, node: usize, shard: Shard) -> Route {
        match self.nodes[node].finding.as_ref().expect("it was given one") {
            Finding::Machine(upstream) => upstream.route(shard),
            Finding::Known(above) => match above[usize::from(shard.get())].node {
                Some(parent) => Route::Ask(NodeRank::new(parent as u32)),
                None => Route::Storage,
            },
        }
    }

    /// Storage gives a part. Returns when.
    fn store(&mut self, part: Part) -> Nanos {
        let Setting { latency, service, bytes_per_s, .. } = self.setting;
        self.outcome.calls += part.calls * self.clients;
        let each = part.calls / part.under_way * (latency + service) as f64;
        let work = part.calls * self.clients * service as f64;
        let answered = self.metadata.add(self.now, work as Nanos) + latency;
        let read = self.bandwidth.add(self.now, carrying(part.bytes * self.clients, bytes_per_s));
        answered.max(read).max(self.now + each as Nanos)
    }

    /// A child asks `node` for a part.
    fn asked(&mut self, node: usize, by: usize, part: usize) {
        let Part { shard, questions, waited_for, wire_bytes, .. } = self.workload.parts[part];
        let weight = match self.nodes[by].finding.as_ref() {
            Some(Finding::Known(above)) => above[usize::from(shard.get())].weight,
            _ => 1.0,
        };
        let asking = questions * PER_QUESTION as f64 / 2.0;
        let work = (asking as Nanos + carrying(wire_bytes, DAEMON_BYTES_PER_S)) / WIRE_THREADS;
        let carried = carrying(wire_bytes, LINK_BYTES_PER_S);
        let weighted = |work: Nanos| (work as f64 * weight) as Nanos;
        let sent = self.nodes[node].daemon.add(self.now, weighted(work));
        let out = self.nodes[node].link_out.add(self.now, weighted(carried));
        let received = self.nodes[by].daemon.add(self.now, work);
        let come = self.nodes[by].link_in.add(self.now, carried);
        let round = (waited_for * (PER_QUESTION + 2 * LINK_LATENCY) as f64) as Nanos;
        let own = self.now + round + carrying(wire_bytes, STREAM_BYTES_PER_S);
        let through = [sent, out, received, come].into_iter().fold(own, Nanos::max) + LINK_LATENCY;
        if self.nodes[node].has[part] {
            return self.at(through, by, What::Has { part });
        }
        self.nodes[node].waiting.push((part, by, through));
        self.want(node, part);
    }

    fn has(&mut self, node: usize, part: usize) {
        self.nodes[node].has[part] = true;
        let last_block = carrying(BLOCK_BYTES as f64, STREAM_BYTES_PER_S);
        let passed_on = self.now + PER_QUESTION + 2 * LINK_LATENCY + last_block;
        let waiting = std::mem::take(&mut self.nodes[node].waiting);
        for (wanted, by, through) in waiting {
            if wanted == part {
                self.at(through.max(passed_on), by, What::Has { part });
            } else {
                self.nodes[node].waiting.push((wanted, by, through));
            }
        }
        let current = self.workload.portions.get(self.nodes[node].portion);
        if current.is_some_and(|(first, end)| (*first..*end).contains(&part)) && self.nodes[node].lacking > 0
        {
            self.nodes[node].lacking -= 1;
            if self.nodes[node].lacking == 0 {
                self.compute(node);
            }
        }
    }
}

/// In seconds.
pub fn seconds(time: Nanos) -> f64 {
    time as f64 / SECOND as f64
}
