//! One mount: a client of the storage with a kernel cache of its own, as one node of a job has it.
//!
//! What a Lustre client keeps, the kernel keeps here: names and attributes for an hour, content, pages of
//! directories, targets of symlinks. What it asks each time is asked here each time: names that do not
//! exist, opening and closing. Read-only.
//!
//! Not here: how long a call takes (`server`); which files there are (`nodes`).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuser::{
    BackgroundSession, Config, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request, Session, SessionACL,
};
use rustix::fs::{OFlags, RawDir};

use crate::counters::{Counters, Kind};
use crate::device::{CONTENT_MAX, Device, between};
use crate::nodes::{NodeTable, file_type};
use crate::server::{Call, Server};

/// How long the kernel may keep names and attributes: 1 h, longer than any test, as a lock kept would be.
const KEPT: Duration = Duration::from_secs(3600);

/// Threads that take calls from the kernel, per mount. They only hand on what has to wait.
const THREADS: usize = 4;

/// Reads and closes that the kernel keeps under way at once: 64, so that readahead of several files overlaps.
const BACKGROUND_MAX: u16 = 64;

/// Bytes of names taken from the backing directory at a time.
const NAMES_BUFFER: usize = 32 << 10;

/// How long a task waits for an answer that does not come.
#[derive(Debug, Clone, Copy)]
pub enum Waits {
    /// Even if it is killed: what `fuser` can do.
    TillAnswered,
    /// Till it is killed, as on Lustre and NFS; each call takes some 20 µs more.
    TillKilled,
}

/// A mount that is served.
pub struct Mount {
    /// Where it is.
    pub path: PathBuf,
    /// What it has asked.
    pub counters: Arc<Counters>,
    nodes: Arc<NodeTable>,
    device: Device,
    _session: BackgroundSession,
}

impl Mount {
    /// Mounts `backing` at `path` as another client of `server`.
    pub fn new(server: Arc<Server>, backing: &Path, path: &Path, waits: Waits) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let nodes = Arc::new(NodeTable::new(backing)?);
        let client = Client { server, counters: counters.clone(), nodes: nodes.clone() };
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::RO,
            MountOption::DefaultPermissions,
            MountOption::FSName("stand-in".into()),
            MountOption::Subtype("lustre".into()),
        ];
        config.acl = SessionACL::All;
        config.n_threads = Some(THREADS);
        let (session, device) = match waits {
            Waits::TillAnswered => {
                let session = Session::new(client, path, &config)?;
                let device = Device::new(session.as_fd().try_clone_to_owned()?);
                (session, device)
            }
            Waits::TillKilled => {
                let (socket, device) = between(path)?;
                (Session::from_fd(client, socket, SessionACL::All, config)?, device)
            }
        };
        let session = session.spawn()?;
        Ok(Self { path: path.to_owned(), counters, nodes, device, _session: session })
    }

    /// Makes the kernel forget everything that nothing has open.
    pub fn drop_caches(&self) {
        let all = self.nodes.all();
        // A forgotten entry takes what is beneath it along, so those of the root suffice for all that is idle.
        for (_, _, name) in all.iter().filter(|(_, parent, _)| *parent == INodeNo::ROOT) {
            self.device.forget_entry(INodeNo::ROOT, name);
        }
        self.device.forget_content(INodeNo::ROOT);
        for (ino, parent, name) in self.nodes.all() {
            self.device.forget_entry(parent, &name);
            self.device.forget_content(ino);
        }
    }

    /// Takes back what the kernel keeps of one path, as a client loses its lock when another writes.
    pub fn changed(&self, path: &Path) {
        let parent = path.parent().map(|parent| self.nodes.number_of(parent));
        if let (Some(Ok(parent)), Some(name)) = (parent, path.file_name()) {
            self.device.forget_entry(INodeNo(parent), name);
            self.device.forget_content(INodeNo(parent));
            let old = self.nodes.all().into_iter().filter(|(_, p, n)| p.0 == parent && n == name);
            old.for_each(|(ino, _, _)| self.device.forget_content(ino));
        }
        if let Ok(ino) = self.nodes.number_of(path) {
            self.device.forget_content(INodeNo(ino));
        }
    }
}

