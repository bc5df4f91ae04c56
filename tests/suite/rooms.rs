//! The rooms of the house use what is below them, and nothing above (`src/lib.rs` draws them).

use std::fs;
use std::path::{Path, PathBuf};

/// From the roof to the ground.
const ROOMS: [&str; 7] = ["cli", "serve", "tree", "catalog", "boot", "image", "storage"];

#[test]
fn no_room_uses_one_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut upwards = Vec::new();
    for (floor, room) in ROOMS.iter().enumerate() {
        let files = files_of(&source, room);
        assert!(!files.is_empty(), "no room {room}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            // Doc links count too: who reads them is sent there.
            for used in text.split("crate::").skip(1) {
                let name: String = used.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
                let Some(of) = ROOMS.iter().position(|room| *room == name) else {
                    panic!("{}: crate::{name} is no room", file.display());
                };
                if of < floor {
                    upwards.push(format!("{}: {name}", file.display()));
                }
            }
        }
    }
    assert_eq!(upwards, [""; 0]);
}

#[test]
fn every_file_is_in_a_room() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            ROOMS.contains(&name) || ["lib", "main", "bin", "manual"].contains(&name),
            "{}",
            path.display()
        );
    }
}

/// The room's own page and all that is below it.
fn files_of(source: &Path, room: &str) -> Vec<PathBuf> {
    let mut found = vec![source.join(room).with_extension("rs")];
    let mut directories = vec![source.join(room)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}
