//! The holder's life after the founding: lets wrappers in and out, restarts the daemon, ends with the view.
//!
//! One thread, one `poll`. Whoever speaks is heard at once and nothing here waits for anybody, so a stopped
//! wrapper or a hung daemon holds up no other.
//!
//! Invariant: the namespaces are held exactly while a wrapper is here, its report is being written, or other nodes need
//! this one, so that tasks that come late find the view, and that afterwards the kernel, which alone knows all processes
//! inside, decides when it ends.
//!
//! Not here: the founding (`holder::founding`); starting processes (`holder::succession`).

use std::io;
use std::os::fd::AsFd;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::channel::Channel;
use super::estate::{Estate, Settings, WayIn};
use super::fusermount;
use super::guests::{Guests, Standing};
use super::ledger::Ledger;
use super::messages::{
    Farewell, FromDaemon, FromHolder, Summary, TaskEnd, ToDaemon, ToHolder, Uncompiled, Wanted, Welcome, Wish,
};
use super::namespaces::Namespaces;
use super::succession;
use crate::profile::recorder::{Counter, Recorder};

/// How long the last wrapper waits for the report to be written: 5 s. A shared file system may be slow, but
/// a hung one must not hold the command's exit code for ever.
const REPORT_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a restarted holder waits for the wrappers of its predecessor before it takes them for gone: 2 s.
/// They reconnect within a millisecond; a stopped one (Ctrl-Z) is found by the scan when it comes back.
const RESUME_WAIT_MAX: Duration = Duration::from_secs(2);

/// A daemon that lives shorter than this did not serve: 1 s. One that panics on its first request takes up to
/// 100 ms to do so in a debug build.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// So many short lives in a row and the holder gives up, which the wrappers see and report: 100.
const SHORT_LIVES_MAX: u32 = 100;

/// Pause after a daemon could not even be started, such as for want of memory: 100 ms, so 10 s until the holder
/// gives up. The one place where the holder waits: without a daemon there is nothing it could do for anybody.
const START_PAUSE: Duration = Duration::from_millis(100);

/// How long the last wrapper waits for the service to end with it: 50 ms. If other nodes need it longer it stays without.
const UNNEEDED_SOON: Duration = Duration::from_millis(50);

/// Exit code of a task whose wrapper vanished: the kernel then kills the task with SIGKILL, 128 + 9.
const EXIT_CODE_KILLED: i32 = 137;

/// A node's service, as its holder sees it.
#[derive(Debug)]
pub struct Service {
    estate: Estate,
    ledger: Ledger,
    recorder: Recorder,
    guests: Guests,
    /// Held while the view must stay although perhaps no process is inside.
    namespaces: Option<Namespaces>,
    /// Wrappers of the dead holder that have not yet been heard of.
    awaited: Awaited,
    /// The figures when the first of the present tasks came.
    before: Summary,
    /// No task is here, and the daemon has been told to stay while others need it.
    lingers: bool,
    /// When to stop waiting for a report, for wrappers to resume, or for the end of a service that lingers.
    deadline: Option<Instant>,
    report_error: Option<String>,
    /// The newest record of this node, until it is handed out.
    record: Option<serde_json::Value>,
    /// To be told to the last wrapper.
    uncompiled: Option<Uncompiled>,
    /// Whether one was told already.
    told_uncompiled: bool,
    /// With `fusermount3`: whether the mounts have been taken away again. Without a mount: whether the last task has left.
    unmounted: bool,
    /// The daemon said that the kernel ended every connection.
    ended: bool,
    /// The daemon, if it is this process's child; after a restart of the holder it is the parent.
    daemon: Option<Child>,
    daemon_started: Instant,
    short_lives: u32,
    /// Of the question passed on last.
    last_ticket: u64,
}

impl Service {
    /// A service that was just founded; `founder` is inside.
    ///
    /// # Errors
    /// The counters cannot be mapped.
    pub fn new(
        estate: Estate,
        ledger: Ledger,
        namespaces: Option<Namespaces>,
        founder: Channel,
        daemon: Child,
    ) -> io::Result<Self> {
        let mut service = Service::with(estate, ledger)?;
        service.daemon = Some(daemon);
        service.namespaces = namespaces;
        service.welcome_in(founder);
        Ok(service)
    }

