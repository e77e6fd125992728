//! `spinney man`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

/// Print the manual page
///
/// For example: spinney man | man -l -
#[derive(Debug, Args)]
pub struct ManArgs {}

/// Prints one page for all subcommands on standard output.
pub fn run(_args: &ManArgs) -> ExitCode {
    super::put(page().expect("memory takes all that is written to it"));
    ExitCode::SUCCESS
}

/// The page of the program, then that of each subcommand that is not hidden, as sections of one; subcommands of
/// subcommands too.
fn page() -> io::Result<Vec<u8>> {
    let mut command = super::Cli::command();
    command.build();
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    sections(&command, "SPINNEY", &mut page)?;
    Ok(page)
}

fn sections(command: &Command, name: &str, page: &mut Vec<u8>) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let man = Man::new(subcommand.clone());
        let name = format!("{name} {}", subcommand.get_name().to_uppercase());
        writeln!(page, ".SH {name}")?;
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        man.render_extra_section(page)?;
        sections(subcommand, &name, page)?;
    }
    Ok(())
}
