//! What runs on the nodes: this program once more, with a word for what to do.
//!
//! | words | does | writes |
//! |---|---|---|
//! | `read OUT HOST FILE` | waits for `OUT/go`, reads FILE from front to back, waits for `OUT/end` | `OUT/readyHOST`, then `OUT/secondsHOST` |
//! | `stay OUT HOST FILE` | waits for `OUT/end` | `OUT/readyHOST` |
//! | `tls BYTES` | sends over TLS to whoever connects (`tls`) | its port, to standard output |
//! | `probe OUT N TREE FILE -- COMMAND` | asks the view all the time until COMMAND ends (`ground::probe`), then waits for all N nodes | `OUT` + number of the node |
//! | `hold OUT -- COMMAND` | runs COMMAND, waits for `OUT/go` | `OUT/readyNODE` |

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::ground::probe;
use crate::tls;

/// How long one waits for another: 120 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes read at a time from front to back.
const READ_SIZE: usize = 1 << 20;

/// Does what the words say.
pub fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let command = words.get(end + 1..).unwrap_or(&[]);
    let words: Vec<&str> = words[..end].iter().map(String::as_str).collect();
    match words[..] {
        ["read", out, host, file] => read(Path::new(out), host, Path::new(file))?,
        ["stay", out, host, _] => {
            fs::write(Path::new(out).join(format!("ready{host}")), "")?;
            wait_for(&Path::new(out).join("end"))?;
        }
        ["tls", bytes] => tls::send(bytes.parse()?)?,
        ["probe", out, nodes, tree, file] => {
            let code = probe::run(&format!("{out}{}", node()?), Path::new(tree), Path::new(file), command)?;
            await_others(out, nodes.parse()?)?;
            return Ok(code);
        }
        ["hold", out] => hold(Path::new(out), command)?,
        _ => bail!("`inside` does not know {words:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn node() -> anyhow::Result<u32> {
    Ok(std::env::var("SPINNEY_NODE").context("not on a node")?.parse()?)
}

/// Reads from front to back when it is told to.
fn read(out: &Path, host: &str, file: &Path) -> anyhow::Result<()> {
    fs::write(out.join(format!("ready{host}")), "")?;
    wait_for(&out.join("go"))?;
    let started = Instant::now();
    let mut file = File::open(file)?;
    let mut buffer = vec![0; READ_SIZE];
    while file.read(&mut buffer)? > 0 {}
    let seconds = out.join(format!("seconds{host}"));
    fs::write(seconds.with_extension("new"), started.elapsed().as_secs_f64().to_string())?;
    fs::rename(seconds.with_extension("new"), seconds)?;
    wait_for(&out.join("end"))
}

fn hold(out: &Path, command: &[String]) -> anyhow::Result<()> {
    if let [program, arguments @ ..] = command {
        let status = Command::new(program).args(arguments).status()?;
        ensure!(status.success(), "`{program}` ended with {status}");
    }
    fs::write(out.join(format!("ready{}", node()?)), "")?;
    wait_for(&out.join("go"))
}

/// A node whose task has ended leaves, and those below it have to find another: that is not what is measured.
fn await_others(out: &str, nodes: u32) -> anyhow::Result<()> {
    fs::write(format!("{out}-ended{}", node()?), "")?;
    (0..nodes).try_for_each(|other| wait_for(Path::new(&format!("{out}-ended{other}"))))
}

fn wait_for(file: &Path) -> anyhow::Result<()> {
    let patience = Instant::now() + PATIENCE;
    while !file.exists() {
        ensure!(Instant::now() < patience, "waited in vain for {}", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
