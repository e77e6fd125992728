//! The key that the nodes of a cluster on one machine know each other by: new for each job, in memory only.
//!
//! It lies in a memfd, which only descriptors lead to: it is in no file, no argument and no variable, and ends with the
//! last process of the job.
//!
//! Not here: keys of jobs on many machines, and what a key is used for (`wire`).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags};

/// The variable that may hold the key of a job on many machines.
///
/// Taken out of COMMAND's environment, so that what it starts cannot pass the key on.
pub const KEY_VARIABLE: &str = "SPINNEY_KEY";

/// Bytes of the key: 256 bits.
pub const JOB_KEY_BYTES: usize = 32;

/// A new key in a memfd that nobody can change.
///
/// # Errors
/// No descriptor or no randomness to be had.
pub fn make() -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("spinney-key", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut key = [0; JOB_KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    File::from(memory.try_clone()?).write_all(&key)?;
    let fixed = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, fixed)?;
    Ok(memory)
}

/// The key in `memory`. All who hold it may read it at once.
///
/// # Errors
/// There is no whole key in it.
pub fn read(memory: &impl AsFd) -> io::Result<[u8; JOB_KEY_BYTES]> {
    let mut key = [0; JOB_KEY_BYTES];
    File::from(memory.as_fd().try_clone_to_owned()?).read_exact_at(&mut key, 0)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_new_and_cannot_be_changed() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert_eq!(read(&one).unwrap(), read(&one).unwrap());
        assert_ne!(read(&one).unwrap(), read(&other).unwrap());
        assert!(File::from(one).write_all_at(b"x", 0).is_err());
    }
}
