//! ISOs made by the tools that people make them with: a directory of files, a tool, an image.
//!
//! How a tool lays out the files is its own affair; tests compare with what xorriso extracts. A tool that isn't there
//! fails the test with the name of its package.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Files that an ISO is to be made of.
pub struct Files(TempDir);

impl Files {
    /// None yet.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A live ISO as Fedora lays it out: `LiveOS/squashfs.img` and a kernel and initrd in `images/pxeboot`.
    pub fn live() -> Self {
        Self::new()
            .with("images/pxeboot/vmlinuz", pattern(1, 10_000))
            .with("images/pxeboot/initrd.img", pattern(2, 50_001))
            .with("LiveOS/squashfs.img", squashfs(30_000))
    }

    /// Adds a file, with the directories above it.
    pub fn with(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    /// Adds a symbolic link.
    pub fn with_link(self, path: &str, target: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    /// The directory that they lie in.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes the ISO by `xorriso -as mkisofs`.
    pub fn xorriso<S: AsRef<OsStr>>(&self, options: &[S], iso: &Path) {
        run(tool("xorriso", "xorriso")
            .args(["-as", "mkisofs", "-quiet", "-o"])
            .arg(iso)
            .args(options)
            .arg(self.path()));
    }

    /// Makes the ISO by genisoimage.
    pub fn genisoimage<S: AsRef<OsStr>>(&self, options: &[S], iso: &Path) {
        run(tool("genisoimage", "genisoimage")
            .args(["-quiet", "-o"])
            .arg(iso)
            .args(options)
            .arg(self.path()));
    }
}

/// Bytes that differ from place to place and from seed to seed.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // xorshift64 (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Bytes that begin like a squashfs.
pub fn squashfs(len: usize) -> Vec<u8> {
    with_magic(len, 0, b"hsqs")
}

/// Bytes that begin like an EROFS.
pub fn erofs(len: usize) -> Vec<u8> {
    with_magic(len, 1024, &[0xe2, 0xe1, 0xf5, 0xe0])
}

/// Bytes that begin like an ext4.
pub fn ext4(len: usize) -> Vec<u8> {
    with_magic(len, 1080, &[0x53, 0xef])
}

fn with_magic(len: usize, at: usize, magic: &[u8]) -> Vec<u8> {
    let mut bytes = pattern(len as u64, len);
    bytes[at..at + magic.len()].copy_from_slice(magic);
    bytes
}

/// Extracts a whole ISO by xorriso: the directory with its files.
pub fn extract(iso: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let mut command = tool("xorriso", "xorriso");
    // Its own idea of what is a whole track on a CD is of no use here.
    command.args(["-abort_on", "FAILURE", "-report_about", "FAILURE", "-osirrox", "on", "-indev"]).arg(iso);
    run(command.args(["-extract", "/"]).arg(to.path()));
    // Directories come out as they are recorded, some without permission to be deleted from.
    run(Command::new("chmod").args(["-R", "u+rwX"]).arg(to.path()));
    to
}

/// The regular files below a directory, by path with a `/` in front.
pub fn files_below(directory: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                let name = format!("/{}", path.strip_prefix(directory).unwrap().to_str().unwrap());
                found.push((name, path));
            }
        }
    }
    found.sort();
    found
}

/// A command of a Debian package.
pub fn tool(name: &str, package: &str) -> Command {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        panic!("this test needs {name}: install the package {package}");
    }
    Command::new(name)
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}
