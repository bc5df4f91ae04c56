//! How start-up, memory and reading the menus grow with the number of ISOs.
//!
//! Each ISO is a file of its own, of 4 MiB. The mount is made by the command, as an administrator would, with cold and
//! with warm page cache; memory is that of its processes, before anything of an ISO but its menus was read.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::Serialize;

use crate::speed::processes::{eldest_of, family, memory};

const ISO_SIZE: usize = 4 << 20;
/// The volume id in the primary volume descriptor (ECMA-119, 8.4.7).
const VOLUME_ID: u64 = 16 * 2048 + 40;

/// The cost of a number of ISOs.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    pub isos: usize,
    pub cold_ms: f64,
    pub warm_ms: f64,
    pub rescan_ms: f64,
    pub conf_ms: f64,
    pub menu_ms: f64,
    /// From the daemon's death on.
    pub takeover_ms: f64,
    pub memory_mib: f64,
}

/// Measures with each number.
pub fn measure(counts: &[usize]) -> Vec<Growth> {
    counts.iter().map(|&count| of_count(count)).collect()
}

fn of_count(count: usize) -> Growth {
    eprintln!("ISOs: {count}");
    let work = tempfile::tempdir().expect("a directory");
    let isos = work.path().join("isos");
    let mountpoint = work.path().join("mnt");
    fs::create_dir(&isos).and_then(|()| fs::create_dir(&mountpoint)).expect("directories");
    make_isos(work.path(), &isos, count);

    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").expect("root");
    let cold = time(|| mount(&isos, &mountpoint, work.path()));
    unmount(&mountpoint);
    let warm = time(|| mount(&isos, &mountpoint, work.path()));

    let conf = time_read(&mountpoint.join("images/nbd.conf"));
    let menu = time_read(&mountpoint.join("tftp/pxelinux.cfg/default"));
    let eldest = eldest_of(&mountpoint).expect("the process that holds the mount");
    let memory = memory(eldest);
    let takeover = takeover(eldest, &mountpoint);
    let rescan = time(|| {
        fs::rename(isos.join("0.iso"), work.path().join("0.iso")).expect("rename");
        while mountpoint.join("images/BENCH-0.iso").exists() {
            std::thread::yield_now();
        }
    });
    unmount(&mountpoint);
    Growth {
        isos: count,
        cold_ms: millis(cold),
        warm_ms: millis(warm),
        rescan_ms: millis(rescan),
        conf_ms: millis(conf),
        menu_ms: millis(menu),
        takeover_ms: millis(takeover),
        memory_mib: memory as f64 / f64::from(1 << 20),
    }
}

/// One ISO by xorriso, and copies of it with other volume ids.
fn make_isos(work: &Path, isos: &Path, count: usize) {
    let disc = work.join("disc");
    for (path, bytes) in [
        ("images/pxeboot/vmlinuz", vec![1; 64 << 10]),
        ("images/pxeboot/initrd.img", b"070701".to_vec()),
        ("LiveOS/squashfs.img", [b"hsqs".as_slice(), &vec![7; ISO_SIZE - (512 << 10)]].concat()),
        ("isolinux/isolinux.cfg", MENU.as_bytes().to_vec()),
        ("EFI/BOOT/grub.cfg", GRUB.as_bytes().to_vec()),
    ] {
        let path = disc.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }
    let first = work.join("first.iso");
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-R", "-J", "-V", "BENCH", "-o"]).arg(&first).arg(&disc);
    let made = xorriso.output().expect("xorriso (package xorriso)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for number in 0..count {
        let path = isos.join(format!("{number}.iso"));
        fs::copy(&first, &path).expect("a copy");
        let mut file = File::options().write(true).open(path).expect("the copy");
        file.seek(SeekFrom::Start(VOLUME_ID)).expect("seek");
        write!(file, "{:<32}", format!("BENCH-{number}")).expect("a volume id");
    }
}

const MENU: &str = "default linux\nlabel linux\n  menu label Start\n  kernel /images/pxeboot/vmlinuz\n  \
                    append initrd=/images/pxeboot/initrd.img root=live:CDLABEL=BENCH rd.live.image quiet\n";
const GRUB: &str = "menuentry 'Start' {\n linux /images/pxeboot/vmlinuz root=live:CDLABEL=BENCH rd.live.image quiet\n \
                    initrd /images/pxeboot/initrd.img\n}\n";

fn mount(isos: &Path, mountpoint: &Path, state: &Path) {
    let status = Command::new(env!("CARGO_BIN_EXE_netrootfs"))
        .args(["--server", "10.0.2.2", "--state-dir"])
        .arg(state.join("state"))
        .arg("--log-file")
        .arg(state.join("log"))
        .args([isos, mountpoint])
        .status();
    assert!(status.expect("netrootfs").success());
}

fn unmount(mountpoint: &Path) {
    let status = Command::new("fusermount3").arg("-u").arg(mountpoint).status();
    assert!(status.expect("fusermount3 (package fuse3)").success());
    // Its processes end afterwards, and are not the next one's.
    while eldest_of(mountpoint).is_some() {
        std::thread::yield_now();
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn time_read(path: &Path) -> Duration {
    time(|| {
        let mut text = String::new();
        File::open(path).and_then(|mut file| file.read_to_string(&mut text)).expect("a rendered file");
        assert!(!text.is_empty());
    })
}

/// The median of some deaths of the daemon: until nbd.conf has been read, which asks who serves then.
fn takeover(holder: u32, mountpoint: &Path) -> Duration {
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            // Of one that dies sooner, the holder thinks that it can't serve.
            std::thread::sleep(Duration::from_secs(2));
            let daemon = family(holder).into_iter().nth(1).and_then(|pid| Pid::from_raw(pid.cast_signed()));
            let daemon = daemon.expect("the daemon");
            time(|| {
                kill_process(daemon, Signal::KILL).expect("a signal");
                // What is being killed may answer once more.
                while test_kill_process(daemon).is_ok() {
                    std::thread::yield_now();
                }
                time_read(&mountpoint.join("images/nbd.conf"));
            })
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
