//! From a failure to its cause and to the one line that an administrator would need.
//!
//! A pure table of rules: which step the kernel stopped at, what it answered, what the machine says about
//! itself. The first rule that fits speaks. A cause that nobody but the user can help has no line to ask for.

use std::path::Path;

use super::machine::{FuseDevice, Machine};
use super::steps::{Step, Stop};
use crate::holder::estate::WayIn;

/// FUSE may be mounted in a user namespace since Linux 4.18 (fs/fuse/inode.c, `FS_USERNS_MOUNT`).
const FUSE_IN_NAMESPACES_SINCE: (u32, u32) = (4, 18);

/// How many namespaces a job may need, generously; what distributions set by default is larger.
const NAMESPACES_WANTED: u64 = 15_000;

/// Why a way does not work and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// One sentence.
    pub cause: String,
    /// One line for an administrator.
    pub ask: Option<String>,
}

impl Advice {
    fn new(cause: impl Into<String>, ask: impl Into<String>) -> Self {
        Self { cause: cause.into(), ask: Some(ask.into()) }
    }

    fn without_remedy(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), ask: None }
    }
}

/// Explains why `way` failed: `stop` is the step the kernel refused, `message` what the run said.
pub fn explain(way: WayIn, stop: Option<Stop>, message: &str, machine: &Machine) -> Advice {
    if way == WayIn::Fusermount {
        return of_the_helper(message, machine);
    }
    match stop.map(|stop| (stop.step, stop.errno)) {
        Some((Step::UnshareUser | Step::MapIds, errno)) => of_user_namespaces(errno, machine),
        Some((Step::UnshareMount | Step::MakePrivate, errno)) => of_mount_namespaces(way, errno, machine),
        Some((Step::OpenDevice, errno)) => of_the_device(errno, machine),
        Some((Step::Mount, errno)) => of_the_mount(errno, machine),
        None if message.is_empty() => {
            Advice::without_remedy("the kernel allows it, but the run failed without a word")
        }
        None => Advice::without_remedy(format!("the kernel allows it, but the run failed: {message}")),
    }
}

/// Making a user namespace, user_namespaces(7).
fn of_user_namespaces(errno: i32, machine: &Machine) -> Advice {
    match machine {
        Machine { max_user_namespaces: Some(0), .. } => Advice::new(
            "user namespaces are switched off (`user.max_user_namespaces` is 0)",
            set_sysctl("user.max_user_namespaces", NAMESPACES_WANTED),
        ),
        Machine { unprivileged_userns_clone: Some(0), is_root: false, .. } => Advice::new(
            "user namespaces are for root only (`kernel.unprivileged_userns_clone` is 0)",
            set_sysctl("kernel.unprivileged_userns_clone", 1),
        ),
        _ if errno == libc::ENOSPC || errno == libc::EUSERS => too_many("user", machine.max_user_namespaces),
        _ if errno == libc::ENOSYS || errno == libc::EINVAL => Advice::new(
            "this kernel was built without user namespaces",
            "a kernel built with CONFIG_USER_NS=y",
        ),
        Machine { apparmor_restrict_unprivileged_userns: Some(1), .. } => of_apparmor(&machine.program),
        Machine { is_chroot: true, .. } => Advice::without_remedy(
            "this process runs in a chroot, where no user namespace can be made; start the job outside of it",
        ),
        Machine { container: Some(kind), .. } => of_a_container(kind),
        Machine { has_seccomp_filter: true, .. } => Advice::new(
            "a seccomp filter on this job forbids user namespaces",
            "allow the system calls unshare, setns and mount in the job's seccomp filter",
        ),
        Machine { selinux_enforces: true, .. } => of_selinux(),
        _ => Advice::without_remedy(format!(
            "the kernel refuses user namespaces: {} (in a chroot it always does)",
            words(errno)
        )),
    }
}