/// The side of the mount that answers the kernel.
struct Client {
    server: Arc<Server>,
    counters: Arc<Counters>,
    nodes: Arc<NodeTable>,
}

/// What a call needs when it is carried out.
struct Carrier {
    counters: Arc<Counters>,
    nodes: Arc<NodeTable>,
}

impl Client {
    /// Sends a call about `ino` that gives at most `bytes` of content.
    fn submit(
        &self,
        kind: Kind,
        ino: INodeNo,
        bytes: u64,
        work: impl FnOnce(&Carrier, Result<(), Errno>) + Send + 'static,
    ) {
        self.submit_at(kind, (ino, None), bytes, work);
    }

    fn submit_at(
        &self,
        kind: Kind,
        subject: (INodeNo, Option<OsString>),
        bytes: u64,
        work: impl FnOnce(&Carrier, Result<(), Errno>) + Send + 'static,
    ) {
        let carrier = Carrier { counters: self.counters.clone(), nodes: self.nodes.clone() };
        let nodes = self.nodes.clone();
        self.server.submit(Call {
            kind,
            bytes,
            path: Box::new(move || match &subject {
                (ino, Some(name)) => nodes.path(*ino).join(name),
                (ino, None) => nodes.path(*ino),
            }),
            work: Box::new(move |refusal| work(&carrier, refusal.map_or(Ok(()), Err))),
        });
    }
}

impl Carrier {
    /// Counts the call, then gives its result or the refusal.
    fn answer<T>(
        &self,
        kind: Kind,
        allowed: Result<(), Errno>,
        look: impl FnOnce(&NodeTable) -> io::Result<T>,
    ) -> Result<T, Errno> {
        self.counters.count(kind);
        allowed?;
        look(&self.nodes).map_err(Errno::from)
    }
}

