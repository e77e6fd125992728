//! The acting: one system call, or a few that belong together, for each question.
//!
//! Not here: mutations (`mutations`), what the answers should be (`semantics`).

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::io::{BufRead, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Ask;
use super::mutations::mutate;
use super::words::{self, Said, attributes, check, last_errno, name_of};

/// SIGALRMs so far.
static ALARMS: AtomicU64 = AtomicU64::new(0);

/// The longest that a file took in a checksum.
static SLOWEST_MS: AtomicU64 = AtomicU64::new(0);

/// What the actor holds.
#[derive(Default)]
struct Holding {
    files: HashMap<String, i32>,
    maps: HashMap<String, *mut u8>,
}

/// Answers questions until there are none left.
pub fn answer_all() {
    let mut holding = Holding::default();
    let say = |words: &str| {
        println!("{}", serde_json::to_string(words).unwrap());
        std::io::stdout().flush().unwrap();
    };
    say("ready");
    for line in std::io::stdin().lock().lines() {
        let ask: Ask = serde_json::from_str(&line.unwrap()).unwrap();
        say(&holding.answer(ask).unwrap_or_else(|errno| errno));
    }
}

fn c(bytes: Vec<u8>) -> CString {
    CString::new(bytes).unwrap()
}

fn ok<T>(_: T) -> String {
    "ok".to_owned()
}

impl Holding {
    fn file(&self, name: &str) -> i32 {
        self.files.get(name).copied().unwrap_or(-1)
    }

    fn answer(&mut self, ask: Ask) -> Said {
        match ask {
            Ask::Stat { .. } | Ask::Fstat { .. } | Ask::StatAt { .. } | Ask::StatNow { .. } => self.stat(ask),
            Ask::Open { file, path, flags } => self.open(file, libc::AT_FDCWD, path, flags),
            Ask::OpenAt { file, directory, path, flags } => {
                self.open(file, self.file(&directory), path, flags)
            }
            Ask::Close { file } => {
                let file = self.files.remove(&file).unwrap();
                // SAFETY: a descriptor of ours, forgotten above.
                check(unsafe { libc::close(file) }).map(ok)
            }
            Ask::Read { file, offset, length } => read_at(self.file(&file), offset, length),
            Ask::ReadAligned { file, length } => read_aligned(self.file(&file), length),
            Ask::ReadAll { path } => read_all(&path),
            // SAFETY: plain numbers.
            Ask::Seek { file, offset, whence } => {
                check(unsafe { libc::lseek(self.file(&file), offset, whence) }).map(|at| at.to_string())
            }
            Ask::SendFile { path } => send_file(&c(path)),
            Ask::CopyRange { path, to } => copy_range(&c(path), &c(to)),
            Ask::Map { map, file, length, protection, flags } => {
                self.map(map, self.file(&file), length, protection, flags)
            }
            Ask::Touch { map, offset, length } => touch(self.maps[&map], offset, length),
            Ask::Poke { map, offset, value } => {
                // SAFETY: the test pokes inside what it mapped for writing.
                unsafe { self.maps[&map].add(usize::try_from(offset).unwrap()).write(value) };
                Ok("ok".to_owned())
            }
            Ask::List { path } => list(&c(path)).map(|rows| describe(&rows)),
            Ask::Resume { path, step } => resume(&c(path), step),
            Ask::Target { path } => target(&path),
            // SAFETY: a C string that is alive.
            Ask::Access { path, mode } => check(unsafe { libc::access(c(path).as_ptr(), mode) }).map(ok),
            // SAFETY: as above.
            Ask::Chdir { path } => check(unsafe { libc::chdir(c(path).as_ptr()) }).map(ok),
            Ask::WhereAmI => match std::env::current_dir() {
                Ok(path) => Ok(path.display().to_string()),
                Err(error) => Err(name_of(error.raw_os_error().unwrap_or(0))),
            },
            Ask::Run { program, arguments } => run(&program, &arguments),
            Ask::Usage { path } => usage(&c(path)),
            Ask::Xattr { path, name } => xattr(&c(path), &CString::new(name).unwrap()),
            Ask::Xattrs { path } => xattrs(&c(path)),
            Ask::Control { file, request } => {
                let mut into = [0u8; 256];
                // SAFETY: requests used here fill at most a termios2.
                check(unsafe { libc::ioctl(self.file(&file), request, into.as_mut_ptr()) }).map(ok)
            }
            // SAFETY: plain numbers.
            Ask::Flock { file, how } => check(unsafe { libc::flock(self.file(&file), how) }).map(ok),
            Ask::RecordLock { file } => record_lock(self.file(&file)),
            Ask::Mutate { how, path, beside } => mutate(how, &c(path), &c(beside)),
            Ask::Alarms { every_ms } => alarms(every_ms),
            Ask::AlarmsSoFar => Ok(ALARMS.load(Ordering::SeqCst).to_string()),
            Ask::Checksum { path, times } => checksum(&path, times),
            Ask::Slowest => Ok(SLOWEST_MS.load(Ordering::SeqCst).to_string()),
            Ask::Number => Ok(std::process::id().to_string()),
            Ask::Identity { path } => {
                let stat = stat_at(libc::AT_FDCWD, &c(path), 0)?;
                Ok(format!("{:x}:{}", stat.st_dev, stat.st_ino))
            }
        }
    }

    fn stat(&self, ask: Ask) -> Said {
        let stat = match ask {
            Ask::Stat { path, follow } => {
                stat_at(libc::AT_FDCWD, &c(path), if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW })?
            }
            Ask::Fstat { file } => stat_at(self.file(&file), c"", libc::AT_EMPTY_PATH)?,
            Ask::StatAt { directory, path } => stat_at(self.file(&directory), &c(path), 0)?,
            Ask::StatNow { path } => {
                // SAFETY: a zeroed statx is valid; the C string is alive.
                let (result, got) = unsafe {
                    let mut into: libc::statx = std::mem::zeroed();
                    let (flags, mask) = (libc::AT_STATX_FORCE_SYNC, libc::STATX_BASIC_STATS);
                    (libc::statx(libc::AT_FDCWD, c(path).as_ptr(), flags, mask, &raw mut into), into)
                };
                check(result)?;
                return Ok(format!("mode={:o} size={} inode={}", got.stx_mode, got.stx_size, got.stx_ino));
            }
            other => unreachable!("{other:?}"),
        };
        Ok(attributes(&stat))
    }

    fn open(&mut self, name: String, directory: i32, path: Vec<u8>, flags: i32) -> Said {
        if let Some(before) = self.files.remove(&name) {
            // SAFETY: a descriptor of ours, forgotten above.
            unsafe { libc::close(before) };
        }
        // SAFETY: a C string that is alive.
        let file = check(unsafe { libc::openat(directory, c(path).as_ptr(), flags | libc::O_CLOEXEC) })?;
        self.files.insert(name, file);
        Ok("ok".to_owned())
    }

    fn map(&mut self, name: String, file: i32, length: u64, protection: i32, flags: i32) -> Said {
        let length = usize::try_from(length).unwrap();
        // SAFETY: a new mapping; the kernel chooses where.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, file, 0) };
        if base == libc::MAP_FAILED {
            return Err(last_errno());
        }
        self.maps.insert(name, base.cast());
        Ok("ok".to_owned())
    }
}

