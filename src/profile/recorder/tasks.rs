//! Which processes asked, how often, and how long they waited.
//!
//! The kernel names the thread that asks. Who that is, is looked up while it waits for its answer and so surely lives: the
//! name of its program, and the number that a launcher gave it. The number of a thread that has ended may
//! be given to another; that one is counted with the first.
//!
//! Invariant: at most [`TASKS_MAX`] processes have a row; all later ones share the last.
//!
//! Not here: how often each asked, which every thread counts by itself (`events`); which variables number tasks, which
//! whoever opens the record says.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::rows::AsItIs;

/// Rows: 1,024. More processes than that on one node are a build, not a job.
pub const TASKS_MAX: usize = 1024;
/// Threads that each thread which answers remembers: 8,192. Then all are looked up again.
const THREADS_MAX: usize = 1 << 13;

const ROW_WORDS: usize = 16;
const PROCESS: usize = 0;
/// The launcher's number and one; 0: none.
const TASK: usize = 1;
const COMMAND: usize = 2;
const COMMAND_WORDS: usize = 12;

/// Words of shared memory.
pub(super) const WORDS: usize = TASKS_MAX * ROW_WORDS;

/// The number that a launcher gave to a task, by the variables of its environment.
pub type NumberOf = fn(&dyn Fn(&str) -> Option<String>) -> Option<u64>;

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

/// The table: who they are.
pub(super) struct Tasks {
    words: &'static [AtomicU64],
    number_of: NumberOf,
    /// What tells this table from others that a thread remembers something of.
    own: u64,
    /// Where it is written how many rows are taken. Held while one is taken or named anew.
    taken: Mutex<&'static AtomicU64>,
}

/// What a thread that answers remembers: the rows of those it has answered.
#[derive(Default)]
struct Remembered {
    of: u64,
    rows: HashMap<u32, usize, BuildHasherDefault<AsItIs>>,
}

thread_local! {
    static REMEMBERED: RefCell<Remembered> = RefCell::default();
}

impl Tasks {
    pub(super) fn over(words: &'static [AtomicU64], taken: &'static AtomicU64, number_of: NumberOf) -> Self {
        static TABLES: AtomicU64 = AtomicU64::new(1);
        let own = TABLES.fetch_add(1, Ordering::Relaxed);
        Tasks { words, number_of, own, taken: Mutex::new(taken) }
    }

    /// The row of the process that thread `thread` is of.
    ///
    /// # Cost
    /// A look into a table of this thread; for a thread that it has not seen yet, files of `/proc`.
    pub(super) fn row_of(&self, thread: u32) -> usize {
        let remembered = |remembered: &RefCell<Remembered>| {
            let mut remembered = remembered.borrow_mut();
            if remembered.of != self.own || remembered.rows.len() >= THREADS_MAX {
                *remembered = Remembered { of: self.own, rows: HashMap::default() };
            }
            *remembered.rows.entry(thread).or_insert_with(|| self.look_up(thread))
        };
        // A thread that is ending remembers nothing any more.
        REMEMBERED.try_with(remembered).unwrap_or_else(|_| self.look_up(thread))
    }

    /// Asks for the name of the program again.
    pub(super) fn name_again(&self, row: usize) {
        let process = self.word(row, PROCESS) as u32;
        if process != 0 {
            let command = command_of(process);
            let _taken = self.lock();
            self.set_command(row, &command);
        }
    }

    /// Those of which `counted` knows calls; it gives these and their nanoseconds.
    pub(super) fn read(&self, counted: impl Fn(usize) -> (u64, u64)) -> Vec<TaskRead> {
        let taken = self.lock();
        let rows = (0..rows_in(&taken)).map(|row| self.read_row(row, counted(row)));
        rows.filter(|task| task.calls > 0).collect()
    }

    fn read_row(&self, row: usize, (calls, nanoseconds): (u64, u64)) -> TaskRead {
        let command: Vec<u8> =
            (0..COMMAND_WORDS).flat_map(|word| self.word(row, COMMAND + word).to_ne_bytes()).collect();
        let end = command.iter().position(|byte| *byte == 0).unwrap_or(command.len());
        TaskRead {
            process: self.word(row, PROCESS) as u32,
            task: self.word(row, TASK).checked_sub(1),
            command: String::from_utf8_lossy(&command[..end]).into_owned(),
            calls,
            nanoseconds,
        }
    }

