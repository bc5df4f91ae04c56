//! The configuration file on its disk: read at the start, and again when it has changed.
//!
//! What is broken or gone later leaves what was read before. A file that is being written is left alone until it is whole,
//! since half a TOML file may be a sound one.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Config, Fault};
use crate::catalog::scan::FileId;
use crate::storage::writers::{self, Writers};

/// Longest file in bytes: several times the most machines with all their choices. A wrong path may be an ISO.
const MAX_LEN: u64 = 4 << 20;

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read.
    #[error("{}: {fault}", path.display())]
    Unreadable {
        /// Where it lies.
        path: PathBuf,
        /// The system's word for it.
        fault: io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {fault}", path.display())]
    Broken {
        /// Where it lies.
        path: PathBuf,
        /// Where in it, and why.
        fault: Fault,
    },
}

/// A configuration file that is followed.
pub struct Followed {
    path: PathBuf,
    /// Its text, as it was read last.
    text: String,
    /// The version that was read, or found broken.
    seen: Option<FileId>,
    /// The last thing that was wrong, so that it is said once.
    said: Option<String>,
    writers: Writers,
    config: Arc<Config>,
    pending: bool,
}

/// The outcome of a look at the file.
#[derive(Debug)]
pub enum Look {
    /// It is as before, or not yet whole.
    Same,
    /// It says something else.
    New,
    /// It can't be used, for a new reason.
    Broken(String),
}

/// Reads a configuration file.
///
/// # Errors
/// With file, line and reason.
pub fn load(path: &Path) -> Result<Config, Error> {
    let unreadable = |fault| Error::Unreadable { path: path.to_owned(), fault };
    let file = open(path).map_err(unreadable)?;
    Ok(read(path, &file)?.0)
}

/// Opens a regular file; a pipe would be waited for, and a device may do anything.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

fn read(path: &Path, file: &File) -> Result<(Config, String), Error> {
    let unreadable = |fault| Error::Unreadable { path: path.to_owned(), fault };
    let mut bytes = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(unreadable(io::Error::other(format!("longer than {MAX_LEN} bytes"))));
    }
    let config =
        Config::from_bytes(&bytes).map_err(|fault| Error::Broken { path: path.to_owned(), fault })?;
    Ok((config, String::from_utf8_lossy(&bytes).into_owned()))
}

impl Followed {
    /// Reads the file for the first time. Without one, everything is as the command line says.
    ///
    /// # Errors
    /// With file, line and reason.
    pub fn start(path: PathBuf) -> Result<Self, Error> {
        let unreadable = |fault| Error::Unreadable { path: path.clone(), fault };
        let file = open(&path).map_err(unreadable)?;
        let seen = FileId::of(&file.metadata().map_err(unreadable)?);
        let (config, text) = read(&path, &file)?;
        Ok(Self::with(path, text, config, Some(seen)))
    }

    /// Goes on with what the file said, where it can't be used now: [`Followed::look`] says why.
    ///
    /// # Errors
    /// If that was no configuration.
    pub fn start_as_before(path: PathBuf, text: String) -> Result<Self, Fault> {
        let config = Config::parse(&text)?;
        Ok(Self::with(path, text, config, None))
    }

    fn with(path: PathBuf, text: String, config: Config, seen: Option<FileId>) -> Self {
        let (config, writers) = (Arc::new(config), Writers::default());
        Self { path, text, seen, said: None, writers, config, pending: false }
    }

    /// Its text, as it was read last.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its choices.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has to be looked at often: it is being written, or lies where changes go unnoticed.
    pub fn restless(&self) -> bool {
        let link = || self.path.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
        let remote = || open(&self.path).is_ok_and(|file| writers::is_remote(&file));
        self.pending || link() || remote()
    }