fn stat_at(directory: i32, path: &CStr, flags: i32) -> Result<libc::stat, String> {
    // SAFETY: a zeroed stat is valid; the C string is alive.
    let (result, stat) = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstatat(directory, path.as_ptr(), &raw mut stat, flags), stat)
    };
    check(result).map(|_| stat)
}

fn read_at(file: i32, offset: u64, length: u64) -> Said {
    let mut all = vec![0u8; usize::try_from(length).unwrap()];
    let mut have = 0;
    while have < all.len() {
        let at = i64::try_from(offset).unwrap() + i64::try_from(have).unwrap();
        let room = &mut all[have..];
        // SAFETY: the buffer is as long as said.
        let count = check(unsafe { libc::pread(file, room.as_mut_ptr().cast(), room.len(), at) })?;
        if count == 0 {
            break;
        }
        have += usize::try_from(count).unwrap();
    }
    Ok(words::bytes(&all[..have]))
}

fn read_aligned(file: i32, length: u64) -> Said {
    let length = usize::try_from(length).unwrap();
    // SAFETY: an anonymous mapping as long as what is read into it, gone at the end of this function.
    unsafe {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let into = libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0);
        let said = check(libc::read(file, into, length)).map(|count| {
            words::bytes(std::slice::from_raw_parts(into.cast(), usize::try_from(count).unwrap()))
        });
        libc::munmap(into, length);
        said
    }
}

