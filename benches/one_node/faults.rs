//! The daemon is killed while tasks read: do they notice, are they told anything wrong, how long do they wait?

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::ground::probe::{self, kill, wrongs};
use crate::ground::processes::{Process, processes};
use crate::ground::rows::Figure;
use crate::ground::{Ground, Job, run, text, wait_for};

/// How often the daemon is killed in each row.
const KILLS: usize = 20;

/// Between two kills of one daemon: its successor is to be at work again.
const BETWEEN_KILLS: Duration = Duration::from_millis(150);

/// Passes over the tree at most, so that a job in which no daemon can be killed ends.
const PASSES_MAX: usize = 40;

/// Twenty jobs of one W, in each the daemon is killed once, at moments spread over the length of W.
pub fn during_workload(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    // The modules and where they come from: a module that silently was not found would be missing here.
    let modules = "; import sys, hashlib; print(len(sys.modules), hashlib.sha256(repr(sorted((name, \
        getattr(module, '__file__', '')) for name, module in sys.modules.items())).encode()).hexdigest())";
    let mut command = ground.workload(&ground.tree);
    command[2].push_str(modules);
    let native = run(&command)?;
    let (mut wrong, mut stalls, mut complaints) = (0, Vec::new(), Vec::new());
    for number in 0..KILLS {
        let moment = native.seconds * (number as f64 + 0.5) / KILLS as f64;
        let probed = probed_job(ground, &command)?;
        let daemon = probed.daemon(ground)?;
        std::thread::sleep(Duration::from_secs_f64(moment));
        kill(&daemon);
        let (output, probe) = probed.end()?;
        let is_right = output.status.success() && output.stdout == native.output.stdout;
        if !is_right || !wrongs(&probe).is_empty() {
            wrong += 1;
            complaints.push(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
            complaints.extend(wrongs(&probe));
        }
        stalls.push(probe["stall_seconds"].as_f64().unwrap_or(f64::INFINITY));
    }
    complaints.truncate(10);
    Ok(vec![
        Figure {
            row: "kill_w_wrong",
            samples: vec![f64::from(wrong)],
            beside: json!({ "kills": KILLS, "complaints": complaints }),
        },
        Figure { row: "kill_w_stall", samples: stalls, beside: json!({ "native_seconds": native.seconds }) },
    ])
}

/// Checksums of every file, over and over with empty caches, until the daemon has been killed twenty times.
pub fn during_checksums(ground: &Ground) -> anyhow::Result<Vec<Figure>> {
    let scratch = ground.scratch()?;
    let list = text(scratch.path().join("sums"));
    let script = format!(
        "cd '{}' && find . -type f -print0 | sort -z | xargs -0 -n 500 sha256sum > '{list}'",
        ground.tree.display()
    );
    let command: Vec<String> = ["sh", "-c", &script].map(str::to_owned).into();
    run(&command)?;
    let right = probe::sums(&list)?;
    let (mut kills, mut wrong, mut complaints, mut stalls) = (0, 0, Vec::new(), Vec::new());
    for _ in 0..PASSES_MAX {
        if kills >= KILLS {
            break;
        }
        fs::write(&list, "")?;
        let mut probed = probed_job(ground, &command)?;
        kills += kill_repeatedly(ground, &mut probed, KILLS - kills)?;
        let (output, probe) = probed.end()?;
        let seen = probe::sums(&list)?;
        let differing = right.iter().filter(|(name, sum)| seen.get(*name) != Some(sum)).count();
        wrong += differing + wrongs(&probe).len();
        if !output.status.success() || differing > 0 {
            wrong += usize::from(differing == 0);
            complaints.push(format!(
                "{differing} files differ; {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        complaints.extend(wrongs(&probe));
        stalls.push(probe["stall_seconds"].as_f64().unwrap_or(f64::INFINITY));
    }
    ensure!(kills >= KILLS, "only {kills} daemons could be killed in {PASSES_MAX} passes");
    complaints.truncate(10);
    let beside =
        json!({ "kills": kills, "files": right.len(), "passes": stalls.len(), "complaints": complaints });
    Ok(vec![
        Figure { row: "kill_sums_wrong", samples: vec![wrong as f64], beside },
        Figure { row: "kill_sums_stall", samples: stalls, beside: json!({}) },
    ])
}

/// A job that runs a command beside a prober of the view.
struct Probed {
    job: Job,
    before: HashSet<Process>,
    _scratch: tempfile::TempDir,
    out: String,
}

fn probed_job(ground: &Ground, command: &[String]) -> anyhow::Result<Probed> {
    let scratch = ground.scratch()?;
    let out = text(scratch.path().join("probe"));
    let file = ground.tree.join("workload.json");
    let mut words = vec!["--".to_owned()];
    words.extend_from_slice(command);
    let inside = ground.inside(&["probe", &out, &text(&ground.tree), &text(file)], &words);
    let before = processes(&ground.spinney);
    let job = Job::start(&ground.with_spinney(&ground.tree, &[], &inside))?;
    Ok(Probed { job, before, _scratch: scratch, out })
}

impl Probed {
    /// The daemon of this job, as soon as it is there.
    fn daemon(&self, ground: &Ground) -> anyhow::Result<Process> {
        wait_for("a daemon", 10, || probe::daemons(&ground.spinney, &self.before).pop())
    }

    fn end(self) -> anyhow::Result<(std::process::Output, Value)> {
        let output = self.job.end()?;
        let probe =
            fs::read(&self.out).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok((output, serde_json::from_slice(&probe)?))
    }
}

/// Kills one daemon after the other while the job lasts, and says how many.
fn kill_repeatedly(ground: &Ground, probed: &mut Probed, kills_max: usize) -> anyhow::Result<usize> {
    let mut killed = HashSet::new();
    while killed.len() < kills_max && !probed.job.is_over() {
        let since = Instant::now();
        if let Ok(daemon) = probed.daemon(ground)
            && killed.insert(daemon.pid)
        {
            std::thread::sleep(BETWEEN_KILLS.saturating_sub(since.elapsed()));
            kill(&daemon);
            probe::forget_in_the_kernel();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(killed.len())
}
