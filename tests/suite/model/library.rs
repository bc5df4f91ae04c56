//! The operations of the library, as the daemon has them: an ISO is read through the block cache, and only as long as nobody
//! writes into it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use netrootfs::catalog::scan::{Opened, Opener, Scanner};
use netrootfs::serve::operations::{Error, Operations};
use netrootfs::storage::backing::Backing;
use netrootfs::storage::cache::{BlockCache, Tuning};
use netrootfs::storage::inotify::Inotify;
use netrootfs::storage::source::PageCache;
use netrootfs::storage::unchanged::{FileWatch, Unchanged, UnchangedSource};
use netrootfs::tree::arena::{Kind, ROOT_INO, Tree};
use netrootfs::tree::iso_files::DirectoryCache;
use netrootfs::tree::layout::{self, Settings};
use proptest::prelude::*;

use super::reference::{Real, Shown, run};
use super::steps::steps;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(super::cases(48)) })]

    #[test]
    fn the_operations_show_what_the_model_has(steps in steps(false)) {
        let place = tempfile::tempdir().unwrap();
        let [directory, aside] = ["isos", "aside"].map(|name| place.path().join(name));
        for made in [&directory, &aside] {
            std::fs::create_dir(made).unwrap();
        }
        run(&mut Library::new(&directory), &directory, &aside, &steps);
    }
}

struct Library {
    scanner: Scanner,
    operations: Operations,
    settings: Settings,
    directories: Arc<DirectoryCache>,
}

/// A handle, and how many look-ups of which inodes go with it.
struct Handle {
    number: u64,
    ino: u64,
}

struct List {
    number: u64,
    from: u64,
}

/// Opens ISOs as the daemon does on the cache's path; with a cache that holds next to nothing.
struct Cached(Arc<BlockCache>, Arc<FileWatch>);

impl Opener for Cached {
    fn open(&self, file: Arc<File>) -> io::Result<Opened> {
        let unchanged = Unchanged::new(file, Some(&self.1))?;
        let plain = Arc::new(UnchangedSource::new(unchanged.clone(), PageCache::Keep)?);
        let source = Arc::new(UnchangedSource::new(unchanged, PageCache::DropBehind)?);
        let cached = Arc::new(self.0.attach(source.clone()));
        Ok(Opened { served: Backing::new(cached, source, None), plain })
    }
}

impl Library {
    fn new(directory: &Path) -> Self {
        let tuning = Tuning { block: 4096, large: 16 << 10, ..Tuning::default() };
        // One for all cases: it never ends, and a user may have 128.
        static WATCH: OnceLock<Arc<FileWatch>> = OnceLock::new();
        let watch = WATCH.get_or_init(|| FileWatch::start(Inotify::new().unwrap()).unwrap());
        let opener = Cached(BlockCache::with_tuning(64 << 10, tuning), watch.clone());
        let settings = Settings::of_server("/srv/netboot", "10.0.2.2");
        let mut scanner = Scanner::new(directory.to_owned(), HashMap::new(), Arc::new(opener));
        let directories = Arc::default();
        let tree = layout::lay_out(&scanner.scan().unwrap(), &settings, &[], &directories);
        Self { scanner, operations: Operations::new(tree), settings, directories }
    }

    fn find(&self, path: &str) -> Result<u64, Error> {
        let mut ino = ROOT_INO;
        for name in path.split('/') {
            let node = self.operations.lookup(ino, name);
            if ino != ROOT_INO {
                // The kernel may forget at any time what it has no use for.
                self.operations.forget(ino, 1);
            }
            ino = node?.ino;
        }
        Ok(ino)
    }

    fn tree(&mut self) -> Tree {
        layout::lay_out(&self.scanner.scan().unwrap(), &self.settings, &[], &self.directories)
    }
}

fn errno(error: Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}

impl Real for Library {
    type File = Handle;
    type List = List;

    const LOOKS_BY_ITSELF: bool = false;

    fn look(&mut self, _shown: &Shown) {
        let tree = self.tree();
        self.operations.replace(tree);
    }

    fn open(&mut self, path: &str) -> io::Result<Handle> {
        let ino = self.find(path).map_err(errno)?;
        match self.operations.open(ino) {
            Ok(number) => Ok(Handle { number, ino }),
            Err(error) => {
                self.operations.forget(ino, 1);
                Err(errno(error))
            }
        }
    }

    fn size(&mut self, file: &Handle) -> u64 {
        match &self.operations.node(file.ino).unwrap().kind {
            Kind::File(content) => content.size(),
            Kind::Unopened(file) => file.size(),
            _ => panic!("no file"),
        }
    }

    fn read(&mut self, file: &Handle, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let read = self.operations.read(file.number, at, &mut bytes).map_err(errno)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn close(&mut self, file: Handle) {
        assert!(self.operations.release(file.number));
        self.operations.forget(file.ino, 1);
    }

    fn open_list(&mut self, path: &str) -> io::Result<List> {
        let ino = self.find(path).map_err(errno)?;
        let number = self.operations.open_directory(ino).map_err(errno);
        self.operations.forget(ino, 1);
        Ok(List { number: number?, from: 2 })
    }

    fn read_list(&mut self, list: &mut List, room: usize) -> Vec<String> {
        let mut names = Vec::new();
        let mut next = list.from;
        let each = |position, entry: &netrootfs::tree::lazy::Listed| {
            if names.len() == room {
                return false;
            }
            names.push(entry.name.to_str().unwrap().to_owned());
            next = position;
            true
        };
        self.operations.read_directory(list.number, list.from, each).unwrap();
        list.from = next;
        names
    }

    fn kill(&mut self) {}
}
