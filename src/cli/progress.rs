//! A line on the terminal that says what is under way, where that takes longer than a second; it is gone with the end.
//!
//! It goes to standard error, and only if that is a terminal: no file and no pipe gets any of it.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::thread::{JoinHandle, park_timeout};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::image::printable;

/// What takes less gets no line.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is written anew.
const INTERVAL: Duration = Duration::from_millis(200);

/// Columns that it may take.
const WIDTH: usize = 79;

/// The line.
pub struct Progress {
    /// What it says; `None` ends it.
    line: Arc<Mutex<Option<String>>>,
    writer: Option<JoinHandle<()>>,
}

impl Progress {
    /// On standard error, if that is a terminal.
    pub fn start() -> Self {
        let line = Arc::new(Mutex::new(Some(String::new())));
        let writer = io::stderr().is_terminal().then(|| {
            let line = line.clone();
            std::thread::spawn(move || follow(&line, PATIENCE, &mut io::stderr()))
        });
        Self { line, writer }
    }

    /// Says what is under way now.
    pub fn say(&self, text: impl Into<String>) {
        *self.line.lock() = Some(printable::line(&text.into()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *self.line.lock() = None;
        if let Some(writer) = self.writer.take() {
            writer.thread().unpark();
            let _ = writer.join();
        }
    }
}

fn follow(line: &Mutex<Option<String>>, patience: Duration, out: &mut impl Write) {
    let start = Instant::now();
    let mut shown = String::new();
    loop {
        let Some(text) = line.lock().clone() else { break };
        if start.elapsed() >= patience && text != shown {
            let cut: String = text.chars().take(WIDTH).collect();
            // A terminal that is gone needs no line.
            let _ = write!(out, "\r\x1b[K{cut}").and_then(|()| out.flush());
            shown = text;
        }
        park_timeout(INTERVAL);
    }
    if !shown.is_empty() {
        let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written while a line says `text`, until that is seen or the line has ended.
    fn written(patience: Duration, text: &str) -> String {
        struct Seen<'a>(&'a Mutex<Option<String>>, Vec<u8>);
        impl Write for Seen<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                *self.0.lock() = None;
                self.1.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let line = Mutex::new(Some(text.to_owned()));
        let mut seen = Seen(&line, Vec::new());
        follow(&line, patience, &mut seen);
        String::from_utf8(seen.1).unwrap()
    }

    #[test]
    fn the_line_is_cut_to_the_terminal_s_width_and_taken_away_at_the_end() {
        let text = written(Duration::ZERO, &"x".repeat(200));
        assert_eq!(text, format!("\r\x1b[K{}\r\x1b[K", "x".repeat(79)));
    }

    #[test]
    fn what_is_over_before_it_was_shown_writes_nothing() {
        let mut out = Vec::new();
        follow(&Mutex::new(None), Duration::ZERO, &mut out);
        assert!(out.is_empty());
    }
}
