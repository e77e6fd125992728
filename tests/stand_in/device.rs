//! A mount's own hold of the kernel's device: what `fuser` does not do with it.
//!
//! [`Device`] takes back what the kernel keeps. [`between`] stands between the kernel and `fuser` so that a task can
//! be killed while the storage hangs, as on Lustre and NFS: `fuser` refuses to hear of interruptions, and the
//! kernel then lets nobody go before the answer. The detour costs each call some 20 µs, so it is only taken if asked for.
//!
//! Message layouts: `include/uapi/linux/fuse.h`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fuser::INodeNo;
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};

/// Codes of `enum fuse_notify_code`.
const NOTIFY_INVAL_INODE: i32 = 2;
const NOTIFY_INVAL_ENTRY: i32 = 3;

/// `FUSE_FORGET`, `FUSE_BATCH_FORGET` have no answer; `FUSE_INTERRUPT` names a request in its body.
const FORGET: u32 = 2;
const BATCH_FORGET: u32 = 42;
const INTERRUPT: u32 = 36;

/// Bytes of `struct fuse_in_header` and `struct fuse_out_header`.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;

/// Content in one message: 1 MiB, which is as far as the kernel goes.
pub const CONTENT_MAX: usize = 1 << 20;

/// The largest message either way: content, a header, and the page that the kernel wants besides.
const MESSAGE_MAX: usize = CONTENT_MAX + 4096;

/// How often tasks that a signal has reached are looked at: 50 ms, well under the second a user would notice.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The kernel's side of one mount.
pub struct Device(File);

impl Device {
    /// Takes the descriptor over.
    pub fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    /// Makes the kernel forget a name and, if nothing has it open, what is beneath it.
    ///
    /// Waits for calls under way in that directory. That the kernel did not know the name is no error.
    pub fn forget_entry(&self, parent: INodeNo, name: &OsStr) {
        let mut body = parent.0.to_ne_bytes().to_vec();
        body.extend((name.len() as u32).to_ne_bytes());
        body.extend(0u32.to_ne_bytes());
        body.extend(name.as_bytes());
        body.push(0);
        self.notify(NOTIFY_INVAL_ENTRY, &body);
    }

    /// Makes the kernel forget attributes and content of a file.
    pub fn forget_content(&self, ino: INodeNo) {
        // Offset 0 and length 0: all of it.
        let body = [ino.0, 0, 0].map(u64::to_ne_bytes).concat();
        self.notify(NOTIFY_INVAL_INODE, &body);
    }

    fn notify(&self, code: i32, body: &[u8]) {
        let mut message = out_header(body.len(), code, 0);
        message.extend(body);
        let _ = (&self.0).write(&message);
    }
}

/// Mounts at `path` and gives the socket that `fuser` is to take for the device, and the device.
pub fn between(path: &Path) -> io::Result<(OwnedFd, Device)> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
        device.as_raw_fd()
    );
    let options = std::ffi::CString::new(options).expect("it was made of numbers and names");
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    rustix::mount::mount("stand-in", path, "fuse.lustre", flags, Some(&*options))?;
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (ours, theirs) = socketpair(kind.0, kind.1, kind.2, None)?;
    for end in [&ours, &theirs] {
        sockopt::set_socket_send_buffer_size_force(end, 2 * MESSAGE_MAX)?;
    }
    let relay = Arc::new(Relay { device: device.try_clone()?, socket: ours.into(), asked: Mutex::default() });
    for run in [Relay::carry_requests, Relay::carry_answers, Relay::let_go_the_killed] {
        let relay = relay.clone();
        thread::spawn(move || run(&relay));
    }
    Ok((theirs, Device(device)))
}

struct Relay {
    device: File,
    socket: File,
    /// What the kernel asked and was not answered yet, by its number.
    asked: Mutex<HashMap<u64, Asked>>,
}

#[derive(Clone, Copy)]
struct Asked {
    pid: u32,
    /// A signal has reached the task. The kernel says so once, and any signal: a later SIGKILL is not announced.
    is_interrupted: bool,
}

impl Relay {
    fn carry_requests(&self) -> io::Result<()> {
        let mut message = vec![0; MESSAGE_MAX];
        loop {
            let length = match (&self.device).read(&mut message) {
                Ok(length) => length,
                // ENOENT: the task went away while its request was being taken.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => continue,
                Err(error) => {
                    // `fuser` ends when its socket does. Only unmounting ends the device.
                    let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
                    assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "reading from the kernel: {error}");
                    return Err(error);
                }
            };
            let (opcode, number, pid) = (word(&message, 4), double_word(&message, 8), word(&message, 32));
            match opcode {
                INTERRUPT => {
                    if let Some(asked) = self.asked().get_mut(&double_word(&message, IN_HEADER)) {
                        asked.is_interrupted = true;
                    }
                    continue;
                }
                FORGET | BATCH_FORGET => {}
                _ => drop(self.asked().insert(number, Asked { pid, is_interrupted: false })),
            }
            (&self.socket).write_all(&message[..length])?;
        }
    }

    fn carry_answers(&self) -> io::Result<()> {
        let mut message = vec![0; MESSAGE_MAX];
        loop {
            let length = (&self.socket).read(&mut message)?;
            if length < OUT_HEADER {
                return Ok(());
            }
            self.asked().remove(&double_word(&message, 8));
            // ENOENT: the task was let go and its answer comes late.
            let _ = (&self.device).write(&message[..length]);
        }
    }

    fn let_go_the_killed(&self) -> io::Result<()> {
        loop {
            thread::sleep(LOOK_EVERY);
            let mut asked = self.asked();
            let killed = asked.iter().filter(|(_, a)| a.is_interrupted && is_killed(a.pid));
            for number in killed.map(|(number, _)| *number).collect::<Vec<_>>() {
                asked.remove(&number);
                let _ = (&self.device).write(&out_header(0, -libc::EINTR, number));
            }
        }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<u64, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether SIGKILL is pending: for the task, or for its whole process, as the kernel makes it of any deadly signal.
fn is_killed(pid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let pending = ["SigPnd:\t", "ShdPnd:\t"].iter().filter_map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    pending.fold(0, |all, some| all | some) & (1 << (libc::SIGKILL - 1)) != 0
}

fn out_header(body: usize, error: i32, number: u64) -> Vec<u8> {
    let mut header = ((OUT_HEADER + body) as u32).to_ne_bytes().to_vec();
    header.extend(error.to_ne_bytes());
    header.extend(number.to_ne_bytes());
    header
}

fn word(message: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(message[at..at + 4].try_into().expect("four bytes"))
}

fn double_word(message: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(message[at..at + 8].try_into().expect("eight bytes"))
}
