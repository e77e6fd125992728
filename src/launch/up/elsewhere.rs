//! Whether the service is up, seen from a host outside the allocation: it is asked on the first node.
//!
//! There the same flags say which service is meant, and what it should be like; the answer is a word for a program.
//!
//! Not here: how it is started there (`services::outside`), what it should be like (`up`).

use std::ffi::OsString;
use std::process::Stdio;

use super::There;
use crate::cluster::launchers::Launch;
use crate::enter::Request;
use crate::enter::failure::Failure;
use crate::services::outside;

/// It is up, as it is wanted.
const UP: &str = "up";

/// Nothing is there any more.
const NOTHING: &str = "nothing";

/// Another one is there.
const OTHER: &str = "other";

/// Whether the first node says that it is up; no, if this machine would see it itself, or nobody answers. `words` are the
/// flags of `up`.
///
/// # Errors
/// [`Failure::UpAlready`].
pub(super) fn is_up(words: &[OsString]) -> Result<bool, Failure> {
    let arguments = ["up", "--look"].map(OsString::from).into_iter().chain(words.iter().cloned());
    let Some(mut command) = outside::on_first_node(arguments)? else { return Ok(false) };
    // What people should know comes through the other stream.
    let said = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?.stdout;
    match String::from_utf8_lossy(&said).trim() {
        UP => Ok(true),
        OTHER => Err(Failure::UpAlready),
        _ => Ok(false), // what is wrong there the step will meet and tell
    }
}

/// The word for it, on this node; with what `spinney up` was asked for.
///
/// # Errors
/// A view is not usable.
pub fn look(request: &Request) -> Result<&'static str, Failure> {
    let there = There::of_a_step(request, &Launch::of_environment())?;
    match there.is_as_wanted(request.talk) {
        Ok(true) => Ok(UP),
        Ok(false) => Ok(NOTHING),
        Err(Failure::UpAlready) => Ok(OTHER),
        Err(failure) => Err(failure),
    }
}
