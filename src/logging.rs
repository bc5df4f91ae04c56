//! Where log lines go: to standard error in the foreground, to the journal in the background, or to a file.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::{Context, Result};
use env_logger::{Builder, Target};
use log::LevelFilter;
use systemd_journal_logger::JournalLog;

/// Where the lines go.
#[derive(Debug, Clone, Copy)]
pub enum Sink<'a> {
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(&'a Path),
    /// systemd's journal; standard error where there is none.
    Journal,
}

/// Sets it up, for the rest of the process. `verbosity`: 0 tells what an administrator should know, 1 adds what was
/// asked for in vain, 2 adds everything.
///
/// # Errors
/// If the file can't be opened.
pub fn start(sink: Sink<'_>, verbosity: u8) -> Result<()> {
    let level = match verbosity {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    if let Sink::Journal = sink
        && let Ok(journal) = JournalLog::new()
        && journal.with_syslog_identifier("netrootfs".into()).install().is_ok()
    {
        // The libraries' own debug lines are of no use to an administrator, hence the journal's level alone.
        log::set_max_level(level);
        return Ok(());
    }
    let mut builder = Builder::new();
    builder.filter(None, LevelFilter::Warn).filter(Some(env!("CARGO_PKG_NAME")), level).format_target(false);
    if let Sink::File(path) = sink {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("log file {}", path.display()))?;
        builder.target(Target::Pipe(Box::new(file)));
    }
    // It fails if a logger is set already, which then serves as well.
    let _ = builder.try_init();
    Ok(())
}
