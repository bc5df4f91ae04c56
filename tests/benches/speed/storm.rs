//! A boot storm: machines that call in one moment, at a server over the mounted tree, and at the same over plain files.
//!
//! What they do at NBD servers is in `boots`, and at TFTP and web servers in `loads`. A machine waits for the server alone; it
//! asks again where that says nothing, as its like does, and what has come is compared. Who has not all of it when the time
//! is over is counted and left alone. Both ways have the same servers, in turns.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

use crate::speed::contender::Contender;
use crate::speed::place::{LABEL, Place};
use crate::speed::processes::memory;
use crate::speed::served::Group;

mod boots;
mod costs;
mod loads;
pub mod table;
mod trace;

use boots::Boots;
use costs::Costs;
use loads::Loads;

/// How long a storm may take.
const LIMIT: Duration = Duration::from_secs(40);

/// For each round that was asked for; when that is over, no further one of the same storm is begun.
const ROUND: Duration = Duration::from_secs(15);

/// What the machines ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
pub enum Of {
    /// The root: NBD servers
    Nbd,
    /// Kernel and initramfs: TFTP servers
    Tftp,
    /// Kernel and initramfs: a web server
    Http,
}

/// The servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// One process with threads.
    Nbdkit,
    /// One daemon, a process a machine.
    NbdServer,
    /// An nbd-server for each connection, as `nbd-netrootfs.socket` starts it.
    PerConnection,
    /// tftpd-hpa: a process a file.
    Tftpd,
    /// One process, one thread.
    Dnsmasq,
    /// One process, a thread a file; with windows of 16 blocks.
    Atftpd,
    /// A process a processor.
    Nginx,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Nbdkit,
        Self::NbdServer,
        Self::PerConnection,
        Self::Tftpd,
        Self::Dnsmasq,
        Self::Atftpd,
        Self::Nginx,
    ];

    /// As people know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nbdkit => "nbdkit",
            Self::NbdServer => "nbd-server",
            Self::PerConnection => "nbd-server per connection",
            Self::Tftpd => "in.tftpd",
            Self::Dnsmasq => "dnsmasq",
            Self::Atftpd => "atftpd, windows of 16",
            Self::Nginx => "nginx",
        }
    }

    /// What it is asked for.
    pub fn of(self) -> Of {
        match self {
            Self::Nbdkit | Self::NbdServer | Self::PerConnection => Of::Nbd,
            Self::Tftpd | Self::Dnsmasq | Self::Atftpd => Of::Tftp,
            Self::Nginx => Of::Http,
        }
    }
}

/// Machines of one storm, and what it took.
#[derive(Debug, Clone, Serialize)]
pub struct Storm {
    pub server: Kind,
    pub machines: usize,
    /// Whether nothing of the disc was in memory at the start.
    pub cold: bool,
    pub contender: Contender,
    pub round: usize,
    /// How many had all of it when it was over.
    pub up: usize,
    /// Seconds until half of them had.
    pub median: Option<f64>,
    /// Seconds until all had.
    pub last: Option<f64>,
    /// How often one has asked again, as nothing came.
    pub again: usize,
    /// CPU seconds of server and daemon.
    pub cpu: f64,
    /// Bytes that a machine asks for.
    pub bytes: u64,
    /// Bytes of memory of the server with all its processes, what they share counted once.
    pub server_memory: u64,
    /// The same of netrootfs.
    pub daemon_memory: u64,
}

/// What is to be measured.
pub struct Wanted<'a> {
    /// Everything if empty.
    pub of: &'a [Of],
    /// The servers whose name contains this.
    pub name: &'a str,
    pub machines: &'a [usize],
    pub rounds: usize,
}

