//! Commands that only start another one: `env`, `time`, `numactl`, `mpiexec` and their like.
//!
//! Knows each one's options well enough to find the word that is the real command. Pure: words in,
//! words out. An option it does not know is taken to have no value, so at worst a value is taken for the
//! command, is not found in PATH, and nothing is chosen.
//!
//! Not here: finding that word in PATH (`program`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What a launcher will start, and what it changes for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launched {
    /// The command's word and its arguments.
    pub words: Vec<OsString>,
    /// Variables it sets (`Some`) or takes away (`None`), in order.
    pub variables: Vec<(OsString, Option<OsString>)>,
    /// Whether it starts with no variables at all.
    pub cleared: bool,
    /// The directory it changes to.
    pub directory: Option<OsString>,
    /// What the user should know, as a sentence that begins with the launcher's name.
    pub warning: Option<&'static str>,
}

/// How options are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// One letter after one dash, several may share it: `-fo FILE`.
    Letters,
    /// Words after one dash as well: `-np 4`.
    Words,
}

struct Launcher {
    name: &'static str,
    style: Style,
    /// Options whose value is the next word.
    valued: &'static [&'static str],
    /// Options with two values.
    valued_twice: &'static [&'static str],
    /// Words of its own before the command: `timeout 5 COMMAND`.
    operands: usize,
    warning: Option<&'static str>,
}

