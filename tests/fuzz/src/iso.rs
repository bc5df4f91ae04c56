//! An ISO, from its bytes to the tree that is served.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::SystemTime;

use netrootfs::boot::inspect;
use netrootfs::catalog::scan::{Catalog, FileId, Iso, IsoFile};
use netrootfs::image::iso::MAX_READS;
use netrootfs::image::label::Label;
use netrootfs::serve::operations::Operations;
use netrootfs::storage::source::ReadAt;
use netrootfs::storage::source::testing::Counting;
use netrootfs::tree::arena::{ROOT_INO, Tree};
use netrootfs::tree::layout::{self, Settings};
use netrootfs::tree::lazy::Type;

/// The system area: what is before it is zeros, and not part of the input (ECMA-119, 6.2.1).
pub const SYSTEM_AREA: usize = 32 << 10;

/// Nodes of one tree that are gone through, and bytes that are read of its files: what a second is enough for.
const NODES: usize = 3000;
const BYTES: u64 = 8 << 20;

/// An image of the bytes behind its system area, and zeros up to a length.
pub fn image(bytes: &[u8], tail: usize) -> Vec<u8> {
    let mut image = vec![0; SYSTEM_AREA];
    image.extend(bytes);
    image.resize(image.len() + tail, 0);
    image
}

/// ISO → tree → every byte. What is served has the size that is shown, each name is there once and can be looked up, and
/// reading the image has ended within its budget.
pub fn tree(bytes: &[u8]) {
    let bytes: Arc<[u8]> = image(bytes, 64 << 10).into();
    let source = Arc::new(Counting::new(Shared(bytes)));
    let read: Arc<dyn ReadAt> = source.clone();
    let facts = inspect::inspect(&read);
    assert!(source.reads().len() as u64 <= MAX_READS);
    let Ok(facts) = facts else { return };
    let Some(label) = Label::from_volume_id(&facts.volume_id).or_else(|| Label::parse("x").ok()) else {
        return;
    };
    let tree = lay_out(read, facts, label);
    walk(&Operations::new(tree));
}

fn walk(operations: &Operations) {
    let mut left = vec![(ROOT_INO, 0)];
    let (mut nodes, mut bytes) = (0, 0);
    while let Some((directory, depth)) = left.pop() {
        let Ok(handle) = operations.open_directory(directory) else { continue };
        let mut names = Vec::new();
        let each = |_, entry: &netrootfs::tree::lazy::Listed| {
            names.push((entry.name.clone(), entry.kind));
            true
        };
        operations.read_directory(handle, 2, each).expect("an open directory is read");
        assert!(operations.release(handle));
        let count = names.len();
        names.sort_by(|one, other| one.0.cmp(&other.0));
        names.dedup_by(|one, other| one.0 == other.0);
        assert_eq!(names.len(), count, "each name once");
        for (name, kind) in names {
            nodes += 1;
            if nodes > NODES || bytes > BYTES {
                return;
            }
            // As the ISO has them, in whatever encoding.
            let letters = name.as_bytes();
            assert!(
                !matches!(letters, b"" | b"." | b"..")
                    && !letters.iter().any(|byte| matches!(byte, b'/' | 0)),
                "{name:?}"
            );
            // A damaged entry is an error; one that isn't there would be a lie of the listing.
            let node = match operations.lookup(directory, &name) {
                Ok(node) => node,
                Err(netrootfs::serve::operations::Error::Lazy(_)) => continue,
                Err(error) => panic!("{name:?} is listed and not there: {error}"),
            };
            assert_eq!(node.file_type(), kind, "{name:?}");
            match kind {
                Type::Directory if depth < 40 => left.push((node.ino, depth + 1)),
                Type::Directory => {}
                Type::Link => drop(operations.target(node.ino).expect("a link has a target")),
                Type::File => bytes += file(operations, &node),
            }
        }
    }
}

/// Reads a file to its end, or as far as it is worth; returns how many bytes.
fn file(operations: &Operations, node: &netrootfs::tree::arena::Node) -> u64 {
    use netrootfs::tree::arena::Kind;
    let size = match &node.kind {
        Kind::File(content) => content.size(),
        Kind::Unopened(file) => file.size(),
        _ => return 0,
    };
    let Ok(handle) = operations.open(node.ino) else { return 0 };
    let mut buf = vec![0; 100_000];
    let mut at = 0;
    while at < BYTES {
        match operations.read(handle, at, &mut buf) {
            Ok(0) => {
                assert_eq!(at, size, "as many bytes as the size says");
                break;
            }
            Ok(read) => at += read as u64,
            Err(_) => break,
        }
    }
    // The end, and behind it.
    if let Ok(read) = operations.read(handle, size.saturating_sub(1), &mut buf) {
        assert_eq!(read as u64, size.min(1));
    }
    assert!(matches!(operations.read(handle, size, &mut buf), Ok(0) | Err(_)));
    assert!(matches!(operations.read(handle, u64::MAX, &mut buf), Ok(0) | Err(_)));
    assert!(operations.release(handle));
    at
}

fn lay_out(source: Arc<dyn ReadAt>, facts: inspect::Facts, label: Label) -> Tree {
    let id = FileId { device: 1, inode: 1, len: source.len(), mtime: 0, written: 0 };
    let disc = IsoFile {
        id,
        source: source.clone().into(),
        plain: source,
        len: id.len,
        mtime: SystemTime::UNIX_EPOCH,
        facts,
    };
    let iso = Iso {
        label,
        name: "x.iso".into(),
        disc: Arc::new(disc),
        arrived: 1,
        product: None,
        initrd: None,
        further: Vec::new(),
        netroot: Default::default(),
    };
    let settings = Settings::of_server("/srv/netboot", "10.0.2.2");
    layout::lay_out(&Catalog { isos: vec![iso], ..Catalog::default() }, &settings, &[], &Arc::default())
}

/// Bytes that are shared and not copied.
struct Shared(Arc<[u8]>);

impl ReadAt for Shared {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.as_ref().read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.0.as_ref().len() as u64
    }
}
