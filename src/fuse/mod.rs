//! The kernel's FUSE protocol, and the only folder that knows it. It decides nothing: every question goes to
//! the view.
//!
//! Invariant: a request that was read is answered, by this process or by its successor.
//!
//! Invariant: notifications come from a thread of their own, which owes no answer: they wait for locks that
//! pending requests hold.
//!
//! Not here: mounting (`enter`), what is shown (`view`).

mod abi;
mod channel;
mod kept;
mod pending;
mod replies;
mod request;
mod serve;
mod session;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use self::channel::Channel;
pub use self::channel::KernelMemory;
pub use self::kept::REQUESTS_SHARED_BYTES;
use self::kept::{KeptRequests, WORKERS_MAX};
use self::pending::Pending;
pub use self::serve::Blocking;
use self::serve::Connection;
pub use self::session::Masked;
use crate::file::Freshness;
use crate::profile::recorder::Recorder;
use crate::view::{NodeId, View};

/// What a connection is served with.
pub struct Serving {
    /// The opened and mounted `/dev/fuse`.
    pub device: OwnedFd,
    /// memfd that keeps requests for a successor.
    pub requests: File,
    /// What is shown.
    pub view: View,
    /// How old what is told may be. If it is limited the kernel keeps no listings: it would ask for none again while a
    /// process is in the directory.
    pub freshness: Freshness,
    /// Features to do without.
    pub masked: Masked,
    /// What the kernel may remember.
    pub memory: KernelMemory,
    /// Threads that read requests.
    pub workers: usize,
    /// How a worker is allowed to block.
    pub blocking: Blocking,
    /// Where requests are counted.
    pub recorder: Recorder,
}

/// A connection being served.
pub struct Session {
    threads: Vec<JoinHandle<()>>,
    watcher: JoinHandle<()>,
    connection: Arc<Connection>,
    notifier: Notifier,
}

/// Tells the kernel what to forget, from a thread of its own. Cloning shares the thread.
#[derive(Clone)]
pub struct Notifier(Sender<Notice>);

enum Notice {
    Entry(NodeId, Box<[u8]>),
    Content(NodeId),
    Doubt(NodeId, Box<[u8]>),
    Settle(Sender<()>),
}

impl Notifier {
    /// Makes the kernel look `name` in `parent` up again.
    pub fn forget_entry(&self, parent: NodeId, name: &[u8]) {
        // The thread ends with the connection; there is then nothing to forget.
        let _ = self.0.send(Notice::Entry(parent, name.into()));
    }

    /// Makes the kernel ask whether `name` in `parent` still leads where it led. Whoever uses it now goes on (Linux 6.2;
    /// before, it is forgotten).
    pub fn doubt_entry(&self, parent: NodeId, name: &[u8]) {
        let _ = self.0.send(Notice::Doubt(parent, name.into()));
    }

    /// Waits until the kernel has been told everything.
    pub fn settle(&self) {
        let (told, all) = channel();
        if self.0.send(Notice::Settle(told)).is_ok() {
            let _ = all.recv();
        }
    }

    /// Makes the kernel drop attributes and pages of `node`.
    pub fn forget_content(&self, node: NodeId) {
        let _ = self.0.send(Notice::Content(node));
    }
}

/// Starts to serve a connection: a new one, or one that another process left.
///
/// # Errors
/// The shared memory cannot be mapped, or no thread can be started.
pub fn serve(serving: Serving) -> io::Result<Session> {
    let kept = KeptRequests::open(&serving.requests)?;
    let connection = Arc::new(Connection {
        channel: Channel::new(serving.device, serving.memory),
        kept,
        pending: Pending::default(),
        view: serving.view,
        masked: Masked {
            no_opendir: serving.masked.no_opendir || serving.freshness.is_limited(),
            ..serving.masked
        },
        freshness: serving.freshness,
        blocking: serving.blocking,
        recorder: serving.recorder,
        readers: 0.into(),
        giving: Mutex::default(),
    });
    let notifier = start_notifier(connection.channel.clone())?;
    take_over(&connection);
    let workers = serving.workers.clamp(2, WORKERS_MAX);
    let threads = (0..workers)
        .map(|number| {
            let connection = connection.clone();
            Builder::new().name("fuse".into()).stack_size(512 * 1024).spawn(move || connection.work(number))
        })
        .collect::<io::Result<_>>()?;
    let watched = connection.clone();
    let watcher = Builder::new()
        .name("interrupts".into())
        .stack_size(128 * 1024)
        .spawn(move || watched.pending.watch(&watched.channel, watched.recorder))?;
    Ok(Session { threads, watcher, connection, notifier })
}

/// Answers what a dead daemon had read, or has the kernel send it again where it can.
fn take_over(connection: &Arc<Connection>) {
    let owed = connection.kept.take_owed();
    if session::can_resend(&connection.kept) && connection.channel.resend() {
        drop(owed);
        return;
    }
    owed.into_iter().for_each(|slot| connection.answer_owed(slot));
}

fn start_notifier(kernel: Channel) -> io::Result<Notifier> {
    let (sender, notices) = channel();
    Builder::new().name("notifier".into()).stack_size(128 * 1024).spawn(move || {
        for notice in notices {
            match notice {
                Notice::Entry(parent, name) => kernel.forget_entry(parent, &name),
                Notice::Content(node) => kernel.forget_content(node),
                Notice::Doubt(parent, name) => kernel.doubt_entry(parent, &name),
                Notice::Settle(told) => drop(told.send(())),
            }
        }
    })?;
    Ok(Notifier(sender))
}

impl Session {
    /// A handle that tells the kernel what to forget.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Waits until the kernel ends the connection, which it does when the last process inside is gone.
    pub fn wait(self) {
        for thread in self.threads {
            // A worker that panicked has been logged; the others have served on.
            let _ = thread.join();
        }
        self.connection.pending.stop();
        let _ = self.watcher.join();
    }
}