impl Filesystem for Client {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Older kernels lack some of these; then they do as older kernels do.
        for capability in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_AUTO_INVAL_DATA,
        ] {
            let _ = config.add_capabilities(capability);
        }
        let _ = config.set_max_background(BACKGROUND_MAX);
        // As much as the kernel sends at a time, though nothing is ever written: whoever reads the device must have
        // room for it.
        let _ = config.set_max_write(CONTENT_MAX as u32);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        self.submit_at(Kind::LookupFound, (parent, Some(name.clone())), 0, move |carrier, allowed| {
            let found = allowed.and_then(|()| Ok(carrier.nodes.look_up(parent, &name)?));
            let kind = if found.is_ok() { Kind::LookupFound } else { Kind::LookupMissing };
            carrier.counters.count(kind);
            match found {
                Ok(attributes) => reply.entry(&KEPT, &attributes, Generation(0)),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, lookups: u64) {
        self.nodes.forget(ino, lookups);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.submit(Kind::Getattr, ino, 0, move |carrier, allowed| {
            match carrier.answer(Kind::Getattr, allowed, |nodes| nodes.stat(ino)) {
                Ok(attributes) => reply.attr(&KEPT, &attributes),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        self.submit(Kind::Readlink, ino, 0, move |carrier, allowed| {
            match carrier.answer(Kind::Readlink, allowed, |nodes| nodes.get(ino)?.link_target()) {
                Ok(target) => reply.data(&target),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.submit(Kind::Open, ino, 0, move |carrier, allowed| {
            let opened = carrier.answer(Kind::Open, allowed, |nodes| {
                Ok(nodes.keep_open(nodes.get(ino)?.open(OFlags::NONBLOCK)?))
            });
            match opened {
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // Only what the file still has travels: the last read of a file is charged by what it gives.
        let length = self.nodes.opened(fh.0).and_then(|file| file.metadata()).map_or(0, |m| m.len());
        let bytes = u64::from(size).min(length.saturating_sub(offset));
        self.submit(Kind::Read, ino, bytes, move |carrier, allowed| {
            let read = carrier.answer(Kind::Read, allowed, |nodes| {
                read_up_to(&*nodes.opened(fh.0)?, offset, size as usize)
            });
            match read {
                Ok(content) => {
                    carrier.counters.count_bytes(content.len());
                    reply.data(&content);
                }
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Nothing is written, so closing has nothing to flush; after this the kernel no longer asks.
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.nodes.close(fh.0);
        self.counters.count(Kind::Release);
        self.server.occupy(Kind::Release);
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.submit(Kind::Opendir, ino, 0, move |carrier, allowed| {
            let opened = carrier.answer(Kind::Opendir, allowed, |nodes| {
                Ok(nodes.keep_open(nodes.get(ino)?.open(OFlags::DIRECTORY)?))
            });
            match opened {
                Ok(handle) => reply
                    .opened(FileHandle(handle), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.submit(Kind::Readdir, ino, 0, move |carrier, allowed| {
            let listed = carrier
                .answer(Kind::Readdir, allowed, |nodes| list(&*nodes.opened(fh.0)?, offset, &mut reply));
            match listed {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.nodes.close(fh.0);
        self.counters.count(Kind::Releasedir);
        self.server.occupy(Kind::Releasedir);
        reply.ok();
    }

    fn statfs(&self, _req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.submit(Kind::Statfs, ino, 0, move |carrier, allowed| {
            let figures = carrier.answer(Kind::Statfs, allowed, |nodes| {
                Ok(rustix::fs::fstatvfs(&nodes.get(INodeNo::ROOT)?.place)?)
            });
            match figures {
                Ok(f) => reply.statfs(
                    f.f_blocks,
                    f.f_bfree,
                    f.f_bavail,
                    f.f_files,
                    f.f_ffree,
                    f.f_bsize as u32,
                    f.f_namemax as u32,
                    f.f_frsize as u32,
                ),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let name = name.to_owned();
        self.submit(Kind::Getxattr, ino, 0, move |carrier, allowed| {
            let value = carrier.answer(Kind::Getxattr, allowed, |nodes| {
                attribute_value(|buffer| {
                    Ok(rustix::fs::getxattr(nodes.get(ino)?.proc_path(), &*name, buffer)?)
                })
            });
            answer_attribute(value, size, reply);
        });
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.submit(Kind::Listxattr, ino, 0, move |carrier, allowed| {
            let names = carrier.answer(Kind::Listxattr, allowed, |nodes| {
                attribute_value(|buffer| Ok(rustix::fs::listxattr(nodes.get(ino)?.proc_path(), buffer)?))
            });
            answer_attribute(names, size, reply);
        });
    }
}

/// Reads up to `size` bytes at `offset`; fewer only at the end of the file.
fn read_up_to(file: &File, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    let mut content = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match file.read_at(&mut content[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    content.truncate(filled);
    Ok(content)
}

/// Gives the kernel one page of names from `offset` on, which is a position the backing directory gave out.
fn list(mut directory: &File, offset: u64, reply: &mut ReplyDirectory) -> io::Result<()> {
    directory.seek(SeekFrom::Start(offset))?;
    let mut buffer = [const { MaybeUninit::uninit() }; NAMES_BUFFER];
    let mut names = RawDir::new(directory, &mut buffer);
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(entry.file_name().to_bytes());
        let ino = INodeNo(entry.ino());
        if reply.add(ino, entry.next_entry_cookie(), file_type(entry.file_type()), name) {
            break;
        }
    }
    Ok(())
}

/// The largest value the kernel passes on: 64 KiB (`XATTR_SIZE_MAX`).
fn attribute_value(get: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut value = vec![0; 64 << 10];
    let length = get(&mut value)?;
    value.truncate(length);
    Ok(value)
}

fn answer_attribute(value: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match value {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(errno) => reply.error(errno),
    }
}
