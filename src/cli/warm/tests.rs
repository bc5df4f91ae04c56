//! `warm`, over a directory that stands for a mount.

use tempfile::TempDir;

use super::*;
use crate::tree::render::status::{Iso, SCHEMA, Status, json};

#[test]
fn what_is_common_to_ranges_is_counted_once() {
    let one = [0..10, 20..30, 40..50];
    for (other, len) in [
        (vec![], 0),
        (vec![0..15, 15..100], 30),
        (vec![5..12, 12..25], 10),
        (vec![10..20, 30..40], 0),
        (vec![2..4, 6..22, 29..31, 49..60], 2 + 4 + 2 + 1 + 1),
    ] {
        assert_eq!((common(&one, &other), common(&other, &one)), (len, len), "{other:?}");
    }
}

/// What stands where a tree is mounted, with an ISO of these labels each; all in memory.
fn tree(labels: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let isos = labels.iter().map(|label| Iso { label: (*label).to_owned(), ..Iso::default() }).collect();
    let status = Status { schema: SCHEMA, isos, ..Status::default() };
    std::fs::write(directory.path().join(names::STATUS), json(&status)).unwrap();
    for name in [names::IMAGES, names::TFTP] {
        std::fs::create_dir(directory.path().join(name)).unwrap();
    }
    for label in labels {
        std::fs::write(directory.path().join(format!("images/{label}.iso")), vec![7; 3 << 20]).unwrap();
        std::fs::write(directory.path().join(format!("tftp/vmlinuz_{label}")), vec![7; 1 << 20]).unwrap();
    }
    directory
}

/// What `read` says, and whether that is all.
fn read_in(tree: &TempDir, named: &[&str], state: &TempDir, mib: u64) -> (bool, Vec<String>) {
    let named: Vec<String> = named.iter().map(|&label| label.into()).collect();
    let mut lines = Vec::new();
    let complete = read(tree.path(), &named, state.path(), mib << 20, &mut |line| {
        lines.push(line);
        Ok(())
    });
    (complete.unwrap(), lines)
}

#[test]
fn no_more_is_read_than_there_is_memory_for() {
    let (tree, state) = (tree(&["A", "B", "C"]), tempfile::tempdir().unwrap());
    assert!(save(tree.path(), &[], state.path(), &mut |_| Ok(())).unwrap());
    let too_much = "C: left out, as it takes 4 MiB, and there are 3 MiB of memory for it";
    for (named, room, complete, said) in [
        (&[][..], 12, true, &["A: 4 MiB in", "B: 4 MiB in", "C: 4 MiB in"][..]),
        (&[], 11, false, &["A: 4 MiB in", "B: 4 MiB in", too_much]),
        (&["C", "A"], 7, false, &["C: 4 MiB in", "A: left out"]),
    ] {
        let (done, lines) = read_in(&tree, named, &state, room);
        assert_eq!((done, lines.len()), (complete, said.len()), "{lines:?}");
        assert!(lines.iter().zip(said).all(|(line, said)| line.starts_with(said)), "{lines:?}");
    }
}

#[test]
fn an_iso_that_can_not_be_read_costs_itself() {
    let (tree, state) = (tree(&["A", "B"]), tempfile::tempdir().unwrap());
    assert!(save(tree.path(), &[], state.path(), &mut |_| Ok(())).unwrap());
    let kernel = tree.path().join("tftp/vmlinuz_A");
    std::fs::remove_file(&kernel).unwrap();
    std::fs::create_dir(&kernel).unwrap();
    let (done, lines) = read_in(&tree, &[], &state, 100);
    assert!(!done && lines[0].starts_with("A: tftp/vmlinuz_A: "), "{lines:?}");
    assert!(lines[1].starts_with("B: 4 MiB in"), "{lines:?}");
    let image = tree.path().join("images/A.iso");
    std::fs::remove_file(&image).unwrap();
    std::fs::create_dir(&image).unwrap();
    let mut lines = Vec::new();
    let mut say = |line| {
        lines.push(line);
        Ok(())
    };
    assert!(!save(tree.path(), &[], state.path(), &mut say).unwrap());
    assert!(lines[0].starts_with("A: images/A.iso: ") && lines[1].starts_with("B: 3 MiB are"), "{lines:?}");
}

#[test]
fn what_is_remembered_beyond_the_end_of_an_image_is_not_read() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(5000).unwrap();
    let read = |range| read_range(&file, range, &mut [0; 4096]).unwrap();
    assert_eq!((read(0..u64::MAX), read(4990..6000), read(6000..7000)), (5000, 10, 0));
}

#[test]
fn memory_is_as_proc_meminfo_says() {
    let text = "MemTotal:       24683728 kB\nMemFree:  861000 kB\nMemAvailable:   23452 kB\n";
    assert_eq!(available_in(text), Some(23452 << 10));
    assert_eq!(available_in("MemTotal: 1 kB\n"), None);
    assert!(available().unwrap() > 0);
}