    /// The service of a holder that died, continued by this process.
    ///
    /// # Errors
    /// The shared memory is not what it should be.
    pub fn resume(estate: Estate) -> io::Result<Self> {
        let ledger = Ledger::load(&estate.ledger)?;
        let mut service = Service::with(estate, ledger)?;
        service.recorder.count(Counter::FaultsHolderRestarts);
        service.awaited = Awaited { tasks: service.ledger.present, keeper: service.ledger.kept };
        service.deadline = Some(Instant::now() + RESUME_WAIT_MAX);
        if service.awaited.any() {
            // Their tasks may end before they are heard, and must not take the view with them.
            service.hold_namespaces();
        }
        Ok(service)
    }

    fn with(estate: Estate, ledger: Ledger) -> io::Result<Self> {
        let recorder = Recorder::shared_beside(&estate.counters)?;
        Ok(Service {
            estate,
            ledger,
            recorder,
            guests: Guests::default(),
            namespaces: None,
            awaited: Awaited::default(),
            before: Summary::default(),
            lingers: false,
            deadline: None,
            report_error: None,
            record: None,
            uncompiled: None,
            told_uncompiled: false,
            unmounted: false,
            ended: false,
            daemon: None,
            daemon_started: Instant::now(),
            short_lives: 0,
            last_ticket: 0,
        })
    }

    /// Serves until the view has ended and the daemon has left.
    ///
    /// # Errors
    /// The daemon cannot be kept alive, or `poll` fails.
    pub fn keep(mut self) -> io::Result<()> {
        loop {
            let news = self.wait()?;
            if news.daemon && !self.hear_daemon()? {
                // Waits until the kernel has reaped it, so that where nobody reaps orphans nothing stays.
                let _ = self.daemon.map(|mut daemon| daemon.wait());
                // The name before the connections, so that whoever sees us end can found anew at once.
                drop(self.estate.listener);
                return Ok(());
            }
            for place in news.guests.into_iter().rev() {
                self.hear_guest(place);
            }
            if news.listener {
                let _ = self.guests.accept(&self.estate.listener, self.estate.settings.caller.uid);
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.deadline_passed();
            }
        }
    }

