//! The state directory: small files of our own that are kept from one start to the next.
//!
//! It belongs to one daemon at a time. Only regular files are read, and written by a new file in the place of the old one;
//! a symbolic link, pipe or device that has one of our names is never followed, opened for long, or written to. What is
//! not ours is left alone: names are asked for one by one, and only those that a caller knows are removed.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, open, openat, renameat, unlinkat};
use rustix::io::Errno;

/// The file that says whose it is.
const LOCK: &str = "lock";

/// Longest file that is kept in memory until it can be written.
const MOST_OWED: usize = 1 << 20;

/// How long another one is waited for, and how often that is tried.
const PATIENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(20);

/// The directory, which is ours as long as the value is there.
#[derive(Debug)]
pub struct StateDir {
    directory: OwnedFd,
    lock: File,
    /// What could not be written, by name. One new file at a time has the name of new files.
    owed: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl StateDir {
    /// Makes it, if it isn't there, and takes it.
    ///
    /// # Errors
    /// If it can't be made or written, or another has it.
    pub fn take(path: &Path) -> io::Result<Self> {
        Self::take_on(path, None)
    }

    /// The same for who goes on with what another process has begun, whose lock may still be locked.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_on(path: &Path, before: Option<OwnedFd>) -> io::Result<Self> {
        Self::take_with(path, LOCK, before.map(File::from))
    }

    /// The same by another lock, for files that the daemon knows nothing of: whoever has the one leaves the other's alone.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_by(path: &Path, lock: &str) -> io::Result<Self> {
        Self::take_with(path, lock, None)
    }

    fn take_with(path: &Path, lock: &str, before: Option<File>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(path, flags, Mode::empty())?;
        let there = regular(&directory, lock, OFlags::RDWR | OFlags::CREATE)?;
        // A lock is an open file's (flock(2)): through the same one it is locked again.
        let lock = before.filter(|before| is_same(before, &there)).unwrap_or(there);
        claim(&lock)?;
        Ok(Self { directory, lock, owed: Mutex::default() })
    }

    /// What is locked, for who goes on after this process.
    pub fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// A file of it.
    ///
    /// # Errors
    /// If it isn't there, or no regular file.
    pub fn open(&self, name: &str) -> io::Result<File> {
        regular(&self.directory, name, OFlags::RDONLY)
    }

    /// The bytes of a file of it.
    ///
    /// # Errors
    /// If it isn't there, no regular file, or longer than `most` bytes.
    pub fn read(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name)?.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::other(format!("longer than {most} bytes")));
        }
        Ok(bytes)
    }

    /// Puts a file in the place of what has that name.
    ///
    /// # Errors
    /// If it can't be written. [`Self::write_owed`] tries that again.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut owed = self.owed.lock();
        owed.remove(name);
        self.put(name, bytes).inspect_err(|_| {
            if bytes.len() <= MOST_OWED {
                owed.insert(name.to_owned(), bytes.to_vec());
            }
        })
    }

    /// Writes what could not be written before, as far as it can be by now: the disk was full, say.
    pub fn write_owed(&self) {
        self.owed.lock().retain(|name, bytes| self.put(name, bytes).is_err());
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = format!("{name}.new");
        // Left by a daemon that was killed, or somebody else's link.
        let _ = unlinkat(&self.directory, &*new, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.directory, &*new, flags, Mode::from_raw_mode(0o644))?);
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let placed = written.and_then(|()| Ok(renameat(&self.directory, &*new, &self.directory, name)?));
        // Half a file would take of what is short.
        placed.inspect_err(|_| {
            let _ = unlinkat(&self.directory, &*new, AtFlags::empty());
        })
    }

    /// Removes the files whose names the caller knows as its own and wants no more.
    pub fn remove_if(&self, unwanted: impl Fn(&str) -> bool) {
        let entries = rustix::fs::Dir::read_from(&self.directory).into_iter().flatten().flatten();
        let names: Vec<String> =
            entries.filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned())).collect();
        for name in names.iter().filter(|name| unwanted(name)) {
            // One that can't be removed costs some space.
            let _ = unlinkat(&self.directory, &**name, AtFlags::empty());
        }
    }
}

/// Locks it, as soon as a daemon that has just been killed is gone with all that it was about to start.
fn claim(lock: &File) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(AGAIN),
            Err(Errno::WOULDBLOCK) => return Err(io::Error::other("another netrootfs uses it")),
            claimed => return Ok(claimed?),
        }
    }
}

