//! A terminal of a test's own (pty(7)), with a program in it: what it shows, what is typed, how large it is.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::process::{PATIENCE, wait_for};

/// The terminal and the program.
pub struct Pty {
    /// What a person sees and types at.
    master: File,
    /// What the program has.
    terminal: File,
    child: Child,
    shown: Vec<u8>,
    before: Termios,
}

impl Pty {
    /// Starts `command` in a terminal of so many rows and columns.
    pub fn start(command: &mut Command, rows: u16, columns: u16) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = File::from(rustix::fs::open(ptsname(&master, Vec::new())?, flags, Mode::empty())?);
        rustix::io::ioctl_fionbio(&master, true)?;
        let before = tcgetattr(&terminal)?;
        size(&terminal, rows, columns)?;
        command.env("TERM", "xterm-256color");
        for stream in [Command::stdin, Command::stdout, Command::stderr] {
            stream(command, Stdio::from(terminal.try_clone()?));
        }
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        Ok(Self { master: master.into(), terminal, child, shown: Vec::new(), before })
    }

    /// Types it.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Makes it so large.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        size(&self.terminal, rows, columns)
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits until the program has written that, and forgets what it has written so far.
    pub fn wait_for(&mut self, words: &str) -> Result<()> {
        let found = wait_for(&format!("{words:?} on the terminal"), PATIENCE, || {
            self.read();
            Ok(self.shown.windows(words.len()).any(|window| window == words.as_bytes()))
        });
        let shown = std::mem::take(&mut self.shown);
        found.with_context(|| String::from_utf8_lossy(&shown).into_owned())
    }

    /// Waits until the program ends: how, and all that it has written since.
    pub fn wait_for_end(&mut self) -> Result<(ExitStatus, String)> {
        let mut ended = None;
        wait_for("the program's end", PATIENCE, || {
            // It can't end while it can't write.
            self.read();
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        })?;
        self.read();
        let shown = std::mem::take(&mut self.shown);
        Ok((ended.context("its end")?, String::from_utf8_lossy(&shown).into_owned()))
    }

    /// Whether keys come as they are pressed.
    pub fn is_raw(&self) -> Result<bool> {
        Ok(!tcgetattr(&self.terminal)?.local_modes.contains(LocalModes::ICANON))
    }

    /// Whether the terminal's modes are those that it began with.
    pub fn is_as_before(&self) -> Result<bool> {
        let (now, before) = (tcgetattr(&self.terminal)?, &self.before);
        Ok(now.local_modes == before.local_modes
            && now.input_modes == before.input_modes
            && now.output_modes == before.output_modes
            && now.control_modes == before.control_modes)
    }

    fn read(&mut self) {
        // What isn't there yet is an error, too.
        let _ = self.master.read_to_end(&mut self.shown);
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(terminal: &File, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}