/// Making a mount namespace: by root with its own rights, by others with those inside the user namespace.
fn of_mount_namespaces(way: WayIn, errno: i32, machine: &Machine) -> Advice {
    match machine {
        _ if errno == libc::ENOSPC => too_many("mnt", machine.max_mnt_namespaces),
        Machine { apparmor_restrict_unprivileged_userns: Some(1), .. } if way == WayIn::UserNamespace => {
            of_apparmor(&machine.program)
        }
        Machine { has_sys_admin: false, .. } if way == WayIn::MountNamespace => Advice::new(
            "this root lacks CAP_SYS_ADMIN, as in most containers",
            "start the container with `--cap-add SYS_ADMIN --device /dev/fuse`",
        ),
        Machine { container: Some(kind), .. } => of_a_container(kind),
        Machine { has_seccomp_filter: true, .. } => Advice::new(
            "a seccomp filter on this job forbids mount namespaces",
            "allow the system calls unshare, setns and mount in the job's seccomp filter",
        ),
        Machine { selinux_enforces: true, .. } => of_selinux(),
        _ => Advice::without_remedy(format!("the kernel refuses mount namespaces: {}", words(errno))),
    }
}

/// Opening /dev/fuse.
fn of_the_device(errno: i32, machine: &Machine) -> Advice {
    const FOR_CONTAINERS: &str = "start the container with `--device /dev/fuse`";
    const FOR_GOOD: &str = "echo fuse > /etc/modules-load.d/fuse.conf";
    match machine {
        Machine { fuse_device: FuseDevice::NotADevice, .. } => {
            Advice::new("`/dev/fuse` is not a device", "rm -f /dev/fuse; mknod -m 666 /dev/fuse c 10 229")
        }
        Machine { fuse_device: FuseDevice::Missing, container: Some(kind), .. } => {
            Advice::new(format!("`/dev/fuse` is not in this container ({kind})"), FOR_CONTAINERS)
        }
        Machine { fuse_device: FuseDevice::Missing, fuse_in_kernel: true, .. } => {
            Advice::new("`/dev/fuse` is missing", "mknod -m 666 /dev/fuse c 10 229")
        }
        Machine { fuse_device: FuseDevice::Missing, .. } => {
            Advice::new("the kernel has not loaded FUSE", format!("modprobe fuse; {FOR_GOOD}"))
        }
        _ if errno == libc::ENODEV || errno == libc::ENXIO => {
            Advice::new("the kernel has not loaded FUSE", format!("modprobe fuse; {FOR_GOOD}"))
        }
        Machine { fuse_device: FuseDevice::Present { mode }, .. } if errno == libc::EACCES => Advice::new(
            format!("`/dev/fuse` is closed to users (mode {mode:04o}, usual is 0666)"),
            "chmod 666 /dev/fuse; echo 'KERNEL==\"fuse\", MODE=\"0666\"' > /etc/udev/rules.d/99-fuse.rules",
        ),
        Machine { container: Some(_), .. } => {
            Advice::new("the container's device rules forbid `/dev/fuse`", FOR_CONTAINERS)
        }
        _ => Advice::new(
            format!("`/dev/fuse` cannot be opened: {}", words(errno)),
            "allow character device 10:229 for jobs (`DeviceAllow=/dev/fuse rw`, or Slurm's cgroup.conf)",
        ),
    }
}

/// The mount itself.
fn of_the_mount(errno: i32, machine: &Machine) -> Advice {
    let (major, minor) = FUSE_IN_NAMESPACES_SINCE;
    match machine {
        _ if errno == libc::ENODEV => Advice::new(
            "the kernel has no FUSE file system",
            "modprobe fuse; echo fuse > /etc/modules-load.d/fuse.conf",
        ),
        Machine { kernel_version, is_root: false, .. } if *kernel_version < FUSE_IN_NAMESPACES_SINCE => {
            Advice::new(
                format!(
                    "Linux {} cannot mount FUSE in a user namespace; {major}.{minor} and newer can",
                    machine.kernel
                ),
                "install the package `fuse3`, which brings the set-uid helper `fusermount3`",
            )
        }
        Machine { apparmor_restrict_unprivileged_userns: Some(1), is_root: false, .. } => {
            of_apparmor(&machine.program)
        }
        Machine { container: Some(kind), .. } => of_a_container(kind),
        Machine { has_seccomp_filter: true, .. } => Advice::new(
            "a seccomp filter on this job forbids mounts",
            "allow the system calls unshare, setns and mount in the job's seccomp filter",
        ),
        Machine { selinux_enforces: true, .. } => of_selinux(),
        _ => Advice::without_remedy(format!("the kernel refuses the mount: {}", words(errno))),
    }
}

