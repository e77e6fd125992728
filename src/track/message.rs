//! From a run's directory in shared memory to the one message that leaves the node.
//!
//! First the run, then each process with the packages that the filter lets pass, then shared objects, then how long it
//! lasted. Everything that tells nothing is left out; a run of which nothing is told leaves no message.
//!
//! Not here: what is kept of a process (`gather`), where the message goes (`send`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::filter::Filter;
use super::flight::{RUN_FILE, read};
use super::gather;
use super::record::{End, Library, Line, Run};
use super::run::now;
use super::sample;
use super::seen;
use super::send::Message;
use super::xalt_form::system;

/// Bytes read of one process's file at most: twice what the hook writes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Files of processes that one message takes at most.
const FILES_MAX: usize = 100_000;

/// Bytes of a message at most: 64 MiB. Processes beyond are left out.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What is in `directory`; `None` if nothing is to be told of the run.
pub fn compose(directory: &Path, filter: &Filter, seed: Option<u64>) -> Option<Message> {
    let of_run = read(&directory.join(RUN_FILE)).ok()?;
    let mut lines = of_run.split(|&byte| byte == b'\n').filter_map(Line::parse);
    let Some(Line::Run(run)) = lines.next() else { return None };
    // Of several tasks; the run lasted as long as the longest.
    let seconds = lines.filter_map(|line| if let Line::End(end) = line { Some(end.seconds) } else { None });
    let seconds = seconds.reduce(f64::max);
    let run = sampled(seed, run, seconds.unwrap_or(0.0))?;
    let (system, uuid, host) = (system(&run), run.uuid.clone(), run.host.clone());
    let mut text = Line::Run(run).to_text().into_bytes();
    let head = text.len();
    let (mut mapped, mut extensions) = (BTreeMap::new(), Vec::new());
    for file in files(directory).iter().take(FILES_MAX) {
        let Ok(content) = read(file) else { continue };
        note_libraries(&content, &mut mapped);
        let seen = seen::read(&content);
        extensions.extend(gather::extensions(&seen, filter));
        let mut kept = gather::process(seen, filter);
        if let Some(Line::Process(process)) = kept.first_mut() {
            process.conda = Path::new(&process.prefix).join("conda-meta").is_dir();
        }
        let told = kept.iter().flat_map(|line| line.to_text().into_bytes()).collect::<Vec<u8>>();
        if text.len() + told.len() < MESSAGE_BYTES_MAX {
            text.extend(told);
        }
    }
    add_extensions(extensions, &mut mapped);
    for (path, (package, pids)) in mapped {
        let processes = u32::try_from(pids.len()).unwrap_or(u32::MAX);
        text.extend(Line::Library(Library { path, package, processes }).to_text().into_bytes());
    }
    if text.len() == head {
        return None;
    }
    text.extend(seconds.map(|seconds| Line::End(End { seconds }).to_text()).unwrap_or_default().into_bytes());
    let name = format!("{uuid}-{host}-{}-{:x}", std::process::id(), (now() * 1e6) as u64);
    let name = name.replace(|it: char| !it.is_ascii_alphanumeric() && !"-_.".contains(it), "_");
    Some(Message { name, system, text })
}

/// Files of processes, in a stable order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == "rec") && !file.ends_with(RUN_FILE));
    files.sort();
    files
}

/// The run with the probability that it is kept with; `None` if it is not kept. Of a run whose end nobody saw it is known
/// only that it began.
fn sampled(seed: Option<u64>, run: Run, seconds: f64) -> Option<Run> {
    let Some(seed) = seed else { return Some(run) };
    let probability = sample::probability(run.tasks, seconds);
    sample::is_kept(seed, &run.uuid, probability).then_some(Run { probability, ..run })
}

/// By path, the package and the processes that had it mapped.
type Mapped = BTreeMap<String, (Option<String>, BTreeSet<u32>)>;

/// Adds the shared objects that an observer has seen.
fn note_libraries(content: &[u8], mapped: &mut Mapped) {
    for line in content.split(|&byte| byte == b'\n').filter_map(Line::parse) {
        // In flight the number is that of the process.
        if let Line::Library(Library { path, package, processes: pid }) = line {
            mapped.entry(path).or_insert_with(|| (package, BTreeSet::new())).1.insert(pid);
        }
    }
}

/// Adds the extension modules of interpreters that lived too briefly for the observer. Of others it has seen more, and by
/// the names that the kernel has for them.
fn add_extensions(extensions: Vec<Library>, mapped: &mut Mapped) {
    let observed: BTreeSet<u32> = mapped.values().flat_map(|(_, pids)| pids).copied().collect();
    for Library { path, package, processes: pid } in extensions {
        if !observed.contains(&pid) {
            mapped.entry(path).or_insert_with(|| (package, BTreeSet::new())).1.insert(pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_modules_of_a_process_that_nobody_observed_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write(RUN_FILE, &Line::Run(Run::here(&["python3".into()], None)).to_text());
        for pid in [7, 8] {
            let text = format!(
                "py\t{pid}\t1.5\t3.11.7\tcpython\t/e/python3\t/e\t/e\t/e/lib/python3.11/\n\
                 m\t1\tm\t/e/site-packages/m.so\t\t\t5\t9\t\t__main__\n"
            );
            write(&format!("{pid}-1.rec"), &text);
        }
        write("libraries-6.rec", "[\"lib\",\"/real/site-packages/m.so\",\"m\",8]\n");
        let message = compose(directory.path(), &Filter::default(), None).unwrap();
        let libraries: Vec<Line> = message
            .text
            .split(|&byte| byte == b'\n')
            .filter_map(Line::parse)
            .filter(|it| matches!(it, Line::Library(_)))
            .collect();
        let told = |path: &str| {
            Line::Library(Library { path: path.to_owned(), package: Some("m".to_owned()), processes: 1 })
        };
        assert_eq!(libraries, [told("/e/site-packages/m.so"), told("/real/site-packages/m.so")]);
    }
}
