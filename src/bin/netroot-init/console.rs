//! Messages for people, in whole sentences, and the one question that they are asked.
//!
//! As the first process everything goes to the kernel's log, and through it to every console: at a level that `quiet` hides,
//! or, for what went wrong, at one that it doesn't. Where the kernel keeps even that from the consoles it is written to
//! `/dev/console` as well. Otherwise it goes to the standard error.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, LocalModes, OptionalActions};

use crate::modules::read;

/// syslog(3): `LOG_NOTICE`, which `quiet` hides, and `LOG_CRIT`, which it doesn't: it hides `LOG_ERR` too where a kernel has
/// `CONFIG_CONSOLE_LOGLEVEL_QUIET=3`.
const NOTICE: u8 = 5;
const CRITICAL: u8 = 2;
/// The kernel takes about 1000 bytes a message; what is longer comes from a server.
const LONGEST: usize = 700;
const KERNEL_LOG: &str = "/dev/kmsg";
const CONSOLE: &str = "/dev/console";
const LEVELS: &str = "/proc/sys/kernel/printk";

static HELD_OPEN: OnceLock<File> = OnceLock::new();

/// Says how things go.
pub fn say(sentence: &str) {
    let _ = speak(NOTICE, sentence);
}

/// Says what went wrong.
pub fn complain(sentence: &str) {
    let logged = speak(CRITICAL, sentence);
    if logged && first_process() && !is_shown(CRITICAL, &read(LEVELS)) {
        let line = format!("netroot: {}\r\n", printable(sentence));
        // Where there is no console there is nobody to hear it.
        let _ = File::options().write(true).open(CONSOLE).and_then(|mut it| it.write_all(line.as_bytes()));
    }
}

/// Whether the kernel shows messages of a level on its consoles: `levels` begins with the first that it doesn't show
/// (Documentation/admin-guide/sysctl/kernel.rst, `printk`).
fn is_shown(level: u8, levels: &str) -> bool {
    let hidden = levels.split_whitespace().next().and_then(|number| number.parse().ok());
    hidden.is_some_and(|hidden: u8| level < hidden)
}

/// Keeps the kernel's log open, for when `/dev` is out of sight.
pub fn hold_open() -> io::Result<()> {
    let log = File::options().write(true).open(KERNEL_LOG)?;
    let _ = HELD_OPEN.set(log);
    Ok(())
}

/// Says it; whether that went into the kernel's log.
fn speak(level: u8, sentence: &str) -> bool {
    let sentence = printable(sentence);
    let line = format!("<{level}>netroot: {sentence}\n");
    let written = match HELD_OPEN.get() {
        Some(mut log) => log.write_all(line.as_bytes()),
        // Opened anew each time, because the kernel limits the rate of each opening.
        None if first_process() => {
            File::options().write(true).open(KERNEL_LOG).and_then(|mut log| log.write_all(line.as_bytes()))
        }
        None => Err(io::ErrorKind::Unsupported.into()),
    };
    if written.is_err() {
        let _ = writeln!(io::stderr(), "netroot: {sentence}");
    }
    written.is_ok()
}

/// One line without control characters: some of it may be a server's words.
fn printable(text: &str) -> String {
    text.chars().take(LONGEST).map(|symbol| if symbol.is_control() { ' ' } else { symbol }).collect()
}

/// Whether this is process 1.
pub fn first_process() -> bool {
    std::process::id() == 1
}

/// An answer to the question after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Retry,
    GoOn,
    Shell,
    Reboot,
}

/// The keys of a question.
fn choice_of(key: u8) -> Option<Choice> {
    match key.to_ascii_lowercase() {
        b'r' | b'\r' | b'\n' => Some(Choice::Retry),
        b'i' => Some(Choice::GoOn),
        b's' => Some(Choice::Shell),
        b'b' => Some(Choice::Reboot),
        _ => None,
    }
}

/// Waits for one of the keys of `offered` on the console; `None` when `patience` is over.
pub fn ask(offered: &[Choice], patience: Duration) -> Option<Choice> {
    let console = io::stdin();
    let _raw = Raw::new();
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let timeout =
            Timespec { tv_sec: i64::try_from(left.as_secs()).ok()?, tv_nsec: left.subsec_nanos().into() };
        let mut key = [0];
        let mut ready = [PollFd::new(&console, PollFlags::IN)];
        match poll(&mut ready, Some(&timeout)) {
            Ok(0) => return None,
            Ok(_) if matches!(console.lock().read(&mut key), Ok(1)) => {}
            Err(rustix::io::Errno::INTR) => continue,
            // There is nobody at this console.
            _ => {
                std::thread::sleep(left);
                return None;
            }
        }
        if let Some(choice) = choice_of(key[0]).filter(|choice| offered.contains(choice)) {
            return Some(choice);
        }
    }
}

/// The console without line editing, so that a key counts when it is pressed; as it was before when dropped.
struct Raw(Option<termios::Termios>);

impl Raw {
    fn new() -> Self {
        let console = io::stdin();
        let before = termios::tcgetattr(console.as_fd()).ok();
        if let Some(mut now) = before.clone() {
            now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = termios::tcsetattr(console.as_fd(), OptionalActions::Flush, &now);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(io::stdin().as_fd(), OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_stay_on_one_line() {
        assert_eq!(printable("no\n<0>such\x1b[2J export"), "no <0>such [2J export");
        assert_eq!(printable(&"x".repeat(5000)).len(), LONGEST);
    }

    #[test]
    fn what_the_kernel_hides_is_told_from_what_it_shows() {
        assert!(is_shown(CRITICAL, "3\t4\t1\t7\n"), "quiet, where that is 3");
        assert!(!is_shown(CRITICAL, "2\t4\t1\t7\n"));
        assert!(!is_shown(CRITICAL, ""), "without /proc nobody knows");
    }

    #[test]
    fn enter_tries_again() {
        assert_eq!(choice_of(b'\r'), Some(Choice::Retry));
        assert_eq!(choice_of(b'I'), Some(Choice::GoOn));
        assert_eq!(choice_of(b'x'), None);
    }
}