    /// Looks whether it has changed, and reads it if so.
    pub fn look(&mut self) -> Look {
        self.pending = false;
        match self.changed() {
            Ok(None) => Look::Same,
            Ok(Some((config, text))) => {
                self.said = None;
                self.text = text;
                let config = Arc::new(config);
                let same = config == self.config;
                self.config = config;
                if same { Look::Same } else { Look::New }
            }
            Err(error) => {
                let sentence = error.to_string();
                if self.said.as_ref() == Some(&sentence) {
                    return Look::Same;
                }
                self.said = Some(sentence.clone());
                Look::Broken(sentence)
            }
        }
    }

    fn changed(&mut self) -> Result<Option<(Config, String)>, Error> {
        let path = self.path.clone();
        let unreadable = |fault| Error::Unreadable { path: path.clone(), fault };
        let stat = std::fs::metadata(&path).map_err(unreadable)?;
        if self.seen == Some(FileId::of(&stat)) {
            return Ok(None);
        }
        let file = open(&path).map_err(unreadable)?;
        if self.writers.check(&file).map_err(unreadable)?.is_some() {
            self.pending = true;
            return Ok(None);
        }
        self.seen = Some(FileId::of(&file.metadata().map_err(unreadable)?));
        read(&path, &file).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    const ONE: &str = "[defaults]\ntimeout = 1\n";
    const TWO: &str = "[defaults]\ntimeout = 2\n";

    /// Replaces the file as an editor does: another inode under the same name.
    fn replace(path: &Path, text: &str) {
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        // Where leases don't tell, only a file that is not new is whole.
        let yesterday = SystemTime::now() - Duration::from_secs(86_400);
        File::options().write(true).open(&new).unwrap().set_modified(yesterday).unwrap();
        std::fs::rename(&new, path).unwrap();
    }

    fn timeout(followed: &Followed) -> Option<u32> {
        followed.config().defaults.timeout
    }

    #[test]
    fn a_change_is_read_and_a_fault_keeps_what_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netrootfs.toml");
        replace(&path, ONE);
        let mut followed = Followed::start(path.clone()).unwrap();
        assert!(matches!(followed.look(), Look::Same));
        replace(&path, TWO);
        assert!(matches!(followed.look(), Look::New));
        assert_eq!(timeout(&followed), Some(2));

        replace(&path, "[defaults]\ntimeut = 3\n");
        let Look::Broken(sentence) = followed.look() else { panic!("it is broken") };
        let expected = format!("{}: line 2: unknown field `timeut`, expected one of", path.display());
        assert!(sentence.starts_with(&expected), "{sentence}");
        assert!(matches!(followed.look(), Look::Same), "said once");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(followed.look(), Look::Broken(_)));
        assert!(matches!(followed.look(), Look::Same), "said once");
        assert_eq!(timeout(&followed), Some(2));

        replace(&path, ONE);
        assert!(matches!(followed.look(), Look::New));
        replace(&path, "# the same\n[defaults]\ntimeout = 1\n");
        assert!(matches!(followed.look(), Look::Same), "nothing else is said");
    }

    #[test]
    fn a_file_that_is_written_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netrootfs.toml");
        replace(&path, ONE);
        let mut followed = Followed::start(path.clone()).unwrap();
        let writer = File::create(&path).unwrap();
        assert!(matches!(followed.look(), Look::Same));
        assert!(followed.restless());
        assert_eq!(timeout(&followed), Some(1));
        drop(writer);
        replace(&path, TWO);
        assert!(matches!(followed.look(), Look::New));
    }

    #[test]
    fn what_is_no_configuration_stops_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let refusal = || load(&path).unwrap_err().to_string();
        assert_eq!(refusal(), format!("{}: No such file or directory (os error 2)", path.display()));
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(refusal(), format!("{}: it is not a regular file", path.display()));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, vec![b'#'; 5 << 20]).unwrap();
        assert_eq!(refusal(), format!("{}: longer than 4194304 bytes", path.display()));
        std::fs::write(&path, "a = 1").unwrap();
        assert!(refusal().starts_with(&format!("{}: line 1: unknown field `a`", path.display())));
    }
}