    fn look_up(&self, thread: u32) -> usize {
        let process = process_of(thread).unwrap_or(thread);
        let taken = self.lock();
        let of_process = |row: &usize| self.word(*row, PROCESS) == u64::from(process);
        (0..rows_in(&taken)).find(of_process).unwrap_or_else(|| self.new_row(&taken, process))
    }

    fn new_row(&self, taken: &AtomicU64, process: u32) -> usize {
        let row = rows_in(taken).min(TASKS_MAX - 1);
        if row + 1 < TASKS_MAX {
            let task = self.task_of(process).map_or(0, |task| task.saturating_add(1));
            self.set(row, PROCESS, u64::from(process));
            self.set(row, TASK, task);
            self.set_command(row, &command_of(process));
        }
        // Last: until then a successor takes the row for free.
        taken.store(row as u64 + 1, Ordering::Release);
        row
    }

    fn task_of(&self, process: u32) -> Option<u64> {
        let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
        (self.number_of)(&|name| {
            let variables = environment.split(|byte| *byte == 0);
            let mut values =
                variables.filter_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
            Some(std::str::from_utf8(values.next()?).ok()?.to_owned())
        })
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

    fn lock(&self) -> MutexGuard<'_, &'static AtomicU64> {
        self.taken.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn word(&self, row: usize, word: usize) -> u64 {
        self.words[row * ROW_WORDS + word].load(Ordering::Relaxed)
    }

    fn set(&self, row: usize, word: usize, value: u64) {
        self.words[row * ROW_WORDS + word].store(value, Ordering::Relaxed);
    }
}

/// How many are taken, whatever memory says.
fn rows_in(taken: &AtomicU64) -> usize {
    (taken.load(Ordering::Acquire) as usize).min(TASKS_MAX)
}

fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// The name of the program, as the process was started or has renamed itself.
fn command_of(process: u32) -> Vec<u8> {
    fs::read(format!("/proc/{process}/comm")).unwrap_or_default().trim_ascii_end().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(number_of: NumberOf) -> Tasks {
        let words = (0..=WORDS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let (taken, words) = Vec::leak(words).split_first().unwrap();
        Tasks::over(words, taken, number_of)
    }

    fn own_thread() -> u32 {
        rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
    }

    #[test]
    fn threads_of_one_process_share_a_row() {
        let tasks = table(|set| set("PATH").map(|path| path.len() as u64));
        let other = std::thread::scope(|scope| scope.spawn(|| tasks.row_of(own_thread())).join().unwrap());
        assert_eq!((other, tasks.row_of(own_thread())), (0, 0));
        let read = tasks.read(|_| (2, 7));
        assert_eq!((read.len(), read[0].process), (1, std::process::id()));
        assert_eq!((read[0].calls, read[0].nanoseconds), (2, 7));
        assert_eq!(read[0].task, std::env::var("PATH").ok().map(|path| path.len() as u64));
        assert!(!read[0].command.is_empty());
    }

    #[test]
    fn later_processes_share_the_last_row() {
        let tasks = table(|_| None);
        let first = 5_000_000; // beyond any pid
        let rows: Vec<usize> =
            (first..first + 2 * TASKS_MAX as u32).map(|thread| tasks.row_of(thread)).collect();
        assert_eq!(rows[..TASKS_MAX], (0..TASKS_MAX).collect::<Vec<_>>());
        assert!(rows[TASKS_MAX..].iter().all(|row| *row == TASKS_MAX - 1));
        let read = tasks.read(|_| (1, 1));
        assert_eq!((read.len(), read[TASKS_MAX - 1].process), (TASKS_MAX, 0));
    }

    #[test]
    fn a_thread_remembers_rows_of_one_table_only() {
        let (one, other) = (table(|_| None), table(|_| None));
        let first = 5_000_000;
        assert_eq!((one.row_of(first), one.row_of(first + 1)), (0, 1));
        assert_eq!((other.row_of(first + 1), one.row_of(first + 1)), (0, 1));
    }
}
