//! What the kernel and the distribution say about themselves: the facts that explain a failure.
//!
//! All of it is read from files; nothing is tried here. Files come through a function, so that tests can
//! describe machines they do not run on.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::report::lossy;
use crate::environment::Surroundings;
use crate::environment::mounts::Mounts;

/// Number of CAP_SYS_ADMIN (linux/capability.h).
const CAP_SYS_ADMIN: u32 = 21;

/// The facts. A number that is `None` means that this kernel has no such setting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// `uname -r`.
    pub kernel: String,
    /// Its first two numbers.
    #[serde(skip)]
    pub kernel_version: (u32, u32),
    /// The program that a profile of the distribution would have to name.
    #[serde(serialize_with = "lossy")]
    pub program: PathBuf,
    /// Whether the effective user is root.
    pub is_root: bool,
    /// Whether CAP_SYS_ADMIN is held; root in a container often lacks it.
    pub has_sys_admin: bool,
    /// Whether set-uid programs gain nothing in this job.
    pub no_new_privileges: bool,
    /// Whether a filter decides on system calls.
    pub has_seccomp_filter: bool,
    /// What kind of container this is.
    pub container: Option<String>,
    /// Whether the root directory is none of a file system: no user namespaces can be made there.
    pub is_chroot: bool,
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// `user.max_mnt_namespaces`.
    pub max_mnt_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, a switch of Debian's.
    pub unprivileged_userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, a switch of Ubuntu's.
    pub apparmor_restrict_unprivileged_userns: Option<u64>,
    /// Whether SELinux enforces a policy.
    pub selinux_enforces: bool,
    /// `/dev/fuse`.
    pub fuse_device: FuseDevice,
    /// Whether the kernel knows FUSE; it may be loaded on demand.
    pub fuse_in_kernel: bool,
    /// After how many seconds without an answer the kernel ends a FUSE connection; none: it waits.
    pub fuse_request_timeout_seconds: Option<u64>,
    /// The set-uid helper.
    pub fusermount: Option<Fusermount>,
    /// How many files a process may have open; none: any number.
    pub open_files_soft: Option<u64>,
    /// To what a process may raise that.
    pub open_files_hard: Option<u64>,
    /// `mount_max` in `/etc/fuse.conf`: how many mounts the helper makes for all users.
    pub fuse_mount_max: Option<u64>,
}

/// The state of `/dev/fuse`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum FuseDevice {
    /// There is none.
    #[default]
    Missing,
    /// Something else has its name.
    NotADevice,
    /// It is there.
    Present {
        /// Its permissions, written in octal.
        #[serde(serialize_with = "octal")]
        mode: u32,
    },
}

fn octal<S: serde::Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

/// The set-uid helper as it is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fusermount {
    /// Where it was found in PATH.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Whether it is set-uid and owned by root.
    pub is_set_uid: bool,
    /// Whether its file system is mounted `nosuid`.
    pub is_on_nosuid: bool,
}

impl Machine {
    /// The machine this process runs on.
    pub fn of_this_process(around: &Surroundings, mounts: &Mounts) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        Self {
            program: std::env::current_exe().unwrap_or_default(),
            is_root: rustix::process::geteuid().is_root(),
            is_chroot: mounts.of(Path::new("/")).is_none(),
            fuse_device: fuse_device(Path::new("/dev/fuse")),
            fusermount: fusermount(around, mounts),
            container: container(around, &read),
            open_files_soft: open_files.current,
            open_files_hard: open_files.maximum,
            ..Self::from_files(kernel, &read)
        }
    }

    /// What the text files say.
    fn from_files(kernel: String, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let number = |path: &str| read(path)?.trim().parse().ok();
        let status = read("/proc/self/status").unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let capabilities = field("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
        let is_fuse = |line: &str| line.split_whitespace().next_back() == Some("fuse");
        Self {
            kernel_version: version(&kernel),
            kernel,
            has_sys_admin: capabilities & (1 << CAP_SYS_ADMIN) != 0,
            no_new_privileges: field("NoNewPrivs:") == Some("1"),
            has_seccomp_filter: field("Seccomp:") == Some("2"),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            max_mnt_namespaces: number("/proc/sys/user/max_mnt_namespaces"),
            unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restrict_unprivileged_userns: number(
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            ),
            selinux_enforces: number("/sys/fs/selinux/enforce") == Some(1),
            fuse_in_kernel: read("/proc/filesystems").is_some_and(|text| text.lines().any(is_fuse)),
            // Of the default a server that asks for more gets rid; of the maximum it does not (fs/fuse,
            // `init_server_timeout`, Linux 6.15). 0 means none.
            fuse_request_timeout_seconds: number("/proc/sys/fs/fuse/max_request_timeout")
                .filter(|seconds| *seconds > 0),
            fuse_mount_max: read("/etc/fuse.conf").and_then(|text| mount_max(&text)),
            ..Self::default()
        }
    }
}

