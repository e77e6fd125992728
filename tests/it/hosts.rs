//! Nodes on hosts of their own, whose links are cut and slowed down, and which see another storage each.
//!
//! Not here: making hosts (`network`), nodes that share a network (`nodes`, `node_faults`).

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use spinney::cluster::NodeRank;
use spinney::cluster::ports::ports_of;
use spinney::profile::recorder::Counter;
use spinney::tree::{PEER_SILENCE_MAX, Shape, Shard};

use crate::actor::{Actor, Ask, at, program};
use crate::cluster::{counted, daemon_of};
use crate::network::Network;
use crate::scene::{CONTENT, Scene, eventually, scenes};
use crate::semantics::tree::settle;
use crate::sharing::forest;
use crate::stand_in::{StandIn, Start};

/// Names the jobs of these tests; each is alone in its network.
const JOB: &str = "hosts";

/// Hosts with a view on each.
struct LinkedHosts {
    scene: Scene,
    network: Network,
    book: PathBuf,
}

/// A scene of whoever runs the tests with a [`forest`].
fn scene() -> Scene {
    let scene = scenes().swap_remove(0);
    forest(&scene.env);
    settle(&scene.env);
    scene
}

impl LinkedHosts {
    /// So many hosts with a [`forest`].
    fn make(number: usize) -> Self {
        LinkedHosts::over(scene(), number)
    }

    /// Hosts that see what is mounted now.
    fn over(scene: Scene, number: usize) -> Self {
        let book = scene.home.join("book");
        let network = Network::make(number, &book).unwrap();
        LinkedHosts { scene, network, book }
    }

    /// Shows another directory on one host where the view is.
    fn bind(&self, host: usize, directory: &Path) {
        self.network.bind(host, directory, &self.scene.env).unwrap();
    }

    /// A node with an actor on a host.
    fn node(&self, host: usize, key: &str, flags: &[&str]) -> Actor {
        let book = self.book.to_str().unwrap();
        let flags = [&["--require", "-q", "--job", JOB, "--address-book", book], flags].concat();
        let program = program(&self.scene);
        let line = self.scene.run(&flags, &[&program[0], &program[1]]);
        let mut command = self.network.command(host);
        command.arg(line.get_program()).args(line.get_args()).env("SPINNEY_KEY", key.repeat(32));
        Actor::start(command)
    }

    fn nodes(&self, flags: &[&str]) -> Vec<Actor> {
        (0..self.network.count()).map(|host| self.node(host, "k", flags)).collect()
    }

    fn checksum(&self) -> Ask {
        Ask::Checksum { path: at(&self.scene.env), times: 1 }
    }

    fn native(&self) -> String {
        let mut native = Actor::native(&self.scene);
        let want = native.ask(&self.checksum());
        native.leave();
        want
    }

    fn daemon(&self, actor: &mut Actor) -> i32 {
        daemon_of(&self.scene, actor.number())
    }

    /// A listener in the network of a host.
    fn listen(&self, host: usize, port: u16) -> TcpListener {
        let network = self.network.namespace(host).unwrap();
        let listen = move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            // Of this thread only, which ends here.
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(kind))
                .unwrap();
            TcpListener::bind(("0.0.0.0", port)).unwrap()
        };
        std::thread::spawn(listen).join().unwrap()
    }
}

/// The nodes in the order in which they ask each other in a chain: the root first.
fn chain(nodes: u32) -> Vec<usize> {
    let shape = Shape::chosen(nodes, None, Some(1));
    (0..nodes).map(|place| shape.at(Shard::new(0), place).get() as usize).collect()
}

const CHAIN: [&str; 3] = ["--shared", "--fan-out", "1"];

#[test]
fn a_link_that_is_cut_costs_time_and_is_used_again_once_it_is_mended() {
    let hosts = LinkedHosts::make(3);
    let (want, chain) = (hosts.native(), chain(3));
    let mut nodes = hosts.nodes(&CHAIN);
    let reader = hosts.daemon(&mut nodes[chain[2]]);
    // Slow enough that the link is in use when it is cut.
    (0..3).for_each(|host| hosts.network.limit(host, "50mbit", "64k").unwrap());
    let ask = hosts.checksum();
    nodes[chain[2]].begin(&ask);
    let far = |daemon| counted(daemon, Counter::WireBytesIn);
    eventually("content travels", || far(reader) > 1 << 20);
    hosts.network.cut(chain[1]).unwrap();
    assert_eq!(nodes[chain[2]].answer(), want, "through the root");
    assert_eq!(counted(reader, Counter::StorageBytes), 0);
    assert!(counted(reader, Counter::FaultsParentsLost) > 0);
    nodes[chain[1]].begin(&ask);
    hosts.network.heal(chain[1]).unwrap();
    assert_eq!(nodes[chain[1]].answer(), want, "was cut off");
    hosts.network.cut(chain[0]).unwrap();
    assert_eq!(nodes[chain[2]].ask(&ask), want, "without the root");
    hosts.network.heal(chain[0]).unwrap();
    nodes.into_iter().for_each(|node| drop(node.leave()));
    hosts.scene.assert_nothing_left();
}

