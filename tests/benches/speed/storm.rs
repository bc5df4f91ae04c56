//! A boot storm: machines at once that read of a disc what one read in a real boot, from the mount and from a plain ISO.
//!
//! A machine is a connection that asks for the reads of a recorded boot, one after the other and without the pauses between
//! them, so that it waits for the server alone; it is up after the last one. All call at once, and again, as netroot-init
//! does, where the server says nothing. The first bytes of each read are compared. Both ways have the same servers, in turns.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;
use testkit::nbd::Client;

use crate::speed::contender::Contender;
use crate::speed::place::{LABEL, Place};
use crate::speed::served::Server;

mod family;
mod trace;

use family::Family;
use trace::Trace;

/// The longest of netroot-init's, until it calls again.
const PATIENCE: Duration = Duration::from_secs(20);

/// Machines at the servers that are not made for many.
const MOST_OF_OTHERS: usize = 64;

/// What a machine's thread needs besides its buffer.
const STACK: usize = 128 << 10;

/// Bytes of each read that are compared.
const COMPARED: usize = 64;

/// The servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// One daemon, a process a machine.
    NbdServer,
    /// An nbd-server for each connection, as `nbd-netrootfs.socket` starts it.
    Socket,
    /// One process with threads.
    Nbdkit,
}

impl Kind {
    const ALL: [Self; 3] = [Self::NbdServer, Self::Nbdkit, Self::Socket];

    /// As people know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NbdServer => "nbd-server",
            Self::Socket => "nbd-server per connection",
            Self::Nbdkit => "nbdkit",
        }
    }
}

/// Machines of one storm, and what it took.
#[derive(Debug, Clone, Serialize)]
pub struct Storm {
    pub server: Kind,
    pub machines: usize,
    pub contender: Contender,
    pub round: usize,
    /// Whether nothing of the disc was in memory at the start.
    pub cold: bool,
    /// Seconds until half of them were up.
    pub median: f64,
    /// Seconds until all were.
    pub last: f64,
    /// Calls that came to nothing.
    pub unheard: usize,
    /// CPU seconds of server and daemon.
    pub cpu: f64,
    /// Bytes that a machine has read.
    pub bytes: u64,
    /// Bytes of kernel and initramfs, which it isn't sent here.
    pub loaded: u64,
    /// Bytes of memory of the server with all its processes, what they share counted once.
    pub server_memory: u64,
    /// The same of netrootfs.
    pub daemon_memory: u64,
}

/// The servers whose name contains `name` with so many machines, in rounds; nbdkit with few once more with nothing in memory.
pub fn measure(place: &Place, name: &str, machines: &[usize], rounds: usize) -> Result<Vec<Storm>> {
    let trace = Trace::recorded()?;
    let iso = File::open(&place.iso)?;
    ensure!(
        trace.disc <= iso.metadata()?.len(),
        "the root image must have {} MiB at least",
        trace.disc >> 20
    );
    let expected = trace.reads.iter().map(|read| {
        let mut bytes = vec![0; read.len.min(COMPARED)];
        iso.read_exact_at(&mut bytes, read.offset)?;
        Ok(bytes)
    });
    let player = Player { expected: expected.collect::<Result<_>>()?, longest: trace.longest(), trace };
    let mut all = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.name().contains(name)) {
        for &count in machines {
            // From there on the others only wait, see netrootfs-many(7).
            if kind != Kind::Nbdkit && count > MOST_OF_OTHERS {
                eprintln!("{}: no more than {MOST_OF_OTHERS} machines", kind.name());
                continue;
            }
            let long = count > 256 || kind != Kind::Nbdkit && count == MOST_OF_OTHERS;
            for cold in [false, true] {
                if cold && (kind != Kind::Nbdkit || count > 64) {
                    continue;
                }
                for round in 0..if long { 1 } else { rounds } {
                    let mut ways = [Contender::Plain, Contender::Kernel];
                    if round % 2 == 1 {
                        ways.reverse();
                    }
                    for contender in ways {
                        let what = || format!("{count} machines, {}, {contender}", kind.name());
                        eprintln!("{}, round {}{}", what(), round + 1, if cold { ", cold" } else { "" });
                        let storm = player.storm(place, kind, count, contender, cold).with_context(what)?;
                        all.push(Storm { round, ..storm });
                    }
                }
            }
        }
    }
    Ok(all)
}

struct Player {
    trace: Trace,
    expected: Vec<Vec<u8>>,
    longest: usize,
}

impl Player {
    fn storm(
        &self,
        place: &Place,
        kind: Kind,
        machines: usize,
        contender: Contender,
        cold: bool,
    ) -> Result<Storm> {
        place.forget()?;
        let running = contender.start(place)?;
        let disc = match contender {
            Contender::Plain => place.iso.clone(),
            _ => running.file.with_file_name(format!("{LABEL}.iso")),
        };
        if !cold {
            std::io::copy(&mut File::open(&disc)?, &mut std::io::sink())?;
        }
        let server = match kind {
            Kind::NbdServer => Server::nbd_server(&disc)?,
            Kind::Socket => Server::per_connection(&disc)?,
            Kind::Nbdkit => {
                let name = disc.file_name().and_then(|name| name.to_str()).context("a name")?;
                Server::directory(disc.parent().context("a directory")?, name)?
            }
        };
        let families = (Family::of(server.process()), running.daemon().map(Family::of));
        let cpu = |families: &(Family, Option<Family>)| {
            families.0.cpu() + families.1.as_ref().map_or(0.0, Family::cpu)
        };
        let before = cpu(&families);
        let unheard = AtomicUsize::new(0);
        let (mut times, clients) = self.play(&server, machines, &unheard)?;
        times.sort_unstable();
        let storm = Storm {
            server: kind,
            machines,
            contender,
            round: 0,
            cold,
            median: times[times.len() / 2].as_secs_f64(),
            last: times[times.len() - 1].as_secs_f64(),
            unheard: unheard.into_inner(),
            cpu: cpu(&families) - before,
            bytes: self.trace.bytes(),
            loaded: self.trace.loaded,
            server_memory: families.0.memory(),
            daemon_memory: families.1.as_ref().map_or(0, Family::memory),
        };
        drop(clients);
        drop(server);
        Ok(storm)
    }

    /// How long each has taken; and the connections, which are still there.
    fn play(
        &self,
        server: &Server,
        machines: usize,
        unheard: &AtomicUsize,
    ) -> Result<(Vec<Duration>, Vec<Client>)> {
        let ready = Barrier::new(machines);
        let machine = || {
            ready.wait();
            let start = Instant::now();
            let client = self.boot(server, unheard)?;
            Ok::<_, anyhow::Error>((start.elapsed(), client))
        };
        std::thread::scope(|scope| {
            let start = |_| std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, machine);
            let machines: Vec<_> = (0..machines).map(start).collect::<std::io::Result<_>>()?;
            machines.into_iter().map(|one| one.join().map_err(|_| anyhow!("a machine's panic"))?).collect()
        })
    }

    fn boot(&self, server: &Server, unheard: &AtomicUsize) -> Result<Client> {
        let mut client = loop {
            match server.call(PATIENCE) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    unheard.fetch_add(1, Ordering::Relaxed);
                }
                answer => break answer?,
            }
        };
        let mut bytes = vec![0; self.longest];
        for (read, expected) in self.trace.reads.iter().zip(&self.expected) {
            let bytes = &mut bytes[..read.len];
            client.read_into(bytes, read.offset)?;
            ensure!(bytes.starts_with(expected), "other bytes at {}", read.offset);
        }
        Ok(client)
    }
}
