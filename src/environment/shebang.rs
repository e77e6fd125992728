//! What the first lines of a script say about who runs it.
//!
//! Besides the `#!` line there is pip's and conda's way around its length limit: a shell script whose
//! second line `'''exec' "/long/path/python3" "$0" "$@"` is a string to Python.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Who runs a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program, as written.
    pub program: PathBuf,
    /// What the kernel passes before the script's name: all further words as one, or none.
    pub argument: Option<OsString>,
}

/// Reads the beginning of a file; `None` if it is not a script.
pub fn read(start: &[u8]) -> Option<Interpreter> {
    let mut lines = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n');
    let line = lines.next()?.trim_ascii();
    if let Some(program) = lines.next().and_then(exec_trick) {
        return Some(Interpreter { program, argument: None });
    }
    let length = line.iter().position(|byte| byte.is_ascii_whitespace()).unwrap_or(line.len());
    let (program, argument) = line.split_at(length);
    let argument = argument.trim_ascii();
    (!program.is_empty()).then(|| Interpreter {
        program: OsStr::from_bytes(program).into(),
        argument: (!argument.is_empty()).then(|| OsStr::from_bytes(argument).to_owned()),
    })
}

/// The path in `'''exec' "/path/python3" "$0" "$@"`, quoted or not.
fn exec_trick(line: &[u8]) -> Option<PathBuf> {
    let rest = line.strip_prefix(b"'''exec' ")?;
    let program = match rest.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|&byte| byte == b'"').next()?,
        None => rest.split(|&byte| byte == b' ').next()?,
    };
    (!program.is_empty()).then(|| OsStr::from_bytes(program).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_its_interpreter() {
        type Row<'a> = (&'a [u8], Option<(&'a str, Option<&'a str>)>);
        let cases: [Row; 8] = [
            (b"#!/sw/bin/python3\nimport x", Some(("/sw/bin/python3", None))), // plain
            (b"#! /usr/bin/env python3 \n", Some(("/usr/bin/env", Some("python3")))), // blanks around
            (b"#!/usr/bin/env -S python3 -u\n", Some(("/usr/bin/env", Some("-S python3 -u")))), // one argument
            (b"#!/bin/sh\r\n", Some(("/bin/sh", None))), // written on Windows
            (
                b"#!/bin/sh\n'''exec' \"/very long/python3\" \"$0\" \"$@\"\n' '''",
                Some(("/very long/python3", None)),
            ), // pip
            (b"#!/bin/sh\n'''exec' /long/python3 \"$0\" \"$@\"\n", Some(("/long/python3", None))), // older pip
            (b"\x7fELF\x02", None),                                                                // a binary
            (b"#!\n", None), // nobody named
        ];
        for (start, want) in cases {
            let want = want.map(|(program, argument)| Interpreter {
                program: program.into(),
                argument: argument.map(OsString::from),
            });
            assert_eq!(read(start), want, "{}", String::from_utf8_lossy(start));
        }
    }
}
