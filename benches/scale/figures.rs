//! What the model is fed with: each number with where it was measured, or that it is assumed.
//!
//! W is `import numpy, scipy, scipy.stats, pandas` in a first process. "Two nodes" is one run of `spinney run --local-nodes 2`
//! over the stand-in at 2 ms a call and 1 ms of queue, read off the second node's row of `run.json`; only counts were
//! taken from it, no times.

/// Nanoseconds since the job began, or a length of time.
pub type Nanos = u64;

pub const MICRO: Nanos = 1_000;
pub const MILLI: Nanos = 1_000_000;
pub const SECOND: Nanos = 1_000_000_000;

/// One import, as one node does it.
#[derive(Debug, Clone, Copy)]
pub struct Import {
    pub name: &'static str,
    /// The task's own time with everything in memory.
    pub task: Nanos,
    /// Metadata calls that storage gets from one node without Spinney, and bytes.
    pub direct_calls: f64,
    pub direct_bytes: f64,
    /// The same from one node with Spinney.
    pub calls: f64,
    pub bytes: f64,
    /// Questions that a node asks its parents, those among them that the task waits for, and bytes that come.
    pub questions: f64,
    pub waited_for: f64,
    pub wire_bytes: f64,
    /// Requests of the kernel.
    pub requests: f64,
    /// Files that hold most of the bytes, and their share of them.
    pub large_files: usize,
    pub large_share: f64,
}

/// W. Time: native seconds of the row "storage warm below" of docs/benchmarks/one-node.md; calls and bytes: the row
/// "that first W against native's, 2 ms" of the same; questions, bytes on the wire, requests: two nodes.
pub const W: Import = Import {
    name: "W",
    task: 1_362 * MILLI,
    direct_calls: 5_562.0,
    direct_bytes: 98.6e6,
    calls: 8_852.0,
    bytes: 145.5e6,
    questions: 4_745.0,
    waited_for: 3_693.0,
    wire_bytes: 162.6e6,
    requests: 5_866.0,
    large_files: 0,
    large_share: 0.0,
};

/// `import torch` has so many times W's calls: 4,483 metadata calls of one node to 1,690, counted beneath another file
/// system on a machine like this one. Distinct paths say 2.7.
const TORCH_CALLS: f64 = 4_483.0 / 1_690.0;

/// And so many times its own time: 1.30 s to 0.33 s, warm, on the same quiet machine.
const TORCH_TASK: f64 = 1.30 / 0.33;

/// Bytes that one `import torch` demanded from storage, natively, counted in the same place.
const TORCH_BYTES: f64 = 466e6;

/// `import torch`: not measured through Spinney, so W's figures are scaled. 39 files hold nearly all bytes.
pub const TORCH: Import = Import {
    name: "torch",
    task: (W.task as f64 * TORCH_TASK) as Nanos,
    direct_calls: W.direct_calls * TORCH_CALLS,
    direct_bytes: TORCH_BYTES,
    calls: W.calls * TORCH_CALLS,
    bytes: TORCH_BYTES * (W.bytes / W.direct_bytes),
    questions: W.questions * TORCH_CALLS,
    waited_for: W.waited_for * TORCH_CALLS,
    wire_bytes: TORCH_BYTES * (W.wire_bytes / W.direct_bytes),
    requests: W.requests * TORCH_CALLS,
    large_files: 39,
    large_share: 0.9,
};

/// Directories of W that Spinney opens at storage: each further root opens those on the way to its own again, at most
/// all of them. From the row "2 ms" of docs/benchmarks/one-node.md.
pub const DIRECTORIES: f64 = 362.0;

/// Kernel and daemon for one request: 0.18 s and 0.08 s for 3,852 (docs/decisions/0004-warm-storage.md).
pub const PER_REQUEST: Nanos = 67 * MICRO;

/// Calls that a root has under way at storage on average: 6. Fitted to the three cold rows of docs/benchmarks/one-node.md
/// (the limit moves from 1 to 32, docs/decisions/0003-fetching-ahead.md); the page shows how well.
pub const CALLS_UNDER_WAY: f64 = 6.0;

/// A question and its answer between two processes: 43 µs, a listing's (docs/decisions/0005-wire.md). Half of it is
/// taken for CPU time at each end.
pub const PER_QUESTION: Nanos = 43 * MICRO;

/// One stream of blocks asked for one by one: 0.65 GB/s (docs/decisions/0005-wire.md).
pub const STREAM_BYTES_PER_S: f64 = 0.65e9;

/// What all streams of a daemon carry: 2.0 GB/s, of TLS, both ends on two cores (docs/decisions/0005-wire.md).
pub const DAEMON_BYTES_PER_S: f64 = 2.0e9;

/// Threads of a daemon that serve other nodes: 2 (docs/decisions/0000-dependencies.md).
pub const WIRE_THREADS: u64 = 2;

/// A new connection with its handshake: 1.1 ms (docs/decisions/0005-wire.md), half of it at each end.
pub const PER_CONNECTION: Nanos = 1_100 * MICRO;

/// From the start of a node to its first request: 30 ms, the row "`spinney run -- true` with a view" of
/// docs/benchmarks/one-node.md.
pub const READY: Nanos = 30 * MILLI;

/// Assumed: one way between two nodes, TCP on a fabric of today.
pub const LINK_LATENCY: Nanos = 15 * MICRO;

/// Assumed: 100 Gbit/s for each node and direction.
pub const LINK_BYTES_PER_S: f64 = 12.5e9;

/// Assumed: the launcher starts all nodes within 100 ms. What a real launcher needs comes on top of all columns.
pub const START_SPREAD: Nanos = 100 * MILLI;

/// Shared storage: one metadata server, first in, first out, and so many bytes a second for all together.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    /// On the way and back, for each call.
    pub latency: Nanos,
    /// At the server, for each call.
    pub service: Nanos,
    pub bytes_per_s: f64,
}

/// The stand-in's slow setting.
pub const SLOW: Setting = Setting { name: "slow", latency: 2 * MILLI, service: MILLI, bytes_per_s: 0.5e9 };

/// The stand-in's fast setting.
pub const FAST: Setting =
    Setting { name: "fast", latency: 500 * MICRO, service: 50 * MICRO, bytes_per_s: 2e9 };

/// A large machine's. Latency is fitted to Frontier's 25 s for `import torch` on one node, service to Aurora's 1,020 s
/// on 8,192, so that "everyone asks storage" agrees with these two by construction. The bandwidth is assumed.
pub const LARGE: Setting =
    Setting { name: "large", latency: 1_330 * MICRO, service: 8_400, bytes_per_s: 100e9 };

/// How long `bytes` take.
pub fn carrying(bytes: f64, bytes_per_s: f64) -> Nanos {
    (bytes / bytes_per_s * SECOND as f64) as Nanos
}
