//! Where log lines go: to standard error in the foreground, to the journal in the background, or to a file.
//!
//! Whatever they tell of, a terminal that shows them obeys nothing in them: each is one line of printable text.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use env_logger::{Builder, Target};
use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::JournalLog;

use crate::image::printable;

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
    {
        let journal = OurLines(journal.with_syslog_identifier(env!("CARGO_PKG_NAME").into()));
        if log::set_boxed_logger(Box::new(journal)).is_ok() {
            log::set_max_level(level);
            return Ok(());
        }
    }
    let mut builder = Builder::new();
    builder.format(|out, record| {
        let (time, message) = (out.timestamp(), printable::line(&record.args().to_string()));
        writeln!(out, "[{time} {:<5}] {message}", record.level())
    });
    builder.filter(None, LevelFilter::Off).filter(Some(env!("CARGO_PKG_NAME")), level).format_target(false);
    if let Sink::File(path) = sink {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("log file {}", path.display()))?;
        builder.target(Target::Pipe(Box::new(file)));
    }
    // It fails if a logger is set already, which then serves as well.
    let _ = builder.try_init();
    Ok(())
}

/// Lets pass what netrootfs itself logs. Its libraries return what matters; fuser's own lines tell of each reply that came
/// too late for a client that has gone away.
struct OurLines<L>(L);

impl<L: Log> Log for OurLines<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(env!("CARGO_PKG_NAME")) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let message = printable::line(&record.args().to_string());
            let mut line = record.to_builder();
            self.0.log(&line.args(format_args!("{message}")).build());
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}
