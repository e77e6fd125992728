//! `spinney track filter`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::track::filter::Filter;
use crate::track::{filter_file, lint};

/// Try the rules that say which imports are kept
#[derive(Debug, Args)]
pub struct FilterArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what becomes of an import, and which rule decided
    ///
    /// The exit code is 0 if it is kept, 1 if not.
    Test {
        /// The rules, TOML or XALT's Config.py [default: those built in]
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
        /// The program that imports: python, or another
        #[arg(long, value_name = "NAME", default_value = "python")]
        program: String,
        /// Full name of the module or package
        name: String,
        /// Where it lies
        path: Option<String>,
    },
    /// Name rules that can never decide, and those that first match and longest match disagree on
    ///
    /// The exit code is 1 if there are any.
    Lint {
        /// The rules, TOML or XALT's Config.py
        #[arg(value_name = "FILE")]
        rules: PathBuf,
    },
}

/// 0 if it is kept, or if there is nothing to say.
pub fn run(args: &FilterArgs) -> ExitCode {
    match &args.command {
        Command::Test { rules, program, name, path } => {
            let filter = match rules.as_deref().map_or_else(|| Ok(Filter::default()), read) {
                Ok(filter) => filter,
                Err(code) => return code,
            };
            if program == "python" && path.as_deref().is_some_and(|path| filter.leaves_out(path)) {
                crate::cli::put(
                    "skipped: a module of Python itself, before any rule (`standard_library = false`)\n",
                );
                return ExitCode::FAILURE;
            }
            let verdict = match program.as_str() {
                "python" => filter.python(name, path.as_deref()),
                _ => filter.package(program, name, path.as_deref()),
            };
            let said = if verdict.is_kept { "kept" } else { "skipped" };
            crate::cli::put(match verdict.rule {
                Some(rule) => format!("{said}: {rule}\n"),
                None => format!("{said}: no rule matches\n"),
            });
            if verdict.is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Command::Lint { rules } => match read(rules) {
            Ok(filter) => {
                let found = lint::lint(&filter);
                crate::cli::put_lines(&found);
                if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(code) => code,
        },
    }
}

fn read(rules: &Path) -> Result<Filter, ExitCode> {
    filter_file::read(rules).map_err(|error| {
        eprintln!("spinney: {}: {error}", rules.display());
        ExitCode::from(2)
    })
}
