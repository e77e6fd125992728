//! The daemon's end of the line to its holder: says when it is ready and when it has ended, answers what it is asked,
//! and starts a new holder when the line goes dead.
//!
//! Not here: what the holder does (`holder::service`), what is answered (`asked`).

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::asked::Asked;
use super::line::Line;
use crate::holder::channel::Channel;
use crate::holder::estate::Estate;
use crate::holder::messages::{FromDaemon, ToDaemon};
use crate::holder::restart_holder;

/// Wait before trying again when no holder could be started: 1 s. The daemon serves on meanwhile.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a report that is being written when the last task has gone may take: 60 s. Nobody waits for it any more; storage
/// that takes longer hangs.
const REPORT_MAX: Duration = Duration::from_secs(60);

/// The line to the holder, served by a thread of its own.
pub(super) struct Control {
    ending: Arc<AtomicBool>,
    line: Line,
    listening: JoinHandle<LetGo>,
    reports: Arc<Reports>,
}

/// Whether the holder of a node without a mount has let it go, or is gone.
type LetGo = bool;

struct Listener {
    line: Line,
    estate: Estate,
    asked: Arc<Asked>,
    ending: Arc<AtomicBool>,
    reports: Arc<Reports>,
}

/// How many reports are being written.
#[derive(Default)]
struct Reports {
    count: Mutex<usize>,
    ended: Condvar,
}

/// One of them.
struct Writing(Arc<Reports>);

impl Control {
    /// Tells the holder that the daemon is ready, and listens to it from now on.
    pub(super) fn start(estate: Estate, line: Line, asked: Asked) -> io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        line.ready();
        let reports = Arc::<Reports>::default();
        let listener = Listener {
            line: line.clone(),
            estate,
            asked: Arc::new(asked),
            ending: ending.clone(),
            reports: reports.clone(),
        };
        let listening = Builder::new().name("control".into()).spawn(move || listener.listen())?;
        Ok(Control { ending, line, listening, reports })
    }

    /// Waits until the holder lets this node go, and returns the line to it, or until it is gone. Only of a node without
    /// a mount: else another holder takes its place.
    pub(super) fn until_let_go(self) -> Option<Line> {
        let let_go = Self::heard(self.listening);
        self.reports.wait();
        let_go.then_some(self.line)
    }

    /// Tells the holder that the kernel has ended every connection. Returns when the reports that it had asked for are
    /// written, for which it no longer waits itself.
    pub(super) fn end(self) {
        self.ending.store(true, Ordering::SeqCst);
        self.line.say(&FromDaemon::Ended);
        self.line.hear_no_more();
        Self::heard(self.listening);
        self.reports.wait();
    }

    /// Returns when all that the holder said was heard.
    fn heard(listening: JoinHandle<LetGo>) -> LetGo {
        // A panic ends the process.
        listening.join().unwrap_or(false)
    }
}

impl Listener {
    fn listen(mut self) -> LetGo {
        loop {
            match self.serve_holder() {
                Ok(_) if self.ending.load(Ordering::SeqCst) => return true,
                // A node without a mount has nothing that a holder would keep.
                let_go if self.estate.connections.is_empty() => return let_go.unwrap_or(false),
                Ok(_) => self.replace_holder(),
                Err(error) => {
                    tracing::error!(%error, "the line to the holder is broken");
                    self.replace_holder();
                }
            }
            // Whoever ended the old line meanwhile did not end the new one.
            if self.ending.load(Ordering::SeqCst) {
                return true;
            }
        }
    }

    /// Does what the holder asks until it is gone or lets the daemon go.
    fn serve_holder(&self) -> io::Result<LetGo> {
        let line = Channel::from(self.estate.peer.try_clone()?);
        while let Some((message, _)) = line.receive::<ToDaemon>()? {
            if message == ToDaemon::End {
                return Ok(true);
            }
            // Each has a thread of its own: a report may wait for other nodes.
            let (asked, line) = (self.asked.clone(), Channel::from(self.estate.peer.try_clone()?));
            let writing = matches!(message, ToDaemon::Report(_)).then(|| Writing::one(&self.reports));
            let answer = move || match message {
                ToDaemon::End => Ok(()),
                ToDaemon::Linger => {
                    asked.linger();
                    line.send(&FromDaemon::Unneeded, &[])
                }
                ToDaemon::Report(outcome) => line.send(&asked.report(outcome), &[]),
                ToDaemon::Ask { ticket, wish } => {
                    let answer = asked.answer(wish)?;
                    line.send(&FromDaemon::Told { ticket }, &[answer.as_fd()])
                }
            };
            Builder::new().name("asked".into()).stack_size(1024 * 1024).spawn(move || {
                // A holder that died meanwhile has a successor, which asks again.
                drop(answer());
                drop(writing);
            })?;
        }
        Ok(false)
    }

    fn replace_holder(&mut self) {
        tracing::warn!("the holder is gone; starting another");
        let replaced = restart_holder(&mut self.estate).and_then(|()| {
            let line = Channel::from(self.estate.peer.try_clone()?);
            line.send(&FromDaemon::Ready, &[])?;
            self.line.replace(line);
            Ok(())
        });
        if let Err(error) = replaced {
            tracing::error!(%error, "no holder could be started");
            std::thread::sleep(RETRY_AFTER);
        }
    }
}

impl Reports {
    /// Returns when none is being written, after [`REPORT_MAX`] at the latest.
    fn wait(&self) {
        let count = self.count.lock().unwrap_or_else(|e| e.into_inner());
        let _ = self.ended.wait_timeout_while(count, REPORT_MAX, |count| *count > 0);
    }
}

impl Writing {
    fn one(reports: &Arc<Reports>) -> Self {
        *reports.count.lock().unwrap_or_else(|e| e.into_inner()) += 1;
        Writing(reports.clone())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(|e| e.into_inner()) -= 1;
        self.0.ended.notify_all();
    }
}
