//! The overlay trees: which shard a thing belongs to, and who is whose parent in it.
//!
//! Every node has a *place* in the tree of each shard. The tree is a heap: place 0 is the root, the parent of place `p`
//! is `(p - 1) / fan_out`, so the interior nodes are the lowest places. Ranks come to places in two steps: one stride
//! over all ranks, the same for every shard, and a rotation by `n_nodes / shards` per shard. The rotation makes the
//! lowest places of each shard other nodes; the stride spreads neighbouring places over all ranks, so that a rack that
//! loses its power does not take a root and all who would stand in for it.
//!
//! Every question costs at most the depth of the tree, and nothing here is larger for more nodes.
//!
//! Not here: what happens when a parent is dead (`upstream`).

use super::hash;
use crate::cluster::NodeRank;
use crate::file::{BlockIndex, FilePath, ViewId};

/// Nodes of a job at most. The largest machines have some 10,000; beyond this nothing was tried.
pub const NODES_MAX: u32 = 100_000;

/// Children of a node at most. Each is an open connection of its parent.
pub const FAN_OUT_MAX: u16 = 64;

/// Shards at most, so that each has at least one of the 32 nodes that may stand in for a root.
pub const SHARDS_MAX: u16 = 32;

/// Children of a node unless it was set: 8.
///
/// Questions are asked one after another, each over every level: few levels. What a node passes on goes out once for
/// each child: few children. Eight means 4 levels below the root for 4,096 nodes and 6 for 100,000. A job of one shard
/// gets [`FAN_OUT_SINGLE`].
pub const FAN_OUT: u16 = 8;

/// Children of a node in a job of one shard: 4.
///
/// There the root alone sends out all bytes once for each child. A link carries a few times what one node gets out of
/// storage, so four children still get them as fast as storage gives them.
pub const FAN_OUT_SINGLE: u16 = 4;

/// Nodes up to which one shard is enough: 64, three levels below the root with four children each.
///
/// Another root is another node that opens the directories on the way to its files, which costs storage some calls.
pub const SINGLE_SHARD_NODES: u32 = 64;

/// Shards beyond that: as many as a node has children.
///
/// Then a node is interior in one tree and passes an eighth of the bytes on to each of eight children: it sends what it
/// receives, and no link is idle or twice as busy as another.
pub const SHARDS: u16 = 8;

/// Blocks of a file that follow each other in one shard: 32, or 4 MiB.
///
/// The first ones of a file are in the shard of its directory, so a file up to this size is opened by the root that
/// listed it and by no other. Few files are larger, and those hold most of the bytes.
pub const STRIPE_BLOCKS: u64 = 32;

/// One of the overlay trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shard {
    /// The shard of this number; it has to be one of [`Shape::shards`].
    pub fn new(number: u16) -> Self {
        Shard(number)
    }

    /// Its number.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// The trees of a job. Equal on all nodes that were given the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    n_nodes: u32,
    shards: u16,
    fan_out: u16,
    /// From one place to the next, in ranks: coprime to `n_nodes`.
    stride: u32,
    /// `stride * stride_inverse` is 1 modulo `n_nodes`.
    stride_inverse: u32,
}

impl Shape {
    /// The trees of a job of `n_nodes` nodes, with the numbers that were set, or else chosen from the size.
    ///
    /// What is out of range is brought into it: 1 to [`NODES_MAX`] nodes, 1 to [`FAN_OUT_MAX`] children, 1 to
    /// [`SHARDS_MAX`] shards and not more than nodes.
    pub fn chosen(n_nodes: u32, shards: Option<u16>, fan_out: Option<u16>) -> Shape {
        let n_nodes = n_nodes.clamp(1, NODES_MAX);
        let by_size = if n_nodes <= SINGLE_SHARD_NODES { 1 } else { SHARDS };
        let most = u16::try_from(n_nodes).unwrap_or(u16::MAX).min(SHARDS_MAX);
        let shards = shards.unwrap_or(by_size).clamp(1, most);
        let by_shards = if shards == 1 { FAN_OUT_SINGLE } else { FAN_OUT };
        let fan_out = fan_out.unwrap_or(by_shards).clamp(1, FAN_OUT_MAX);
        let (stride, stride_inverse) = stride(n_nodes);
        Shape { n_nodes, shards, fan_out, stride, stride_inverse }
    }

    /// How many nodes there are.
    pub fn n_nodes(&self) -> u32 {
        self.n_nodes
    }

    /// How many children a node has at most, in one tree.
    pub fn fan_out(&self) -> u16 {
        self.fan_out
    }

