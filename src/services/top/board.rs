//! What `spinney top` knows: the newest word of each service, and how fast things go since the one before.
//!
//! Pure: answers in, figures out. Rates follow the clock of the service that tells, so that an answer that is late
//! does not look like a pause.
//!
//! Not here: asking (`services`), how it looks (`page`).

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::services::status::health;

/// What is known of all services.
#[derive(Debug, Default)]
pub struct Board {
    /// The last answer of each socket.
    known: HashMap<String, Value>,
    /// What each node had counted when it was last heard, and its rates since the time before.
    before: HashMap<Key, (Counts, Rates)>,
    /// By name.
    pub jobs: BTreeMap<String, Job>,
    /// Sockets that have never answered, such as of a service that is just being founded.
    pub silent: usize,
}

/// One job.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Job {
    /// Directories shown.
    pub views: Vec<String>,
    /// How tasks got in: on all nodes the same, or each that there is.
    pub ways: Vec<String>,
    /// How many nodes it has, on whatever machines.
    pub n_nodes: u64,
    /// How long its oldest service has been there.
    pub seconds: f64,
    /// By number.
    pub nodes: Vec<Node>,
    /// Recorded paths that tasks waited for longest, the longest first.
    pub slowest: Vec<Slow>,
    /// Whether any node records paths.
    pub records: bool,
}

/// Where a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The node's service told it just now.
    Now,
    /// It did not answer this time: this is what it told last.
    NoAnswer,
    /// Another node tells what this one had reported.
    Reported,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its number in the job.
    pub rank: u64,
    /// Its name.
    pub host: String,
    /// Where this comes from.
    pub heard: Heard,
    /// Tasks inside; `None` if nobody told.
    pub tasks: Option<u64>,
    /// What it has counted.
    pub counts: Counts,
    /// How fast that grows.
    pub rates: Rates,
    /// Bytes that the cache holds, and may hold.
    pub cache: (u64, Option<u64>),
    /// Resident memory of the daemon.
    pub memory: u64,
    /// How often daemon or holder were started again.
    pub restarts: u64,
    /// Whom it asks, in words.
    pub asks: String,
}

/// Counters that rates and shares are made of.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Counts {
    /// Seconds that the service had been there.
    pub seconds: f64,
    /// Requests of the kernel that somebody waited for.
    pub requests: u64,
    /// Answers out of the node's own memory.
    pub own: u64,
    /// Answers from other nodes.
    pub others: u64,
    /// Answers from storage.
    pub storage: u64,
    /// Calls on storage.
    pub calls: u64,
    /// Bytes read from storage.
    pub bytes: u64,
}

/// What happens in a second.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Requests of the kernel.
    pub requests: f64,
    /// Calls on storage.
    pub calls: f64,
    /// Bytes read from storage.
    pub bytes: f64,
}

/// A recorded path and what it cost, all calls of one kind on all nodes that tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slow {
    /// The path.
    pub path: String,
    /// What was asked, and the outcome if it is not that something was found.
    pub what: String,
    /// Who knew.
    pub source: String,
    /// How often.
    pub calls: u64,
    /// How long tasks waited in all.
    pub nanoseconds: u64,
}

/// One look: which sockets there are, and what those tell that answer.
#[derive(Debug, Default, Clone)]
pub struct Look {
    /// Names of all sockets.
    pub names: Vec<String>,
    /// What was told, by the name of the socket.
    pub answers: Vec<(String, Value)>,
}

/// Job and number of a node, and when its service was founded, where that is told: a node may have several.
type Key = (String, u64, u64);

