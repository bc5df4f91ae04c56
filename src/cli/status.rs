//! `netrootfs status`: what `status.json` of a mount says, for people.
//!
//! Nothing but that file is read, so whoever may read the tree may ask.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::boot::names;
use crate::serve::mountpoint;
use crate::tree::render::status::{self, SCHEMA, Status};

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
/// As [`read`].
pub fn lines(mountpoint: &Path) -> Result<String> {
    Ok(status::people(&read(mountpoint)?))
}

/// What it says.
///
/// # Errors
/// If it isn't there, or of another version.
pub fn read(mountpoint: &Path) -> Result<Status> {
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
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

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
