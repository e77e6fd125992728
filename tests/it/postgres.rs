//! A PostgreSQL of one test: a cluster that is made in the test's directory, listens on a socket there alone, and
//! ends with the test. The distribution's own cluster is never touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::scene::{Scene, eventually, kill, output, pid_of, text, with_a_name};

/// A server that runs.
pub struct Server {
    /// Whoever runs it: it refuses to be root, and wants a user with a name.
    _scene: Scene,
    directory: PathBuf,
    child: Child,
}

impl Server {
    pub fn start() -> Self {
        let scene = with_a_name();
        let directory = scene.home.clone();
        let data = directory.join("data");
        let made = output(
            scene
                .native(programs().join("initdb"))
                .args(["--auth=trust", "--username=site", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
                .arg(&data),
        );
        assert!(made.status.success(), "initdb: {}", text(&made.stderr));
        let log = fs::File::create(directory.join("log")).unwrap();
        let mut command = scene.native(programs().join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(&directory).args(["-c", "listen_addresses=", "-F"]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let server = Server { _scene: scene, directory, child };
        eventually("PostgreSQL answers", || server.connect("postgres").is_ok());
        server
    }

    /// A new, empty database; what `--store` calls it.
    pub fn database(&self, name: &str) -> String {
        self.connect("postgres").unwrap().batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        self.address(name)
    }

    /// What `--store` calls a database.
    pub fn address(&self, name: &str) -> String {
        format!("postgresql:///{name}?host={}&user=site", self.directory.display())
    }

    pub fn connect(&self, database: &str) -> Result<postgres::Client, postgres::Error> {
        postgres::Client::connect(&self.address(database), postgres::NoTls)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill(pid_of(&self.child), libc::SIGQUIT); // at once: the data go as well
        let _ = self.child.wait();
    }
}

/// Where Debian has them, the newest first.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|it| it.path()).collect();
    found.sort();
    let place = found.pop().unwrap_or_else(|| PathBuf::from("/usr/local/pgsql"));
    let place = place.join("bin");
    assert!(
        Path::new(&place).join("initdb").exists(),
        "these tests need PostgreSQL's server: scripts/prepare-tests.sh"
    );
    place
}
