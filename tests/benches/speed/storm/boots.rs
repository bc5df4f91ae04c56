//! Machines that read of a disc what one read in a real boot, without the pauses between the reads.
//!
//! A machine is a connection, and a thread: it calls, again, as netroot-init does, where the server says nothing, asks for one
//! read after the other, and is up after the last one. The first bytes of each read are compared.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use testkit::nbd::Client;

use super::trace::Trace;
use super::{Kind, Played, Served};
use crate::speed::place::Place;
use crate::speed::served::{Group, Server};

/// How long netroot-init waits for a greeting at first, and then; up to twice as long, each machine a time of its own.
const PATIENCE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(10)];

/// Until it calls one again that has hung up.
const PAUSE: Duration = Duration::from_secs(1);

/// What a machine's thread needs besides its buffer.
const STACK: usize = 128 << 10;

/// Bytes of each read that are compared.
const COMPARED: usize = 64;

/// The recorded boot.
pub struct Boots {
    trace: Trace,
    expected: Vec<Vec<u8>>,
    longest: usize,
}

impl Boots {
    /// What will be read of the place's ISO.
    pub fn new(place: &Place) -> Result<Self> {
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
        Ok(Self { expected: expected.collect::<Result<_>>()?, longest: trace.longest(), trace })
    }

    /// A server with that disc.
    pub fn serve(&self, kind: Kind, disc: &Path) -> Result<Box<dyn Served + '_>> {
        let server = match kind {
            Kind::NbdServer => Server::nbd_server(disc)?,
            Kind::PerConnection => Server::per_connection(disc)?,
            _ => {
                let name = disc.file_name().and_then(|name| name.to_str()).context("a name")?;
                Server::directory(disc.parent().context("a directory")?, name)?
            }
        };
        Ok(Box::new(AtServer { boots: self, server }))
    }
}

struct AtServer<'a> {
    boots: &'a Boots,
    server: Server,
}

impl Served for AtServer<'_> {
    fn group(&self) -> &Group {
        self.server.group()
    }

    fn bytes(&self, _machines: usize) -> u64 {
        self.boots.trace.bytes()
    }

    fn play(&self, machines: usize, until: Instant, meanwhile: &mut dyn FnMut()) -> Result<Played> {
        let (ready, unheard) = (Barrier::new(machines), AtomicUsize::new(0));
        let machine = |number: usize| {
            ready.wait();
            let start = Instant::now();
            let client = self.boot(number, until, &unheard)?;
            Ok::<_, anyhow::Error>(client.map(|client| (start.elapsed(), client)))
        };
        let machines = std::thread::scope(|scope| {
            let machine = &machine;
            let start = |number| {
                let thread = std::thread::Builder::new().stack_size(STACK);
                thread.spawn_scoped(scope, move || machine(number))
            };
            let machines: Vec<_> = (0..machines).map(start).collect::<std::io::Result<_>>()?;
            let ended =
                machines.into_iter().map(|one| one.join().map_err(|_| anyhow!("a machine's panic"))?);
            ended.collect::<Result<Vec<_>>>()
        })?;
        // They are still connected.
        meanwhile();
        let times = machines.iter().flatten().map(|(time, _)| *time).collect();
        Ok(Played { times, again: unheard.into_inner() })
    }
}

impl AtServer<'_> {
    /// The connection of a machine that is up, if it is in time.
    fn boot(&self, number: usize, until: Instant, unheard: &AtomicUsize) -> Result<Option<Client>> {
        let Some(mut client) = self.call(number, until, unheard)? else { return Ok(None) };
        let mut bytes = vec![0; self.boots.longest];
        for (read, expected) in self.boots.trace.reads.iter().zip(&self.boots.expected) {
            if Instant::now() >= until {
                return Ok(None);
            }
            let bytes = &mut bytes[..read.len];
            client.read_into(bytes, read.offset)?;
            ensure!(bytes.starts_with(expected), "other bytes at {}", read.offset);
        }
        Ok(Some(client))
    }

    fn call(&self, number: usize, until: Instant, unheard: &AtomicUsize) -> Result<Option<Client>> {
        for attempt in 0_usize.. {
            let patience = PATIENCE[attempt.min(1)];
            // The golden ratio's multiples lie evenly between one whole number and the next.
            let patience = patience + patience.mul_f64(((number + attempt) as f64 * 0.618_034).fract());
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            match self.server.call(left.min(patience)) {
                Ok(client) => return Ok(Some(client)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
                        std::thread::sleep(left.min(PAUSE))
                    }
                    _ => return Err(error.into()),
                },
            }
            unheard.fetch_add(1, Ordering::Relaxed);
        }
        Ok(None)
    }
}
