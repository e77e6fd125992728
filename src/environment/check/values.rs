//! Corrected values, in the safe order, as lines for a shell.
//!
//! Each step takes out one kind of entry and keeps the order of the others: duplicates change nothing, what does not
//! exist cannot be loaded from, stale entries may have been meant. Between steps the job is to be measured again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::Fault;
use super::variables::List;

/// Whose language the lines are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// `bash`, and whoever else knows `export`.
    Bash,
    /// `fish`.
    Fish,
    /// `csh` and `tcsh`.
    Csh,
}

/// The steps: what is taken out and how it is called.
pub const STEPS: [(&[Fault], &str); 3] = [
    (&[Fault::Duplicate], "without duplicates"),
    (&[Fault::Absent, Fault::Empty], "without what does not exist or is empty"),
    (&[Fault::Stale], "without what is stale"),
];

/// The lines of one step for the variables it changes.
pub fn lines(lists: &[List], step: usize, shell: Shell) -> Vec<String> {
    let without =
        |step: usize| STEPS[..step].iter().flat_map(|(faults, _)| faults.iter().copied()).collect::<Vec<_>>();
    let (before, after) = (without(step), without(step + 1));
    let changed = lists.iter().filter(|list| list.without(&before) != list.without(&after));
    changed.map(|list| assignment(list.name, &list.without(&after), shell)).collect()
}

fn assignment(name: &str, entries: &[&OsStr], shell: Shell) -> String {
    if entries.is_empty() {
        return match shell {
            Shell::Bash => format!("unset {name}"),
            Shell::Fish => format!("set -e {name}"),
            Shell::Csh => format!("unsetenv {name}"),
        };
    }
    let value = entries.join(OsStr::new(":"));
    match shell {
        Shell::Bash => format!("export {name}={}", quoted(&value, shell)),
        Shell::Csh => format!("setenv {name} {}", quoted(&value, shell)),
        // Fish keeps variables with such a name as lists and puts the colons in itself.
        Shell::Fish if name.ends_with("PATH") => {
            let entries: Vec<String> = entries.iter().map(|entry| quoted(entry, shell)).collect();
            format!("set -gx {name} {}", entries.join(" "))
        }
        Shell::Fish => format!("set -gx {name} {}", quoted(&value, shell)),
    }
}

/// A word that the shell takes as it is.
fn quoted(value: &OsStr, shell: Shell) -> String {
    let Some(text) = value.to_str().filter(|text| !text.contains(|letter: char| letter.is_control())) else {
        return escaped(value, shell);
    };
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    match shell {
        Shell::Bash => format!("'{}'", text.replace('\'', r"'\''")),
        Shell::Fish => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")),
        Shell::Csh => format!("'{}'", text.replace('\'', r"'\''").replace('!', r"\!")),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/:._-+,@%".contains(&byte)
}

/// The same for bytes that cannot be printed: those that are no text, and control characters, which would break the line.
fn escaped(value: &OsStr, shell: Shell) -> String {
    let bytes = |one: fn(u8) -> String| -> String {
        let word =
            |byte: &u8| if is_plain(*byte) && *byte != b'%' { char::from(*byte).into() } else { one(*byte) };
        value.as_bytes().iter().map(word).collect()
    };
    match shell {
        Shell::Bash => format!("$'{}'", bytes(|byte| format!(r"\{byte:03o}"))),
        Shell::Fish => bytes(|byte| format!(r"\X{byte:02x}")),
        // It has no way of its own.
        Shell::Csh => format!(r#""`printf '{}'`""#, bytes(|byte| format!(r"\{byte:03o}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_through_the_shell_as_it_is() {
        let cases = [
            (Shell::Bash, "X", "/a b/it's", r"export X='/a b/it'\''s'"),
            (Shell::Bash, "X", "/a:/b", "export X=/a:/b"),
            (Shell::Bash, "X", "$HOME", "export X='$HOME'"),
            (Shell::Fish, "R_LIBS", r"/a\'", r"set -gx R_LIBS '/a\\\''"),
            (Shell::Csh, "X", "/a!b", r"setenv X '/a\!b'"),
        ];
        for (shell, name, value, want) in cases {
            assert_eq!(assignment(name, &[OsStr::new(value)], shell), want);
        }
        let two = [OsStr::new("/a"), OsStr::new("/b c")];
        assert_eq!(assignment("PATH", &two, Shell::Fish), "set -gx PATH /a '/b c'");
        assert_eq!(assignment("PATH", &[], Shell::Csh), "unsetenv PATH");
        let working_directory = [OsStr::new("/a"), OsStr::new("")];
        assert_eq!(assignment("PATH", &working_directory, Shell::Fish), "set -gx PATH /a ''");
        assert_eq!(assignment("PATH", &working_directory, Shell::Bash), "export PATH=/a:");
        let bytes = [OsStr::from_bytes(b"/a\xff b\n")];
        assert_eq!(assignment("PATH", &bytes, Shell::Fish), r"set -gx PATH /a\Xff\X20b\X0a");
        assert_eq!(assignment("PATH", &bytes, Shell::Csh), r#"setenv PATH "`printf '/a\377\040b\012'`""#);
    }

    #[test]
    fn bash_itself_agrees() {
        let values: [&[u8]; 7] =
            [b"/a b", b"it's", b"$X`y`\"\\", b"a\nb", b"!x*?[]{}~#", b"", b"/\xff\xfe7%s '\x1b"];
        for value in values {
            let line = assignment("X", &[OsStr::from_bytes(value)], Shell::Bash);
            assert!(!line.contains('\n'), "{line}");
            let output = std::process::Command::new("bash")
                .args(["-c", &format!("{line}; printf %s \"$X\"")])
                .output();
            assert_eq!(output.unwrap().stdout, value, "{line}");
        }
    }
}
