//! What was asked of the storage, exactly: one counter per kind of call and mount.
//!
//! A call is counted when the storage has done it and before the caller can know, so whoever has
//! seen an answer also finds it counted.
//!
//! Not here: what the kernel answered from its own caches; nobody asked the storage for that.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Map, Value, json};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// One kind of call. All but `Read` go to the metadata server.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $variant),+ }

        /// Every kind with the name it has in `counters` and in `fail`.
        pub const KINDS: &[(Kind, &str)] = &[$((Kind::$variant, $name)),+];
    };
}

kinds! {
    /// A name that exists.
    LookupFound = "lookup_found",
    /// A name that does not exist, or whose lookup failed.
    LookupMissing = "lookup_missing",
    /// The attributes of one file.
    Getattr = "getattr",
    /// The target of a symlink.
    Readlink = "readlink",
    /// Opening a file.
    Open = "open",
    /// Closing a file: nobody waits for it, the server is busy with it all the same.
    Release = "release",
    /// Opening a directory.
    Opendir = "opendir",
    /// One page of names of a directory.
    Readdir = "readdir",
    /// Closing a directory.
    Releasedir = "releasedir",
    /// One extended attribute.
    Getxattr = "getxattr",
    /// The names of the extended attributes.
    Listxattr = "listxattr",
    /// Figures of the whole file system.
    Statfs = "statfs",
    /// Content.
    Read = "read",
}

impl Kind {
    /// The kind called `name`; `lookup` means a lookup whatever it finds.
    pub fn named(name: &str) -> Option<Self> {
        if name == "lookup" {
            return Some(Self::LookupFound);
        }
        KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// Whether the metadata server does it.
    pub fn is_metadata(self) -> bool {
        self != Self::Read
    }
}

/// The calls of one mount.
#[derive(Default)]
pub struct Counters {
    calls: [AtomicU64; KINDS.len()],
    read_bytes: AtomicU64,
}

impl Counters {
    /// Counts one call.
    pub fn count(&self, kind: Kind) {
        self.calls[kind as usize].fetch_add(1, Relaxed);
    }

    /// Counts the bytes that a read gave.
    pub fn count_bytes(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.calls.iter().for_each(|calls| calls.store(0, Relaxed));
        self.read_bytes.store(0, Relaxed);
    }
}

/// The sum over several mounts, with `metadata_calls` for all calls but reads.
pub fn sum<'a>(mounts: impl Iterator<Item = &'a Counters>) -> Map<String, Value> {
    let mut calls = [0; KINDS.len()];
    let mut bytes = 0;
    for mount in mounts {
        calls.iter_mut().zip(&mount.calls).for_each(|(sum, one)| *sum += one.load(Relaxed));
        bytes += mount.read_bytes.load(Relaxed);
    }
    let mut object = Map::new();
    for (kind, name) in KINDS {
        object.insert((*name).into(), calls[*kind as usize].into());
    }
    let metadata: u64 = KINDS.iter().filter(|(k, _)| k.is_metadata()).map(|(k, _)| calls[*k as usize]).sum();
    object.insert("read_bytes".into(), bytes.into());
    object.insert("metadata_calls".into(), metadata.into());
    object
}

/// How late calls were answered after they were due: how far the settings can be believed.
#[derive(Default)]
pub struct Lateness {
    /// Calls late by less than 2^i µs, counted in the smallest such i.
    powers: [AtomicU64; 24],
    sum_ns: AtomicU64,
}

impl Lateness {
    /// Takes down one call.
    pub fn add(&self, late: Duration) {
        let power = (u64::BITS - (late.as_micros() as u64).leading_zeros()) as usize;
        self.powers[power.min(self.powers.len() - 1)].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(late.as_nanos() as u64, Relaxed);
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.powers.iter().for_each(|power| power.store(0, Relaxed));
        self.sum_ns.store(0, Relaxed);
    }

    /// Calls, their mean lateness, and bounds below which half and 99 of 100 of them were late.
    pub fn report(&self) -> Value {
        let powers: Vec<u64> = self.powers.iter().map(|power| power.load(Relaxed)).collect();
        let calls: u64 = powers.iter().sum();
        let below = |share: f64| {
            let mut seen = 0;
            let wanted = (calls as f64 * share).ceil() as u64;
            powers.iter().position(|n| {
                seen += n;
                seen >= wanted
            })
        };
        let mean_us = self.sum_ns.load(Relaxed) as f64 / 1000.0 / calls.max(1) as f64;
        json!({
            "calls": calls,
            "mean_us": mean_us,
            "half_below_us": below(0.5).map(|power| 1u64 << power),
            "p99_below_us": below(0.99).map(|power| 1u64 << power),
        })
    }
}
