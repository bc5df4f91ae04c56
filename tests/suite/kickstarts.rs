//! The kickstarts under `scripts/kickstarts/` are valid for the Fedora releases that they name, one by one and
//! flattened as livemedia-creator wants them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kickstarts");
const RELEASES: [&str; 2] = ["F44", "F45"];

#[test]
fn each_kickstart_is_valid() {
    let kickstarts = kickstarts();
    assert_eq!(kickstarts.len(), 2);
    for release in RELEASES {
        for kickstart in &kickstarts {
            validate(release, kickstart);
        }
    }
}

#[test]
fn each_kickstart_flattens_to_a_valid_one_that_needs_no_other_file() {
    let directory = tempfile::tempdir().unwrap();
    for kickstart in kickstarts() {
        fs::copy(&kickstart, in_directory(directory.path(), &kickstart)).unwrap();
    }
    // The one file that the user writes.
    let repositories = "url --url=file:///srv/fedora\n";
    fs::write(directory.path().join("netroot-repo.ks"), repositories).unwrap();

    for release in RELEASES {
        for kickstart in kickstarts() {
            let flat = directory.path().join("flat.ks");
            let mut ksflatten = Command::new("ksflatten");
            ksflatten.args(["--version", release, "--config"]);
            ksflatten.arg(in_directory(directory.path(), &kickstart));
            assert_quiet_success(ksflatten.arg("--output").arg(&flat));

            validate(release, &flat);
            let text = fs::read_to_string(&flat).unwrap();
            assert!(!text.contains("%include"), "{text}");
            for line in ["nbd", "dracut-live", "dracut-network", "rootpw --lock", "shutdown"] {
                assert!(text.lines().any(|one| one == line), "{line} in:\n{text}");
            }
            let roots = text.lines().filter(|line| line.starts_with("part / "));
            assert_eq!(roots.count(), 1, "{text}");
        }
    }
}

fn kickstarts() -> Vec<PathBuf> {
    let entries = fs::read_dir(DIRECTORY).expect(DIRECTORY);
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == "ks")).collect();
    paths.sort();
    paths
}

fn in_directory(directory: &Path, file: &Path) -> PathBuf {
    directory.join(file.file_name().unwrap())
}

fn validate(release: &str, kickstart: &Path) {
    let mut ksvalidator = Command::new("ksvalidator");
    assert_quiet_success(ksvalidator.args(["-v", release]).arg(kickstart));
}

/// A warning of pykickstart's counts as a failure.
fn assert_quiet_success(command: &mut Command) {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!("this test needs {program}: install pykickstart with dnf, or with pip into a venv on the PATH ({error})")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{command:?}: {said}");
}