/// fusermount3, which has rules of its own (libfuse, util/fusermount.c); `message` is what it said.
fn of_the_helper(message: &str, machine: &Machine) -> Advice {
    const INSTALL: &str = "install the package `fuse3`, which brings the set-uid helper `fusermount3`";
    let Some(helper) = &machine.fusermount else {
        return Advice::new("`fusermount3` is not in PATH", INSTALL);
    };
    let path = helper.path.display();
    if !machine.is_root && machine.no_new_privileges {
        return Advice::without_remedy(
            "this job runs with no_new_privs, so the set-uid `fusermount3` gains nothing",
        );
    }
    if !machine.is_root && helper.is_on_nosuid {
        let cause = format!("`{path}` lies on a file system mounted nosuid");
        return Advice::new(cause, INSTALL);
    }
    if !machine.is_root && !helper.is_set_uid {
        let ask = format!("chown root {path}; chmod u+s {path}");
        return Advice::new(format!("`{path}` is not set-uid root"), ask);
    }
    if message.contains("could not determine username") {
        return Advice::new(
            "this node does not know your user by name, which `fusermount3` insists on",
            "make users' names known on this node (`getent passwd UID` must answer)",
        );
    }
    if message.contains("mount_max") {
        let limit = machine.fuse_mount_max.unwrap_or(1000);
        let cause = format!("there are {limit} FUSE mounts already, as many as `/etc/fuse.conf` allows");
        return Advice::new(
            cause,
            "sed -i '/^mount_max/d' /etc/fuse.conf; echo mount_max = 10000 >> /etc/fuse.conf",
        );
    }
    if !matches!(machine.fuse_device, FuseDevice::Present { .. }) || message.contains("device not found") {
        return of_the_device(libc::ENODEV, machine);
    }
    if message.contains("failed to open /dev/fuse: Permission denied") {
        return of_the_device(libc::EACCES, machine);
    }
    match message {
        "" => Advice::without_remedy("`fusermount3` could mount, but the run failed without a word"),
        _ => Advice::without_remedy(format!("`fusermount3` did not serve: {message}")),
    }
}

/// Ubuntu since 23.10: a program needs a profile that names it (apparmor.d(5), `userns`).
fn of_apparmor(program: &Path) -> Advice {
    let program = program.display();
    Advice::new(
        "AppArmor takes away the rights inside user namespaces (`kernel.apparmor_restrict_unprivileged_userns` is 1)",
        format!(
            "printf 'abi <abi/4.0>,\\nprofile spinney {program} flags=(unconfined) {{ userns, }}\\n' \
             > /etc/apparmor.d/spinney; apparmor_parser -r /etc/apparmor.d/spinney"
        ),
    )
}

fn of_a_container(kind: &str) -> Advice {
    Advice::new(
        format!("this container ({kind}) forbids namespaces or mounts"),
        "start the container with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined --device /dev/fuse`",
    )
}

fn of_selinux() -> Advice {
    Advice::new(
        "SELinux forbids it",
        "ausearch -m avc -c spinney | audit2allow -M spinney; semodule -i spinney.pp",
    )
}

fn too_many(kind: &str, limit: Option<u64>) -> Advice {
    let name = format!("user.max_{kind}_namespaces");
    let limit = limit.unwrap_or(0);
    let wanted = limit.saturating_mul(2).max(NAMESPACES_WANTED);
    Advice::new(
        format!("there are as many namespaces as `{name}` allows ({limit}), or they are nested too deeply"),
        set_sysctl(&name, wanted),
    )
}

/// Now and after the next start.
fn set_sysctl(name: &str, value: u64) -> String {
    format!("sysctl -w {name}={value}; echo {name}={value} > /etc/sysctl.d/50-spinney.conf")
}

