//! Services that run already, seen from a process that is no part of them: finding and asking them.
//!
//! A service is found by the abstract socket of its holder, which passes questions on to the daemon.
//!
//! Invariant: a service that does not answer is passed by after a while, and the others are asked all the same.
//!
//! Not here: what is answered (`daemon::asked`), joining a service (`enter`).

pub mod down;
pub mod outside;
pub mod refresh;
pub mod snapshot;
pub mod status;
pub mod top;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::enter::election;
use crate::enter::job::Job;
use crate::enter::plan::kept_prefix;
use crate::holder::channel::Channel;
use crate::holder::messages::{FromHolder, ToHolder, Wish};
use crate::text::some_of;

/// Flag of a listening socket in `/proc/net/unix` (`__SO_ACCEPTCON`, `include/linux/net.h`).
const LISTENS: &str = "00010000";

/// How long a service may take to say which job it is of: 5 s.
const STATUS_MAX: Duration = Duration::from_secs(5);

/// Names of the services of this user on this machine, those included that are just being founded.
pub fn names() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let mine = format!("@spinney-{}-", rustix::process::geteuid().as_raw());
    let name = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (flags, path) = (words.nth(3)?, words.nth(3)?);
        (flags == LISTENS && path.starts_with(&mine)).then(|| path[1..].to_owned())
    };
    let mut names: Vec<String> = table.lines().filter_map(name).collect();
    names.sort();
    names.dedup();
    names
}

/// Those that `spinney up` keeps for `job`.
pub fn kept(job: &Job, uid: u32) -> Vec<String> {
    let prefix = kept_prefix(job, uid);
    names().into_iter().filter(|name| name.starts_with(&prefix)).collect()
}

/// The services of `job`, or of all jobs of this user on this machine, those of one cluster together: its nodes tell each
/// other, so that one of them is to be asked. Nodes that are alone are asked each.
pub fn by_cluster(job: Option<&str>) -> Vec<Vec<String>> {
    let mut clusters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, status) in ask_all(&names(), &Wish::Status, STATUS_MAX) {
        let of_job = status["job"].as_str().unwrap_or("").to_owned();
        if job.is_some_and(|job| job != of_job) {
            continue;
        }
        let key = if status["tree"].is_null() { name.clone() } else { format!("job {of_job}") };
        clusters.entry(key).or_default().push(name);
    }
    clusters.into_values().collect()
}

/// Which nodes a service could not tell what it was asked to tell all, in words; none if there are none.
fn missed(answer: &Value) -> Option<String> {
    let ranks = answer["missed_nodes"].as_array().into_iter().flatten();
    let ranks: Vec<u32> = ranks.filter_map(|rank| rank.as_u64()?.try_into().ok()).collect();
    let nodes = if ranks.len() == 1 { "node" } else { "nodes" };
    (!ranks.is_empty()).then(|| format!("{nodes} {} could not be told", some_of(&ranks)))
}

/// Asks the service called `name`.
///
/// # Errors
/// It is gone, is just being founded, or has no answer within `patience`.
pub fn ask(name: &str, wish: &Wish, patience: Duration) -> io::Result<Value> {
    let until = Instant::now() + patience;
    loop {
        match ask_once(name, wish, until) {
            // Its daemon, or its holder, was started again just now.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            answer => return answer,
        }
    }
}

fn ask_once(name: &str, wish: &Wish, until: Instant) -> io::Result<Value> {
    let patience = until.saturating_duration_since(Instant::now());
    let holder = election::reconnect_within(name, rustix::process::geteuid().as_raw(), patience)?;
    holder.send(&ToHolder::Ask(wish.clone()), &[])?;
    if !has_come(&holder, until)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    match holder.receive::<FromHolder>()? {
        Some((FromHolder::Told, descriptors)) => {
            let descriptor = descriptors.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
            let mut text = String::new();
            let mut file = File::from(descriptor);
            file.rewind()?;
            file.read_to_string(&mut text)?;
            Ok(serde_json::from_str(&text)?)
        }
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn has_come(holder: &Channel, until: Instant) -> io::Result<bool> {
    let mut one = [PollFd::new(holder, PollFlags::IN)];
    let left =
        Timespec::try_from(until.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
    rustix::io::retry_on_intr(|| poll(&mut one, Some(&left)))?;
    Ok(!one[0].revents().is_empty())
}

/// Asks all services side by side; those that do not answer are left out.
pub fn ask_all(names: &[String], wish: &Wish, patience: Duration) -> Vec<(String, Value)> {
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            names.iter().map(|name| (name, scope.spawn(|| ask(name, wish, patience)))).collect();
        let answered = asked.into_iter().filter_map(|(name, asked)| {
            let answer = asked.join().ok()?;
            answer.ok().map(|answer| (name.clone(), answer))
        });
        answered.collect()
    })
}
