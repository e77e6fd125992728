//! What runs within the view: this program once more, started by Spinney or natively, with a word for what to do.
//!
//! | words | does | writes to OUT |
//! |---|---|---|
//! | `repeat N OUT -- COMMAND` | one after the other | seconds of each |
//! | `at-once N OUT -- COMMAND` | all at the same time | seconds of each |
//! | `read N OUT FILE` | reads FILE from front to back N times | seconds of each |
//! | `probe OUT TREE FILE -- COMMAND` | asks the view all the time until COMMAND ends | the longest wait, what went wrong |
//! | `hold READY GO -- COMMAND` | runs COMMAND, makes the file READY, ends when GO is there | nothing |

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::json;

use crate::ground::probe;

/// Bytes read at a time from front to back.
const READ_SIZE: usize = 1 << 20;

/// Does what the words say.
pub fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let command = words.get(end + 1..).unwrap_or(&[]);
    let words: Vec<&str> = words[..end].iter().map(String::as_str).collect();
    match words[..] {
        ["repeat", times, out] => write(out, &repeat(times.parse()?, command)?),
        ["at-once", times, out] => write(out, &at_once(times.parse()?, command)?),
        ["read", times, out, file] => write(out, &read(times.parse()?, Path::new(file))?),
        ["probe", out, tree, file] => return probe::run(out, Path::new(tree), Path::new(file), command),
        ["hold", ready, go] => hold(ready, go, command),
        _ => bail!("`inside` does not know {words:?}"),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn write(out: &str, seconds: &[f64]) -> anyhow::Result<()> {
    Ok(fs::write(out, json!(seconds).to_string())?)
}

fn command_line(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

fn repeat(times: usize, command: &[String]) -> anyhow::Result<Vec<f64>> {
    let one = |_| {
        let start = Instant::now();
        let status = command_line(command).status()?;
        ensure!(status.success(), "`{}` ended with {status}", command.join(" "));
        Ok(start.elapsed().as_secs_f64())
    };
    (0..times).map(one).collect()
}

fn at_once(times: usize, command: &[String]) -> anyhow::Result<Vec<f64>> {
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..times).map(|_| scope.spawn(|| repeat(1, command))).collect();
        all.into_iter().map(|one| Ok(one.join().expect("it does not panic")?[0])).collect()
    })
}

fn read(times: usize, path: &Path) -> anyhow::Result<Vec<f64>> {
    let mut buffer = vec![0; READ_SIZE];
    let one = |_| {
        let start = Instant::now();
        let file = File::open(path)?;
        let mut at = 0;
        loop {
            match file.read_at(&mut buffer, at)? {
                0 => break,
                read => at += read as u64,
            }
        }
        ensure!(at == file.metadata()?.len(), "{} gave {at} bytes", path.display());
        Ok(start.elapsed().as_secs_f64())
    };
    (0..times).map(one).collect()
}

fn hold(ready: &str, go: &str, command: &[String]) -> anyhow::Result<()> {
    repeat(1, command)?;
    fs::write(ready, "")?;
    while !Path::new(go).exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
