//! Search paths in files of the environment at hand: `pyvenv.cfg` and `.pth`.
//!
//! Not here: those in compiled modules (`native`).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::active::{self, Active};
use super::{Fault, Finding, variables};

/// What is wrong with the `pyvenv.cfg` of the environment.
pub fn venv(active: &Active) -> Vec<Finding> {
    let Some(config) = active::config(&active.prefix) else { return Vec::new() };
    let mut findings = Vec::new();
    let mut find = |fault, entry: &Path, says: String| {
        findings.push(Finding::new(fault, "pyvenv.cfg", entry.as_os_str().to_owned(), says));
    };
    if let Some(home) = &config.home {
        if !home.is_dir() {
            find(Fault::Absent, home, "the base's programs are gone; Python cannot start".to_owned());
        } else if let Some(library) = &config.library
            && !home.join(library).exists()
        {
            find(Fault::Stale, home, format!("has no `{library}`, which the environment was made with"));
        }
    }
    if let Some(made) = made_at(&active.prefix)
        && super::real(&made) != super::real(&active.prefix)
    {
        let says = "the environment was made there: its scripts still lead there".to_owned();
        find(Fault::Stale, &made, says);
    }
    findings
}

/// What is wrong with the `.pth` files in the package directories; and how many of them run code.
pub fn path_files(active: &Active) -> (Vec<Finding>, usize) {
    let (mut findings, mut running) = (Vec::new(), 0);
    for site in active.site_directories() {
        let mut files: Vec<PathBuf> =
            fs::read_dir(&site).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension() == Some(OsStr::new("pth")));
        files.sort();
        let mut seen = vec![site.clone()];
        for file in files {
            running += usize::from(path_file(&file, &site, active, &mut seen, &mut findings));
        }
    }
    (findings, running)
}

/// Reads one file; whether it runs code.
fn path_file(
    file: &Path,
    site: &Path,
    active: &Active,
    seen: &mut Vec<PathBuf>,
    findings: &mut Vec<Finding>,
) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(text) = active::text(file) else { return false };
    let mut runs = false;
    for line in text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end) {
        if line.starts_with(b"import ") || line.starts_with(b"import\t") {
            runs = true;
            continue;
        }
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let path = site.join(OsStr::from_bytes(line));
        let mut find = |fault, says: String| {
            findings.push(Finding::new(fault, &name, OsStr::from_bytes(line).to_owned(), says));
        };
        match fs::canonicalize(&path) {
            Err(error) => {
                let (fault, says) = super::of_error(&error);
                find(fault, says);
            }
            Ok(real) if seen.contains(&real) => {
                find(Fault::Duplicate, "leads to a directory that is searched already".to_owned());
            }
            Ok(real) => {
                if let Some((fault, says)) = variables::of_another_python(&path, Some(active)) {
                    find(fault, says);
                }
                seen.push(real);
            }
        }
    }
    runs
}

/// The last word of `command = .../python3 -m venv /opt/env` in `pyvenv.cfg`.
fn made_at(prefix: &Path) -> Option<PathBuf> {
    let text = active::text(&prefix.join("pyvenv.cfg"))?;
    let command = text.split(|&byte| byte == b'\n').find_map(|line| {
        let equals = line.iter().position(|&byte| byte == b'=')?;
        (line[..equals].trim_ascii() == b"command").then(|| line[equals + 1..].trim_ascii())
    })?;
    let start = command.windows(3).rposition(|window| window[0] == b' ' && window[1] == b'/')? + 1;
    Some(PathBuf::from(OsStr::from_bytes(&command[start..])))
}