impl Board {
    /// Takes a look. Only jobs called `only` are shown, if that is said.
    pub fn take(&mut self, look: Look, only: Option<&str>) {
        self.known.retain(|name, _| look.names.contains(name));
        let answered: HashSet<String> = look.answers.iter().map(|(name, _)| name.clone()).collect();
        self.known.extend(look.answers);
        // Of which job they are nobody knows yet.
        let all = if only.is_none() { look.names.len() } else { 0 };
        self.silent = all.saturating_sub(self.known.len());
        self.jobs.clear();
        let mut before = HashMap::new();
        for (name, status) in &self.known {
            let of = status["job"].as_str().unwrap_or_default();
            if only.is_some_and(|only| only != of) {
                continue;
            }
            let job = self.jobs.entry(of.to_owned()).or_default();
            job.note(status);
            let heard = if answered.contains(name) { Heard::Now } else { Heard::NoAnswer };
            let place = key(of, status);
            job.nodes.push(Node::of(status, heard, &self.before, place, &mut before));
            for reported in list(&status["beneath"]) {
                let place = key(of, reported);
                job.nodes.push(Node::of(reported, Heard::Reported, &self.before, place, &mut before));
            }
        }
        self.before = before;
        self.jobs.values_mut().for_each(Job::put_in_order);
    }

    /// How many nodes are told of.
    pub fn n_nodes(&self) -> usize {
        self.jobs.values().map(|job| job.nodes.len()).sum()
    }
}

impl Job {
    /// The sums over all nodes that are told of.
    pub fn sums(&self) -> (Counts, Rates) {
        let (mut counts, mut rates) =
            (Counts { seconds: self.seconds, ..Counts::default() }, Rates::default());
        for Node { counts: more, rates: faster, .. } in &self.nodes {
            counts.requests += more.requests;
            counts.own += more.own;
            counts.others += more.others;
            counts.storage += more.storage;
            counts.calls += more.calls;
            counts.bytes += more.bytes;
            rates.requests += faster.requests;
            rates.calls += faster.calls;
            rates.bytes += faster.bytes;
        }
        (counts, rates)
    }

    /// What one of its services tells of the whole.
    fn note(&mut self, status: &Value) {
        let views = list(&status["views"]);
        self.views = views.filter_map(|view| view.as_str().map(str::to_owned)).collect();
        let way = status["way_in"].as_str().unwrap_or("?").to_owned();
        if !self.ways.contains(&way) {
            self.ways.push(way);
        }
        self.n_nodes = self.n_nodes.max(status["tree"]["n_nodes"].as_u64().unwrap_or(1));
        self.seconds = self.seconds.max(status["seconds"].as_f64().unwrap_or(0.0));
        self.records |= status["recorded"]["mode"].as_str().is_some_and(|mode| mode != "aggregate");
        for row in list(&status["recorded"]["slowest"]) {
            self.add(Slow::of(row));
        }
    }

    fn add(&mut self, slow: Slow) {
        let same = |known: &&mut Slow| {
            (&known.path, &known.what, &known.source) == (&slow.path, &slow.what, &slow.source)
        };
        match self.slowest.iter_mut().find(same) {
            Some(known) => {
                known.calls += slow.calls;
                known.nanoseconds += slow.nanoseconds;
            }
            None => self.slowest.push(slow),
        }
    }

    /// By number; of what is told twice of a node, what it tells itself.
    fn put_in_order(&mut self) {
        self.nodes.sort_by_key(|node| (node.rank, node.heard == Heard::Reported));
        self.nodes.dedup_by(|later, earlier| later.rank == earlier.rank && later.heard == Heard::Reported);
        self.slowest.sort_by(|one, other| {
            other.nanoseconds.cmp(&one.nanoseconds).then_with(|| one.path.cmp(&other.path))
        });
    }
}

