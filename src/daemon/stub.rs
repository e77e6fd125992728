//! Throw-away pass-through, so that the processes can be tried before the data path is there.
use crate::holder::channel::{self, Channel};
use crate::holder::estate::Estate;
use crate::holder::messages::{FromDaemon, ToDaemon};
use crate::profile::recorder::{Counter, Recorder};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

struct Conn {
    fuse: File,
    table: File,
    nodes: Vec<PathBuf>,
    views: Vec<(PathBuf, PathBuf)>,
    rec: Recorder,
    uid: u32,
}

pub fn run(estate: Estate) -> ExitCode {
    let rec = Recorder::shared(&File::from(estate.counters.try_clone().unwrap())).unwrap();
    let mut threads = vec![];
    for c in &estate.connections {
        let views: Vec<(PathBuf, PathBuf)> = estate
            .settings
            .views
            .iter()
            .zip(&estate.roots)
            .enumerate()
            .filter(|(i, _)| c.only_view.is_none_or(|n| n == *i))
            .map(|(_, (v, r))| {
                let shown = if c.only_view.is_some() { PathBuf::from("/") } else { v.clone() };
                (shown, PathBuf::from(format!("/proc/self/fd/{}", r.as_raw_fd())))
            })
            .collect();
        let mut conn = Conn {
            fuse: File::from(c.fuse.try_clone().unwrap()),
            table: File::from(c.nodes.try_clone().unwrap()),
            nodes: vec![PathBuf::new(), "/".into()],
            views,
            rec,
            uid: estate.settings.caller.uid,
        };
        conn.load();
        threads.push(std::thread::spawn(move || conn.serve()));
    }
    let estate = Arc::new(Mutex::new(estate));
    let shared = estate.clone();
    say(&estate, &FromDaemon::Ready);
    std::thread::spawn(move || {
        loop {
            let peer = Channel::from(shared.lock().unwrap().peer.try_clone().unwrap());
            match peer.receive::<ToDaemon>() {
                Ok(Some((ToDaemon::Report(outcome), _))) => {
                    let dir = shared.lock().unwrap().settings.report.clone();
                    let error = dir.and_then(|d| {
                        std::fs::write(d.join("run.json"), serde_json::to_vec(&outcome).unwrap())
                            .err()
                            .map(|e| e.to_string())
                    });
                    say(&shared, &FromDaemon::Reported { error });
                }
                _ => crate::holder::restart_holder(&mut shared.lock().unwrap()).unwrap(),
            }
        }
    });
    for t in threads {
        t.join().unwrap();
    }
    say(&estate, &FromDaemon::Ended);
    ExitCode::SUCCESS
}

fn say(e: &Mutex<Estate>, m: &FromDaemon) {
    let _ = channel::send(&e.lock().unwrap().peer, m, &[], rustix::net::SendFlags::NOSIGNAL);
}