/// `4.18.0-553.el8` to (4, 18).
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn mount_max(fuse_conf: &str) -> Option<u64> {
    let mut settings = fuse_conf.lines().filter_map(|line| line.split_once('='));
    settings.find(|(name, _)| name.trim() == "mount_max").and_then(|(_, value)| value.trim().parse().ok())
}

fn fuse_device(path: &Path) -> FuseDevice {
    match std::fs::metadata(path) {
        Err(_) => FuseDevice::Missing,
        Ok(found) if found.file_type().is_char_device() => {
            FuseDevice::Present { mode: found.permissions().mode() & 0o7777 }
        }
        Ok(_) => FuseDevice::NotADevice,
    }
}

fn fusermount(around: &Surroundings, mounts: &Mounts) -> Option<Fusermount> {
    let found = around.search_path().into_iter().map(|directory| directory.join("fusermount3"));
    let (path, attributes) = found.filter_map(|path| Some((path.clone(), path.metadata().ok()?))).next()?;
    let real = path.canonicalize().unwrap_or_else(|_| path.clone());
    Some(Fusermount {
        path,
        is_set_uid: attributes.mode() & 0o4000 != 0 && attributes.uid() == 0,
        is_on_nosuid: mounts.of(&real).is_some_and(|mount| mount.has_option("nosuid")),
    })
}

/// The signs that the common engines leave.
fn container(around: &Surroundings, read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let named = around.variable("container").map(|kind| kind.to_string_lossy().into_owned());
    let variables = [
        ("APPTAINER_CONTAINER", "apptainer"),
        ("SINGULARITY_CONTAINER", "singularity"),
        ("KUBERNETES_SERVICE_HOST", "kubernetes"),
    ];
    let files = [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")];
    let by_variable = || variables.iter().find(|(name, _)| around.variable(name).is_some());
    let by_file = || files.iter().find(|(path, _)| read(path).is_some());
    named.or_else(|| by_variable().or_else(by_file).map(|(_, kind)| (*kind).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        let read = |path: &str| {
            let text = match path {
                "/proc/self/status" => {
                    "Name:\tx\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
                }
                "/proc/sys/user/max_user_namespaces" => "0\n",
                "/proc/sys/fs/fuse/default_request_timeout" => "20\n",
                "/proc/sys/fs/fuse/max_request_timeout" => "30\n",
                "/proc/filesystems" => "nodev\tsysfs\n\tfuseblk\nnodev\tfuse\n",
                "/etc/fuse.conf" => "# mount_max = 3\nmount_max = 100\nuser_allow_other\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        let want = Machine {
            kernel: "4.18.0-553.el8.x86_64".to_owned(),
            kernel_version: (4, 18),
            no_new_privileges: true,
            has_seccomp_filter: true,
            max_user_namespaces: Some(0),
            fuse_in_kernel: true,
            fuse_request_timeout_seconds: Some(30),
            fuse_mount_max: Some(100),
            ..Machine::default() // docker's capabilities lack CAP_SYS_ADMIN
        };
        assert_eq!(Machine::from_files("4.18.0-553.el8.x86_64".to_owned(), &read), want);
    }

    #[test]
    fn a_file_is_no_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(fuse_device(file.path()), FuseDevice::NotADevice);
        assert_eq!(fuse_device(Path::new("/nothing/here")), FuseDevice::Missing);
        assert!(matches!(fuse_device(Path::new("/dev/null")), FuseDevice::Present { mode: 0o666 }));
    }

    #[test]
    fn a_container_shows_by_what_its_engine_leaves() {
        let nothing = |_: &str| None;
        let docker = |path: &str| (path == "/.dockerenv").then(String::new);
        let with = |name: &str| Surroundings::new([(name.into(), "lxc".into())], "/".into());
        assert_eq!(container(&with("HOME"), &nothing), None);
        assert_eq!(container(&with("container"), &nothing).as_deref(), Some("lxc"));
        assert_eq!(container(&with("APPTAINER_CONTAINER"), &nothing).as_deref(), Some("apptainer"));
        assert_eq!(container(&with("HOME"), &docker).as_deref(), Some("docker"));
    }
}
