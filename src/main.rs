//! The `netrootfs` command: parse, do, and end with 0, 1 (it failed, and says why) or 2 (bad usage).

use std::process::ExitCode;

use netrootfs::cli::Cli;
use netrootfs::command;

fn main() -> ExitCode {
    match command::run(Cli::from_args()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("netrootfs: {error:#}");
            ExitCode::FAILURE
        }
    }
}
