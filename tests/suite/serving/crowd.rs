//! A machine room: 64 NBD and 64 TFTP clients at once, on one image and on ten, while other ISOs come and go. Every byte is
//! compared, and at the end the daemon holds no more than before.
//!
//! `NETROOTFS_CROWD_SECONDS` says for how long each of the rounds goes; `scripts/bench crowd` asks for minutes.

use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use testkit::disc::{Disc, noise};
use testkit::nbd::Client;
use testkit::ports::{free, local};
use testkit::tftp;

use super::nbd::NbdServer;
use super::tftp::{Kind, Server};
use crate::support::place::{Daemon, Place};

/// Clients of each kind.
const CLIENTS: usize = 64;

/// Seconds of a round.
const FEW: u64 = 2;

/// ISOs that come and go.
const GUESTS: u64 = 5;

/// What the daemon's own memory may grow by in the last round. An image that were held would be 3 MB, and many come and go.
const GROWTH: u64 = 2 << 20;

/// Rounds until it no longer grows: the allocator takes its time to have enough. What leaks grows in each.
const ROUNDS: u64 = 6;

#[test]
fn a_crowd_on_one_image_on_the_kernel_s_path() {
    crowd(1, "kernel");
}

#[test]
fn a_crowd_on_ten_images_on_the_cache_s_path() {
    crowd(10, "cache");
}

struct Scene<'a> {
    discs: &'a [(String, Disc)],
    nbd: SocketAddr,
    tftp: SocketAddr,
    over: &'a AtomicBool,
    /// Who calls the NBD server: its queue has room for ten, and TCP waits for seconds before it calls again.
    door: Mutex<()>,
    /// How long each read, and each file, has taken.
    reads: Mutex<Vec<Duration>>,
    files: Mutex<Vec<Duration>>,
}

fn crowd(count: usize, path: &str) {
    let place = Place::new();
    let discs: Vec<_> = (0..count)
        .map(|number| (format!("Disc{number}"), Disc::new(&format!("Disc{number}"), number as u64)))
        .collect();
    for (name, disc) in &discs {
        place.put(&format!("{name}.iso"), disc);
    }
    let port = free();
    let daemon = place.start(&["--data-path", path, "--cache-size", "1M", "--nbd-port", &port.to_string()]);
    place.eventually("the verdicts", || place.top().join("state/initrds.json").exists());
    let _nbd = NbdServer::start(&place, port);
    let tftp = Server::start(Kind::TftpdHpa, &place);
    let seconds = std::env::var("NETROOTFS_CROWD_SECONDS").ok();
    let seconds = seconds.map_or(FEW, |text| text.parse().expect("NETROOTFS_CROWD_SECONDS is a number"));
    let names = format!("{count} on the {path}'s path");

    let round = |number: u64| {
        let over = AtomicBool::new(false);
        let tftp = (tftp.address, tftp::PORT).into();
        let (door, reads, files) = Default::default();
        let scene = Scene { discs: &discs, nbd: local(port), tftp, over: &over, door, reads, files };
        let faults = together(&scene, &place, Duration::from_secs(seconds), number);
        assert!(faults.is_empty(), "{names}: {faults:#?}");
        println!("{names}: {}; {}", times("reads by NBD", scene.reads), times("files by TFTP", scene.files));
        held(&place, &daemon)
    };
    let first = round(1);
    let mut memory = vec![first.memory];
    let settled = |memory: &[u64]| matches!(memory, [.., before, last] if *last <= before + GROWTH);
    for number in 2..=ROUNDS {
        memory.push(round(number).memory);
        if settled(&memory) {
            break;
        }
    }
    // What clients had open by a connection is closed when its process has come to its end.
    place.eventually("no more descriptors than before", || daemon.descriptors().len() <= first.descriptors);
    println!("{names}: bytes after each round: {memory:?}");
    assert!(settled(&memory), "{names}: bytes after each round: {memory:?}");
    daemon.stop();
}

