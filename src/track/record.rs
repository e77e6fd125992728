//! The lines that travel from the hook to the store: each a JSON list whose first element says what it is.
//!
//! The same lines stand in shared memory while a run lasts, in the file that it leaves and in what `ingest` reads. A
//! line that cannot be read is passed by: a process that is killed may leave half of one.
//!
//! Not here: who writes them (`hook.py`, `flight`), what is kept of them (`gather`).

use serde::{Deserialize, Serialize};

/// Bytes of a line at most: 1 MiB. A path has at most 4,096; what is longer is not ours.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Which run, as `spinney run` knows it. The first line of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Equal for all tasks of a run.
    pub uuid: String,
    /// Login name, or the number if there is none.
    pub user: String,
    /// What the job is charged to.
    #[serde(default)]
    pub project: Option<String>,
    /// The cluster.
    #[serde(default)]
    pub system: Option<String>,
    /// The scheduler's number of the job.
    #[serde(default)]
    pub job: Option<String>,
    /// This node.
    pub host: String,
    /// File name of the command, without its arguments.
    pub command: String,
    /// Nodes of the run.
    pub nodes: u32,
    /// Tasks of the run.
    pub tasks: u32,
    /// Seconds since 1970.
    pub started: f64,
    /// With which probability this run was kept: 1 unless runs are sampled.
    #[serde(default = "certain")]
    pub probability: f64,
}

/// How a task of a run ended. The last line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// For how long it ran.
    pub seconds: f64,
}

/// One interpreter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// Seconds since 1970, when it imported first.
    pub started: f64,
    /// `3.11.7`.
    pub python: String,
    /// `cpython`, or `R`.
    pub implementation: String,
    /// The interpreter's file; none if it is embedded.
    pub executable: Option<String>,
    /// `sys.prefix`.
    pub prefix: String,
    /// `sys.base_prefix`.
    pub base_prefix: String,
    /// Whether `prefix` is a conda environment: told by whoever was on the node.
    #[serde(default)]
    pub conda: bool,
}

/// One module, or a package with what belongs to it: number, name, path, version, own microseconds, microseconds
/// with what it imported itself, flags (see `hook.py`), by which module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "ImportLine", into = "ImportLine")]
pub struct Import {
    /// In the order in which imports began.
    pub number: u32,
    /// Full name.
    pub name: String,
    /// File, or the first directory of a namespace package.
    pub path: Option<String>,
    /// Of the package, not of the interpreter.
    pub version: Option<String>,
    /// Microseconds in its own code.
    pub own_us: u64,
    /// Microseconds with all that it imported.
    pub total_us: u64,
    /// See `hook.py`.
    pub flags: String,
    /// Name of the module that imported it.
    pub by: Option<String>,
}

/// A shared object that processes of the run had mapped. In flight `processes` is the number of one process; in a message
/// it is how many had it mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "LibraryLine", into = "LibraryLine")]
pub struct Library {
    /// The file.
    pub path: String,
    /// The package that brought it, if its path tells.
    pub package: Option<String>,
    /// See above.
    pub processes: u32,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// Which run.
    Run(Run),
    /// A process; the lines after it are about it.
    Process(Process),
    /// Names that the user's own code imports.
    Asks(Vec<String>),
    /// An import.
    Import(Import),
    /// A shared object.
    Library(Library),
    /// How the run ended.
    End(End),
}

impl Import {
    /// Whether `flag` is set.
    pub fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    /// The package of the module: its name up to the first dot.
    pub fn top(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }
}

impl Line {
    /// Takes a line apart; `None` if it is none of ours.
    pub fn parse(line: &[u8]) -> Option<Line> {
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
        let tag_end = line.iter().position(|&byte| byte == b',')?;
        match line.get(..tag_end)? {
            b"[\"i\"" => serde_json::from_slice(line).ok().map(Line::Import),
            b"[\"run\"" => inner(line).map(Line::Run),
            b"[\"proc\"" => inner(line).map(Line::Process),
            b"[\"asks\"" => inner(line).map(Line::Asks),
            b"[\"lib\"" => serde_json::from_slice(line).ok().map(Line::Library),
            b"[\"end\"" => inner(line).map(Line::End),
            _ => None,
        }
    }

    /// The line, with its end.
    pub fn to_text(&self) -> String {
        let text = match self {
            Line::Run(run) => serde_json::to_string(&("run", run)),
            Line::Process(process) => serde_json::to_string(&("proc", process)),
            Line::Asks(names) => serde_json::to_string(&("asks", names)),
            Line::Import(import) => serde_json::to_string(import),
            Line::Library(library) => serde_json::to_string(library),
            Line::End(end) => serde_json::to_string(&("end", end)),
        };
        text.expect("strings and finite numbers have a JSON form") + "\n"
    }
}

type ImportLine = (String, u32, String, Option<String>, Option<String>, u64, u64, String, Option<String>);

impl From<ImportLine> for Import {
    fn from((_, number, name, path, version, own_us, total_us, flags, by): ImportLine) -> Self {
        Import { number, name, path, version, own_us, total_us, flags, by }
    }
}

impl From<Import> for ImportLine {
    fn from(import: Import) -> Self {
        let Import { number, name, path, version, own_us, total_us, flags, by } = import;
        ("i".to_owned(), number, name, path, version, own_us, total_us, flags, by)
    }
}

type LibraryLine = (String, String, Option<String>, u32);

impl From<LibraryLine> for Library {
    fn from((_, path, package, processes): LibraryLine) -> Self {
        Library { path, package, processes }
    }
}

impl From<Library> for LibraryLine {
    fn from(Library { path, package, processes }: Library) -> Self {
        ("lib".to_owned(), path, package, processes)
    }
}

fn inner<'line, T: Deserialize<'line>>(line: &'line [u8]) -> Option<T> {
    serde_json::from_slice::<(&str, T)>(line).ok().map(|(_, inner)| inner)
}

fn certain() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_as_it_was() {
        let import = Import {
            number: 3,
            name: "a\"b\n$(x)'".to_owned(),
            path: Some("/é/\u{10000}".to_owned()),
            version: None,
            own_us: 1,
            total_us: 2,
            flags: "pa".to_owned(),
            by: None,
        };
        let library = Library { path: "/a\nb.so".to_owned(), package: None, processes: 3 };
        let others =
            [Line::Asks(vec!["x".to_owned()]), Line::Library(library), Line::End(End { seconds: 1.5 })];
        for line in others.into_iter().chain([Line::Import(import)]) {
            let text = line.to_text();
            assert_eq!(text.matches('\n').count(), 1);
            assert_eq!(Line::parse(text.trim_end().as_bytes()), Some(line));
        }
    }

    #[test]
    fn what_is_no_line_of_ours_is_passed_by() {
        let long = format!("[\"asks\",[\"{}\"]]", "x".repeat(LINE_BYTES_MAX));
        let cases: &[&[u8]] = &[
            b"",
            b"[\"i\",1,\"numpy\",\"/x", // the process was killed in the middle
            b"[\"i\",-1,\"x\",null,null,0,0,\"\",null]", // a negative number
            b"[\"run\",{}]",            // fields are missing
            b"{\"crc\":\"0x1\"}",       // another kind of record
            b"\xff\xfe,",               // no text
            long.as_bytes(),
        ];
        for case in cases {
            assert_eq!(Line::parse(case), None);
        }
    }
}
