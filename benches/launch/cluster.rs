//! Slurm on some hosts, an ordinary user with a home that all see, and a directory for views.
//!
//! Not here: how Slurm is started (`tests/slurm`).

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::ground::{Ground, Run, run, text, words};
use crate::slurm::{Slurm, Tracking, User};

/// Hosts of the cluster, unless it is said.
pub const NODES: usize = 8;

/// Flags of `srun` for a step of 32 tasks, four on each host. Without the last, Slurm fills the first hosts.
pub const STEP: [&str; 3] = ["-N8", "-n32", "--ntasks-per-node=4"];

/// The number of the user, which nobody else should have.
const UID: u32 = 65_432;

/// The cluster; it ends with this.
pub struct Cluster {
    slurm: Slurm,
    user: User,
    spinney: String,
    /// Where each host sees the storage.
    pub view: PathBuf,
    _directory: tempfile::TempDir,
}

impl Cluster {
    /// So many hosts, which see what is mounted now.
    pub fn start(ground: &Ground, nodes: usize) -> anyhow::Result<Self> {
        let directory = ground.scratch()?;
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755))?;
        let path = |name: &str| directory.path().join(name);
        for name in ["home", "view"] {
            fs::create_dir(path(name))?;
            chown(path(name), Some(UID), Some(UID))?;
        }
        // A copy, since the user may not get through to the original.
        let spinney = path("spinney");
        ensure!(Command::new("cp").arg(&ground.spinney).arg(&spinney).status()?.success(), "no copy");
        let user = User { uid: UID, home: path("home") };
        let slurm = Slurm::start(nodes, Tracking::Parents, std::slice::from_ref(&user))?;
        let slurm = slurm.context("needs no cgroups")?;
        Ok(Cluster { slurm, user, spinney: text(spinney), view: path("view"), _directory: directory })
    }

    /// Shows `storage` on host `number`, counted from 1, where the view will be.
    pub fn bind(&self, number: usize, storage: &Path) -> anyhow::Result<()> {
        run(&words(&self.slurm.on(number, &["mount", "--bind", &text(storage), &text(&self.view)])))?;
        Ok(())
    }

    /// Runs a command of the user on the controller's host.
    pub fn run(&self, line: &[&str]) -> anyhow::Result<Run> {
        run(&words(&self.slurm.user(&self.user, line)))
    }

    /// A file in the user's home.
    pub fn read(&self, name: &str) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.user.home.join(name))?)
    }

    /// `spinney VERB FLAGS`, with the view and no way round it.
    pub fn spinney<'a>(&'a self, verb: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
        let view = self.view.to_str().expect("our own paths are UTF-8");
        [&[&*self.spinney, verb, "--shared", "--view", view], flags].concat()
    }

    /// `srun` with these flags and command.
    pub fn srun(&self, flags: &[&str], command: &[&str]) -> anyhow::Result<Run> {
        self.run(&[&["srun", "-Q"], flags, command].concat())
    }

    /// The same with Spinney in front of the command.
    pub fn srun_with(&self, flags: &[&str], command: &[&str]) -> anyhow::Result<Run> {
        let spinney = self.spinney("run", &["-q", "--require", "--"]);
        self.srun(flags, &[&spinney, command].concat())
    }

    /// The same as it stands: no flags.
    pub fn srun_bare(&self, flags: &[&str], command: &[&str]) -> anyhow::Result<Run> {
        self.srun(flags, &[&[&*self.spinney, "run", "--"], command].concat())
    }
}
