//! Whether a file is whole, or somebody is still writing it.
//!
//! An ISO that is being copied must not appear: its first megabytes already look right. A local file is whole when
//! nobody has it open for writing; the kernel tells by refusing a read lease (fcntl(2), `F_SETLEASE`). Where it can't
//! tell, a file is whole when it has not changed for [`QUIET`].

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// How long a file on a file system without leases must stay the same. Copies over NFS and SMB write at least once a
/// second; two seconds is what an administrator is promised, polling included.
pub const QUIET: Duration = Duration::from_millis(1000);

/// File systems whose other users this kernel doesn't see: inotify is silent there, and a lease is refused for reasons
/// of its own (`f_type` of statfs(2)).
const REMOTE: [u32; 12] = [
    0x6969,      // nfs
    0x517b,      // smb
    0xff53_4d42, // cifs
    0xfe53_4d42, // smb2
    0x6573_5546, // fuse: sshfs, s3fs and their like
    0x0102_1997, // 9p
    0x00c3_6400, // ceph
    0x5346_414f, // afs
    0x6b41_4653, // kafs
    0x7461_636f, // ocfs2
    0x0116_1970, // gfs2
    0x0bd0_0bd0, // lustre
];

/// Whether changes on the file system that holds `file` may go unnoticed by this kernel.
pub fn is_remote(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| REMOTE.contains(&(stat.f_type as u32)))
}

/// The last sight of files that were not whole, to tell whether they have changed since.
#[derive(Default)]
pub struct Writers {
    seen: Mutex<HashMap<Key, Seen>>,
}

/// Device, inode and, where the file system knows it, birth: the number of a file that is gone is soon another one's.
type Key = (u64, u64, Option<SystemTime>);

struct Seen {
    len: u64,
    mtime: SystemTime,
    since: Instant,
    /// Whether it has to be quiet even where a lease tells that nobody writes.
    expected: bool,
}

impl Seen {
    fn now(len: u64, mtime: SystemTime) -> Self {
        Self { len, mtime, since: Instant::now(), expected: false }
    }
}

impl Writers {
    /// Whether the file is whole; `None` stands for yes, text for what is going on.
    ///
    /// # Errors
    /// If the file can't be looked at.
    pub fn check(&self, file: &File) -> io::Result<Option<&'static str>> {
        let stat = file.metadata()?;
        let key = key(&stat);
        let expected = self.seen.lock().get(&key).is_some_and(|seen| seen.expected);
        if expected {
            self.expect_more(&stat);
        }
        let verdict = match if is_remote(file) { None } else { has_writer(file) } {
            Some(true) if !is_loop_backing(&stat) => Some("it is being written"),
            Some(_) => None,
            None => self.check_quiet(key, stat.len(), stat.modified()?),
        };
        let mut all = self.seen.lock();
        let verdict = match all.get(&key) {
            Some(seen) if verdict.is_none() && seen.expected && seen.since.elapsed() < QUIET => {
                Some("it was written to a moment ago")
            }
            _ => verdict,
        };
        if verdict.is_none() {
            all.remove(&key);
        }
        Ok(verdict)
    }

    /// The file was whole and has been written to: it is whole again when it has not changed for [`QUIET`], whoever has
    /// it open.
    pub fn expect_more(&self, stat: &Metadata) {
        let (len, mtime) = (stat.len(), stat.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        let mut all = self.seen.lock();
        let seen = all.entry(key(stat)).or_insert(Seen::now(len, mtime));
        if !seen.expected || seen.len != len || seen.mtime != mtime {
            *seen = Seen { expected: true, ..Seen::now(len, mtime) };
        }
    }

    fn check_quiet(&self, key: Key, len: u64, mtime: SystemTime) -> Option<&'static str> {
        // The clock of a file server may differ from ours: an age in the future says nothing.
        if mtime.elapsed().is_ok_and(|age| age >= 2 * QUIET) {
            return None;
        }
        let mut all = self.seen.lock();
        let seen = all.entry(key).or_insert(Seen::now(len, mtime));
        if seen.len != len || seen.mtime != mtime {
            *seen = Seen { expected: seen.expected, ..Seen::now(len, mtime) };
        }
        (seen.since.elapsed() < QUIET).then_some("it was changed a moment ago")
    }
}

