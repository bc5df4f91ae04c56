//! `netrootfs top`: the status of a mount in a terminal, as it changes, until somebody presses `q`.
//!
//! The mount is read in a thread of its own, so that keys count whatever it does. However this ends, but for SIGKILL, the
//! terminal is what it was before.

use std::io::{self, IsTerminal, Stdout, Write};
use std::panic;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::Terminal;
use ratatui::backend::TermionBackend;
use ratatui::termion::cursor::Show;
use ratatui::termion::event::Key;
use ratatui::termion::input::TermRead;
use ratatui::termion::raw::{IntoRawMode, RawTerminal};
use ratatui::termion::screen::{AlternateScreen, IntoAlternateScreen, ToMainScreen};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::status;
use crate::tree::render::status::Status;

mod view;

use view::View;

/// Time between two looks at the mount.
const INTERVAL: Duration = Duration::from_secs(2);

/// Time between two looks at the size of the terminal.
const FRAME: Duration = Duration::from_millis(250);

/// What happens.
enum News {
    Status(Result<Box<Status>>),
    Key(Key),
    /// There will be no more keys.
    NoKeys,
}

/// Shows it until the end; where there is no terminal, once.
///
/// # Errors
/// If it isn't there any more.
pub fn follow(mountpoint: &Path) -> Result<()> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        let lines = status::lines(mountpoint)?;
        return Ok(io::stdout().write_all(lines.as_bytes())?);
    }
    let view = View::new(status::read(mountpoint)?);
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, ended.clone())?;
    }
    let (sender, news) = channel();
    beside("status", {
        let (mountpoint, sender) = (mountpoint.to_owned(), sender.clone());
        move || look(&mountpoint, &sender)
    })?;
    beside("keys", move || listen(&sender))?;
    restore_before_panics();
    let shown = show(view, &news, &ended);
    io::stdout().flush()?;
    shown
}

fn beside(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).context("a thread").map(drop)
}

fn look(mountpoint: &Path, sender: &Sender<News>) {
    loop {
        thread::sleep(INTERVAL);
        if sender.send(News::Status(status::read(mountpoint).map(Box::new))).is_err() {
            return;
        }
    }
}

fn listen(sender: &Sender<News>) {
    for key in io::stdin().keys().map_while(Result::ok) {
        if sender.send(News::Key(key)).is_err() {
            return;
        }
    }
    let _ = sender.send(News::NoKeys);
}

/// What a panic says belongs on the screen that stays.
fn restore_before_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let mut stdout = io::stdout();
        let _ = write!(stdout, "{Show}{ToMainScreen}").and_then(|()| stdout.flush());
        before(panic);
    }));
}

/// A screen of its own, and each key as it is pressed, until it is dropped.
fn terminal() -> io::Result<Terminal<TermionBackend<AlternateScreen<RawTerminal<Stdout>>>>> {
    let screen = io::stdout().into_raw_mode()?.into_alternate_screen()?;
    Terminal::new(TermionBackend::new(screen))
}

fn show(mut view: View, news: &Receiver<News>, ended: &AtomicBool) -> Result<()> {
    let mut terminal = terminal()?;
    while !ended.load(Ordering::Relaxed) {
        terminal.draw(|frame| view.draw(frame))?;
        match news.recv_timeout(FRAME) {
            Ok(News::Status(status)) => view.take(*status?),
            Ok(News::Key(key)) if view.press(key).is_break() => break,
            Ok(News::NoKeys) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(News::Key(_)) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use testkit::pty::Pty;

    use super::*;

    #[test]
    #[ignore = "the next one runs it in a terminal"]
    fn panics() {
        restore_before_panics();
        let _ = terminal().unwrap().draw(|_| panic!("words of a panic"));
    }

    #[test]
    fn after_a_panic_the_terminal_is_as_it_was() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let words = ["--ignored", "--exact", "--nocapture", "cli::top::tests::panics"];
        let mut pty = Pty::start(command.args(words), 24, 80).unwrap();
        let (status, shown) = pty.wait_for_end().unwrap();
        let (_, after) = shown.split_once("\x1b[?1049l").unwrap_or_else(|| panic!("{shown}"));
        assert!(after.contains("words of a panic"), "{shown}");
        assert!(!status.success() && pty.is_as_before().unwrap(), "{shown}");
    }
}