    /// All shards.
    pub fn shards(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.shards).map(Shard)
    }

    /// The shard that knows the names in `directory`: its listing, each entry in it, and all absences.
    pub fn shard_of_names(&self, directory: &FilePath) -> Shard {
        let hash = hash::of_bytes(directory.view().position() as u64, directory.relative());
        Shard((hash % u64::from(self.shards)) as u16)
    }

    /// The shard that knows the entry at `path`: that of the directory it is in.
    pub fn shard_of_entry(&self, path: &FilePath) -> Shard {
        match path.split() {
            Some((directory, _)) => self.shard_of_names(&directory),
            None => self.shard_of_view(path.view()),
        }
    }

    /// The shard that knows a block of the file at `path`. See [`STRIPE_BLOCKS`].
    pub fn shard_of_block(&self, path: &FilePath, index: BlockIndex) -> Shard {
        let first = u64::from(self.shard_of_entry(path).0);
        let shards = u64::from(self.shards);
        Shard(((first + index.0 / STRIPE_BLOCKS % shards) % shards) as u16)
    }

    /// The shard that knows what concerns a whole view, such as how full its file system is.
    pub fn shard_of_view(&self, view: ViewId) -> Shard {
        self.shard_of_names(&FilePath::root(view))
    }

    /// The node that asks storage for this shard.
    pub fn root(&self, shard: Shard) -> NodeRank {
        self.at(shard, 0)
    }

    /// Whom `node` asks; `None` for the root.
    pub fn parent(&self, shard: Shard, node: NodeRank) -> Option<NodeRank> {
        let place = self.place(shard, node).checked_sub(1)?;
        Some(self.at(shard, place / u32::from(self.fan_out)))
    }

    /// Who asks `node`.
    pub fn children(&self, shard: Shard, node: NodeRank) -> impl Iterator<Item = NodeRank> + use<> {
        let shape = *self;
        let fan_out = u64::from(self.fan_out);
        let first = u64::from(self.place(shard, node)) * fan_out + 1;
        let beyond = (first + fan_out).min(u64::from(self.n_nodes));
        (first..beyond).map(move |place| shape.at(shard, place as u32))
    }

    /// The nodes between `node` and storage: its parent first, the root last.
    pub fn ancestors(&self, shard: Shard, node: NodeRank) -> impl Iterator<Item = NodeRank> + use<> {
        let shape = *self;
        std::iter::successors(self.parent(shard, node), move |above| shape.parent(shard, *above))
    }

    /// Where `node` is in the tree of `shard`: 0 is the root, and every ancestor has a lower place.
    pub fn place(&self, shard: Shard, node: NodeRank) -> u32 {
        let n_nodes = u64::from(self.n_nodes);
        let along = u64::from(node.get()) % n_nodes * u64::from(self.stride_inverse) % n_nodes;
        ((along + n_nodes - self.rotation(shard)) % n_nodes) as u32
    }

    /// Who is at `place`, which is below the number of nodes.
    pub fn at(&self, shard: Shard, place: u32) -> NodeRank {
        let n_nodes = u64::from(self.n_nodes);
        let along = (u64::from(place) + self.rotation(shard)) % n_nodes;
        NodeRank::new((along * u64::from(self.stride) % n_nodes) as u32)
    }

    /// By how many places this shard's tree is turned.
    fn rotation(&self, shard: Shard) -> u64 {
        u64::from(shard.0) * u64::from(self.n_nodes) / u64::from(self.shards)
    }
}

/// A stride that meets every rank once, and its inverse: near the golden section, which spreads any run of places
/// evenly over the ranks.
fn stride(n_nodes: u32) -> (u32, u32) {
    let start = (u64::from(n_nodes) * 618 / 1000).max(1) as u32;
    let found = (start..=start + n_nodes).find_map(|stride| Some((stride, inverse(stride, n_nodes)?)));
    found.expect("one more than a multiple of `n_nodes` is in the range, and coprime to it")
}

