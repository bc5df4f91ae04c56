use std::fs::FileTimes;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::SystemTime;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

use super::*;
use crate::storage::inotify::Inotify;

fn image(fill: u8) -> Vec<u8> {
    let mut bytes = vec![0; 100_000];
    bytes[DESCRIPTOR as usize + 100] = fill;
    bytes[90_000] = fill;
    bytes
}

/// A source on a file, and the file open for writing.
fn source_with(watch: Option<&Arc<FileWatch>>) -> (UnchangedSource, tempfile::NamedTempFile) {
    let temp = tempfile::NamedTempFile::new().unwrap();
    temp.as_file().write_all_at(&image(1), 0).unwrap();
    let unchanged = Unchanged::new(Arc::new(temp.reopen().unwrap()), watch).unwrap();
    (UnchangedSource::new(unchanged, PageCache::Keep).unwrap(), temp)
}

fn source() -> (UnchangedSource, tempfile::NamedTempFile) {
    source_with(Some(&FileWatch::start(Inotify::new().unwrap()).unwrap()))
}

fn read(source: &UnchangedSource, offset: u64) -> io::Result<u8> {
    let mut byte = [0];
    source.read_exact_at(&mut byte, offset).map(|()| byte[0])
}

/// Sets both times, as touch(1) does: of a new time of modification alone, the kernel tells as of a write.
fn touch(file: &File, time: SystemTime) {
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time)).unwrap();
}

/// The times of a file, given back to it.
fn with_old_times(file: &File, change: impl FnOnce(&File)) {
    let stat = file.metadata().unwrap();
    change(file);
    let times =
        FileTimes::new().set_accessed(stat.accessed().unwrap()).set_modified(stat.modified().unwrap());
    file.set_times(times).unwrap();
}

#[test]
fn whatever_writes_into_it_is_an_error_from_then_on() {
    type Change = fn(&File);
    let changes: [(&str, Change); 8] = [
        ("another image", |file| file.write_all_at(&image(2), 0).unwrap()),
        ("the same image", |file| file.write_all_at(&image(1), 0).unwrap()),
        ("one byte elsewhere", |file| file.write_all_at(b"x", 60_000).unwrap()),
        ("a hole", |file| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(file, flags, 69_632, 4096).unwrap();
        }),
        ("longer", |file| file.set_len(200_000).unwrap()),
        ("shorter", |file| file.set_len(95_000).unwrap()),
        ("emptied and filled", |file| {
            file.set_len(0).unwrap();
            file.write_all_at(&image(1), 0).unwrap();
        }),
        // As rsync --inplace --times does.
        ("written, and its times put back", |file| {
            with_old_times(file, |file| file.write_all_at(b"x", 60_000).unwrap());
        }),
    ];
    for (what, change) in changes {
        let (source, file) = source();
        assert_eq!(read(&source, 90_000).unwrap(), 1);
        change(file.as_file());
        assert!(read(&source, 90_000).is_err(), "{what}");
        assert!(read(&source, 0).is_err(), "{what}");
        assert!(source.unchanged().said().is_err(), "{what}");
    }
}

#[test]
fn what_leaves_the_bytes_alone_harms_nobody() {
    type Change = fn(&tempfile::NamedTempFile);
    let changes: [(&str, Change); 7] = [
        ("touched", |file| touch(file.as_file(), SystemTime::now())),
        ("an old time", |file| touch(file.as_file(), SystemTime::UNIX_EPOCH)),
        ("a backup's time of access", |file| with_old_times(file.as_file(), |_| ())),
        ("another mode", |file| {
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o440)).unwrap();
        }),
        ("opened for writing", |file| drop(File::options().write(true).open(file.path()).unwrap())),
        ("another name", |file| {
            let other = file.path().with_extension("other");
            std::fs::hard_link(file.path(), &other).unwrap();
            std::fs::remove_file(other).unwrap();
        }),
        ("removed", |file| std::fs::remove_file(file.path()).unwrap()),
    ];
    let (source, file) = source();
    for (what, change) in changes {
        change(&file);
        assert_eq!(read(&source, 90_000).map_err(|error| error.to_string()), Ok(1), "{what}");
        source.unchanged().check().unwrap();
    }
}

#[test]
fn a_write_through_a_mapping_is_an_error_at_the_next_read() {
    let (source, file) = source();
    // SAFETY: a mapping of its own, of a file that stays as long; one byte of it is written.
    let byte = unsafe {
        let at = mmap(
            std::ptr::null_mut(),
            4096,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            file.as_file(),
            0,
        );
        at.unwrap().cast::<u8>()
    };
    assert_eq!(read(&source, 90_000).unwrap(), 1, "a mapping is no write");
    // SAFETY: as above.
    unsafe { byte.write(7) };
    assert!(read(&source, 90_000).is_err());
    // SAFETY: as above.
    unsafe {
        msync(byte.cast(), 4096, MsyncFlags::SYNC).unwrap();
        munmap(byte.cast(), 4096).unwrap();
    }
}

#[test]
fn who_shares_a_change_is_told_once_and_without_a_read() {
    let watch = FileWatch::start(Inotify::new().unwrap()).unwrap();
    let (source, file) = source_with(Some(&watch));
    let again = Unchanged::new(source.unchanged().file.clone(), Some(&watch)).unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    for unchanged in [source.unchanged(), &again] {
        let sender = sender.clone();
        unchanged.on_change(move || sender.send(()).unwrap());
    }
    file.as_file().write_all_at(b"x", 60_000).unwrap();
    for _ in 0..2 {
        told.recv_timeout(Duration::from_secs(20)).unwrap();
    }
    assert!(read(&source, 0).is_err() && again.said().is_err());
    assert!(told.try_recv().is_err());
}

#[test]
fn a_change_of_one_file_is_none_of_another() {
    let watch = FileWatch::start(Inotify::new().unwrap()).unwrap();
    let ((one, file), (other, _other)) = (source_with(Some(&watch)), source_with(Some(&watch)));
    file.as_file().write_all_at(b"x", 60_000).unwrap();
    assert!(read(&one, 0).is_err());
    assert_eq!(read(&other, 90_000).unwrap(), 1);
}

#[test]
fn where_nobody_tells_another_size_or_time_is_a_write_and_a_mode_is_none() {
    let (source, file) = source_with(None);
    assert!(!source.unchanged().is_watched());
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o440)).unwrap();
    assert_eq!(read(&source, 90_000).unwrap(), 1);
    touch(file.as_file(), SystemTime::UNIX_EPOCH);
    assert!(read(&source, 90_000).is_err());
    let (source, file) = source_with(None);
    with_old_times(file.as_file(), |file| file.write_all_at(&image(2), 0).unwrap());
    assert!(read(&source, 90_000).is_err(), "its volume descriptor tells");
}

#[test]
fn a_file_that_was_cut_short_says_so() {
    let (source, file) = source();
    file.as_file().set_len(91_000).unwrap();
    assert!(read(&source, 95_000).is_err());
    let error = read(&source, 10).unwrap_err();
    assert_eq!(error.to_string(), "it was cut short, to 91000 bytes of 100000");
}
