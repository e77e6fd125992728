//! Whether a command does the same with the copy as with the original, and what it missed.
//!
//! Compared are the exit status, what was printed, and the modules that were read: names of code files, so it works for
//! Python, R, Julia and compiled code alike.
//!
//! Not here: running it (`cli::env`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::environment::recorded::Recorded;
use crate::text::{counted, plain, wrapped};

/// Rows of a list that are shown: 20.
const ROWS_SHOWN: usize = 20;

/// One run of the command.
#[derive(Debug)]
pub struct Ran {
    /// How it ended, in words.
    pub status: String,
    /// What it printed on standard output.
    pub stdout: Vec<u8>,
    /// And on standard error.
    pub stderr: Vec<u8>,
    /// What it touched.
    pub recorded: Recorded,
}

/// What the two runs say.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What differs, in words; empty if nothing does.
    pub differences: Vec<String>,
    /// What the copy lacks and the command asked for, by its path in the original.
    pub missing: BTreeSet<PathBuf>,
    /// Modules that were read in both.
    pub modules: usize,
}

/// Compares the run with the original and that with the copy; `places` are where the copy of each directory is.
pub fn compare(original: &Ran, copy: &Ran, places: &[(PathBuf, PathBuf)]) -> Verdict {
    let mut verdict = Verdict::default();
    if original.status != copy.status {
        verdict.differences.push(format!("it ended with {} instead of {}", copy.status, original.status));
    }
    for (name, one, other) in [
        ("standard output", &original.stdout, &copy.stdout),
        ("standard error", &original.stderr, &copy.stderr),
    ] {
        verdict
            .differences
            .extend(different_line(one, other).map(|line| format!("{name} differs in line {line}")));
    }
    let (one, other) = (modules(&original.recorded), modules(&copy.recorded));
    verdict.modules = one.intersection(&other).count();
    for (words, path) in one
        .difference(&other)
        .map(|path| ("not read any more", path))
        .chain(other.difference(&one).map(|path| ("read instead", path)))
    {
        verdict.differences.push(format!("module {words}: {}", plain(path)));
    }
    verdict.missing = missing(original, copy, places);
    verdict
}

/// What the run with the original found and the copy lacks, and what that with the copy looked for in vain.
///
/// Neither says it all: Python asks a listing whether there is a module, and never asks for one that it lacks; and who
/// misses one thing may go on to another that the run with the original had no need of.
fn missing(original: &Ran, copy: &Ran, places: &[(PathBuf, PathBuf)]) -> BTreeSet<PathBuf> {
    let place = |path: &Path| {
        places.iter().find_map(|(copy, original)| Some(copy.join(path.strip_prefix(original).ok()?)))
    };
    let is_lacking = |path: &Path| place(path).is_some_and(|place| place.symlink_metadata().is_err());
    let found = original.recorded.paths.iter().filter(|(_, usage)| usage.found > 0);
    let in_vain = copy.recorded.paths.iter().filter(|(_, usage)| usage.found == 0 && usage.absent > 0);
    let asked = found.chain(in_vain).map(|(path, _)| path);
    asked.filter(|path| is_lacking(path) && path.symlink_metadata().is_ok()).cloned().collect()
}

/// The number of the first line that is not the same, from 1.
fn different_line(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let lines = |text: &[u8]| text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (one, other) = (lines(one), lines(other));
    let same = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
    Some(same + 1)
}

/// Files with code that were opened or read.
fn modules(recorded: &Recorded) -> BTreeSet<&Path> {
    let read = recorded.paths.iter().filter(|(path, usage)| usage.reads > 0 && is_code(path));
    read.map(|(path, _)| path.as_path()).collect()
}

fn is_code(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let ends = [".py", ".pyc", ".so", ".R", ".rdb", ".jl"];
    ends.iter().any(|end| name.ends_with(end.as_bytes())) || name.windows(4).any(|part| part == b".so.")
}

impl Verdict {
    /// Whether the copy does what the original does.
    pub fn is_same(&self) -> bool {
        self.differences.is_empty() && self.missing.is_empty()
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new()];
        if self.is_same() {
            let modules = counted(self.modules as u64, "module");
            let words =
                format!("verified: the command ended alike, printed the same and read the same {modules}");
            lines.extend(wrapped(&words, "", "  "));
            return lines;
        }
        lines.push("not the same with the copy:".to_owned());
        lines.extend(self.differences.iter().take(ROWS_SHOWN).map(|difference| format!("  {difference}")));
        lines.extend(more(self.differences.len()));
        if !self.missing.is_empty() {
            lines.push("to be added back (record this command too, and give both recordings):".to_owned());
            lines.extend(self.missing.iter().take(ROWS_SHOWN).map(|path| format!("  {}", plain(path))));
            lines.extend(more(self.missing.len()));
        }
        lines
    }

    /// One object.
    pub fn json(&self) -> Value {
        json!({
            "is_same": self.is_same(),
            "differences": self.differences,
            "missing": self.missing.iter().map(plain).collect::<Vec<_>>(),
            "modules": self.modules,
        })
    }
}

fn more(all: usize) -> Option<String> {
    let hidden = all.saturating_sub(ROWS_SHOWN);
    (hidden > 0).then(|| format!("  and {hidden} more; `--json` has all"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::recorded::Usage;
    use std::fs;

    #[test]
    fn what_is_to_be_added_back_is_what_one_run_found_or_the_other_missed() {
        let directory = tempfile::tempdir().unwrap();
        let (env, slim) = (directory.path().join("env"), directory.path().join("slim"));
        for file in ["env/kept.py", "env/listed.py", "env/asked.py", "slim/kept.py"] {
            let file = directory.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let ran = |found: &[&str], absent: &[&str], stdout: &[u8]| {
            let one = |name: &&str, found: u64| {
                (
                    env.join(name),
                    Usage { calls: 1, found, reads: found, absent: 1 - found, ..Usage::default() },
                )
            };
            let mut recorded = Recorded::default();
            recorded
                .paths
                .extend(found.iter().map(|name| one(name, 1)).chain(absent.iter().map(|name| one(name, 0))));
            Ran { status: "exit code 0".into(), stdout: stdout.into(), stderr: Vec::new(), recorded }
        };
        // Python saw by the listing that there is no `listed`; `asked` the original's run had no need of.
        let original = ran(&["kept.py", "listed.py", "../elsewhere"], &["none.py"], b"a\nb\n");
        let copy = ran(&["kept.py"], &["asked.py", "none.py"], b"a\nc\n");
        let verdict = compare(&original, &copy, &[(slim, env.clone())]);
        assert_eq!(
            verdict.missing.iter().collect::<Vec<_>>(),
            [&env.join("asked.py"), &env.join("listed.py")]
        );
        assert_eq!(verdict.modules, 1);
        assert!(verdict.differences[0].contains("standard output differs in line 2"), "{verdict:?}");
        assert!(verdict.differences[1].contains("not read any more") && !verdict.is_same(), "{verdict:?}");
        assert!(compare(&original, &original, &[(env.clone(), env)]).is_same());
    }
}
