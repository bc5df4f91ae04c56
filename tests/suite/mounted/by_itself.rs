//! What boots by itself where nobody has named anything.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use testkit::disc::Disc;

use crate::support::isos::Files;
use crate::support::place::Place;
use crate::support::writers::wait_for_writers;

/// The name of what boots by itself by each loader. While menus change, one of them may be read before and one after that.
fn by_itself(place: &Place) -> String {
    let mut name = String::new();
    place.eventually("loaders of one mind", || {
        let [pxelinux, grub, ipxe] = names(place);
        name = pxelinux;
        grub == name && ipxe.strip_suffix('/').unwrap_or(&ipxe) == name
    });
    name
}

fn names(place: &Place) -> [String; 3] {
    let value = |file: &str, begin: &str| {
        let text = place.text(file);
        let line = text.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_else(|| panic!("{text}"));
        line.split(' ').next().unwrap().trim_matches('\'').to_owned()
    };
    [
        value("tftp/pxelinux.cfg/default", "default "),
        value("tftp/grub.cfg", "set default="),
        value("tftp/boot.ipxe", "choose --default "),
    ]
}

fn age(path: &Path, days: u64) {
    let time = SystemTime::now() - Duration::from_secs(86_400 * days);
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn put(place: &Place, volume_id: &str, days: u64) {
    let file = format!("{volume_id}.iso");
    age(&place.put(&file, &Disc::new(volume_id, days)), days);
}

/// Fedora's installer, which would come first by its name and by its age.
fn put_installer(place: &Place) {
    let menu = "default linux\nlabel linux\n  menu label Install\n  kernel vmlinuz\n  \
                append initrd=initrd.img inst.stage2=hd:LABEL=A-Installer inst.ks=cdrom:/ks.cfg\n";
    let files = Files::new()
        .with("images/install.img", "hsqs")
        .with("isolinux/vmlinuz", "kernel")
        .with("isolinux/initrd.img", "initrd")
        .with("isolinux/isolinux.cfg", menu);
    let new = place.elsewhere("installer.iso");
    files.xorriso(&["-V", "A-Installer"], &new);
    age(&new, 900);
    wait_for_writers(&new);
    fs::rename(new, place.iso("installer.iso")).unwrap();
}

#[test]
fn the_oldest_live_system_boots_by_itself_and_newcomers_do_not_change_that() {
    let place = Place::new();
    put(&place, "Newer", 10);
    put(&place, "Older", 20);
    put_installer(&place);
    let options = ["--http-url", "http://192.0.2.1"];
    let daemon = place.start(&options);
    place.eventually("the installer in the menu", || {
        place.text("tftp/grub.cfg").contains("menuentry 'A-Installer")
    });
    place.eventually("the choice", || by_itself(&place) == "Older");
    // Whatever its time and name say, it has come later.
    put(&place, "AAA", 30);
    place.look_again("Zzz");
    assert_eq!(by_itself(&place), "Older");
    daemon.stop();
    put(&place, "AA", 40);
    let daemon = place.start(&options);
    assert_eq!(by_itself(&place), "Older");
    daemon.stop();
}

#[test]
fn another_build_under_the_same_name_goes_on_as_what_boots_by_itself() {
    let place = Place::new();
    put(&place, "Other", 5);
    put(&place, "Daily", 10);
    let daemon = place.start(&[]);
    place.eventually("the choice", || by_itself(&place) == "Daily");
    put(&place, "Daily", 1);
    place.look_again("Next");
    place.eventually("the choice", || by_itself(&place) == "Daily");
    // Also if it has come while nobody looked, and under another name afterwards.
    daemon.stop();
    put(&place, "Daily", 2);
    place.start(&[]).stop();
    fs::rename(place.iso("Daily.iso"), place.iso("renamed.iso")).unwrap();
    let daemon = place.start(&[]);
    place.eventually("the choice", || by_itself(&place) == "Daily");
    daemon.stop();
}

#[test]
fn when_the_one_that_boots_by_itself_goes_it_is_the_next_oldest_for_good() {
    let place = Place::new();
    put(&place, "C", 30);
    put(&place, "B", 20);
    put(&place, "A", 10);
    let daemon = place.start(&[]);
    place.eventually("the choice", || by_itself(&place) == "C");
    fs::rename(place.iso("C.iso"), place.elsewhere("C.iso")).unwrap();
    place.eventually("the next", || by_itself(&place) == "B");
    // Who comes back is a newcomer.
    fs::rename(place.elsewhere("C.iso"), place.iso("C.iso")).unwrap();
    place.eventually("it again", || place.tree("images/C.iso").exists());
    assert_eq!(by_itself(&place), "B");
    daemon.stop();
    let daemon = place.start(&[]);
    assert_eq!(by_itself(&place), "B");
    daemon.stop();
}

#[test]
fn without_a_live_system_it_is_the_local_disk() {
    let place = Place::new();
    put_installer(&place);
    let daemon = place.start(&["--http-url", "http://192.0.2.1"]);
    place.eventually("the installer in the menu", || {
        place.text("tftp/grub.cfg").contains("menuentry 'A-Installer")
    });
    assert_eq!(by_itself(&place), ".local");
    daemon.stop();
    // Who names it gets it.
    let daemon = place.start(&["--http-url", "http://192.0.2.1", "--default", "A-Installer"]);
    place.eventually("the installer", || by_itself(&place) == "A-Installer");
    daemon.stop();
}

#[test]
fn local_is_the_local_disk_and_none_waits_for_ever() {
    let place = Place::new();
    put(&place, "Live", 1);
    let daemon = place.start(&["--default", "local"]);
    assert_eq!(by_itself(&place), ".local");
    assert!(place.text("tftp/pxelinux.cfg/default").contains("\ntimeout 100\n"));
    daemon.stop();
    let daemon = place.start(&["--default", "none", "--timeout", "5"]);
    assert_eq!(by_itself(&place), ".local");
    assert!(place.text("tftp/pxelinux.cfg/default").contains("\ntimeout 0\n"));
    assert!(place.text("tftp/grub.cfg").starts_with("set timeout=-1\n"));
    assert!(place.text("tftp/boot.ipxe").contains("\nset netrootfs-wait 0\n"));
    daemon.stop();
}

#[test]
fn as_long_as_the_one_that_boots_by_itself_is_written_anew_no_other_takes_its_place() {
    let place = Place::new();
    put(&place, "Older", 20);
    put(&place, "Newer", 10);
    let daemon = place.start(&[]);
    place.eventually("the choice", || by_itself(&place) == "Older");
    let writer = File::options().write(true).open(place.iso("Older.iso")).unwrap();
    writer.write_all_at(&Disc::new("Older", 21).iso, 0).unwrap();
    place.eventually("the local disk", || by_itself(&place) == ".local");
    place.look_again("Next");
    assert_eq!(by_itself(&place), ".local");
    drop(writer);
    place.eventually("it again", || by_itself(&place) == "Older");
    daemon.stop();
}

#[test]
fn as_long_as_the_one_that_boots_by_itself_can_not_be_reached_no_other_takes_its_place() {
    let place = Place::new();
    put(&place, "Older", 20);
    put(&place, "Newer", 10);
    // What a link leads to is gone and comes again, as a mount does.
    let (there, gone) = (place.elsewhere("there"), place.elsewhere("gone"));
    fs::create_dir(&there).unwrap();
    fs::rename(place.iso("Older.iso"), there.join("Older.iso")).unwrap();
    symlink(there.join("Older.iso"), place.iso("Older.iso")).unwrap();
    let daemon = place.start(&[]);
    place.eventually("the choice", || by_itself(&place) == "Older");
    fs::rename(&there, &gone).unwrap();
    daemon.signal(Signal::HUP);
    place.eventually("the local disk", || by_itself(&place) == ".local");
    place.look_again("Next");
    assert_eq!(by_itself(&place), ".local");
    fs::rename(&gone, &there).unwrap();
    daemon.signal(Signal::HUP);
    place.eventually("it again", || by_itself(&place) == "Older");
    daemon.stop();
}

#[test]
fn what_an_older_version_has_kept_was_there_before_newcomers() {
    let place = Place::new();
    put(&place, "Known", 10);
    place.start(&[]).stop();
    let labels = place.top().join("state/labels.json");
    let text = fs::read_to_string(&labels).unwrap();
    assert!(text.contains("\"arrived\":1,"), "{text}");
    fs::write(&labels, text.replace("\"arrived\":1,", "")).unwrap();
    fs::remove_file(place.top().join("state/by-itself.json")).unwrap();
    put(&place, "Anew", 20);
    let daemon = place.start(&[]);
    place.eventually("the choice", || by_itself(&place) == "Known");
    daemon.stop();
}