impl Conn {
    fn load(&mut self) {
        let len = self.table.metadata().unwrap().len() as usize;
        let mut all = vec![0; len];
        self.table.read_exact_at(&mut all, 0).unwrap();
        for line in all.split(|b| *b == 0).filter(|l| !l.is_empty()) {
            self.nodes.push(PathBuf::from(OsStr::from_bytes(line)));
        }
    }
    fn node(&mut self, path: &Path) -> u64 {
        if let Some(i) = self.nodes.iter().position(|p| p == path) {
            return i as u64;
        }
        let mut line = path.as_os_str().as_bytes().to_vec();
        line.push(0);
        let at = self.table.metadata().unwrap().len();
        self.table.write_all_at(&line, at).unwrap();
        self.nodes.push(path.to_owned());
        self.nodes.len() as u64 - 1
    }
    fn storage(&self, path: &Path) -> Option<PathBuf> {
        let (view, root) = self.views.iter().find(|(v, _)| path.starts_with(v))?;
        Some(root.join(path.strip_prefix(view).unwrap()))
    }
    fn attr(&self, path: &Path) -> Result<Vec<u8>, i32> {
        let mut out = vec![];
        let m = match self.storage(path) {
            Some(p) if p.strip_prefix("/proc/self/fd").is_ok_and(|r| r.components().count() == 1) => {
                std::fs::metadata(p).map_err(|e| e.raw_os_error().unwrap())?
            }
            Some(p) => std::fs::symlink_metadata(p).map_err(|e| e.raw_os_error().unwrap())?,
            None if self.views.iter().any(|(v, _)| v.starts_with(path)) => {
                std::fs::metadata("/").map_err(|e| e.raw_os_error().unwrap())?
            }
            None => return Err(libc::ENOENT),
        };
        for v in [m.ino(), m.size(), m.blocks(), m.atime() as u64, m.mtime() as u64, m.ctime() as u64] {
            out.extend(v.to_ne_bytes());
        }
        for v in [
            m.atime_nsec() as u32,
            m.mtime_nsec() as u32,
            m.ctime_nsec() as u32,
            m.mode(),
            m.nlink() as u32,
            m.uid(),
            m.gid(),
            m.rdev() as u32,
            4096,
            0,
        ] {
            out.extend(v.to_ne_bytes());
        }
        Ok(out)
    }
    fn serve(&mut self) {
        let mut buf = vec![0u8; 1 << 18];
        loop {
            let n = match rustix::io::read(&self.fuse, &mut buf) {
                Ok(n) => n,
                Err(rustix::io::Errno::NODEV) => return,
                Err(_) => continue,
            };
            let word = |i: usize| u32::from_ne_bytes(buf[i..i + 4].try_into().unwrap());
            let long = |i: usize| u64::from_ne_bytes(buf[i..i + 8].try_into().unwrap());
            let (op, unique, nodeid) = (word(4), long(8), long(16) as usize);
            let body = buf[40..n].to_vec();
            let path = self.nodes.get(nodeid).cloned().unwrap_or_default();
            self.rec.count(if op == 1 { Counter::FuseLookup } else { Counter::FuseOther });
            if [2, 36, 42].contains(&op) {
                continue;
            }
            let answer = self.answer(op, &path, &body);
            let (error, data) = match answer {
                Ok(d) => (0, d),
                Err(e) => (-e, vec![]),
            };
            let mut out = ((16 + data.len()) as u32).to_ne_bytes().to_vec();
            out.extend(error.to_ne_bytes());
            out.extend(unique.to_ne_bytes());
            out.extend(data);
            let _ = rustix::io::write(&self.fuse, &out);
        }
    }
    fn answer(&mut self, op: u32, path: &Path, body: &[u8]) -> Result<Vec<u8>, i32> {
        let os = |e: std::io::Error| e.raw_os_error().unwrap_or(libc::EIO);
        let long = |i: usize| u64::from_ne_bytes(body[i..i + 8].try_into().unwrap());
        let word = |i: usize| u32::from_ne_bytes(body[i..i + 4].try_into().unwrap());
        let _ = self.uid;
        match op {
            26 => {
                let mut out = vec![];
                for v in [7u32, 31, 128 << 10, 1, 0, 4096, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0] {
                    out.extend(v.to_ne_bytes());
                }
                Ok(out)
            }
            1 => {
                let name = OsStr::from_bytes(body.strip_suffix(b"\0").unwrap());
                let child = path.join(name);
                let attr = self.attr(&child)?;
                let mut out = self.node(&child).to_ne_bytes().to_vec();
                for v in [0u64, 3600, 3600, 0] {
                    out.extend(v.to_ne_bytes());
                }
                out.extend(attr);
                Ok(out)
            }
            3 => {
                let mut out = 3600u64.to_ne_bytes().to_vec();
                out.extend([0; 8]);
                out.extend(self.attr(path)?);
                Ok(out)
            }
            5 => Ok(std::fs::read_link(self.storage(path).ok_or(libc::EINVAL)?)
                .map_err(os)?
                .as_os_str()
                .as_bytes()
                .to_vec()),
            14 | 27 => Ok(vec![0; 16]),
            15 => {
                let f = File::open(self.storage(path).ok_or(libc::EISDIR)?).map_err(os)?;
                let mut out = vec![0; word(16) as usize];
                let n = f.read_at(&mut out, long(8)).map_err(os)?;
                out.truncate(n);
                self.rec.count(Counter::StorageReads);
                self.rec.add(Counter::StorageBytes, n as u64);
                Ok(out)
            }
            17 => Ok(vec![0; 80]),
            18 | 25 | 29 => Ok(vec![]),
            28 => {
                let (off, size) = (long(8) as usize, word(16) as usize);
                let Some(p) = self.storage(path) else { return Ok(vec![]) };
                let mut out = vec![];
                for (i, e) in std::fs::read_dir(p.join(".")).map_err(os)?.enumerate().skip(off) {
                    let name = e.map_err(os)?.file_name();
                    let n = name.as_bytes();
                    let len = (24 + n.len()).div_ceil(8) * 8;
                    if out.len() + len > size {
                        break;
                    }
                    out.extend((i as u64 + 1).to_ne_bytes());
                    out.extend((i as u64 + 1).to_ne_bytes());
                    out.extend((n.len() as u32).to_ne_bytes());
                    out.extend(0u32.to_ne_bytes());
                    out.extend(n);
                    out.resize(out.len().div_ceil(8) * 8, 0);
                }
                Ok(out)
            }
            _ => Err(libc::ENOSYS),
        }
    }
}
