//! A real mount, whose daemon is killed between the steps. Needs root and `/dev/fuse`.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use rustix::fs::{Advice, Mode, OFlags, RawDir};

use super::reference::{Real, Shown, bytes, path, run};
use super::steps::{What, steps};
use crate::handover::kept::kill;
use crate::support::place::{Daemon, Place};

/// In all, for both data paths.
const FEW: u32 = 6;

/// Room for one name of a listing (getdents64(2)).
const NAME: usize = 64;

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::with_cases(super::cases(FEW))
    })]

    #[test]
    fn the_mount_shows_what_the_model_has(steps in steps(true), kernel: bool) {
        let place = Place::new();
        let path = if kernel { "kernel" } else { "cache" };
        let daemon = place.start(&["--data-path", path, "--cache-size", "1M"]);
        let mut mount = Mount { place: &place, daemon: &daemon };
        run(&mut mount, &place.top().join("isos"), &place.top().join("elsewhere"), &steps);
        daemon.stop();
    }
}

struct Mount<'a> {
    place: &'a Place,
    daemon: &'a Daemon<'a>,
}

/// An open directory, and names that have been read of it and not yet given.
struct List {
    directory: OwnedFd,
    ahead: Vec<String>,
}

impl Mount<'_> {
    /// Whether the names of all ISOs lead to these, and no others are there.
    fn shows(&self, shown: &Shown) -> bool {
        let labels = fs::read_dir(self.place.tree("trees")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut labels: Vec<String> = labels.map(|name| name.into_string().unwrap()).collect();
        labels.sort();
        let files = [What::Iso, What::Root, What::Kernel, What::Initrd, What::KernelInTree, What::RootInTree];
        labels.iter().eq(shown.keys())
            && shown.iter().all(|(label, build)| {
                files.iter().all(|&what| {
                    let wanted = bytes(what, &build.disc);
                    fs::read(self.place.tree(&path(what, label))).is_ok_and(|got| got == wanted)
                })
            })
    }
}

impl Real for Mount<'_> {
    type File = File;
    type List = List;

    const LOOKS_BY_ITSELF: bool = true;

    fn look(&mut self, shown: &Shown) {
        self.place.eventually("the model's tree", || self.shows(shown));
    }

    fn open(&mut self, path: &str) -> io::Result<File> {
        File::open(self.place.tree(path))
    }

    fn size(&mut self, file: &File) -> u64 {
        file.metadata().unwrap().len()
    }

    fn read(&mut self, file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
        // Has no pages kept, so that it is the daemon that answers.
        rustix::fs::fadvise(file, 0, None, Advice::DontNeed).unwrap();
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            match file.read_at(&mut bytes[done..], at + done as u64)? {
                0 => break,
                more => done += more,
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    fn close(&mut self, file: File) {
        drop(file);
    }

    fn open_list(&mut self, path: &str) -> io::Result<List> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(self.place.tree(path), flags, Mode::empty())?;
        Ok(List { directory, ahead: Vec::new() })
    }

    fn read_list(&mut self, list: &mut List, room: usize) -> Vec<String> {
        let mut names = std::mem::take(&mut list.ahead);
        while names.len() < room {
            let mut buffer = vec![MaybeUninit::uninit(); room * NAME];
            let mut entries = RawDir::new(&list.directory, &mut buffer);
            let Some(first) = entries.next() else { break };
            names.extend(name(first.unwrap().file_name()));
            while !entries.is_buffer_empty() {
                let entry = entries.next().expect("one of the buffer").unwrap();
                names.extend(name(entry.file_name()));
            }
        }
        list.ahead = names.split_off(room.min(names.len()));
        names
    }

    fn kill(&mut self) {
        kill(self.place, self.daemon);
    }
}

/// A name but for the dots.
fn name(name: &std::ffi::CStr) -> Option<String> {
    let name = name.to_str().unwrap();
    (name != "." && name != "..").then(|| name.to_owned())
}