fn words(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::machine::Fusermount;
    use super::*;
    use libc::{EACCES, ENODEV, ENOENT, ENOSPC, EPERM};

    type Change = fn(&mut Machine);
    type Failure = (WayIn, Option<(Step, i32)>, &'static str);

    fn helper(is_set_uid: bool, is_on_nosuid: bool) -> Option<Fusermount> {
        Some(Fusermount { path: "/usr/bin/fusermount3".into(), is_set_uid, is_on_nosuid })
    }

    /// An ordinary user's job on a machine on which everything is allowed.
    fn usual() -> Machine {
        Machine {
            kernel: "6.1.0".to_owned(),
            kernel_version: (6, 1),
            program: "/opt/spinney".into(),
            max_user_namespaces: Some(60_000),
            max_mnt_namespaces: Some(60_000),
            fuse_device: FuseDevice::Present { mode: 0o666 },
            fuse_in_kernel: true,
            fusermount: helper(true, false),
            ..Machine::default()
        }
    }

    fn check(cases: &[(Failure, Change, &str, Option<&str>)]) {
        for ((way, stop, message), change, cause, ask) in cases {
            let mut machine = usual();
            change(&mut machine);
            let stop = stop.map(|(step, errno)| Stop { step, errno });
            let advice = explain(*way, stop, message, &machine);
            assert!(advice.cause.contains(cause), "{stop:?} {message}: {advice:?}, not {cause:?}");
            let asked = advice.ask.as_deref();
            let fits = asked.is_some() == ask.is_some() && asked.unwrap_or("").contains(ask.unwrap_or(""));
            assert!(fits, "{stop:?} {message}: {advice:?}, not {ask:?}");
        }
    }

    #[test]
    fn a_refused_user_namespace_is_explained_by_the_switch_that_is_off() {
        use WayIn::UserNamespace as User;
        let unshare = |errno| (User, Some((Step::UnshareUser, errno)), "");
        check(&[
            // RHEL 7's default and what hardening guides set
            (
                unshare(ENOSPC),
                |m| m.max_user_namespaces = Some(0),
                "switched off",
                Some("sysctl -w user.max_user_namespaces=15000"),
            ),
            // the limit is there but used up
            (unshare(ENOSPC), |_| {}, "as many namespaces", Some("user.max_user_namespaces=120000")),
            // Debian's own switch
            (
                unshare(EPERM),
                |m| m.unprivileged_userns_clone = Some(0),
                "for root only",
                Some("kernel.unprivileged_userns_clone=1"),
            ),
            // Ubuntu without a profile for user namespaces
            (
                unshare(EACCES),
                |m| m.apparmor_restrict_unprivileged_userns = Some(1),
                "AppArmor",
                Some("profile spinney /opt/spinney"),
            ),
            // Ubuntu with one: the namespace is made, but without rights
            (
                (User, Some((Step::MapIds, EPERM)), ""),
                |m| m.apparmor_restrict_unprivileged_userns = Some(1),
                "AppArmor",
                Some("apparmor_parser"),
            ),
            (
                (User, Some((Step::UnshareMount, EPERM)), ""),
                |m| m.apparmor_restrict_unprivileged_userns = Some(1),
                "AppArmor",
                Some("apparmor_parser"),
            ),
            (
                (User, Some((Step::Mount, EACCES)), ""),
                |m| m.apparmor_restrict_unprivileged_userns = Some(1),
                "AppArmor",
                Some("apparmor_parser"),
            ),
            // docker's default filter
            (
                unshare(EPERM),
                |m| {
                    m.container = Some("docker".into());
                    m.has_seccomp_filter = true
                },
                "container (docker)",
                Some("--device /dev/fuse"),
            ),
            // a filter of the scheduler's
            (unshare(EPERM), |m| m.has_seccomp_filter = true, "seccomp filter", Some("unshare")),
            // nobody can help but the user
            (unshare(EPERM), |m| m.is_chroot = true, "chroot", None),
            // RHEL 9
            (unshare(EACCES), |m| m.selinux_enforces = true, "SELinux", Some("semodule")),
            // a kernel without them
            (unshare(libc::EINVAL), |_| {}, "built without", Some("CONFIG_USER_NS")),
            // unknown: the kernel's words
            (unshare(EPERM), |_| {}, "Operation not permitted", None),
        ]);
    }

    #[test]
    fn a_refused_device_is_explained_by_what_is_missing() {
        let device = |errno| (WayIn::UserNamespace, Some((Step::OpenDevice, errno)), "");
        check(&[
            // a bare machine without udev
            (
                device(EACCES),
                |m| m.fuse_device = FuseDevice::Present { mode: 0o600 },
                "mode 0600",
                Some("chmod 666 /dev/fuse"),
            ),
            // a minimal kernel
            (
                device(ENOENT),
                |m| {
                    m.fuse_device = FuseDevice::Missing;
                    m.fuse_in_kernel = false
                },
                "not loaded",
                Some("modprobe fuse"),
            ),
            // the node is there, its driver is not
            (device(ENODEV), |m| m.fuse_in_kernel = false, "not loaded", Some("modprobe fuse")),
            // the driver is there, its node is not
            (device(ENOENT), |m| m.fuse_device = FuseDevice::Missing, "missing", Some("mknod")),
            // a container without the device
            (
                device(ENOENT),
                |m| {
                    m.fuse_device = FuseDevice::Missing;
                    m.container = Some("podman".into())
                },
                "podman",
                Some("--device /dev/fuse"),
            ),
            // a container whose device rules forbid it
            (
                device(EPERM),
                |m| m.container = Some("docker".into()),
                "device rules",
                Some("--device /dev/fuse"),
            ),
            // Slurm's device constraint
            (device(EPERM), |_| {}, "cannot be opened", Some("10:229")),
            // somebody's file
            (device(EACCES), |m| m.fuse_device = FuseDevice::NotADevice, "not a device", Some("mknod")),
        ]);
    }

    #[test]
    fn a_refused_mount_is_explained_by_what_is_missing() {
        use WayIn::{MountNamespace, UserNamespace};
        let mount = |errno| (UserNamespace, Some((Step::Mount, errno)), "");
        check(&[
            // RHEL 7
            (
                mount(EPERM),
                |m| m.kernel_version = (3, 10),
                "cannot mount FUSE in a user namespace",
                Some("fuse3"),
            ),
            // no file system of that type
            (mount(ENODEV), |_| {}, "no FUSE", Some("modprobe")),
            // root in a container
            (
                (MountNamespace, Some((Step::UnshareMount, EPERM)), ""),
                |m| m.is_root = true,
                "lacks CAP_SYS_ADMIN",
                Some("--cap-add SYS_ADMIN"),
            ),
            // as many as allowed
            (
                (MountNamespace, Some((Step::UnshareMount, ENOSPC)), ""),
                |m| m.max_mnt_namespaces = Some(5),
                "user.max_mnt_namespaces",
                Some("=15000"),
            ),
            // the steps go through, the run does not: its words
            ((UserNamespace, None, "no memory"), |_| {}, "no memory", None),
        ]);
    }

    #[test]
    fn the_helper_is_explained_by_how_it_is_installed() {
        let failed = |message| (WayIn::Fusermount, None, message);
        check(&[
            (failed(""), |m| m.fusermount = None, "not in PATH", Some("install the package `fuse3`")),
            (
                failed(""),
                |m| m.fusermount = helper(false, false),
                "not set-uid",
                Some("chmod u+s /usr/bin/fusermount3"),
            ),
            (failed(""), |m| m.fusermount = helper(true, true), "nosuid", Some("fuse3")), // a copy on shared storage
            (failed(""), |m| m.no_new_privileges = true, "no_new_privs", None), // as systemd and containers set
            (
                failed("too many FUSE filesystems mounted; mount_max=N can be set"),
                |_| {},
                "fuse.conf",
                Some("mount_max"),
            ),
            // a user of a directory service that this node does not ask
            (failed("fusermount3: could not determine username"), |_| {}, "by name", Some("getent")),
            // a rule of the helper's that nobody can help
            (
                failed("fusermount3: mounting over filesystem type 0x1 is forbidden"),
                |_| {},
                "is forbidden",
                None,
            ),
            // the helper opens the device with its caller's rights
            (
                failed("fusermount3: failed to open /dev/fuse: Permission denied"),
                |m| m.fuse_device = FuseDevice::Present { mode: 0o600 },
                "mode 0600",
                Some("chmod 666"),
            ),
            // the module is not loaded
            (
                failed("fuse: device not found, try 'modprobe fuse' first"),
                |_| {},
                "not loaded",
                Some("modprobe"),
            ),
            // root needs no set-uid; the device is the next to look at
            (
                failed(""),
                |m| {
                    m.is_root = true;
                    m.fusermount = helper(false, false);
                    m.fuse_device = FuseDevice::Missing
                },
                "missing",
                Some("mknod"),
            ),
        ]);
    }
}