impl Launcher {
    const fn new(name: &'static str, valued: &'static [&'static str]) -> Self {
        Self { name, style: Style::Letters, valued, valued_twice: &[], operands: 0, warning: None }
    }

    const fn after(self, operands: usize) -> Self {
        Self { operands, ..self }
    }

    const fn mpi(name: &'static str) -> Self {
        let warning = Some(
            "starts tasks on other nodes outside of this node's view: put `spinney run --` after it, before the program",
        );
        Self {
            name,
            style: Style::Words,
            valued: MPI_VALUED,
            valued_twice: MPI_VALUED_TWICE,
            operands: 0,
            warning,
        }
    }
}

/// Options of Hydra, PRRTE, Open MPI and PALS that take a value.
const MPI_VALUED: &[&str] = &[
    "-n",
    "--n",
    "-np",
    "--np",
    "-c",
    "-N",
    "-ppn",
    "--ppn",
    "-npernode",
    "--npernode",
    "-map-by",
    "--map-by",
    "-bind-to",
    "--bind-to",
    "-rank-by",
    "--rank-by",
    "-H",
    "-host",
    "--host",
    "-hosts",
    "--hosts",
    "-hostfile",
    "--hostfile",
    "-machinefile",
    "--machinefile",
    "-f",
    "-x",
    "-wdir",
    "--wdir",
    "-iface",
    "-d",
    "--depth",
    "--cpu-bind",
    "--mem-bind",
    "-genvlist",
    "-envlist",
    "-bootstrap",
    "-launcher",
    "-rmk",
    "--rankfile",
    "-rf",
    "--prefix",
    "--output-filename",
    "--env",
    "--envlist",
    "--line-buffer-size",
    "--timeout",
];

const MPI_VALUED_TWICE: &[&str] = &["-mca", "--mca", "--prtemca", "--pmixmca", "--gmca", "-genv", "-env"];

const SRUN_VALUED: &[&str] = &[
    "-n",
    "-N",
    "-c",
    "-p",
    "-t",
    "-J",
    "-o",
    "-e",
    "-i",
    "-w",
    "-x",
    "-A",
    "-q",
    "-m",
    "-G",
    "-C",
    "-B",
    "-D",
    "-d",
    "-L",
    "-M",
    "-r",
    "-T",
    "-W",
    "--nodes",
    "--ntasks",
    "--ntasks-per-node",
    "--cpus-per-task",
    "--partition",
    "--time",
    "--job-name",
    "--output",
    "--error",
    "--input",
    "--nodelist",
    "--exclude",
    "--account",
    "--qos",
    "--gpus",
    "--gpus-per-node",
    "--gpus-per-task",
    "--mem",
    "--mem-per-cpu",
    "--constraint",
    "--distribution",
    "--export",
    "--chdir",
    "--jobid",
    "--reservation",
    "--network",
    "--licenses",
    "--gres",
    "--mail-user",
];

const SRUN: Launcher = Launcher {
    name: "srun",
    style: Style::Letters,
    valued: SRUN_VALUED,
    valued_twice: &[],
    operands: 0,
    warning: Some(
        "starts its tasks outside of this node's view: put `spinney run --` after it, before the program",
    ),
};

const LAUNCHERS: &[Launcher] = &[
    Launcher::new("time", &["-f", "--format", "-o", "--output"]),
    Launcher::new("nice", &["-n", "--adjustment"]),
    Launcher::new("ionice", &["-c", "--class", "-n", "--classdata"]),
    Launcher::new(
        "numactl",
        &[
            "-i",
            "--interleave",
            "-w",
            "--weighted-interleave",
            "-p",
            "--preferred",
            "-P",
            "--preferred-many",
            "-N",
            "--cpunodebind",
            "-C",
            "--physcpubind",
            "-m",
            "--membind",
        ],
    ),
    Launcher::new("taskset", &[]).after(1),
    Launcher::new("chrt", &["-T", "--sched-runtime", "-P", "--sched-period", "-D", "--sched-deadline"])
        .after(1),
    Launcher::new("stdbuf", &["-i", "--input", "-o", "--output", "-e", "--error"]),
    Launcher::new("timeout", &["-k", "--kill-after", "-s", "--signal"]).after(1),
    Launcher::new("nohup", &[]),
    Launcher::new("setsid", &[]),
    Launcher::new("catchsegv", &[]),
    Launcher::new(
        "setpriv",
        &[
            "--reuid",
            "--regid",
            "--groups",
            "--securebits",
            "--pdeathsig",
            "--ambient-caps",
            "--inh-caps",
            "--bounding-set",
            "--selinux-label",
            "--apparmor-profile",
        ],
    ),
    Launcher::new("prlimit", &[]),
    Launcher::new(
        "strace",
        &["-e", "-o", "-p", "-s", "-u", "-E", "-P", "-a", "-b", "-I", "-O", "-S", "-X", "-U"],
    ),
    Launcher::new("ltrace", &["-e", "-o", "-p", "-s", "-u", "-n", "-l", "-A", "-D", "-F", "-a", "-x"]),
    Launcher::new("valgrind", &[]),
    Launcher::new("perf", &["-e", "-o", "-F", "-c", "-m", "-C", "-r", "-I", "-D", "--call-graph"]).after(1),
    SRUN,
    Launcher::mpi("mpiexec"),
    Launcher::mpi("mpirun"),
    Launcher::mpi("mpiexec.hydra"),
    Launcher::mpi("orterun"),
    Launcher::mpi("prterun"),
];

/// What `name` with `args` starts; `None` if `name` is no launcher or starts nothing (`time --version`).
pub fn behind(name: &OsStr, args: &[OsString]) -> Option<Launched> {
    match name.to_str()? {
        "env" => env(args),
        "gdb" => {
            // Only with --args does gdb take the program's own words.
            let at = args.iter().position(|arg| arg == "--args" || arg == "-args")?;
            plain(&args[at + 1..], None)
        }
        name => {
            let launcher = LAUNCHERS.iter().find(|launcher| launcher.name == name)?;
            plain(after_options(launcher, args), launcher.warning)
        }
    }
}

fn plain(words: &[OsString], warning: Option<&'static str>) -> Option<Launched> {
    (!words.is_empty()).then(|| Launched { words: words.to_vec(), warning, ..Launched::default() })
}

fn after_options<'a>(launcher: &Launcher, args: &'a [OsString]) -> &'a [OsString] {
    let mut operands = launcher.operands;
    let mut dashes_seen = false;
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        let text = arg.to_str().unwrap_or_default();
        if !dashes_seen && text == "--" {
            dashes_seen = true;
            at += 1;
        } else if !dashes_seen && text.starts_with('-') && text.len() > 1 {
            at += 1 + values_after(launcher, text);
        } else if operands > 0 {
            operands -= 1;
            at += 1;
        } else {
            break;
        }
    }
    &args[at.min(args.len())..]
}

/// How many of the next words are values of this option.
fn values_after(launcher: &Launcher, option: &str) -> usize {
    if launcher.valued_twice.contains(&option) {
        return 2;
    }
    if launcher.valued.contains(&option) {
        return 1;
    }
    if launcher.style == Style::Words || option.starts_with("--") {
        return 0;
    }
    // Letters share a dash: the first that takes a value takes the rest, or the next word if it is last.
    let takes_value = |letter: char| launcher.valued.contains(&format!("-{letter}").as_str());
    let letters = &option[1..];
    match letters.char_indices().find(|(_, letter)| takes_value(*letter)) {
        Some((index, letter)) if index + letter.len_utf8() == letters.len() => 1,
        _ => 0,
    }
}

/// `env`, as coreutils reads it: it changes variables and directory, and can split a string into words.
fn env(args: &[OsString]) -> Option<Launched> {
    let mut launched = Launched::default();
    let mut rest: Vec<OsString> = args.iter().rev().cloned().collect();
    while let Some(arg) = rest.pop() {
        let bytes = arg.as_bytes();
        if let Some(equals) = bytes.iter().position(|&byte| byte == b'=').filter(|_| !bytes.starts_with(b"-"))
        {
            let name = OsStr::from_bytes(&bytes[..equals]).to_owned();
            launched.variables.push((name, Some(OsStr::from_bytes(&bytes[equals + 1..]).to_owned())));
        } else if bytes.starts_with(b"-") {
            env_option(&mut launched, bytes, &mut rest);
        } else {
            launched.words = std::iter::once(arg).chain(rest.into_iter().rev()).collect();
            return Some(launched);
        }
    }
    None
}

