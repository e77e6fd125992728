//! What a run is made of: so many nodes, so many things they all want, and what goes wrong when.

use spinney::tree::Shape;

use crate::random::Random;

/// Times are microseconds since the run began.
pub type Micros = u64;

pub const MILLI: Micros = 1_000;
pub const SECOND: Micros = 1_000_000;

/// A moment that never comes.
pub const NEVER: Micros = Micros::MAX;

/// What kind of trouble a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nodes start at most 5 s apart, and that is all.
    None,
    /// Storage needs 10 s for one thing.
    SlowStorage,
    /// Some nodes start up to 20 s late.
    LateStarters,
    /// Up to a third of the nodes die for good; of some the others hear an end of file, of some nothing.
    Deaths,
    /// Daemons are killed, again and again, and are back soon.
    Restarts,
    /// All roots die for good.
    RootsGone,
    /// A run of ranks is cut off from the rest, and comes back.
    Partition,
    /// Nodes stand still for a while, their connections open.
    Silence,
    /// A few nodes, a root among them, send wrong bytes.
    Corruption,
    /// Some nodes have another key or version than the rest, a root among them or not.
    Strangers,
    /// Some of each.
    All,
}

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The process dies, and is back at `back` or never. If `quietly`, the others are not told.
    Kill { node: u32, back: Micros, quietly: bool },
    /// The process stands still.
    Hang { node: u32, until: Micros },
    /// Ranks `from..to` and all others do not reach each other.
    Cut { from: u32, to: u32, until: Micros },
}

pub struct Scenario {
    pub shape: Shape,
    pub things: usize,
    /// By rank.
    pub starts: Vec<Micros>,
    /// Sorted.
    pub faults: Vec<(Micros, Fault)>,
    /// By rank.
    pub corrupts: Vec<bool>,
    /// By rank: those with different ones do not let each other in.
    pub keys: Vec<u8>,
    /// After this, nothing more goes wrong.
    pub calm_from: Micros,
    /// What storage needs for the thing of this number.
    pub storage_micros: Vec<Micros>,
}

impl Scenario {
    pub fn new(seed: u64, n_nodes: u32, trouble: Trouble) -> Self {
        let mut random = Random::new(seed);
        let set = |random: &mut Random, most| random.one_in(2).then(|| random.between(1, most) as u16);
        let (shards, fan_out) = match n_nodes {
            ..=512 => (set(&mut random, 12), set(&mut random, 12)),
            _ => (None, None),
        };
        let shape = Shape::chosen(n_nodes, shards, fan_out);
        // How far apart they start: mostly little, since all the time until a parent is there is spent trying.
        let apart = match n_nodes {
            ..=512 => [20 * MILLI, 300 * MILLI, 300 * MILLI, 5 * SECOND][random.below(4) as usize],
            _ => [20 * MILLI, 150 * MILLI][random.below(2) as usize],
        };
        let things = if n_nodes <= 512 { random.between(1, 6) } else { 4 } as usize;
        let mut scenario = Scenario {
            shape,
            things,
            starts: (0..n_nodes).map(|_| random.below(apart)).collect(),
            faults: Vec::new(),
            calm_from: 0,
            corrupts: vec![false; n_nodes as usize],
            keys: vec![0; n_nodes as usize],
            storage_micros: (0..things).map(|_| random.between(100, 5 * MILLI)).collect(),
        };
        scenario.add(trouble, &mut random);
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario.calm_from = scenario.last_trouble();
        scenario
    }

    fn add(&mut self, trouble: Trouble, random: &mut Random) {
        let n_nodes = self.shape.n_nodes();
        match trouble {
            Trouble::None => {}
            Trouble::SlowStorage => self.storage_micros[0] = 10 * SECOND,
            Trouble::LateStarters => {
                for _ in 0..n_nodes.div_ceil(8).min(256) {
                    self.starts[random.below(n_nodes.into()) as usize] = random.below(20 * SECOND);
                }
            }
            Trouble::Deaths => {
                for _ in 0..random.below(u64::from(n_nodes / 3) + 1) {
                    self.kill(random.below(n_nodes.into()) as u32, NEVER, random);
                }
            }
            Trouble::Restarts => {
                for _ in 0..random.between(1, u64::from(n_nodes) / 4 + 1) {
                    let pause = random.between(20 * MILLI, 3 * SECOND);
                    self.kill(random.below(n_nodes.into()) as u32, pause, random);
                }
            }
            Trouble::RootsGone => {
                for shard in self.shape.shards().collect::<Vec<_>>() {
                    self.kill(self.shape.root(shard).get(), NEVER, random);
                }
            }
            Trouble::Partition => {
                let from = random.below(n_nodes.into()) as u32;
                let to = from + random.between(1, u64::from(n_nodes) / 2 + 1) as u32;
                let at = random.below(4 * SECOND);
                let until = at + random.between(100 * MILLI, 20 * SECOND);
                self.faults.push((at, Fault::Cut { from, to, until }));
            }
            Trouble::Silence => {
                for _ in 0..random.between(1, u64::from(n_nodes) / 8 + 1) {
                    let at = random.below(4 * SECOND);
                    let until = at + random.between(100 * MILLI, 10 * SECOND);
                    self.faults.push((at, Fault::Hang { node: random.below(n_nodes.into()) as u32, until }));
                }
            }
            Trouble::Corruption => {
                for _ in 0..random.between(1, 3) {
                    self.corrupts[random.below(n_nodes.into()) as usize] = true;
                }
                let shard =
                    self.shape.shards().nth(random.below(self.shape.shards().count() as u64) as usize);
                self.corrupts[self.shape.root(shard.unwrap()).get() as usize] = true;
            }
            Trouble::Strangers => {
                let one_in = random.between(2, 9);
                self.keys = (0..n_nodes).map(|_| u8::from(random.one_in(one_in))).collect();
            }
            Trouble::All => {
                for part in [Trouble::LateStarters, Trouble::Deaths, Trouble::Restarts, Trouble::Partition] {
                    self.add(part, random);
                }
                self.add(Trouble::Silence, random);
                self.add(Trouble::Corruption, random);
            }
        }
    }

    fn kill(&mut self, node: u32, pause: Micros, random: &mut Random) {
        let at = random.below(4 * SECOND);
        let quietly = random.one_in(2);
        let back = at.saturating_add(pause);
        self.faults.push((at, Fault::Kill { node, back, quietly }));
    }

    fn last_trouble(&self) -> Micros {
        let ends = self.faults.iter().map(|(at, fault)| match fault {
            Fault::Kill { back: NEVER, .. } => *at,
            Fault::Kill { back, .. } => *back,
            Fault::Hang { until, .. } | Fault::Cut { until, .. } => *until,
        });
        ends.chain(self.starts.iter().copied()).max().unwrap_or(0)
    }
}
