//! From files of records into a store.
//!
//! A file is taken apart line by line; what cannot be read is counted and passed by. Files that are still being
//! written (names with a dot) are left alone. XALT's files and logs are told by their names and how they begin.
//!
//! Not here: where the store lies (`store`), how the files came to be (`flight`).

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::record::{LINE_BYTES_MAX, Line};
use super::store::{Added, Batch, Store, StoreError};
use super::xalt_read;

/// How deep files are looked for beneath a directory: XALT's may lie in one for each kind and in others of theirs.
const DEPTH_MAX: u32 = 4;

/// What one ingest did.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Files that were read.
    pub files: u64,
    /// Lines that were none of ours, and records with a wrong checksum.
    pub bad_lines: u64,
    /// The first file that had such.
    pub first_bad: Option<PathBuf>,
    /// What was new in the store.
    pub added: Added,
    /// Files that could not be read, and why.
    pub troubles: Vec<String>,
    /// Files that say nothing that is not in the store now.
    pub whole: Vec<PathBuf>,
}

impl Ingested {
    /// Notes what could not be read in `file`.
    pub fn passed_by(&mut self, lines: u64, file: &Path) {
        self.bad_lines += lines;
        if lines > 0 {
            self.first_bad.get_or_insert_with(|| file.to_owned());
        }
    }
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
    let (of_xalt, files): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(|file| is_of_xalt(file));
    let of_xalt = xalt_read::read(&of_xalt, &mut done);
    let mut batches = files.iter().filter_map(|file| match read(file) {
        Ok((batch, bad_lines)) => {
            done.files += 1;
            done.passed_by(bad_lines, file);
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
    });
    let mut batches = batches.by_ref().chain(of_xalt);
    let added = store.add(&mut batches)?;
    drop(batches);
    Ok(Ingested { added, ..done })
}

/// Files of records in `path`, or itself; what cannot be read is among the `troubles`.
pub fn find(path: &Path, files: &mut Vec<PathBuf>, troubles: &mut Vec<String>) {
    if path.is_dir() {
        find_beneath(path, DEPTH_MAX, files, troubles);
    } else {
        files.push(path.to_owned());
    }
}

fn find_beneath(directory: &Path, depth: u32, files: &mut Vec<PathBuf>, troubles: &mut Vec<String>) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return troubles.push(format!("{}: {error}", directory.display())),
    };
    let mut here: Vec<(PathBuf, bool)> = entries
        .flatten()
        .map(|entry| (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir())))
        .filter(|(path, _)| !is_hidden(path))
        .collect();
    here.sort();
    for (path, is_directory) in here {
        if is_directory && depth > 0 {
            find_beneath(&path, depth - 1, files, troubles);
        } else if !is_directory && path.extension().is_some_and(|it| it == "jsonl" || it == "json") {
            files.push(path);
        }
    }
}

/// Whether XALT wrote it: one of its files, or a log. Ours are told by their names, or by how they begin.
fn is_of_xalt(file: &Path) -> bool {
    if let Some(extension) = file.extension().filter(|it| *it == "jsonl" || *it == "json") {
        return extension == "json";
    }
    let mut head = Vec::new();
    let read = fs::File::open(file).map(|file| file.take(6).read_to_end(&mut head));
    read.is_ok_and(|read| read.is_ok()) && !head.is_empty() && head != b"[\"run\""
}

fn is_hidden(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Takes a file apart; no batch if it does not say which run it is about.
fn read(file: &Path) -> io::Result<(Option<Batch>, u64)> {
    take_apart(&mut BufReader::new(fs::File::open(file)?))
}

/// The same for lines that are elsewhere.
///
/// # Errors
/// What reading answered.
pub fn take_apart(mut reader: &mut impl BufRead) -> io::Result<(Option<Batch>, u64)> {
    let (mut batch, mut bad_lines, mut line): (Option<Batch>, u64, Vec<u8>) = (None, 0, Vec::new());
    while next(&mut reader, &mut line)? {
        match (Line::parse(&line), &mut batch) {
            (Some(Line::Run(run)), None) => {
                batch = Some(Batch { run, end: None, processes: Vec::new(), libraries: Vec::new() });
            }
            (Some(Line::Process(process)), Some(batch)) => batch.processes.push((process, Vec::new())),
            (Some(Line::Import(import)), Some(batch)) if !batch.processes.is_empty() => {
                let last = batch.processes.last_mut().expect("there is one, as the guard says");
                last.1.push(import);
            }
            (Some(Line::Library(library)), Some(batch)) => batch.libraries.push(library),
            (Some(Line::End(end)), Some(batch)) => batch.end = Some(end),
            (Some(Line::Asks(_)), _) => {}
            _ => bad_lines += 1,
        }
    }
    Ok((batch, bad_lines))
}

/// The next line without its end; what is beyond the limit of a line is read away.
///
/// # Errors
/// What reading answered.
pub fn next(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
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
