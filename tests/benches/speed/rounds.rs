//! The rounds: every workload with every contender, one after the other, in turns forwards and backwards.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::speed::contender::{Contender, Running};
use crate::speed::meter::{Meter, Sample};
use crate::speed::place::Place;
use crate::speed::served::Server;
use crate::speed::workload::{Pattern, Temperature, Workload};

const SIZES: [usize; 3] = [4 << 10, 128 << 10, 1 << 20];
const READERS: [usize; 2] = [1, 16];
const CLIENTS: [usize; 3] = [1, 8, 64];

/// The size of a read-ahead of a block device, as an NBD server sees it.
const NBD_SIZE: usize = 128 << 10;

/// Bytes that hot readers read: more than any CPU's cache, and within a second in memory.
const HOT: u64 = 512 << 20;

/// How long hot readers read; all of it is in memory, so that it is the same all the time.
const HOT_LIMIT: Duration = Duration::from_millis(250);

/// A sample and what it is of.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Measured {
    pub workload: Workload,
    pub contender: Contender,
    pub round: usize,
    pub sample: Sample,
}

/// Reads of the files themselves: the workloads whose name contains `name`, each cold one for as long as `cold`.
pub fn direct(
    place: &Place,
    contenders: &[Contender],
    name: &str,
    rounds: usize,
    cold: Duration,
) -> Result<Vec<Measured>> {
    let mut workloads = Vec::new();
    for temperature in [Temperature::Hot, Temperature::Cold] {
        for pattern in [Pattern::Sequential, Pattern::Random] {
            for (size, readers) in READERS.iter().flat_map(|readers| SIZES.map(|size| (size, *readers))) {
                workloads.push(Workload { nbd: false, pattern, temperature, readers, size });
            }
        }
    }
    workloads.retain(|workload| workload.to_string().contains(name));
    Rounds { place, contenders: contenders.to_vec(), workloads, cold }.run(rounds)
}

/// Reads through nbd-server, and through nbdkit where it does the offset itself.
pub fn nbd(
    place: &Place,
    contenders: &[Contender],
    name: &str,
    rounds: usize,
    cold: Duration,
) -> Result<Vec<Measured>> {
    let mut workloads = Vec::new();
    for temperature in [Temperature::Hot, Temperature::Cold] {
        for readers in CLIENTS {
            let pattern = Pattern::Together;
            workloads.push(Workload { nbd: true, pattern, temperature, readers, size: NBD_SIZE });
        }
    }
    let contenders = contenders.iter().copied().chain([Contender::Nbdkit]).collect();
    workloads.retain(|workload| workload.to_string().contains(name));
    Rounds { place, contenders, workloads, cold }.run(rounds)
}

struct Rounds<'a> {
    place: &'a Place,
    contenders: Vec<Contender>,
    workloads: Vec<Workload>,
    cold: Duration,
}

impl Rounds<'_> {
    fn run(&self, rounds: usize) -> Result<Vec<Measured>> {
        let mut all = Vec::new();
        for round in 0..rounds {
            eprintln!("round {} of {rounds}", round + 1);
            let mut contenders = self.contenders.clone();
            if round % 2 == 1 {
                contenders.reverse();
            }
            let running = contenders.iter().map(|contender| Stand::start(*contender, self.place));
            let running = running.collect::<Result<Vec<_>>>()?;
            for stand in &running {
                stand.warm(self.place)?;
            }
            for workload in self.of(Temperature::Hot) {
                for stand in &running {
                    all.push(stand.measure(self.place, workload, round, HOT_LIMIT)?);
                }
            }
            drop(running);
            for workload in self.of(Temperature::Cold) {
                for contender in &contenders {
                    self.place.forget()?;
                    let stand = Stand::start(*contender, self.place)?;
                    all.push(stand.measure(self.place, workload, round, self.cold)?);
                }
            }
        }
        Ok(all)
    }

    fn of(&self, temperature: Temperature) -> impl Iterator<Item = Workload> {
        self.workloads.iter().copied().filter(move |workload| workload.temperature == temperature)
    }
}

/// A contender with, for NBD, the server before it.
struct Stand {
    contender: Contender,
    running: Option<Running>,
}

impl Stand {
    fn start(contender: Contender, place: &Place) -> Result<Self> {
        let running = match contender {
            Contender::Nbdkit => None,
            _ => Some(contender.start(place)?),
        };
        Ok(Self { contender, running })
    }

    /// Reads what hot readers will read.
    fn warm(&self, place: &Place) -> Result<()> {
        // nbdkit reads the ISO, so that is what has to be in the page cache for it.
        let (path, offset) = match &self.running {
            Some(running) => (&running.file, 0),
            None => (&place.iso, place.offset),
        };
        let file = File::open(path)?;
        let mut buf = vec![0; 1 << 20];
        let end = place.len.min(HOT) / buf.len() as u64;
        (0..end).try_for_each(|piece| file.read_exact_at(&mut buf, offset + piece * (1 << 20)))?;
        Ok(())
    }

    fn measure(&self, place: &Place, workload: Workload, round: usize, limit: Duration) -> Result<Measured> {
        let daemon = self.running.as_ref().and_then(Running::daemon);
        let span = match workload.temperature {
            Temperature::Hot => place.len.min(HOT),
            Temperature::Cold => place.len,
        };
        let what = || format!("{workload}, {}", self.contender);
        let sample = if workload.nbd {
            let server = Server::start(self.contender, self.running.as_ref(), place).with_context(what)?;
            let meter = Meter::start(daemon);
            let (bytes, seconds) = workload
                .run(span, limit, || {
                    let mut client = server.client()?;
                    Ok(move |buf: &mut [u8], offset| client.read_into(buf, offset))
                })
                .with_context(what)?;
            meter.stop(bytes, seconds)
        } else {
            let path = &self.running.as_ref().context("a file")?.file;
            let meter = Meter::start(daemon);
            let (bytes, seconds) = workload
                .run(span, limit, || {
                    let file = File::open(path)?;
                    Ok(move |buf: &mut [u8], offset| file.read_exact_at(buf, offset))
                })
                .with_context(what)?;
            meter.stop(bytes, seconds)
        };
        Ok(Measured { workload, contender: self.contender, round, sample })
    }
}