/// What `number` has to be multiplied with to make 1 modulo `modulus`; `None` if they share a factor.
fn inverse(number: u32, modulus: u32) -> Option<u32> {
    if modulus == 1 {
        return Some(0);
    }
    let (mut before, mut rest) = (i64::from(modulus), i64::from(number % modulus));
    let (mut factor_before, mut factor) = (0i64, 1i64);
    while rest != 0 {
        let quotient = before / rest;
        (before, rest) = (rest, before - quotient * rest);
        (factor_before, factor) = (factor, factor_before - quotient * factor);
    }
    (before == 1).then(|| factor_before.rem_euclid(i64::from(modulus)) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_shape() -> impl Strategy<Value = Shape> {
        let set = |most: u16| prop_oneof![Just(None), (1..=most).prop_map(Some)];
        let n_nodes = prop_oneof![1u32..200, 1u32..=NODES_MAX];
        (n_nodes, set(SHARDS_MAX), set(FAN_OUT_MAX))
            .prop_map(|(n, shards, fan)| Shape::chosen(n, shards, fan))
    }

    /// Levels below the root: the least with room for all nodes.
    fn depth_max(shape: &Shape) -> usize {
        let (mut room, mut level) = (1u64, 1u64);
        let mut depth = 0;
        while room < u64::from(shape.n_nodes()) {
            level *= u64::from(shape.fan_out());
            room += level;
            depth += 1;
        }
        depth
    }

    proptest! {
        #[test]
        fn every_node_reaches_the_root_within_the_depth(shape in any_shape(), rank: u32) {
            let node = NodeRank::new(rank % shape.n_nodes());
            for shard in shape.shards() {
                let above: Vec<_> = shape.ancestors(shard, node).take(depth_max(&shape) + 1).collect();
                prop_assert!(above.len() <= depth_max(&shape));
                prop_assert_eq!(above.last().copied().unwrap_or(node), shape.root(shard));
                prop_assert_eq!(shape.at(shard, shape.place(shard, node)), node);
            }
        }

        #[test]
        fn parents_and_children_are_inverse(shape in any_shape(), rank: u32) {
            let node = NodeRank::new(rank % shape.n_nodes());
            for shard in shape.shards() {
                prop_assert!(shape.children(shard, node).count() <= usize::from(shape.fan_out()));
                for child in shape.children(shard, node) {
                    prop_assert!(child.get() < shape.n_nodes());
                    prop_assert_eq!(shape.parent(shard, child), Some(node));
                }
                if let Some(parent) = shape.parent(shard, node) {
                    prop_assert!(shape.children(shard, parent).any(|child| child == node));
                }
            }
        }

        #[test]
        fn every_node_is_interior_in_few_shards(n_nodes in 1u32..3_000, shards in 1u16..=SHARDS_MAX, fan_out in 1u16..=FAN_OUT_MAX) {
            let shape = Shape::chosen(n_nodes, Some(shards), Some(fan_out));
            let roots: std::collections::BTreeSet<_> = shape.shards().map(|shard| shape.root(shard)).collect();
            prop_assert_eq!(roots.len(), shape.shards().count(), "a root of its own for each shard");
            let interior = u64::from(n_nodes - 1).div_ceil(u64::from(fan_out));
            let apart = u64::from(n_nodes) / shape.shards().count() as u64;
            let most = interior.div_ceil(apart).min(shape.shards().count() as u64);
            for rank in (0..n_nodes).step_by(17) {
                let node = NodeRank::new(rank);
                let trees = shape.shards().filter(|shard| shape.children(*shard, node).next().is_some()).count();
                prop_assert!(trees as u64 <= most, "{trees} trees, at most {most}");
            }
        }

        #[test]
        fn what_is_in_one_directory_is_in_one_shard(shape in any_shape(), directory: Vec<u8>, name in "[a-z]{1,9}") {
            let directory = FilePath::from_relative(ViewId::new(1), &directory);
            let file = directory.join(name.as_bytes());
            let shard = shape.shard_of_names(&directory);
            prop_assert_eq!(shape.shard_of_entry(&file), shard);
            prop_assert_eq!(shape.shard_of_block(&file, BlockIndex(STRIPE_BLOCKS - 1)), shard);
            prop_assert!(shape.shard_of_block(&file, BlockIndex(u64::MAX)) < Shard(shape.shards));
        }
    }

    #[test]
    fn chosen_numbers_keep_a_node_from_being_interior_twice() {
        for n_nodes in [65, 100, 512, 1_000, 16_384, NODES_MAX] {
            let shape = Shape::chosen(n_nodes, None, None);
            let trees = |rank| {
                shape.shards().filter(|s| shape.children(*s, NodeRank::new(rank)).next().is_some()).count()
            };
            // One of many, so that it does not take long.
            let twice =
                (0..n_nodes).step_by(1 + n_nodes as usize / 5_000).filter(|rank| trees(*rank) > 1).count();
            assert!(twice <= 8, "{n_nodes} nodes: {twice} interior in two trees");
        }
    }

    #[test]
    fn the_lowest_places_are_spread_over_the_ranks() {
        let shape = Shape::chosen(16_384, None, None);
        for shard in shape.shards() {
            // Of 64 places, a rack of 256 ranks, a 64th of all, holds few.
            let mut in_rack = [0; 64];
            (0..64).for_each(|place| in_rack[shape.at(shard, place).get() as usize / 256] += 1);
            assert!(in_rack.iter().all(|count| *count <= 3), "{in_rack:?}");
        }
    }

    #[test]
    fn sizes_have_the_shape_that_is_documented() {
        let cases = [
            // nodes, shards, children, levels below the root
            (1, 1, 4, 0), // nobody to ask
            (8, 1, 4, 2), // one root
            (SINGLE_SHARD_NODES, 1, 4, 3),
            (SINGLE_SHARD_NODES + 1, 8, 8, 2), // every link in use
            (4_096, 8, 8, 4),
            (NODES_MAX, 8, 8, 6),
            (NODES_MAX * 2, 8, 8, 6), // as many as there may be
        ];
        for (n_nodes, shards, fan_out, levels) in cases {
            let shape = Shape::chosen(n_nodes, None, None);
            assert_eq!(
                (shape.shards, shape.fan_out, depth_max(&shape)),
                (shards, fan_out, levels),
                "{n_nodes}"
            );
        }
        assert_eq!(Shape::chosen(3, Some(9), Some(0)).shards, 3, "not more roots than nodes");
    }
}