/// Moves a whole file with `call`, which is given the file and returns how much it moved.
fn move_all(path: &CStr, mut call: impl FnMut(i32) -> isize) -> Result<(), String> {
    // SAFETY: a C string that is alive; the descriptor is closed below.
    let file = check(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) })?;
    let result = loop {
        match check(call(file)) {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(errno) => break Err(errno),
        }
    };
    // SAFETY: opened above.
    unsafe { libc::close(file) };
    result
}

fn send_file(path: &CStr) -> Said {
    let (mut out, into) = std::io::pipe().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        out.read_to_end(&mut all).unwrap();
        all
    });
    let into = std::os::fd::OwnedFd::from(into);
    let raw = std::os::fd::AsRawFd::as_raw_fd(&into);
    // SAFETY: two descriptors that are open.
    let sent = move_all(path, |file| unsafe { libc::sendfile(raw, file, std::ptr::null_mut(), 1 << 20) });
    drop(into);
    let all = reader.join().unwrap();
    sent.map(|()| words::bytes(&all))
}

fn copy_range(path: &CStr, to: &CStr) -> Said {
    // SAFETY: a C string that is alive; the descriptor is closed below.
    let to_file =
        check(unsafe { libc::open(to.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC, 0o600) })?;
    let null = std::ptr::null_mut();
    // SAFETY: two descriptors that are open.
    let copied =
        move_all(path, |file| unsafe { libc::copy_file_range(file, null, to_file, null, 1 << 20, 0) });
    // SAFETY: opened above.
    unsafe { libc::close(to_file) };
    copied?;
    let all = std::fs::read(OsStr::from_bytes(to.to_bytes())).unwrap();
    Ok(words::bytes(&all))
}

fn read_all(path: &[u8]) -> Said {
    let said = std::fs::read(OsStr::from_bytes(path));
    said.map(|all| words::bytes(&all)).map_err(|e| name_of(e.raw_os_error().unwrap_or(0)))
}

fn target(path: &[u8]) -> Said {
    let target = std::fs::read_link(OsStr::from_bytes(path));
    target
        .map(|target| format!("`{}`", target.as_os_str().as_bytes().escape_ascii()))
        .map_err(|e| name_of(e.raw_os_error().unwrap_or(0)))
}

/// In a child, since SIGBUS cannot be outlived. The map is shared with it, so the pages stay.
fn touch(map: *mut u8, offset: u64, length: u64) -> Said {
    let (mut out, mut into) = std::io::pipe().unwrap();
    // SAFETY: this process has one thread, and the child only reads memory, writes to a pipe and ends.
    let child = check(unsafe { libc::fork() })?;
    if child == 0 {
        drop(out);
        // SAFETY: the test touches inside what it mapped; what is gone raises SIGBUS, which is the point.
        let there = unsafe {
            std::slice::from_raw_parts(
                map.add(usize::try_from(offset).unwrap()),
                usize::try_from(length).unwrap(),
            )
        };
        let words = words::bytes(there);
        let _ = into.write_all(words.as_bytes());
        // SAFETY: ends the child at once, running nothing of the parent's.
        unsafe { libc::_exit(0) };
    }
    drop(into);
    let mut words = String::new();
    out.read_to_string(&mut words).unwrap();
    let mut status = 0;
    // SAFETY: a child of ours.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    if libc::WIFSIGNALED(status) {
        return Ok(
            if libc::WTERMSIG(status) == libc::SIGBUS { "SIGBUS" } else { "another signal" }.to_owned()
        );
    }
    Ok(words)
}

