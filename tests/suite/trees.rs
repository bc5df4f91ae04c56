//! `trees/<LABEL>/` on a real mount: what is there is what xorriso extracts, and nobody gets out of it.
//!
//! Needs xorriso, genisoimage and fusermount3.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use netrootfs::catalog::scan::{self, Catalog, Iso, IsoFile};
use netrootfs::image::label::Label;
use netrootfs::storage::source::testing::Counting;
use netrootfs::tree::layout::{self, Settings};
use testkit::netrootfs::Mounted;
use testkit::process::{PATIENCE, wait_for};
use testkit::work::Work;

use crate::support::isos::{Files, extract, pattern};
use crate::support::patch::Patch;
use crate::support::place::LIVE;

#[test]
fn rock_ridge_is_shown_as_xorriso_extracts_it() {
    let files = menagerie();
    let served = Served::new("rock-ridge", |iso| files.xorriso(&["-R", "-J", "-V", "LIVE"], iso));
    let mut want = Entries::below(extract(&served.iso).path());
    want.link("sub/dir/absolute", Some("../../LiveOS/squashfs.img"));
    want.link("sub/dir/root", Some("../.."));
    want.link("sub/dir/clamped", Some("../../etc/passwd"));
    want.link("sub/dir/out", None);
    want.link("out", None);
    served.assert_shows(&want);
    for name in [".disk/info", ".treeinfo", ".discinfo", "sub/dir/two words\n;1", "sub/dir/inside"] {
        assert!(served.path(name).symlink_metadata().is_ok(), "{name}");
    }
    assert_eq!(fs::read_link(served.path("sub/dir/inside")).unwrap(), Path::new("../file"));
    assert_eq!(
        fs::read(served.path("sub/dir/absolute")).unwrap(),
        fs::read(served.path("LiveOS/squashfs.img")).unwrap()
    );
}

#[test]
fn relocated_directories_are_where_they_belong() {
    let files = menagerie();
    let served = Served::new("relocated", |iso| files.genisoimage(&["-R", "-V", "LIVE"], iso));
    assert!(
        fs::read(&served.iso).unwrap().windows(8).any(|bytes| bytes == b"RR_MOVED"),
        "the tool is to relocate"
    );
    assert_eq!(fs::read(served.path("1/2/3/4/5/6/7/8/9/10/11/file")).unwrap(), pattern(5, 9000));
    let mut want = Entries::below(extract(&served.iso).path());
    // xorriso shows the hidden directory of the relocated ones.
    want.0.retain(|path, _| !path.starts_with("rr_moved"));
    want.link("sub/dir/absolute", Some("../../LiveOS/squashfs.img"));
    want.link("sub/dir/root", Some("../.."));
    want.link("sub/dir/clamped", Some("../../etc/passwd"));
    want.link("sub/dir/out", None);
    want.link("out", None);
    served.assert_shows(&want);
}

#[test]
fn joliet_and_plain_isos_are_shown_too() {
    let files =
        Files::live().with("A directory/With a name that is long enough.for Joliet", pattern(3, 5000));
    let joliet = Served::new("joliet", |iso| files.genisoimage(&["-J", "-V", "LIVE"], iso));
    assert_eq!(
        fs::read(joliet.path("A directory/With a name that is long enough.for Joliet")).unwrap(),
        pattern(3, 5000)
    );
    joliet.assert_shows(&Entries::below(extract(&joliet.iso).path()).without_modes());
    let plain = Served::new("plain", |iso| files.genisoimage(&["-iso-level", "1", "-V", "LIVE"], iso));
    plain.assert_shows(&Entries::below(extract(&plain.iso).path()).without_modes().in_lower_case());
}

