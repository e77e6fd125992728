//! Agreeing with the kernel on how to talk, and taking over a talk that another process began.
//!
//! Not here: the talk itself (`serve`).

use std::io::IoSlice;

use zerocopy::IntoBytes;

use super::abi::{
    INIT_ASYNC_READ, INIT_CACHE_SYMLINKS, INIT_DO_READDIRPLUS, INIT_EXPLICIT_INVAL_DATA, INIT_EXT,
    INIT_HAS_RESEND, INIT_MAX_PAGES, INIT_NO_OPEN_SUPPORT, INIT_NO_OPENDIR_SUPPORT, INIT_PARALLEL_DIROPS,
    INIT_REQUEST_TIMEOUT, InitIn, InitOut, MAJOR, MINOR, MINOR_MIN,
};
use super::channel::Channel;
use super::kept::{KeptRequests, Negotiated};

/// What we would like. READDIRPLUS always, not "auto": a directory that does not fit one answer would
/// otherwise lose the attributes of the rest (measured). No locks: the kernel then keeps them locally.
const WANTED: u64 = INIT_ASYNC_READ
    | INIT_DO_READDIRPLUS
    | INIT_NO_OPEN_SUPPORT
    | INIT_PARALLEL_DIROPS
    | INIT_MAX_PAGES
    | INIT_CACHE_SYMLINKS
    | INIT_NO_OPENDIR_SUPPORT
    | INIT_EXPLICIT_INVAL_DATA
    | INIT_EXT
    | INIT_HAS_RESEND;

/// Reads that the kernel may make ahead of tasks at once: 64, against its default of 12, so that readahead of
/// many files at once is not held up.
const BACKGROUND_MAX: u16 = 64;

/// The longest time for an answer that can be asked for, in seconds: some 18 hours.
const REQUEST_TIMEOUT_LONGEST: u16 = u16::MAX;

/// After how many seconds without an answer this machine ends a connection whose server asks for nothing; 0: never.
const DEFAULT_REQUEST_TIMEOUT: &str = "/proc/sys/fs/fuse/default_request_timeout";

/// What would let the kernel answer by itself: not wanted where every question is to be seen.
const ANSWERS_ITSELF: u64 =
    INIT_DO_READDIRPLUS | INIT_NO_OPEN_SUPPORT | INIT_CACHE_SYMLINKS | INIT_NO_OPENDIR_SUPPORT;

/// Optional features that tests can switch off.
#[derive(Debug, Clone, Copy, Default)]
pub struct Masked {
    /// Behave as on Linux before 6.9: no RESEND.
    pub resend: bool,
    /// Behave as on Linux before 5.1: OPENDIR is answered.
    pub no_opendir: bool,
}

impl Masked {
    fn flags(self) -> u64 {
        let mut masked = 0;
        if self.resend {
            masked |= INIT_HAS_RESEND;
        }
        if self.no_opendir {
            masked |= INIT_NO_OPENDIR_SUPPORT;
        }
        masked
    }
}

/// Answers INIT, having noted what it settles for a successor.
pub(super) fn agree(
    channel: &Channel,
    kept: &KeptRequests,
    unique: u64,
    kernel: &InitIn,
    flags2: u32,
    masked: Masked,
) {
    if kernel.major != MAJOR || kernel.minor < MINOR_MIN {
        tracing::error!(
            major = kernel.major,
            minor = kernel.minor,
            "the kernel speaks another FUSE protocol"
        );
        channel.refuse(unique, libc::EPROTO);
        return;
    }
    let mut offered = u64::from(kernel.flags);
    if offered & INIT_EXT != 0 {
        offered |= u64::from(flags2) << 32;
    }
    let request_timeout = request_timeout(offered, std::fs::read_to_string(DEFAULT_REQUEST_TIMEOUT).ok());
    let unwanted = if channel.sees_everything() { ANSWERS_ITSELF } else { 0 };
    let mut flags = offered & WANTED & !masked.flags() & !unwanted;
    if request_timeout > 0 {
        flags |= INIT_REQUEST_TIMEOUT;
    }
    let settled = Negotiated { minor: kernel.minor.min(MINOR), flags };
    kept.set_negotiated(settled);
    let out = InitOut {
        major: MAJOR,
        minor: settled.minor,
        max_readahead: kernel.max_readahead,
        flags: low_half(flags),
        flags2: low_half(flags >> 32),
        max_background: BACKGROUND_MAX,
        congestion_threshold: BACKGROUND_MAX / 4 * 3,
        max_write: 4096,
        time_gran: 1,
        max_pages: 256,
        request_timeout,
        ..InitOut::default()
    };
    channel.answer(unique, &[IoSlice::new(out.as_bytes())]);
}

/// How long the kernel shall wait for an answer; 0: it is asked for nothing.
///
/// A machine may be set to end connections that owe an answer for long (Linux 6.15), and tasks would be given an errno
/// that storage never said while it hangs. Whoever asks for a time of his own gets it, up to `max_request_timeout`.
/// Where no default is set nothing is asked for: the kernel then waits for ever.
fn request_timeout(offered: u64, default: Option<String>) -> u16 {
    let is_set =
        default.is_some_and(|seconds| seconds.trim().parse::<u32>().is_ok_and(|seconds| seconds > 0));
    if offered & INIT_REQUEST_TIMEOUT != 0 && is_set { REQUEST_TIMEOUT_LONGEST } else { 0 }
}

fn low_half(flags: u64) -> u32 {
    (flags & 0xffff_ffff) as u32
}

/// Whether OPENDIR may be answered with ENOSYS.
pub(super) fn may_omit_opendir(kept: &KeptRequests) -> bool {
    kept.negotiated().is_some_and(|settled| settled.flags & INIT_NO_OPENDIR_SUPPORT != 0)
}

/// Whether the kernel can send requests again.
pub(super) fn can_resend(kept: &KeptRequests) -> bool {
    kept.negotiated().is_some_and(|settled| settled.flags & INIT_HAS_RESEND != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_asked_for_only_where_the_kernel_would_give_little() {
        let cases = [
            (INIT_REQUEST_TIMEOUT, Some("60\n"), REQUEST_TIMEOUT_LONGEST), // a hardened machine
            (INIT_REQUEST_TIMEOUT, Some("0\n"), 0), // it waits for ever: better than 18 hours
            (INIT_REQUEST_TIMEOUT, None, 0),        // `/proc` is not there
            (0, Some("60\n"), 0),                   // the kernel would not understand
        ];
        for (offered, default, want) in cases {
            assert_eq!(request_timeout(offered, default.map(str::to_owned)), want, "{offered} {default:?}");
        }
    }
}