struct Row {
    name: Vec<u8>,
    kind: u8,
    inode: u64,
    /// Where to resume after this row.
    position: i64,
}

/// Rows after `position`, by `opendir`, `seekdir` and `readdir`, as programs do.
fn rows_after(path: &CStr, position: Option<i64>) -> Result<Vec<Row>, String> {
    // SAFETY: the stream is closed below and its rows are copied before the next call.
    unsafe {
        let stream = libc::opendir(path.as_ptr());
        if stream.is_null() {
            return Err(last_errno());
        }
        if let Some(position) = position {
            libc::seekdir(stream, position);
        }
        let mut rows = Vec::new();
        let said = loop {
            *libc::__errno_location() = 0;
            let row = libc::readdir64(stream);
            if row.is_null() {
                break if *libc::__errno_location() == 0 { Ok(rows) } else { Err(last_errno()) };
            }
            let name = CStr::from_ptr((*row).d_name.as_ptr()).to_bytes().to_vec();
            rows.push(Row {
                name,
                kind: (*row).d_type,
                inode: (*row).d_ino,
                position: libc::telldir(stream),
            });
        };
        libc::closedir(stream);
        said
    }
}

fn list(path: &CStr) -> Result<Vec<Row>, String> {
    rows_after(path, None)
}

fn describe(rows: &[Row]) -> String {
    // The inode number of `..` is that of another directory, perhaps of another file system.
    let inode = |row: &Row| if row.name == b".." { 0 } else { row.inode };
    let mut lines: Vec<_> =
        rows.iter().map(|row| format!("{} {} {}", row.name.escape_ascii(), row.kind, inode(row))).collect();
    lines.sort();
    if lines.len() <= 30 {
        return lines.join(" | ");
    }
    format!("{} names {:016x}", lines.len(), words::hash(lines.join("\n").as_bytes()))
}

fn resume(path: &CStr, step: usize) -> Said {
    let all = list(path)?;
    for (i, row) in all.iter().enumerate().step_by(step) {
        let rest = rows_after(path, Some(row.position))?;
        let same =
            rest.len() == all.len() - i - 1 && rest.iter().zip(&all[i + 1..]).all(|(a, b)| a.name == b.name);
        if !same {
            return Ok(format!("after row {i} of {} came {} others", all.len(), rest.len()));
        }
    }
    Ok("each time the rest".to_owned())
}

fn run(program: &[u8], arguments: &[String]) -> Said {
    let output = std::process::Command::new(OsStr::from_bytes(program))
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|e| name_of(e.raw_os_error().unwrap_or(0)))?;
    Ok(format!(
        "{} out `{}` err `{}`",
        output.status,
        output.stdout.escape_ascii(),
        output.stderr.escape_ascii()
    ))
}

fn usage(path: &CStr) -> Said {
    // SAFETY: a zeroed statvfs is valid; the C string is alive.
    let (result, got) = unsafe {
        let mut got: libc::statvfs64 = std::mem::zeroed();
        (libc::statvfs64(path.as_ptr(), &raw mut got), got)
    };
    check(result)?;
    Ok(format!(
        "bsize={} blocks={} files={} namemax={}",
        got.f_bsize, got.f_blocks, got.f_files, got.f_namemax
    ))
}

fn xattr(path: &CStr, name: &CStr) -> Said {
    let mut into = [0u8; 4096];
    // SAFETY: C strings that are alive and a buffer as long as said.
    let count = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), into.as_mut_ptr().cast(), into.len()) };
    check(count).map(|count| words::bytes(&into[..usize::try_from(count).unwrap()]))
}

