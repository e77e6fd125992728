//! What software an environment consists of, and where it lies.
//!
//! | file | knows |
//! |---|---|
//! | [`mod@find`] | which directories a command's environment is made of: the views chosen when none is named |
//! | [`surroundings`] | what a process is started with: variables, directories |
//! | [`look`] | asking the file system, counted and bounded |
//! | `search` | what was accepted so far, what was left out and why |
//! | `program` | from COMMAND to the interpreter: launchers, `#!` lines, shims |
//! | [`launcher`], `shebang`, `shim` | the three ways a command names another one |
//! | [`python`], `r`, `named` | what makes a directory software: interpreters, markers, variables |
//! | [`bounds`] | what is never a view |
//! | [`bytecode`] | modules that every process would compile again |
//! | [`mounts`] | which file system a path lies on, and whether the network is beneath it |
//! | [`recorded`] | recordings added up, path by path |
//! | [`classes`] | what kinds of software the recorded paths belong to |
//! | [`coverage`] | how much of what there is was used |
//! | [`installed`] | which packages are installed, and by which names they are imported |
//! | [`slim`] | a copy that has what was used and what that cannot do without |
//! | [`told`] | the same as sections of a report |
//! | [`trim`] | which directories cost a start more than they bring, as a section too |
//! | [`check`] | which search paths cost something and bring nothing |
//!
//! Not here: serving a view. This folder never names the data path.

pub mod bounds;
pub mod bytecode;
pub mod check;
pub mod classes;
pub mod coverage;
pub mod find;
pub mod installed;
pub mod launcher;
pub mod look;
pub mod mounts;
mod named;
mod program;
pub mod python;
mod r;
pub mod recorded;
mod search;
mod shebang;
mod shim;
pub mod slim;
pub mod surroundings;
pub mod told;
pub mod trim;

pub use find::{ChosenView, Found, find};
pub use program::program_in_path;
pub use surroundings::Surroundings;
