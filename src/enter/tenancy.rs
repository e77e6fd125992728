//! The wrapper while its task is inside: keeps the connection to the holder, leaves with the task's end.
//!
//! The connection says to the holder that a task is here. If the holder dies, the daemon starts another, which
//! is found under the same name. Only if both are dead does nobody answer; then the view gives errors that
//! storage never gave, and programs take those for "no such file": all tasks inside are stopped, loudly.
//!
//! Not here: signals and the task itself (`enter::ward`).

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::descriptors;
use super::election;
use super::launched::ToLauncher;
use super::plan::Plan;
use super::signals;
use super::summary;
use super::talk;
use super::task::{End, Task};
use super::ward::{News, Ward};
use crate::holder::channel::Channel;
use crate::holder::estate::WayIn;
use crate::holder::fusermount;
use crate::holder::messages::{Farewell, FromHolder, Summary, TaskEnd, ToHolder, Uncompiled};
use crate::holder::namespaces::{mount_namespace_of, processes_inside};

/// How long the farewell may take: the report's 5 s and a little.
const FAREWELL_MAX: Duration = Duration::from_secs(6);

/// How long the end of the service takes if no process is left inside: a few milliseconds. After this the
/// wrapper looks whether there are others.
const END_SOON: Duration = Duration::from_millis(50);

/// How long it is waited for at most: 2 s.
const END_MAX: Duration = Duration::from_secs(2);

/// How often the wrapper looks for a new holder before it takes the service for gone, with [`PAUSE`] between:
/// a holder that dies again and again is none.
const RECONNECTS_MAX: u32 = 100;

/// Between two such looks: 10 ms.
const PAUSE: Duration = Duration::from_millis(10);

/// A task inside, and what its wrapper holds meanwhile.
pub struct Tenancy {
    /// Under which the holder, or its successor, is found.
    pub name: String,
    /// The signals.
    pub ward: Ward,
    /// The task.
    pub task: Task,
    /// The connection to the holder, while there is one.
    pub holder: Option<Channel>,
    /// The holder that this wrapper started itself and must reap.
    pub first_holder: Option<Child>,
    /// Whether the task is none, but keeps the service for those to come.
    pub keeps: bool,
    /// How the task got in.
    pub way: WayIn,
    /// What is shown.
    pub views: Vec<PathBuf>,
    /// Where, if not in place.
    pub mount_under: Option<PathBuf>,
}

/// How it came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The task's own way.
    Task(End),
    /// The service was lost, and the wrapper stopped the task.
    Lost,
}

impl Tenancy {
    /// Stays until the task has ended, then leaves and sums up.
    ///
    /// # Errors
    /// The wrapper cannot wait for its task any more.
    pub fn stay(mut self, plan: &Plan) -> io::Result<Outcome> {
        descriptors::release_inherited();
        let mut reconnects = 0;
        let end = loop {
            let line = self.holder.as_ref().map(AsFd::as_fd);
            match self.ward.next(&self.task, line)? {
                News::Ended(end) => break end,
                News::Line => {
                    if !self.hear_holder(plan, &mut reconnects) {
                        return Ok(Outcome::Lost);
                    }
                }
            }
        };
        self.leave(plan, end)?;
        // However the keeper ended, the service was let go.
        Ok(Outcome::Task(if self.keeps { End::Exited(0) } else { end }))
    }

    /// `false`: the service is lost, and the tasks with it.
    fn hear_holder(&mut self, plan: &Plan, reconnects: &mut u32) -> bool {
        let Some(holder) = self.holder.take() else { return true };
        match holder.receive::<FromHolder>() {
            Ok(Some((FromHolder::Ended, _))) if self.view_is_dead() => self.stop_everything(),
            Ok(Some((FromHolder::Ended, _))) => {
                plan.request.talk.warn("the view was unmounted; the command goes on with storage itself");
                true
            }
            Ok(Some((message, _))) => {
                match message {
                    FromHolder::GoDown => signals::send(self.task.number(), libc::SIGTERM),
                    FromHolder::Trouble(trouble) => plan.request.talk.warn(trouble),
                    _ => {}
                }
                self.holder = Some(holder);
                true
            }
            // The task has storage itself, and goes on.
            Ok(None) | Err(_) if self.way == WayIn::Direct => true,
            Ok(None) | Err(_) => {
                self.holder = self.find_successor(reconnects);
                self.holder.is_some() || self.stop_everything()
            }
        }
    }

    /// The holder died: connects to the one that the daemon starts. `None`: the daemon is dead too.
    fn find_successor(&mut self, reconnects: &mut u32) -> Option<Channel> {
        if let Some(dead) = &mut self.first_holder {
            let _ = dead.try_wait();
        }
        if *reconnects > 0 {
            std::thread::sleep(PAUSE);
        }
        *reconnects += 1;
        if *reconnects > RECONNECTS_MAX { None } else { self.resume() }
    }

    fn resume(&self) -> Option<Channel> {
        let holder = election::reconnect(&self.name, rustix::process::geteuid().as_raw()).ok()?;
        holder.send(&ToHolder::Resume { task: self.task.number(), keeps: self.keeps }, &[]).ok()?;
        Some(holder)
    }

