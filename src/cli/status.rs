//! `netrootfs status` and `netrootfs top`: what `status.json` of a mount says, for people.
//!
//! Nothing but that file is read, so whoever may read the tree may ask.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::boot::names;
use crate::serve::mountpoint;
use crate::tree::render::status::{self, SCHEMA, Status};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// Clears the rest of a line, and of the screen (ECMA-48, EL and ED); to the upper left corner (CUP).
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";
const HOME: &str = "\x1b[H";

/// The mount point that is meant: the one that is named, or the only one that there is.
///
/// # Errors
/// If there is none, or more than one.
pub fn meant(named: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named);
    }
    match mountpoint::all().as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("no netrootfs is mounted here"),
        more => {
            let names: Vec<String> = more.iter().map(|path| path.display().to_string()).collect();
            bail!("there are several: say which of {}", names.join(", "))
        }
    }
}

/// The text of `status.json`.
///
/// # Errors
/// If that is no mount of netrootfs.
pub fn text(mountpoint: &Path) -> Result<String> {
    let path = mountpoint.join(names::STATUS);
    std::fs::read_to_string(&path)
        .with_context(|| format!("{}: is a netrootfs mounted there?", path.display()))
}

/// What it says, in lines.
///
/// # Errors
/// If it isn't there, or of another version.
pub fn lines(mountpoint: &Path) -> Result<String> {
    let text = text(mountpoint)?;
    let read: Status = serde_json::from_str(&text)
        .with_context(|| format!("{}: not the status of a netrootfs", mountpoint.display()))?;
    if read.schema != SCHEMA {
        bail!(
            "{}: it is served by netrootfs {}, which tells it otherwise",
            mountpoint.display(),
            read.version
        );
    }
    Ok(status::people(&read))
}

/// Shows it until the end; to what is no terminal, once.
///
/// # Errors
/// If it isn't there any more.
pub fn follow(mountpoint: &Path) -> Result<()> {
    let mut stdout = io::stdout().lock();
    loop {
        let lines = lines(mountpoint)?;
        if !stdout.is_terminal() {
            return Ok(stdout.write_all(lines.as_bytes())?);
        }
        let height = rustix::termios::tcgetwinsize(&stdout).map_or(24, |size| usize::from(size.ws_row));
        stdout.write_all(screen(&lines, height).as_bytes())?;
        stdout.flush()?;
        sleep(INTERVAL);
    }
}

/// The lines in the place of those that were there, as many as fit above one for the cursor.
fn screen(lines: &str, height: usize) -> String {
    let shown = lines.lines().take(height.saturating_sub(1));
    let shown: String = shown.map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
    format!("{HOME}{shown}{CLEAR_REST}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_has_no_more_lines_than_fit() {
        assert_eq!(screen("a\nb\nc\n", 3), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(screen("a\n", 0), "\x1b[H\x1b[J");
    }

    #[test]
    fn what_is_no_status_gets_a_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let sentence = || format!("{:#}", lines(directory.path()).unwrap_err());
        assert!(sentence().contains("is a netrootfs mounted there?"), "{}", sentence());
        std::fs::write(directory.path().join("status.json"), "{}").unwrap();
        assert!(sentence().contains("not the status of a netrootfs"), "{}", sentence());
        let other = Status { schema: SCHEMA + 1, version: "9".into(), ..Status::default() };
        std::fs::write(directory.path().join("status.json"), status::json(&other)).unwrap();
        assert!(
            sentence().contains("it is served by netrootfs 9, which tells it otherwise"),
            "{}",
            sentence()
        );
    }
}
