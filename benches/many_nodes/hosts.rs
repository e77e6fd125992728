//! Nodes on hosts of namespaces: each has its own storage, its own link, and a cache as large as if it were alone.
//!
//! Not here: making hosts (`network`).

use std::path::{Path, PathBuf};

use spinney::wire::KEY_VARIABLE;

use crate::daemons::{KEY, unique_job};
use crate::ground::{Ground, text};
use crate::network::Network;

/// Nodes of each cluster.
pub const NODES: usize = 8;

/// Eight hosts that show the same directory.
pub struct Hosts {
    /// They end with this.
    pub network: Network,
    /// Where each of them sees the storage.
    pub view: PathBuf,
    book: PathBuf,
}

impl Hosts {
    /// Hosts that see what is mounted now. `directory` is for what they need and must be empty.
    pub fn make(directory: &Path) -> anyhow::Result<Self> {
        let (view, book) = (directory.join("view"), directory.join("book"));
        std::fs::create_dir(&view)?;
        let network = Network::make(NODES, &book)?;
        Ok(Hosts { network, view, book })
    }

    /// Shows `storage` on a host, where the view will be.
    pub fn bind(&self, host: usize, storage: &Path) -> anyhow::Result<()> {
        Ok(self.network.bind(host, storage, &self.view)?)
    }

    /// The command lines of one job: `command` of each host with Spinney in front.
    pub fn job(
        &self,
        ground: &Ground,
        flags: &[&str],
        command: impl Fn(usize) -> Vec<String>,
    ) -> Vec<Vec<String>> {
        let (job, book) = (unique_job(), text(&self.book));
        let ours = ["--require", "--shared", "--job", &job, "--address-book", &book];
        let flags = [&ours, flags].concat();
        let line = |host: usize| {
            let mut words = self.network.prefix(host);
            words.extend(["env".to_owned(), format!("{KEY_VARIABLE}={KEY}")]);
            words.extend(ground.with_spinney(&self.view, &flags, &command(host)));
            words
        };
        (0..NODES).map(line).collect()
    }
}
