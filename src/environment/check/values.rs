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
    // Bytes that are not UTF-8 cannot be printed as text; the shell's own way to write them is kept for them alone.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/:._-+,@%".contains(byte);
    if value.as_bytes().iter().all(is_plain) {
        return value.to_string_lossy().into_owned();
    }
    let text = value.to_string_lossy();
    match shell {
        Shell::Bash => format!("'{}'", text.replace('\'', r"'\''")),
        Shell::Fish => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")),
        Shell::Csh => format!("'{}'", text.replace('\'', r"'\''").replace('!', r"\!").replace('\n', "\\\n")),
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
    }

    #[test]
    fn bash_itself_agrees() {
        for value in ["/a b", "it's", "$X`y`\"\\", "a\nb", "!x*?[]{}~#"] {
            let line = assignment("X", &[OsStr::new(value)], Shell::Bash);
            let output = std::process::Command::new("bash")
                .args(["-c", &format!("{line}; printf %s \"$X\"")])
                .output();
            assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), value, "{line}");
        }
    }
}
