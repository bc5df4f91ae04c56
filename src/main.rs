//! The `netrootfs` command: parse, do, and end with 0, 1 (it failed, and says why) or 2 (bad usage).

use std::process::ExitCode;

use netrootfs::catalog::apart;
use netrootfs::cli::commands;
use netrootfs::cli::options::Cli;
use netrootfs::image::printable;
use netrootfs::serve::broker;
use netrootfs::serve::handover::settings;

fn main() -> ExitCode {
    if apart::LOOK.is_here() {
        return apart::run();
    }
    if broker::BROKER.is_here() {
        return broker::run();
    }
    settings::recall_people();
    match commands::run(Cli::from_args()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("netrootfs: {}", printable::lines(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
