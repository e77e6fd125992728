//! The findings as one value: what `spinney doctor --json` prints.
//!
//! The schema is the fields below, described in docs/DOCTOR.md. Within `schema: 1` fields are only added.

use std::path::Path;

use serde::Serialize;

use super::advice::Advice;
use super::features::Feature;
use super::hurts::Hurt;
use super::machine::Machine;
use super::nodes::NodesReport;
use super::served::CommandReport;
use super::steps::{Step, Stop};
use crate::holder::estate::WayIn;

/// Everything that was found out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of this structure.
    pub schema: u32,
    /// Whether at least one way in works.
    pub works: bool,
    /// The way that `spinney run` would take.
    pub best_way: Option<WayIn>,
    /// Each way, the preferred first.
    pub ways: Vec<WayReport>,
    /// One line to ask an administrator for; none if the best there is works.
    pub ask: Option<String>,
    /// The environment of the command that was given.
    pub command: Option<CommandReport>,
    /// Who the nodes of a job started here would be.
    pub nodes: NodesReport,
    /// What else would slow or break a job.
    pub hurts: Vec<Hurt>,
    /// Optional features of the kernel.
    pub features: Vec<Feature>,
    /// What the machine says about itself.
    pub machine: Machine,
}

impl Report {
    /// Puts the findings of this machine together and chooses what to ask for; the nodes are added.
    pub fn new(
        ways: Vec<WayReport>,
        best_way: Option<WayIn>,
        machine: Machine,
        features: Vec<Feature>,
        command: Option<CommandReport>,
        hurts: Vec<Hurt>,
    ) -> Self {
        let ask = ask(&ways, best_way);
        let nodes = NodesReport::default();
        let works = best_way.is_some();
        Self { schema: 1, works, best_way, ways, ask, command, nodes, hurts, features, machine }
    }
}

/// The line for the preferred way that fails, unless a way as good works.
///
/// fusermount3 serves only directories that the user owns, so a namespace is worth asking for where only it works.
fn ask(ways: &[WayReport], best_way: Option<WayIn>) -> Option<String> {
    if matches!(best_way, Some(WayIn::MountNamespace | WayIn::UserNamespace)) {
        return None;
    }
    let useful = ways.iter().filter(|way| best_way.is_none() || way.way != WayIn::Fusermount);
    useful.filter_map(|way| way.ask.clone()).next()
}

/// Writes a path that need not be UTF-8, as JSON has nothing else.
pub fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A file was read through a view.
    Works,
    /// It was tried and did not work.
    Fails,
    /// It is not meant for this user, and was not tried.
    NotForYou,
}

/// One way in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WayReport {
    /// Which one.
    pub way: WayIn,
    /// How the try ended.
    pub state: State,
    /// How long a run took from start to end.
    pub seconds: Option<f64>,
    /// The system call at which the kernel stops it, if one does.
    pub step: Option<Step>,
    /// What the kernel answered there.
    pub errno: Option<i32>,
    /// What the failed run said.
    pub message: Option<String>,
    /// Why, in one sentence.
    pub cause: Option<String>,
    /// What an administrator could do, in one line.
    pub ask: Option<String>,
}

impl WayReport {
    /// Whether a job could go this way.
    pub fn works(&self) -> bool {
        self.state == State::Works
    }

    /// A way that works.
    pub fn works_in(way: WayIn, seconds: f64) -> Self {
        Self { seconds: Some(seconds), ..Self::empty(way, State::Works) }
    }

    /// A way that this user need not try.
    pub fn not_for_you(way: WayIn, reason: &str) -> Self {
        Self { cause: Some(reason.to_owned()), ..Self::empty(way, State::NotForYou) }
    }

    /// A way that was tried in vain.
    pub fn failed(way: WayIn, stop: Option<Stop>, message: String, advice: Advice) -> Self {
        Self {
            step: stop.map(|stop| stop.step),
            errno: stop.map(|stop| stop.errno),
            message: Some(message).filter(|message| !message.is_empty()),
            cause: Some(advice.cause),
            ask: advice.ask,
            ..Self::empty(way, State::Fails)
        }
    }

    fn empty(way: WayIn, state: State) -> Self {
        Self { way, state, seconds: None, step: None, errno: None, message: None, cause: None, ask: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administrator_is_asked_only_for_what_would_help() {
        let fails = |way, ask: &str| {
            let advice = Advice { cause: String::new(), ask: Some(ask.to_owned()) };
            WayReport::failed(way, None, String::new(), advice)
        };
        let works = |way| WayReport::works_in(way, 0.1);
        use WayIn::{Fusermount, MountNamespace, UserNamespace};
        let cases = [
            // a namespace works: nothing better to ask for
            (vec![works(UserNamespace), fails(Fusermount, "install fuse3")], Some(UserNamespace), None),
            // only fusermount3 works: a namespace would serve more
            (vec![fails(UserNamespace, "sysctl"), works(Fusermount)], Some(Fusermount), Some("sysctl")),
            // nothing works: the preferred way first
            (vec![fails(UserNamespace, "sysctl"), fails(Fusermount, "install")], None, Some("sysctl")),
            // nothing helps the namespace: the helper does
            (
                vec![WayReport::not_for_you(MountNamespace, ""), fails(Fusermount, "install")],
                None,
                Some("install"),
            ),
        ];
        for (ways, best, want) in cases {
            assert_eq!(ask(&ways, best).as_deref(), want, "{ways:?}");
        }
    }
}