fn is_same(one: &File, other: &File) -> bool {
    let place = |file: &File| file.metadata().map(|stat| (stat.dev(), stat.ino())).ok();
    place(one).is_some_and(|found| place(other) == Some(found))
}

/// Opens a regular file. Without waiting for who writes into a pipe, and without following a link.
fn regular(directory: &OwnedFd, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(directory, name, flags, Mode::from_raw_mode(0o644))?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_could_not_be_written_is_written_when_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::take(directory.path()).unwrap();
        // In the place of a file, which can't be replaced by one.
        let in_the_way = directory.path().join("x");
        std::fs::create_dir(&in_the_way).unwrap();
        state.write("x", b"one").unwrap_err();
        state.write("x", b"two").unwrap_err();
        state.write_owed();
        let names = || std::fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.file_name());
        assert!(names().all(|name| name == "x" || name == LOCK), "half a file is left");
        std::fs::remove_dir(&in_the_way).unwrap();
        state.write_owed();
        assert_eq!(state.read("x", 3).unwrap(), b"two");
        state.write("x", b"three").unwrap();
        state.write_owed();
        assert_eq!(state.read("x", 5).unwrap(), b"three");
    }

    #[test]
    fn what_is_written_is_read_again_and_what_is_not_ours_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let state = StateDir::take(&path).unwrap();
        assert!(state.read("x", 10).is_err());
        state.write("x", b"one").unwrap();
        state.write("x", b"two").unwrap();
        state.write("y", b"three").unwrap();
        assert_eq!(state.read("x", 3).unwrap(), b"two");
        assert!(state.read("x", 2).is_err(), "longer than it may be");
        std::fs::write(path.join("theirs"), "").unwrap();
        state.remove_if(|name| name == "x");
        let mut names: Vec<_> =
            std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["lock", "theirs", "y"]);
    }

    #[test]
    fn one_daemon_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::take(directory.path()).unwrap();
        let error = StateDir::take(directory.path()).unwrap_err();
        assert_eq!(error.to_string(), "another netrootfs uses it");
        std::thread::scope(|scope| {
            let next = scope.spawn(|| StateDir::take(directory.path()).map(drop));
            drop(state);
            next.join().unwrap().unwrap();
        });
        let state = StateDir::take(directory.path()).unwrap();
        StateDir::take_by(directory.path(), "another lock").unwrap();
        drop(state);
        StateDir::take(directory.path()).unwrap();
    }

    #[test]
    fn who_goes_on_with_a_lock_has_the_directory_and_nobody_else_has() {
        let (directory, another) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let state = StateDir::take(directory.path()).unwrap();
        let lock = || Some(state.lock().try_clone_to_owned().unwrap());
        let next = StateDir::take_on(directory.path(), lock()).unwrap();
        next.write("x", b"next").unwrap();
        let elsewhere = StateDir::take_on(another.path(), lock()).unwrap();
        assert!(!is_same(&elsewhere.lock, &state.lock));
        drop(state);
        assert!(StateDir::take(directory.path()).is_err(), "it is still locked");
        drop(next);
        assert_eq!(StateDir::take(directory.path()).unwrap().read("x", 4).unwrap(), b"next");
    }

    #[test]
    fn links_pipes_and_devices_are_neither_followed_nor_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("target"), "theirs").unwrap();
        let pipe = |name: &str| {
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, at(name), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        };
        symlink("target", at("link")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        symlink("target", at("x.new")).unwrap();
        pipe("pipe");
        let state = StateDir::take(directory.path()).unwrap();
        for name in ["link", "device", "pipe"] {
            assert!(state.read(name, 10).is_err(), "{name}");
        }
        for name in ["x", "link", "pipe"] {
            state.write(name, b"ours").unwrap();
            assert_eq!(state.read(name, 10).unwrap(), b"ours");
        }
        assert_eq!(std::fs::read(at("target")).unwrap(), b"theirs");
        drop(state);
        std::fs::remove_file(at("lock")).unwrap();
        symlink("target", at("lock")).unwrap();
        assert!(StateDir::take(directory.path()).is_err());
        std::fs::remove_file(at("lock")).unwrap();
        pipe("lock");
        assert_eq!(StateDir::take(directory.path()).unwrap_err().to_string(), "not a regular file");
    }
}