/// Lets all clients go for a while, and ISOs come and go beside them; returns what went wrong.
fn together(scene: &Scene<'_>, place: &Place, long: Duration, round: u64) -> Vec<String> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2 * CLIENTS)
            .map(|number| {
                scope.spawn(move || {
                    // Each does its work once at least.
                    loop {
                        let (name, disc) = &scene.discs[number / 2 % scene.discs.len()];
                        let done =
                            if number % 2 == 0 { read(scene, name, disc) } else { fetch(scene, name, disc) };
                        done.map_err(|fault| format!("client {number}, of {name}: {fault}"))?;
                        if scene.over.load(Ordering::Relaxed) {
                            return Ok::<(), String>(());
                        }
                    }
                })
            })
            .collect();
        let come_and_go = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let since = Instant::now();
            let mut number = 0;
            while since.elapsed() < long {
                let name = format!("guest{}.iso", number % GUESTS);
                match place.iso(&name).exists() {
                    true => fs::remove_file(place.iso(&name)).unwrap(),
                    false => {
                        drop(place.put(&name, &Disc::new(&format!("Guest{number}"), 1000 * round + number)))
                    }
                }
                number += 1;
                // One that clients read is put there again, too: the same bytes in another file.
                if let Some((name, disc)) = scene.discs.get(number as usize % (4 * scene.discs.len())) {
                    place.put(&format!("{name}.iso"), disc);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }));
        scene.over.store(true, Ordering::Relaxed);
        let ended = clients.into_iter().filter_map(|client| client.join().expect("a client").err());
        ended.chain(come_and_go.err().map(|_| "those who come and go: see above".to_owned())).collect()
    })
}

/// A machine on its root: pieces here and there over one connection.
fn read(scene: &Scene<'_>, name: &str, disc: &Disc) -> Result<(), String> {
    let door = scene.door.lock().unwrap();
    let mut client = Client::connect(scene.nbd, name).map_err(|error| format!("a connection: {error}"))?;
    drop(door);
    let places = noise(Instant::now().elapsed().subsec_nanos().into(), 64 * 4);
    for at in places.chunks_exact(4) {
        let at = u32::from_le_bytes(at.try_into().expect("four bytes")) as usize % (disc.root.len() - 32_768);
        let since = Instant::now();
        let bytes = client.read(at as u64, 32_768).map_err(|error| format!("{at}: {error}"))?;
        scene.reads.lock().unwrap().push(since.elapsed());
        if bytes != disc.root[at..at + 32_768] {
            return Err(format!("other bytes at {at}"));
        }
    }
    client.disconnect().map_err(|error| format!("the end: {error}"))
}

/// A machine that boots: its kernel.
fn fetch(scene: &Scene<'_>, name: &str, disc: &Disc) -> Result<(), String> {
    let since = Instant::now();
    let bytes =
        tftp::fetch(scene.tftp, &format!("vmlinuz_{name}")).map_err(|error| format!("TFTP: {error}"))?;
    scene.files.lock().unwrap().push(since.elapsed());
    if bytes == disc.kernel {
        Ok(())
    } else {
        Err(format!("{} bytes, others than the kernel's", bytes.len()))
    }
}

/// Slowest beside median.
fn times(what: &str, times: Mutex<Vec<Duration>>) -> String {
    let mut times = times.into_inner().unwrap();
    times.sort();
    let slowest = times.last().expect("each client has done its work");
    format!("{} {what}, median {:.1?}, slowest {slowest:.1?}", times.len(), times[times.len() / 2])
}

/// What the daemon holds when nobody asks.
struct Held {
    descriptors: usize,
    /// Memory of its own, in bytes, but for what the event loops read into.
    memory: u64,
}

fn held(place: &Place, daemon: &Daemon<'_>) -> Held {
    for number in 0..GUESTS {
        let _ = fs::remove_file(place.iso(&format!("guest{number}.iso")));
    }
    let images = || fs::read_dir(place.tree("images")).unwrap().count();
    let isos = fs::read_dir(place.iso("")).unwrap().count();
    place.eventually("the end of the guests", || images() == 2 * isos + 1);
    // Servers close what they have open when they see that a client went.
    let files = || daemon.descriptors().into_iter().filter(|name| name.contains(".iso")).count();
    // One is read by through the pages that the kernel keeps, and one past them.
    place.eventually("no files but the ISOs that are there", || files() <= 2 * isos);
    let rollup = fs::read_to_string(daemon.proc("smaps_rollup")).expect("Linux 4.14");
    let bytes = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).expect("a line of its own");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    };
    // Each event loop has a huge page to read into, from its first read on: which of them read is left to chance.
    let memory = bytes("Anonymous:") - bytes("AnonHugePages:");
    Held { descriptors: daemon.descriptors().len(), memory }
}