fn xattrs(path: &CStr) -> Said {
    let mut into = [0u8; 4096];
    // SAFETY: as above.
    let count = unsafe { libc::listxattr(path.as_ptr(), into.as_mut_ptr().cast(), into.len()) };
    check(count).map(|count| words::bytes(&into[..usize::try_from(count).unwrap()]))
}

/// Takes a record lock, and tells what a child gets that wants the same.
fn record_lock(file: i32) -> Said {
    // SAFETY: a zeroed flock is valid: from the start, all of it.
    let lock = || unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = i16::try_from(libc::F_RDLCK).unwrap();
        lock
    };
    let taken = lock();
    // SAFETY: a flock that is alive.
    check(unsafe { libc::fcntl(file, libc::F_SETLK, &raw const taken) })?;
    // SAFETY: the child makes two calls and ends.
    let child = check(unsafe { libc::fork() })?;
    if child == 0 {
        let mut wanted = lock();
        wanted.l_type = i16::try_from(libc::F_WRLCK).unwrap();
        // SAFETY: a flock that is alive.
        let known = unsafe { libc::fcntl(file, libc::F_GETLK, &raw mut wanted) } == 0;
        let is_held = known && i32::from(wanted.l_type) == libc::F_RDLCK;
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!is_held)) };
    }
    let mut status = 0;
    // SAFETY: a child of ours.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    Ok(if status == 0 { "seen by another process" } else { "not seen" }.to_owned())
}

extern "C" fn count_alarm(_: i32) {
    ALARMS.fetch_add(1, Ordering::SeqCst);
}

fn alarms(every_ms: u64) -> Said {
    let time = libc::timeval { tv_sec: 0, tv_usec: i64::try_from(every_ms * 1000).unwrap() };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: a handler that only adds to an atomic; no SA_RESTART, so that calls that can be cut short are.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count_alarm as *const () as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut())
            | libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut())
    };
    check(result).map(ok)
}

/// One hash over names, kinds, sizes, targets and bytes. Anything but success in any call shows in it.
fn checksum(root: &[u8], times: usize) -> Said {
    let mut said = Vec::new();
    for _ in 0..times {
        let mut state = 0u64;
        add_tree(&PathBuf::from(std::ffi::OsString::from_vec(root.to_vec())), &mut state)
            .map_err(|e| e.to_string())?;
        said.push(format!("{state:016x}"));
    }
    said.dedup();
    Ok(said.join(" then "))
}

fn add_tree(path: &Path, state: &mut u64) -> std::io::Result<()> {
    let told = |error: std::io::Error| std::io::Error::other(format!("{}: {error}", path.display()));
    let began = std::time::Instant::now();
    let mut add = |bytes: &[u8]| *state = state.rotate_left(7) ^ words::hash(bytes);
    let attributes = std::fs::symlink_metadata(path).map_err(told)?;
    add(path.file_name().unwrap_or_default().as_bytes());
    if attributes.is_dir() {
        let mut names: Vec<_> = std::fs::read_dir(path)
            .map_err(told)?
            .map(|e| Ok(e?.file_name()))
            .collect::<std::io::Result<_>>()?;
        names.sort();
        for name in names {
            add_tree(&path.join(name), state)?;
        }
    } else if attributes.is_symlink() {
        add(std::fs::read_link(path).map_err(told)?.as_os_str().as_bytes());
    } else if attributes.is_file() {
        add(&attributes.len().to_le_bytes());
        let mut file = std::fs::File::open(path).map_err(told)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(told)?;
        add(&bytes);
        let took = u64::try_from(began.elapsed().as_millis()).unwrap();
        SLOWEST_MS.fetch_max(took, Ordering::SeqCst);
        // SAFETY: plain numbers.
        unsafe {
            libc::posix_fadvise(std::os::fd::AsRawFd::as_raw_fd(&file), 0, 0, libc::POSIX_FADV_DONTNEED)
        };
    }
    Ok(())
}