#[test]
fn a_node_waits_for_those_above_that_start_later_and_finds_them_behind_strangers_on_their_ports() {
    let hosts = LinkedHosts::make(2);
    let (want, chain) = (hosts.native(), chain(2));
    let ports = ports_of(JOB, NodeRank::new(chain[0] as u32));
    // Of the ports of the root one is taken by a program that says nothing, and one by one that speaks nonsense.
    let silent = hosts.listen(chain[0], ports[0]);
    let babbling = hosts.listen(chain[0], ports[1]);
    std::thread::spawn(move || {
        for mut stream in babbling.incoming().flatten() {
            let _ = stream.write_all(&[0x16, 3, 3, 255, 255, b'?', b'\n']);
            let _ = stream.read(&mut [0; 64]);
        }
    });
    let (mut far, root) = std::thread::scope(|scope| {
        // Not even the view's own directory is told before there is somebody to ask.
        let far = scope.spawn(|| hosts.node(chain[1], "k", &CHAIN));
        let began = Instant::now();
        eventually("a start that is late", || began.elapsed() > PEER_SILENCE_MAX + Duration::from_secs(1));
        let root = hosts.node(chain[0], "k", &CHAIN);
        (far.join().unwrap(), root)
    });
    assert_eq!(far.ask(&hosts.checksum()), want);
    let daemon = hosts.daemon(&mut far);
    assert_eq!(counted(daemon, Counter::StorageBytes), 0, "the root was waited for");
    drop(silent);
    far.leave();
    root.leave();
    hosts.scene.assert_nothing_left();
}

#[test]
fn a_node_with_another_key_is_let_in_by_nobody_and_serves_itself() {
    let hosts = LinkedHosts::make(2);
    let (want, chain) = (hosts.native(), chain(2));
    let log = hosts.scene.home.join("log");
    let mut root = hosts.node(chain[0], "k", &CHAIN);
    let flags = [&CHAIN[..], &["--log", log.to_str().unwrap()]].concat();
    let mut stranger = hosts.node(chain[1], "x", &flags);
    assert_eq!(stranger.ask(&hosts.checksum()), want);
    assert_eq!(root.ask(&hosts.checksum()), want);
    let (own, theirs) = (hosts.daemon(&mut stranger), hosts.daemon(&mut root));
    assert!(counted(own, Counter::StorageBytes) > 0);
    assert_eq!(counted(theirs, Counter::WireRequestsIn), 0, "read by nothing but the handshake");
    let told =
        || fs::read_to_string(&log).unwrap().matches("has another key, version, list of views").count();
    eventually("a word about it", || told() > 0);
    assert_eq!(told(), 1);
    stranger.leave();
    root.leave();
    hosts.scene.assert_nothing_left();
}

#[test]
fn a_view_that_differs_between_nodes_or_is_not_shared_is_read_by_each_node_itself() {
    let hosts = LinkedHosts::make(2);
    let other = hosts.scene.home.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), "another\n").unwrap();
    settle(&other);
    let view = hosts.scene.env.to_str().unwrap().to_owned();
    let file = Ask::ReadAll { path: at(hosts.scene.env.join("file")) };
    let directory = hosts.scene.home.join("report");
    let reports = ["--report", directory.to_str().unwrap()];
    for (why, flags, is_bound, want, asks) in [
        ("shared and the same", &["--shared"][..], false, [CONTENT; 2], true),
        ("not said to be shared", &[], false, [CONTENT; 2], false),
        ("said to be shared, but not the same", &["--shared"], true, [CONTENT, "another\n"], true),
    ] {
        if is_bound {
            hosts.bind(1, &other);
        }
        let mut nodes = hosts.nodes(&[flags, &reports].concat());
        for (node, want) in nodes.iter_mut().zip(want) {
            assert_eq!(node.ask(&file), format!("`{}`", want.escape_default()), "{why}");
        }
        let daemons: Vec<i32> = nodes.iter_mut().map(|node| hosts.daemon(node)).collect();
        let sum = |counter| daemons.iter().map(|daemon| counted(*daemon, counter)).sum::<u64>();
        assert_eq!(sum(Counter::WireRequestsOut) > 0, asks, "{why}");
        assert_eq!(sum(Counter::FaultsViewsApart), u64::from(is_bound), "{why}");
        nodes.into_iter().for_each(|node| drop(node.leave()));
        // The node that writes it is the one with which the others compare.
        let report: Value = serde_json::from_slice(&fs::read(directory.join("run.json")).unwrap()).unwrap();
        let apart = if flags.is_empty() { vec![&view] } else { vec![] };
        assert_eq!(report["nodes"][0]["views_apart"], serde_json::json!(apart), "{why}");
        hosts.scene.assert_nothing_left();
    }
}

#[test]
fn storage_that_fails_on_one_node_only_is_not_noticed_unless_it_is_the_root() {
    let scene = scene();
    let storage = || -> StandIn { Start { is_killable: true, ..Start::of(&scene.env) }.start().unwrap() };
    let (mut above, mut below) = (storage(), storage());
    let (hosts, chain) = (LinkedHosts::over(scene, 2), chain(2));
    hosts.bind(chain[0], above.mount());
    hosts.bind(chain[1], below.mount());
    let want = hosts.native();
    let mut nodes = hosts.nodes(&CHAIN);
    let path = |name: &str| at(hosts.scene.env.join(name));
    let far = &mut nodes[chain[1]];
    assert_eq!(far.ask(&Ask::Stat { path: path("no such file"), follow: true }), "ENOENT");
    let list = |n: usize| Ask::List { path: path(&format!("directory {n}/inner")) };
    below.command("fail EIO");
    assert!(far.ask(&list(1)).contains("file 3"), "its own storage fails");
    above.command("fail EIO");
    assert_eq!(far.ask(&list(2)), "EIO", "that of the root fails");
    above.command("fail off");
    assert_eq!(far.ask(&hosts.checksum()), want, "its own storage fails");
    assert_eq!(counted(hosts.daemon(far), Counter::StorageBytes), 0);
    below.command("fail off");
    nodes.into_iter().for_each(|node| drop(node.leave()));
    hosts.scene.assert_nothing_left();
}