fn env_option(launched: &mut Launched, option: &[u8], rest: &mut Vec<OsString>) {
    let (name, attached) = split_option(option);
    let mut value = || attached.map(|bytes| OsStr::from_bytes(bytes).to_owned()).or_else(|| rest.pop());
    match name {
        b"-" | b"-i" | b"--ignore-environment" => launched.cleared = true,
        b"-u" | b"--unset" => launched.variables.extend(value().map(|name| (name, None))),
        b"-C" | b"--chdir" => launched.directory = value(),
        b"-S" | b"-vS" | b"--split-string" => {
            let string = value().unwrap_or_default();
            rest.extend(split_words(string.as_bytes()).into_iter().rev());
        }
        _ => {} // flags, and `--`, after which assignments may still follow
    }
}

/// An option and the value written together with it: `--unset=X`, `-uX`, `-S python3 -u`.
fn split_option(option: &[u8]) -> (&[u8], Option<&[u8]>) {
    if option.starts_with(b"--") {
        let equals = option.iter().position(|&byte| byte == b'=');
        return equals.map_or((option, None), |at| (&option[..at], Some(&option[at + 1..])));
    }
    let name_length = if option.starts_with(b"-vS") { 3 } else { 2.min(option.len()) };
    let (name, value) = option.split_at(name_length);
    (name, (!value.is_empty()).then_some(value))
}

/// Words separated by blanks; quotes keep blanks, a backslash keeps the next byte.
fn split_words(string: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = string.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (_, b'\\') => word.get_or_insert_default().extend(bytes.next()),
            (None, b' ' | b'\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words.into_iter().map(OsString::from_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_real_command_is_found_behind_its_launcher() {
        let cases = [
            ("time python3 x.py", Some("python3 x.py")), // no options
            ("time -o log -v python3", Some("python3")), // one with a value, one without
            ("nice -n 10 python3", Some("python3")),     // value apart
            ("nice -n10 python3", Some("python3")),      // value attached
            ("nice -10 python3", Some("python3")),       // the old form
            ("numactl -C 0-3 --membind=0 -l python3", Some("python3")), // three ways of writing
            ("taskset -c 0-3 python3", Some("python3")), // the list is an operand
            ("taskset 0xf python3", Some("python3")),    // the mask too
            ("timeout -k 5 60 python3", Some("python3")), // option with value, then the duration
            ("timeout -- 60 python3", Some("python3")),  // the duration after the dashes
            ("strace -fo out -e trace=file python3", Some("python3")), // letters sharing a dash
            ("gdb --args python3 x.py", Some("python3 x.py")), // gdb runs a program
            ("gdb python3", None),                       // gdb reads a file
            ("perf stat -e cycles python3", Some("python3")), // the subcommand is an operand
            ("mpiexec -np 4 --map-by core python3", Some("python3")), // words after one dash
            ("mpiexec -genv A B -ppn 2 python3", Some("python3")), // two values
            ("mpirun --oversubscribe -n 2 python3", Some("python3")), // a flag without value
            ("srun -n4 --mem=2G -c 2 python3", Some("python3")), // attached, equals, apart
            ("nohup", None),                             // nothing to start
            ("python3 x.py", None),                      // no launcher
        ];
        for (line, want) in cases {
            let line_words = words(line);
            let got = behind(&line_words[0], &line_words[1..]).map(|launched| launched.words);
            assert_eq!(got, want.map(words), "{line}");
        }
    }

    #[test]
    fn env_changes_what_the_command_sees() {
        let args: Vec<OsString> =
            ["-i", "-u", "A", "-C", "/d", "B=1", "-S python3 -X 'a b'", "C=2", "x.py"].map(Into::into).into();
        let launched = env(&args).unwrap();
        assert_eq!(launched.words, ["python3", "-X", "a b", "C=2", "x.py"]);
        assert_eq!(launched.variables, [("A".into(), None), ("B".into(), Some("1".into()))]);
        assert!(launched.cleared);
        assert_eq!(launched.directory, Some("/d".into()));
    }

    #[test]
    fn env_alone_starts_nothing() {
        assert_eq!(env(&words("A=1 -i")), None);
    }

    #[test]
    fn who_starts_tasks_elsewhere_is_warned_about() {
        for line in ["srun python3", "mpirun python3"] {
            let line_words = words(line);
            assert!(behind(&line_words[0], &line_words[1..]).unwrap().warning.is_some(), "{line}");
        }
    }
}
