//! The control channel: commands in lines of text over a Unix socket, an answer in one line of JSON to each.
//!
//! | command | does |
//! |---|---|
//! | `counters` | the calls of each mount and their sum, the lateness of answers |
//! | `reset` | sets all counters to 0 |
//! | `settings` | how the storage behaves now |
//! | `set latency_us=N metadata_service_us=N bandwidth=N` | alters any of them |
//! | `hang on [PREFIX]`, `hang off` | keeps calls (at and beneath PREFIX), answers them |
//! | `fail ERRNO [PREFIX] [KIND]`, `fail off` | refuses calls; each `fail` adds to the earlier ones |
//! | `drop` | makes the kernels forget all that nothing has open |
//! | `changed PATH` | makes the kernels ask again for one path |
//! | `load N` | N other clients that each keep one metadata call in the queue |
//! | `quit` | unmounts and ends |
//!
//! Paths are relative to the root of the mounts and hold no white space. Each connection has a thread of its
//! own, so `hang off` gets through while a `drop` waits for a lock that a hanging call holds.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::counters::{self, Kind};
use crate::mount::Mount;
use crate::server::{Failure, Server};

/// What the commands act on.
pub struct Control {
    /// The storage.
    pub server: Arc<Server>,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// Ends the process.
    pub quit: Box<dyn Fn() + Send + Sync>,
}

impl Control {
    /// Takes connections until the process ends.
    pub fn serve(self: Arc<Self>, listener: UnixListener) {
        for connection in listener.incoming().flatten() {
            let control = self.clone();
            std::thread::spawn(move || control.converse(connection));
        }
    }

    fn converse(&self, connection: UnixStream) -> io::Result<()> {
        let mut answers = connection.try_clone()?;
        for line in BufReader::new(connection).lines() {
            let answer = self.obey(&line?).unwrap_or_else(|error| json!({ "error": error }));
            writeln!(answers, "{answer}")?;
        }
        Ok(())
    }

    fn obey(&self, line: &str) -> Result<Value, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["counters"] => return Ok(self.counters()),
            ["settings"] => return Ok(json!(self.server.settings())),
            ["reset"] => self.reset(),
            ["set", ref settings @ ..] => self.set(settings)?,
            ["hang", "on"] => self.server.hang(Path::new("")),
            ["hang", "on", prefix] => self.server.hang(relative(prefix)),
            ["hang", "off"] => self.server.release(),
            ["fail", "off"] => self.server.fail_nothing(),
            ["fail", errno, ref rest @ ..] => self.fail(errno, rest)?,
            ["drop"] => self.mounts.iter().for_each(Mount::drop_caches),
            ["changed", path] => self.mounts.iter().for_each(|mount| mount.changed(relative(path))),
            ["load", clients] => self.server.set_load(clients.parse().map_err(|_| "`load` wants a number")?),
            ["quit"] => (self.quit)(),
            _ => return Err(format!("no such command: `{line}`")),
        }
        Ok(json!({ "ok": true }))
    }

    fn counters(&self) -> Value {
        let each = self.mounts.iter().map(|mount| {
            let mut counters = counters::sum(std::iter::once(&*mount.counters));
            counters.insert("path".into(), mount.path.to_string_lossy().into());
            Value::Object(counters)
        });
        json!({
            "total": counters::sum(self.mounts.iter().map(|mount| &*mount.counters)),
            "mounts": each.collect::<Vec<_>>(),
            "load_calls": self.server.load_calls(),
            "held": self.server.held(),
            "lateness": self.server.lateness.report(),
        })
    }

    fn reset(&self) {
        self.mounts.iter().for_each(|mount| mount.counters.reset());
        self.server.reset_counters();
    }

    fn set(&self, settings: &[&str]) -> Result<(), String> {
        for setting in settings {
            let (name, value) = setting.split_once('=').ok_or("`set` wants NAME=NUMBER")?;
            let value = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
            match name {
                "latency_us" => self.server.change(|settings| settings.latency_us = value),
                "metadata_service_us" => self.server.change(|settings| settings.metadata_service_us = value),
                "bandwidth" => self.server.change(|settings| settings.bandwidth = value),
                _ => return Err(format!("no such setting: `{name}`")),
            }
        }
        Ok(())
    }

    fn fail(&self, errno: &str, rest: &[&str]) -> Result<(), String> {
        let errno = errno_of(errno).ok_or_else(|| format!("no such errno: `{errno}`"))?;
        let prefix = relative(rest.first().unwrap_or(&"")).to_owned();
        let kind = match rest.get(1) {
            None => None,
            Some(name) => Some(Kind::named(name).ok_or_else(|| format!("no such kind of call: `{name}`"))?),
        };
        self.server.fail(Failure { errno, prefix, kind });
        Ok(())
    }
}

/// `/` and `/lib` mean the root of the mounts and what is in it, as ` ` and `lib` do.
fn relative(path: &str) -> &Path {
    Path::new(path.trim_matches('/'))
}

fn errno_of(name: &str) -> Option<i32> {
    let known = [
        ("EPERM", libc::EPERM),
        ("ENOENT", libc::ENOENT),
        ("EINTR", libc::EINTR),
        ("EIO", libc::EIO),
        ("EAGAIN", libc::EAGAIN),
        ("ENOMEM", libc::ENOMEM),
        ("EACCES", libc::EACCES),
        ("EBUSY", libc::EBUSY),
        ("EMFILE", libc::EMFILE),
        ("ESTALE", libc::ESTALE),
        ("ETIMEDOUT", libc::ETIMEDOUT),
        ("EHOSTDOWN", libc::EHOSTDOWN),
        ("ESHUTDOWN", libc::ESHUTDOWN),
    ];
    let found = known.iter().find(|(known, _)| *known == name).map(|(_, errno)| *errno);
    found.or_else(|| name.parse().ok().filter(|errno| (1..4096).contains(errno)))
}