fn key(stat: &Metadata) -> Key {
    (stat.dev(), stat.ino(), stat.created().ok())
}

/// Whether anybody has the file open for writing; `None` where the kernel can't tell.
fn has_writer(file: &File) -> Option<bool> {
    // SAFETY: fcntl with F_SETLEASE takes an integer and touches no memory; the descriptor is open.
    let lease = |kind: libc::c_int| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if lease(libc::F_RDLCK) == 0 {
        lease(libc::F_UNLCK);
        return Some(false);
    }
    (io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)).then_some(true)
}

/// Whether a loop device stands on the file. mount(8) opens it for writing even for an ISO, and never writes.
fn is_loop_backing(stat: &Metadata) -> bool {
    let Ok(devices) = std::fs::read_dir("/sys/block") else { return false };
    devices.flatten().any(|device| {
        let path = device.path().join("loop/backing_file");
        let Ok(backing) = std::fs::read_to_string(path) else { return false };
        std::fs::metadata(backing.trim_end_matches('\n'))
            .is_ok_and(|other| (other.dev(), other.ino()) == (stat.dev(), stat.ino()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_whole_when_its_writer_closes_it() {
        let mut writer = tempfile::NamedTempFile::new().unwrap();
        writer.write_all(b"half").unwrap();
        let reader = File::open(writer.path()).unwrap();
        let writers = Writers::default();
        assert_eq!(writers.check(&reader).unwrap(), Some("it is being written"));
        let _path = writer.into_temp_path();
        // A child that another test is just starting may hold a copy of the descriptor for a moment.
        let deadline = Instant::now() + Duration::from_secs(20);
        while writers.check(&reader).unwrap().is_some() {
            assert!(Instant::now() < deadline, "it never becomes whole");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_was_expected_of_a_file_is_not_of_the_next_one_with_its_number() {
        // Nobody writes it.
        let reader = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
        let (stat, writers) = (reader.metadata().unwrap(), Writers::default());
        writers.expect_more(&stat);
        assert_eq!(writers.check(&reader).unwrap(), Some("it was written to a moment ago"));
        let (device, inode, birth) = key(&stat);
        let before = birth.expect("a file system that knows it") - QUIET;
        let seen = writers.seen.lock().remove(&key(&stat)).unwrap();
        writers.seen.lock().insert((device, inode, Some(before)), seen);
        assert_eq!(writers.check(&reader).unwrap(), None);
    }

    #[test]
    fn without_leases_a_file_is_whole_when_it_stays_the_same() {
        let writers = Writers::default();
        let now = SystemTime::now();
        assert!(writers.check_quiet((1, 1, None), 10, now).is_some());
        assert!(writers.check_quiet((1, 1, None), 20, now).is_some(), "it has grown");
        writers.seen.lock().get_mut(&(1, 1, None)).unwrap().since -= QUIET;
        assert_eq!(writers.check_quiet((1, 1, None), 20, now), None);
    }

    #[test]
    fn a_file_of_yesterday_is_whole_at_once() {
        let writers = Writers::default();
        let yesterday = SystemTime::now() - Duration::from_secs(86_400);
        assert_eq!(writers.check_quiet((1, 1, None), 10, yesterday), None);
    }

    #[test]
    fn a_clock_that_runs_ahead_does_not_keep_a_file_out() {
        let writers = Writers::default();
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        assert!(writers.check_quiet((1, 1, None), 10, tomorrow).is_some());
        writers.seen.lock().get_mut(&(1, 1, None)).unwrap().since -= QUIET;
        assert_eq!(writers.check_quiet((1, 1, None), 10, tomorrow), None);
    }
}
