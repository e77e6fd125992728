//! From files of records into a store.
//!
//! A file is taken apart line by line; what cannot be read is counted and passed by. Files that are still being
//! written (names with a dot) are left alone.
//!
//! Not here: where the store lies (`store`), how the files came to be (`flight`).

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::record::{LINE_BYTES_MAX, Line};
use super::store::{Added, Batch, Store, StoreError};

/// What one ingest did.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Files that were read.
    pub files: u64,
    /// Lines that were none of ours.
    pub bad_lines: u64,
    /// What was new in the store.
    pub added: Added,
    /// Files that could not be read, and why.
    pub troubles: Vec<String>,
    /// Files that say nothing that is not in the store now.
    pub whole: Vec<PathBuf>,
}

/// Why nothing was ingested.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds all `paths`, files or directories of files, to `store`.
///
/// # Errors
/// The store refused; nothing was added then.
pub fn ingest(store: &mut Store, paths: &[PathBuf]) -> Result<Ingested, IngestError> {
    let mut done = Ingested::default();
    let mut files = Vec::new();
    for path in paths {
        find(path, &mut files, &mut done.troubles);
    }
    let mut batches = files.iter().filter_map(|file| {
        done.files += 1;
        match read(file) {
            Ok((batch, bad_lines)) => {
                done.bad_lines += bad_lines;
                if batch.is_some() && bad_lines == 0 {
                    done.whole.push(file.clone());
                }
                if batch.is_none() {
                    done.troubles.push(format!("{}: no file of records", file.display()));
                }
                batch
            }
            Err(error) => {
                done.troubles.push(format!("{}: {error}", file.display()));
                None
            }
        }
    });
    let added = store.add(&mut batches)?;
    drop(batches);
    Ok(Ingested { added, ..done })
}

fn find(path: &Path, files: &mut Vec<PathBuf>, troubles: &mut Vec<String>) {
    if !path.is_dir() {
        files.push(path.to_owned());
        return;
    }
    match fs::read_dir(path) {
        Ok(entries) => {
            let mut here: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            here.retain(|file| file.extension().is_some_and(|it| it == "jsonl") && !is_hidden(file));
            here.sort();
            files.append(&mut here);
        }
        Err(error) => troubles.push(format!("{}: {error}", path.display())),
    }
}

fn is_hidden(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Takes a file apart; no batch if it does not say which run it is about.
fn read(file: &Path) -> io::Result<(Option<Batch>, u64)> {
    let mut reader = BufReader::new(fs::File::open(file)?);
    let (mut batch, mut bad_lines, mut line): (Option<Batch>, u64, Vec<u8>) = (None, 0, Vec::new());
    while next(&mut reader, &mut line)? {
        match (Line::parse(&line), &mut batch) {
            (Some(Line::Run(run)), None) => batch = Some(Batch { run, end: None, processes: Vec::new() }),
            (Some(Line::Process(process)), Some(batch)) => batch.processes.push((process, Vec::new())),
            (Some(Line::Import(import)), Some(batch)) if !batch.processes.is_empty() => {
                let last = batch.processes.last_mut().expect("there is one, as the guard says");
                last.1.push(import);
            }
            (Some(Line::End(end)), Some(batch)) => batch.end = Some(end),
            (Some(Line::Asks(_)), _) => {}
            _ => bad_lines += 1,
        }
    }
    Ok((batch, bad_lines))
}

/// The next line without its end; what is beyond the limit of a line is read away.
fn next(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut came = false;
    loop {
        let (used, is_end) = {
            let there = reader.fill_buf()?;
            if there.is_empty() {
                return Ok(came);
            }
            let end = there.iter().position(|&byte| byte == b'\n');
            let part = &there[..end.unwrap_or(there.len())];
            if line.len() <= LINE_BYTES_MAX {
                line.extend_from_slice(part);
            }
            (end.map_or(there.len(), |end| end + 1), end.is_some())
        };
        came = true;
        reader.consume(used);
        if is_end {
            return Ok(true);
        }
    }
}
