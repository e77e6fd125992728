//! How an actor puts things into words that can be compared: errnos, bytes, attributes.

/// What came of a call: words, or the name of an errno.
pub type Said = Result<String, String>;

/// The name of `errno`.
pub fn name_of(errno: i32) -> String {
    macro_rules! names {
        ($($name:ident)+) => { match errno { $(libc::$name => stringify!($name).to_owned(),)+ other => format!("errno {other}") } };
    }
    names!(EPERM ENOENT EINTR EIO ENXIO EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR
        EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE ERANGE ENAMETOOLONG ENOSYS
        ENOTEMPTY ELOOP ENODATA ENOTSUP ESTALE ENOTCONN ETIMEDOUT ECONNABORTED EOVERFLOW ENOEXEC ELIBBAD)
}

/// The name of the errno of the last call.
pub fn last_errno() -> String {
    name_of(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// The result of a call that returns -1 for an error.
pub fn check<T: PartialOrd + Default>(result: T) -> Result<T, String> {
    if result < T::default() { Err(last_errno()) } else { Ok(result) }
}

/// Bytes: themselves if they are few, else how many and a hash.
pub fn bytes(bytes: &[u8]) -> String {
    if bytes.len() <= 64 {
        return format!("`{}`", bytes.escape_ascii());
    }
    format!("{} bytes {:016x}", bytes.len(), hash(bytes))
}

/// FNV-1a over words of eight bytes: the same in every process, and quick without optimisation.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0xcbf2_9ce4_8422_2325, |hash: u64, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    })
}

/// Attributes, all but the device number.
pub fn attributes(stat: &libc::stat) -> String {
    format!(
        "mode={:o} size={} inode={} links={} uid={} gid={} rdev={:x} blksize={} blocks={} atime={}.{:09} mtime={}.{:09} ctime={}.{:09}",
        stat.st_mode,
        stat.st_size,
        stat.st_ino,
        stat.st_nlink,
        stat.st_uid,
        stat.st_gid,
        stat.st_rdev,
        stat.st_blksize,
        stat.st_blocks,
        stat.st_atime,
        stat.st_atime_nsec,
        stat.st_mtime,
        stat.st_mtime_nsec,
        stat.st_ctime,
        stat.st_ctime_nsec,
    )
}
