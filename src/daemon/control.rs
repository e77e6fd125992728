//! The daemon's end of the line to its holder: says when it is ready and when it has ended, writes the report
//! when asked, and starts a new holder when the line goes dead.
//!
//! Not here: what the holder does (`holder::service`), what stands in the report (`report`).

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::Builder;
use std::time::Duration;

use super::record::Record;
use super::{bytecode, report};
use crate::cache::Cache;
use crate::holder::channel::Channel;
use crate::holder::estate::Estate;
use crate::holder::messages::{FromDaemon, RunOutcome, ToDaemon};
use crate::holder::restart_holder;
use crate::profile::recorder::Recorder;
use crate::tree::Tree;

/// Wait before trying again when no holder could be started: 1 s. The daemon serves on meanwhile.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The line to the holder, served by a thread of its own.
pub(super) struct Control {
    ending: Arc<AtomicBool>,
    /// Another descriptor of the line to the holder of the day, to say that the daemon has ended.
    line: Arc<Mutex<Channel>>,
}

struct Listener {
    line: Arc<Mutex<Channel>>,
    estate: Estate,
    recorder: Recorder,
    cache: Cache,
    tree: Option<Tree>,
    ending: Arc<AtomicBool>,
}

fn lock(line: &Mutex<Channel>) -> MutexGuard<'_, Channel> {
    line.lock().unwrap_or_else(|e| e.into_inner())
}

impl Control {
    /// Tells the holder that the daemon is ready, and listens to it from now on.
    pub(super) fn start(
        estate: Estate,
        recorder: Recorder,
        cache: Cache,
        tree: Option<Tree>,
    ) -> io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let line = Arc::new(Mutex::new(Channel::from(estate.peer.try_clone()?)));
        // A holder that has just died is noticed by the listener.
        let _ = lock(&line).send(&FromDaemon::Ready, &[]);
        let listener = Listener { line: line.clone(), estate, recorder, cache, tree, ending: ending.clone() };
        Builder::new().name("control".into()).spawn(move || listener.listen())?;
        Ok(Control { ending, line })
    }

    /// Tells the holder that the kernel has ended every connection.
    pub(super) fn end(self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = lock(&self.line).send(&FromDaemon::Ended, &[]);
    }
}

impl Listener {
    fn listen(mut self) {
        loop {
            match self.serve_holder() {
                Ok(()) if self.ending.load(Ordering::SeqCst) => return,
                Ok(()) => self.replace_holder(),
                Err(error) => {
                    tracing::error!(%error, "the line to the holder is broken");
                    self.replace_holder();
                }
            }
        }
    }

    /// Does what the holder asks until it is gone.
    fn serve_holder(&self) -> io::Result<()> {
        let line = Channel::from(self.estate.peer.try_clone()?);
        while let Some((message, _)) = line.receive::<ToDaemon>()? {
            match message {
                ToDaemon::Report(outcome) => line.send(&self.report(outcome), &[])?,
            }
        }
        Ok(())
    }

    fn report(&self, outcome: RunOutcome) -> FromDaemon {
        let settings = &self.estate.settings;
        let mut record = Record::make(settings, &self.recorder, self.cache.bytes(), outcome);
        let apart = self.tree.iter().flat_map(Tree::views_apart);
        record.views_apart = apart.map(|view| report::text_of(&settings.views[view.position()])).collect();
        let uncompiled = bytecode::many_uncompiled(&self.cache, &settings.views);
        if settings.hand_up_record {
            return FromDaemon::Reported { error: None, record: record.to_json(), uncompiled };
        }
        let error = report::write_own(settings, record).err().map(|error| format!("{error:#}"));
        FromDaemon::Reported { error, record: None, uncompiled }
    }

    fn replace_holder(&mut self) {
        tracing::warn!("the holder is gone; starting another");
        let replaced = restart_holder(&mut self.estate).and_then(|()| {
            let line = Channel::from(self.estate.peer.try_clone()?);
            line.send(&FromDaemon::Ready, &[])?;
            *lock(&self.line) = line;
            Ok(())
        });
        if let Err(error) = replaced {
            tracing::error!(%error, "no holder could be started");
            std::thread::sleep(RETRY_AFTER);
        }
    }
}