    /// The view is dead, and what is inside would take its errors for absent files. Always `false`.
    fn stop_everything(&self) -> bool {
        talk::error("the service of the view was lost; the command was stopped", None);
        kill_all(self.way, &self.task);
        if self.way == WayIn::Fusermount {
            fusermount::unmount_all(&self.views, self.mount_under.as_ref());
        }
        false
    }

    /// Asks the view, as the task sees it, a question that the kernel never answers from memory (`statfs`).
    fn view_is_dead(&self) -> bool {
        let Some(shown) = self.mount_under.as_ref().or(self.views.first()) else { return false };
        let root = Path::new("/proc").join(self.task.number().to_string()).join("root");
        let seen = root.join(shown.strip_prefix("/").unwrap_or(shown));
        matches!(rustix::fs::statfs(&seen), Err(Errno::NOTCONN | Errno::CONNABORTED))
    }

    fn leave(&mut self, plan: &Plan, end: End) -> io::Result<()> {
        let ended = TaskEnd { rank: plan.job.rank, exit_code: end.exit_code() };
        let message = ToHolder::Leave { ended: (!self.keeps).then_some(ended) };
        let mut farewell = self.farewell(plan, &message)?;
        if farewell.is_none() {
            // The holder may have died just now; a new one can say it as well.
            self.holder = self.resume();
            farewell = self.farewell(plan, &message)?;
        }
        let Some(farewell) = farewell else { return Ok(()) };
        let talk = plan.request.talk;
        if let Some(error) = farewell.report_error {
            talk.warn(format_args!("the report could not be written: {error}"));
        }
        if let (Some(record), Some(launched)) = (farewell.record, &plan.launched) {
            let _ = launched.tell(&ToLauncher::Record(record));
        }
        if let Some(Uncompiled { modules, directory }) = farewell.uncompiled {
            talk.warn(format_args!(
                "{modules} modules have no bytecode, so every process compiles them again; remedy: \
                 python3 -m compileall -q {}",
                directory.display()
            ));
        }
        if let Some(summary) = farewell.summary {
            if !farewell.stays {
                self.see_the_end(farewell.mount_namespace)?;
            }
            match &plan.launched {
                Some(launched) => drop(launched.tell(&ToLauncher::Summary(summary))),
                // Once for all nodes, or a large job would end with a line from each.
                None if plan.is_first_node() => talk.sum_up(self.line(&summary)),
                None => talk.note(self.line(&summary)),
            }
        }
        Ok(())
    }

    fn line(&self, summary: &Summary) -> String {
        match self.way {
            WayIn::Direct => summary::line_of_direct(summary),
            _ => summary::line(summary),
        }
    }

    fn farewell(&self, plan: &Plan, message: &ToHolder) -> io::Result<Option<Farewell>> {
        let Some(holder) = &self.holder else { return Ok(None) };
        let deadline = Instant::now() + FAREWELL_MAX;
        if holder.send(message, &[]).is_err() {
            return Ok(None);
        }
        while self.ward.linger(holder.as_fd(), deadline)? {
            match holder.receive()? {
                Some((FromHolder::Farewell(farewell), _)) => return Ok(Some(farewell)),
                Some((FromHolder::Trouble(trouble), _)) => plan.request.talk.warn(trouble),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Waits until nothing is left, unless other processes are still inside and keep it.
    fn see_the_end(&mut self, mount_namespace: Option<u64>) -> io::Result<()> {
        let Some(holder) = &self.holder else { return Ok(()) };
        let began = Instant::now();
        let mut gone = self.gone_by(holder, began + END_SOON)?;
        if !gone && mount_namespace.is_some_and(|inode| processes_inside(inode).next().is_none()) {
            gone = self.gone_by(holder, began + END_MAX)?;
        }
        if let (true, Some(holder)) = (gone, &mut self.first_holder) {
            // Its connection is closed, so it is ending now; where nobody reaps orphans it would stay a zombie.
            let _ = holder.wait();
        }
        Ok(())
    }

    fn gone_by(&self, holder: &Channel, deadline: Instant) -> io::Result<bool> {
        while self.ward.linger(holder.as_fd(), deadline)? {
            if holder.receive::<FromHolder>()?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Kills every process that may see the dead view: those in the namespace, or the task and what it started.
fn kill_all(way: WayIn, task: &Task) {
    let namespace = mount_namespace_of(&task.number().to_string());
    let ours = mount_namespace_of("self");
    match namespace {
        Some(inode) if way.has_namespace() && namespace != ours => {
            // Again until none is left: one that was missed may have forked meanwhile.
            let deadline = Instant::now() + END_MAX;
            while Instant::now() < deadline {
                let pids: Vec<i32> = processes_inside(inode).collect();
                if pids.is_empty() {
                    break;
                }
                pids.into_iter().for_each(|pid| signals::send(pid, libc::SIGKILL));
            }
        }
        _ => kill_tree(task.number()),
    }
    task.reap();
}

/// Children before parents would let a parent start another; so the parent first.
fn kill_tree(pid: i32) {
    signals::send(pid, libc::SIGSTOP);
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    signals::send(pid, libc::SIGKILL);
    for child in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
        kill_tree(child);
    }
}
