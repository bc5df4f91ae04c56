//! Where log lines go: to standard error in the foreground, to the journal or syslog in the background, or to a file.
//!
//! Whatever they tell of, a terminal that shows them obeys nothing in them: each is one line of printable text.

use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use env_logger::{Builder, Target};
use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::JournalLog;

use crate::image::printable;

/// Where the lines go.
#[derive(Debug, Clone, Copy)]
pub enum Sink<'a> {
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(&'a Path),
    /// systemd's journal, or syslog where there is none.
    Journal,
}

/// Sets it up, for the rest of the process. `verbosity`: 0 tells what an administrator should know, 1 adds what was
/// asked for in vain, 2 adds everything.
///
/// # Errors
/// If the file can't be opened.
pub fn start(sink: Sink<'_>, verbosity: u8) -> Result<()> {
    // Standard error may be nowhere.
    std::panic::set_hook(Box::new(|panic| {
        log::error!("an error of netrootfs itself, please report it: {panic}")
    }));
    let level = match verbosity {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    if let Sink::Journal = sink {
        let set = match JournalLog::new() {
            Ok(journal) => {
                let journal = journal.with_syslog_identifier(env!("CARGO_PKG_NAME").into());
                log::set_boxed_logger(Box::new(OurLines(journal)))
            }
            Err(_) => log::set_boxed_logger(Box::new(OurLines(Syslog::open()))),
        };
        if set.is_ok() {
            log::set_max_level(level);
        }
        return Ok(());
    }
    let mut builder = Builder::new();
    builder.format(|out, record| {
        let (time, message) = (out.timestamp(), printable::line(&record.args().to_string()));
        writeln!(out, "[{time} {:<5}] {message}", record.level())
    });
    builder.filter(None, LevelFilter::Off).filter(Some(env!("CARGO_PKG_NAME")), level).format_target(false);
    if let Sink::File(path) = sink {
        let file = LogFile::open(path).with_context(|| format!("log file {}", path.display()))?;
        builder.target(Target::Pipe(Box::new(file)));
    }
    // It fails if a logger is set already, which then serves as well.
    let _ = builder.try_init();
    Ok(())
}

/// Has the log file opened anew before the next line: it may have been renamed (logrotate(8)).
pub fn open_again() {
    OPEN_AGAIN.store(true, Ordering::Relaxed);
}

static OPEN_AGAIN: AtomicBool = AtomicBool::new(false);

/// A log file that can be opened anew.
struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        // In the background the working directory is another.
        let path = std::path::absolute(path)?;
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(&path)?, path })
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Where that can't be, the old one goes on.
        if OPEN_AGAIN.swap(false, Ordering::Relaxed)
            && let Ok(new) = Self::open(&self.path)
        {
            *self = new;
        }
        self.file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// syslog(3), which finds its server again when that has been restarted.
struct Syslog;

impl Syslog {
    fn open() -> Self {
        const NAME: &CStr = c"netrootfs";
        // SAFETY: the name is there for ever.
        unsafe { libc::openlog(NAME.as_ptr(), libc::LOG_PID, libc::LOG_DAEMON) };
        Self
    }
}

impl Log for Syslog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let priority = match record.level() {
            Level::Error => libc::LOG_ERR,
            Level::Warn => libc::LOG_WARNING,
            Level::Info => libc::LOG_INFO,
            Level::Debug | Level::Trace => libc::LOG_DEBUG,
        };
        // No line has a NUL: it is printable.
        if let Ok(line) = CString::new(record.args().to_string()) {
            // SAFETY: both are strings that end with NUL, and the first takes one argument.
            unsafe { libc::syslog(priority, c"%s".as_ptr(), line.as_ptr()) };
        }
    }

    fn flush(&self) {}
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
