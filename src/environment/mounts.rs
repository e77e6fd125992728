//! Which file system a path lies on, and whether the network is beneath it.
//!
//! Read from /proc/self/mountinfo, so that no question goes to the file systems themselves: a `statfs` of
//! shared storage costs a call, and hangs where storage hangs.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// File systems with the network beneath, by the type the kernel shows.
const NETWORK_TYPES: &[&str] = &[
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "dvs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncp",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "panfs",
    "pvfs2",
    "smb3",
    "smbfs",
    "wekafs",
];

/// Those that come through FUSE, by what follows `fuse.`, or by their source where the type is only `fuse`.
const NETWORK_FUSE_TYPES: &[&str] = &[
    "beegfs",
    "ceph",
    "ceph-fuse",
    "cvmfs",
    "cvmfs2",
    "daos",
    "dfuse",
    "gcsfuse",
    "glusterfs",
    "gpfs",
    "juicefs",
    "lizardfs",
    "mfs",
    "moosefs",
    "mount-s3",
    "mountpoint-s3",
    "quobyte",
    "rclone",
    "s3fs",
    "seaweedfs",
    "sshfs",
    "vast",
];

/// File systems that this node alone sees.
const LOCAL_TYPES: &[&str] = &[
    "bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "ramfs", "rootfs",
    "squashfs", "tmpfs", "vfat", "xfs", "zfs",
];

/// Where the bytes of a file system lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// On other machines, seen alike by every node.
    Network,
    /// On this node.
    Local,
    /// The type does not tell: overlays, FUSE programs, what is newer than this list.
    Unknown,
}

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its type as the kernel shows it: `lustre`, `fuse.sshfs`.
    pub fs_type: String,
    /// What was mounted: a device, a server's path.
    pub source: OsString,
    /// Options of the mount, such as `noexec`.
    pub options: Vec<String>,
}

impl Mount {
    /// Where its bytes lie.
    pub fn reach(&self) -> Reach {
        let fuse = self.fs_type.strip_prefix("fuse.");
        let source = self.source.to_str().unwrap_or_default();
        let is_network_fuse =
            |name: &str| NETWORK_FUSE_TYPES.contains(&name) || NETWORK_TYPES.contains(&name);
        let network = NETWORK_TYPES.contains(&self.fs_type.as_str())
            || fuse.is_some_and(is_network_fuse)
            || (self.fs_type == "fuse" && is_network_fuse(source));
        match network {
            true => Reach::Network,
            false if LOCAL_TYPES.contains(&self.fs_type.as_str()) => Reach::Local,
            false => Reach::Unknown,
        }
    }

    /// Whether it was mounted with this option.
    pub fn has_option(&self, option: &str) -> bool {
        self.options.iter().any(|have| have == option)
    }
}

/// The mounts that a process sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts(Vec<Mount>);

impl Mounts {
    /// Those of this process.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn of_this_process() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read("/proc/self/mountinfo")?))
    }

    /// Reads the text of a `mountinfo` file (proc_pid_mountinfo(5)); lines that are cut are left out.
    pub fn parse(mountinfo: &[u8]) -> Self {
        Self(mountinfo.split(|&byte| byte == b'\n').filter_map(parse_line).collect())
    }

    /// The mount that `path`, absolute and without links, lies on.
    pub fn of(&self, path: &Path) -> Option<&Mount> {
        let over = self.0.iter().filter(|mount| path.starts_with(&mount.point));
        // Of several on one point the one mounted last covers the others; `max_by_key` takes the last.
        over.max_by_key(|mount| mount.point.as_os_str().len())
    }

    /// The mounts beneath `path`.
    pub fn beneath<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Mount> {
        self.0.iter().filter(move |mount| mount.point != path && mount.point.starts_with(path))
    }
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let mut fields = line.split(|&byte| byte == b' ');
    let point = fields.nth(4)?;
    let options = fields.next()?;
    // Optional fields end with a lone dash.
    let mut after_dash = fields.skip_while(|field| *field != b"-").skip(1);
    let (fs_type, source) = (after_dash.next()?, after_dash.next()?);
    Some(Mount {
        point: PathBuf::from(OsString::from_vec(unescape(point))),
        fs_type: text(fs_type),
        source: OsStr::from_bytes(&unescape(source)).to_owned(),
        options: options.split(|&byte| byte == b',').map(text).collect(),
    })
}

/// Blanks, tabs, newlines and backslashes are written as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal =
            || after.get(..3).and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        if let Some(escaped) = (byte == b'\\').then(octal).flatten() {
            bytes.push(escaped);
            rest = &after[3..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:40 / /lus rw,nosuid shared:5 master:2 - lustre 10.0.0.1@tcp:/lus rw,flock
31 30 0:41 /sw /lus/sw\\040new ro,noexec - nfs4 filer:/sw rw
32 22 0:42 / /cvmfs/site ro - fuse cvmfs2 ro
33 22 0:43 / /home rw - fuse.sshfs host:/home rw
34 22 0:44 / /opt rw - overlay overlay rw
35 34 0:45 / /opt rw - tmpfs tmpfs rw
36 22 0:46 / /cut
";

    #[test]
    fn a_path_lies_on_the_innermost_mount_made_last() {
        let mounts = Mounts::parse(MOUNTINFO.as_bytes());
        let cases = [
            ("/usr", "ext4", Reach::Local),              // on the root
            ("/lus/proj", "lustre", Reach::Network),     // optional fields before the dash
            ("/lus/sw new/env", "nfs4", Reach::Network), // a blank in the name, inside of another mount
            ("/lus/sw", "lustre", Reach::Network),       // a name that only begins alike
            ("/cvmfs/site/x", "fuse", Reach::Network),   // only the source tells
            ("/home/ada", "fuse.sshfs", Reach::Network), // the type tells
            ("/opt/x", "tmpfs", Reach::Local),           // the later of two on one point
        ];
        for (path, fs_type, reach) in cases {
            let mount = mounts.of(Path::new(path)).unwrap();
            assert_eq!((mount.fs_type.as_str(), mount.reach()), (fs_type, reach), "{path}");
        }
        assert!(mounts.of(Path::new("/lus/sw new")).unwrap().has_option("noexec"));
        assert_eq!(mounts.beneath(Path::new("/lus")).count(), 1);
    }

    #[test]
    fn this_process_sees_a_root() {
        assert!(Mounts::of_this_process().unwrap().of(Path::new("/")).is_some());
    }
}