#[test]
fn a_directory_of_five_thousand_entries_is_listed_whole() {
    let mut files = Files::live();
    for number in 0..5000 {
        files = files.with(&format!("pool/package-{number}.rpm"), number.to_string());
    }
    let served = Served::new("five-thousand", |iso| files.xorriso(&["-R", "-V", "LIVE"], iso));
    let listed: Vec<OsString> =
        fs::read_dir(served.path("pool")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(listed.len(), 5000);
    assert_eq!(listed.into_iter().collect::<HashSet<_>>().len(), 5000, "a name that is listed twice");
    served.assert_shows(&Entries::below(extract(&served.iso).path()));
}

#[test]
fn inode_numbers_are_unique_and_the_same_after_a_restart() {
    let files = menagerie();
    let mut served = Served::new("inodes", |iso| files.xorriso(&["-R", "-V", "LIVE"], iso));
    let numbers = |served: &Served| {
        let found = paths(&served.mountpoint);
        found
            .into_iter()
            .map(|path| (path.symlink_metadata().unwrap().ino(), path))
            .collect::<BTreeMap<_, _>>()
    };
    let before = numbers(&served);
    // The root image has a name in images/ and one in the tree.
    assert_eq!(before.len(), paths(&served.mountpoint).len());
    for path in paths(&served.mountpoint) {
        for entry in path.is_dir().then(|| fs::read_dir(&path).unwrap()).into_iter().flatten() {
            let entry = entry.unwrap();
            if LIVE.map(|name| served.mountpoint.join(name)).contains(&entry.path()) {
                continue;
            }
            assert_eq!(
                entry.ino(),
                entry.path().symlink_metadata().unwrap().ino(),
                "{}",
                entry.path().display()
            );
        }
    }
    served.restart();
    assert_eq!(numbers(&served), before);
}

#[test]
fn modes_are_those_configured_and_what_can_be_executed_still_can() {
    let script = "#!/bin/sh\necho it runs\n";
    let files = Files::live().with("bin/all", script).with("bin/owner", script).with("bin/data", "data");
    for (name, mode) in [("bin/all", 0o755), ("bin/owner", 0o700), ("bin/data", 0o600)] {
        fs::set_permissions(files.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    let mut served = Served::new("modes", |iso| files.xorriso(&["-R", "-V", "LIVE"], iso));
    let modes = |served: &Served| {
        let mode = |name| served.path(name).metadata().unwrap().mode() & 0o7777;
        ["bin/all", "bin/owner", "bin/data", "bin"].map(mode)
    };
    assert_eq!(modes(&served), [0o555, 0o544, 0o444, 0o555]);
    let said = Command::new(served.path("bin/all")).output().unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap(), "it runs\n");
    served.options = vec!["--mode", "0440"];
    served.restart();
    assert_eq!(modes(&served), [0o550, 0o540, 0o440, 0o550]);
}

#[test]
fn no_chain_of_links_leads_out() {
    // `up` is the root of the tree, so `..` of it would be outside.
    let files = Files::live()
        .with_link("sub/up", "..")
        .with_link("sub/one", "up/..")
        .with_link("sub/two", "up/../../images/nbd.conf")
        .with_link("sub/three", "/../../../etc/passwd")
        .with_link("sub/self", "self");
    let served = Served::new("chains", |iso| files.xorriso(&["-R", "-V", "LIVE"], iso));
    let root = served.path("").canonicalize().unwrap();
    for path in paths(&root) {
        if let Ok(led) = path.canonicalize() {
            assert!(led.starts_with(&root), "{} leads to {}", path.display(), led.display());
        }
    }
    assert_eq!(served.path("sub/up").canonicalize().unwrap(), root);
    assert_eq!(served.path("sub/one").canonicalize().unwrap(), root.join("sub"));
    assert!(!served.path("sub/two").exists() && !served.path("sub/three").exists());
    assert_eq!(served.path("sub/self").metadata().unwrap_err().raw_os_error(), Some(libc::ELOOP));
}

#[test]
fn a_directory_that_contains_an_ancestor_has_an_end() {
    let files = Files::live().with("a/b/c/file", pattern(1, 100)).with("a/b/d/other", pattern(2, 100));
    let served = Served::new("circle", |iso| {
        files.xorriso(&["-R", "-V", "LIVE"], iso);
        let mut image = Patch { bytes: fs::read(iso).unwrap() };
        let (above, circle) = (image.record("/a"), image.record("/a/b/c"));
        let (sector, len) = (image.extent(above) / 2048, 2048);
        image.point(circle, u32::try_from(sector).unwrap(), len);
        fs::write(iso, image.bytes).unwrap();
    });
    assert_eq!(names(&served.path("a/b")), ["d"]);
    assert!(!served.path("a/b/c").exists());
    assert_eq!(fs::read(served.path("a/b/d/other")).unwrap(), pattern(2, 100));
    assert_eq!(paths(&served.path("a")).len(), 4);
}

#[test]
fn a_directory_whose_own_record_leads_elsewhere_is_an_error_and_the_others_are_served() {
    let files = Files::live().with("a/b/file", pattern(1, 100)).with("c/other", pattern(2, 100));
    let served = Served::new("dot", |iso| {
        files.xorriso(&["-R", "-V", "LIVE"], iso);
        let mut image = Patch { bytes: fs::read(iso).unwrap() };
        let (above, below) = (image.record("/a"), image.record("/a/b"));
        let (sector, dot) = (image.extent(above) / 2048, image.extent(below));
        image.point(dot, u32::try_from(sector).unwrap(), 2048);
        fs::write(iso, image.bytes).unwrap();
    });
    assert_eq!(fs::read_dir(served.path("a/b")).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(fs::read(served.path("c/other")).unwrap(), pattern(2, 100));
    assert!(served.log().contains("LIVE: /a/b: damaged"), "{}", served.log());
}

#[test]
fn devices_and_pipes_are_left_out() {
    let files = Files::live().with("dev/file", "file");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        files.path().join("dev/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let served = Served::new("pipe", |iso| files.xorriso(&["-R", "-V", "LIVE"], iso));
    assert_eq!(names(&served.path("dev")), ["file"]);
    assert!(!served.path("dev/pipe").exists());
    assert!(served.log().contains("\"pipe\" in \"/dev\" is left out"), "{}", served.log());
}

#[test]
fn nesting_has_a_limit() {
    let files = Files::live().with(&format!("{}file", "d/".repeat(70)), "too deep");
    let served = Served::new("nesting", |iso| files.xorriso(&["-R", "-V", "LIVE"], iso));
    assert_eq!(names(&served.path(&"d/".repeat(62))), ["d"]);
    assert!(names(&served.path(&"d/".repeat(63))).is_empty());
    assert!(served.log().contains("is left out: too deep"), "{}", served.log());
}

#[test]
fn a_damaged_entry_is_an_error_and_the_others_of_its_directory_are_served() {
    let files = Files::live().with("sub/bad", pattern(1, 100)).with("sub/good", pattern(2, 100));
    let served = Served::new("entry", |iso| {
        files.xorriso(&["-R", "-V", "LIVE"], iso);
        let mut image = Patch { bytes: fs::read(iso).unwrap() };
        // A SUSP entry of two bytes (SUSP, 4.1: four at least).
        let entry = image.susp(image.record("/sub/bad"), b"PX");
        image.put(entry + 2, &[2]);
        fs::write(iso, image.bytes).unwrap();
    });
    assert_eq!(names(&served.path("sub")), ["BAD", "good"]);
    assert_eq!(File::open(served.path("sub/BAD")).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(fs::read(served.path("sub/good")).unwrap(), pattern(2, 100));
    assert!(served.log().contains("LIVE: /sub/BAD: damaged"), "{}", served.log());
}

#[test]
fn a_compressed_file_is_an_error_that_names_it_and_the_others_are_served() {
    let zisofs = [[0x37, 0xe4, 0x53, 0x96, 0xc9, 0xdb, 0xd6, 0x07].as_slice(), &[0; 100]].concat();
    let files = Files::live().with("sub/zisofs", zisofs).with("sub/file", "file");
    let served = Served::new("zisofs", |iso| files.xorriso(&["-R", "-V", "LIVE"], iso));
    let path = served.path("sub/zisofs");
    assert_eq!(path.metadata().unwrap().len(), 108);
    assert_eq!(File::open(path).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(fs::read(served.path("sub/file")).unwrap(), b"file");
    let lines = served.log().lines().filter(|line| line.contains("/sub/zisofs")).count();
    assert_eq!(lines, 1, "{}", served.log());
}

#[test]
fn a_removed_iso_takes_its_tree_away_and_open_files_go_on() {
    let files = menagerie();
    let served = Served::new("removed", |iso| files.xorriso(&["-R", "-V", "LIVE"], iso));
    let open = File::open(served.path("LiveOS/squashfs.img")).unwrap();
    let bytes = fs::read(served.path("LiveOS/squashfs.img")).unwrap();
    assert!(served.path("sub/dir/inside").exists());
    let mut inside = Command::new("sleep").arg("600").current_dir(served.path("sub")).spawn().unwrap();
    let cwd = PathBuf::from(format!("/proc/{}/cwd", inside.id()));
    assert!(cwd.join("dir/inside").exists());

    fs::remove_file(&served.iso).unwrap();
    let gone = || Ok(!served.path("").exists());
    wait_for("the tree to go", PATIENCE, gone).unwrap();
    assert!(!cwd.join("dir").exists() && !cwd.join("file").exists() && !cwd.join("never").exists());
    assert!(cwd.metadata().unwrap().is_dir());
    assert_eq!(fs::read_dir(&cwd).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(names(&served.mountpoint.join("trees")), Vec::<OsString>::new());
    let mut read = vec![0; bytes.len()];
    std::os::unix::fs::FileExt::read_exact_at(&open, &mut read, 0).unwrap();
    assert!(read == bytes, "an open file has other bytes");
    drop(open);
    inside.kill().unwrap();
    inside.wait().unwrap();
    // Its space is free again.
    let held = || served.descriptors().iter().any(|path| path.contains("live.iso"));
    wait_for("the ISO to be let go", PATIENCE, || Ok(!held())).unwrap();
}

#[test]
fn nothing_is_read_until_somebody_looks_and_then_only_that_directory() {
    let work = Work::new("trees-lazy").unwrap();
    let iso = work.scratch("live.iso");
    let mut files = Files::live();
    for number in 0..1000 {
        files = files.with(&format!("pool/{number}/file"), "");
    }
    files.xorriso(&["-R", "-V", "LIVE"], &iso);
    let disc =
        Arc::try_unwrap(scan::open_file(&iso).unwrap()).unwrap_or_else(|_| panic!("a disc of its own"));
    let source = Arc::new(Counting::new(disc.plain.clone()));
    let disc = Arc::new(IsoFile { plain: source.clone(), ..disc });
    let iso = Iso {
        label: Label::parse("LIVE").unwrap(),
        name: "live.iso".into(),
        disc,
        arrived: 1,
        product: None,
        initrd: None,
        further: Vec::new(),
        netroot: Default::default(),
    };
    let catalog = Catalog { isos: vec![iso], ..Catalog::default() };
    let settings = Settings::of_server("/srv/netboot", "192.0.2.1");
    let tree = layout::lay_out(&catalog, &settings, &[], &Arc::default());
    assert!(tree.dump().contains("trees/LIVE/"));
    assert_eq!(source.reads().len(), 0, "laying out has read the ISO");
    let list = |path| tree.read(&tree.find(path).unwrap().unwrap()).unwrap().len();
    assert_eq!(list("trees/LIVE/images"), 1);
    let few = source.reads().len();
    assert!(few < 100, "{few} reads for two small directories");
    assert_eq!(list("trees/LIVE/images"), 1);
    assert_eq!(source.reads().len(), few, "a directory has been read twice");
    assert_eq!(list("trees/LIVE/pool"), 1000);
    assert!(source.reads().len() - few < 8000, "{} reads", source.reads().len());
}

#[test]
fn tree_has_a_line_an_iso_and_cat_looks_inside() {
    let files = menagerie();
    let served = Served::new("commands", |iso| files.xorriso(&["-R", "-V", "LIVE"], iso));
    let tree = served.command("tree", &[]);
    assert!(tree.0.contains("trees/\ntrees/LIVE/ …\n"), "{}", tree.0);
    let bytes = served.command("cat", &["trees/LIVE/.disk/info"]);
    assert_eq!(bytes, ("a disc\n".into(), String::new()));
    for (path, said) in [
        ("trees/LIVE/sub", "trees/LIVE/sub: is a directory"),
        ("trees/LIVE/sub/dir/absolute", "is a symbolic link to ../../LiveOS/squashfs.img"),
        ("trees/LIVE/sub/nothing", "no such file in the tree"),
    ] {
        assert!(served.command("cat", &[path]).1.contains(said), "{path}");
    }
}

/// A live ISO with what else can be in one.
fn menagerie() -> Files {
    let files = Files::live()
        .with(".disk/info", "a disc\n")
        .with(".treeinfo", "[general]\n")
        .with(".discinfo", "1.0\n")
        .with("empty", "")
        .with("sub/file", pattern(4, 7777))
        .with("sub/dir/two words\n;1", "odd")
        .with("1/2/3/4/5/6/7/8/9/10/11/file", pattern(5, 9000))
        .with_link("sub/dir/inside", "../file")
        .with_link("sub/dir/dangling", "nothing/here")
        .with_link("sub/dir/absolute", "/LiveOS/squashfs.img")
        .with_link("sub/dir/root", "/")
        .with_link("sub/dir/clamped", "/../etc/passwd")
        .with_link("sub/dir/out", "../../../images/nbd.conf")
        .with_link("out", "..");
    let latin1 = OsString::from_vec(b"sub/gr\xfcn".to_vec());
    fs::write(files.path().join(latin1), "green").unwrap();
    fs::create_dir(files.path().join("hollow")).unwrap();
    fs::set_permissions(files.path().join("sub/file"), PermissionsExt::from_mode(0o755)).unwrap();
    let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    File::open(files.path().join("sub/file")).unwrap().set_times(old).unwrap();
    fs::hard_link(files.path().join("sub/file"), files.path().join("hard")).unwrap();
    files
}

/// All that is below a directory, by path.
#[derive(Debug, PartialEq, Eq)]
struct Entries(BTreeMap<PathBuf, Entry>);

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Directory,
    /// Size, who may execute it, modification time.
    File(u64, bool, i64),
    Link(PathBuf),
}

impl Entries {
    fn below(directory: &Path) -> Self {
        let found = paths(directory).into_iter().filter(|path| path != directory).map(|path| {
            let stat = path.symlink_metadata().unwrap();
            let entry = match stat.file_type() {
                kind if kind.is_dir() => Entry::Directory,
                kind if kind.is_symlink() => Entry::Link(fs::read_link(&path).unwrap()),
                _ => Entry::File(stat.len(), stat.mode() & 0o111 != 0, stat.mtime()),
            };
            (path.strip_prefix(directory).unwrap().to_owned(), entry)
        });
        Self(found.collect())
    }

    /// Expects nothing to be executable: no modes are recorded, and xorriso's own idea of them is another.
    fn without_modes(mut self) -> Self {
        for entry in self.0.values_mut() {
            if let Entry::File(_, execute, _) = entry {
                *execute = false;
            }
        }
        self
    }

    /// Expects names as Linux shows those of plain ISO 9660 (isofs(5), map=normal).
    fn in_lower_case(self) -> Self {
        let lower = |path: PathBuf| PathBuf::from(path.to_str().unwrap().to_ascii_lowercase());
        Self(self.0.into_iter().map(|(path, entry)| (lower(path), entry)).collect())
    }

    /// Expects another target than is recorded, or none.
    fn link(&mut self, path: &str, target: Option<&str>) {
        let before = match target {
            Some(target) => self.0.insert(path.into(), Entry::Link(target.into())),
            None => self.0.remove(Path::new(path)),
        };
        assert!(matches!(before, Some(Entry::Link(_))), "{path} is a link in the ISO");
    }
}

/// A directory and all that is below it.
/// All below a directory, but for what is another file at each look-up.
fn paths(directory: &Path) -> Vec<PathBuf> {
    let live = LIVE.map(|name| directory.join(name));
    let mut found = vec![directory.to_owned()];
    let mut at = 0;
    while let Some(path) = found.get(at).cloned() {
        at += 1;
        if path.symlink_metadata().unwrap().is_dir() {
            let below = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            found.extend(below.filter(|path| !live.contains(path)));
        }
    }
    found
}

fn names(directory: &Path) -> Vec<OsString> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// One ISO, mounted.
struct Served {
    mounted: Option<Mounted>,
    mountpoint: PathBuf,
    iso: PathBuf,
    options: Vec<&'static str>,
    work: Work,
}

impl Served {
    /// Serves the ISO that `make` writes, with the volume id LIVE.
    fn new(test: &str, make: impl FnOnce(&Path)) -> Self {
        let work = Work::new(&format!("trees-{test}")).unwrap();
        let (isos, mountpoint) = (work.scratch("isos"), work.scratch("mnt"));
        for directory in [&isos, &mountpoint] {
            fs::create_dir(directory).unwrap();
        }
        let iso = isos.join("live.iso");
        make(&iso);
        let mut served = Self { mounted: None, mountpoint, iso, options: Vec::new(), work };
        served.restart();
        served
    }

    fn restart(&mut self) {
        if let Some(mounted) = self.mounted.take() {
            mounted.stop().unwrap();
        }
        let mut options = vec!["--server", "192.0.2.1", "-v"];
        options.extend(&self.options);
        let isos = self.iso.parent().unwrap();
        self.mounted = Some(Mounted::start(isos, &self.mountpoint, &options, &self.work).unwrap());
    }

    fn path(&self, path: &str) -> PathBuf {
        self.mountpoint.join("trees/LIVE").join(path)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.work.log("netrootfs")).unwrap()
    }

    /// Paths, types, sizes, times, who may execute what, targets of links, and every byte.
    fn assert_shows(&self, want: &Entries) {
        let shown = Entries::below(&self.path(""));
        for (path, entry) in &want.0 {
            assert_eq!(shown.0.get(path), Some(entry), "{}", path.display());
        }
        let more: Vec<_> = shown.0.keys().filter(|path| !want.0.contains_key(*path)).collect();
        assert!(more.is_empty(), "{more:?} is in the tree only");
        let extracted = extract(&self.iso);
        for (path, entry) in &want.0 {
            if let Entry::File(..) = entry {
                let one = fs::read(self.mountpoint.join("trees/LIVE").join(path)).unwrap();
                // Plain names are in capitals on the disc.
                let capitals =
                    || fs::read(extracted.path().join(path.to_str().unwrap().to_ascii_uppercase()));
                let other = fs::read(extracted.path().join(path)).or_else(|_| capitals()).unwrap();
                assert!(one == other, "{} has other bytes", path.display());
            }
        }
    }

    /// Runs a command that needs no mount: what it prints, and what it says.
    fn command(&self, command: &str, args: &[&str]) -> (String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_netrootfs"))
            .arg(command)
            .arg(self.iso.parent().unwrap())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    /// Files that netrootfs has open.
    fn descriptors(&self) -> Vec<String> {
        let wanted = self.mountpoint.as_os_str().as_encoded_bytes();
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|process| process.path());
        let serves = |process: &PathBuf| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            let mut words = line.split(|&byte| byte == 0);
            words.next() == Some(env!("CARGO_BIN_EXE_netrootfs").as_bytes())
                && words.any(|word| word == wanted)
        };
        let process = processes.into_iter().find(serves).unwrap();
        let links = fs::read_dir(process.join("fd")).unwrap().flatten();
        links.filter_map(|fd| Some(fs::read_link(fd.path()).ok()?.display().to_string())).collect()
    }
}
