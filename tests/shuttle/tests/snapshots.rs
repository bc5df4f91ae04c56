//! The swap of snapshots: look-ups, opens and listings while the tree is replaced.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use netrootfs::storage::content::Content;
use netrootfs::tree::arena::{Builder, Kind, Node, ROOT_INO, Tree};
use netrootfs::tree::lazy::{Directory, Listed, Type, Unopened};
use netrootfs_shuttle::serve::operations::{Error, Operations};
use shuttle::thread;

const RUNS: usize = 600;
const TIME: SystemTime = SystemTime::UNIX_EPOCH;

fn check(test: impl Fn() + Send + Sync + Clone + 'static) {
    let runs = std::env::var("NETROOTFS_SHUTTLE_RUNS").map_or(RUNS, |text| text.parse().expect("a number"));
    shuttle::check_random(test.clone(), runs);
    shuttle::check_pct(test, runs / 3, 3);
}

/// A tree in which all is of one age, in names and bytes.
fn tree(age: &str, lazy: bool) -> Tree {
    let mut builder = Builder::new(TIME);
    let directory = builder.directory(Tree::ROOT, "d", TIME);
    for name in ["a", "b"] {
        builder.file(directory, &format!("{name}-{age}"), Content::text(format!("{name} of {age}")), TIME);
    }
    builder.file(directory, "same", Content::text(age.repeat(3)), TIME);
    if lazy {
        builder.lazy(Tree::ROOT, "lazy", Arc::new(Below), 7, TIME);
    }
    builder.build()
}

#[test]
fn a_listing_and_what_it_leads_to_are_of_one_snapshot() {
    check(|| {
        let operations = Arc::new(Operations::new(tree("old", false)));
        let swapping = operations.clone();
        let swap = thread::spawn(move || drop(swapping.replace(tree("new", false))));
        let reading = operations.clone();
        let read = thread::spawn(move || {
            let Ok(directory) = reading.lookup(ROOT_INO, "d") else { panic!("it is in both") };
            let handle = reading.open_directory(directory.ino).unwrap();
            let mut names = Vec::new();
            let each = |_, entry: &Listed| {
                names.push(entry.name.to_str().unwrap().to_owned());
                true
            };
            reading.read_directory(handle, 2, each).unwrap();
            assert!(names == ["a-new", "b-new", "same"] || names == ["a-old", "b-old", "same"], "{names:?}");
            assert!(reading.release(handle));
            reading.forget(directory.ino, 1);
        });
        let opening = operations.clone();
        let open = thread::spawn(move || {
            let directory = opening.lookup(ROOT_INO, "d").unwrap();
            let file = opening.lookup(directory.ino, "same").unwrap();
            let Kind::File(content) = &file.kind else { panic!("a file") };
            // The inode that was looked up is known until it is forgotten, whatever is shown.
            let handle = opening.open(file.ino).unwrap();
            let mut buf = [0; 20];
            let len = opening.read(handle, 0, &mut buf).unwrap();
            assert_eq!(len as u64, content.size());
            assert!([&b"oldoldold"[..], b"newnewnew"].contains(&&buf[..len]));
            opening.forget(file.ino, 1);
            assert_eq!(opening.read(handle, 0, &mut buf).unwrap(), len, "an open file outlives its name");
            assert!(opening.release(handle));
            opening.forget(directory.ino, 1);
        });
        for thread in [swap, read, open] {
            thread.join().unwrap();
        }
        assert!(operations.tree().find("d/a-new").unwrap().is_some());
    });
}

#[test]
fn what_is_below_a_directory_that_went_is_let_go() {
    check(|| {
        let operations = Arc::new(Operations::new(tree("old", true)));
        let root = operations.lookup(ROOT_INO, "lazy").unwrap().ino;
        let swapping = operations.clone();
        let swap = thread::spawn(move || drop(swapping.replace(tree("new", false))));
        let looking: Vec<_> = (0..2)
            .map(|_| {
                let operations = operations.clone();
                thread::spawn(move || match operations.lookup(root, "file") {
                    Ok(node) => Some(node.ino),
                    Err(Error::NotFound) => None,
                    Err(error) => panic!("{error}"),
                })
            })
            .collect();
        swap.join().unwrap();
        let found: Vec<u64> = looking.into_iter().filter_map(|look| look.join().unwrap()).collect();
        // Whoever came by the inode in time still has it, and no file with it.
        for ino in &found {
            let node = operations.node(*ino).unwrap();
            let Kind::Unopened(file) = &node.kind else { panic!("a file") };
            assert!(file.open().is_err(), "what was left of it holds on to its ISO");
            assert!(operations.open(*ino).is_err());
        }
        assert!(matches!(operations.lookup(root, "file"), Err(Error::NotFound)));
        for ino in found {
            operations.forget(ino, 1);
        }
        assert!(matches!(operations.node(Below::FILE), Err(Error::NotFound)));
    });
}

/// A directory that is read when somebody looks, which takes long.
struct Below;

impl Below {
    /// Marked as one that is in no arena.
    const FILE: u64 = 1 << 62 | 5;
}

impl Directory for Below {
    fn lookup(self: Arc<Self>, name: &OsStr) -> io::Result<Option<Node>> {
        thread::yield_now();
        let kind = Kind::Unopened(Arc::new(File));
        Ok((name == "file").then(|| Node { ino: Self::FILE, mtime: TIME, kind }))
    }

    fn list(&self) -> io::Result<Vec<Listed>> {
        thread::yield_now();
        Ok(vec![Listed { ino: Self::FILE, kind: Type::File, name: "file".into() }])
    }

    fn waits_for(&self) -> Option<u64> {
        None
    }
}

struct File;

impl Unopened for File {
    fn size(&self) -> u64 {
        4
    }

    fn execute(&self) -> u16 {
        0
    }

    fn open(&self) -> io::Result<Arc<Content>> {
        Ok(Arc::new(Content::text("file".into())))
    }

    fn waits_for(&self) -> Option<u64> {
        None
    }
}
