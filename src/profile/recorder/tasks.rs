//! Which processes asked, how often, and how long they waited.
//!
//! The kernel names the thread that asks. Who that is, is looked up while it waits for its answer and so surely lives: the
//! name of its program, and the number that a launcher gave it. The number of a thread that has ended may
//! be given to another; that one is counted with the first.
//!
//! Invariant: at most [`TASKS_MAX`] processes have a row; all later ones share the last.
//!
//! Not here: the lock around it (`events`).

use std::collections::HashMap;
use std::fs;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};

use super::events::add;
use super::rows::AsItIs;

/// Rows: 1,024. More processes than that on one node are a build, not a job.
pub const TASKS_MAX: usize = 1024;
/// Threads that are remembered: 65,536. Then all are looked up again.
const THREADS_MAX: usize = 1 << 16;

const ROW_WORDS: usize = 16;
const PROCESS: usize = 0;
/// The launcher's number and one; 0: none.
const TASK: usize = 1;
const CALLS: usize = 2;
const NANOSECONDS: usize = 3;
const COMMAND: usize = 4;
const COMMAND_WORDS: usize = ROW_WORDS - COMMAND;

/// Words of shared memory.
pub(super) const WORDS: usize = TASKS_MAX * ROW_WORDS;

/// What launchers number their tasks by, Spinney's own first.
const NUMBERS: &[&str] = &[
    "SPINNEY_TASK",
    "SLURM_PROCID",
    "PALS_RANKID",
    "PMIX_RANK",
    "PMI_RANK",
    "FLUX_TASK_RANK",
    "OMPI_COMM_WORLD_RANK",
];

/// One process, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRead {
    /// Its number; 0: the kernel itself (reading ahead), or a process of another pid namespace.
    pub process: u32,
    /// The number that a launcher gave it.
    pub task: Option<u64>,
    /// Name of its program; empty if several processes share the row.
    pub command: String,
    /// Answers.
    pub calls: u64,
    /// How long they took, added up.
    pub nanoseconds: u64,
}

/// The table.
pub(super) struct Tasks {
    words: &'static [AtomicU64],
    used: usize,
    threads: HashMap<u32, usize, BuildHasherDefault<AsItIs>>,
}

impl Tasks {
    pub(super) fn over(words: &'static [AtomicU64]) -> Self {
        let mut tasks = Tasks { words, used: 0, threads: HashMap::default() };
        while tasks.used < TASKS_MAX && tasks.word(tasks.used, CALLS) > 0 {
            tasks.used += 1;
        }
        tasks
    }

    pub(super) fn note(&mut self, thread: u32, took: u64) {
        let row = match self.threads.get(&thread) {
            Some(row) => *row,
            None => self.look_up(thread),
        };
        let calls = add(&self.words[row * ROW_WORDS + CALLS], 1);
        // A process asks before and after it becomes another program: it is looked at again, ever more seldom.
        let process = self.word(row, PROCESS) as u32;
        if calls > 1 && calls.is_power_of_two() && process != 0 {
            self.set_command(row, &command_of(process));
        }
        add(&self.words[row * ROW_WORDS + NANOSECONDS], took);
    }

    pub(super) fn read(&self) -> Vec<TaskRead> {
        (0..self.used).map(|row| self.read_row(row)).filter(|task| task.calls > 0).collect()
    }

    fn read_row(&self, row: usize) -> TaskRead {
        let command: Vec<u8> =
            (0..COMMAND_WORDS).flat_map(|word| self.word(row, COMMAND + word).to_ne_bytes()).collect();
        let end = command.iter().position(|byte| *byte == 0).unwrap_or(command.len());
        TaskRead {
            process: self.word(row, PROCESS) as u32,
            task: self.word(row, TASK).checked_sub(1),
            command: String::from_utf8_lossy(&command[..end]).into_owned(),
            calls: self.word(row, CALLS),
            nanoseconds: self.word(row, NANOSECONDS),
        }
    }

    fn look_up(&mut self, thread: u32) -> usize {
        if self.threads.len() >= THREADS_MAX {
            self.threads.clear();
        }
        let process = process_of(thread).unwrap_or(thread);
        let of_process = |row: &usize| self.word(*row, PROCESS) == u64::from(process);
        let row = match (0..self.used).find(of_process) {
            Some(row) => row,
            None => self.new_row(process),
        };
        self.threads.insert(thread, row);
        row
    }

    fn new_row(&mut self, process: u32) -> usize {
        let shared = self.used + 1 >= TASKS_MAX;
        let row = self.used.min(TASKS_MAX - 1);
        self.used = row + 1;
        let command = if shared { Vec::new() } else { command_of(process) };
        self.set(row, PROCESS, u64::from(if shared { 0 } else { process }));
        self.set(
            row,
            TASK,
            if shared { 0 } else { task_of(process).map_or(0, |task| task.saturating_add(1)) },
        );
        self.set_command(row, &command);
        row
    }

    /// An empty name leaves the old one: the process is gone, or another user's.
    fn set_command(&self, row: usize, command: &[u8]) {
        if command.is_empty() {
            return;
        }
        let mut bytes = [0; COMMAND_WORDS * 8];
        let length = command.len().min(bytes.len());
        bytes[..length].copy_from_slice(&command[..length]);
        for (word, bytes) in bytes.chunks_exact(8).enumerate() {
            self.set(row, COMMAND + word, u64::from_ne_bytes(bytes.try_into().expect("eight bytes")));
        }
    }

    fn word(&self, row: usize, word: usize) -> u64 {
        self.words[row * ROW_WORDS + word].load(Ordering::Relaxed)
    }

    fn set(&self, row: usize, word: usize, value: u64) {
        self.words[row * ROW_WORDS + word].store(value, Ordering::Relaxed);
    }
}

fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// The name of the program, as the process was started or has renamed itself.
fn command_of(process: u32) -> Vec<u8> {
    fs::read(format!("/proc/{process}/comm")).unwrap_or_default().trim_ascii_end().to_vec()
}

fn task_of(process: u32) -> Option<u64> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    let value = |name: &&str| {
        let variables = environment.split(|byte| *byte == 0);
        let mut values = variables.filter_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        std::str::from_utf8(values.next()?).ok()?.parse().ok()
    };
    NUMBERS.iter().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Tasks {
        let words = (0..WORDS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        Tasks::over(Vec::leak(words))
    }

    #[test]
    fn threads_of_one_process_share_a_row() {
        let mut tasks = table();
        let thread = || rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        std::thread::scope(|scope| {
            scope.spawn(|| tasks.note(thread(), 3));
        });
        tasks.note(thread(), 4);
        let read = tasks.read();
        assert_eq!((read.len(), read[0].process), (1, std::process::id()));
        assert_eq!((read[0].calls, read[0].nanoseconds), (2, 7));
        assert!(!read[0].command.is_empty());
    }

    #[test]
    fn later_processes_share_the_last_row() {
        let mut tasks = table();
        let first = 5_000_000; // beyond any pid
        (first..first + 2 * TASKS_MAX as u32).for_each(|thread| tasks.note(thread, 1));
        let read = tasks.read();
        assert_eq!(read.len(), TASKS_MAX);
        assert_eq!(read.iter().map(|task| task.calls).sum::<u64>(), 2 * TASKS_MAX as u64);
        assert_eq!(read[TASKS_MAX - 1].calls, TASKS_MAX as u64 + 1);
    }
}
