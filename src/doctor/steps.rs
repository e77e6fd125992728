//! Where the kernel stops a way in: its system calls one by one, in a child that ends right after.
//!
//! A run that fails says so in words for people. This says which call failed with which errno, from which
//! the cause follows (`advice`). Namespaces, descriptor and mount end with the child.
//!
//! Not here: whether the way works, which only a real run shows (`way`).

use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use crate::holder::estate::WayIn;

/// How long the child may take. None of its calls waits for anything, so this is only for a kernel that hangs.
const CHILD_SECONDS_MAX: u32 = 5;

/// One thing that must succeed, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A user namespace of one's own.
    UnshareUser,
    /// Mapping one's own ids into it.
    MapIds,
    /// A mount namespace.
    UnshareMount,
    /// Keeping its mounts to itself.
    MakePrivate,
    /// `/dev/fuse`.
    OpenDevice,
    /// The mount itself.
    Mount,
}

const STEPS: [Step; 6] =
    [Step::UnshareUser, Step::MapIds, Step::UnshareMount, Step::MakePrivate, Step::OpenDevice, Step::Mount];

/// The step that failed and what the kernel answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Which one.
    pub step: Step,
    /// What the kernel answered.
    pub errno: i32,
}

/// Takes the steps of `way` over `directory` and returns the first that fails; `None` if all succeed.
///
/// fusermount3 mounts with the rights of root, so its steps cannot be tried here; it is asked itself (`helper`).
///
/// # Errors
/// When the child could not be made or did not answer.
pub fn walk(way: WayIn, directory: &Path) -> io::Result<Option<Stop>> {
    let (mut answer, asked) = io::pipe()?;
    let plan = Plan::new(way, directory, answer.as_raw_fd())?;
    // SAFETY: the child calls nothing but system calls on memory made before, and ends with `_exit`.
    let pid = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            let stop = plan.walk();
            report(asked.as_raw_fd(), stop);
        }
        pid => pid,
    };
    drop(asked);
    let mut bytes = [0; 2 * size_of::<i32>()];
    let read = answer.read_exact(&mut bytes);
    let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
    read?;
    let [step, errno] =
        [0, 4].map(|at| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
    Ok(usize::try_from(step).ok().and_then(|step| STEPS.get(step)).map(|&step| Stop { step, errno }))
}

/// Tells the parent and ends the child, without running anything that the parent had registered.
fn report(to: RawFd, stop: Option<Stop>) -> ! {
    let index = stop.and_then(|stop| STEPS.iter().position(|&step| step == stop.step));
    let step = index.map_or(-1, |index| index as i32);
    let words = [step, stop.map_or(0, |stop| stop.errno)];
    // SAFETY: two integers on the stack; the descriptor is the pipe's, open since before the fork.
    unsafe {
        libc::write(to, words.as_ptr().cast(), size_of_val(&words));
        libc::_exit(0)
    }
}

/// Everything the child needs, made before the fork, since it must not allocate.
struct Plan {
    steps: &'static [Step],
    maps: [(&'static CStr, Vec<u8>); 3],
    target: CString,
    options: CString,
    /// The number that the mount options name; the child's copy of the pipe's other end gives it up.
    device_number: RawFd,
}

impl Plan {
    fn new(way: WayIn, directory: &Path, device_number: RawFd) -> io::Result<Self> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let options = format!("fd={device_number},rootmode=40000,user_id={uid},group_id={gid}");
        Ok(Self {
            steps: match way {
                WayIn::UserNamespace => &STEPS,
                WayIn::MountNamespace => &STEPS[2..],
                WayIn::Fusermount | WayIn::Direct => &[],
            },
            maps: [
                (c"/proc/self/setgroups", b"deny".to_vec()),
                (c"/proc/self/uid_map", format!("{uid} {uid} 1").into_bytes()),
                (c"/proc/self/gid_map", format!("{gid} {gid} 1").into_bytes()),
            ],
            target: CString::new(directory.as_os_str().as_bytes())?,
            options: CString::new(options)?,
            device_number,
        })
    }

    /// The first step that fails. Runs in the child.
    fn walk(&self) -> Option<Stop> {
        // SAFETY: sets a timer of this process, whose default action ends it.
        unsafe { libc::alarm(CHILD_SECONDS_MAX) };
        self.steps.iter().find_map(|&step| {
            let errno = self.take(step).err()?;
            Some(Stop { step, errno })
        })
    }

    fn take(&self, step: Step) -> Result<(), i32> {
        // SAFETY: each call gets strings that live in `self`, or none.
        unsafe {
            match step {
                Step::UnshareUser => check(libc::unshare(libc::CLONE_NEWUSER)),
                Step::MapIds => self.maps.iter().try_for_each(|(file, text)| write_to(file, text)),
                Step::UnshareMount => check(libc::unshare(libc::CLONE_NEWNS)),
                Step::MakePrivate => {
                    let (nothing, root) = (std::ptr::null(), c"/".as_ptr());
                    let flags = libc::MS_REC | libc::MS_PRIVATE;
                    check(libc::mount(nothing, root, nothing, flags, std::ptr::null()))
                }
                Step::OpenDevice => self.open_device(),
                Step::Mount => {
                    let (name, target) = (c"spinney".as_ptr(), self.target.as_ptr());
                    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;
                    check(libc::mount(name, target, c"fuse".as_ptr(), flags, self.options.as_ptr().cast()))
                }
            }
        }
    }

    fn open_device(&self) -> Result<(), i32> {
        // SAFETY: a constant string, then two descriptors of this process.
        unsafe {
            let device = libc::open(c"/dev/fuse".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            check(device)?;
            check(libc::dup2(device, self.device_number))
        }
    }
}

unsafe fn write_to(file: &CStr, text: &[u8]) -> Result<(), i32> {
    // SAFETY: the caller's strings outlive the calls; the descriptor is closed with the child at the latest.
    unsafe {
        let file = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(file)?;
        let written = libc::write(file, text.as_ptr().cast(), text.len());
        check(i32::try_from(written).unwrap_or(i32::MAX))?;
        check(libc::close(file))
    }
}

fn check(result: i32) -> Result<(), i32> {
    match result {
        // `errno` is set by the call just made, in this thread.
        -1 => Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
        _ => Ok(()),
    }
}
