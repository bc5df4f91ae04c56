//! The plain model, and the run of a sequence of steps beside it.
//!
//! An ISO has the label of its volume id, since no two have the same here. What is shown is what was in the directory when it
//! was last looked at. What is open has the bytes that it had when it was opened, for as long as it is; only from an ISO that
//! was cut short there may be an error in their place, and no other bytes even then.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::rc::Rc;

use proptest::sample::Index;

use super::small::Small;
use super::steps::{FILES, Listed, SLOTS, Step, What};
use crate::support::writers::wait_for_writers;

/// Kills of one run: more in a row would be a crash loop.
const MOST_KILLS: usize = 3;

/// The real one.
pub trait Real {
    /// An open file.
    type File;
    /// An open directory.
    type List;

    /// Whether it looks by itself, as soon as something has changed.
    const LOOKS_BY_ITSELF: bool;

    /// Looks at the directory; afterwards it must show this.
    fn look(&mut self, shown: &Shown);
    fn open(&mut self, path: &str) -> io::Result<Self::File>;
    fn size(&mut self, file: &Self::File) -> u64;
    fn read(&mut self, file: &Self::File, at: u64, len: usize) -> io::Result<Vec<u8>>;
    fn close(&mut self, file: Self::File);
    fn open_list(&mut self, path: &str) -> io::Result<Self::List>;
    /// Up to so many names, but for the dots; none at the end.
    fn read_list(&mut self, list: &mut Self::List, room: usize) -> Vec<String>;
    fn kill(&mut self);
}

/// An ISO as it was put into the directory.
#[derive(Debug)]
pub struct Build {
    pub disc: Small,
    cut: Cell<bool>,
}

/// What is shown, by label.
pub type Shown = BTreeMap<String, Rc<Build>>;

/// What is open, and what it must give.
enum Open<R: Real> {
    File { real: R::File, bytes: Vec<u8>, of: Option<Rc<Build>> },
    List { real: R::List, wanted: BTreeSet<String>, got: Vec<String> },
}

struct Run<'a, R: Real> {
    real: &'a mut R,
    directory: &'a Path,
    /// Where nobody looks, on the same file system.
    aside: &'a Path,
    /// By name: label and build.
    files: BTreeMap<&'static str, (String, Rc<Build>)>,
    shown: Shown,
    open: [Option<Open<R>>; SLOTS],
    made: u64,
    volumes: u64,
    kills: usize,
}

/// Does the steps to both, and fails where they differ.
pub fn run<R: Real>(real: &mut R, directory: &Path, aside: &Path, steps: &[Step]) {
    let open = std::array::from_fn(|_| None);
    let (files, shown) = Default::default();
    let mut run = Run { real, directory, aside, files, shown, open, made: 0, volumes: 0, kills: 0 };
    run.look();
    for step in steps {
        run.step(step);
    }
    // What is still open is read to its end.
    for slot in 0..SLOTS {
        while run.read_list(slot, 2) {}
        run.read(slot, 0, usize::MAX);
        run.close(slot);
    }
}

