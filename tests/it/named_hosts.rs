//! Nodes on several hosts, each of which is this machine under another name and address.
//!
//! A name of its own (a UTS namespace) takes root; the commands run as the scene's user all the same.
//!
//! Not here: hosts with a network of their own (`hosts`).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::scene::{Scene, scenes};

/// A key that is no secret.
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Names `a0`, `a1`, ... of this machine, each a host of one job.
pub struct NamedHosts {
    pub scene: Scene,
    count: u32,
    pub job: String,
    book: PathBuf,
}

/// `count` hosts for each kind of user; none where no host can be given a name.
pub fn named_hosts(count: u32) -> Vec<NamedHosts> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can give this machine other names");
        return Vec::new();
    }
    scenes().into_iter().map(|scene| NamedHosts::of(scene, count)).collect()
}

impl NamedHosts {
    fn of(scene: Scene, count: u32) -> Self {
        let book = scene.home.join("book");
        let line = |n| format!("a{n} lo 127.0.0.{}\n", n + 1);
        fs::write(&book, (0..count).map(line).collect::<String>()).unwrap();
        let job = format!("job{}", scene.home.to_str().unwrap().replace('/', "-"));
        NamedHosts { scene, count, job, book }
    }

    /// `spinney run --hosts ... FLAGS -- COMMAND` on the host of this number.
    pub fn run(&self, number: u32, flags: &[&str], command: &[&str]) -> Command {
        let mut line = self.starting("run", number);
        line.arg("--require").args(flags).arg("--").args(command);
        line
    }

    fn starting(&self, subcommand: &str, number: u32) -> Command {
        let hosts = format!("a[0-{}]", self.count - 1);
        let mut line = self.on(number);
        line.args([subcommand, "--view"]).arg(&self.scene.env);
        line.args(["--shared", "--job", &self.job, "--hosts", &hosts, "--address-book"]).arg(&self.book);
        line
    }

    /// `spinney up --hosts ...` on the host of this number.
    pub fn up(&self, number: u32) -> Command {
        let mut line = self.starting("up", number);
        line.stdin(std::process::Stdio::null());
        line
    }

    /// `spinney`, on the host of this number; the words are to be added.
    pub fn on(&self, number: u32) -> Command {
        let mut line = Command::new("unshare");
        line.args(["--uts", "sh", "-c", "hostname $0; exec \"$@\"", &format!("a{number}")]);
        if let Some(uid) = self.scene.uid {
            let uid = uid.to_string();
            line.args(["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups"]);
        }
        let plain = self.scene.native("true");
        for (name, _) in plain.get_envs() {
            line.env_remove(name);
        }
        line.current_dir(&self.scene.home).stdin(std::process::Stdio::null());
        line.env("SPINNEY_KEY", KEY).arg(&self.scene.binary);
        line
    }
}