impl Node {
    fn of(
        status: &Value,
        heard: Heard,
        before: &HashMap<Key, (Counts, Rates)>,
        key: Key,
        after: &mut HashMap<Key, (Counts, Rates)>,
    ) -> Self {
        let counts = Counts::of(status);
        let rates = counts.rates_since(before.get(&key));
        let rank = key.1;
        after.insert(key, (counts, rates));
        let memory = status["memory"]["rss_bytes"].as_u64().or(status["memory"]["peak_rss_bytes"].as_u64());
        let faults = |what: &str| status["faults"][what].as_u64().unwrap_or(0);
        Node {
            rank,
            host: status["host"].as_str().unwrap_or("?").to_owned(),
            heard,
            tasks: status["tasks"]["present"].as_u64(),
            counts,
            rates: if heard == Heard::NoAnswer { Rates::default() } else { rates },
            cache: (
                status["memory"]["cached_bytes"].as_u64().unwrap_or(0),
                status["memory"]["budget_bytes"].as_u64(),
            ),
            memory: memory.unwrap_or(0),
            restarts: faults("daemon_restarts") + faults("holder_restarts"),
            asks: match heard {
                Heard::Now => health(&status["tree"]),
                Heard::NoAnswer => "no answer".to_owned(),
                Heard::Reported => "as it has reported".to_owned(),
            },
        }
    }
}

impl Counts {
    fn of(status: &Value) -> Self {
        let count = |group: &str, name: &str| status[group][name].as_u64().unwrap_or(0);
        Counts {
            seconds: status["seconds"].as_f64().unwrap_or(0.0),
            requests: count("fuse", "requests_total"),
            own: count("answers", "cache"),
            others: count("answers", "parent"),
            storage: count("answers", "storage"),
            calls: count("storage", "metadata_calls") + count("storage", "read_calls"),
            bytes: count("storage", "bytes_read"),
        }
    }