impl<R: Real> Run<'_, R> {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Put { file } => self.put(FILES[file]),
            Step::Rename { from, to } => self.rename(FILES[from], FILES[to]),
            Step::Remove { file } => self.remove(FILES[file]),
            Step::Cut { file, at } => self.cut(FILES[file], at),
            Step::Look => return self.look(),
            Step::Open { slot, iso, what } => return self.open(slot, iso, what),
            Step::Read { slot, at, len } => return self.read_somewhere(slot, at, len),
            Step::Close { slot } => return self.close(slot),
            Step::OpenList { slot, iso, which } => return self.open_list(slot, iso, which),
            Step::ReadList { slot, room } => {
                self.read_list(slot, room);
                return;
            }
            Step::Kill if self.kills < MOST_KILLS => {
                self.kills += 1;
                return self.real.kill();
            }
            Step::Kill => return,
        }
        if R::LOOKS_BY_ITSELF {
            self.look();
        }
    }

    fn put(&mut self, file: &'static str) {
        let volume = match self.files.get(file) {
            Some((volume, _)) => volume.clone(),
            None => {
                self.volumes += 1;
                format!("V{}", self.volumes)
            }
        };
        self.made += 1;
        let disc = Small::new(&volume, self.made);
        let new = self.aside.join("new");
        fs::write(&new, &disc.iso).unwrap();
        wait_for_writers(&new);
        fs::rename(new, self.directory.join(file)).unwrap();
        self.files.insert(file, (volume, Rc::new(Build { disc, cut: Cell::new(false) })));
    }

    fn rename(&mut self, from: &'static str, to: &'static str) {
        if from == to {
            return;
        }
        let Some(build) = self.files.remove(from) else { return };
        fs::rename(self.directory.join(from), self.directory.join(to)).unwrap();
        self.files.insert(to, build);
    }

    fn remove(&mut self, file: &'static str) {
        if self.files.remove(file).is_some() {
            fs::remove_file(self.directory.join(file)).unwrap();
        }
    }

    fn cut(&mut self, file: &'static str, at: Index) {
        let Some((_, build)) = self.files.get(file) else { return };
        let path = self.directory.join(file);
        let real = File::options().write(true).open(&path).unwrap();
        let len = at.index(usize::try_from(real.metadata().unwrap().len()).unwrap().max(1));
        build.cut.set(true);
        real.set_len(len as u64).unwrap();
        drop(real);
        wait_for_writers(&path);
    }

    fn look(&mut self) {
        let whole = self.files.values().filter(|(_, build)| !build.cut.get());
        self.shown = whole.map(|(volume, build)| (volume.clone(), build.clone())).collect();
        self.real.look(&self.shown);
        for (which, path) in [(Listed::Images, "images"), (Listed::Trees, "trees")] {
            let mut list = self.real.open_list(path).unwrap();
            let mut got = Vec::new();
            loop {
                match self.real.read_list(&mut list, 3) {
                    names if names.is_empty() => break,
                    names => got.extend(names),
                }
            }
            assert_names(&got, &self.names(which));
        }
    }

    /// The label of an ISO that there is or was.
    fn label(&self, iso: Index) -> String {
        format!("V{}", 1 + iso.index(usize::try_from(self.volumes).unwrap() + 1))
    }

    fn open(&mut self, slot: usize, iso: Index, what: What) {
        self.close(slot);
        let label = self.label(iso);
        let opened = self.real.open(&path(what, &label));
        let build = if what == What::NbdConf { None } else { self.shown.get(&label).cloned() };
        if build.is_none() && what != What::NbdConf {
            let error = opened.err().expect("an ISO that isn't shown has no files");
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{what:?} of {label}: {error}");
            return;
        }
        let real = match (opened, &build) {
            (Ok(real), _) => real,
            (Err(error), Some(build)) if build.cut.get() => return assert_io_error(&error),
            (Err(error), _) => panic!("{what:?} of {label}: {error}"),
        };
        let bytes = match &build {
            Some(build) => bytes(what, &build.disc).to_vec(),
            None => self.nbd_conf(&real),
        };
        assert_eq!(self.real.size(&real), bytes.len() as u64, "the size of {what:?} of {label}");
        self.open[slot] = Some(Open::File { real, bytes, of: build });
    }

    /// The text as it is now, with a section for each export.
    fn nbd_conf(&mut self, file: &R::File) -> Vec<u8> {
        let len = usize::try_from(self.real.size(file)).unwrap();
        let bytes = self.real.read(file, 0, len).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        let got: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']')).collect();
        let exports = self.shown.keys().flat_map(|label| [label.clone(), format!("{label}.iso")]);
        let mut wanted: BTreeSet<String> = exports.chain(["generic".to_owned()]).collect();
        if self.shown.is_empty() {
            wanted.insert("nbd.conf".into());
        }
        assert!(got.iter().eq(wanted.iter()), "{got:?} and not {wanted:?}");
        bytes
    }

    fn read_somewhere(&mut self, slot: usize, at: Index, len: usize) {
        if let Some(Open::File { bytes, .. }) = &self.open[slot] {
            // A little past the end, too.
            let at = at.index(bytes.len() + 5000);
            self.read(slot, at, len);
        }
    }

    fn read(&mut self, slot: usize, at: usize, len: usize) {
        let Some(Open::File { real, bytes, of }) = &self.open[slot] else { return };
        let end = at.saturating_add(len).min(bytes.len());
        let wanted = bytes.get(at..end).unwrap_or_default();
        match self.real.read(real, at as u64, len.min(bytes.len() + 1)) {
            Ok(got) => assert!(got == wanted, "{} bytes at {at} are others", wanted.len()),
            Err(error) if of.as_ref().is_some_and(|build| build.cut.get()) => assert_io_error(&error),
            Err(error) => panic!("{} bytes at {at}: {error}", wanted.len()),
        }
    }

    fn close(&mut self, slot: usize) {
        if let Some(Open::File { real, .. }) = self.open[slot].take() {
            self.real.close(real);
        }
    }

    fn open_list(&mut self, slot: usize, iso: Index, which: Listed) {
        self.close(slot);
        let label = self.label(iso);
        let path = match which {
            Listed::Images => "images".to_owned(),
            Listed::Trees => "trees".to_owned(),
            Listed::Tree => format!("trees/{label}"),
        };
        let opened = self.real.open_list(&path);
        let build = self.shown.get(&label);
        match opened {
            Ok(real) if which != Listed::Tree || build.is_some() => {
                self.open[slot] = Some(Open::List { real, wanted: self.names(which), got: Vec::new() });
            }
            Ok(_) => panic!("{path} is there"),
            Err(error) if which == Listed::Tree && build.is_none() => {
                assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{path}: {error}");
            }
            Err(error) if build.is_some_and(|build| build.cut.get()) => assert_io_error(&error),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Some more names of an open directory; false at the end, where all of them must have been there.
    fn read_list(&mut self, slot: usize, room: usize) -> bool {
        let Some(Open::List { real, wanted, got }) = &mut self.open[slot] else { return false };
        let names = self.real.read_list(real, room);
        let more = !names.is_empty();
        got.extend(names);
        if !more {
            assert_names(got, wanted);
            self.open[slot] = None;
        }
        more
    }

    fn names(&self, which: Listed) -> BTreeSet<String> {
        let labels = self.shown.keys();
        match which {
            Listed::Images => {
                let files = labels.flat_map(|label| [format!("{label}.iso"), format!("liveos_{label}.img")]);
                files.chain(["nbd.conf".to_owned()]).collect()
            }
            Listed::Trees => labels.cloned().collect(),
            Listed::Tree => ["LiveOS", "images"].map(str::to_owned).into(),
        }
    }
}

/// The path of a file of an ISO.
pub fn path(what: What, label: &str) -> String {
    match what {
        What::Iso => format!("images/{label}.iso"),
        What::Root => format!("images/{label}"),
        What::Kernel => format!("tftp/vmlinuz_{label}"),
        What::Initrd => format!("tftp/initrd_{label}.img"),
        What::KernelInTree => format!("trees/{label}/images/pxeboot/vmlinuz"),
        What::RootInTree => format!("trees/{label}/LiveOS/squashfs.img"),
        What::NbdConf => "images/nbd.conf".to_owned(),
    }
}

/// The bytes of a file of an ISO.
pub fn bytes(what: What, disc: &Small) -> &[u8] {
    match what {
        What::Iso => &disc.iso,
        What::Root | What::RootInTree => &disc.root,
        What::Kernel | What::KernelInTree => &disc.kernel,
        What::Initrd => &disc.initrd,
        What::NbdConf => &[],
    }
}

fn assert_names(got: &[String], wanted: &BTreeSet<String>) {
    let once: BTreeSet<String> = got.iter().cloned().collect();
    assert!(once.len() == got.len() && once == *wanted, "{got:?} and not {wanted:?}");
}

fn assert_io_error(error: &io::Error) {
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
}