    fn wait(&self) -> io::Result<News> {
        let mut all = vec![
            PollFd::new(&self.estate.peer, PollFlags::IN),
            PollFd::new(&self.estate.listener, PollFlags::IN),
        ];
        all.extend(self.guests.sockets().map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)));
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        rustix::io::retry_on_intr(|| poll(&mut all, timeout.as_ref()))?;
        let ready: Vec<bool> = all.iter().map(|fd| !fd.revents().is_empty()).collect();
        let guests = (2..ready.len()).filter(|&i| ready[i]).map(|i| i - 2).collect();
        Ok(News { daemon: ready[0], listener: ready[1], guests })
    }

    /// `false`: the daemon has left for good.
    fn hear_daemon(&mut self) -> io::Result<bool> {
        let daemon = Channel::from(self.estate.peer.try_clone()?);
        match daemon.receive()? {
            Some((FromDaemon::Ready, _)) => {}
            // It ends now, which is the next thing to be heard of it.
            Some((FromDaemon::Failed(failed), _)) => tracing::error!(%failed, "the daemon cannot serve"),
            Some((FromDaemon::Reported { error, record, uncompiled }, _)) => {
                self.report_error = error;
                self.record = record;
                self.uncompiled = uncompiled.filter(|_| !self.told_uncompiled);
                self.dismiss();
            }
            Some((FromDaemon::Told { ticket }, answer)) => {
                let answer: Vec<_> = answer.iter().map(AsFd::as_fd).collect();
                self.guests.answer(ticket, &answer);
            }
            Some((FromDaemon::Trouble(trouble), _)) => self.guests.tell_user(trouble),
            Some((FromDaemon::Unneeded, _)) => self.unneeded(),
            Some((FromDaemon::GoDown, _)) => self.go_down(),
            Some((FromDaemon::Ended, _)) => {
                self.ended = true;
                self.guests.tell(Standing::Present, &FromHolder::Ended, Standing::Present);
                self.guests.tell(Standing::Keeping, &FromHolder::Ended, Standing::Keeping);
            }
            None if self.ended || self.has_no_more_tasks() => return Ok(false),
            None => self.restart_daemon()?,
        }
        Ok(true)
    }

    fn restart_daemon(&mut self) -> io::Result<()> {
        let short = self.daemon_started.elapsed() < SHORT_LIFE;
        self.short_lives = if short { self.short_lives + 1 } else { 0 };
        if self.short_lives >= SHORT_LIVES_MAX {
            return Err(io::Error::other("the daemon dies as soon as it is started; giving up"));
        }
        tracing::warn!(short_lives = self.short_lives, "the daemon died; starting another");
        self.daemon_started = Instant::now();
        match succession::start_daemon(&mut self.estate) {
            Ok(daemon) => self.daemon = Some(daemon),
            Err(error) => {
                // The line stays closed, so the next turn of the loop tries again.
                tracing::error!(%error, "no daemon could be started");
                std::thread::sleep(START_PAUSE);
                return Ok(());
            }
        }
        self.recorder.count(Counter::FaultsDaemonRestarts);
        self.guests.dismiss_askers();
        if self.lingers {
            self.tell_daemon(&ToDaemon::Linger);
        } else if self.guests.count(Standing::Leaving) > 0 {
            self.ask_for_report();
        }
        Ok(())
    }

    fn hear_guest(&mut self, place: usize) {
        let message = self.guests.at(place).channel.receive();
        match message {
            Ok(Some((ToHolder::Join { wanted }, _))) => self.join(place, wanted.as_ref()),
            Ok(Some((ToHolder::Resume { task, keeps }, _))) => self.resume_guest(place, task, keeps),
            Ok(Some((ToHolder::Leave { ended }, _))) => self.leave(place, ended),
            Ok(Some((ToHolder::Ask(wish), _))) => self.ask(place, wish),
            // Founding is over; whoever repeats it here is no wrapper of ours.
            Ok(Some(_)) | Err(_) | Ok(None) => self.lost(place),
        }
    }

    fn join(&mut self, place: usize, wanted: Option<&Wanted>) {
        let settings = &self.estate.settings;
        let way_in = settings.way_in;
        if wanted.is_some_and(|wanted| !settings.are(wanted)) {
            return self.turn_away(place, &FromHolder::Elsewhere);
        }
        self.hold_namespaces();
        let closed = self.ended || self.unmounted || self.ledger.going_down || !self.ledger.inside;
        if closed || (way_in.has_namespace() && self.namespaces.is_none()) {
            return self.turn_away(place, &FromHolder::Fading);
        }
        if std::mem::take(&mut self.lingers) {
            self.say_farewell();
        }
        if self.present() == 0 {
            self.before = self.summary();
        }
        let guest = self.guests.at(place);
        let settings = &self.estate.settings;
        let welcome =
            FromHolder::Welcome(Welcome { way_in, gid: settings.caller.gid, views: settings.views.clone() });
        let descriptors = self.namespaces.as_ref().map(Namespaces::descriptors).unwrap_or_default();
        if guest.channel.send_now(&welcome, &descriptors).is_ok() {
            guest.standing = Standing::Present;
            self.recorder.count(Counter::TasksJoined);
            self.guests_changed();
        } else {
            self.guests.remove(place);
        }
    }

    fn turn_away(&mut self, place: usize, why: &FromHolder) {
        let _ = self.guests.at(place).channel.send_now(why, &[]);
        self.guests.remove(place);
    }

    /// From now on the service ends with the last task.
    fn go_down(&mut self) {
        self.ledger.going_down = true;
        self.store();
        self.guests.tell(Standing::Keeping, &FromHolder::GoDown, Standing::Keeping);
    }

    /// Passes a question on to the daemon. One that is just dying does not take it: whoever asks sees that.
    fn ask(&mut self, place: usize, wish: Wish) {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.guests.at(place).standing = Standing::Asking(ticket);
        let daemon = self.estate.peer.try_clone().map(Channel::from);
        if daemon.and_then(|daemon| daemon.send_now(&ToDaemon::Ask { ticket, wish }, &[])).is_err() {
            self.guests.remove(place);
        }
    }

    fn resume_guest(&mut self, place: usize, task: i32, keeps: bool) {
        if self.namespaces.is_none() {
            self.namespaces = Namespaces::of(&task.to_string(), self.estate.settings.way_in)
                .ok()
                .filter(|found| found.inode().ok() == self.ledger.mount_namespace);
        }
        self.guests.at(place).standing = if keeps { Standing::Keeping } else { Standing::Present };
        self.awaited.has_come(keeps);
        self.ledger.inside = true;
        self.guests_changed();
        if self.ledger.going_down {
            self.go_down();
        }
    }

    /// Opens the tasks' namespaces through any process that is inside, if there is one.
    fn hold_namespaces(&mut self) {
        let way_in = self.estate.settings.way_in;
        if way_in.has_namespace() && self.namespaces.is_none() {
            let inode = self.ledger.mount_namespace;
            self.namespaces = inode.and_then(|inode| Namespaces::of_any_inside(inode, way_in));
        }
    }

    /// Wrappers with a task inside, those included that a dead holder had and that are still to be heard of.
    fn present(&self) -> usize {
        self.guests.count(Standing::Present) + self.awaited.tasks
    }

    fn is_kept(&self) -> bool {
        self.guests.count(Standing::Keeping) > 0 || self.awaited.keeper
    }

    /// Writes down how many there are now; whoever is here makes a deadline for the last to leave void.
    fn guests_changed(&mut self) {
        if !self.awaited.any() && (self.present() > 0 || self.is_kept()) {
            self.deadline = None;
        }
        self.store();
    }

    fn leave(&mut self, place: usize, ended: Option<TaskEnd>) {
        self.guests.at(place).standing = Standing::Leaving;
        self.guest_left(ended);
        if self.present() > 0 {
            self.say_farewell();
        } else {
            self.ask_for_report();
        }
    }

    /// The guest closed its connection: after its farewell, or because it was killed.
    fn lost(&mut self, place: usize) {
        match self.guests.remove(place) {
            standing @ (Standing::Present | Standing::Keeping) => {
                let killed = TaskEnd { rank: u64::MAX, exit_code: EXIT_CODE_KILLED };
                self.guest_left((standing == Standing::Present).then_some(killed));
                if self.present() == 0 {
                    self.ask_for_report();
                }
            }
            Standing::New | Standing::Asking(_) | Standing::Leaving | Standing::Dismissed => {}
        }
    }

    fn guest_left(&mut self, ended: Option<TaskEnd>) {
        if let Some(TaskEnd { rank, exit_code }) = ended {
            self.ledger.task_ended(rank, exit_code);
        }
        self.store();
    }

    fn store(&mut self) {
        self.ledger.present = self.present();
        self.ledger.kept = self.is_kept();
        if let Err(error) = self.ledger.store(&self.estate.ledger) {
            tracing::error!(%error, "the ledger cannot be written");
        }
    }

    fn ask_for_report(&mut self) {
        self.deadline = Some(Instant::now() + REPORT_WAIT_MAX);
        self.tell_daemon(&ToDaemon::Report(self.ledger.outcome()));
    }

    /// A daemon that is just dying does not take it; its successor is asked again.
    fn tell_daemon(&self, message: &ToDaemon) {
        let daemon = self.estate.peer.try_clone().map(Channel::from);
        let _ = daemon.and_then(|daemon| daemon.send_now(message, &[]));
    }

    fn deadline_passed(&mut self) {
        if self.awaited.any() {
            tracing::warn!(awaited = ?self.awaited, "wrappers of the dead holder were not heard of");
            self.awaited = Awaited::default();
            self.guests_changed();
            if self.present() == 0 {
                self.ask_for_report();
            }
            return;
        }
        if self.lingers {
            self.deadline = None;
            return self.say_farewell();
        }
        if self.guests.count(Standing::Leaving) > 0 {
            self.report_error = Some("the daemon did not answer within 5 s".to_owned());
        }
        self.dismiss();
    }

    /// The report is written, or will not be: lets the last wrappers go, and the view with them if nobody else needs it.
    fn dismiss(&mut self) {
        self.deadline = None;
        // If somebody came in meanwhile, that one is now the last and asks again.
        if self.present() > 0 || self.is_kept() {
            self.say_farewell();
        } else if self.has_other_nodes() {
            self.lingers = true;
            self.deadline = Some(Instant::now() + UNNEEDED_SOON);
            self.tell_daemon(&ToDaemon::Linger);
        } else {
            self.let_go();
        }
    }

    /// Whether other nodes may need this one when its own tasks have left. Those of one machine start and end together; and a
    /// mount that the whole machine sees does not outlive its tasks.
    fn has_other_nodes(&self) -> bool {
        let Settings { cluster, way_in, .. } = &self.estate.settings;
        let on_machines =
            cluster.as_ref().is_some_and(|cluster| cluster.n_nodes() > 1 && cluster.nodes_here <= 1);
        on_machines && *way_in != WayIn::Fusermount
    }

    /// No other node needs this one. Said too late, it is said again when the tasks that have come have left.
    fn unneeded(&mut self) {
        if std::mem::take(&mut self.lingers) {
            self.deadline = None;
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        // Before the farewell, so that a wrapper that hears it sees the end soon.
        self.namespaces = None;
        self.unmount();
        self.end_without_mounts();
        self.say_farewell();
    }

    /// To all whose tasks have ended; the last of them sum up.
    fn say_farewell(&mut self) {
        let summary = (self.present() == 0).then(|| self.summary().since(&self.before));
        let uncompiled = self.uncompiled.take_if(|_| summary.is_some());
        self.told_uncompiled |= uncompiled.is_some();
        let farewell = FromHolder::Farewell(Farewell {
            summary,
            stays: self.is_kept() || self.lingers,
            mount_namespace: self.ledger.mount_namespace,
            report_error: self.report_error.take(),
            record: self.record.take(),
            uncompiled,
        });
        self.guests.tell(Standing::Leaving, &farewell, Standing::Dismissed);
    }

    /// With `fusermount3` the kernel does not end the view by itself.
    fn unmount(&mut self) {
        if self.estate.settings.way_in != WayIn::Fusermount || self.unmounted {
            return;
        }
        self.unmounted = true;
        let settings = &self.estate.settings;
        fusermount::unmount_all(&settings.views, settings.mount_under.as_ref());
    }

    /// A node without a mount has nothing whose end the kernel would tell.
    fn end_without_mounts(&mut self) {
        if self.estate.settings.way_in != WayIn::Direct || self.unmounted {
            return;
        }
        self.unmounted = true; // nobody is let in any more
        self.tell_daemon(&ToDaemon::End); // one that is just dying leaves as well
    }

    fn has_no_more_tasks(&self) -> bool {
        self.estate.settings.way_in == WayIn::Direct && self.unmounted
    }

    fn welcome_in(&mut self, founder: Channel) {
        if self.ledger.kept {
            self.guests.add(founder, Standing::Keeping);
        } else {
            self.guests.add(founder, Standing::Present);
            self.recorder.count(Counter::TasksJoined);
        }
        self.guests_changed();
    }

    fn summary(&self) -> Summary {
        let get = |counter| self.recorder.get(counter);
        let answers = [Counter::AnswersCache, Counter::AnswersParent, Counter::AnswersStorage];
        let requests = Counter::ALL.iter().filter(|c| c.name().starts_with("fuse."));
        Summary {
            views: self.estate.settings.views.clone(),
            requests: requests.map(|c| get(*c)).sum::<u64>() - get(Counter::FuseForget),
            from_memory: get(Counter::AnswersCache),
            answers: answers.into_iter().map(get).sum(),
            storage_calls: get(Counter::StorageMetadata) + get(Counter::StorageReads),
            storage_bytes: get(Counter::StorageBytes),
            ready_seconds: (!self.estate.settings.kept).then(|| self.ledger.ready_seconds()),
            nodes: 1,
            tasks: get(Counter::TasksJoined),
            restarts: get(Counter::FaultsDaemonRestarts) + get(Counter::FaultsHolderRestarts),
            asked_by_others: get(Counter::WireRequestsIn),
        }
    }
}

/// Those that a dead holder had and its successor has not yet heard of.
#[derive(Debug, Clone, Copy, Default)]
struct Awaited {
    tasks: usize,
    keeper: bool,
}

impl Awaited {
    fn any(self) -> bool {
        self.tasks > 0 || self.keeper
    }

    fn has_come(&mut self, keeps: bool) {
        if keeps {
            self.keeper = false;
        } else {
            self.tasks = self.tasks.saturating_sub(1);
        }
    }
}

/// Who has something to say.
struct News {
    daemon: bool,
    listener: bool,
    /// Places among the guests, ascending.
    guests: Vec<usize>,
}
