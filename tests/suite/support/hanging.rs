//! A file system that shows a directory and hangs on command, or has errors: a file server that doesn't answer, a disk that
//! can't be read.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, Request, SessionACL,
};

/// Then it goes on in any case, so that a test that has failed comes to its end; that something has waited for so long fails it.
const LONGEST: Duration = Duration::from_secs(90);

/// What can be waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Hang {
    /// The listing.
    List,
    /// Opening a file of that name.
    Open(String),
    /// Reading one.
    Read(String),
    /// Asking for the attributes of one.
    Stat(String),
    /// Closing one.
    Close(String),
}

/// What hangs now, and how many requests do.
#[derive(Default)]
struct Gates {
    closed: Mutex<(HashSet<Hang>, usize)>,
    changed: Condvar,
    waited_too_long: AtomicBool,
    /// Bytes of a file that can't be read.
    unreadable: Mutex<Option<(String, Range<u64>)>>,
}

impl Gates {
    fn is_unreadable(&self, path: &Path, wanted: Range<u64>) -> bool {
        let unreadable = self.unreadable.lock().unwrap();
        unreadable.as_ref().is_some_and(|(name, bytes)| {
            path.ends_with(name) && bytes.start < wanted.end && wanted.start < bytes.end
        })
    }
}

/// The mount; what hangs goes on when it goes.
pub struct Hanging {
    gates: Arc<Gates>,
    mountpoint: PathBuf,
    session: Option<BackgroundSession>,
}

impl Hanging {
    /// Shows `source` at `mountpoint`.
    pub fn mount(source: &Path, mountpoint: &Path) -> Self {
        let gates = Arc::<Gates>::default();
        let shown = Shown { source: source.to_owned(), gates: gates.clone(), names: Arc::default() };
        let mut options = fuser::Config::default();
        options.mount_options = vec![MountOption::RO, MountOption::FSName("hanging".into())];
        options.acl = SessionACL::All;
        let session = fuser::spawn_mount(shown, mountpoint, &options).expect("a file system that hangs");
        Self { gates, mountpoint: mountpoint.to_owned(), session: Some(session) }
    }

    /// Lets it hang from now on.
    pub fn hang(&self, what: Hang) {
        self.gates.closed.lock().unwrap().0.insert(what);
    }

    /// Has errors in these bytes of a file, or in none.
    pub fn unreadable(&self, what: Option<(&str, Range<u64>)>) {
        *self.gates.unreadable.lock().unwrap() = what.map(|(name, bytes)| (name.to_owned(), bytes));
    }

    /// How many requests hang.
    pub fn hung(&self) -> usize {
        self.gates.closed.lock().unwrap().1
    }

    /// Lets all go on.
    pub fn release(&self) {
        let late = self.gates.waited_too_long.load(Ordering::Relaxed);
        assert!(!late || std::thread::panicking(), "what was to go on has waited for what hangs");
        self.gates.closed.lock().unwrap().0.clear();
        self.gates.changed.notify_all();
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.release();
        // Whoever has just been let go may have a file open, and the library's own unmount would find it busy.
        let _ = rustix::mount::unmount(&self.mountpoint, rustix::mount::UnmountFlags::DETACH);
        drop(self.session.take());
    }
}

/// The directory that is shown. Inode 1 is itself, and the others are numbered as they are met.
struct Shown {
    source: PathBuf,
    gates: Arc<Gates>,
    names: Arc<Mutex<Vec<OsString>>>,
}

impl Shown {
    fn path(&self, ino: INodeNo) -> PathBuf {
        let names = self.names.lock().unwrap();
        match ino.0.checked_sub(2).and_then(|at| names.get(at as usize)) {
            Some(name) => self.source.join(name),
            None => self.source.clone(),
        }
    }

    fn number(&self, name: &OsStr) -> u64 {
        let mut names = self.names.lock().unwrap();
        let at = names.iter().position(|other| other == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        at as u64 + 2
    }

    /// Answers at once, or when it doesn't hang any more.
    fn answer(&self, path: &Path, what: fn(String) -> Hang, answer: impl FnOnce() + Send + 'static) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (what, gates) = (what(name), self.gates.clone());
        if !gates.closed.lock().unwrap().0.contains(&what) {
            return answer();
        }
        std::thread::spawn(move || {
            let mut closed = gates.closed.lock().unwrap();
            closed.1 += 1;
            let deadline = Instant::now() + LONGEST;
            while closed.0.contains(&what) && Instant::now() < deadline {
                closed = gates.changed.wait_timeout(closed, LONGEST).unwrap().0;
            }
            gates.waited_too_long.fetch_or(closed.0.contains(&what), Ordering::Relaxed);
            closed.1 -= 1;
            drop(closed);
            answer();
        });
    }
}

fn attr(path: &Path, ino: u64) -> Result<FileAttr, Errno> {
    let stat = fs::metadata(path).map_err(|_| Errno::ENOENT)?;
    let time = |seconds: i64, rest: i64| {
        SystemTime::UNIX_EPOCH + Duration::new(seconds.unsigned_abs(), u32::try_from(rest).unwrap_or(0))
    };
    let (mtime, ctime) = (time(stat.mtime(), stat.mtime_nsec()), time(stat.ctime(), stat.ctime_nsec()));
    Ok(FileAttr {
        ino: INodeNo(ino),
        size: stat.len(),
        blocks: stat.blocks(),
        atime: mtime,
        mtime,
        ctime,
        crtime: mtime,
        kind: if stat.is_dir() { FileType::Directory } else { FileType::RegularFile },
        perm: if stat.is_dir() { 0o755 } else { 0o644 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

impl Filesystem for Shown {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (path, ino) = (self.source.join(name), self.number(name));
        self.answer(&path.clone(), Hang::Stat, move || match attr(&path, ino) {
            Ok(attr) => reply.entry(&Duration::ZERO, &attr, Generation(0)),
            Err(errno) => reply.error(errno),
        });
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let path = self.path(ino);
        self.answer(&path.clone(), Hang::Stat, move || match attr(&path, ino.0) {
            Ok(attr) => reply.attr(&Duration::ZERO, &attr),
            Err(errno) => reply.error(errno),
        });
    }

    fn open(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.answer(&self.path(ino), Hang::Open, move || {
            // Each read is a request: the kernel's own read-ahead would stop at so many, for all files.
            reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO)
        });
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let path = self.path(ino);
        if self.gates.is_unreadable(&path, offset..offset + u64::from(size)) {
            return reply.error(Errno::EIO);
        }
        self.answer(&path.clone(), Hang::Read, move || {
            let mut bytes = vec![0; size as usize];
            let read = File::open(&path).and_then(|file| {
                let mut done = 0;
                while done < bytes.len() {
                    match file.read_at(&mut bytes[done..], offset + done as u64)? {
                        0 => break,
                        more => done += more,
                    }
                }
                Ok(done)
            });
            match read {
                Ok(len) => reply.data(&bytes[..len]),
                Err(_) => reply.error(Errno::EIO),
            }
        });
    }

    fn flush(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.answer(&self.path(ino), Hang::Close, move || reply.ok());
    }

    fn readdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entries = fs::read_dir(&self.source).expect("the directory that is shown").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        let entries: Vec<_> = names.into_iter().map(|name| (self.number(&name), name)).collect();
        self.answer(
            &self.source.clone(),
            |_| Hang::List,
            move || {
                for (at, (ino, name)) in entries.iter().enumerate().skip(offset as usize) {
                    if reply.add(INodeNo(*ino), at as u64 + 1, FileType::RegularFile, name) {
                        break;
                    }
                }
                reply.ok();
            },
        );
    }
}
