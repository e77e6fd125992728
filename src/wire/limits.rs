//! Every limit of the wire, in one place. docs/WIRE.md shows the same table.
//!
//! Hitting one is counted as `limits.hit` if a question or connection is refused or has to wait for it.
//!
//! Not here: how long a silent peer is waited for (`tree`).

use std::time::Duration;

use crate::file::BLOCK_BYTES;

/// Bytes of a path in a question: 8 KiB. Twice what a system call takes (PATH_MAX).
pub const PATH_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a name: 1,024, what FUSE lets through (FUSE_NAME_MAX). One over NAME_MAX is for storage to judge.
pub const NAME_BYTES_MAX: usize = 1024;

/// Headers of a request or answer: 16; ours have at most 7.
pub const HEADERS_MAX: usize = 16;

/// Bytes of a listing that travels, riding ones included: 32 MiB, some 800,000 names. Whoever wants a larger
/// one reads it from storage.
pub const LISTING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of listings that ride along with another: 128 KiB, what a block takes: they delay an answer that
/// somebody waits for.
pub const RIDING_BYTES_MAX: usize = 128 * 1024;

/// Bytes of small files that ride along with a block: 256 KiB, some dozen modules. They delay nobody but the one who
/// asked, by a tenth of a millisecond.
pub const SMALL_FILES_BYTES_MAX: usize = 256 * 1024;

/// Files that a child is known to have: 16,384, some 256 KiB. Beyond it the list begins anew, and a file may ride twice.
pub const GIVEN_FILES_MAX: usize = 16_384;

/// Bytes of any other answer but blocks: 64 KiB; an entry with its target takes at most some 4 KiB.
pub const SMALL_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a record on its way up: 16 MiB.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Blocks asked for at once: 64, 8 MiB. Enough that a request costs little beside them.
pub const BLOCKS_PER_QUESTION_MAX: u32 = 64;

/// Blocks of one question that the server fetches side by side: 4, so that a slow round trip to the server's
/// own parent is hidden, and no more of them lie in memory than that.
pub const BLOCKS_AHEAD_MAX: usize = 4;

/// Blocks that have arrived and that the asker has not taken: 4. Then the connection is no longer read, and
/// the server stops sending.
pub const BLOCKS_UNTAKEN_MAX: usize = 4;

/// Bytes of blocks in hand for one child: 8 MiB. A child that does not read holds no more than this; further
/// answers to it wait, while those to others go on.
pub const BYTES_PER_CHILD_MAX: usize = 64 * BLOCK_BYTES as usize;

/// Bytes that a connection holds of what it reads, at the end that answers: 64 KiB. A head has to fit in.
pub const SERVER_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a connection holds of what it reads, at the end that asks: 256 KiB, two blocks.
pub const CLIENT_BUFFER_BYTES_MAX: usize = 2 * BLOCK_BYTES as usize;

/// Connections that one node has to another at once, and so questions under way, the heartbeat beside them:
/// 16. Further questions wait their turn.
pub const CONNECTIONS_PER_PEER_MAX: usize = 16;

/// Connections kept although no question is under way: 2 per peer, so that an idle node holds little memory.
pub const IDLE_CONNECTIONS_PER_PEER: usize = 2;

/// Time after which idle connections beyond those are closed: 10 s, longer than the pauses of an import.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(10);

/// Questions of one child that are answered at once: 32, twice what it may ask (it may have come back while
/// its old connections have not ended). Beyond it the answer is "busy".
pub const QUESTIONS_PER_CHILD_MAX: usize = 2 * CONNECTIONS_PER_PEER_MAX;

/// Children that are told apart: 4,096. A node has few; beyond it the answer is "busy".
pub const CHILDREN_MAX: usize = 4096;

/// Connections that have proven to be ours: 2,048. Further ones are closed.
pub const CONNECTIONS_MAX: usize = 2048;

/// Connections that have not proven anything yet: 128. For a further one the oldest is closed: a peer with the
/// key needs a few milliseconds, one that only holds connections open loses them.
pub const UNPROVEN_MAX: usize = 128;

/// Time in which a connection has to prove itself: 4 s. Longer than a busy machine needs to start.
pub const PROOF_TIME_MAX: Duration = Duration::from_secs(4);

/// Time to reach an address: 2 s. Within a cluster it takes a millisecond, or a lost packet's second.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// Time that one address of a node is tried alone before the next is tried beside it: 100 ms. A node proves itself in a
/// few milliseconds; a stranger on its first port would otherwise hold up the others until the attempt is given up.
pub const ADDRESS_HEAD_START: Duration = Duration::from_millis(100);

/// Time between heartbeats: 1 s. `tree` waits for three of them.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Time that sent bytes may stay unacknowledged before the connection counts as dead: 30 s. It only clears
/// away what is left of dead peers; nobody waits for it.
pub const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_secs(30);
