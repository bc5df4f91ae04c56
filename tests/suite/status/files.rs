//! The files, as whoever reads them finds them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::disc::Disc;

use super::{file, status};
use crate::support::place::{LIVE, Place, said};

#[test]
fn they_are_in_the_root_and_nowhere_else() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    let names = |path: &str| {
        let entries = fs::read_dir(place.tree(path)).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["images", "index.html", "metrics", "status.json", "tftp", "trees"]);
    // nbdkit exports each file that is there.
    assert_eq!(names("images"), ["One.iso", "liveos_One.img", "nbd.conf"]);
    for name in LIVE {
        assert!(!place.tree("tftp").join(name).exists() && !place.tree("images").join(name).exists());
    }
    daemon.stop();
}

#[test]
fn what_is_served_and_what_is_not_is_said_with_reasons_and_codes() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    fs::write(place.iso("junk.iso"), vec![7; 100_000]).unwrap();
    let daemon = place.start(&["--data-path", "cache"]);
    place.eventually("the look into the initrd", || {
        serde_json::from_slice::<serde_json::Value>(&place.read("status.json")).unwrap()["isos"][0]["initrd"]
            == "done"
    });
    let status = status(&place);
    let [iso] = status.isos.as_slice() else { panic!("{:?}", status.isos) };
    assert_eq!(
        (iso.label.as_str(), iso.file.as_str(), iso.boots_by.as_deref()),
        ("One", "one.iso", Some("NBD"))
    );
    assert!(iso.initrd_can.as_deref().unwrap().contains("dracut"), "{iso:?}");
    let [left_out] = status.left_out.as_slice() else { panic!("{:?}", status.left_out) };
    assert_eq!((left_out.file.as_str(), left_out.code.as_str()), ("junk.iso", "not-an-iso"));
    assert_eq!(status.server.as_deref(), Some("192.0.2.1"));
    assert_eq!((status.data_path.as_str(), status.takeovers), ("cache", 0));
    assert_eq!(status.mountpoint, place.mnt().display().to_string());
    assert!(status.iso_directory_readable && status.snapshot >= status.started);
    let page = place.text("index.html");
    assert!(page.contains("One: Start the Live System") && page.contains("junk.iso"), "{page}");
    let metrics = place.text("metrics");
    assert!(metrics.contains("\nnetrootfs_isos 1\n") && metrics.ends_with("# EOF\n"), "{metrics}");
    daemon.stop();
}

#[test]
fn a_file_that_is_renamed_is_said_by_its_new_name_and_configured_by_it() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let config = place.elsewhere("netrootfs.toml");
    fs::write(&config, "[iso.\"two.iso\"]\ntitle = \"The second\"\n").unwrap();
    let daemon = place.start(&["--config", config.to_str().unwrap()]);
    assert_eq!(status(&place).isos[0].file, "one.iso");
    fs::rename(place.iso("one.iso"), place.iso("two.iso")).unwrap();
    place.eventually("its new name", || status(&place).isos.first().is_some_and(|iso| iso.file == "two.iso"));
    assert_eq!(status(&place).isos[0].title, "The second");
    assert!(place.text("tftp/pxelinux.cfg/default").contains("The second"));
    daemon.stop();
}

#[test]
fn opens_and_bytes_are_counted_by_file_and_data_path() {
    let disc = Disc::new("One", 1);
    for path in ["cache", "kernel"] {
        let place = Place::with("one.iso", &disc);
        let daemon = place.start(&["--data-path", path]);
        let root = File::open(place.tree("images/One")).unwrap();
        let mut bytes = Vec::new();
        (&root).read_to_end(&mut bytes).unwrap();
        assert!(bytes == disc.root);
        assert!(place.read("tftp/vmlinuz_One") == disc.kernel);
        assert!(place.read("trees/One/isolinux/vmlinuz") == disc.kernel);
        assert!(fs::metadata(place.tree("tftp/none")).is_err());
        let status = status(&place);
        let by_kernel = u64::from(path == "kernel");
        let image = file(&status, "images/liveos_One.img");
        assert_eq!(
            (image.open, image.opens_kernel, image.opens_cache),
            (1, by_kernel, 1 - by_kernel),
            "{path}"
        );
        // By the kernel, reads are seen of none.
        assert_eq!(image.read_bytes >= disc.root.len() as u64, path == "cache", "{path} {image:?}");
        assert_eq!(file(&status, "tftp/vmlinuz_One").open, 0);
        assert_eq!(file(&status, "trees/One").opens_kernel + file(&status, "trees/One").opens_cache, 1);
        assert!(status.errors["not-found"] >= 1, "{:?}", status.errors);
        assert_eq!(status.data_path, path);
        assert!(!status.files.iter().any(|file| LIVE.contains(&file.path.as_str())), "itself");
        drop(root);
        daemon.stop();
    }
}

#[test]
fn whoever_has_one_open_reads_it_to_its_end() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    let open = File::open(place.tree("status.json")).unwrap();
    let size = open.metadata().unwrap().len();
    let mut first = vec![0; 10];
    open.read_exact_at(&mut first, 0).unwrap();
    let new = status(&place);
    assert_eq!(open.metadata().unwrap().len(), size, "another one has its name by now");
    assert_ne!(open.metadata().unwrap().ino(), fs::metadata(place.tree("status.json")).unwrap().ino());
    let mut text = Vec::new();
    (&open).read_to_end(&mut text).unwrap();
    assert_eq!(text.len() as u64, size);
    let old: netrootfs::tree::render::status::Status = serde_json::from_slice(&text).unwrap();
    assert!(old.time < new.time);
    daemon.stop();
}

#[test]
fn what_is_open_outlives_the_daemon_and_the_takeover_is_counted() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    let text = place.text("status.json");
    let open = File::open(place.tree("status.json")).unwrap();
    let size = open.metadata().unwrap().len();
    let before = daemon.server();
    daemon.kill_server();
    place.eventually("another process", || daemon.server().is_some_and(|now| Some(now) != before));
    let mut kept = String::new();
    (&open).read_to_string(&mut kept).unwrap();
    assert_eq!((kept.len() as u64, open.metadata().unwrap().len()), (size, size));
    assert!(text.starts_with("{\n  \"schema\": 1,\n") && kept.starts_with("{\n  \"schema\": 1,\n"));
    assert_eq!(status(&place).takeovers, 1);
    drop(open);
    daemon.stop();
}

#[test]
fn programs_that_look_before_they_open_get_the_file_that_they_looked_at() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    let copy = place.elsewhere("copy");
    let mut texts = std::collections::HashSet::new();
    while texts.len() < 4 {
        // It refuses what has become another file meanwhile.
        let began = Instant::now();
        let output = Command::new("cp").arg(place.tree("status.json")).arg(&copy).output().unwrap();
        let took = began.elapsed();
        // On a busy machine it may open the file later than the promise holds.
        assert!(output.status.success() || took > Duration::from_secs(2), "{took:?} {}", said(&output));
        texts.insert(fs::read(&copy).unwrap());
    }
    daemon.stop();
}

#[test]
fn without_a_mount_they_are_named_and_have_no_text() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let netrootfs = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
        command.arg(args[0]).arg(place.top().join("isos")).args(&args[1..]).output().unwrap()
    };
    let tree = String::from_utf8(netrootfs(&["tree"]).stdout).unwrap();
    for name in LIVE {
        assert!(tree.contains(&format!("{name} live\n")), "{tree}");
        let output = netrootfs(&["cat", name]);
        assert!(
            said(&output).contains(&format!("{name}: tells of a mount, and there is none")),
            "{}",
            said(&output)
        );
    }
}