    /// Since the last time, or since the service began; as they were if nothing new was told.
    fn rates_since(&self, before: Option<&(Counts, Rates)>) -> Rates {
        let none = (Counts::default(), Rates::default());
        // A service with fewer seconds than before is another one.
        let (then, rates) = before.filter(|(then, _)| then.seconds <= self.seconds).unwrap_or(&none);
        let seconds = self.seconds - then.seconds;
        if seconds <= 0.0 {
            return *rates;
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        Rates {
            requests: rate(self.requests, then.requests),
            calls: rate(self.calls, then.calls),
            bytes: rate(self.bytes, then.bytes),
        }
    }
}

impl Slow {
    fn of(row: &Value) -> Self {
        let text = |field: &str| row[field].as_str().unwrap_or("?").to_owned();
        let outcome = text("outcome");
        let what =
            if outcome == "found" { text("operation") } else { format!("{} {outcome}", text("operation")) };
        let number = |field: &str| row[field].as_u64().unwrap_or(0);
        let (calls, nanoseconds) = (number("calls"), number("nanoseconds"));
        Slow { path: text("path"), what, source: text("source"), calls, nanoseconds }
    }
}

fn key(job: &str, status: &Value) -> Key {
    let number = |field: &str| status[field].as_u64().unwrap_or(0);
    (job.to_owned(), number("rank"), number("founded_unix_us"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(rank: u64, seconds: f64, requests: u64) -> Value {
        json!({
            "job": "j", "rank": rank, "host": "h", "way_in": "user-namespace", "views": ["/v"], "seconds": seconds,
            "fuse": { "requests_total": requests }, "answers": { "cache": requests }, "tree": { "n_nodes": 2 },
        })
    }

    fn look(answers: &[(&str, Value)], others: &[&str]) -> Look {
        let names = answers.iter().map(|(name, _)| *name).chain(others.iter().copied());
        Look {
            names: names.map(str::to_owned).collect(),
            answers: answers.iter().map(|(name, status)| ((*name).to_owned(), status.clone())).collect(),
        }
    }

    fn node(board: &Board, rank: usize) -> &Node {
        &board.jobs["j"].nodes[rank]
    }

    #[test]
    fn rates_are_those_since_the_last_look_by_the_clock_of_the_service() {
        let mut board = Board::default();
        board.take(look(&[("a", status(0, 10.0, 100))], &[]), None);
        assert_eq!(node(&board, 0).rates.requests, 10.0, "at first since the service began");
        board.take(look(&[("a", status(0, 12.0, 200))], &[]), None);
        assert_eq!(node(&board, 0).rates.requests, 50.0);
        board.take(look(&[("a", status(0, 12.0, 200))], &[]), None);
        assert_eq!(node(&board, 0).rates.requests, 50.0, "nothing new was told");
        board.take(look(&[("a", status(0, 2.0, 30))], &[]), None);
        assert_eq!(node(&board, 0).rates.requests, 15.0, "another service of the same node");
    }

    #[test]
    fn a_node_that_does_not_answer_stays_until_its_socket_is_gone() {
        let mut board = Board::default();
        board.take(look(&[("a", status(0, 1.0, 1)), ("b", status(1, 1.0, 1))], &["c"]), None);
        assert_eq!((board.n_nodes(), board.silent), (2, 1));
        board.take(look(&[("a", status(0, 2.0, 2))], &["b"]), None);
        assert_eq!((node(&board, 1).heard, node(&board, 1).rates.requests), (Heard::NoAnswer, 0.0));
        assert_eq!((node(&board, 0).heard, node(&board, 1).counts.requests), (Heard::Now, 1));
        board.take(look(&[("a", status(0, 3.0, 3))], &[]), None);
        assert_eq!((board.n_nodes(), board.silent), (1, 0));
    }

    #[test]
    fn what_a_node_tells_itself_goes_before_what_it_has_reported() {
        let mut root = status(0, 1.0, 1);
        root["beneath"] = json!([status(1, 1.0, 5), status(2, 1.0, 6)]);
        let mut board = Board::default();
        board.take(look(&[("a", root), ("b", status(1, 1.0, 7))], &[]), None);
        let rows: Vec<_> =
            board.jobs["j"].nodes.iter().map(|node| (node.rank, node.heard, node.counts.requests)).collect();
        assert_eq!(rows, [(0, Heard::Now, 1), (1, Heard::Now, 7), (2, Heard::Reported, 6)]);
    }

    #[test]
    fn the_same_path_on_several_nodes_is_one_row_and_only_the_job_that_is_wanted_is_shown() {
        let slow = |nanoseconds: u64, path: &str| json!({ "path": path, "operation": "lookup", "outcome": "absent", "source": "cache", "calls": 2, "nanoseconds": nanoseconds });
        let with = |rank, rows: Value| {
            let mut status = status(rank, 1.0, 1);
            status["recorded"] = json!({ "mode": "full", "slowest": rows });
            status
        };
        let mut other = status(0, 1.0, 1);
        other["job"] = json!("other");
        let answers = [
            ("a", with(0, json!([slow(5, "/x"), slow(7, "/y")]))),
            ("b", with(1, json!([slow(4, "/x")]))),
            ("c", other),
        ];
        let mut board = Board::default();
        board.take(look(&answers, &[]), Some("j"));
        assert_eq!(board.jobs.keys().collect::<Vec<_>>(), ["j"]);
        let slowest: Vec<_> = board.jobs["j"]
            .slowest
            .iter()
            .map(|slow| (slow.path.as_str(), slow.calls, slow.nanoseconds))
            .collect();
        assert_eq!(slowest, [("/x", 4, 9), ("/y", 2, 7)]);
        assert_eq!(board.jobs["j"].slowest[0].what, "lookup absent");
    }

    #[test]
    fn nonsense_is_shown_as_nothing() {
        let mut board = Board::default();
        let nonsense =
            [json!(null), json!([1]), json!({ "rank": -1, "seconds": "x", "beneath": 3, "recorded": [] })];
        for (n, answer) in nonsense.into_iter().enumerate() {
            board.take(look(&[(&format!("s{n}"), answer)], &[]), None);
            assert_eq!(board.n_nodes(), 1);
        }
    }
}
