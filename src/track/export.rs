//! Passing files of records on: to XALT's readers in XALT's form, or to another place as they are.
//!
//! Not here: the forms (`xalt_form`), the ways (`send`).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::ingest::{find, take_apart};
use super::send::destination::{Destination, Form};
use super::send::{Message, Outgoing, SendError, deliver};
use super::xalt_form::system;

/// What was done.
#[derive(Debug, Default)]
pub struct Exported {
    /// Files of records, each of one run on one node.
    pub passed_on: u64,
    /// What could not be passed on, and why.
    pub troubles: Vec<String>,
}

/// Passes all `paths`, files or directories of files, on to `to`, each until a `deadline` of its own.
pub fn export(paths: &[PathBuf], to: &Destination, form: Form, deadline: impl Fn() -> Instant) -> Exported {
    let mut done = Exported::default();
    let mut files = Vec::new();
    paths.iter().for_each(|path| find(path, &mut files, &mut done.troubles));
    for file in files {
        let sent = outgoing(&file, to, form)
            .map_err(SendError::System)
            .and_then(|outgoing| deliver(&outgoing, deadline()));
        match sent {
            Ok(()) => done.passed_on += 1,
            Err(error) => done.troubles.push(format!("{}: {error}", file.display())),
        }
    }
    done
}

fn outgoing(file: &Path, to: &Destination, form: Form) -> io::Result<Outgoing> {
    let text = std::fs::read(file)?;
    let (batch, _) = take_apart(&mut text.as_slice())?;
    let no_records = || io::Error::new(io::ErrorKind::InvalidData, "no file of records");
    let run = batch.ok_or_else(no_records)?.run;
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Outgoing { to: to.clone(), form, message: Message { name, system: system(&run), text } })
}
