//! `spinney completions SHELL`.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print completions for a shell
///
/// For example: spinney completions bash > ~/.local/share/bash-completion/completions/spinney
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

/// Prints the completions on standard output.
pub fn run(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "spinney", &mut script);
    super::put(script);
    ExitCode::SUCCESS
}
