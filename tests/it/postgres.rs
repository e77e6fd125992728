//! A PostgreSQL of one test: a cluster that is made in the test's directory, listens on a socket there alone, and
//! ends with the test. The distribution's own cluster is never touched.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::scene::{Scene, eventually, kill, output, pid_of, text, with_a_name};

/// What a server sees of `small` in its directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// A directory as any other.
    Shared,
    /// A file system of 16 MB, in a mount namespace of its own.
    Small,
}

/// A server that runs.
pub struct Server {
    /// Whoever runs it: it refuses to be root, and wants a user with a name.
    scene: Scene,
    directory: PathBuf,
    /// What it is started with besides.
    arguments: Vec<String>,
    disk: Disk,
    child: Child,
}

impl Server {
    pub fn start() -> Self {
        Server::with(Disk::Shared, |_| Vec::new())
    }

    /// One that can make a [`Server::small_database`].
    pub fn with_a_small_disk() -> Self {
        Server::with(Disk::Small, |_| Vec::new())
    }

    /// One that also listens at a port of `localhost`; and that port.
    pub fn plain() -> (Self, u16) {
        let port = free_port();
        (
            Server::with(Disk::Shared, |_| {
                settings(&["listen_addresses=127.0.0.1".to_owned(), format!("port={port}")])
            }),
            port,
        )
    }

    /// The same with the certificate of the tests.
    pub fn sealed() -> (Self, u16) {
        let port = free_port();
        let server = Server::with(Disk::Shared, |scene| {
            let key = scene.home.join("server.key");
            fs::write(scene.home.join("server.pem"), include_str!("certificates/collector.pem")).unwrap();
            fs::write(&key, include_str!("certificates/collector.key")).unwrap();
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&key, scene.uid, scene.uid).unwrap();
            let home = scene.home.display();
            settings(&[
                "listen_addresses=127.0.0.1".to_owned(),
                format!("port={port}"),
                "ssl=on".to_owned(),
                format!("ssl_cert_file={home}/server.pem"),
                format!("ssl_key_file={home}/server.key"),
            ])
        });
        (server, port)
    }

    /// From now on only those come in at its port who use TLS.
    pub fn sealed_only(&self, port: u16) {
        let rules = self.directory.join("data/pg_hba.conf");
        fs::write(rules, "local all all trust\nhostssl all all 127.0.0.1/32 trust\n").unwrap();
        self.connect("postgres").unwrap().batch_execute("SELECT pg_reload_conf()").unwrap();
        let open = format!("postgresql://site@127.0.0.1:{port}/postgres?sslmode=disable");
        eventually("PostgreSQL has read its rules", || {
            postgres::Client::connect(&open, postgres::NoTls).is_err()
        });
    }

    fn with(disk: Disk, arguments: impl Fn(&Scene) -> Vec<String>) -> Self {
        let scene = with_a_name();
        let directory = scene.home.clone();
        let made = output(
            scene
                .native(programs().join("initdb"))
                .args(["--auth=trust", "--username=site", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
                .arg(directory.join("data")),
        );
        assert!(made.status.success(), "initdb: {}", text(&made.stderr));
        fs::create_dir(directory.join("small")).unwrap();
        std::os::unix::fs::chown(directory.join("small"), scene.uid, scene.uid).unwrap();
        let arguments = arguments(&scene);
        let child = begin(&scene, disk, &arguments);
        let mut server = Server { scene, directory, arguments, disk, child };
        server.wait();
        server
    }

    /// Ends it at once, as a machine does that fails.
    pub fn kill(&mut self) {
        kill(pid_of(&self.child), libc::SIGQUIT);
        self.child.wait().unwrap();
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.child = begin(&self.scene, self.disk, &self.arguments);
        self.wait();
    }

    fn wait(&mut self) {
        eventually("PostgreSQL answers", || {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.directory.display());
            self.connect("postgres").is_ok()
        });
    }

    /// A database whose tables lie where there are 16 MB of space.
    pub fn small_database(&self, name: &str) -> String {
        let small = self.directory.join("small");
        let mut client = self.connect("postgres").unwrap();
        client.batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", small.display())).unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name} TABLESPACE small")).unwrap();
        self.address(name)
    }

    /// A new, empty database; what `--store` calls it.
    pub fn database(&self, name: &str) -> String {
        self.connect("postgres").unwrap().batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        self.address(name)
    }

    /// What `--store` calls a database.
    pub fn address(&self, name: &str) -> String {
        let port = self.arguments.iter().find_map(|it| it.strip_prefix("port=")).unwrap_or("5432");
        format!("postgresql:///{name}?host={}&user=site&port={port}", self.directory.display())
    }

    pub fn connect(&self, database: &str) -> Result<postgres::Client, postgres::Error> {
        postgres::Client::connect(&self.address(database), postgres::NoTls)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill(pid_of(&self.child), libc::SIGQUIT); // at once: the data go as well
            let _ = self.child.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn settings(all: &[String]) -> Vec<String> {
    all.iter().flat_map(|setting| ["-c".to_owned(), setting.clone()]).collect()
}

fn begin(scene: &Scene, disk: Disk, arguments: &[String]) -> Child {
    let directory = &scene.home;
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
    let server = programs().join("postgres");
    let mut command = match disk {
        Disk::Shared => scene.native(server),
        Disk::Small => {
            let script = "mount -t tmpfs -o size=16m,mode=0700 none \"$1\" && shift && exec \"$@\"";
            let mut command = scene.native("unshare");
            command.args([
                "--user",
                "--map-current-user",
                "--keep-caps",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
            ]);
            command.arg(directory.join("small")).arg(server);
            command
        }
    };
    command.arg("-D").arg(directory.join("data")).arg("-k").arg(directory).args([
        "-c",
        "listen_addresses=",
        "-F",
    ]);
    command.args(arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap()
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
