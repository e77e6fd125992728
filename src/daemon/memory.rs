//! How much memory this node's service may take and does take.
//!
//! Not here: what the memory is used for (`cache`).

use std::fs;
use std::path::{Path, PathBuf};

/// The cache's largest default: 4 GiB. Chosen, not measured.
const CACHE_BYTES_MAX: u64 = 4 << 30;
/// What the cache gets if nothing can be learned about the machine: 256 MiB.
const CACHE_BYTES_UNKNOWN: u64 = 256 << 20;
/// A "limit" above this is how control groups of version 1 say "none".
const NO_LIMIT: u64 = 1 << 60;

/// The default of `--cache-bytes`: the least of 4 GiB, a quarter of the memory and an eighth of the tightest
/// limit of a control group this process is in, divided among the `nodes_here` that share this machine.
pub fn default_cache_bytes(nodes_here: u32) -> u64 {
    let quarter = memory_bytes().map(|bytes| bytes / 4);
    let eighth = control_group_limit().map(|bytes| bytes / 8);
    [quarter, eighth].into_iter().flatten().min().unwrap_or(CACHE_BYTES_UNKNOWN).min(CACHE_BYTES_MAX)
        / u64::from(nodes_here.max(1))
}

/// Largest resident memory this process has had, in bytes.
pub fn peak_resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    kilobytes(&status, "VmHWM:").unwrap_or(0)
}

/// Resident memory of this process, in bytes.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    kilobytes(&status, "VmRSS:").unwrap_or(0)
}

/// Memory that could be had without swapping, and all there is, in bytes.
pub fn available_and_total_bytes() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some((kilobytes(&text, "MemAvailable:")?, kilobytes(&text, "MemTotal:")?))
}

/// The directory of this process's control group of version 2.
pub fn unified_control_group() -> Option<PathBuf> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let (root, path, _) =
        membership.lines().filter_map(control_group_of).find(|group| group.2 == "memory.max")?;
    Some(root.join(path.trim_start_matches('/')))
}

/// Gives freed memory back to the system, which glibc does by itself only at the end of its heap.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: has no conditions; other threads may allocate meanwhile.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Limits glibc's per-thread heaps: with dozens of threads they would hold many times what is in use.
pub fn use_few_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only sets tunables of the allocator, before threads exist.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        // Blocks of 256 KiB come and go: below this size they stay in the heap instead of being mapped,
        // zeroed and unmapped each time.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        // What was freed is kept up to this: giving pages back and faulting them in again costs more than
        // the copy into them.
        libc::mallopt(libc::M_TRIM_THRESHOLD, 12 << 20);
    }
}

fn memory_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The tightest memory limit on the way from this process's control group up to the root, of both versions.
fn control_group_limit() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = membership.lines().filter_map(|line| {
        let (root, path, file) = control_group_of(line)?;
        tightest(&root, Path::new(path), file)
    });
    limits.min()
}

/// Where the group in a line of `/proc/self/cgroup` lies, if it can limit memory.
fn control_group_of(line: &str) -> Option<(PathBuf, &str, &'static str)> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    if controllers.is_empty() {
        let unified = Path::new("/sys/fs/cgroup/unified");
        let root = if unified.is_dir() { unified } else { Path::new("/sys/fs/cgroup") };
        return Some((root.into(), path, "memory.max"));
    }
    let memory = controllers.split(',').any(|controller| controller == "memory");
    memory.then(|| ("/sys/fs/cgroup/memory".into(), path, "memory.limit_in_bytes"))
}

fn tightest(root: &Path, path: &Path, file: &str) -> Option<u64> {
    let groups = path.ancestors().filter_map(|group| group.strip_prefix("/").ok());
    let limits = groups.filter_map(|group| {
        let text = fs::read_to_string(root.join(group).join(file)).ok()?;
        text.trim().parse::<u64>().ok().filter(|limit| *limit < NO_LIMIT)
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("job/step");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("job/memory.max"), "1073741824\n").unwrap();
        assert_eq!(tightest(root.path(), Path::new("/job/step"), "memory.max"), Some(1 << 30));
        assert_eq!(tightest(root.path(), Path::new("/other"), "memory.max"), None);
    }

    #[test]
    fn groups_of_both_versions_are_found() {
        let cases = [
            ("0::/user.slice", Some(("/user.slice", "memory.max"))),
            ("4:memory:/job", Some(("/job", "memory.limit_in_bytes"))),
            ("3:cpu,cpuacct:/job", None), // cannot limit memory
            ("garbage", None),
        ];
        for (line, want) in cases {
            assert_eq!(control_group_of(line).map(|(_, path, file)| (path, file)), want, "{line}");
        }
    }
}
