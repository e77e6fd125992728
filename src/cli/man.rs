//! `spinney man`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

/// Print the manual page
///
/// For example: spinney man | man -l -
#[derive(Debug, Args)]
pub struct ManArgs {}

/// Prints one page for all subcommands on standard output.
pub fn run(_args: &ManArgs) -> ExitCode {
    match page().and_then(|page| io::stdout().write_all(&page)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE, // a reader that went away, such as `head`
    }
}

/// The page of the program, then that of each subcommand that is not hidden, as sections of one.
fn page() -> io::Result<Vec<u8>> {
    let mut command = super::Cli::command();
    command.build();
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let man = Man::new(subcommand.clone());
        writeln!(page, ".SH SPINNEY {}", subcommand.get_name().to_uppercase())?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        man.render_extra_section(&mut page)?;
    }
    Ok(page)
}
