//! What the daemon does when its holder asks: reports, tells how it is, forgets.
//!
//! Not here: the line to the holder (`control`), what stands in the report (`report`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::MemfdFlags;

use super::gathering::Gathering;
use super::record::Record;
use super::refresh::{Others, Refresher};
use super::{bytecode, report, status};
use crate::cache::Cache;
use crate::holder::estate::Settings;
use crate::holder::messages::{FromDaemon, RunOutcome, Wish};
use crate::profile::recorder::Recorder;
use crate::tree::Tree;

/// What the answers are made of.
pub(super) struct Asked {
    pub(super) settings: Settings,
    /// What holders remember.
    pub(super) ledger: OwnedFd,
    pub(super) recorder: Recorder,
    pub(super) cache: Cache,
    /// `None`: the node is alone.
    pub(super) tree: Option<Tree>,
    pub(super) refresher: Refresher,
    /// `None`: the node is alone.
    pub(super) others: Option<Others>,
    /// `None`: no other node, or all are on this machine.
    pub(super) gathering: Option<Gathering>,
}

impl Asked {
    /// The last task has left: the report is written, or this node's part of it is on its way.
    pub(super) fn report(&self, outcome: RunOutcome) -> FromDaemon {
        let settings = &self.settings;
        let mut record = Record::make(settings, &self.recorder, self.cache.bytes(), outcome).ended();
        let apart = self.tree.iter().flat_map(Tree::views_apart);
        record.views_apart = apart.map(|view| report::text_of(&settings.views[view.position()])).collect();
        let uncompiled = bytecode::many_uncompiled(&self.cache, &settings.views);
        if settings.hand_up_record {
            return FromDaemon::Reported { error: None, record: record.to_json(), uncompiled };
        }
        let written = match &self.gathering {
            Some(gathering) => gathering.finish(&record),
            None => report::write_own(settings, record),
        };
        let error = written.err().map(|error| format!("{error:#}"));
        FromDaemon::Reported { error, record: None, uncompiled }
    }

    /// Does what is wished and answers with JSON in a memfd.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn answer(&self, wish: Wish) -> io::Result<OwnedFd> {
        let answer = match wish {
            Wish::Status => status::of(self),
            Wish::Refresh { paths } => {
                self.refresher.refresh(&self.settings.views, self.others.as_ref(), &paths)
            }
        };
        let memory = rustix::fs::memfd_create("spinney-answer", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        serde_json::to_writer(&mut file, &answer)?;
        Ok(file.into())
    }
}
