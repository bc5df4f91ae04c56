//! FUSE on one side, [`Operations`] on the other: each method is one call, one conversion and, on failure, one line of log.
//!
//! Where the kernel can read the bytes of a file by itself, it is given the file that it needs for that, and asks no more.
//!
//! A panic in a method would end its event loop and with it the mount; it is caught here and answered with EIO. What
//! would have to look into an ISO first is done beside the event loops, so that readers of other files don't wait for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use crate::catalog::config::question::Question;
use crate::serve::clients::{Clients, Who};
use crate::serve::failures::Failures;
use crate::serve::handover::ledger::Left;
use crate::serve::operations::{Error, Operations};
use crate::serve::slow_operations::SlowOperations;
use crate::serve::usage::{Failure, Usage};
use crate::storage::passthrough::DataPath;
use crate::tree::arena::{Kind, Node};
use crate::tree::lazy::Type;

pub mod backing;
mod buffer;
mod io_mode;
mod opening;

use backing::{Backing, Backings};
use buffer::Buffer;
use io_mode::IoModes;
use opening::{Asker, Opening};

/// How long the kernel may use a name or attributes without asking again. Names that change are invalidated at once;
/// this bounds what a look-up that overtakes the invalidation can do.
const TTL: Duration = Duration::from_secs(1);

/// How long it may use the name of what is another file the next time ([`Kind::Moment`]).
const NO_TIME: Duration = Duration::ZERO;

/// Requests that the kernel keeps in flight for read-ahead, of all files together: with 64, twenty readers of an ISO that
/// hangs held up those of all others. Fewer than 64 also made readers of disks slower.
const MAX_BACKGROUND: u16 = 8192;

/// File systems that may lie above one another: an EROFS image over an ISO, and this one over it. It is the most that
/// there may be (FILESYSTEM_MAX_STACK_DEPTH), so nothing can be stacked on this one while it hands files over.
const STACK_DEPTH: u32 = 2;

/// The log of what fails.
static FAILURES: LazyLock<Failures> = LazyLock::new(Failures::default);

thread_local! {
    /// Each thread's buffer.
    static BUFFER: RefCell<Buffer> = RefCell::default();
}

/// Longest file name (NAME_MAX).
const NAME_MAX: u32 = 255;

/// Who owns the files, and their permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits of files; directories can be searched by whom files can be read by.
    pub mode: u16,
}

/// The adapter; clones serve the same mount by other devices.
#[derive(Clone)]
pub struct Adapter {
    operations: Arc<Operations>,
    owner: Owner,
    slow: Arc<SlowOperations>,
    io_modes: Arc<IoModes<Backing>>,
    backings: Arc<Backings>,
    /// Whether files are handed to the kernel, and how much depends on it.
    hand_over: Option<DataPath>,
    agreed: Arc<OnceLock<Agreed>>,
    /// Whether it has been said that the kernel doesn't take them.
    refused: Arc<AtomicBool>,
    /// The machines behind those who ask.
    clients: Arc<Clients>,
}

/// The agreement with the kernel when the mount was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// It takes backing files.
    pub passthrough: bool,
    /// It sends again what was read and not answered.
    pub resends: bool,
}

impl Adapter {
    /// Serves `fs` with files owned as `owner` says, and hands over to the kernel what it can read by itself if
    /// `hand_over` says so.
    ///
    /// `loops` is the number of event loops.
    pub fn new(
        operations: Arc<Operations>,
        owner: Owner,
        hand_over: Option<DataPath>,
        backings: Backings,
        loops: usize,
    ) -> Self {
        let (slow, io_modes) = (Arc::new(SlowOperations::new(loops)), Arc::new(IoModes::new()));
        let (backings, agreed) = (Arc::new(backings), Arc::default());
        let (refused, clients) = (Arc::default(), Arc::default());
        Self { operations, owner, slow, io_modes, backings, hand_over, agreed, refused, clients }
    }

    /// The machines behind those who ask.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Serves a mount that was made by a process before this one, with what it has left.
    pub fn adopt(&self, agreed: Agreed, left: &Left) {
        // Nobody has agreed on anything before.
        let _ = self.agreed.set(agreed);
        let mut files: HashMap<u64, (u64, usize)> = HashMap::new();
        for file in &left.files {
            files.entry(file.ino).or_insert((file.handle, 0)).1 += 1;
        }
        for (&ino, &(handle, count)) in &files {
            // It can be reached as long as somebody reads it.
            let file = || self.operations.file(handle).ok().flatten();
            let backing = left.backings.get(&ino).map(|id| self.backings.adopt(ino, *id, file()));
            self.io_modes.adopt(ino, backing, count);
        }
        if agreed.passthrough {
            self.backings.end(&left.ending, left.last_backing);
        }
    }