/// All storms; those of few machines at nbdkit once more with nothing in memory.
pub fn measure(place: &Place, wanted: &Wanted<'_>) -> Result<Vec<Storm>> {
    let stage = Stage { place, boots: Boots::new(place)?, loads: Loads::new(place)? };
    let is_wanted = |kind: &Kind| {
        kind.name().contains(wanted.name) && (wanted.of.is_empty() || wanted.of.contains(&kind.of()))
    };
    let mut all = Vec::new();
    for kind in Kind::ALL.into_iter().filter(is_wanted) {
        for &machines in wanted.machines {
            let storms = stage.storms(kind, machines, false, wanted.rounds)?;
            let hopeless = storms.iter().all(|storm| storm.median.is_none());
            all.extend(storms);
            if kind == Kind::Nbdkit && machines <= 16 {
                all.extend(stage.storms(kind, machines, true, wanted.rounds)?);
            }
            if hopeless {
                eprintln!("{}: no more than {machines} machines", kind.name());
                break;
            }
        }
    }
    Ok(all)
}

/// A server that runs.
trait Served {
    fn group(&self) -> &Group;

    /// What each of so many machines asks for, in bytes.
    fn bytes(&self, machines: usize) -> u64;

    /// Has so many machines call; `meanwhile` is for looking at the server while it has them.
    fn play(&self, machines: usize, until: Instant, meanwhile: &mut dyn FnMut()) -> Result<Played>;
}

/// What became of the machines.
struct Played {
    /// How long those have taken that have all.
    times: Vec<Duration>,
    again: usize,
}

struct Stage<'a> {
    place: &'a Place,
    boots: Boots,
    loads: Loads,
}

impl Stage<'_> {
    /// As many rounds as there is time for, and one at least.
    fn storms(&self, kind: Kind, machines: usize, cold: bool, rounds: usize) -> Result<Vec<Storm>> {
        let (begin, mut storms) = (Instant::now(), Vec::new());
        for round in 0..rounds {
            if round > 0 && begin.elapsed() > ROUND * rounds as u32 {
                break;
            }
            let mut ways = [Contender::Plain, Contender::Kernel];
            if round % 2 == 1 {
                ways.reverse();
            }
            for contender in ways {
                let what = || format!("{machines} machines, {}, {contender}", kind.name());
                eprintln!("{}, round {}{}", what(), round + 1, if cold { ", cold" } else { "" });
                let storm = self.storm(kind, machines, contender, cold).with_context(what)?;
                let (up, again) = (storm.up, storm.again);
                let all = storm.last.map_or(String::new(), |last| format!(", all after {last:.2} s"));
                eprintln!("  {up} of {machines}{all}, {again} times asked again");
                storms.push(Storm { round, ..storm });
            }
        }
        Ok(storms)
    }

    fn storm(&self, kind: Kind, machines: usize, contender: Contender, cold: bool) -> Result<Storm> {
        self.place.forget()?;
        let costs = Costs::new()?;
        let running = costs.of(|| contender.start(self.place))?;
        let tree = running.file.ancestors().nth(2).context("the mount")?;
        let files = match (kind.of(), contender) {
            (Of::Nbd, Contender::Plain) => vec![self.place.iso.clone()],
            (Of::Nbd, _) => vec![tree.join(format!("images/{LABEL}.iso"))],
            (_, Contender::Plain) => self.loads.files_in(self.loads.beside())?,
            (..) => self.loads.files_in(&tree.join("tftp"))?,
        };
        if !cold {
            files.iter().try_for_each(|file| io::copy(&mut File::open(file)?, &mut io::sink()).map(drop))?;
        }
        let file = files.first().context("a file")?;
        let server = costs.of(|| match kind.of() {
            Of::Nbd => self.boots.serve(kind, file),
            _ => self.loads.serve(kind, file.parent().context("a directory")?),
        })?;
        let taken = || (memory(server.group().leader()), running.daemon().map_or(0, memory));
        let (mut looked, before) = (None, costs.cpu()?);
        let until = Instant::now() + LIMIT;
        let played = server.play(machines, until, &mut || looked = Some(taken()))?;
        let cpu = costs.cpu()? - before;
        let (server_memory, daemon_memory) = looked.unwrap_or_else(taken);
        let mut times = played.times;
        times.sort_unstable();
        let seconds = |number: usize| times.get(number).map(Duration::as_secs_f64);
        Ok(Storm {
            server: kind,
            machines,
            contender,
            round: 0,
            cold,
            up: times.len(),
            median: seconds(machines / 2),
            last: seconds(machines - 1),
            again: played.again,
            cpu,
            bytes: server.bytes(machines),
            server_memory,
            daemon_memory,
        })
    }
}