    /// What a loader or netroot-init asks with a name, if it is one of those by which they name their machine.
    fn question(&self, parent: INodeNo, name: &OsStr) -> Option<Question> {
        let question = Question::parse(name.to_str()?)?;
        question.is_asked_in(&self.operations.tree().path(parent.0)?).then_some(question)
    }

    /// The device by which the kernel is given files.
    pub fn set_device(&self, device: OwnedFd) {
        self.backings.set_device(device);
    }

    /// The agreement.
    pub fn agreed(&self) -> Agreed {
        self.agreed.get().copied().unwrap_or(Agreed { passthrough: false, resends: false })
    }
}

impl Owner {
    fn attr(&self, node: &Node) -> FileAttr {
        // Whoever may read may search a directory, or execute what can be executed.
        let readers = (self.mode & 0o444) >> 2;
        let (size, perm, nlink) = match &node.kind {
            Kind::File(content) | Kind::Moment(content) => (content.size(), self.mode, 1),
            Kind::Live(_) => (0, self.mode, 1),
            Kind::Unopened(file) => (file.size(), self.mode | file.execute() & readers, 1),
            Kind::Link(target) => (target.len() as u64, 0o777, 1),
            Kind::Directory(_) | Kind::Lazy(_) => (0, self.mode | readers, 2),
        };
        FileAttr {
            ino: INodeNo(node.ino),
            size,
            blocks: size.div_ceil(512),
            atime: node.mtime,
            mtime: node.mtime,
            ctime: node.mtime,
            crtime: node.mtime,
            kind: file_type(node.file_type()),
            perm,
            nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

fn file_type(kind: Type) -> FileType {
    match kind {
        Type::Directory => FileType::Directory,
        Type::File => FileType::RegularFile,
        Type::Link => FileType::Symlink,
    }
}

/// Runs an operation, and logs what goes wrong.
fn run<T>(
    usage: &Usage,
    operation: &'static str,
    ino: INodeNo,
    name: &str,
    call: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Errno> {
    let what = || format!("{operation} inode {} {name:?}", ino.0);
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            usage.failed(error.kind());
            match error.level() {
                log::Level::Debug => log::debug!("{}: {error}", what()),
                level => FAILURES.tell(level, (operation, ino.0), &error.to_string(), what),
            }
            Err(Errno::from_i32(error.errno()))
        }
        Err(_) => {
            usage.failed(Failure::Internal);
            log::error!("{}: internal error, see above", what());
            Err(Errno::EIO)
        }
    }
}

/// Answers a look-up.
fn look_up(
    operations: &Operations,
    owner: Owner,
    asker: u32,
    parent: INodeNo,
    name: &OsStr,
    reply: ReplyEntry,
) {
    let found = run(operations.usage(), "lookup", parent, &name.to_string_lossy(), || {
        operations.lookup_for(asker, parent.0, name)
    });
    match found {
        Ok(node) => {
            let named = if matches!(node.kind, Kind::Moment(_)) { &NO_TIME } else { &TTL };
            reply.entry_with_ttls(&TTL, named, &owner.attr(&node), Generation(0));
        }
        Err(errno) => reply.error(errno),
    }
}

/// An ISO that can't be read is one matter, whoever reads whichever file of it.
fn tell_of_iso(operations: &Operations, ino: INodeNo, handle: FileHandle, error: &io::Error) {
    let number = operations.reads_from(handle.0).unwrap_or(ino.0);
    FAILURES.tell(log::Level::Error, ("read", number), &error.to_string(), || {
        let path = operations.backing_path(handle.0).unwrap_or_else(|| format!("inode {}", ino.0));
        format!("{path}: it can't be read")
    });
}

fn read(operations: &Operations, ino: INodeNo, handle: FileHandle, offset: u64, size: u32, reply: ReplyData) {
    BUFFER.with_borrow_mut(|buffer| {
        let buf = buffer.get(size as usize);
        let outcome =
            run(operations.usage(), "read", ino, "", || match operations.read(handle.0, offset, buf) {
                Err(Error::Backing(error)) => {
                    operations.usage().failed(Failure::ReadFailed);
                    tell_of_iso(operations, ino, handle, &error);
                    Ok(None)
                }
                outcome => outcome.map(Some),
            });
        match outcome {
            Ok(Some(len)) => reply.data(buf.get(..len).unwrap_or_default()),
            Ok(None) => reply.error(Errno::EIO),
            Err(errno) => reply.error(errno),
        }
    });
}

/// The number of a request, also if it comes again (FUSE_UNIQUE_RESEND, Linux, include/uapi/linux/fuse.h).
fn original(request: &Request) -> u64 {
    request.unique().0 & !(1 << 63)
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.agreed.get().is_some() {
            // Another device of a mount that is made.
            return Ok(());
        }
        // Both are wishes: a kernel that knows less serves the tree all the same.
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        let passthrough = self.hand_over.is_some()
            && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(STACK_DEPTH).is_ok();
        let resends = config.capabilities().contains(InitFlags::FUSE_HAS_RESEND);
        // It is the first.
        let _ = self.agreed.set(Agreed { passthrough, resends });
        let Some(wanted) = self.hand_over.filter(|_| !passthrough) else { return Ok(()) };
        let reason = "this kernel's FUSE can't hand files over (Linux 6.9 and newer can, with CONFIG_FUSE_PASSTHROUGH)";
        if wanted == DataPath::Kernel {
            return Err(io::Error::other(reason));
        }
        log::info!("ISOs are read through the block cache: {reason}");
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (operations, slow, owner) = (self.operations.clone(), self.slow.clone(), self.owner);
        let (asker, asked) = (request.pid(), self.question(parent, name));
        let name = name.to_owned();
        let lookup = move || {
            slow.run(operations.lookup_waits_for(parent.0, &name), {
                let operations = operations.clone();
                move || look_up(&operations, owner, asker, parent, &name, reply)
            });
        };
        match asked {
            Some(question) => self.clients.find(asker, move |clients, who| {
                clients.asked(&who, &question);
                lookup();
            }),
            None => lookup(),
        }
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        self.operations.forget(ino.0, nlookup);
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let (operations, owner) = (self.operations.clone(), self.owner);
        self.slow.run(self.operations.finding_waits_for(ino.0), move || {
            match run(operations.usage(), "getattr", ino, "", || operations.node(ino.0)) {
                Ok(node) => reply.attr(&TTL, &owner.attr(&node)),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let direct = flags.0 & libc::O_DIRECT != 0;
        let opening = Opening { adapter: self.clone(), number: original(request), ino, direct, reply };
        let (pid, path) = (request.pid(), self.operations.path(ino.0).unwrap_or_default());
        if path.starts_with("tftp/") {
            // A TFTP server's process may be gone as soon as it has sent a small file.
            self.clients.find(pid, move |_, who| opening.run(Asker::Known(who)));
        } else if path.starts_with("images/") {
            opening.run(Asker::Process(pid));
        } else {
            opening.run(Asker::Known(Who::Nobody));
        }
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        let operations = self.operations.clone();
        self.slow.run(self.operations.finding_waits_for(ino.0), move || {
            match run(operations.usage(), "readlink", ino, "", || operations.target(ino.0)) {
                Ok(target) => reply.data(target.as_bytes()),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(iso) = self.operations.reads_from(handle.0) else {
            return read(&self.operations, ino, handle, offset, size, reply);
        };
        match self.slow.leave(iso) {
            Some(_leave) => read(&self.operations, ino, handle, offset, size, reply),
            None => {
                let operations = self.operations.clone();
                self.slow.read(iso, move || read(&operations, ino, handle, offset, size, reply));
            }
        }
    }

    fn release(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        // One that comes again was dealt with by the process before this one.
        if self.operations.release(handle.0) {
            self.io_modes.leave(ino.0);
        }
        reply.ok();
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let operations = self.operations.clone();
        let number = original(request);
        self.slow.run(self.operations.listing_waits_for(ino.0), move || {
            let open = || match operations.opened_before(number, ino.0) {
                Some(handle) => Ok(handle),
                None => operations.open_directory_for(number, ino.0),
            };
            match run(operations.usage(), "opendir", ino, "", open) {
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = run(self.operations.usage(), "readdir", ino, "", || {
            self.operations.read_directory(handle.0, offset, |next, entry| {
                !reply.add(INodeNo(entry.ino), next, file_type(entry.kind), &entry.name)
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.operations.release(handle.0);
        reply.ok();
    }

    // What follows is asked of every file system and answered "no": the kernel then stops asking, or does it itself.

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _ino: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        // nbd-server asks for the size of a block device first, and goes on when this is none.
        reply.error(Errno::ENOTTY);
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        // Full, as every read-only file system is.
        reply.statfs(0, 0, 0, 0, 0, 4096, NAME_MAX, 4096);
    }
}
